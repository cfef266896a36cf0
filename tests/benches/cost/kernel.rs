//! Every program and hook, against a program of the same type that passes each packet at once.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Result, ensure};
use tls_sniff::{filter::PacketFilter, load::LoadOptions};
use tls_sniff_common::{config::MIN_CAPTURE_LEN, counters::Counter};
use tls_sniff_tests::{
    bpf,
    figures::{Reach, Spread, Table, progress},
    frame::{Frame, flags},
};

use crate::{
    Settings,
    filters::prefixes,
    rig::{At, Rig},
};

const REPEAT: u32 = 20_000;

/// Hellos of one batch: the ring has room for them, whole.
const BATCH: u32 = 2_000;
const BATCHES: u32 = 4;

/// The address of the frames' sender is in these.
const WANTED: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

/// A kind of packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Udp,
    Syn,
    Ack,
    Bulk,
    ApplicationData,
    /// A ClientHello of so many bytes; and whether only [`MIN_CAPTURE_LEN`] of it are copied.
    Hello(usize, bool),
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::Udp, "UDP"),
    (Kind::Syn, "SYN"),
    (Kind::Ack, "pure ACK"),
    (Kind::Bulk, "bulk, 1,460 B"),
    (Kind::ApplicationData, "application data, 1,460 B"),
    (Kind::Hello(512, true), "ClientHello, 64 of 512 B copied"),
    (Kind::Hello(512, false), "ClientHello, 512 B copied"),
    (Kind::Hello(1700, false), "ClientHello, 1,700 B copied"),
];

impl Kind {
    fn packet(self, at: At, v6: bool) -> Vec<u8> {
        let frame = at.frame(v6);
        let tcp = |frame: Frame| frame.tcp(40_000, 443);
        match self {
            Self::Udp => frame.udp(40_000, 443).payload(&[1; 100]),
            Self::Syn => tcp(frame).flags(flags::SYN),
            Self::Ack => tcp(frame).flags(flags::ACK),
            Self::Bulk => tcp(frame).payload(&[0x5a; 1460]),
            Self::ApplicationData => tcp(frame).payload(&application_data(1460)),
            Self::Hello(len, _) => tcp(frame).payload(&hello(len)),
        }
        .build()
    }

    const fn is_event(self) -> bool {
        matches!(self, Self::Hello(..))
    }
}

/// The start of a record of application data.
pub(crate) fn application_data(len: usize) -> Vec<u8> {
    let mut record = vec![0x5a; len];
    record[..5].copy_from_slice(&[0x17, 3, 3, 0x40, 0]);
    record
}

/// A ClientHello of exactly `len` bytes whose one extension is padding.
pub(crate) fn hello(len: usize) -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3];
    hello.extend([0x5a; 32]);
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0, 0, 0]);
    tls_sniff_tests::conversation::padded(&hello_lengths(hello), len).expect("it is longer")
}

/// With the lengths of its record and message.
fn hello_lengths(mut hello: Vec<u8>) -> Vec<u8> {
    let [record, message] =
        [hello.len() - 5, hello.len() - 9].map(|len| u8::try_from(len).expect("short"));
    (hello[4], hello[8]) = (record, message);
    hello
}

/// What the table of flows and the filter have in them.
struct Configuration {
    name: String,
    whole: Rig,
    /// The same with as little of each event copied as can be.
    short: Rig,
}

impl Configuration {
    fn new(flows: u32, networks: u32) -> Result<Self> {
        let load = |capture_len, flows| {
            let mut filter = PacketFilter::default();
            if networks > 0 {
                let rules = prefixes(networks).into_iter().chain(WANTED.map(str::to_owned));
                filter.networks = rules.map(|rule| Ok(rule.parse()?)).collect::<Result<_>>()?;
            }
            let mut rig = Rig::load(LoadOptions { filter, capture_len, ..LoadOptions::default() })?;
            fill(&mut rig, flows)?;
            anyhow::Ok(rig)
        };
        let table = if flows == 0 { "empty table" } else { "full table" };
        let name =
            if networks == 0 { table.to_owned() } else { format!("{table}, {networks} prefixes") };
        // Fewer for the second, which has but one row: still more than the table holds.
        let whole = load(LoadOptions::default().capture_len, flows)?;
        let short = load(MIN_CAPTURE_LEN, flows.min(100_000))?;
        Ok(Self { name, whole, short })
    }

    /// CPU time, ns a packet.
    fn measure(&mut self, at: At, kind: Kind, packet: &[u8]) -> Result<f64> {
        let rig =
            if matches!(kind, Kind::Hello(_, true)) { &mut self.short } else { &mut self.whole };
        let (time, runs) = if kind.is_event() {
            (rig.events(at, packet, BATCHES, BATCH)?, BATCHES * BATCH)
        } else {
            (rig.test_run(at, packet, REPEAT)?, REPEAT)
        };
        Ok(time.as_secs_f64() * 1e9 / f64::from(runs))
    }
}

