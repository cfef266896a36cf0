//! One packet on several interfaces: what `-i any` tells of it, and what it does with `--no-dedup`.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tls_sniff_tests::{
    middle::Middle,
    netns::Namespace,
    peer::{Certificate, Client, Server, Version},
    sniffer::{Sniffer, Stopped},
};

use super::handshakes::NAME;

const SOON: Duration = Duration::from_secs(10);

/// What is told of a handshake from `client` to `server`, watched in `watched`.
fn watch(
    watched: &Namespace,
    client: &Namespace,
    (server, address): (&Namespace, SocketAddr),
    arguments: &[&str],
    alpn: &str,
) -> Result<Stopped> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let _server = Server::new(&certificate, address).start(server)?;
    let mut sniffer = Sniffer::start(watched, &[&["--format", "json"], arguments].concat())?;
    sniffer.ready()?;
    for version in [Version::Tls12, Version::Tls13] {
        Client::new(address, NAME).version(version).alpn(alpn).run(client)?.established()?;
    }
    sniffer
        .wait_for(SOON, |event| event["event"] == "handshake" && event["version"] == "TLS 1.3")?;
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    check_counts(&stopped)?;
    Ok(stopped)
}

/// Each event from the kernel is of a packet or a duplicate.
fn check_counts(stopped: &Stopped) -> Result<()> {
    stopped.check_sums()?;
    let pipeline = &stopped.stats()?["pipeline"];
    let count = |name: &str| pipeline[name].as_u64().context("a count");
    let segments = stopped.events.iter().filter(|event| event["event"] == "segment").count() as u64;
    if segments > 0 {
        let sum = segments + count("duplicates")? + count("undecodable")?;
        ensure!(count("received")? == sum, "{segments} segments, {pipeline}");
    }
    Ok(())
}

fn of<'a>(stopped: &'a Stopped, kind: &str) -> Vec<&'a Value> {
    stopped.events.iter().filter(|event| event["event"] == kind).collect()
}

/// Each message and each handshake once, with the interfaces in the order of sighting: from the client, to it.
fn check_once(stopped: &Stopped, to: &[&str], back: &[&str]) -> Result<()> {
    for (kind, interfaces) in [("client_hello", to), ("server_hello", back), ("handshake", to)] {
        let told = of(stopped, kind);
        ensure!(told.len() == 2, "{kind}: {told:#?}");
        for event in told {
            ensure!(event["interface"] == interfaces[0], "{event}");
            let all = (interfaces.len() > 1).then(|| json!(interfaces));
            ensure!(event.get("interfaces") == all.as_ref(), "{event}");
        }
    }
    ensure!(of(stopped, "handshake").iter().all(|event| event["outcome"] == "completed"));
    let pipeline = &stopped.stats()?["pipeline"];
    ensure!(pipeline["connections"] == 2, "{pipeline}");
    Ok(())
}

/// Each message and each handshake once for each interface.
fn check_each(stopped: &Stopped, interfaces: &[&str]) -> Result<()> {
    let expected: BTreeSet<&str> = interfaces.iter().copied().collect();
    for kind in ["client_hello", "server_hello", "handshake"] {
        let told = of(stopped, kind);
        ensure!(told.len() == 2 * interfaces.len(), "{kind}: {told:#?}");
        let on: BTreeSet<&str> =
            told.iter().filter_map(|event| event["interface"].as_str()).collect();
        ensure!(on == expected && told.iter().all(|event| event.get("interfaces").is_none()));
    }
    ensure!(stopped.stats()?["pipeline"]["duplicates"] == 0);
    Ok(())
}

/// The events of the defaults, and each segment.
const WITH_SEGMENTS: &[&str] = &[
    "-i",
    "any",
    "--payload-len",
    "0..",
    "--events",
    "client_hello,server_hello,certificate,alert,handshake,segment",
];

