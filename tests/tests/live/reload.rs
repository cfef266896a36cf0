//! SIGHUP: other filters while real handshakes go on, without a gap.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType, loaded_links};
use nix::sys::signal::Signal;
use serde_json::Value;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    peer::{Certificate, Client, Server},
    poll,
    process::run,
    sniffer::Sniffer,
    veth::VethPair,
};

use crate::handshakes::NAME;

const SOON: Duration = Duration::from_secs(20);

/// Ports whose handshakes both filters want, and only the wide one.
const ALWAYS: u16 = 443;
const SOMETIMES: u16 = 8443;

/// A port of hellos of which half is sent before a change and half behind it: both filters want it.
const HALVED: u16 = 444;

/// How often the filters change, and hellos that are halved by each change.
const SWAPS: u16 = 4;
const HELLOS: u16 = 8;

/// Clients at a time.
const CLIENTS: usize = 2;

/// The programs on veth-b, and what holds them: links by number, filters by what `tc` shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attached {
    programs: BTreeSet<u32>,
    holders: BTreeSet<String>,
}

pub(super) fn attached(namespace: &Namespace) -> Result<Attached> {
    let (mut programs, mut holders) = (BTreeSet::new(), BTreeSet::new());
    for (side, name) in [(TcAttachType::Ingress, "ingress"), (TcAttachType::Egress, "egress")] {
        let tcx = namespace.enter(|| SchedClassifier::query_tcx("veth-b", side))?;
        // Before 6.6 there is none.
        programs.extend(tcx.into_iter().flat_map(|(_, programs)| programs).map(|it| it.id()));
        let filters = run(namespace.command("tc").args(["filter", "show", "dev", "veth-b", name]))?;
        for line in filters.lines().filter(|line| line.contains("tls_sniff_")) {
            let (filter, rest) = line.split_once(" id ").context("the id of a filter's program")?;
            programs.insert(rest.split(' ').next().context("a number")?.parse()?);
            holders.insert(format!("{name} {}", filter.split(" tag ").next().unwrap_or(filter)));
        }
    }
    let link = run(namespace.command("ip").args(["-j", "-d", "link", "show", "dev", "veth-b"]))?;
    let link: Value = serde_json::from_str(&link)?;
    programs.extend(link[0]["xdp"]["prog"]["id"].as_u64().map(u32::try_from).transpose()?);
    for link in loaded_links().filter_map(Result::ok) {
        if programs.contains(&link.program_id()) {
            holders.insert(format!("link {}", link.id()));
        }
    }
    ensure!(programs.len() == 2 && holders.len() == 2, "{programs:?} {holders:?}");
    Ok(Attached { programs, holders })
}

/// Sends SIGHUP with another file, and waits until the log says `answer` once more.
fn reload(sniffer: &mut Sniffer, file: &Path, text: &str, answer: &str) -> Result<()> {
    let count =
        |sniffer: &Sniffer| sniffer.stderr().iter().filter(|line| line.contains(answer)).count();
    let before = count(sniffer);
    fs::write(file, text)?;
    sniffer.signal(Signal::SIGHUP)?;
    poll::until(SOON, answer, || (count(sniffer) > before).then_some(()))
        .with_context(|| sniffer.stderr().join("\n"))
}

/// Half of each of a change's hellos.
fn send_half(socket: &PacketSocket, swap: u16, second: bool) -> Result<()> {
    let hello = client_hello();
    // Behind what tells a hello, so that the rest is known by its flow alone.
    let (one, other) = hello.split_at(hello.len() / 2);
    let (sequence, payload) = if second { (1 + one.len(), other) } else { (1, one) };
    for port in (10_000 + swap * HELLOS..).take(HELLOS.into()) {
        // Nobody's addresses: no stack has a say in it.
        let frame = Frame::ethernet().ipv4().addresses([192, 0, 2, 1], [192, 0, 2, 2]);
        let frame = frame.tcp(port, HALVED).seq(sequence.try_into()?);
        socket.send(&frame.payload(payload).build())?;
    }
    Ok(())
}

/// Handshakes with a port; their hellos must be whole, and they end as they should.
fn whole(events: &[Value], port: u16, outcome: &str) -> Result<usize> {
    let of_port = |event: &&Value| event["server_port"] == port;
    let handshakes: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "handshake").filter(of_port).collect();
    for handshake in &handshakes {
        ensure!(handshake["outcome"] == outcome, "{handshake}");
    }
    let to_port =
        |event: &&Value| event["event"] == "client_hello" && event["destination_port"] == port;
    let hellos: Vec<&Value> = events.iter().filter(to_port).collect();
    ensure!(hellos.iter().all(|hello| hello.get("partial").is_none()), "{hellos:#?}");
    ensure!(hellos.len() == handshakes.len(), "{} of {}", hellos.len(), handshakes.len());
    Ok(hellos.len())
}

