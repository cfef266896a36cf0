//! Tunnels in the kernel: the segment inside becomes the event, and the host's walk agrees.

use anyhow::{Context as _, Result, ensure};
use tls_sniff_common::counters::Counter;
use tls_sniff_tests::tunnel::{INNER, frames};

use super::{
    At, Bench, hello,
    host::{Table, compare},
};

const ETHERNET_HEADER: usize = 14;

/// As a hook without an Ethernet header has it; `None` if it cannot.
fn at_hook(at: At, bytes: &[u8]) -> Option<Vec<u8>> {
    if !at.is_raw() {
        return Some(bytes.to_vec());
    }
    let is_ip = matches!(bytes[12..14], [0x08, 0x00] | [0x86, 0xdd]);
    is_ip.then(|| bytes[ETHERNET_HEADER..].to_vec())
}

pub(crate) fn hellos_inside() -> Result<()> {
    let mut bench = Bench::default()?;
    let payload = hello(300);
    for at in At::ALL {
        for tunnelled in frames(&payload) {
            let Some(packet) = at_hook(at, &tunnelled.bytes) else { continue };
            let what = || format!("{}, {at:?}", tunnelled.name);
            let seen = bench.run(at, &packet)?;
            seen.check(at, Counter::Emitted).with_context(what)?;
            let event = seen.event().with_context(what)?;
            ensure!(event.payload == payload, "{}: other payload", what());
            let header = event.header;
            let [from, to] = INNER;
            ensure!(header.source[..4] == from && header.destination[..4] == to, "{}", what());
            ensure!((header.source_port, header.ip_version) == (tunnelled.port, 4), "{}", what());
        }
    }
    Ok(())
}

/// Cut at every byte, and each header byte replaced.
pub(crate) fn as_on_the_host() -> Result<()> {
    let mut bench = Bench::default()?;
    let table = Table::new();
    let mut compared = 0;
    for at in [At::Xdp, At::In, At::L3In] {
        for tunnelled in frames(&hello(20)) {
            let Some(whole) = at_hook(at, &tunnelled.bytes) else { continue };
            let cut = (15..whole.len()).map(|length| whole[..length].to_vec());
            let damaged = (12..whole.len().min(110)).flat_map(|place| {
                [0x00, 0x04, 0x11, 0x2f, 0x45, 0xff].map(|value| {
                    let mut packet = whole.clone();
                    packet[place] = value;
                    packet
                })
            });
            for packet in cut.chain(damaged) {
                let same = compare(&mut bench, &table, at, &packet)
                    .with_context(|| format!("{}, {at:?}, {packet:02x?}", tunnelled.name))?;
                compared += usize::from(same);
            }
        }
    }
    ensure!(compared > 10_000, "{compared} packets");
    Ok(())
}
