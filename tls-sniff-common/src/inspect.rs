//! From a packet to the TLS record at the start of its payload: what every hook and `-r` run.

use crate::{
    counters::Counter,
    headers::{self, LinkLayer, Segment},
    packet::PacketBytes,
    record::{ContentType, RECORD_HEADER_LEN, RecordHeader},
};

/// A segment whose payload starts with a TLS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub segment: Segment,
    /// The record header at the payload offset.
    pub record: RecordHeader,
    /// The byte behind the header of a handshake record: its first message's type if the record is not
    /// encrypted. `None` for other content types, or when the segment ends before it.
    pub handshake_type: Option<u8>,
}

/// Walks `packet` and looks for a TLS record at its payload offset.
///
/// # Errors
///
/// The counter that says why there is none.
#[inline(always)]
pub fn inspect<P: PacketBytes>(packet: &P, link: LinkLayer) -> Result<Found, Counter> {
    let segment = headers::walk(packet, link)?;
    find_record(packet, segment)
}

/// The second half of [`inspect`], for a hook that reads headers and payload in different ways.
///
/// # Errors
///
/// The counter that says why there is no record.
#[inline(always)]
pub fn find_record<P: PacketBytes>(packet: &P, segment: Segment) -> Result<Found, Counter> {
    if segment.payload_len == 0 {
        return Err(Counter::NoPayload);
    }
    if segment.payload_len < RECORD_HEADER_LEN {
        return Err(Counter::NoRecord);
    }
    let bytes = packet.load(segment.payload_offset).ok_or(Counter::Truncated)?;
    let record = RecordHeader::recognise(bytes).ok_or(Counter::NoRecord)?;
    let handshake_type = match record.content_type {
        ContentType::Handshake if segment.payload_len > RECORD_HEADER_LEN => packet
            .load(segment.payload_offset + RECORD_HEADER_LEN)
            .map(|[handshake_type]: [u8; 1]| handshake_type),
        _ => None,
    };
    Ok(Found { segment, record, handshake_type })
}
