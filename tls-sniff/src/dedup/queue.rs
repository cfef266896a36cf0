//! Packets that wait for their other sightings, in the order of their first, with a copy of the event.

use std::collections::VecDeque;

use tls_sniff_common::{
    event::{Event, EventHeader},
    flow::{Direction, Hook, IpVersion},
};

use super::Sink;
use crate::clock::Timestamp;

/// Interfaces told of a packet; further ones are only counted.
pub const MAX_INTERFACES: usize = 8;

/// A packet.
#[derive(Debug)]
struct Held {
    header: EventHeader,
    ip: IpVersion,
    direction: Direction,
    hook: Hook,
    /// On the wall clock.
    timestamp: Timestamp,
    /// Whether the bytes are those of the packet, not of its payload.
    whole: bool,
    /// How many they are.
    length: usize,
    /// Indices, the first `seen_on` of which count.
    interfaces: [u32; MAX_INTERFACES],
    seen_on: usize,
}

impl Held {
    fn interfaces(&self) -> &[u32] {
        self.interfaces.get(..self.seen_on).unwrap_or_default()
    }

    /// The event again, over its bytes.
    fn event<'a>(&self, bytes: &'a [u8]) -> Event<'a> {
        let Self { header, ip, direction, hook, whole, .. } = *self;
        let start = if whole { usize::from(header.payload_offset) } else { 0 };
        let payload = bytes.get(start..start + usize::from(header.captured_len));
        Event {
            header,
            ip,
            direction,
            hook,
            payload: payload.unwrap_or_default(),
            packet: whole.then_some(bytes),
        }
    }
}

/// All that wait.
///
/// ```text
///  held              | n     | n + 1        | n + 2 |      n = released
///  bytes  | gone     | of n  | of n + 1     |       |
///         0          start
/// ```
///
/// What is gone is cut off when it is the greater part, so the buffer is at most twice what is held and is
/// allocated once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    held: VecDeque<Held>,
    released: u64,
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Captured bytes of what is held.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The number that the next packet will have.
    pub(super) fn next(&self) -> u64 {
        self.released + self.held.len() as u64
    }

    /// When the first was first seen, on the events' clock.
    pub(super) fn first_seen(&self) -> Option<u64> {
        self.held.front().map(|held| held.header.timestamp)
    }

    pub(super) fn push(&mut self, event: &Event<'_>, timestamp: Timestamp) {
        let bytes = event.packet.unwrap_or(event.payload);
        let mut interfaces = [0; MAX_INTERFACES];
        if let Some(first) = interfaces.first_mut() {
            *first = event.header.interface;
        }
        self.bytes.extend_from_slice(bytes);
        self.held.push_back(Held {
            header: event.header,
            ip: event.ip,
            direction: event.direction,
            hook: event.hook,
            timestamp,
            whole: event.packet.is_some(),
            length: bytes.len(),
            interfaces,
            seen_on: 1,
        });
    }

    /// The packet of that number, if it still waits, was seen on another interface.
    pub(super) fn join(&mut self, number: u64, interface: u32) {
        let place = number.checked_sub(self.released).and_then(|place| usize::try_from(place).ok());
        let Some(held) = place.and_then(|place| self.held.get_mut(place)) else { return };
        if !held.interfaces().contains(&interface)
            && let Some(free) = held.interfaces.get_mut(held.seen_on)
        {
            *free = interface;
            held.seen_on += 1;
        }
    }

    /// Lets the first go on.
    pub(super) fn release(&mut self, sink: Sink<'_>) {
        let Some(held) = self.held.pop_front() else { return };
        self.released += 1;
        let end = self.start + held.length;
        let bytes = self.bytes.get(self.start..end).unwrap_or_default();
        sink(&held.event(bytes), held.timestamp, held.interfaces());
        self.start = end;
        if self.start > self.bytes() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Bytes of memory for the captured bytes.
    #[cfg(test)]
    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
