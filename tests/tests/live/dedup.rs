//! One packet on several interfaces: what `-i any` tells of it, and what it does with `--no-dedup`.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tls_sniff_tests::{
    capture::{Tcpdump, listening},
    middle::Middle,
    netns::Namespace,
    peer::{Certificate, Client, Server, Version},
    process::{Process, run},
    sniffer::{Sniffer, Stopped, binary},
    veth::VethPair,
};

use super::handshakes::NAME;

const SOON: Duration = Duration::from_secs(10);

/// A handshake of TLS 1.2 and one of TLS 1.3.
fn handshakes(client: &Namespace, server: &Namespace, at: SocketAddr, alpn: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let _server = Server::new(&certificate, at).start(server)?;
    for version in [Version::Tls12, Version::Tls13] {
        Client::new(at, NAME).version(version).alpn(alpn).run(client)?.established()?;
    }
    Ok(())
}

/// What is told of both handshakes, watched in `watched`.
fn watch(
    watched: &Namespace,
    client: &Namespace,
    (server, address): (&Namespace, SocketAddr),
    arguments: &[&str],
    alpn: &str,
) -> Result<Stopped> {
    let mut sniffer = Sniffer::start(watched, &[&["--format", "json"], arguments].concat())?;
    sniffer.ready()?;
    handshakes(client, server, address, alpn)?;
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
    // Out and in, but for what the kernel let through on the way out as the last of its connection.
    let pipeline = &stopped.stats()?["pipeline"];
    let count = |name: &str| pipeline[name].as_u64().context("a count");
    let single = count("received")?.checked_sub(2 * count("duplicates")?);
    ensure!(single.is_some_and(|single| single <= 4), "{pipeline}");
    Ok(())
}

/// The segment inside a tunnel is seen on the tunnel's interface and, wrapped, on the one below it.
pub(crate) fn tunnel() -> Result<()> {
    let pair = VethPair::new()?;
    let (first, second) = (&pair.first, &pair.second);
    for (end, peer, inner) in [(first, second, "10.79.0.1/24"), (second, first, "10.79.0.2/24")] {
        let (local, remote) = (end.ipv4.to_string(), peer.ipv4.to_string());
        let namespace = &end.namespace;
        let way = ["local", &local, "remote", &remote, "dev", &end.interface, "dstport", "4789"];
        namespace
            .ip(&[&["link", "add", "vxlan0", "type", "vxlan", "id", "7"], &way[..]].concat())?;
        namespace.ip(&["address", "add", inner, "dev", "vxlan0"])?;
        namespace.ip(&["link", "set", "dev", "vxlan0", "up"])?;
    }
    let server = (&second.namespace, "10.79.0.2:443".parse()?);
    let stopped = watch(&second.namespace, &first.namespace, server, &["-i", "any"], "h2")?;
    check_once(&stopped, &["veth-b", "vxlan0"], &["vxlan0", "veth-b"])
}

/// XDP sees the frames of the wire and TC what GRO makes of them: the same bytes in other pieces.
pub(crate) fn cut_differently() -> Result<()> {
    let net = Middle::router()?;
    // The client cuts; the router puts together again, behind XDP.
    run(net.client.command("ethtool").args(["-K", "eth0", "tso", "off", "gso", "off"]))?;
    run(net.middle.command("ethtool").args(["-K", "left", "gro", "on"]))?;
    let across = (&net.server, SocketAddr::new(net.address, 443));
    let protocols: Vec<String> = (0..200).map(|number| format!("protocol-{number:04}")).collect();
    let arguments = [WITH_SEGMENTS, &["--hook", "xdp"]].concat();
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
    // It was as it should be: at XDP no segment was longer than a frame, behind it one was.
    let lengths = |hook: &str| {
        let segments = of(&stopped, "segment").into_iter().filter(|event| event["hook"] == hook);
        segments.filter_map(|event| event["payload_length"].as_u64()).max()
    };
    ensure!(lengths("xdp") <= Some(1460) && lengths("tc") > Some(1460), "{stopped:#?}");
    Ok(())
}

/// Whether an event is of both ports, whichever comes first.
fn is_both(event: &Value) -> bool {
    let interfaces = &event["interfaces"];
    event["interface"] == interfaces[0]
        && (*interfaces == json!(["left", "right"]) || *interfaces == json!(["right", "left"]))
}

/// `-r` on what others capture of several interfaces: dumpcap, which names them, and tcpdump's cooked capture of
/// all, which numbers them.
pub(crate) fn from_files() -> Result<()> {
    let net = Middle::bridge()?;
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (several, cooked) = (path("several.pcapng"), path("cooked.pcap"));
    let all = ["-i", "any", "-y", "LINUX_SLL2"];
    let tcpdump = Tcpdump::with(&net.middle, &all, Path::new(&cooked), "tcp")?;
    let mut dumpcap = net.middle.command("dumpcap");
    dumpcap.args(["-i", "left", "-i", "right", "-q", "-a", "duration:5", "-w", &several]);
    let dumpcap = listening(Process::spawn(dumpcap, None)?, "File:")?;
    handshakes(&net.client, &net.server, SocketAddr::new(net.address, 443), "h2")?;
    // At a signal dumpcap leaves what is still in the kernel's buffers; at its time, what comes right then ("flushed").
    let dumpcap = dumpcap.finish(SOON)?.stderr;
    let dropped = dumpcap.iter().filter(|line| line.starts_with("Packets received/dropped"));
    let none = dropped.filter(|line| line.contains("(pcap:0/dumpcap:0/"));
    ensure!(none.count() == 2, "{dumpcap:#?}");
    tcpdump.stop()?;
    let read = |path: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(binary()?);
        command.args(["-r", path, "--format", "json"]).args(arguments);
        let stopped = Sniffer::spawn(command)?.finish(SOON)?;
        check_counts(&stopped)?;
        Ok::<_, anyhow::Error>(stopped)
    };
    for arguments in [&[][..], WITH_SEGMENTS] {
        let stopped = read(&several, arguments)?;
        for kind in ["client_hello", "server_hello", "handshake"] {
            let told = of(&stopped, kind);
            ensure!(told.len() == 2, "{kind}: {told:#?}");
            // dumpcap writes blocks of one interface and the other, in any order.
            ensure!(told.iter().all(|event| is_both(event)), "{told:#?}");
        }
    }
    check_each(&read(&several, &["--no-dedup"])?, &["left", "right"])?;
    let stopped = read(&cooked, &[])?;
    for kind in ["client_hello", "server_hello", "handshake"] {
        ensure!(of(&stopped, kind).len() == 2, "{kind}: {stopped:#?}");
    }
    let pipeline = &stopped.stats()?["pipeline"];
    ensure!(pipeline["duplicates"].as_u64() > Some(10), "{pipeline}");
    Ok(())
}
