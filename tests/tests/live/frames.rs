//! Crafted frames, sent through a veth pair: tags, counters, interfaces without a link layer.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tls_sniff_tests::{
    frame::{Frame, client_hello, flags},
    netns::Namespace,
    packet_socket::PacketSocket,
    sniffer::Sniffer,
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(10);

/// A tag is in the bytes at XDP, and in the skb only at TC ingress.
pub(crate) fn tagged(hook: &str) -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--hook", hook, "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let ethernet = Frame::ethernet;
    let stacks = [
        (1000, ethernet(), json!(null)),
        (1001, ethernet().vlan(0x8100, 100), json!([100])),
        (1002, ethernet().vlan(0x88a8, 200), json!([200])),
        (1003, ethernet().vlan(0x88a8, 200).vlan(0x8100, 4094), json!([200, 4094])),
    ];
    for (port, stack, vlan) in stacks {
        for v6 in [false, true] {
            let stack = if v6 { stack.clone().ipv6() } else { stack.clone().ipv4() };
            let port = if v6 { port + 100 } else { port };
            socket.send(&stack.tcp(port, 443).payload(&client_hello()).build())?;
            let event = sniffer.wait_for(SOON, |event| event["source_port"] == port)?;
            ensure!(event["vlan"] == vlan, "expected {vlan}: {event}");
            ensure!(event["event"] == "client_hello" && event["direction"] == "ingress");
        }
    }
    sniffer.stop()?.check_sums().map(drop)
}

pub(crate) fn counters_add_up() -> Result<()> {
    for hook in ["tc", "xdp"] {
        let pair = VethPair::new()?;
        let arguments = ["-i", "veth-b", "--hook", hook, "--format", "json"];
        let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
        sniffer.ready()?;
        let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
        // A hello opens its flow, which is another one here.
        let tcp = || Frame::ethernet().ipv4().tcp(1, 443);
        let kinds: [(&str, u64, Vec<u8>); 6] = [
            ("not_tcp", 3, Frame::ethernet().ipv4().udp(1, 53).payload(&[0; 32]).build()),
            ("no_payload", 5, tcp().flags(flags::ACK).build()),
            ("no_record", 7, tcp().payload(b"not TLS at all").build()),
            ("application_data", 11, tcp().payload(&[0x17, 3, 3, 0, 4, 1, 2, 3, 4]).build()),
            (
                "later_fragment",
                13,
                Frame::ethernet().ipv4().fragment(200, false).protocol(6).payload(&[0; 64]).build(),
            ),
            ("emitted", 17, Frame::ethernet().ipv4().tcp(2, 443).payload(&client_hello()).build()),
        ];
        for (_, times, frame) in &kinds {
            for _ in 0..*times {
                socket.send(frame)?;
            }
        }
        // The same hello again and again is one that was sent anew; the last one is another.
        socket.send(&Frame::ethernet().ipv4().tcp(3, 443).payload(&client_hello()).build())?;
        sniffer.wait_for(SOON, |event| event["source_port"] == 3)?;
        let stopped = sniffer.stop()?;
        stopped.check_sums()?;
        let ingress = if hook == "xdp" { "xdp" } else { "tc_ingress" };
        let counters = &stopped.events.last().context("stats")?["hooks"][ingress];
        for (name, times, _) in &kinds {
            let times = times + u64::from(*name == "emitted");
            ensure!(counters[name] == times, "{name} was sent {times} times: {counters}");
        }
        let sent = 1 + kinds.iter().map(|(_, times, _)| times).sum::<u64>();
        ensure!(counters["seen"] == sent, "{sent} packets were sent: {counters}");
    }
    Ok(())
}

pub(crate) fn application_data() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--format", "json", "--events", "application_data"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let data = [0x17, 3, 3, 0, 4, 1, 2, 3, 4];
    socket.send(&Frame::ethernet().ipv4().tcp(7, 443).payload(&data).build())?;
    let event = sniffer.wait_for(SOON, |event| event["event"] == "application_data")?;
    ensure!(event["record_length"] == 4 && event["record_version"] == "TLS 1.2", "{event}");
    sniffer.stop()?.check_sums().map(drop)
}

/// An expression, in several words: at each hook what does not match is filtered, and counted so.
pub(crate) fn expression(hook: &str) -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--hook", hook, "--format", "json"];
    let expression = ["port", "443", "and", "not", "src", "host", "10.77.9.9"];
    let arguments = [&arguments[..], &expression].concat();
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let other = || Frame::ethernet().ipv4().addresses([10, 77, 9, 9], [10, 77, 1, 2]);
    let ends = [
        (other().tcp(1, 443), false),
        (Frame::ethernet().ipv4().tcp(2, 8443), false),
        (Frame::ethernet().ipv6().tcp(3, 8443), false),
        (Frame::ethernet().ipv6().tcp(4, 443), true),
        (Frame::ethernet().ipv4().tcp(5, 443), true),
    ];
    for (frame, _) in &ends {
        socket.send(&frame.clone().payload(&client_hello()).build())?;
    }
    sniffer.wait_for(SOON, |event| event["source_port"] == 5)?;
    let stopped = sniffer.stop()?;
    stopped.check_sums()?;
    let seen = stopped.events.iter().filter_map(|event| event["source_port"].as_u64());
    let seen: Vec<_> = seen.collect();
    ensure!(seen == [4, 5], "events from the ports {seen:?}");
    let ingress = if hook == "xdp" { "xdp" } else { "tc_ingress" };
    let counters = &stopped.stats()?["hooks"][ingress];
    let filtered = counters["filtered"].as_u64().context("filtered")?;
    // The kernel sends packets of its own on a veth: those are filtered too.
    ensure!(filtered >= 3 && counters["emitted"] == 2, "{counters}");
    Ok(())
}

/// A tun interface: what a program behind it would get is what TC sees at egress.
pub(crate) fn without_link_layer() -> Result<()> {
    let namespace = Namespace::new()?;
    namespace.ip(&["tuntap", "add", "dev", "tun0", "mode", "tun"])?;
    namespace.ip(&["link", "set", "dev", "tun0", "up"])?;
    for hook in ["tc", "xdp"] {
        let arguments = ["-i", "tun0", "--hook", hook, "--format", "json"];
        let mut sniffer = Sniffer::start(&namespace, &arguments)?;
        sniffer.ready()?;
        let socket = PacketSocket::open(&namespace, "tun0")?;
        for (port, packet) in [(1, Frame::raw().ipv4()), (2, Frame::raw().ipv6())] {
            socket.send(&packet.tcp(port, 443).payload(&client_hello()).build())?;
            let event = sniffer.wait_for(SOON, |event| event["source_port"] == port)?;
            ensure!(event["event"] == "client_hello" && event["interface"] == "tun0", "{event}");
            ensure!(event["direction"] == "egress" && event["hook"] == "tc", "{event}");
        }
        sniffer.stop()?.check_sums()?;
    }
    Ok(())
}
