//! The same packet in the kernel and on the host, cut and damaged in every way: one walk, one answer.

use anyhow::{Context as _, Result, ensure};
use tls_sniff::filter::{PacketFilter, packet::RuleSet};
use tls_sniff_common::{
    Flows, arrival,
    counters::Counter,
    event::{Event, EventHeader},
    filter::{self, records::Records},
    flow::FlowId,
    gate::{BUCKETS, Bucket, Emission},
    headers::{self, LinkLayer, Segment},
    is_idle, judge,
    packet::CapturedPacket,
};

use super::{
    At, Bench,
    bench::{INTERFACE, KEY},
    hello, link, stacks,
};

/// Test runs take no packet shorter than an Ethernet header and one byte.
const SHORTEST: usize = 15;

pub(crate) fn cut_and_damaged_packets() -> Result<()> {
    let mut bench = Bench::default()?;
    let table = Table::new();
    let mut compared = 0;
    for at in At::ALL {
        for (name, stack) in stacks(at.is_raw()) {
            let whole = stack.tcp(40000, 443).tcp_options(8).payload(&hello(20)).build();
            for packet in cut(&whole).chain(damaged(&whole)) {
                let same = compare(&mut bench, &table, at, &packet)
                    .with_context(|| format!("{name}, {at:?}, {packet:02x?}"))?;
                compared += usize::from(same);
            }
        }
    }
    // A loop that ran over nothing would agree as well.
    ensure!(compared > 10_000, "{compared} packets");
    Ok(())
}

fn cut(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    // Long extension headers are all alike inside.
    let step = if whole.len() > 500 { 37 } else { 1 };
    (SHORTEST..whole.len()).step_by(step).map(|length| whole[..length].to_vec())
}

/// Each of the header bytes replaced in turn by values that headers are sensitive to.
fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let places = (0..whole.len().min(120)).filter(|place| !(0..12).contains(place));
    places.flat_map(move |place| {
        [0x00, 0x06, 0x2c, 0x45, 0x81, 0xff].into_iter().map(move |value| {
            let mut packet = whole.to_vec();
            packet[place] = value;
            packet
        })
    })
}

/// The gate's table on the host, which goes through the same packets as the kernel's.
pub(crate) struct Table {
    buckets: Vec<Bucket>,
    rules: RuleSet,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self::with(PacketFilter::default().rules())
    }

    pub(crate) fn with(rules: RuleSet) -> Self {
        let buckets = std::iter::repeat_with(Bucket::default).take(BUCKETS).collect();
        Self { buckets, rules }
    }
}

impl Flows for Table {
    fn bucket(&self, flow: FlowId) -> Option<&Bucket> {
        self.buckets.get(flow.bucket(BUCKETS))
    }

    fn evicts(&self) {}

    fn now(&self) -> u64 {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).unwrap()
    }
}

fn on_host(
    packet: &CapturedPacket<'_>,
    link: LinkLayer,
    table: &Table,
) -> Result<(Segment, Emission), Counter> {
    let mut segment = headers::walk(packet, link)?;
    let rules = &table.rules;
    if is_idle(&segment, rules) {
        return Err(Counter::NoPayload);
    }
    if !filter::wants_ends(rules, packet, &segment)? {
        return Err(Counter::Filtered);
    }
    let arrival = arrival(packet, &mut segment, KEY.on(INTERFACE), rules)?;
    let records = Records { rules, packet: *packet, segment: &segment };
    judge(table, &arrival, &records).map(|emission| (segment, emission))
}

/// `false` if the kernel does not take such a packet for a test run.
pub(crate) fn compare(bench: &mut Bench, table: &Table, at: At, packet: &[u8]) -> Result<bool> {
    let Some(seen) = bench.run_if_it_fits(at, packet)? else { return Ok(false) };
    let captured = CapturedPacket::from(packet);
    let expected = match on_host(&captured, link(at), table) {
        Err(counter) => counter,
        Ok((segment, emission)) => {
            let mut header = EventHeader::default();
            ensure!(header.describe(&captured, link(at), &segment).is_some());
            let event = seen.event()?;
            same_event(&event, header)?;
            ensure!((event.header.syn_time == 0) == (emission.syn_time == 0));
            Counter::Emitted
        }
    };
    let outcome = seen.outcome()?;
    ensure!(outcome == expected, "kernel: {outcome:?}, host: {expected:?}");
    ensure!(seen.check(at, expected).is_ok());
    Ok(true)
}

/// All that the packet says; where and when it was seen only the kernel knows.
fn same_event(kernel: &Event<'_>, host: EventHeader) -> Result<()> {
    let expected = EventHeader {
        timestamp: kernel.header.timestamp,
        syn_time: kernel.header.syn_time,
        syn_ack_time: kernel.header.syn_ack_time,
        interface: kernel.header.interface,
        captured_len: kernel.header.captured_len,
        packet_len: kernel.header.packet_len,
        marks: kernel.header.marks,
        hook: kernel.header.hook,
        direction: kernel.header.direction,
        ..host
    };
    ensure!(kernel.header == expected, "kernel: {:?}, host: {expected:?}", kernel.header);
    Ok(())
}
