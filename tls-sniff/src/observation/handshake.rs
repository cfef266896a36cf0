//! How a connection's handshake went.

use std::net::SocketAddr;

use super::Seen;
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    tls::{
        alert::Alert,
        certificate::Chain,
        facts::{ClientFacts, ServerFacts},
        message::Partial,
        names::NamedGroup,
        weakness::Weakness,
    },
};

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Who sends the ClientHello.
    Client,
    /// Who answers it.
    Server,
}

impl Party {
    /// The name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides are through.
    Completed,
    /// An alert ended it; `None` if it was encrypted or cut off.
    Alert {
        /// Who sent it.
        by: Party,
        /// Which.
        alert: Option<Alert>,
    },
    /// TLS 1.3: a record of the size of an alert where none should be, then the end. Inferred.
    ProbableEncryptedAlert {
        /// Who sent it.
        by: Party,
    },
    /// RST.
    Reset {
        /// Who sent it.
        by: Party,
    },
    /// FIN.
    Closed {
        /// Who sent it first.
        by: Party,
    },
    /// The server answered, and nothing came for a long time.
    TimedOut,
    /// The server never answered the ClientHello.
    NoAnswer,
    /// The answer to the ClientHello is no TLS.
    NotTls,
    /// The run or the capture ended first.
    StillOpen,
    /// Too little of it was seen to tell.
    Partial,
}

impl Outcome {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Alert { .. } => "alert",
            Self::ProbableEncryptedAlert { .. } => "probable_encrypted_alert",
            Self::Reset { .. } => "reset",
            Self::Closed { .. } => "closed",
            Self::TimedOut => "timed_out",
            Self::NoAnswer => "no_answer",
            Self::NotTls => "not_tls",
            Self::StillOpen => "still_open",
            Self::Partial => "partial",
        }
    }

    /// Whether its end was seen, and it was not completed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Completed | Self::StillOpen | Self::Partial)
    }

    /// Who ended it.
    #[must_use]
    pub const fn by(self) -> Option<Party> {
        match self {
            Self::Alert { by, .. }
            | Self::ProbableEncryptedAlert { by }
            | Self::Reset { by }
            | Self::Closed { by } => Some(by),
            _ => None,
        }
    }
}

/// A connection's handshake, when it was over.
#[derive(Debug)]
pub struct HandshakeObservation<'a> {
    /// When it was over, or given up.
    pub timestamp: Timestamp,
    /// The first segment.
    pub first: Seen,
    /// The interfaces that segments of it were seen on, the first one's first.
    pub on: SeenOn<'a>,
    /// Who sent the ClientHello.
    pub client: SocketAddr,
    /// Who answered.
    pub server: SocketAddr,
    /// Community ID version 1.
    pub community_id: &'a str,
    /// What the ClientHello offered; of two, the second, which answers a HelloRetryRequest.
    pub client_hello: Option<&'a ClientFacts>,
    /// What the ServerHello chose.
    pub server_hello: Option<&'a ServerFacts>,
    /// The negotiated version.
    pub version: Option<u16>,
    /// Whether the server asked for a second ClientHello.
    pub hello_retry_request: bool,
    /// The named group of the key exchange.
    pub group: Option<u16>,
    /// Whether a session is resumed; `None` if that cannot be told.
    pub resumed: Option<bool>,
    /// The server's certificates, TLS 1.2 and older.
    pub server_certificates: Option<&'a Chain>,
    /// The client's.
    pub client_certificates: Option<&'a Chain>,
    /// From SYN to SYN-ACK, ns.
    pub syn_to_syn_ack: Option<i64>,
    /// From SYN-ACK to the ClientHello, ns.
    pub syn_ack_to_hello: Option<i64>,
    /// From the first segment of the handshake to its completion, ns.
    pub duration: Option<i64>,
    /// TCP payload bytes that client and server sent from the first segment of the handshake on.
    pub bytes: [u32; 2],
    /// Zeek's letters.
    pub history: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// What is weak in it.
    pub weaknesses: &'a [Weakness],
    /// Why messages of it are missing.
    pub partial: Option<Partial>,
    /// Segments said two things about the same bytes; the first counts.
    pub overlap: bool,
}

impl HandshakeObservation<'_> {
    /// Whether the key exchange holds against a quantum computer as far as is known.
    #[must_use]
    pub fn is_post_quantum(&self) -> bool {
        self.group.is_some_and(|group| NamedGroup(group).is_post_quantum())
    }

    /// Whether the handshake came to its end.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.outcome == Outcome::Completed
    }
}

#[cfg(test)]
impl HandshakeObservation<'static> {
    /// A handshake of which nothing is known but its ends, when its first segment was seen, when it was over, and how.
    pub(crate) fn bare(
        [client, server]: [SocketAddr; 2],
        [first, timestamp]: [Timestamp; 2],
        outcome: Outcome,
    ) -> Self {
        use tls_sniff_common::{
            flow::{Direction, Hook},
            headers::VlanTags,
        };

        let first = Seen {
            timestamp: first,
            direction: Direction::Unknown,
            hook: Hook::File,
            vlan: VlanTags::default(),
            selected: true,
        };
        Self {
            timestamp,
            first,
            on: SeenOn::default(),
            client,
            server,
            community_id: "",
            client_hello: None,
            server_hello: None,
            version: None,
            hello_retry_request: false,
            group: None,
            resumed: None,
            server_certificates: None,
            client_certificates: None,
            syn_to_syn_ack: None,
            syn_ack_to_hello: None,
            duration: None,
            bytes: [0; 2],
            history: "",
            outcome,
            weaknesses: &[],
            partial: None,
            overlap: false,
        }
    }
}
