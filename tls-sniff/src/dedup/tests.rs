//! Sightings in, packets out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tls_sniff_common::{
    ABI_VERSION,
    event::{Event, EventHeader},
    flow::{Direction, Hook},
};

use super::{Dedup, HOLD, MAX_HELD, MAX_HELD_BYTES, MAX_INTERFACES, SeenOn, Taken};
use crate::clock::Timestamp;

const SECOND: u64 = 1_000_000_000;
const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

/// A packet as it went on: its sequence number, payload, first direction, interfaces.
type Told = (u32, Vec<u8>, Direction, Vec<u32>);

/// The stage, and what went on.
struct Run {
    dedup: Dedup,
    told: Vec<Told>,
    sightings: usize,
    duplicates: usize,
}

impl Run {
    fn new() -> Self {
        Self { dedup: Dedup::new(HOLD), told: Vec::new(), sightings: 0, duplicates: 0 }
    }

    /// A sighting of the packet with a sequence number.
    fn see(&mut self, at: u64, sequence: u32, place: (u32, Direction), payload: &[u8]) -> Taken {
        let header = EventHeader {
            timestamp: at,
            interface: place.0,
            direction: place.1 as u8,
            tcp_sequence: sequence,
            captured_len: u16::try_from(payload.len()).unwrap(),
            payload_len: u32::try_from(payload.len()).unwrap(),
            ip_version: 4,
            hook: Hook::TcIngress as u8,
            abi_version: ABI_VERSION,
            ..EventHeader::default()
        };
        self.take(&Event::new(header, payload, None).unwrap())
    }

    fn take(&mut self, event: &Event<'_>) -> Taken {
        let at = Timestamp(event.header.timestamp.cast_signed());
        let Self { dedup, told, .. } = self;
        let taken = dedup.event(event, at, &mut |event, _, on| told.push(tell(event, on)));
        self.sightings += 1;
        self.duplicates += usize::from(taken == Taken::Duplicate);
        taken
    }

    fn due(&mut self, now: u64) {
        let Self { dedup, told, .. } = self;
        dedup.release_due(now, &mut |event, _, on| told.push(tell(event, on)));
    }

    /// All that went on, to the end.
    fn end(&mut self) -> Vec<Told> {
        let Self { dedup, told, .. } = self;
        dedup.release_all(&mut |event, _, on| told.push(tell(event, on)));
        assert_eq!(dedup.due(), None);
        assert_eq!(self.sightings, self.told.len() + self.duplicates, "each sighting is counted");
        std::mem::take(&mut self.told)
    }
}

fn tell(event: &Event<'_>, on: &[u32]) -> Told {
    (event.header.tcp_sequence, event.payload.to_vec(), event.direction, on.to_vec())
}

#[test]
fn sightings_on_other_interfaces_join() {
    let mut run = Run::new();
    assert_eq!(run.see(1000, 7, (3, IN), b"hello"), Taken::Packet);
    assert_eq!(run.see(1001, 7, (2, IN), b"hello"), Taken::Duplicate);
    assert_eq!(run.see(1002, 7, (4, OUT), b"hello"), Taken::Duplicate);
    assert_eq!(run.end(), [(7, b"hello".to_vec(), IN, vec![3, 2, 4])]);
}

#[test]
fn loopback_hands_each_packet_out_and_in() {
    let mut run = Run::new();
    for sequence in [1, 2] {
        run.see(1000, sequence, (1, OUT), b"x");
        run.see(1001, sequence, (1, IN), b"x");
    }
    let once = |sequence| (sequence, b"x".to_vec(), OUT, vec![1]);
    assert_eq!(run.end(), [once(1), once(2)]);
}

#[test]
fn what_differs_is_no_duplicate() {
    let mut run = Run::new();
    run.see(1000, 1, (1, IN), b"one");
    run.see(1001, 1, (2, IN), b"two");
    run.see(1002, 2, (2, IN), b"one");
    run.see(1003, 1, (2, IN), b"on");
    assert_eq!(run.end().len(), 4);
}

#[test]
fn retransmission_is_a_packet() {
    // Before the first has gone on, and after.
    for later in [1, HOLD + 1] {
        let mut run = Run::new();
        for at in [1000, 1000 + later] {
            assert_eq!(run.see(at, 7, (1, IN), b"x"), Taken::Packet);
            assert_eq!(run.see(at, 7, (2, OUT), b"x"), Taken::Duplicate);
        }
        let once = (7, b"x".to_vec(), IN, vec![1, 2]);
        assert_eq!(run.end(), [once.clone(), once]);
    }
}

#[test]
fn interleaved_retransmissions_are_as_many_as_at_one_place() {
    let mut run = Run::new();
    for (at, place) in
        [(1, IN), (1, IN), (2, OUT), (1, IN), (2, OUT), (2, OUT), (2, OUT)].into_iter().enumerate()
    {
        run.see(1000 + at as u64, 7, place, b"x");
    }
    assert_eq!(run.end().len(), 4, "four times at interface 2");
}

