//! Segments of a few connections in any order, with any contents, from the gate's events to lines.

use tls_sniff::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::{Observation, Seen},
    session::{Limits, Sessions},
};
use tls_sniff_common::{
    ABI_VERSION,
    event::{Event, EventHeader},
    flow::Hook,
};

use super::write;

/// Segments: `what` (1), time since the last (1), distance from the side's next byte (1), length (2),
/// payload.
///
/// ```text
///  what:  7      6      5..3         2..1          0
///         side   cut    time unit    connection    syn_time
/// ```
///
/// The top two bits of the length are FIN and RST.
pub fn conversation(mut bytes: &[u8]) {
    let limits = Limits { connections: 3, bytes: 40_000, ..Limits::default() };
    let mut sessions = Sessions::new(limits);
    let mut out = Vec::new();
    let mut now = 1_000_000_000_i64;
    let mut next = [[1000_u32; 2]; 4];
    let mut told = 0_u32;
    let mut handshakes = 0_u64;
    while let [what, time, distance, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([high & 0x3f, *low])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        bytes = rest;
        now += i64::from(*time) << ((5 * (what >> 3 & 7)) % 40);
        let side = usize::from(what >> 7);
        let of_connection = &mut next[usize::from(what >> 1 & 3)];
        // Mostly what is next.
        let away = if *distance < 128 { 0 } else { i32::from(*distance) - 192 };
        let header = EventHeader {
            timestamp: now.unsigned_abs(),
            syn_time: u64::from(what & 1) * now.unsigned_abs(),
            source: [u8::try_from(side).expect("0 or 1"); 16],
            destination: [u8::try_from(1 - side).expect("0 or 1"); 16],
            tcp_sequence: of_connection[side].wrapping_add_signed(away),
            tcp_acknowledgement: of_connection[1 - side],
            payload_len: u32::try_from(length).expect("14 bits") + u32::from(what >> 6 & 1) * 40,
            captured_len: u16::try_from(length).expect("14 bits"),
            source_port: u16::from(what >> 1 & 3),
            destination_port: u16::from(what >> 1 & 3),
            ip_version: 4,
            tcp_flags: 0x10 | high >> 7 | (high >> 6 & 1) << 2,
            hook: Hook::File as u8,
            direction: 2,
            abi_version: ABI_VERSION,
            ..EventHeader::default()
        };
        let Ok(event) = Event::new(header, payload, None) else { panic!("a header of this build") };
        of_connection[side] = of_connection[side].wrapping_add(header.payload_len);
        let seen = Seen::of(&event, Timestamp(now));
        let mut take = |observation: &Observation<'_>| {
            told += 1;
            handshakes += u64::from(matches!(observation, Observation::Handshake(_)));
            // Writing is slower than all the rest, and sees the same at the start.
            if told < 200 {
                write(observation, &mut out);
            }
        };
        sessions.event(&event, SeenOn::default(), seen, &mut take);
        assert!(sessions.len() <= limits.connections && sessions.memory() <= limits.bytes);
    }
    sessions.finish(&mut |observation| {
        handshakes += u64::from(matches!(observation, Observation::Handshake(_)));
    });
    assert_eq!((sessions.len(), sessions.memory()), (0, 0));
    assert!(handshakes <= sessions.counters().connections, "one for each connection at most");
}
