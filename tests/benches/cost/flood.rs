//! More packets than anyone can read, and who tells what of it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tls_sniff_tests::{
    conversation::{Conversation, padded},
    figures::{Reach, Spread, Table, progress},
    measure::pin,
    veth::VethPair,
};

use crate::{
    Settings,
    generator::{self, Pool, Sent},
    live::{Outcome, Running, Sniffer},
};

/// Hellos in a thousand packets, and rounds: more where something is claimed.
const MIXES: [(u64, usize); 4] = [(1, 2), (10, 3), (100, 2), (1000, 3)];

const SNIFFERS: [Sniffer; 8] = [
    Sniffer::Nothing,
    Sniffer::TrivialTc,
    Sniffer::Tc,
    Sniffer::TrivialXdp,
    Sniffer::Xdp,
    Sniffer::TcpdumpHandshakes,
    Sniffer::TcpdumpPort,
    Sniffer::Tshark,
];

/// Packets that the kernel itself may send on the way, such as multicast reports when a link changes.
const STRAYS: u64 = 16;

/// How long one may work off what it has.
const PATIENCE: Duration = Duration::from_secs(15);

/// All rounds of one sniffer on one mix.
#[derive(Default)]
struct Row {
    /// Packets a second.
    rate: Spread,
    /// CPU time of the sending side, ns a packet.
    sender: Vec<f64>,
    offered: Spread,
    hellos: Spread,
    reported: Spread,
    lost: Spread,
    /// Hellos that were neither reported nor said to be lost; more than those may be less than zero.
    unaccounted: Spread,
    missing: Spread,
    /// CPU seconds for a million packets.
    cpu: Spread,
    late: bool,
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "counts of packets are far below 2^53")]
    fn push(&mut self, sent: Sent, received: u64, outcome: &Outcome) {
        let difference = |of: u64, what: u64| of as f64 - what as f64;
        self.rate.push(sent.packets as f64 / sent.time.as_secs_f64());
        self.sender.push(sent.cpu.as_secs_f64() * 1e9 / sent.packets as f64);
        self.offered.push(received as f64);
        self.hellos.push(sent.hellos as f64);
        self.reported.push(outcome.hellos as f64);
        self.lost.push(outcome.lost as f64);
        self.missing.push(difference(sent.hellos, outcome.hellos));
        self.unaccounted.push(difference(sent.hellos, outcome.hellos + outcome.lost));
        self.cpu.push(outcome.cpu.as_secs_f64() * 1e6 / received as f64);
        self.late |= !outcome.caught_up;
    }
}

type Rows = BTreeMap<(usize, usize), Row>;

/// One flood.
fn one(
    pair: &VethPair,
    pool: &mut Pool,
    sniffer: Sniffer,
    packets: u64,
    per_mille: u64,
) -> Result<(Sent, u64, Outcome)> {
    let folder = tempfile::tempdir()?;
    let running = Running::start(sniffer, &pair.second, folder.path())?;
    let before = received(pair)?;
    let sent = pool.send(&pair.first.namespace, &pair.first.interface, packets, per_mille)?;
    let received = received(pair)? - before;
    let outcome = running.stop(PATIENCE)?;
    if sniffer.is_ours() {
        check(&outcome, sent, received).with_context(|| format!("{outcome:?}, {sent:?}"))?;
    }
    Ok((sent, received, outcome))
}

/// Nothing that reached the interface is unaccounted for.
fn check(outcome: &Outcome, sent: Sent, received: u64) -> Result<()> {
    let all = sent.packets..=sent.packets + STRAYS;
    ensure!(all.contains(&received), "{received} packets came, of {}", sent.packets);
    let stats = outcome.stats.as_ref().context("no stats")?;
    let hooks = stats["hooks"].as_object().context("hooks")?;
    let seen: u64 = hooks.values().filter_map(|hook| hook["seen"].as_u64()).sum();
    ensure!(all.contains(&seen), "{seen} seen, {received} received");
    Ok(())
}

