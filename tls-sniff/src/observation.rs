//! What tls-sniff tells: an observation for each message, one for each connection's handshake, and the
//! statistics of a run. docs/events.md documents how the sinks write it.

mod handshake;
mod stats;

use std::net::SocketAddr;

use tls_sniff_common::{
    event::Event,
    flow::{Direction, Hook, socket_addr},
    headers::VlanTags,
    record::RecordHeader,
};

use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    tls::{
        certificate::Chain,
        facts::{ClientFacts, ServerFacts},
        handshake::HandshakeType,
        message::{Message, Said},
    },
};

pub use self::handshake::{HandshakeObservation, Outcome, Party};
pub use self::stats::{
    CaptureCounters, CaptureStats, Losses, OutputCounters, OutputStats, PipelineCounters, Stats,
    StatsReason,
};

/// Something that was seen.
#[derive(Debug)]
pub enum Observation<'a> {
    /// A message, when it became whole or was given up.
    Message(MessageObservation<'a>),
    /// A connection's handshake, when it was over.
    Handshake(HandshakeObservation<'a>),
    /// A TCP segment, TLS or not.
    Segment(SegmentObservation<'a>),
}

/// One TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentObservation<'a> {
    /// When and how.
    pub seen: Seen,
    /// The interfaces.
    pub on: SeenOn<'a>,
    /// What it says.
    pub event: &'a Event<'a>,
}

/// The kinds of events, as `--events` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum EventKind {
    /// ClientHello
    ClientHello,
    /// ServerHello and HelloRetryRequest
    ServerHello,
    /// Certificate messages of TLS 1.2 and older
    Certificate,
    /// Alerts
    Alert,
    /// One for each connection, when its handshake is over
    Handshake,
    /// Every other handshake message
    HandshakeMessage,
    /// ChangeCipherSpec
    ChangeCipherSpec,
    /// Each record of application data, of every TLS connection: expensive
    ApplicationData,
    /// Each TCP segment that the filters select, TLS or not: for --tcp and --payload-len
    Segment,
}

impl EventKind {
    /// What is shown unless asked otherwise.
    pub const DEFAULT: [Self; 5] =
        [Self::ClientHello, Self::ServerHello, Self::Certificate, Self::Alert, Self::Handshake];

    /// The kind of event that tells of a message.
    #[must_use]
    pub const fn of(message: &Message<'_>) -> Self {
        match message {
            Message::ClientHello(_)
            | Message::Ssl2ClientHello(_)
            | Message::Handshake(HandshakeType::CLIENT_HELLO) => Self::ClientHello,
            Message::ServerHello(_)
            | Message::Ssl2ServerHello(_)
            | Message::Handshake(HandshakeType::SERVER_HELLO) => Self::ServerHello,
            Message::Certificate(_) => Self::Certificate,
            Message::ServerKeyExchange(_)
            | Message::Handshake(_)
            | Message::EncryptedHandshake
            | Message::UnknownHandshake => Self::HandshakeMessage,
            Message::Alert(_) | Message::EncryptedAlert | Message::UnknownAlert => Self::Alert,
            Message::ChangeCipherSpec => Self::ChangeCipherSpec,
            Message::ApplicationData => Self::ApplicationData,
        }
    }

    /// The name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientHello => "client_hello",
            Self::ServerHello => "server_hello",
            Self::Certificate => "certificate",
            Self::Alert => "alert",
            Self::Handshake => "handshake",
            Self::HandshakeMessage => "handshake_message",
            Self::ChangeCipherSpec => "change_cipher_spec",
            Self::ApplicationData => "application_data",
            Self::Segment => "segment",
        }
    }
}

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKinds(u16);

impl EventKinds {
    /// All of them.
    pub const ALL: Self = Self(u16::MAX);

    /// Those in a list.
    #[must_use]
    pub fn of(kinds: &[EventKind]) -> Self {
        Self(kinds.iter().fold(0, |set, kind| set | 1 << *kind as u16))
    }

    /// These and those.
    #[must_use]
    pub const fn or(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, kind: EventKind) -> Self {
        Self(self.0 | 1 << kind as u16)
    }

    /// Whether a kind is one of them.
    #[must_use]
    pub const fn contains(self, kind: EventKind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }
}

/// Where and how a segment was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When.
    pub timestamp: Timestamp,
    /// Which way it crossed the interface.
    pub direction: Direction,
    /// What saw it.
    pub hook: Hook,
    /// Its VLAN tags.
    pub vlan: VlanTags,
    /// Whether the filters select it; else it is there for what follows handshakes.
    pub selected: bool,
}

