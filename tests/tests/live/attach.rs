//! What is attached while tls-sniff runs, beside whom, and that nothing is when it has ended.

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tls_sniff_tests::{
    attached::{clsact, programs, xdp},
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    peer::{Certificate, Client, Server},
    poll,
    process::{children, run},
    sniffer::Sniffer,
    veth::VethPair,
};

use super::handshakes::{NAME, wait_for_server_hello};

const SOON: Duration = Duration::from_secs(10);

fn start(pair: &VethPair, hook: &str, how: &str) -> Result<Sniffer> {
    let arguments = ["-i", "veth-b", "--hook", hook, "--tc-attach", how, "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    Ok(sniffer)
}

fn nothing_is_left(namespace: &Namespace) -> Result<()> {
    poll::until(SOON, "nothing to be attached", || {
        let empty = programs(namespace).ok()? == 0 && clsact(namespace).ok()?.trim().is_empty();
        empty.then_some(())
    })
    .with_context(|| format!("{:?} {:?}", xdp(namespace), clsact(namespace)))
}

pub(crate) fn terminated(how: &str) -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let sniffer = start(&pair, "tc", how)?;
    ensure!(programs(namespace)? == 2, "{}", clsact(namespace)?);
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success());
    // Gone when the process is, not some time later.
    ensure!(programs(namespace)? == 0 && clsact(namespace)?.is_empty(), "{}", clsact(namespace)?);
    Ok(())
}

pub(crate) fn killed(hook: &str, how: &str) -> Result<()> {
    let pair = VethPair::new()?;
    let mut sniffer = start(&pair, hook, how)?;
    ensure!(programs(&pair.second.namespace)? == 2, "{}", clsact(&pair.second.namespace)?);
    sniffer.signal(Signal::SIGKILL)?;
    drop(sniffer.finish(SOON)?);
    nothing_is_left(&pair.second.namespace)
}

/// The first child of a process.
fn child_of(parent: u32) -> Result<Pid> {
    let child = *children(parent)?.first().context("a child process")?;
    Ok(Pid::from_raw(child.try_into()?))
}

/// The process id of the attacher of a sniffer.
fn attacher_of(sniffer: &Sniffer) -> Result<Pid> {
    child_of(sniffer.id())
}

/// The process id of the guard of a sniffer, which is a child of the attacher.
fn guard_of(sniffer: &Sniffer) -> Result<Pid> {
    child_of(attacher_of(sniffer)?.as_raw().try_into()?)
}

/// The process that uses the filters removes them itself if the guard no longer can.
pub(crate) fn guard_killed() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let sniffer = start(&pair, "tc", "clsact")?;
    kill(guard_of(&sniffer)?, Signal::SIGKILL)?;
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    ensure!(programs(namespace)? == 0 && clsact(namespace)?.is_empty(), "{}", clsact(namespace)?);
    Ok(())
}

/// Who attaches next notices, and another guard answers for all.
pub(crate) fn guard_replaced() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    namespace.ip(&["link", "add", "extra", "type", "veth", "peer", "name", "other"])?;
    let sniffer = Sniffer::start(namespace, &["-i", "any", "--tc-attach", "clsact"])?;
    let attached = |name: &str| {
        let said = format!("attached to {name}");
        poll::until(SOON, &said, || {
            sniffer.stderr().iter().any(|line| line.contains(&said)).then_some(())
        })
        .with_context(|| sniffer.stderr().join("\n"))
    };
    attached("veth-b")?;
    let guard = guard_of(&sniffer)?;
    kill(guard, Signal::SIGKILL)?;
    poll::until(SOON, "the guard to be dead", || {
        let status = fs::read_to_string(format!("/proc/{guard}/status")).unwrap_or_default();
        (status.is_empty() || status.contains("State:\tZ")).then_some(())
    })?;
    namespace.ip(&["link", "set", "dev", "extra", "up"])?;
    attached("extra")?;
    let attacher = attacher_of(&sniffer)?;
    ensure!(guard_of(&sniffer)? != guard);
    // Without the attacher there is the second guard alone.
    kill(attacher, Signal::SIGKILL)?;
    drop(sniffer.finish(SOON)?);
    nothing_is_left(namespace)
}

/// On an ingress qdisc a filter for egress would see ingress.
pub(crate) fn ingress_qdisc() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    run(namespace.command("tc").args(["qdisc", "add", "dev", "veth-b", "ingress"]))?;
    let arguments = ["-i", "veth-b", "--tc-attach", "clsact"];
    let stopped = Sniffer::start(namespace, &arguments)?.finish(SOON)?;
    ensure!(stopped.status.code() == Some(1), "{stopped:#?}");
    let log = stopped.stderr.join("\n");
    ensure!(log.contains("ingress qdisc") && log.contains("clsact"), "{log}");
    ensure!(programs(namespace)? == 0, "{}", clsact(namespace)?);
    Ok(())
}