/// Packets that the watched interface has received, by its own count.
fn received(pair: &VethPair) -> Result<u64> {
    let end = &pair.second;
    let shown = end.namespace.ip(&["-s", "-json", "link", "show", "dev", &end.interface])?;
    let shown: Value = serde_json::from_str(&shown)?;
    shown[0]["stats64"]["rx"]["packets"].as_u64().context("rx packets")
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    // What this process does beside must not be where the generator is.
    pin(generator::CPU + 1)?;
    let folder = tempfile::tempdir()?;
    let conversations = Conversation::of_each_kind(folder.path(), 1000)?;
    let hello = conversations.first().context("a conversation")?.client_hello();
    let mut pool = Pool::new(&padded(hello, 517)?);
    let pair = VethPair::new()?;
    let rounds = settings.pick(3, 1);
    let mut rows = Rows::new();
    for round in 0..rounds {
        for (mix, (per_mille, rounds)) in MIXES.into_iter().enumerate() {
            if round >= rounds {
                continue;
            }
            progress(&format!("flood: {per_mille} ‰ handshakes, round {}", round + 1));
            let all = settings.pick(if per_mille == 1000 { 300_000 } else { 800_000 }, 100_000);
            for (at, sniffer) in SNIFFERS.into_iter().enumerate() {
                // These need long for what they have taken.
                let is_slow = matches!(sniffer, Sniffer::TcpdumpPort | Sniffer::Tshark);
                if (is_slow && round > 0) || sniffer.missing().is_some() {
                    continue;
                }
                let packets = if is_slow { all / 4 } else { all };
                let what = || format!("{} at {per_mille} ‰", sniffer.name());
                let flood = one(&pair, &mut pool, sniffer, packets, per_mille).with_context(what);
                // Before Linux 6.6 there is no such link at TC.
                if let (Sniffer::TrivialTc, Err(error)) = (sniffer, &flood) {
                    progress(&format!("flood: left out: {error:#}"));
                    continue;
                }
                let (sent, received, outcome) = flood?;
                rows.entry((mix, at)).or_default().push(sent, received, &outcome);
            }
        }
    }
    println!(
        "One CPU sends frames through a veth pair as fast as it can (sendmmsg, no queueing discipline), the other one has \
         the sniffer. A ClientHello of 517 B is of a connection of its own; the rest are records of application data, \
         1,460 B, of 4,096 connections. Up to {rounds} rounds by turns, median (min…max); tcpdump 'port 443' and tshark \
         in one, with a quarter of the packets. Offered is what the interface has received, lost what the sniffer says itself (of tcpdump and tshark: packets of any kind); \
         missing are hellos that it did not report. CPU seconds are of the sniffer's process for a million packets offered; \
         what it costs in the kernel is in the CPU time of the sender, which does all that a packet meets on its way.\n"
    );
    for (mix, (per_mille, _)) in MIXES.into_iter().enumerate() {
        println!("{}", table(&rows, mix, per_mille));
    }
    reach(&rows);
    Ok(())
}

fn table(rows: &Rows, mix: usize, per_mille: u64) -> Table {
    let title = format!("{}.{} % handshakes", per_mille / 10, per_mille % 10);
    let heads = [
        "packets/s, thousands",
        "sender's CPU, ns a packet",
        "times nobody's",
        "offered",
        "hellos",
        "reported",
        "lost",
        "missing",
        "CPU s",
    ];
    let heads: Vec<_> = [title.as_str()].into_iter().chain(heads).collect();
    let mut table = Table::new(&heads);
    let nobody = rows.get(&(mix, 0)).map(|row| row.sender.clone()).unwrap_or_default();
    for (at, sniffer) in SNIFFERS.into_iter().enumerate() {
        let Some(row) = rows.get(&(mix, at)) else {
            let why = sniffer.missing().map_or_else(String::new, |program| format!("no {program}"));
            let mut cells = vec![sniffer.name().to_owned(), why];
            cells.resize(heads.len(), "–".to_owned());
            table.row(&cells);
            continue;
        };
        let rate = format!("{:.0}", row.rate.median() / 1000.0);
        let sender: Spread = row.sender.iter().copied().collect();
        let mut cells = vec![sniffer.name().to_owned(), rate, sender.show(0)];
        cells.push(Spread::ratios(&row.sender, &nobody).show(2));
        cells.push(format!("{:.0}", row.offered.median()));
        cells.push(format!("{:.0}", row.hellos.median()));
        if !sniffer.is_process() {
            cells.resize(heads.len(), "–".to_owned());
        } else {
            cells.extend([&row.reported, &row.lost, &row.missing].map(|spread| spread.show(0)));
            let late = if row.late { ", not done after 15 s" } else { "" };
            cells.push(format!("{}{late}", row.cpu.show(3)));
        }
        table.row(&cells);
    }
    table
}

fn reach(rows: &Rows) {
    let row = |mix: usize, sniffer| {
        let at = SNIFFERS.iter().position(|other| *other == sniffer)?;
        rows.get(&(mix, at))
    };
    let ours = [Sniffer::Tc, Sniffer::Xdp];
    let worst = |mix, of: &dyn Fn(&Row) -> f64| {
        ours.iter().filter_map(|sniffer| row(mix, *sniffer)).map(of).fold(f64::NAN, f64::max)
    };
    let missing = worst(1, &|row| row.missing.max());
    println!(
        "{}",
        Reach::at_most("flood, 1 % handshakes: lost, TC or XDP", missing, 0.0, 0, "").line()
    );
    if let Some(tcpdump) = row(1, Sniffer::TcpdumpHandshakes) {
        let (lost, times) =
            (tcpdump.missing.max(), tcpdump.cpu.median() / worst(1, &|row| row.cpu.median()));
        let reach = Reach {
            what: "the same, where tcpdump's 0x16 filter".to_owned(),
            wanted: "loses, or takes ≥ 3× the CPU".to_owned(),
            figure: format!("loses {lost:.0}, takes {times:.1}×"),
            reached: Some(lost > 0.0 || times >= 3.0),
        };
        println!("{}", reach.line());
    }
    let unaccounted = worst(3, &|row| row.unaccounted.min().abs().max(row.unaccounted.max().abs()));
    let what = "flood, 100 % handshakes: neither reported nor counted as lost";
    println!("{}", Reach::at_most(what, unaccounted, 0.0, 0, "").line());
}
