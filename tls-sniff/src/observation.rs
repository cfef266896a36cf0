//! What tls-sniff tells: one observation for each handshake message, alert, or other record, and the
//! statistics of a run. docs/events.md documents how the sinks write it.

use std::net::SocketAddr;

use serde::Serialize;
use tls_sniff_common::{
    counters::{Counter, CounterBlock, CounterKind},
    event::Event,
    flow::{Direction, Hook, socket_addr},
    record::RecordHeader,
};

use crate::{
    clock::Timestamp,
    tls::{
        alert::Alert, client_hello::ClientHello, handshake::HandshakeType, reader::ParseError,
        server_hello::ServerHello,
    },
};

/// Something that was seen in one segment, borrowing its bytes.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// When the packet was seen.
    pub timestamp: Timestamp,
    /// The interface by name, if there is one.
    pub interface: Option<&'a str>,
    /// The segment.
    pub segment: &'a Event<'a>,
    /// The record that the message stands in; not always the segment's first.
    pub record: RecordHeader,
    /// What it says.
    pub message: Message<'a>,
    /// Why bytes of it are missing, or `None` if all were there.
    pub partial: Option<Partial>,
    /// What in it contradicts the specification; what stands before that is reported.
    pub malformed: Option<ParseError>,
}

/// What a record, or one handshake message in it, says.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// A ClientHello.
    ClientHello(ClientHello<'a>),
    /// A ServerHello or HelloRetryRequest.
    ServerHello(ServerHello<'a>),
    /// Another handshake message, or a hello of which too little can be read.
    Handshake(HandshakeType),
    /// A handshake record that is encrypted.
    EncryptedHandshake,
    /// A handshake record that goes on with a message of the record before, or of which too little is at
    /// hand to tell more.
    UnknownHandshake,
    /// An alert in plaintext.
    Alert(Alert),
    /// An encrypted alert.
    EncryptedAlert,
    /// An alert that is cut off.
    UnknownAlert,
    /// A ChangeCipherSpec.
    ChangeCipherSpec,
    /// Application data.
    ApplicationData,
}

/// Why an observation is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// It goes on in a later segment.
    SegmentEnd,
    /// It goes on in a later record.
    RecordEnd,
    /// It goes on behind what was captured of the segment (`--payload-bytes`, a snaplen).
    CaptureLimit,
}

impl Partial {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SegmentEnd => "segment_end",
            Self::RecordEnd => "record_end",
            Self::CaptureLimit => "capture_limit",
        }
    }
}

impl Observation<'_> {
    /// Who sent it.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        let header = &self.segment.header;
        socket_addr(self.segment.ip, header.source, header.source_port)
    }

    /// To whom it went.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        let header = &self.segment.header;
        socket_addr(self.segment.ip, header.destination, header.destination_port)
    }

    /// Which way it crossed the interface, if that is known.
    #[must_use]
    pub const fn direction(&self) -> Option<&'static str> {
        match self.segment.direction {
            Direction::Ingress => Some("ingress"),
            Direction::Egress => Some("egress"),
            Direction::Unknown => None,
        }
    }

    /// The kind of hook that saw it.
    #[must_use]
    pub const fn hook(&self) -> &'static str {
        match self.segment.hook {
            Hook::Xdp => "xdp",
            Hook::TcIngress | Hook::TcEgress => "tc",
            Hook::File => "file",
        }
    }

    /// Whether all bytes were seen and none contradicts the specification.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.partial.is_none() && self.malformed.is_none()
    }

    /// The kind of event.
    #[must_use]
    pub const fn event(&self) -> &'static str {
        match self.message {
            Message::ClientHello(_) => "client_hello",
            Message::ServerHello(_) => "server_hello",
            Message::Handshake(_) | Message::EncryptedHandshake | Message::UnknownHandshake => {
                "handshake_message"
            }
            Message::Alert(_) | Message::EncryptedAlert | Message::UnknownAlert => "alert",
            Message::ChangeCipherSpec => "change_cipher_spec",
            Message::ApplicationData => "application_data",
        }
    }
}

/// The counters of one run. Each stage's input is the sum of what it did with it.
#[derive(Clone, Debug)]
pub struct Stats {
    /// When they were read.
    pub timestamp: Timestamp,
    /// How long the run took so far, in seconds.
    pub seconds: f64,
    /// Where packets were inspected: `seen` = all others together, for each hook.
    pub hooks: Vec<(Hook, CounterBlock)>,
    /// What user space made of the events.
    pub pipeline: PipelineCounters,
    /// Frames of a capture file whose link type cannot be walked, by link type.
    pub skipped_link_types: Vec<(u32, u64)>,
}

/// What user space made of the events; sinks write the fields under their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PipelineCounters {
    /// Events taken from the ring or made from a file.
    pub received: u64,
    /// Events that were no events of this build.
    pub undecodable: u64,
    /// Observations made: `written` + `dropped` + `beyond_count`.
    pub observations: u64,
    /// Segments with more messages than are reported of one: what is beyond is no observation.
    pub crowded_segments: u64,
    /// Observations handed to the output.
    pub written: u64,
    /// Observations that a slow output had no room for.
    pub dropped: u64,
    /// Observations after the last that `-c` asked for.
    pub beyond_count: u64,
}

impl Stats {
    /// Records that were found and did not become events, over all hooks.
    #[must_use]
    pub fn lost(&self) -> u64 {
        lost(&self.hooks)
    }
}

/// Records that were found and did not become events.
#[must_use]
pub fn lost(hooks: &[(Hook, CounterBlock)]) -> u64 {
    let counts = hooks.iter().flat_map(|(_, block)| Counter::ALL.iter().zip(block));
    counts.filter(|(counter, _)| counter.kind() == CounterKind::Lost).map(|(_, count)| count).sum()
}
