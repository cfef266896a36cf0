//! The records that begin in a segment, and whether the rules want one of them.
//!
//! ```text
//!  segment   …rest of a record ║ 22 | 3 3 | length ‖ 2 | len | 3 3 … ‖ 11 | len … ║ 20 | 3 3 | 0 1 ‖ 1 ║ 22 …
//!                              ^ first             message           message        record
//! ```
//!
//! The walk goes from header to header: records, and inside handshake records messages if a rule is about
//! them. It begins at the segment's first byte if a record begins there, else where the record before it
//! ends, which the gate knows of the flows that it follows.

use super::{Rules, narrows_messages};
use crate::{
    headers::{LENGTH_MASK, Segment},
    packet::PacketBytes,
    record::{ContentType, RECORD_HEADER_LEN, RecordHeader},
};

/// Headers of records and messages that are looked at in one segment. A segment with more of them is
/// wanted: what is behind may be.
pub const MAX_HEADERS: usize = 12;

const MESSAGE_HEADER_LEN: usize = 4;
const VERSION_LEN: usize = 2;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// What the walk over a segment's records came to: numbers, so that the verifier can forget which way led to
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// [`Walked::WANTED`] and the bits behind it.
    code: usize,
    /// Where the next record begins, counted from the start of the payload, if that is known.
    next: usize,
}

impl Walked {
    /// A record that the rules want begins here.
    const WANTED: usize = 1;
    /// The last one is a handshake record that they want, and it goes on in the next segment.
    const GOES_ON: usize = 2;
    /// Where the next one begins is known.
    const KNOWN: usize = 4;
    /// Nothing was looked at.
    const NOT_TRIED: usize = 8;
    const MASK: usize = 15;

    /// No record was looked for.
    pub const NOT_LOOKED: Self = Self { code: Self::NOT_TRIED, next: 0 };

    /// A record whose header is not all here, which the rules may want or not.
    #[inline(always)]
    #[must_use]
    pub const fn of_cut_header(may_be_wanted: bool) -> Self {
        Self { code: if may_be_wanted { Self::WANTED | Self::GOES_ON } else { 0 }, next: 0 }
    }

    /// Whether a record that the rules want begins in the segment.
    #[inline(always)]
    #[must_use]
    pub const fn is_wanted(self) -> bool {
        self.code & Self::WANTED != 0
    }

    /// Whether the last one is a handshake record that they want, and goes on in the next segment.
    #[inline(always)]
    #[must_use]
    pub const fn goes_on(self) -> bool {
        self.code & Self::GOES_ON != 0
    }

    /// Whether the segment was walked.
    #[inline(always)]
    #[must_use]
    pub const fn is_walked(self) -> bool {
        self.code & Self::NOT_TRIED == 0
    }

    /// Where the next record begins, counted from the start of the payload; `None` if that is not known.
    #[inline(always)]
    #[must_use]
    pub const fn next(self) -> Option<usize> {
        if self.code & Self::KNOWN != 0 { Some(self.next) } else { None }
    }

    /// The same, as far as the verifier sees, whichever way led to it.
    #[inline(always)]
    #[must_use]
    pub fn forgotten(self, flows: &impl crate::Flows) -> Self {
        let code = flows.forget::<{ Self::MASK }>(self.code);
        Self { code, next: flows.forget::<LENGTH_MASK>(self.next) }
    }
}

/// Something that the rules want begins in the segment.
const WANTED: usize = Walked::WANTED;
/// The record at hand, or a message in it, is wanted.
const RECORD_WANTED: usize = 2;
/// The record at hand is of a content type and version that the rules want.
const FITS: usize = 4;
/// It is a handshake record.
const HANDSHAKE: usize = 8;
/// Behind a ChangeCipherSpec: messages are encrypted.
const ENCRYPTED: usize = 16;
const STATE_MASK: usize = 31;

/// Where the walk stands, in bytes from the start of the payload.
struct Cursor {
    at: usize,
    /// End of the record that `at` is in; `at` itself between records.
    record_end: usize,
    /// Bytes of a message that the record before did not hold.
    message_left: usize,
    /// The bits above: in one number, so that the verifier can forget them all.
    state: usize,
}

/// A segment whose records can be walked.
#[derive(Debug)]
pub struct Records<'a, R, P> {
    /// What is wanted.
    pub rules: &'a R,
    /// The segment's packet.
    pub packet: P,
    /// Where the segment is in it.
    pub segment: &'a Segment,
}

impl<R: Rules, P: PacketBytes> Records<'_, R, P> {
    /// Walks the records from `first` on, where one begins. Where a snaplen has cut the packet, the walk ends.
    #[inline(always)]
    pub fn walk(&self, first: usize) -> Walked {
        walk(self.rules, &self.packet, self.segment, first)
    }
}