impl Seen {
    /// As an event tells, at `timestamp` of the wall clock.
    #[must_use]
    pub const fn of(event: &Event<'_>, timestamp: Timestamp) -> Self {
        let Event { direction, hook, .. } = *event;
        let selected = event.is_selected();
        Self { timestamp, direction, hook, vlan: event.vlan(), selected }
    }

    /// Which way it crossed the interface, if that is known.
    #[must_use]
    pub const fn direction(&self) -> Option<&'static str> {
        match self.direction {
            Direction::Ingress => Some("ingress"),
            Direction::Egress => Some("egress"),
            Direction::Unknown => None,
        }
    }

    /// The kind of hook that saw it.
    #[must_use]
    pub const fn hook(&self) -> &'static str {
        match self.hook {
            Hook::Xdp => "xdp",
            Hook::TcIngress | Hook::TcEgress => "tc",
            Hook::File => "file",
        }
    }
}

/// One message.
#[derive(Debug)]
pub struct MessageObservation<'a> {
    /// The segment that completed it.
    pub seen: Seen,
    /// The interfaces that this segment was seen on.
    pub on: SeenOn<'a>,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom it went.
    pub destination: SocketAddr,
    /// Community ID version 1.
    pub community_id: &'a str,
    /// Sequence number of the first byte of the record in which it starts.
    pub sequence: u32,
    /// The record in which it starts.
    pub record: RecordHeader,
    /// How many records it is in.
    pub records: u16,
    /// What it says.
    pub said: &'a Said<'a>,
    /// What a whole hello comes to.
    pub facts: Facts<'a>,
}

impl SegmentObservation<'_> {
    /// Who sent it.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        let header = &self.event.header;
        socket_addr(self.event.ip, header.source, header.source_port)
    }

    /// To whom it went.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        let header = &self.event.header;
        socket_addr(self.event.ip, header.destination, header.destination_port)
    }

    /// Its TCP flags, RFC 9293 section 3.1 and RFC 3168.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> + Clone + use<> {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let flags = self.event.header.tcp_flags;
        (0..).zip(NAMES).filter(move |(bit, _)| flags >> bit & 1 != 0).map(|(_, name)| name)
    }
}

/// What was made of a message beyond its bytes.
#[derive(Debug)]
pub enum Facts<'a> {
    /// Nothing.
    None,
    /// A ClientHello.
    Client(&'a ClientFacts),
    /// A ServerHello.
    Server(&'a ServerFacts),
    /// A Certificate message.
    Chain(&'a Chain),
}

/// The two ends of a connection, the lower one first: the same for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends([SocketAddr; 2]);

impl Ends {
    /// The ends of a pair.
    #[must_use]
    pub fn between(one: SocketAddr, other: SocketAddr) -> Self {
        Self([one.min(other), one.max(other)])
    }

    /// Those of an event.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        let header = &event.header;
        Self::between(
            socket_addr(event.ip, header.source, header.source_port),
            socket_addr(event.ip, header.destination, header.destination_port),
        )
    }
}

impl Observation<'_> {
    /// The kind of event.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Message(message) => message.kind(),
            Self::Handshake(_) => EventKind::Handshake,
            Self::Segment(_) => EventKind::Segment,
        }
    }

    /// Between whom.
    #[must_use]
    pub fn ends(&self) -> Ends {
        match self {
            Self::Message(message) => Ends::between(message.source, message.destination),
            Self::Handshake(handshake) => Ends::between(handshake.client, handshake.server),
            Self::Segment(segment) => Ends::of(segment.event),
        }
    }

    /// When.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        match self {
            Self::Message(message) => message.seen.timestamp,
            Self::Handshake(handshake) => handshake.timestamp,
            Self::Segment(segment) => segment.seen.timestamp,
        }
    }

    /// When what it tells of began.
    #[must_use]
    pub const fn begins(&self) -> Timestamp {
        match self {
            Self::Handshake(handshake) => handshake.first.timestamp,
            Self::Message(_) | Self::Segment(_) => self.timestamp(),
        }
    }

    /// Whether it is a ClientHello.
    #[must_use]
    pub const fn is_client_hello(&self) -> bool {
        matches!(self.kind(), EventKind::ClientHello)
    }
}

impl MessageObservation<'_> {
    /// The kind of event.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        EventKind::of(&self.said.message)
    }
}
