//! Every capture of the corpus, sent through a veth pair: live, tls-sniff tells of it what `-r` tells.
//!
//! ```text
//!  capture ─► frames that a veth carries ─┬─► pcap, one millisecond apart ─► tls-sniff -r ───┐
//!                                         └─► packet socket ─► veth ─► tls-sniff -i ─────────┴─► the same
//! ```
//!
//! Timing is left out: time stamps and durations of both runs. What depends on time (a handshake that was
//! silent for 30 seconds) is the same because `-r` reads the frames as close together as they are sent.
//! What cannot be sent is listed with the reason: another link type than Ethernet, and packets that a
//! snaplen cut, whose missing bytes a frame on a wire cannot miss.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::Value;
use tls_sniff::{
    filter::PacketFilter,
    source::file::{CaptureFile, Examiner},
};
use tls_sniff_common::{flow::WireAddress, headers::LinkLayer};
use tls_sniff_tests::{
    need::corpus,
    packet_socket::PacketSocket,
    pcap::{link_type::ETHERNET, pcap},
    sniffer::{Sniffer, Stopped, binary},
    veth::{Options, VethPair},
};

/// The largest of a veth.
const MTU: u16 = 65535;
const ETHERNET_HEADER: usize = 14;
const SOON: Duration = Duration::from_secs(60);

const EVENTS: &str = "client_hello,server_hello,certificate,alert,handshake,handshake_message,\
    change_cipher_spec";

/// Two ends, the lower first.
type Flow = [(WireAddress, u16); 2];

/// The frames of a capture, and how many of it cannot be sent, by the reason.
#[derive(Default)]
struct Sendable {
    frames: Vec<Vec<u8>>,
    /// Connections that tls-sniff looks at.
    flows: BTreeSet<Flow>,
    unsent: BTreeMap<&'static str, usize>,
}

fn sendable(path: &Path) -> Result<Sendable> {
    let mut file = CaptureFile::open(path)?;
    let examiner = Examiner::new(u32::MAX, PacketFilter::default().rules());
    let mut sendable = Sendable::default();
    // A damaged capture ends where it does for `-r` too.
    while let Ok(Some(frame)) = file.next() {
        let bytes = frame.packet.bytes;
        let why = if frame.link != LinkLayer::Ethernet {
            "not Ethernet"
        } else if bytes.len() < frame.packet.wire_len {
            "cut by a snaplen"
        } else if bytes.len() < ETHERNET_HEADER {
            "shorter than an Ethernet header"
        } else if bytes.len() > usize::from(MTU) + ETHERNET_HEADER {
            "longer than the MTU"
        } else {
            if let Ok(event) = examiner.examine(&frame) {
                let header = event.header;
                let mut flow = [
                    (header.source, header.source_port),
                    (header.destination, header.destination_port),
                ];
                flow.sort_unstable();
                sendable.flows.insert(flow);
            }
            sendable.frames.push(bytes.to_vec());
            continue;
        };
        *sendable.unsent.entry(why).or_insert(0) += 1;
    }
    for (_, _, skipped) in file.skipped() {
        *sendable.unsent.entry("a link type that is not read").or_insert(0) +=
            usize::try_from(skipped)?;
    }
    Ok(sendable)
}

/// A pcap of frames a millisecond apart, from now on: certificates expire.
fn from_now_on(frames: &[Vec<u8>]) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let at = |milliseconds| now + Duration::from_millis(milliseconds);
    Ok(pcap(ETHERNET, (0..).map(at).zip(frames.iter().cloned())))
}

/// The events without what is of this run: where and when.
fn told(stopped: &Stopped) -> Vec<String> {
    let mut told: Vec<String> = stopped
        .events
        .iter()
        .filter(|event| event["event"] != "stats")
        .map(|event| {
            let mut event = event.clone();
            if let Some(fields) = event.as_object_mut() {
                for name in ["timestamp", "start", "hook", "interface", "direction"] {
                    fields.remove(name);
                }
                // That they were seen must agree, not how long they were.
                for (_, value) in fields.iter_mut().filter(|(name, _)| name.ends_with("_us")) {
                    *value = Value::Bool(true);
                }
            }
            event.to_string()
        })
        .collect();
    // Handshakes that are over by silence are told when a timer says so.
    told.sort_unstable();
    told
}