/// An interface that leaves the namespace and comes back under its index has no qdisc any more.
pub(crate) fn leaves_and_comes_back() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let sniffer = start(&pair, "tc", "clsact")?;
    let said = |text: &str| sniffer.stderr().iter().filter(|line| line.contains(text)).count();
    namespace.ip(&["link", "set", "dev", "veth-b", "netns", pair.first.namespace.name()])?;
    poll::until(SOON, "veth-b to be gone", || (said("veth-b is gone") == 1).then_some(()))?;
    let there = &pair.first.namespace;
    there.ip(&["link", "set", "dev", "veth-b", "netns", namespace.name()])?;
    poll::until(SOON, "veth-b to be attached again", || {
        (said("attached to veth-b") == 2).then_some(())
    })
    .with_context(|| sniffer.stderr().join("\n"))?;
    ensure!(programs(namespace)? == 2, "{}", clsact(namespace)?);
    drop(sniffer.stop()?);
    ensure!(programs(namespace)? == 0, "{}", clsact(namespace)?);
    Ok(())
}

/// Somebody removes the qdisc, or one filter: tls-sniff says so and attaches again.
pub(crate) fn removed_by_others() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let sniffer = start(&pair, "tc", "clsact")?;
    let removals: [&[&str]; 2] = [
        &["qdisc", "del", "dev", "veth-b", "clsact"],
        &["filter", "del", "dev", "veth-b", "egress"],
    ];
    for (round, removal) in removals.into_iter().enumerate() {
        run(namespace.command("tc").args(removal))?;
        poll::until(SOON, "it to be attached again", || {
            let log = sniffer.stderr();
            let count = log.iter().filter(|line| line.contains("attached to veth-b")).count();
            (count == round + 2).then_some(())
        })
        .with_context(|| sniffer.stderr().join("\n"))?;
        ensure!(programs(namespace)? == 2, "{}", clsact(namespace)?);
    }
    drop(sniffer.stop()?);
    ensure!(programs(namespace)? == 0 && clsact(namespace)?.is_empty(), "{}", clsact(namespace)?);
    Ok(())
}

/// As when a whole cgroup is killed.
pub(crate) fn guard_killed_too() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let mut sniffer = start(&pair, "tc", "clsact")?;
    let attacher = attacher_of(&sniffer)?;
    kill(guard_of(&sniffer)?, Signal::SIGKILL)?;
    kill(attacher, Signal::SIGKILL)?;
    sniffer.signal(Signal::SIGKILL)?;
    drop(sniffer.finish(SOON)?);
    ensure!(programs(namespace)? == 2, "the filters outlive all: {}", clsact(namespace)?);
    let next = start(&pair, "tc", "clsact")?;
    ensure!(programs(namespace)? == 2, "the next has removed them: {}", clsact(namespace)?);
    drop(next.stop()?);
    ensure!(programs(namespace)? == 0, "{}", clsact(namespace)?);
    Ok(())
}

/// A filter and a qdisc that somebody else put there stay.
pub(crate) fn leaves_others_alone() -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let tc = |arguments: &[&str]| run(namespace.command("tc").args(arguments));
    tc(&["qdisc", "add", "dev", "veth-b", "clsact"])?;
    // A classic BPF program that matches nothing.
    tc(&[
        "filter",
        "add",
        "dev",
        "veth-b",
        "ingress",
        "prio",
        "7",
        "bpf",
        "bytecode",
        "1,6 0 0 0",
        "classid",
        "1:1",
    ])?;
    let before = clsact(namespace)?;
    for kill_it in [false, true] {
        let mut sniffer = start(&pair, "tc", "clsact")?;
        ensure!(programs(namespace)? == 2, "{}", clsact(namespace)?);
        let shown = clsact(namespace)?;
        let (ours, theirs) = (shown.find("tls_sniff_in"), shown.find("bytecode"));
        ensure!(ours.is_some() && ours < theirs, "tls-sniff comes first: {shown}");
        let signal = if kill_it { Signal::SIGKILL } else { Signal::SIGTERM };
        sniffer.signal(signal)?;
        drop(sniffer.finish(SOON)?);
        poll::until(SOON, "tls-sniff's filters to go", || {
            (programs(namespace).ok()? == 0).then_some(())
        })?;
        ensure!(clsact(namespace)? == before, "{} was {before}", clsact(namespace)?);
    }
    Ok(())
}

