//! `--tap`: what comes in is looked at, and the stack never sees it.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    process::run,
    sniffer::{Sniffer, Stopped},
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(10);

/// IP packets of both families that the stack of a namespace has received so far.
fn received(namespace: &Namespace) -> Result<u64> {
    let file = |name: &str| run(namespace.command("cat").arg(format!("/proc/net/{name}")));
    // Two lines: names, figures.
    let v4 = file("snmp")?;
    let mut rows = v4.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, figures) = (rows.next().context("names")?, rows.next().context("figures")?);
    let place = names.split(' ').position(|name| name == "InReceives").context("InReceives")?;
    let v4: u64 = figures.split(' ').nth(place).context("a figure")?.parse()?;
    let v6 = file("snmp6")?;
    let line =
        v6.lines().find(|line| line.starts_with("Ip6InReceives")).context("Ip6InReceives")?;
    let v6: u64 = line.split_whitespace().nth(1).context("a figure")?.parse()?;
    Ok(v4 + v6)
}

/// Whether a datagram gets through from the first end to the second.
fn gets_through(pair: &VethPair, patience: Duration) -> Result<bool> {
    let server = pair.second.namespace.enter(|| UdpSocket::bind((pair.second.ipv4, 0)))??;
    let client = pair.first.namespace.enter(|| UdpSocket::bind((pair.first.ipv4, 0)))??;
    server.set_read_timeout(Some(Duration::from_millis(50)))?;
    let (address, started) = (server.local_addr()?, Instant::now());
    while started.elapsed() < patience {
        client.send_to(b"ping", address)?;
        if server.recv(&mut [0; 16]).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// While it runs, handshakes of others are told and nothing gets through, whatever it is; afterwards all does.
pub(crate) fn nothing_passes() -> Result<()> {
    for mode in ["native", "generic"] {
        let pair = VethPair::new()?;
        let target = &pair.second.namespace;
        ensure!(gets_through(&pair, SOON)?, "before");
        let arguments =
            ["-i", "veth-b", "--tap", "--tap-force", "--xdp-mode", mode, "--format", "json"];
        let mut sniffer = Sniffer::start(target, &arguments)?;
        sniffer.ready()?;
        let before = received(target)?;
        let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
        let ethernet = Frame::ethernet;
        let hello = client_hello();
        let frames = [
            ethernet().ipv4().tcp(1, 443).payload(&hello),
            ethernet().ipv6().tcp(2, 443).payload(&hello),
            // To another host than this one.
            ethernet().mac([2; 6], [4; 6]).ipv4().tcp(3, 443).payload(&hello),
            ethernet().vlan(0x8100, 7).ipv4().tcp(4, 443).payload(&hello),
            ethernet().ipv4().tcp(5, 443).payload(b"not TLS at all"),
            ethernet().ipv4().udp(1, 53).payload(&[0; 32]),
            ethernet().ether_type(0x0806).payload(&[0; 28]),
        ];
        for frame in &frames {
            socket.send(&frame.build())?;
        }
        for port in 1..=4 {
            let event = sniffer.wait_for(SOON, |event| event["source_port"] == port)?;
            ensure!(event["event"] == "client_hello" && event["hook"] == "xdp", "{event}");
        }
        ensure!(!gets_through(&pair, Duration::from_millis(300))?, "{mode}: it got through");
        ensure!(received(target)? == before, "{mode}: the stack received something");
        let stopped = sniffer.stop()?;
        let packets = stopped.check_sums()?;
        ensure!(packets > frames.len() as u64, "{packets} packets");
        let hooks = stopped.stats()?["hooks"].as_object().context("hooks")?;
        ensure!(hooks.keys().eq(["xdp"]), "{hooks:?}");
        ensure!(gets_through(&pair, SOON)?, "{mode}: nothing gets through afterwards");
        ensure!(received(target)? > before, "{mode}");
    }
    Ok(())
}

/// An interface without addresses is a tap without being forced; one that is used is refused, with what it is used for.
pub(crate) fn only_unused() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let refused = |arguments: &[&str], code: i32, why: &str| -> Result<()> {
        let Stopped { status, stderr, .. } = Sniffer::start(namespace, arguments)?.finish(SOON)?;
        let log = stderr.join("\n");
        ensure!(status.code() == Some(code) && log.contains(why), "{arguments:?}: {status}: {log}");
        Ok(())
    };
    let tap = ["-i", "veth-b", "--tap"];
    let address = pair.second.ipv4.to_string();
    refused(&tap, 1, &format!("veth-b is no tap: it has the address {address}"))?;
    refused(&["-i", "lo", "--tap"], 1, "it is loopback")?;
    refused(&["--tap"], 2, "needs the interface by its name")?;
    refused(&["-i", "any", "--tap", "--tap-force"], 2, "needs the interface by its name")?;
    refused(&["-i", "veth-b", "--tap", "--hook", "tc"], 2, "--hook tc")?;
    refused(&["-i", "veth-b", "--tap-force"], 2, "--tap")?;
    refused(&["-r", "x.pcap", "--tap"], 2, "--read")?;
    namespace.ip(&["-4", "address", "flush", "dev", "veth-b"])?;
    refused(&tap, 1, &format!("it has the address {}", pair.second.ipv6))?;
    namespace.ip(&["-6", "address", "flush", "dev", "veth-b"])?;
    namespace.ip(&["-6", "address", "add", "fe80::7/64", "dev", "veth-b", "nodad"])?;

    let above = ["link", "add", "link", "veth-b", "name", "on-top", "type", "macvlan"];
    namespace.ip(&above)?;
    refused(&tap, 1, "on-top is on top of it")?;
    namespace.ip(&["link", "delete", "on-top"])?;
    namespace.ip(&["link", "add", "bridge0", "type", "bridge"])?;
    namespace.ip(&["link", "set", "veth-b", "master", "bridge0"])?;
    refused(&tap, 1, "it is a port of bridge0")?;
    namespace.ip(&["link", "delete", "bridge0"])?;

    let mut sniffer = Sniffer::start(namespace, &[&tap[..], &["--format", "json"]].concat())?;
    sniffer.ready()?;
    ensure!(sniffer.stderr().join("\n").contains("is not promiscuous"), "{:?}", sniffer.stderr());
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    socket.send(&Frame::ethernet().ipv4().tcp(9, 443).payload(&client_hello()).build())?;
    sniffer.wait_for(SOON, |event| event["source_port"] == 9)?;
    sniffer.stop()?.check_sums().map(drop)
}
