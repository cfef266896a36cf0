//! Memory is bounded whatever is sent, and what has to go is told.

use super::{
    flights::*,
    wire::{Connection, Told, Wire, handshakes},
};
use crate::session::Limits;

/// The first half of a hello of 1.6 kB, from many ports.
fn flood(connections: u16) -> Wire {
    let hello = with_extension(&client_1_3(), 21, &[0; 1300]);
    let mut wire = Wire::default();
    for port in 0..connections {
        let mut it = Connection::open(&mut wire, 1024 + port, [0, 0]);
        it.client(&hello[..800]).wait(-900_000);
    }
    wire
}

#[test]
fn hellos_that_never_end_make_room() {
    let wire = flood(2000);
    let limits = Limits { connections: 500, ..Limits::default() };
    let (told, counters) = wire.told(limits, usize::MAX);
    assert_eq!((counters.connections, counters.evicted), (2000, 1500));
    let handshakes = handshakes(&told);
    let of = |outcome: &str, partial| {
        let is = |it: &&super::wire::Handshake| it.summary() == (outcome, None, "C", Some(partial));
        handshakes.iter().filter(is).count()
    };
    assert_eq!((of("partial", "memory"), of("still_open", "end")), (1500, 500));
    // What was there of each hello is told.
    let hellos = told.iter().filter(|told| matches!(told, Told::Message(_, text) if text.contains("server_name") || text.contains("partial: Some"))).count();
    assert_eq!(hellos, 2000);
}

#[test]
fn bytes_are_a_limit_too() {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let (_, counters) = flood(2000).told(limits, usize::MAX);
    // Each is more than its 800 bytes, and no more than some kilobytes.
    assert!(counters.evicted > 2000 - (1 << 20) / 800, "{counters:?}");
    assert!(counters.evicted < 2000 - (1 << 20) / 8000, "{counters:?}");
}

#[test]
fn more_messages_than_anybody_sends() {
    let mut wire = Wire::default();
    let mut it = Connection::open(&mut wire, 1, [0, 0]);
    let many: Vec<u8> = (0..200).flat_map(|_| alert(1, 112)).collect();
    it.client(&client_1_2()).server(&[many, server_1_2()].concat()).client(&client_1_2_finishes());
    it.server(&server_1_2_finishes()).close();
    let (told, counters) = wire.told(Limits::default(), usize::MAX);
    assert_eq!(counters.crowded_segments, 1);
    // What is not told one by one counts all the same.
    let [one] = &handshakes(&told)[..] else { panic!("{told:#?}") };
    assert_eq!((one.outcome.as_str(), one.version), ("completed", Some(0x0303)));
}
