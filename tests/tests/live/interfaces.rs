//! Interfaces that come and go while tls-sniff runs, and those that never were.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    peer::{Certificate, Client, Server},
    poll,
    sniffer::Sniffer,
    veth::VethPair,
};

use super::handshakes::NAME;

const SOON: Duration = Duration::from_secs(10);

fn wait_for_log(sniffer: &Sniffer, text: &str) -> Result<()> {
    poll::until(SOON, &format!("the log to say {text:?}"), || {
        sniffer.stderr().iter().any(|line| line.contains(text)).then_some(())
    })
}

/// Adds a veth pair to a namespace, both ends in it.
pub(super) fn add(namespace: &Namespace, one: &str, two: &str) -> Result<()> {
    namespace.ip(&["link", "add", one, "type", "veth", "peer", "name", two])?;
    namespace.ip(&["link", "set", "dev", one, "up"])?;
    namespace.ip(&["link", "set", "dev", two, "up"]).map(drop)
}

/// Sends hellos, each of a connection of its own, until one was seen: an interface that just came up drops frames
/// until the kernel has given it its queue, which happens some time after it is up by all that can be asked.
fn send_until(socket: &PacketSocket, first_port: u16, seen: impl Fn() -> bool) -> Result<()> {
    let mut ports = first_port..;
    poll::try_until(SOON, "a hello to be seen", || {
        let port = ports.next().context("a port")?;
        socket.send(&Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello()).build())?;
        Ok(seen().then_some(()))
    })
}

pub(crate) fn any_follows() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let mut sniffer = Sniffer::start(namespace, &["-i", "any", "--format", "json"])?;
    sniffer.ready()?;

    // There from the start: a veth and loopback.
    for address in [SocketAddr::new(pair.second.address(false), 443), "127.0.0.1:4433".parse()?] {
        let _server = Server::new(&certificate, address).start(namespace)?;
        let loopback = address.ip().is_loopback();
        let (from, interface) =
            if loopback { (namespace, "lo") } else { (&pair.first.namespace, "veth-b") };
        Client::new(address, NAME).run(from)?.established()?;
        sniffer.wait_for(SOON, |event| {
            event["event"] == "client_hello" && event["interface"] == interface
        })?;
    }
    // One that appears, carries a hello, and goes; twice.
    for round in 0..2 {
        add(namespace, "late-a", "late-b")?;
        poll::until(SOON, "both ends to be attached", || {
            let log = sniffer.stderr();
            let count = |name| {
                log.iter().filter(|line| line.contains(&format!("attached to {name}"))).count()
            };
            (count("late-a") > round && count("late-b") > round).then_some(())
        })?;
        let socket = PacketSocket::open(namespace, "late-a")?;
        let first_port = 5000 + 10_000 * u16::try_from(round)?;
        send_until(&socket, first_port, || {
            sniffer.events().iter().any(|event| {
                event["source_port"].as_u64() >= Some(first_port.into())
                    && event["interface"] == "late-a"
                    && event["direction"] == "egress"
                    && event["interfaces"] == json!(["late-a", "late-b"])
            })
        })?;
        namespace.ip(&["link", "delete", "late-a"])?;
        poll::until(SOON, "the log to say that they are gone", || {
            let log = sniffer.stderr();
            let gone = log.iter().filter(|line| line.contains("late-b is gone")).count();
            (gone > round).then_some(())
        })?;
    }
    sniffer.stop()?.check_sums().map(drop)
}

pub(crate) fn named_comes_back() -> Result<()> {
    let namespace = Namespace::new()?;
    add(&namespace, "here-a", "here-b")?;
    for hook in ["tc", "xdp"] {
        let arguments = ["-i", "here-b", "--hook", hook, "--format", "json"];
        let mut sniffer = Sniffer::start(&namespace, &arguments)?;
        sniffer.ready()?;
        namespace.ip(&["link", "delete", "here-a"])?;
        wait_for_log(&sniffer, "here-b is gone")?;
        add(&namespace, "here-a", "here-b")?;
        poll::until(SOON, "it to be attached again", || {
            let log = sniffer.stderr();
            (log.iter().filter(|line| line.contains("attached to here-b")).count() == 2)
                .then_some(())
        })?;
        let socket = PacketSocket::open(&namespace, "here-a")?;
        send_until(&socket, 6000, || {
            sniffer.events().iter().any(|event| event["interface"] == "here-b")
        })?;
        sniffer.stop()?.check_sums()?;
    }
    Ok(())
}

pub(crate) fn no_such() -> Result<()> {
    let pair = VethPair::new()?;
    let stopped =
        Sniffer::start(&pair.second.namespace, &["-i", "veth-b", "-i", "eth77"])?.finish(SOON)?;
    ensure!(stopped.status.code() == Some(1), "{stopped:#?}");
    let log = stopped.stderr.join("\n");
    ensure!(log.contains("eth77") && log.contains("lo, veth-b"), "{log}");
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}