/// Across the bridge, and to an address of the bridge itself.
pub(crate) fn bridge() -> Result<()> {
    let net = Middle::bridge()?;
    let (client, middle) = (&net.client, &net.middle);
    let across = (&net.server, SocketAddr::new(net.address, 443));
    let stopped = watch(middle, client, across, &["-i", "any"], "h2")?;
    check_once(&stopped, &["left", "right"], &["right", "left"])?;
    let stopped = watch(middle, client, across, WITH_SEGMENTS, "h2")?;
    check_once(&stopped, &["left", "right"], &["right", "left"])?;
    let local = (middle, SocketAddr::new(net.own_address, 443));
    let stopped = watch(middle, client, local, &["-i", "any"], "h2")?;
    check_once(&stopped, &["left", "br0"], &["br0", "left"])?;
    let stopped = watch(middle, client, across, &["-i", "any", "--no-dedup"], "h2")?;
    check_each(&stopped, &["left", "right"])
}

pub(crate) fn router() -> Result<()> {
    let net = Middle::router()?;
    let (client, middle) = (&net.client, &net.middle);
    let across = (&net.server, SocketAddr::new(net.address, 443));
    let stopped = watch(middle, client, across, WITH_SEGMENTS, "h2")?;
    check_once(&stopped, &["left", "right"], &["right", "left"])?;
    // Two that are named are as good as all.
    let named = ["-i", "left", "-i", "right"];
    check_once(
        &watch(middle, client, across, &named, "h2")?,
        &["left", "right"],
        &["right", "left"],
    )?;
    // One cannot see a packet twice.
    let stopped = watch(middle, client, across, &["-i", "right"], "h2")?;
    check_once(&stopped, &["right"], &["right"])?;
    ensure!(stopped.stats()?["pipeline"]["duplicates"] == 0);
    check_each(&watch(middle, client, across, &["--no-dedup"], "h2")?, &["left", "right"])
}

pub(crate) fn loopback() -> Result<()> {
    let namespace = Namespace::new()?;
    let server = (&namespace, "127.0.0.1:4433".parse()?);
    let stopped = watch(&namespace, &namespace, server, WITH_SEGMENTS, "h2")?;
    check_once(&stopped, &["lo"], &["lo"])?;
    let first = of(&stopped, "segment")[0];
    ensure!(first["direction"] == "egress", "{first}");
    let pipeline = &stopped.stats()?["pipeline"];
    ensure!(
        pipeline["received"].as_u64() == pipeline["duplicates"].as_u64().map(|count| 2 * count),
        "out and in: {pipeline}"
    );
    Ok(())
}

/// XDP sees the frames of the wire and TC what GRO makes of them: the same bytes in other pieces.
pub(crate) fn cut_differently() -> Result<()> {
    let net = Middle::router()?;
    // The client cuts; the router puts together again, behind XDP.
    for arguments in [&["-K", "eth0", "tso", "off", "gso", "off"][..]] {
        let ethtool = net.client.command("ethtool").args(arguments).output()?;
        ensure!(ethtool.status.success(), "{ethtool:?}");
    }
    let across = (&net.server, SocketAddr::new(net.address, 443));
    let protocols: Vec<String> = (0..200).map(|number| format!("protocol-{number:04}")).collect();
    let arguments = ["-i", "any", "--hook", "xdp"];
    let stopped = watch(&net.middle, &net.client, across, &arguments, &protocols.join(","))?;
    for kind in ["client_hello", "server_hello", "handshake"] {
        let told = of(&stopped, kind);
        ensure!(told.len() == 2, "{kind}: {told:#?}");
        ensure!(told.iter().all(|event| event.get("partial").is_none()), "{told:#?}");
    }
    for handshake in of(&stopped, "handshake") {
        ensure!(handshake["interfaces"] == json!(["left", "right"]), "{handshake}");
        ensure!(handshake.get("overlap").is_none() && handshake["outcome"] == "completed");
    }
    ensure!(of(&stopped, "client_hello")[0]["record_length"].as_u64() > Some(2000));
    Ok(())
}