pub(crate) fn two_at_once(how: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let address = SocketAddr::new(pair.second.address(false), 443);
    let _server = Server::new(&certificate, address).start(namespace)?;
    let mut one = start(&pair, "tc", how)?;
    let mut two = start(&pair, "tc", how)?;
    Client::new(address, NAME).run(&pair.first.namespace)?.established()?;
    wait_for_server_hello(&mut one)?;
    wait_for_server_hello(&mut two)?;
    // The first to go takes nothing of the other with it.
    drop(one.stop()?);
    ensure!(programs(namespace)? == 2, "{}", clsact(namespace)?);
    let before = two.events().len();
    Client::new(address, NAME).run(&pair.first.namespace)?.established()?;
    poll::until(SOON, "the second to see another handshake", || {
        (two.events().len() >= before + 2).then_some(())
    })?;
    drop(two.stop()?);
    ensure!(programs(namespace)? == 0, "{} {}", xdp(namespace)?, clsact(namespace)?);
    Ok(())
}

pub(crate) fn xdp_taken() -> Result<()> {
    let pair = VethPair::new()?;
    let _first = start(&pair, "xdp", "auto")?;
    let second = Sniffer::start(&pair.second.namespace, &["-i", "veth-b", "--hook", "xdp"])?;
    let stopped = second.finish(SOON)?;
    ensure!(stopped.status.code() == Some(1), "{stopped:#?}");
    let log = stopped.stderr.join("\n");
    ensure!(log.contains("veth-b") && log.contains("tls_sniff_xdp"), "{log}");
    ensure!(log.contains("--hook tc"), "it says what to do: {log}");
    Ok(())
}

/// Without the process that holds the programs nothing is attached; the other one says so, accounts, and ends.
pub(crate) fn attacher_killed(how: &str) -> Result<()> {
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let arguments = ["-i", "veth-b", "--tc-attach", how, "--format", "json"];
    let mut sniffer =
        Sniffer::start(namespace, &[&arguments[..], &["--stats-interval", "1"]].concat())?;
    sniffer.ready()?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    // Nobody's addresses: there is no answer.
    let frame = Frame::ethernet().ipv4().addresses([192, 0, 2, 1], [192, 0, 2, 2]);
    socket.send(&frame.tcp(1234, 443).payload(&client_hello()).build())?;
    let emitted = |event: &serde_json::Value| event["hooks"]["tc_ingress"]["emitted"] == 1;
    // Counted while somebody still counts.
    sniffer.wait_for(SOON, |event| event["event"] == "stats" && emitted(event))?;
    kill(attacher_of(&sniffer)?, Signal::SIGKILL)?;
    let stopped = sniffer.finish(SOON)?;
    ensure!(stopped.status.code() == Some(1), "{stopped:#?}");
    let log = stopped.stderr.join("\n");
    ensure!(log.contains("was killed") && log.contains("hint: start tls-sniff again"), "{log}");
    stopped.check_sums()?;
    ensure!(emitted(stopped.stats()?), "{stopped:#?}");
    nothing_is_left(namespace)
}

/// One that does not answer is given up at another signal, and it is said who holds what is still attached.
pub(crate) fn attacher_stopped() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--stats-interval", "1", "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let seen = |event: &serde_json::Value| event["hooks"]["tc_ingress"]["seen"].as_u64();
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let frame = Frame::ethernet().ipv4().addresses([192, 0, 2, 1], [192, 0, 2, 2]);
    socket.send(&frame.tcp(1234, 443).payload(&client_hello()).build())?;
    let counted = sniffer.wait_for(SOON, |event| seen(event).is_some_and(|seen| seen > 0))?;
    let attacher = attacher_of(&sniffer)?;
    kill(attacher, Signal::SIGSTOP)?;
    sniffer.signal(Signal::SIGTERM)?;
    // Two that come at once are one.
    sniffer.signal(Signal::SIGINT)?;
    std::thread::sleep(Duration::from_secs(1));
    let early = sniffer.stderr().iter().any(|line| line.contains("does not answer"));
    sniffer.signal(Signal::SIGTERM)?;
    let stopped = sniffer.finish(Duration::from_secs(3));
    // First of all: nobody else ends it.
    kill(attacher, Signal::SIGKILL)?;
    let stopped = stopped?;
    ensure!(!early && stopped.status.code() == Some(1), "{stopped:#?}");
    let log = stopped.stderr.join("\n");
    ensure!(log.contains(&format!("{attacher}, does not answer")), "{log}");
    ensure!(seen(stopped.stats()?) >= seen(&counted), "{stopped:#?}");
    nothing_is_left(&pair.second.namespace)
}

/// Both modes on request, and which one is said.
pub(crate) fn xdp_modes() -> Result<()> {
    let pair = VethPair::new()?;
    for (mode, said) in
        [("auto", "native XDP"), ("native", "native XDP"), ("generic", "generic XDP")]
    {
        let arguments = ["-i", "veth-b", "--hook", "xdp", "--xdp-mode", mode];
        let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
        sniffer.ready()?;
        ensure!(sniffer.stderr().iter().any(|line| line.contains(said)), "{:?}", sniffer.stderr());
        drop(sniffer.stop()?);
        nothing_is_left(&pair.second.namespace)?;
    }
    Ok(())
}
