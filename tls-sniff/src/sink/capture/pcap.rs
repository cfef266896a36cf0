//! Classic pcap, little-endian, times in nanoseconds.
//!
//! ```text
//!  file    0 magic   4 major, minor   8 zone, accuracy   16 snaplen   20 link type
//!  packet  0 seconds   4 nanoseconds   8 captured length   12 length   16 packet
//! ```
//!
//! The header names the one link type, so it is written when the first packet comes, and packets of
//! others are not written. Nothing else of a packet has a place here.
//!
//! Source: draft-ietf-opsawg-pcap.

use super::batch::Queued;

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
const NS_PER_S: i64 = 1_000_000_000;

/// The link type of the capture: that of its first packet, in all its files.
pub(super) struct Pcap {
    snaplen: u32,
    link_type: Option<u32>,
}

impl Pcap {
    pub(super) fn new(snaplen: u32) -> Self {
        Self { snaplen, link_type: None }
    }

    /// Whether a packet of `link_type` can be written; the first one decides.
    pub(super) fn takes(&mut self, link_type: u32) -> bool {
        *self.link_type.get_or_insert(link_type) == link_type
    }

    pub(super) fn link_type(&self) -> Option<u32> {
        self.link_type
    }

    /// A file without packets is one of Ethernet.
    pub(super) fn header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
        for half in [2_u16, 4] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        let link_type = self.link_type.unwrap_or(LINKTYPE_ETHERNET);
        for word in [0, 0, self.snaplen, link_type] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Times out of the format's range (1970 to 2106) stand as the nearest in it.
    pub(super) fn packet(packet: &Queued<'_>, out: &mut Vec<u8>) {
        let time = packet.timestamp.max(0);
        let seconds = u32::try_from(time / NS_PER_S).unwrap_or(u32::MAX);
        let nanoseconds = u32::try_from(time % NS_PER_S).unwrap_or(0);
        let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
        for word in [seconds, nanoseconds, captured, packet.wire_len] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(packet.data);
    }
}
