//! A reload that one interface refuses: all have what they had.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    poll,
    process::run,
    sniffer::Sniffer,
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(20);

/// The numbers of tls-sniff's programs on both sides of an interface's clsact qdisc.
fn programs(namespace: &Namespace, interface: &str) -> Result<BTreeSet<u32>> {
    let mut programs = BTreeSet::new();
    for side in ["ingress", "egress"] {
        let shown = run(namespace.command("tc").args(["filter", "show", "dev", interface, side]))?;
        for line in shown.lines().filter(|line| line.contains("tls_sniff_")) {
            let (_, rest) = line.split_once(" id ").context("the id of a filter's program")?;
            programs.insert(rest.split(' ').next().context("a number")?.parse()?);
        }
    }
    Ok(programs)
}

/// The qdisc of the second of two interfaces goes while the attacher sleeps, so that it hears of the reload first: the
/// first interface has the new programs for a moment. Then it notices, and attaches again what was in force.
pub(crate) fn all_or_none() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("config.toml");
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let text = |port: u16| format!("interface = ['lo', 'veth-b']\nport = {port}\n");
    fs::write(&config, text(443))?;
    let path = config.to_str().context("UTF-8")?;
    let arguments = ["--config", path, "--tc-attach", "clsact", "--format", "json"];
    let mut sniffer = Sniffer::start(namespace, &arguments)?;
    sniffer.ready()?;
    let said = |sniffer: &Sniffer, words: &str| {
        poll::until(SOON, words, || {
            sniffer.stderr().iter().any(|line| line.contains(words)).then_some(())
        })
        .with_context(|| sniffer.stderr().join("\n"))
    };
    let before = programs(namespace, "lo")?;
    ensure!(before.len() == 2, "{before:?}");
    let attacher = sniffer.attacher()?;
    let attacher = Pid::from_raw(attacher.try_into()?);

    kill(attacher, Signal::SIGSTOP)?;
    run(namespace.command("tc").args(["qdisc", "del", "dev", "veth-b", "clsact"]))?;
    fs::write(&config, text(8443))?;
    sniffer.signal(Signal::SIGHUP)?;
    // The daemon asks at once.
    thread::sleep(Duration::from_millis(500));
    kill(attacher, Signal::SIGCONT)?;
    said(&sniffer, "the configuration stays as it was")?;
    said(&sniffer, "veth-b: somebody removed tls-sniff's programs; attaching again")?;
    let refused = sniffer.stderr().into_iter().find(|line| line.contains("ERROR"));
    ensure!(refused.is_some_and(|line| line.contains("veth-b")), "{:#?}", sniffer.stderr());
    ensure!(programs(namespace, "lo")? == before, "{:?}", programs(namespace, "lo")?);
    poll::try_until(SOON, "the same programs on both", || {
        Ok((programs(namespace, "veth-b")? == before).then_some(()))
    })?;

    // What was in force is, and the next reload finds all as it should be.
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let send = |from: u16, to: u16| {
        let frame = Frame::ethernet().ipv4().tcp(from, to).payload(&client_hello());
        socket.send(&frame.build())
    };
    send(1001, 8443)?;
    send(1002, 443)?;
    sniffer.wait_for(SOON, |event| event["source_port"] == 1002)?;
    sniffer.signal(Signal::SIGHUP)?;
    said(&sniffer, "the configuration was read again; changed: port")?;
    send(1003, 443)?;
    send(1004, 8443)?;
    sniffer.wait_for(SOON, |event| event["source_port"] == 1004)?;
    ensure!(programs(namespace, "lo")? == programs(namespace, "veth-b")?);
    ensure!(programs(namespace, "lo")?.is_disjoint(&before));
    let stopped = sniffer.stop()?;
    for unwanted in ["\"source_port\":1001", "\"source_port\":1003"] {
        ensure!(!stopped.stdout.iter().any(|line| line.contains(unwanted)), "{stopped:#?}");
    }
    Ok(())
}