#[test]
fn order_is_that_of_the_first_sightings() {
    let mut run = Run::new();
    run.see(1000, 1, (1, IN), b"x");
    run.see(1001, 2, (1, IN), b"x");
    run.see(1002, 2, (2, OUT), b"x");
    run.see(1003, 3, (2, OUT), b"x");
    run.see(1004, 1, (2, OUT), b"x");
    let order: Vec<u32> = run.end().iter().map(|(sequence, ..)| *sequence).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn time_releases() {
    let mut run = Run::new();
    assert_eq!(run.dedup.due(), None);
    run.see(1000, 1, (1, IN), b"x");
    run.see(2000, 2, (1, IN), b"x");
    assert_eq!(run.dedup.due(), Some(1000 + HOLD));
    run.due(999 + HOLD);
    assert_eq!(run.told.len(), 0);
    run.due(1000 + HOLD);
    assert_eq!(run.told.len(), 1);
    // The time of another event does the same.
    run.see(2000 + HOLD, 3, (1, IN), b"x");
    assert_eq!(run.told.len(), 2);
    // A clock that goes back waits for nobody.
    run.see(5, 4, (1, IN), b"x");
    assert_eq!(run.told.len(), 3);
    assert_eq!(run.end().len(), 4);
}

#[test]
fn late_sighting_is_no_packet() {
    let mut run = Run::new();
    run.see(1000, 1, (1, IN), b"x");
    run.due(1000 + HOLD);
    assert_eq!(run.see(SECOND / 2, 1, (2, OUT), b"x"), Taken::Duplicate);
    assert_eq!(run.see(SECOND / 2, 1, (1, IN), b"x"), Taken::Packet, "a retransmission");
    // After a second without it nobody knows it any more.
    assert_eq!(run.see(3 * SECOND, 1, (3, OUT), b"x"), Taken::Packet);
    assert_eq!(run.end().len(), 3);
}

#[test]
fn memory_is_bounded() {
    let mut run = Run::new();
    let payload = [0xab; 16 << 10];
    for number in 0..100_000_u32 {
        // All at once: nothing is due.
        run.see(
            1000,
            number,
            (1, IN),
            &payload[..if number % 100 == 0 { payload.len() } else { 40 }],
        );
        assert!(run.dedup.queue.len() <= MAX_HELD);
        assert!(run.dedup.queue.bytes() <= MAX_HELD_BYTES);
    }
    assert!(run.dedup.queue.capacity() <= 4 * MAX_HELD_BYTES, "{}", run.dedup.queue.capacity());
    assert!(run.dedup.known.len() <= 1 << 15);
    let told = run.end();
    assert!(told.iter().map(|(sequence, ..)| *sequence).eq(0..100_000));
    // A large one after another: the bytes are the limit.
    let mut run = Run::new();
    for number in 0..1000 {
        run.see(1000, number, (2, OUT), &[number.to_be_bytes()[3]; 16 << 10]);
        assert!(run.dedup.queue.bytes() <= MAX_HELD_BYTES);
    }
    let told = run.end();
    assert!(
        told.iter().all(|(number, bytes, ..)| *bytes == vec![number.to_be_bytes()[3]; 16 << 10])
    );
}

#[test]
fn more_interfaces_than_are_told() {
    let mut run = Run::new();
    for interface in 1..=50 {
        run.see(1000, 1, (interface, OUT), b"x");
    }
    let [(_, _, _, on)] = &run.end()[..] else { panic!("one packet") };
    assert_eq!(on.len(), MAX_INTERFACES);
}

/// The packet around the payload goes on with it.
#[test]
fn whole_packets_are_held() {
    let packet = b"headers, payload, trailer";
    let header = EventHeader {
        timestamp: 1000,
        packet_captured: 25,
        payload_offset: 9,
        captured_len: 7,
        payload_len: 7,
        ip_version: 4,
        abi_version: ABI_VERSION,
        ..EventHeader::default()
    };
    let event = Event::new(header, &packet[9..16], Some(packet)).unwrap();
    let mut dedup = Dedup::new(HOLD);
    let mut count = 0;
    dedup.event(&event, Timestamp(1), &mut |_, _, _| panic!("too early"));
    dedup.release_all(&mut |again, at, on| {
        assert_eq!((again, at, on), (&event, Timestamp(1), &[0][..]));
        count += 1;
    });
    assert_eq!(count, 1);
}

#[test]
fn off_holds_nothing() {
    let mut run = Run { dedup: Dedup::off(), ..Run::new() };
    for _ in 0..2 {
        run.see(1000, 1, (1, IN), b"x");
        run.see(1000, 1, (2, IN), b"x");
        assert_eq!(run.dedup.due(), None);
    }
    assert_eq!(run.told.len(), 4);
}

#[test]
fn names_each_once() {
    let name = |index| [None, Some("eth0"), None, Some("br0"), Some("eth0")][index as usize];
    let names = |indices: &[u32]| {
        SeenOn::of(indices, name, |on| on.names().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(names(&[2, 3, 1, 4, 0]), ["br0", "eth0"]);
    assert!(names(&[2]).is_empty());
}

proptest! {
    /// Whatever was seen where and in which order: as many packets as the place that saw most of them, in the order of
    /// sighting, and each told of places where it was seen.
    #[test]
    fn as_many_as_were_seen_at_one_place(
        sightings in prop::collection::vec((0..4_u32, 1..=4_u32, any::<bool>(), 0..2 * HOLD), 1..80)
    ) {
        let mut run = Run::new();
        let mut at = 1000;
        let (mut seen, mut expected) = (BTreeMap::new(), Vec::new());
        for (sequence, interface, out, later) in &sightings {
            // All within the second in which they are known.
            at += later / 4;
            let place = (*interface, if *out { OUT } else { IN });
            let times = seen.entry((*sequence, *interface, *out)).or_insert(0_usize);
            *times += 1;
            if *times > expected.iter().filter(|number| *number == sequence).count() {
                expected.push(*sequence);
            }
            run.see(at, *sequence, place, b"x");
        }
        let told = run.end();
        let order: Vec<u32> = told.iter().map(|(sequence, ..)| *sequence).collect();
        prop_assert_eq!(order, expected);
        for (sequence, _, _, on) in told {
            let was_there = |interface: &u32| {
                seen.contains_key(&(sequence, *interface, true))
                    || seen.contains_key(&(sequence, *interface, false))
            };
            prop_assert!(!on.is_empty() && on.iter().all(was_there), "{:?}", on);
        }
    }
}
