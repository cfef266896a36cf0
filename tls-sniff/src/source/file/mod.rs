//! Capture files: pcap and pcapng, from a file or a pipe, one packet at a time.
//!
//! ```text
//!  Read ─► input: a window of whole records ─► pcap   ┐ Record: where the packet is in the window,
//!                                              pcapng ┘ its time, link type, interface
//!                                                       └─► link: can it be walked? ─► Frame
//!  Frame ─► examine: the kernel's walk and gate ─► Event
//! ```
//!
//! Files come from anywhere, so a length in one is a claim: a record over [`MAX_RECORD_LEN`] is an
//! error, and below that memory grows with what was read, not with what was claimed. What stands before
//! a fault is delivered first; a capture that was killed while it wrote ends inside a packet.

#![forbid(unsafe_code)]

mod error;
mod examine;
mod input;
mod link;
mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fs::File, io::Read, ops::Range, path::Path};

use tls_sniff_common::{flow::Direction, headers::LinkLayer, packet::CapturedPacket};

pub use self::error::{CaptureError, Damage, Fault, Part};
pub use self::examine::Examiner;
pub use self::link::{LINKTYPE_ETHERNET, LINKTYPE_RAW};
use self::{input::Input, pcap::Pcap, pcapng::PcapNg};

/// The longest packet record or block, in bytes with its header. Captures have packets of at most
/// 256 KiB, blocks of other kinds may be longer.
pub const MAX_RECORD_LEN: usize = 16 * 1024 * 1024;

/// The most interfaces in a section of a pcapng file; the obsolete packet block could number as many.
pub const MAX_INTERFACES: usize = 1 << 16;

/// Bytes that tell the formats apart.
const MAGIC_LEN: usize = 8;

/// A packet of a capture file.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Nanoseconds since 1970-01-01T00:00:00Z; 0 in a simple packet block, which has no time.
    pub timestamp_ns: i64,
    /// What the packet starts with.
    pub link: LinkLayer,
    /// The same by the LINKTYPE registry, as the file has it.
    pub link_type: u32,
    /// The captured bytes, and the length that the packet had.
    pub packet: CapturedPacket<'a>,
    /// The interface's name (`if_name`), if a pcapng file tells it.
    pub interface: Option<&'a str>,
    /// Tells interfaces apart: 1 for the first of a pcapng file, 0 in a pcap file; what a Linux cooked header of
    /// version 2 says has the top bit set.
    pub interface_index: u32,
    /// Whether the file has packets of more than one interface, as far as it has said so.
    pub several_interfaces: bool,
    /// By `epb_flags`, or by the packet type of a Linux cooked header.
    pub direction: Direction,
    /// Where the packet's record or block starts in the file.
    pub offset: u64,
}

/// A record at the start of the window.
struct Record {
    timestamp_ns: i64,
    link_type: u32,
    /// The packet's bytes, from the start of the record.
    data: Range<usize>,
    /// Length of the record, header and all.
    len: usize,
    wire_len: usize,
    /// The index of the interface in the section.
    interface: Option<usize>,
    direction: Direction,
}

enum Format {
    /// Nothing was read yet.
    Unread,
    Pcap(Pcap),
    PcapNg(PcapNg),
    /// The end was reached, or an error reported.
    Ended,
}

/// A capture file that is read from start to end.
pub struct CaptureFile<R> {
    name: String,
    input: Input<R>,
    format: Format,
    /// Length of the record that the last [`Frame`] borrowed.
    delivered: usize,
    skipped: BTreeMap<u32, u64>,
}

impl CaptureFile<Box<dyn Read>> {
    /// Opens the file at `path`. Its format is looked at by the first call of [`CaptureFile::next`].
    ///
    /// # Errors
    ///
    /// [`Fault::Open`].
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Self::new(Box::new(file), name)),
            Err(error) => Err(CaptureError { file: name, fault: Fault::Open(error) }),
        }
    }
}

