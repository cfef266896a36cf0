//! Packets on their way to the capture: which of them are wanted, and what is said of each.
//!
//! ```text
//!  event, with its packet ─┐
//!  what it completed ──────┴► comments ─► selection: wanted? ─► capture file
//! ```

#![forbid(unsafe_code)]

use tls_sniff_common::{event::Event, flow::Direction};

use crate::{
    clock::Timestamp,
    observation::{CaptureCounters, Ends, HandshakeObservation, Observation, Outcome},
    selection::Waiting,
    sink::{
        capture::{Capture, Packet},
        comment,
    },
};

/// A packet that waits.
#[derive(Debug)]
pub struct OwnedPacket {
    timestamp: Timestamp,
    interface_index: u32,
    interface: Option<Box<str>>,
    link_type: u32,
    direction: Direction,
    offloaded_vlan: Option<(u16, u16)>,
    bytes: Box<[u8]>,
    wire_len: u32,
    comments: Vec<String>,
}

impl OwnedPacket {
    /// A copy of `packet`.
    #[must_use]
    pub fn of(packet: &Packet<'_>) -> Self {
        Self {
            timestamp: packet.timestamp,
            interface_index: packet.interface_index,
            interface: packet.interface.map(Into::into),
            link_type: packet.link_type,
            direction: packet.direction,
            offloaded_vlan: packet.offloaded_vlan,
            bytes: packet.bytes.into(),
            wire_len: packet.wire_len,
            comments: packet.comments.to_vec(),
        }
    }

    /// As it was.
    #[must_use]
    pub fn packet(&self) -> Packet<'_> {
        Packet {
            timestamp: self.timestamp,
            interface_index: self.interface_index,
            interface: self.interface.as_deref(),
            link_type: self.link_type,
            direction: self.direction,
            offloaded_vlan: self.offloaded_vlan,
            bytes: &self.bytes,
            wire_len: self.wire_len,
            comments: &self.comments,
        }
    }
}

impl Waiting for OwnedPacket {
    fn memory(&self) -> usize {
        let comments = self.comments.iter().map(String::capacity).sum::<usize>();
        self.bytes.len() + self.interface.as_ref().map_or(0, |name| name.len()) + comments
    }
}

/// The capture, and what is to be said of the packet at hand.
pub struct Recorder {
    capture: Capture,
    comments: Vec<String>,
}

impl Recorder {
    /// Writes to `capture`.
    #[must_use]
    pub const fn new(capture: Capture) -> Self {
        Self { capture, comments: Vec::new() }
    }

    /// The next packet is another one.
    pub fn begin(&mut self) {
        self.comments.clear();
    }

    /// Takes note of what the packet between `ends` completes. What is told of other connections meanwhile is
    /// not its doing.
    pub fn observation(&mut self, observation: &Observation<'_>, ends: &Ends) {
        if observation.ends() != *ends {
            return;
        }
        match observation {
            Observation::Message(message) => self.comments.extend(comment::message(message)),
            // Those are told for the time that has passed, not for the packet that came then.
            Observation::Handshake(HandshakeObservation {
                outcome: Outcome::NoAnswer | Outcome::TimedOut | Outcome::StillOpen,
                ..
            }) => {}
            Observation::Handshake(handshake) => {
                self.comments.push(comment::handshake(handshake));
            }
            Observation::Segment(_) => {}
        }
    }

    /// A copy of the packet of an event; `None` of an event that has none.
    #[must_use]
    pub fn copy(
        &self,
        event: &Event<'_>,
        timestamp: Timestamp,
        interface: Option<&str>,
        link_type: u32,
    ) -> Option<OwnedPacket> {
        packet_of(event, timestamp, interface, link_type, &self.comments)
            .map(|packet| OwnedPacket::of(&packet))
    }

    /// Writes the packet of an event. `false` if it has none.
    pub fn write(
        &mut self,
        event: &Event<'_>,
        timestamp: Timestamp,
        interface: Option<&str>,
        link_type: u32,
    ) -> bool {
        let Self { capture, comments } = self;
        let packet = packet_of(event, timestamp, interface, link_type, comments);
        packet.is_some_and(|packet| {
            capture.packet(&packet);
            true
        })
    }

    /// Whether nothing more will be written: the last file that was asked for is complete, or its reader gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.capture.is_closed()
    }

    /// Resolves when the capture can write no more.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        self.capture.closed()
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counters(&self) -> CaptureCounters {
        self.capture.counters()
    }

    /// The capture.
    pub const fn capture(&mut self) -> &mut Capture {
        &mut self.capture
    }

    /// Ends it.
    #[must_use]
    pub fn into_capture(self) -> Capture {
        self.capture
    }
}

/// The packet of an event, which was seen at `timestamp` on `interface`.
fn packet_of<'a>(
    event: &Event<'a>,
    timestamp: Timestamp,
    interface: Option<&'a str>,
    link_type: u32,
    comments: &'a [String],
) -> Option<Packet<'a>> {
    let header = &event.header;
    let [outermost, _] = header.vlan_tci;
    let offloaded = (header.offloaded_tpid != 0).then_some((header.offloaded_tpid, outermost));
    Some(Packet {
        timestamp,
        interface_index: header.interface,
        interface,
        link_type,
        direction: event.direction,
        offloaded_vlan: offloaded,
        bytes: event.packet?,
        wire_len: header.packet_len,
        comments,
    })
}
