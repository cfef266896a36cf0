//! Packets on their way to the thread: bytes and what belongs to them, in two buffers that are used again.
//!
//! ```text
//!  bytes    interface name | packet, VLAN tag put back, cut | comments: 0 length (LE)  2 text  …
//!  entries  lengths of the three, time, lengths on the wire, interface, link type, direction
//! ```

use tls_sniff_common::flow::Direction;

use super::Packet;

/// A batch goes to the thread when it is so long, or when its producer has nothing more.
pub(super) const BATCH_LEN: usize = 64 * 1024;

/// Bytes before the place of the VLAN tag: the two MAC addresses.
const MAC_ADDRESSES_LEN: usize = 12;
const VLAN_TAG_LEN: u8 = 4;
const LINKTYPE_ETHERNET: u32 = 1;

/// The longest comment: what a pcapng option holds.
const MAX_COMMENT_LEN: usize = u16::MAX as usize;

/// Bytes of comments of one packet; comments that would go beyond are left out. tshark reads blocks of
/// up to 16 MiB.
const MAX_COMMENTS_LEN: usize = 1024 * 1024;

/// What stands in [`Batch::bytes`] for one packet.
#[derive(Clone, Copy)]
struct Entry {
    timestamp: i64,
    interface_index: u32,
    link_type: u32,
    direction: Direction,
    wire_len: u32,
    name_len: usize,
    data_len: usize,
    comments_len: usize,
}

/// A packet as the encoders get it.
#[derive(Clone, Copy)]
pub(super) struct Queued<'a> {
    /// Nanoseconds since the epoch.
    pub(super) timestamp: i64,
    pub(super) interface_index: u32,
    pub(super) link_type: u32,
    pub(super) direction: Direction,
    /// At least the length of `data`.
    pub(super) wire_len: u32,
    /// The interface's name; empty if it is not known.
    pub(super) name: &'a [u8],
    pub(super) data: &'a [u8],
    comments: &'a [u8],
}

impl<'a> Queued<'a> {
    pub(super) fn comments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.comments;
        std::iter::from_fn(move || {
            let (len, after) = rest.split_first_chunk()?;
            let (comment, after) = after.split_at_checked(u16::from_le_bytes(*len).into())?;
            rest = after;
            Some(comment)
        })
    }
}

/// Packets that go to the thread together.
pub(super) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(BATCH_LEN), entries: Vec::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes that it takes.
    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes_len() >= BATCH_LEN
    }

    /// Takes what is in `next`, which is empty then.
    pub(super) fn append(&mut self, next: &mut Self) {
        self.bytes.append(&mut next.bytes);
        self.entries.append(&mut next.entries);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    pub(super) fn packets(&self) -> impl Iterator<Item = Queued<'_>> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map_while(move |entry| {
            let (name, after) = rest.split_at_checked(entry.name_len)?;
            let (data, after) = after.split_at_checked(entry.data_len)?;
            let (comments, after) = after.split_at_checked(entry.comments_len)?;
            rest = after;
            Some(Queued {
                timestamp: entry.timestamp,
                interface_index: entry.interface_index,
                link_type: entry.link_type,
                direction: entry.direction,
                wire_len: entry.wire_len,
                name,
                data,
                comments,
            })
        })
    }

    /// Copies what is needed of `packet`.
    pub(super) fn push(&mut self, packet: &Packet<'_>, snaplen: usize) {
        let name = packet.interface.unwrap_or_default().as_bytes();
        self.bytes.extend_from_slice(name);
        let (data_len, tag_len) = self.push_data(packet, snaplen);
        let comments_len = self.push_comments(packet.comments);
        let captured = u32::try_from(data_len).unwrap_or(u32::MAX);
        self.entries.push(Entry {
            timestamp: packet.timestamp.0,
            interface_index: packet.interface_index,
            link_type: packet.link_type,
            direction: packet.direction,
            wire_len: packet.wire_len.saturating_add(tag_len.into()).max(captured),
            name_len: name.len(),
            data_len,
            comments_len,
        });
    }

    /// Appends the packet with its VLAN tag where the wire had it. Returns the bytes there, and those of
    /// the tag.
    fn push_data(&mut self, packet: &Packet<'_>, snaplen: usize) -> (usize, u8) {
        let start = self.bytes.len();
        let tagged = packet
            .offloaded_vlan
            .filter(|_| packet.link_type == LINKTYPE_ETHERNET)
            .and_then(|tag| Some((tag, packet.bytes.split_at_checked(MAC_ADDRESSES_LEN)?)));
        let (rest, tag_len) = match tagged {
            None => (packet.bytes, 0),
            Some(((tpid, tci), (addresses, rest))) => {
                self.bytes.extend_from_slice(addresses);
                self.bytes.extend_from_slice(&tpid.to_be_bytes());
                self.bytes.extend_from_slice(&tci.to_be_bytes());
                (rest, VLAN_TAG_LEN)
            }
        };
        self.bytes.extend_from_slice(rest.get(..snaplen).unwrap_or(rest));
        self.bytes.truncate(start + snaplen);
        (self.bytes.len() - start, tag_len)
    }

    fn push_comments(&mut self, comments: &[String]) -> usize {
        let start = self.bytes.len();
        for comment in comments {
            let end = comment.floor_char_boundary(MAX_COMMENT_LEN);
            let text = comment.get(..end).unwrap_or_default();
            let Ok(len) = u16::try_from(text.len()) else { continue };
            if self.bytes.len() - start + text.len() > MAX_COMMENTS_LEN {
                break;
            }
            self.bytes.extend_from_slice(&len.to_le_bytes());
            self.bytes.extend_from_slice(text.as_bytes());
        }
        self.bytes.len() - start
    }
}