/// Has a hello of each of so many connections go through.
fn fill(rig: &mut Rig, flows: u32) -> Result<()> {
    let mut packet = Frame::ethernet().ipv4().tcp(40_000, 443).payload(&hello(70)).build();
    for number in 0..flows {
        tls_sniff_tests::traffic::readdress(
            &mut packet,
            tls_sniff_tests::conversation::Speaker::Client,
            number,
        );
        rig.test_run(At::In, &packet, 1)?;
        if number % 8192 == 0 {
            rig.drain();
        }
    }
    rig.drain();
    let emitted = rig.count(At::In, Counter::Emitted)?;
    ensure!(emitted == u64::from(flows), "{emitted} events of {flows} connections");
    Ok(())
}

/// What every cell took in each round, ns a packet.
struct Row {
    at: At,
    v6: bool,
    kind: Kind,
    packet: Vec<u8>,
    trivial: Vec<f64>,
    cells: Vec<Vec<f64>>,
}

impl Row {
    fn ratio(&self, configuration: usize) -> Spread {
        Spread::ratios(&self.cells[configuration], &self.trivial)
    }

    fn beyond(&self, configuration: usize) -> Spread {
        self.cells[configuration].iter().zip(&self.trivial).map(|(one, none)| one - none).collect()
    }
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    let flows = settings.pick(1_000_000, 100_000);
    let mut configurations = Vec::new();
    for (flows, networks) in [(0, 0), (flows, 0), (0, 10_000), (flows, 10_000)] {
        progress(&format!("kernel: {flows} connections, {networks} prefixes"));
        configurations.push(Configuration::new(flows, networks)?);
    }
    let mut rows = Vec::new();
    for at in At::ALL {
        for (kind, _) in KINDS {
            for v6 in [false, true] {
                let cells = vec![Vec::new(); configurations.len()];
                let packet = kind.packet(at, v6);
                rows.push(Row { at, v6, kind, packet, trivial: Vec::new(), cells });
            }
        }
    }
    let trivial: [OwnedFd; 2] = [bpf::trivial_pass(false)?, bpf::trivial_pass(true)?];
    let rounds = settings.pick(7, 2);
    for round in 0..rounds {
        progress(&format!("kernel: round {} of {rounds}", round + 1));
        for row in &mut rows {
            let none = trivial[usize::from(row.at == At::Xdp)].as_fd();
            let time = bpf::test_run(none, &row.packet, REPEAT)?;
            row.trivial.push(time.as_secs_f64() * 1e9 / f64::from(REPEAT));
            for (configuration, cell) in configurations.iter_mut().zip(&mut row.cells) {
                cell.push(configuration.measure(row.at, row.kind, &row.packet)?);
            }
        }
    }
    println!(
        "BPF_PROG_TEST_RUN, {rounds} rounds by turns: CPU ns a packet of a program that passes at once, and how many \
         times that tls-sniff takes: median (min…max); in brackets its ns. A full table has seen the hellos of {flows} \
         connections, and more of them than it holds. Each event of a hello went into the ring and was taken out \
         again, none was lost.\n"
    );
    for at in At::ALL {
        let mut heads = vec![at.name().to_owned(), "passes, ns".to_owned()];
        heads.extend(configurations.iter().map(|configuration| configuration.name.clone()));
        let mut table = Table::new(&heads);
        for row in rows.iter().filter(|row| row.at == at) {
            let name =
                KINDS.iter().find(|(kind, _)| *kind == row.kind).map_or("", |(_, name)| name);
            let family = match (row.v6, at) {
                (false, _) => "IPv4",
                (true, At::L3In) => "IPv6",
                (true, _) => "IPv6, VLAN",
            };
            let mut cells = vec![format!("{name}; {family}")];
            cells.push(row.trivial.iter().copied().collect::<Spread>().show(0));
            for (at, cell) in row.cells.iter().enumerate() {
                let own: Spread = cell.iter().copied().collect();
                cells.push(format!("{} [{:.0}]", row.ratio(at).show(2), own.median()));
            }
            table.row(&cells);
        }
        println!("{table}");
    }
    reach(&rows);
    Ok(())
}

/// The worst of all hooks and families, with an empty and a full table, without prefixes.
fn reach(rows: &[Row]) {
    let worst = |kinds: &[Kind], of: &dyn Fn(&Row, usize) -> Spread| {
        let rows = rows.iter().filter(|row| kinds.contains(&row.kind));
        let medians =
            rows.flat_map(|row| [0, 1].map(|configuration| of(row, configuration).median()));
        medians.fold(f64::NAN, f64::max)
    };
    let bulk = [
        ("UDP: times the trivial pass program, worst hook, family and table", &[Kind::Udp][..]),
        ("SYN: the same", &[Kind::Syn]),
        ("bulk and pure ACK: the same", &[Kind::Ack, Kind::Bulk]),
    ];
    for (what, kinds) in bulk {
        println!("{}", Reach::at_most(what, worst(kinds, &Row::ratio), 1.35, 2, "×").line());
    }
    let data = worst(&[Kind::ApplicationData], &Row::ratio);
    println!("{}", Reach::at_most("application data, counted: the same", data, 1.5, 2, "×").line());
    let hello = worst(&[Kind::Hello(512, false)], &Row::beyond);
    let what = "ClientHello reported with 512 B: more than the trivial pass program";
    println!("{}", Reach::at_most(what, hello, 250.0, 0, " ns").line());
}