/// No handshake that both filters want is lost, told twice or in part while one takes the other's place; links and
/// counters stay.
pub(crate) fn swapped(hook: &str, how: &str) -> Result<()> {
    const READ: &str = "the configuration was read again";
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let (clients, servers) = (&pair.first.namespace, &pair.second.namespace);
    for end in [&pair.first, &pair.second] {
        // Hellos of several segments: those behind the first are known by their flow alone.
        let small = ["mtu", "576", "gso_max_segs", "1"];
        end.namespace.ip(&[&["link", "set", &end.interface], &small[..]].concat())?;
    }
    let alpn: Vec<String> = (0..60).map(|number| format!("protocol-number-{number:03}")).collect();
    let address = |port| SocketAddr::new(pair.second.address(false), port);
    let client = |port| Client::new(address(port), NAME).alpn(&alpn.join(","));
    let running =
        [ALWAYS, SOMETIMES].map(|port| Server::new(&certificate, address(port)).start(servers));
    let _running = running.into_iter().collect::<Result<Vec<_>>>()?;

    let file = dir.path().join("config.toml");
    let (narrow, wide) = (format!("port = [{ALWAYS}, {HALVED}]\n"), "# all\n");
    fs::write(&file, &narrow)?;
    let mut arguments =
        vec!["-i", "veth-b", "--hook", hook, "--tc-attach", how, "--format", "json"];
    arguments.extend(["--stats-interval", "1", "--config", file.to_str().context("UTF-8")?]);
    let mut sniffer = Sniffer::start(servers, &arguments)?;
    sniffer.ready()?;
    let first = attached(servers)?;
    let socket = PacketSocket::open(clients, "veth-a")?;

    let stop = AtomicBool::new(false);
    let (always, sometimes) = thread::scope(|scope| {
        let stream = || -> Result<usize> {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                client(ALWAYS).run(clients)?.established()?;
                count += 1;
            }
            Ok(count)
        };
        let streams: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(stream)).collect();
        let mut swaps = || -> Result<usize> {
            let mut wanted = 0;
            for swap in 0..SWAPS {
                let is_wide = swap % 2 == 0;
                let text = if is_wide { wide } else { &narrow };
                send_half(&socket, swap, false)?;
                reload(&mut sniffer, &file, text, READ)?;
                send_half(&socket, swap, true)?;
                client(SOMETIMES).run(clients)?.established()?;
                wanted += usize::from(is_wide);
            }
            let stays = "the configuration stays as it was";
            reload(&mut sniffer, &file, "port = [\"none\"]\n", stays)?;
            reload(&mut sniffer, &file, &format!("{narrow}ring-bytes = 65536\n"), stays)?;
            client(SOMETIMES).run(clients)?.established()?;
            Ok(wanted)
        };
        let wanted = swaps();
        stop.store(true, Ordering::Relaxed);
        let counts = streams.into_iter().map(|it| it.join().unwrap_or_else(|_| Ok(0)));
        Ok::<_, anyhow::Error>((counts.sum::<Result<usize>>()?, wanted?))
    })?;

    let last = attached(servers)?;
    ensure!(first.holders == last.holders, "{first:?} {last:?}");
    ensure!(first.programs.is_disjoint(&last.programs), "{first:?} {last:?}");
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{:#?}", stopped.stderr);
    stopped.check_sums()?;
    println!("{always} handshakes with {ALWAYS}, {sometimes} with {SOMETIMES}, {SWAPS} swaps");
    let told = |port, outcome| whole(&stopped.events, port, outcome);
    ensure!(told(ALWAYS, "completed")? == always, "{always} were made");
    ensure!(told(SOMETIMES, "completed")? == sometimes, "{sometimes} were wanted");
    ensure!(told(HALVED, "still_open")? == usize::from(SWAPS * HELLOS), "not all that were halved");
    for hook in ["tc_ingress", "tc_egress", "xdp"] {
        let seen = stopped.events.iter().filter_map(|event| event["hooks"][hook]["seen"].as_u64());
        ensure!(seen.is_sorted(), "{hook} forgot packets");
    }
    Ok(())
}
