//! Memory under a flood of ClientHellos that never end.
//!
//! Each connection sends the first 1,400 bytes of a hello of 1,900 and nothing more, from an address of its
//! own. All of it reaches user space: the kernel's gate, which has room for 32,768 flows, is left out.

use std::time::Instant;

use anyhow::Result;
use tls_sniff::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::Seen,
    session::{Limits, Sessions},
};
use tls_sniff_common::{
    ABI_VERSION,
    event::{Event, EventHeader},
    flow::{Direction, Hook},
};

use tls_sniff_tests::{
    figures::{Table, progress},
    measure::resident,
};

use crate::Settings;

/// The start of a ClientHello whose record has 1,895 bytes.
fn half_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0x07, 0x67, 1, 0, 0x07, 0x63, 3, 3];
    hello.extend([0x5a; 32]);
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    hello.extend([0x07, 0x35, 0, 21, 0x07, 0x31]);
    hello.resize(1400, 0);
    hello
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    let hello = half_hello();
    let mut sessions = Sessions::new(Limits::default());
    let mut partial = 0_u64;
    let before = resident();
    let started = Instant::now();
    let heads = ["connections", "in the table", "accounted, MiB", "resident, MiB", "evicted", "s"];
    let mut table = Table::new(&heads);
    progress("memory: hellos that never end");
    let mut next = 1000_u32;
    for number in 1..=settings.pick(1_024_000_u32, 64_000) {
        let mut source = [0; 16];
        source[..4].copy_from_slice(&number.to_be_bytes());
        let header = EventHeader {
            timestamp: u64::from(number) * 1000,
            source,
            tcp_sequence: number,
            payload_len: 1400,
            captured_len: 1400,
            source_port: 40000,
            destination_port: 443,
            ip_version: 4,
            tcp_flags: 0x18,
            direction: Direction::Ingress as u8,
            hook: Hook::TcIngress as u8,
            abi_version: ABI_VERSION,
            ..EventHeader::default()
        };
        let Ok(event) = Event::new(header, &hello, None) else { continue };
        let seen = Seen::of(&event, Timestamp(i64::from(number) * 1000));
        sessions.event(&event, SeenOn::default(), seen, &mut |_| partial += 1);
        if number == next {
            next *= 2;
            let mebibytes = |bytes: usize| bytes / (1 << 20);
            table.row(&[
                number.to_string(),
                sessions.len().to_string(),
                mebibytes(sessions.memory()).to_string(),
                mebibytes(resident().saturating_sub(before)).to_string(),
                sessions.counters().evicted.to_string(),
                format!("{:.1}", started.elapsed().as_secs_f64()),
            ]);
        }
    }
    println!(
        "Each connection sends the first 1,400 bytes of a ClientHello of 1,900 from an address of its own, and nothing \
         more. The kernel's table of flows, whose size is fixed, is left out.\n\n{table}\n\
         {partial} observations, each of a hello or a handshake that is partial."
    );
    Ok(())
}
