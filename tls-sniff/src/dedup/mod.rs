//! One packet, one event: a packet that crosses several watched interfaces is seen on each of them (a bridge
//! and its ports, both ends of a veth pair, loopback's way out and in, a tunnel and the interface below it).
//!
//! ```text
//!  event ─► known: seen before? ─┬─ no ───────────────────────► queue: its bytes wait for HOLD ─► goes on, once,
//!                                ├─ yes, on another interface ─► joins it, counted                with its interfaces
//!                                └─ yes, and here too ─────────► a retransmission: as "no"
//! ```
//!
//! Two sightings are of one packet if they agree in addresses, ports, sequence and acknowledgement number, flags,
//! length and captured payload; what a hop changes (hardware addresses, TTL, tags, what a tunnel adds) does not
//! count. A packet that was seen k times at each place (interface and direction) is k packets, however the
//! sightings interleave. Packets go on in the order in which they were first seen. One that has gone on stays
//! known for KNOWN without its bytes: what is late is still no second packet.
//!
//! What an interface has put together or cut (GRO, segmentation) differs from what the others see and goes on
//! beside it: bytes are never lost to a guess, and the sessions take the overlap as a retransmission.
//!
//! Time is that of the events. When no more come, the owner asks for what is due.

#![forbid(unsafe_code)]

mod known;
mod queue;
mod seen_on;
#[cfg(test)]
mod tests;

use tls_sniff_common::event::Event;

use self::{known::Known, queue::Queue};
pub use self::{queue::MAX_INTERFACES, seen_on::SeenOn};
use crate::clock::Timestamp;

/// How long a packet waits for its other sightings on this host, ns.
pub const HOLD: u64 = 10_000_000;

/// The same in a file, ns: who captures several interfaces writes what was seen on each in blocks, a quarter of a
/// second apart with dumpcap.
pub const HOLD_IN_FILE: u64 = 1_000_000_000;

/// Packets that wait, and their captured bytes.
const MAX_HELD: usize = 4096;
const MAX_HELD_BYTES: usize = 4 << 20;

/// Takes a packet: its first sighting's event and time, and the indices of the interfaces that it was seen on, in
/// the order of sighting, each once.
pub type Sink<'s> = &'s mut dyn FnMut(&Event<'_>, Timestamp, &[u32]);

/// What became of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is of a new packet, which goes on now or later.
    Packet,
    /// It is another one of a packet that was taken before.
    Duplicate,
}

/// The stage.
#[derive(Debug)]
pub struct Dedup {
    on: bool,
    hold: u64,
    known: Known,
    queue: Queue,
}

impl Dedup {
    /// Packets wait for `hold`, ns.
    #[must_use]
    pub fn new(hold: u64) -> Self {
        Self { on: true, hold, known: Known::default(), queue: Queue::default() }
    }

    /// Every sighting is a packet and goes on at once.
    #[must_use]
    pub fn off() -> Self {
        Self { on: false, ..Self::new(0) }
    }

    /// Takes a sighting, at `timestamp` of the wall clock; what is due by its time goes on first.
    pub fn event(&mut self, event: &Event<'_>, timestamp: Timestamp, sink: Sink<'_>) -> Taken {
        let interface = event.header.interface;
        if !self.on {
            sink(event, timestamp, &[interface]);
            return Taken::Packet;
        }
        self.release_due(event.header.timestamp, sink);
        if let Some(packet) = self.known.sighting(event, self.queue.next()) {
            self.queue.join(packet, interface);
            return Taken::Duplicate;
        }
        self.queue.push(event, timestamp);
        while self.queue.len() > MAX_HELD || self.queue.bytes() > MAX_HELD_BYTES {
            self.queue.release(sink);
        }
        Taken::Packet
    }

    /// When something is due, on the events' clock; `None` if nothing is held.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.queue.first_seen().map(|first| first.saturating_add(self.hold))
    }

    /// Lets go on what is due by `now`, on the events' clock. After a jump of that clock, as a file may have one,
    /// that is everything.
    pub fn release_due(&mut self, now: u64, sink: Sink<'_>) {
        let hold = self.hold;
        while self.queue.first_seen().is_some_and(|first| now.abs_diff(first) >= hold) {
            self.queue.release(sink);
        }
    }

    /// Lets go on what is held: its interfaces change, or the end has come.
    pub fn release_all(&mut self, sink: Sink<'_>) {
        while self.queue.len() > 0 {
            self.queue.release(sink);
        }
    }
}