#[inline(always)]
fn walk<P: PacketBytes>(rules: &impl Rules, packet: &P, segment: &Segment, first: usize) -> Walked {
    let mut cursor = Cursor { at: first, record_end: first, message_left: 0, state: 0 };
    let end = packet.forget::<LENGTH_MASK>(segment.payload_len);
    // What is behind the last header that is looked at may be wanted.
    let mut code = Walked::WANTED;
    for _ in 0..MAX_HEADERS {
        // Every way through the headers before leads to the same state here.
        cursor.at = packet.forget::<LENGTH_MASK>(cursor.at);
        cursor.record_end = packet.forget::<LENGTH_MASK>(cursor.record_end);
        cursor.message_left = packet.forget::<LENGTH_MASK>(cursor.message_left);
        cursor.state = packet.forget::<STATE_MASK>(cursor.state);
        if cursor.at >= end {
            code = Walked::KNOWN;
            break;
        }
        let step = if cursor.at >= cursor.record_end {
            record(rules, packet, segment, end, &mut cursor)
        } else {
            message(rules, packet, segment, end, &mut cursor)
        };
        if step.is_none() {
            // Half a header, or none: where the next record begins is not known.
            code = 0;
            break;
        }
    }
    code = packet.forget::<{ Walked::MASK }>(code);
    let next = packet.forget::<LENGTH_MASK>(cursor.record_end);
    let state = packet.forget::<STATE_MASK>(cursor.state);
    code |= state & WANTED;
    let last = RECORD_WANTED | HANDSHAKE;
    if code & Walked::KNOWN != 0 && state & last == last && next > end {
        code |= Walked::GOES_ON;
    }
    Walked { code, next }
}

/// A record header at the cursor.
#[inline(always)]
fn record<P: PacketBytes>(
    rules: &impl Rules,
    packet: &P,
    segment: &Segment,
    end: usize,
    cursor: &mut Cursor,
) -> Option<()> {
    if cursor.at + RECORD_HEADER_LEN > end {
        return None;
    }
    let header = RecordHeader::recognise(load(packet, segment, cursor.at)?)?;
    let kind = header.content_type as u8;
    let content = 1 << (kind - ContentType::ChangeCipherSpec as u8);
    let version = 1 << (header.version & 7);
    let (contents, versions) = (rules.content_types(), rules.record_versions());
    let fits =
        (contents == 0 || contents & content != 0) && (versions == 0 || versions & version != 0);
    let mut state = cursor.state & (WANTED | ENCRYPTED);
    if fits {
        state |= FITS;
    }
    if kind == ContentType::Handshake as u8 {
        state |= HANDSHAKE;
    }
    if kind == ContentType::ChangeCipherSpec as u8 {
        state |= ENCRYPTED;
    }
    let length = packet.forget::<LENGTH_MASK>(header.length as usize);
    state = packet.forget::<STATE_MASK>(state);
    cursor.at += RECORD_HEADER_LEN;
    cursor.record_end = cursor.at + length;
    if !narrows_messages(rules) {
        if state & FITS != 0 {
            state |= WANTED | RECORD_WANTED;
        }
        cursor.at = cursor.record_end;
    } else if state & (FITS | HANDSHAKE | ENCRYPTED) == FITS | HANDSHAKE {
        let left = cursor.message_left.min(length);
        cursor.message_left -= left;
        cursor.at += left;
    } else {
        cursor.at = cursor.record_end;
    }
    cursor.state = state;
    Some(())
}

/// A message header at the cursor, which is inside a handshake record that fits.
#[inline(always)]
fn message<P: PacketBytes>(
    rules: &impl Rules,
    packet: &P,
    segment: &Segment,
    segment_end: usize,
    cursor: &mut Cursor,
) -> Option<()> {
    const FOUND: usize = WANTED | RECORD_WANTED;
    let end = segment_end.min(cursor.record_end);
    if cursor.at + MESSAGE_HEADER_LEN > end {
        // Its type is in the next segment, or its header in two records.
        cursor.state |= FOUND;
        cursor.at = cursor.record_end;
        return Some(());
    }
    let [kind, long, length_high, length_low] = load(packet, segment, cursor.at)?;
    // Only a message that is encrypted says that it is longer than 128 KiB, or is a request with a text.
    if long > 1 || (kind == 0 && (long, length_high, length_low) != (0, 0, 0)) {
        cursor.at = cursor.record_end;
        return Some(());
    }
    let length = u32::from_be_bytes([0, long, length_high, length_low]) as usize;
    let length = packet.forget::<LENGTH_MASK>(length);
    cursor.at += MESSAGE_HEADER_LEN;
    let kinds = rules.handshake_types();
    let fits = kinds == 0 || (kind < 32 && kinds & (1 << (kind & 31)) != 0);
    if fits && has_wanted_version(rules, packet, segment, cursor, kind, end)? {
        cursor.state |= FOUND;
    }
    let behind = packet.forget::<LENGTH_MASK>(cursor.at + length);
    cursor.message_left = behind.saturating_sub(cursor.record_end);
    cursor.at = behind.min(cursor.record_end);
    Some(())
}

/// Whether a hello, whose version is at the cursor, has one that the rules want.
#[inline(always)]
fn has_wanted_version<P: PacketBytes>(
    rules: &impl Rules,
    packet: &P,
    segment: &Segment,
    cursor: &Cursor,
    kind: u8,
    end: usize,
) -> Option<bool> {
    let versions = rules.hello_versions();
    if versions == 0 {
        return Some(true);
    }
    if kind != CLIENT_HELLO && kind != SERVER_HELLO {
        return Some(false);
    }
    if cursor.at + VERSION_LEN > end {
        return Some(true);
    }
    let [major, minor] = load(packet, segment, cursor.at)?;
    Some(major == 3 && minor < 8 && versions & (1 << (minor & 7)) != 0)
}

#[inline(always)]
fn load<P: PacketBytes, const N: usize>(
    packet: &P,
    segment: &Segment,
    at: usize,
) -> Option<[u8; N]> {
    packet.load(segment.payload_offset + at)
}
