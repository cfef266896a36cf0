//! Packets that wait, without sessions: the handshake filter's answers are tested with the program.

use std::net::SocketAddr;

use tls_sniff_common::{
    ABI_VERSION,
    event::{EventHeader, marks},
    flow::Hook,
};

use super::*;
use crate::{
    filter::handshake::OutcomeClass,
    observation::{HandshakeObservation, Outcome},
};

const SECOND: i64 = 1_000_000_000;

/// A segment of the connection from `port`.
fn header(port: u16, tcp_flags: u8, sequence: u32, selected: bool) -> EventHeader {
    EventHeader {
        source: [10; 16],
        destination: [20; 16],
        source_port: port,
        destination_port: 443,
        tcp_sequence: sequence,
        tcp_flags,
        ip_version: 4,
        hook: Hook::File as u8,
        marks: if selected { marks::SELECTED } else { 0 },
        abi_version: ABI_VERSION,
        ..EventHeader::default()
    }
}

fn packet(number: u8, length: usize) -> Item<Vec<u8>, Vec<u8>> {
    let mut bytes = vec![0; length];
    bytes[0] = number;
    Item::Packet(bytes)
}

fn first_byte(item: &Item<Vec<u8>, Vec<u8>>) -> u8 {
    let Item::Packet(packet) = item else { panic!("a line") };
    packet[0]
}

impl Waiting for Vec<u8> {
    fn memory(&self) -> usize {
        self.len()
    }
}

struct Run {
    selection: Selection<Vec<u8>, Vec<u8>>,
    /// First bytes of the packets that went out.
    out: Vec<u8>,
}

impl Run {
    fn new(scope: Scope, filter: HandshakeFilter) -> Self {
        Self { selection: Selection::new(filter, scope), out: Vec::new() }
    }

    fn observation(&mut self, observation: &Observation<'_>) -> Fate {
        let mut released = Vec::new();
        let fate = self.selection.observation(observation, &mut released);
        self.out.extend(released.iter().map(first_byte));
        fate
    }

    fn packet(&mut self, number: u8, header: EventHeader, at: i64) -> Fate {
        self.packet_of(number, header, at, 64)
    }

    fn packet_of(&mut self, number: u8, header: EventHeader, at: i64, length: usize) -> Fate {
        let event = Event::new(header, &[], None).unwrap();
        let mut released = Vec::new();
        let fate = self.selection.packet(&event, Timestamp(at), &mut released);
        self.out.extend(released.iter().map(first_byte));
        match fate {
            Fate::Pass => self.out.push(number),
            Fate::Wait => self.selection.hold(Ends::of(&event), packet(number, length)),
            Fate::Drop => {}
        }
        fate
    }
}

const SYN: u8 = flags::SYN;
const ACK: u8 = flags::ACK;

#[test]
fn packets_wait_for_the_one_that_is_selected() {
    let mut run = Run::new(Scope::Handshake, HandshakeFilter::default());
    assert_eq!(run.packet(1, header(1, SYN, 100, false), 0), Fate::Wait);
    assert_eq!(run.packet(9, header(2, SYN, 100, false), 0), Fate::Wait);
    assert_eq!(run.packet(2, header(1, ACK, 101, false), 1), Fate::Wait);
    assert_eq!(run.packet(3, header(1, ACK, 101, true), 2), Fate::Pass);
    assert_eq!(run.packet(4, header(1, ACK, 201, false), 3), Fate::Pass);
    assert_eq!(run.out, [1, 2, 3, 4], "in order, and only of the connection");
    run.selection.finish();
    assert_eq!(run.selection.dropped(), Dropped { packets: 1, ..Dropped::default() });
}

#[test]
fn a_record_scope_has_no_context() {
    let filter = HandshakeFilter { weak: true, ..HandshakeFilter::default() };
    let mut run = Run::new(Scope::Record, filter);
    assert_eq!(run.packet(1, header(1, SYN, 100, false), 0), Fate::Drop);
    assert_eq!(run.packet(2, header(1, ACK, 101, true), 0), Fate::Wait);
    assert_eq!(run.out, [0; 0]);
}

