//! Which packets were seen, and where: no bytes of them, only a keyed hash.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use tls_sniff_common::{config::MIN_CAPTURE_LEN, event::Event, flow::Direction};

/// How long a packet is known, from its first sighting on, ns. On one host its sightings are apart by what a queue
/// between two interfaces delays.
const KNOWN: u64 = 1_000_000_000;

/// Packets that are known, at most; beyond, the oldest is forgotten.
const MAX_KNOWN: usize = 1 << 15;

/// Places that are told apart; sightings at further ones (a bridge floods its ports) are of no new packet.
const MAX_PLACES: usize = 8;

/// Where a packet was seen, and how often.
#[derive(Clone, Copy, Debug)]
struct Place {
    interface: u32,
    direction: Direction,
    times: u32,
}

/// Packets that cannot be told apart: one, and its retransmissions.
#[derive(Debug, Default)]
struct Alike {
    places: [Option<Place>; MAX_PLACES],
    /// How many they are.
    packets: u32,
    /// When the latest was first seen.
    at: u64,
    /// Its number.
    latest: u64,
}

impl Alike {
    /// Counts a sighting. Returns how many times it has been seen at that place.
    fn count(&mut self, event: &Event<'_>) -> u32 {
        let (interface, direction) = (event.header.interface, event.direction);
        for place in &mut self.places {
            let place = place.get_or_insert(Place { interface, direction, times: 0 });
            if (place.interface, place.direction) == (interface, direction) {
                place.times = place.times.saturating_add(1);
                return place.times;
            }
        }
        0
    }
}

/// The packets of the last second.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Keyed: nobody outside can make two packets alike that are not. By chance, two of these many are once in
    /// some 10^14 packets.
    hasher: RandomState,
    packets: HashMap<u64, Alike>,
    /// In the order of their first sightings: when, and the hash.
    order: VecDeque<(u64, u64)>,
}

impl Known {
    /// Takes a sighting. Returns the number of the packet that it is another sighting of; `None` if it is of a new
    /// one, which is known as `number` from now on.
    pub(super) fn sighting(&mut self, event: &Event<'_>, number: u64) -> Option<u64> {
        let now = event.header.timestamp;
        self.forget(now);
        let hash = self.hash(event);
        let alike = self.packets.entry(hash).or_default();
        let times = alike.count(event);
        if times <= alike.packets {
            return Some(alike.latest);
        }
        alike.packets = times;
        (alike.at, alike.latest) = (now, number);
        self.order.push_back((now, hash));
        None
    }

    /// What all sightings of a packet have in common.
    fn hash(&self, event: &Event<'_>) -> u64 {
        let header = &event.header;
        // Not more than every sighting has: of the same packet the gate may want less the second time.
        let payload = event.payload.get(..MIN_CAPTURE_LEN as usize).unwrap_or(event.payload);
        self.hasher.hash_one((
            (event.ip, header.source, header.destination),
            (header.source_port, header.destination_port),
            (header.tcp_sequence, header.tcp_acknowledgement, header.tcp_flags),
            (header.payload_len, payload),
        ))
    }

    /// Makes room for one. A clock that jumped, as a file's may, ends what was before.
    fn forget(&mut self, now: u64) {
        while let Some((at, hash)) = self.order.front().copied()
            && (self.order.len() >= MAX_KNOWN || now.abs_diff(at) >= KNOWN)
        {
            self.order.pop_front();
            // One that was retransmitted stands further behind again.
            if self.packets.get(&hash).is_some_and(|alike| alike.at == at) {
                self.packets.remove(&hash);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.packets.len().max(self.order.len())
    }
}
