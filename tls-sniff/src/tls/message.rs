//! One message: what a record, or a handshake message over one or more records, says.

use super::{
    alert::Alert, client_hello::ClientHello, handshake::HandshakeType, reader::ParseError,
    server_hello::ServerHello,
};

/// What a record, or one handshake message, says.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// A ClientHello.
    ClientHello(ClientHello<'a>),
    /// An SSLv2-compatible CLIENT-HELLO: the record behind its two-byte length.
    Ssl2ClientHello(&'a [u8]),
    /// SSL 2.0's SERVER-HELLO, likewise.
    Ssl2ServerHello(&'a [u8]),
    /// A ServerHello or HelloRetryRequest.
    ServerHello(ServerHello<'a>),
    /// A Certificate message of TLS 1.2 or older: its body, as far as it is at hand.
    Certificate(&'a [u8]),
    /// A ServerKeyExchange: its body, as far as it is at hand.
    ServerKeyExchange(&'a [u8]),
    /// Another handshake message, or a hello of which too little can be read.
    Handshake(HandshakeType),
    /// A handshake record that is encrypted, or a record that wraps one (TLS 1.3).
    EncryptedHandshake,
    /// A handshake record of which too little is known to tell more: it goes on with a message whose
    /// start is missing.
    UnknownHandshake,
    /// An alert in plaintext.
    Alert(Alert),
    /// An encrypted alert.
    EncryptedAlert,
    /// An alert that is cut off.
    UnknownAlert,
    /// A ChangeCipherSpec.
    ChangeCipherSpec,
    /// Application data: in TLS 1.3 also every handshake message and alert that is encrypted.
    ApplicationData,
}

impl Message<'_> {
    /// Whether it is an alert, readable or not.
    #[must_use]
    pub const fn is_alert(&self) -> bool {
        matches!(self, Self::Alert(_) | Self::EncryptedAlert | Self::UnknownAlert)
    }
}

/// Why a message is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Bytes on the wire that were not captured (a snaplen, `--payload-bytes`).
    CaptureLimit,
    /// Segments that were never seen.
    Lost,
    /// The connection, or the capture, ended before the rest.
    End,
    /// No more memory for it: budgets for a direction and for all connections.
    Memory,
}

impl Partial {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaptureLimit => "capture_limit",
            Self::Lost => "lost",
            Self::End => "end",
            Self::Memory => "memory",
        }
    }
}

/// A message with what is wrong with it.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    /// What it says.
    pub message: Message<'a>,
    /// Why bytes of it are missing, or `None` if all were there.
    pub partial: Option<Partial>,
    /// What in it contradicts the specification; what stands before that is reported.
    pub malformed: Option<ParseError>,
}

impl<'a> Said<'a> {
    /// A message that has nothing to be malformed.
    #[must_use]
    pub const fn new(message: Message<'a>, partial: Option<Partial>) -> Self {
        Self { message, partial, malformed: None }
    }

    /// A handshake message of `length` bytes, of which `body` are at hand; `partial` says why not all.
    #[must_use]
    pub fn handshake(
        handshake_type: HandshakeType,
        body: &'a [u8],
        length: usize,
        partial: Option<Partial>,
    ) -> Self {
        let other = Message::Handshake(handshake_type);
        let parsed = match handshake_type {
            HandshakeType::CLIENT_HELLO => ClientHello::parse(body, length)
                .map(|(hello, end)| (Message::ClientHello(hello), end)),
            HandshakeType::SERVER_HELLO => ServerHello::parse(body, length)
                .map(|(hello, end)| (Message::ServerHello(hello), end)),
            HandshakeType::CERTIFICATE => return Self::new(Message::Certificate(body), partial),
            HandshakeType::SERVER_KEY_EXCHANGE => {
                return Self::new(Message::ServerKeyExchange(body), partial);
            }
            _ => return Self::new(other, partial),
        };
        let (message, end) = parsed.unwrap_or_else(|error| (other, Err(error)));
        // What is cut is partial, which is said already.
        let malformed = end.err().filter(|error| !error.is_cut());
        Self { message, partial, malformed }
    }

    /// Whether all bytes were seen and none contradicts the specification.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.partial.is_none() && self.malformed.is_none()
    }
}