#[test]
fn the_same_ports_again_are_another_connection() {
    let mut run = Run::new(Scope::Connection, HandshakeFilter::default());
    run.packet(1, header(1, SYN, 100, false), 0);
    run.packet(2, header(1, ACK, 101, true), 0);
    // A retransmission begins nothing.
    assert_eq!(run.packet(3, header(1, SYN, 100, false), 0), Fate::Pass);
    assert_eq!(run.packet(4, header(1, SYN, 7000, false), SECOND), Fate::Wait);
    assert_eq!(run.packet(5, header(1, ACK, 7001, true), SECOND), Fate::Pass);
    assert_eq!(run.out, [1, 2, 3, 4, 5]);
}

#[test]
fn who_says_nothing_is_forgotten() {
    let mut run = Run::new(Scope::Handshake, HandshakeFilter::default());
    run.packet(1, header(1, SYN, 100, false), 0);
    run.packet(2, header(2, SYN, 100, false), 0);
    // One of them goes on.
    run.packet(3, header(2, ACK, 101, false), 50 * SECOND);
    run.selection.tick(Timestamp(61 * SECOND));
    assert_eq!(run.selection.dropped().packets, 1);
    assert_eq!(run.packet(4, header(2, ACK, 101, true), 62 * SECOND), Fate::Pass);
    assert_eq!(run.out, [2, 3, 4]);
}

#[test]
fn memory_is_bounded_and_what_that_costs_is_counted() {
    let mut run = Run::new(Scope::Handshake, HandshakeFilter::default());
    let packets = 4000;
    for port in 0..packets {
        run.packet_of(1, header(port, SYN, 100, false), i64::from(port), 32 << 10);
    }
    assert!(run.selection.held <= HELD_LIMIT, "{}", run.selection.held);
    let dropped = run.selection.dropped();
    assert!(dropped.packets_for_memory > 1900 && dropped.packets == 0, "{dropped:?}");
    // The oldest went.
    assert_eq!(run.packet(2, header(0, ACK, 101, true), 5000), Fate::Pass);
    assert_eq!(run.packet(2, header(packets - 1, ACK, 101, true), 5000), Fate::Pass);
    assert_eq!(run.out, [2, 1, 2]);
}

#[test]
fn connections_are_bounded_when_nothing_waits() {
    let mut run = Run::new(Scope::Connection, HandshakeFilter::default());
    for number in 0..400_000_u32 {
        let mut header = header(1, ACK, 100, true);
        header.source[..4].copy_from_slice(&number.to_be_bytes());
        assert_eq!(run.packet(0, header, i64::from(number)), Fate::Pass);
    }
    assert!(run.selection.connections.len() <= CONNECTIONS, "{}", run.selection.connections.len());
}

/// The end of a handshake whose first segment was seen at `first`.
fn ended(first: i64, at: i64, outcome: Outcome) -> HandshakeObservation<'static> {
    let end = |address: u8, port: u16| SocketAddr::from(([address; 4], port));
    HandshakeObservation::bare(
        [end(10, 1), end(20, 443)],
        [Timestamp(first), Timestamp(at)],
        outcome,
    )
}

#[test]
fn the_same_ports_again_while_the_first_handshake_is_open() {
    let outcomes = vec![OutcomeClass::NoAnswer];
    let filter = HandshakeFilter { outcomes, ..HandshakeFilter::default() };
    let mut run = Run::new(Scope::Handshake, filter);
    run.packet(1, header(1, SYN, 100, false), 0);
    run.packet(2, header(1, ACK, 101, true), 1);
    run.packet(3, header(1, SYN, 7000, false), SECOND);
    let told = Observation::Handshake(ended(0, SECOND, Outcome::NoAnswer));
    assert_eq!(run.observation(&told), Fate::Pass);
    assert_eq!(run.out, [1, 2], "those of the first connection");
    // The second one waits for its own end.
    assert_eq!(run.packet(4, header(1, ACK, 7001, true), SECOND + 1), Fate::Wait);
    let told = Observation::Handshake(ended(SECOND, 2 * SECOND, Outcome::Completed));
    assert_eq!(run.observation(&told), Fate::Drop);
    assert_eq!((run.out.len(), run.selection.held), (2, 0));
    assert_eq!(run.selection.dropped().packets, 2);
}