impl<R: Read> CaptureFile<R> {
    /// Reads a capture from `reader`, which needs no buffer of its own; `name` stands in errors.
    #[must_use]
    pub fn new(reader: R, name: String) -> Self {
        Self {
            name,
            input: Input::new(reader),
            format: Format::Unread,
            delivered: 0,
            skipped: BTreeMap::new(),
        }
    }

    /// The next packet, or `None` at the end of the file and after an error. Packets of link types that
    /// cannot be walked are counted and passed over, see [`CaptureFile::skipped`].
    ///
    /// # Errors
    ///
    /// If the file is empty, no capture, damaged or cut off, or if reading fails.
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame borrows the buffer, which an Iterator's items cannot"
    )]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let (record, link) = match self.advance() {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.format = Format::Ended;
                return Ok(None);
            }
            Err(fault) => {
                self.format = Format::Ended;
                return Err(CaptureError { file: self.name.clone(), fault });
            }
        };
        let bytes = self.input.bytes().get(record.data).unwrap_or_default();
        let (interface, described) = match &self.format {
            Format::PcapNg(section) => {
                let name = |interface| section.interface_name(interface);
                (record.interface.and_then(name), section.interfaces())
            }
            Format::Unread | Format::Pcap(_) | Format::Ended => (None, 1),
        };
        let of_file = record.interface.map_or(0, |interface| interface.saturating_add(1));
        let cooked = link::cooked_interface(link, bytes);
        let direction = match record.direction {
            Direction::Unknown => link::cooked_direction(link, bytes),
            told => told,
        };
        // Some writers leave the original length at 0.
        let wire_len = record.wire_len.max(bytes.len());
        Ok(Some(Frame {
            timestamp_ns: record.timestamp_ns,
            link,
            link_type: record.link_type,
            packet: CapturedPacket { bytes, wire_len },
            // Of a cooked capture it is `any`.
            interface: interface.filter(|_| cooked.is_none()),
            interface_index: cooked.unwrap_or(u32::try_from(of_file).unwrap_or(u32::MAX)),
            several_interfaces: described > 1 || cooked.is_some(),
            direction,
            offset: self.input.offset(),
        }))
    }

    /// Link types whose packets were passed over: number, name in the registry without `LINKTYPE_`,
    /// packets so far.
    pub fn skipped(&self) -> impl Iterator<Item = (u32, Option<&'static str>, u64)> {
        self.skipped
            .iter()
            .map(|(link_type, count)| (*link_type, link::link_type_name(*link_type), *count))
    }

    /// Moves to the next record whose packet can be walked, which is then at the start of the input.
    fn advance(&mut self) -> Result<Option<(Record, LinkLayer)>, Fault> {
        loop {
            self.input.consume(std::mem::take(&mut self.delivered));
            let record = match &mut self.format {
                Format::Unread => {
                    self.format = open_format(&mut self.input)?;
                    continue;
                }
                Format::Pcap(pcap) => pcap.next(&mut self.input)?,
                Format::PcapNg(pcapng) => pcapng.next(&mut self.input)?,
                Format::Ended => None,
            };
            let Some(record) = record else { return Ok(None) };
            self.delivered = record.len;
            match link::link_layer(record.link_type) {
                Some(link) => return Ok(Some((record, link))),
                None => *self.skipped.entry(record.link_type).or_default() += 1,
            }
        }
    }
}

/// Tells the format by its first bytes.
fn open_format<R: Read>(input: &mut Input<R>) -> Result<Format, Fault> {
    let start = input.fill(MAGIC_LEN)?;
    if start.is_empty() {
        Err(Fault::Empty)
    } else if Pcap::has_magic(start) {
        Pcap::open(input).map(Format::Pcap)
    } else if PcapNg::has_magic(start) {
        Ok(Format::PcapNg(PcapNg::new()))
    } else {
        Err(error::unknown_format(start))
    }
}
