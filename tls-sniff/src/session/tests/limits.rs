//! Memory is bounded whatever is sent, and what has to go is told.

use super::{
    flights::*,
    wire::{Connection, Told, Wire, handshakes},
};
use crate::{
    observation::Party,
    session::{Limits, Sessions},
};

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

const FULL: u16 = 200;

/// Sessions that hold at most `FULL` connections, and of each handshake that is told on the way its port and at which
/// packet.
fn played(wire: &Wire) -> (Sessions, Vec<(usize, u16)>) {
    let mut sessions =
        Sessions::new(Limits { connections: usize::from(FULL), ..Limits::default() });
    let mut told = Vec::new();
    wire.feed(usize::MAX, &mut sessions, &mut |place, it| {
        if let Told::Handshake(it) = it {
            told.push((place, it.client_port));
        }
    });
    (sessions, told)
}

/// Nobody was given up by a packet of its own, and the table looked at no more than one for each packet.
fn assert_spared(wire: &Wire, sessions: &Sessions, told: &[(usize, u16)]) {
    for (place, port) in told {
        let packet = &wire.packets[*place].1;
        assert_ne!(packet[20..22], port.to_be_bytes(), "packet {place}");
    }
    assert!(sessions.looks > 0);
    assert!(sessions.looks <= wire.packets.len() as u64, "{} looks", sessions.looks);
}

/// Hellos of connections that stay.
fn hellos(wire: &mut Wire, ports: std::ops::Range<u16>) {
    for port in ports {
        Connection::open(wire, port, [0, 0]).client(&client_1_3()).wait(-3_900_000);
    }
}

#[test]
fn those_that_were_reset_make_room_for_new_ones() {
    let mut wire = Wire::default();
    for port in 0..FULL {
        let mut it = Connection::open(&mut wire, 1000 + port, [0, 0]);
        it.client(&client_1_3()).rst(Party::Client).wait(-4_900_000);
    }
    hellos(&mut wire, 2000..2000 + FULL);
    let (sessions, told) = played(&wire);
    assert_spared(&wire, &sessions, &told);
    assert_eq!(
        told.iter().map(|(_, port)| *port).collect::<Vec<_>>(),
        Vec::from_iter(1000..1000 + FULL)
    );
}

#[test]
fn a_clock_that_goes_back_takes_no_room_from_new_ones() {
    let mut wire = Wire { now: 20_000_000_000, ..Wire::default() };
    hellos(&mut wire, 1000..1000 + FULL);
    wire.now -= 5_000_000_000;
    hellos(&mut wire, 2000..2000 + FULL / 2);
    // And some that are reset at once.
    for port in 0..FULL / 2 - 1 {
        let mut it = Connection::open(&mut wire, 3000 + port, [0, 0]);
        it.client(&client_1_3()).rst(Party::Client);
    }
    let (sessions, told) = played(&wire);
    assert_spared(&wire, &sessions, &told);
    assert_eq!(
        told.iter().map(|(_, port)| *port).collect::<Vec<_>>(),
        Vec::from_iter(1000..1000 + FULL - 1)
    );
}

/// The only one that is silent, among many that were reset.
#[test]
fn the_one_at_hand_is_not_looked_at() {
    let mut wire = Wire::default();
    for port in 0..2 * FULL {
        let mut it = Connection::open(&mut wire, 1000 + port, [0, 0]);
        it.client(&client_1_3());
        it.wait(-4_000_000 + i64::from(port % 7) * 100_000).rst(Party::Client);
    }
    let (sessions, told) = played(&wire);
    assert_spared(&wire, &sessions, &told);
    assert_eq!(told.len(), usize::from(FULL));
}

/// Who still talks after its queue's time is put back before the others, which takes room of its own.
#[test]
fn places_out_of_turn_are_accounted_for() {
    let mut wire = Wire::default();
    hellos(&mut wire, 1000..1000 + FULL);
    let hello = client_1_3();
    // Ten seconds later each sends some of another record.
    wire.now = 10_000_000_000;
    for port in 1000..1000 + FULL {
        let next = u32::try_from(hello.len()).unwrap() + 1;
        Connection { wire: &mut wire, port, next: [next, 1] }.client(&[22, 3, 3, 0, 200, 1, 2, 3]);
    }
    let limits = Limits { connections: 2 * usize::from(FULL), ..Limits::default() };
    let mut sessions = Sessions::new(limits);
    wire.feed(usize::MAX, &mut sessions, &mut |_, _| ());
    let before = sessions.memory();
    // All of them have been in their queue for 30 seconds, and one that came later is the last.
    let mut later = Wire { now: 25_000_000_000, ..Wire::default() };
    hellos(&mut later, 3000..3001);
    later.now = 31_100_000_000;
    hellos(&mut later, 3001..3002);
    later.feed(usize::MAX, &mut sessions, &mut |_, it| {
        assert!(matches!(it, Told::Message(..)), "{it:?}")
    });
    assert_eq!(sessions.len(), usize::from(FULL) + 2);
    let two = before / usize::from(FULL) * 2;
    let trees = sessions.memory().saturating_sub(before + two + 1024);
    assert!(trees >= 32 * usize::from(FULL), "{} -> {}", before, sessions.memory());
}