fn offline(frames: &[Vec<u8>]) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("replayed.pcap");
    fs::write(&path, from_now_on(frames)?)?;
    let mut command = std::process::Command::new(binary()?);
    command.arg("-r").arg(&path).args(["--format", "json", "--events", EVENTS]);
    let stopped = Sniffer::spawn(command)?.finish(SOON)?;
    ensure!(stopped.status.success(), "{:?}", stopped.stderr);
    Ok(told(&stopped))
}

fn live(hook: &str, frames: &[Vec<u8>]) -> Result<Vec<String>> {
    let pair = VethPair::with(Options { mtu: MTU, ..Options::default() })?;
    let arguments = ["-i", "veth-b", "--hook", hook, "--format", "json", "--events", EVENTS];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    for frame in frames {
        socket.send(frame)?;
    }
    let stopped = sniffer.stop()?;
    stopped.check_sums()?;
    let ingress = if hook == "xdp" { "xdp" } else { "tc_ingress" };
    let stats = stopped.stats()?;
    let counters = &stats["hooks"][ingress];
    let lost = ["ring_full", "read_failed"].map(|name| counters[name].as_u64());
    ensure!(lost == [Some(0); 2] && stats["pipeline"]["dropped"] == 0, "{stats}");
    let seen = counters["seen"].as_u64().context("seen")?;
    ensure!(seen >= frames.len() as u64, "{} frames were sent: {counters}", frames.len());
    Ok(told(&stopped))
}

/// What only one side has.
fn difference(live: &[String], offline: &[String]) -> String {
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).take(3).cloned().collect()
    };
    format!("only live: {:#?}\nonly by -r: {:#?}", only(live, offline), only(offline, live))
}

fn captures() -> Result<Vec<PathBuf>> {
    let folder = corpus().context("the corpus")?.join("pcap");
    let entries = fs::read_dir(folder)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Captures that are sent one after the other past one tls-sniff: they have no connection in common.
#[derive(Default)]
struct Batch {
    names: Vec<String>,
    captures: Vec<Sendable>,
    flows: BTreeSet<Flow>,
}

impl Batch {
    fn takes(&self, capture: &Sendable) -> bool {
        self.flows.is_disjoint(&capture.flows)
    }

    fn add(&mut self, name: String, capture: Sendable) {
        self.flows.extend(&capture.flows);
        self.names.push(name);
        self.captures.push(capture);
    }

    /// Compares both ways, and if they differ, capture by capture. Returns how many events there were.
    fn compare(&self, hook: &str) -> Result<usize> {
        let frames: Vec<_> =
            self.captures.iter().flat_map(|capture| &capture.frames).cloned().collect();
        let expected = offline(&frames)?;
        let got = live(hook, &frames)?;
        if got == expected {
            return Ok(got.len());
        }
        for (name, capture) in self.names.iter().zip(&self.captures) {
            let (got, expected) = (live(hook, &capture.frames)?, offline(&capture.frames)?);
            ensure!(got == expected, "{name}: {}", difference(&got, &expected));
        }
        bail!("of {}: {}", self.names.join(", "), difference(&got, &expected))
    }
}

/// Sends every capture through a veth pair past `hook`.
pub(crate) fn corpus_like_offline(hook: &str) -> Result<()> {
    // Frames that are sent on two CPUs arrive in any order.
    let mut one = CpuSet::new();
    one.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &one)?;
    let mut batches: Vec<Batch> = Vec::new();
    let mut unsent: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for path in captures()? {
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let capture = sendable(&path).with_context(|| name.clone())?;
        for (why, frames) in &capture.unsent {
            unsent.entry(why).or_default().push(format!("{name} ({frames})"));
        }
        if capture.frames.is_empty() {
            continue;
        }
        match batches.iter_mut().find(|batch| batch.takes(&capture)) {
            Some(batch) => batch.add(name, capture),
            None => {
                let mut batch = Batch::default();
                batch.add(name, capture);
                batches.push(batch);
            }
        }
    }
    let events = batches.iter().map(|batch| batch.compare(hook)).sum::<Result<usize>>()?;
    let sent: usize = batches.iter().map(|batch| batch.names.len()).sum();
    eprintln!("{sent} captures in {} batches, {events} events at {hook}", batches.len());
    for (why, files) in &unsent {
        eprintln!("not sent, {why} (frames): {}", files.join(", "));
    }
    ensure!(sent > 100 && events > 1000, "{sent} captures, {events} events");
    Ok(())
}
