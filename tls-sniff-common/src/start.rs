//! What a segment's payload starts with: the one question that decides whether a packet costs more than
//! its walk.
//!
//! ```text
//!  22 | 3 | 0..4 | length | 1 or 2 | length (3) | 3 | 0..4   a hello in a TLS record
//!  1.......  ........ | 1 | version | three lengths          a ClientHello in an SSLv2 record
//!  22 ‖ 22 3 ‖ 22 3 1 ‖ 22 3 1 2                             the first bytes of a record, the rest later
//! ```
//!
//! A hello is asked for more than its record header, since it opens its flow: of random payload one
//! segment in some 10^12 passes for a hello, one in three million for another record.

use crate::{
    counters::Counter,
    headers::Segment,
    packet::PacketBytes,
    record::{ContentType, MAX_FRAGMENT_LEN, RECORD_HEADER_LEN, RecordHeader},
};

/// What stands at the payload offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// No payload.
    Empty,
    /// A hello, or as much of a handshake record as a short segment holds: it opens its flow.
    Hello(Speaker),
    /// Another TLS record.
    Record(ContentType),
    /// Anything else, also the middle of a record.
    Other,
}

/// Who sends what opens a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// A ClientHello.
    Client,
    /// A ServerHello.
    Server,
    /// Too little was seen to tell.
    Unknown,
}

impl Start {
    /// As a number up to [`Start::MASK`], so that [`PacketBytes::forget`] can take it.
    #[inline(always)]
    #[must_use]
    pub const fn code(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Other => 1,
            Self::Hello(Speaker::Client) => 2,
            Self::Hello(Speaker::Server) => 3,
            Self::Hello(Speaker::Unknown) => 4,
            Self::Record(ContentType::ChangeCipherSpec) => 5,
            Self::Record(ContentType::Alert) => 6,
            Self::Record(ContentType::Handshake) => 7,
            Self::Record(ContentType::ApplicationData) => 8,
        }
    }

    /// The largest code.
    pub const MASK: usize = 15;

    /// What a number stands for.
    #[inline(always)]
    #[must_use]
    pub const fn of_code(code: usize) -> Self {
        match code {
            0 => Self::Empty,
            2 => Self::Hello(Speaker::Client),
            3 => Self::Hello(Speaker::Server),
            4 => Self::Hello(Speaker::Unknown),
            5 => Self::Record(ContentType::ChangeCipherSpec),
            6 => Self::Record(ContentType::Alert),
            7 => Self::Record(ContentType::Handshake),
            8 => Self::Record(ContentType::ApplicationData),
            _ => Self::Other,
        }
    }
}

/// Bytes that tell a hello: record header, message header, version.
pub const HELLO_LEN: usize = 11;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// Looks at the first bytes of a segment's payload.
///
/// # Errors
///
/// [`Counter::Truncated`] if they are not at hand.
#[inline(always)]
pub fn payload_start<P: PacketBytes>(packet: &P, segment: &Segment) -> Result<Start, Counter> {
    let offset = segment.payload_offset;
    if segment.payload_len >= HELLO_LEN {
        return Ok(of_bytes(load(packet, offset)?));
    }
    if segment.payload_len >= RECORD_HEADER_LEN {
        let header = load(packet, offset)?;
        return match RecordHeader::recognise(header) {
            None => Ok(Start::Other),
            Some(header) if header.content_type != ContentType::Handshake => {
                Ok(Start::Record(header.content_type))
            }
            Some(_) if segment.payload_len == RECORD_HEADER_LEN => {
                Ok(Start::Hello(Speaker::Unknown))
            }
            Some(_) => {
                let [kind] = load(packet, offset + RECORD_HEADER_LEN)?;
                // Only the type is there to go by.
                Ok(handshake(1, [0, 0, 0, 0, 0, kind, 0, 0, 0, 0, 0]))
            }
        };
    }
    if segment.payload_len == 0 {
        return Ok(Start::Empty);
    }
    let [first] = load(packet, offset)?;
    let mut prefix = first == ContentType::Handshake as u8;
    if segment.payload_len >= 2 {
        let [major] = load(packet, offset + 1)?;
        prefix &= major == 3;
    }
    Ok(if prefix { Start::Hello(Speaker::Unknown) } else { Start::Other })
}

/// What the first bytes of a payload of at least that many are.
#[inline(always)]
#[must_use]
pub const fn of_bytes(bytes: [u8; HELLO_LEN]) -> Start {
    let [a, b, c, d, e, ..] = bytes;
    match RecordHeader::recognise([a, b, c, d, e]) {
        Some(header) => match header.content_type {
            ContentType::Handshake => handshake(header.length, bytes),
            other => Start::Record(other),
        },
        None if is_ssl2_client_hello(bytes) => Start::Hello(Speaker::Client),
        None => Start::Other,
    }
}

/// A handshake record of `length` bytes: does a hello start in it?
#[inline(always)]
const fn handshake(length: u16, bytes: [u8; HELLO_LEN]) -> Start {
    let [_, _, _, _, _, kind, long, _, _, major, minor] = bytes;
    let speaker = match kind {
        CLIENT_HELLO => Speaker::Client,
        SERVER_HELLO => Speaker::Server,
        _ => return Start::Record(ContentType::Handshake),
    };
    // A record may end before the bytes that would tell more; a hello of 128 KiB is none.
    let plausible_length = length < 2 || long <= 1;
    // TLS 1.3's drafts up to 21 had versions of their own in the ServerHello.
    let plausible_version = length < 6
        || (major == 3 && minor <= 4)
        || (matches!(speaker, Speaker::Server) && major == 0x7f);
    if plausible_length && plausible_version {
        Start::Hello(speaker)
    } else {
        Start::Record(ContentType::Handshake)
    }
}

/// The SSLv2-compatible CLIENT-HELLO, RFC 5246 appendix E.2: its lengths must add up.
#[inline(always)]
const fn is_ssl2_client_hello(bytes: [u8; HELLO_LEN]) -> bool {
    let [high, low, kind, major, minor, specs_high, specs, id_high, id, challenge_high, challenge] =
        bytes;
    let version = (major == 3 && minor <= 4) || (major == 0 && minor == 2);
    let length = u16::from_be_bytes([high & 0x7f, low]);
    let specs = u16::from_be_bytes([specs_high, specs]);
    let id = u16::from_be_bytes([id_high, id]);
    let challenge = u16::from_be_bytes([challenge_high, challenge]);
    high & 0x80 != 0
        && kind == CLIENT_HELLO
        && version
        && specs > 0
        && specs.is_multiple_of(3)
        && specs <= MAX_FRAGMENT_LEN
        && (id == 0 || id == 16 || id == 32)
        && challenge >= 16
        && challenge <= 32
        && length == 9 + specs + id + challenge
}

#[inline(always)]
fn load<P: PacketBytes, const N: usize>(packet: &P, offset: usize) -> Result<[u8; N], Counter> {
    packet.load(offset).ok_or(Counter::Truncated)
}
