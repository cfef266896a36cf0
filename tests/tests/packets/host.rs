//! The same packet in the kernel and on the host, cut and damaged in every way: one walk, one answer.

use anyhow::{Context as _, Result, ensure};
use tls_sniff_common::{
    counters::Counter,
    event::{Event, EventHeader},
    inspect,
    packet::CapturedPacket,
    record::ContentType,
};

use super::{At, Bench, hello, link, stacks};

/// Test runs take no packet shorter than an Ethernet header and one byte.
const SHORTEST: usize = 15;

pub(crate) fn cut_and_damaged_packets() -> Result<()> {
    let mut bench = Bench::default()?;
    let mut compared = 0;
    for at in At::ALL {
        for (name, stack) in stacks(at.is_raw()) {
            let whole = stack.tcp(40000, 443).tcp_options(8).payload(&hello(20)).build();
            for packet in cut(&whole).chain(damaged(&whole)) {
                let same = compare(&mut bench, at, &packet)
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

/// `false` if the kernel does not take such a packet for a test run.
fn compare(bench: &mut Bench, at: At, packet: &[u8]) -> Result<bool> {
    let Some(seen) = bench.run_if_it_fits(at, packet)? else { return Ok(false) };
    let captured = CapturedPacket::from(packet);
    let expected = match inspect(&captured, link(at)) {
        Err(counter) => counter,
        Ok(found) if found.record.content_type == ContentType::ApplicationData => {
            Counter::ApplicationData
        }
        Ok(found) => {
            let mut header = EventHeader::default();
            ensure!(header.describe(&captured, link(at), &found).is_some());
            same_event(&seen.event()?, header)?;
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
        interface: kernel.header.interface,
        captured_len: kernel.header.captured_len,
        hook: kernel.header.hook,
        direction: kernel.header.direction,
        ..host
    };
    ensure!(kernel.header == expected, "kernel: {:?}, host: {expected:?}", kernel.header);
    Ok(())
}
