//! pcap: a file header, then packet records without an end mark.
//!
//! ```text
//!  file    0 magic   4 version   8 zone, accuracy   16 snaplen   20 link type, upper bits: FCS
//!  record  0 seconds  4 fraction  8 captured length  12 original length  16 packet
//!                                       modified pcap: 16 interface, protocol, type  24 packet
//! ```
//!
//! pcap-parser takes the records apart. It is asked with the bytes at hand and says how many it misses,
//! which are read if the record is not over [`MAX_RECORD_LEN`]. Its own `LegacyPcapReader` is not used:
//! that one fails if the first read returns less than a header, and hides why a read failed.
//!
//! Source: draft-ietf-opsawg-pcap.

use std::io::Read;

use pcap_parser::{
    LegacyPcapBlock, PcapError, nom, parse_pcap_frame, parse_pcap_frame_be,
    parse_pcap_frame_modified, parse_pcap_header,
};
use tls_sniff_common::flow::Direction;

use super::{
    MAX_RECORD_LEN, Record,
    error::{Damage, Fault, Part},
    input::Input,
};

/// First bytes of a pcap file: microseconds, nanoseconds and "modified", in both byte orders.
const MAGICS: [[u8; 4]; 6] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
    MODIFIED_BIG_ENDIAN,
];
const MODIFIED_BIG_ENDIAN: [u8; 4] = [0xa1, 0xb2, 0xcd, 0x34];
const FILE_HEADER_LEN: usize = 24;
/// The link type; above it are reserved bits and the length of the frame check sequence.
const LINK_TYPE_MASK: u32 = 0xffff;

type ParseRecord =
    for<'a> fn(&'a [u8]) -> nom::IResult<&'a [u8], LegacyPcapBlock<'a>, PcapError<&'a [u8]>>;

/// What the file header says about the records.
pub(super) struct Pcap {
    parse: ParseRecord,
    record_header_len: usize,
    /// Nanoseconds in a unit of a timestamp's fraction.
    fraction_ns: i64,
    link_type: u32,
}

impl Pcap {
    pub(super) fn has_magic(start: &[u8]) -> bool {
        start.first_chunk().is_some_and(|magic| MAGICS.contains(magic))
    }

    /// Reads the file header.
    pub(super) fn open<R: Read>(input: &mut Input<R>) -> Result<Self, Fault> {
        let offset = input.offset();
        let there = input.fill(FILE_HEADER_LEN)?;
        if there.starts_with(&MODIFIED_BIG_ENDIAN) {
            return Err(Fault::Damaged { offset, damage: Damage::BigEndianModified });
        }
        let Ok((_, header)) = parse_pcap_header(there) else {
            let (part, there) = (Part::FileHeader, there.len());
            return Err(Fault::CutOff { offset, part, there, expected: FILE_HEADER_LEN });
        };
        // Before 2.3 the two lengths of a record were the other way round.
        if header.version_major != 2 || header.version_minor < 3 {
            let (major, minor) = (header.version_major, header.version_minor);
            let damage = Damage::Version { format: "pcap", major, minor };
            return Err(Fault::Damaged { offset, damage });
        }
        let (parse, record_header_len): (ParseRecord, _) = if header.is_modified_format() {
            (parse_pcap_frame_modified, 24)
        } else if header.is_bigendian() {
            (parse_pcap_frame_be, 16)
        } else {
            (parse_pcap_frame, 16)
        };
        let fraction_ns = if header.is_nanosecond_precision() { 1 } else { 1000 };
        let link_type = header.network.0.cast_unsigned() & LINK_TYPE_MASK;
        input.consume(FILE_HEADER_LEN);
        Ok(Self { parse, record_header_len, fraction_ns, link_type })
    }

    /// The record at the start of `input`; `None` at the end of the file.
    pub(super) fn next<R: Read>(&mut self, input: &mut Input<R>) -> Result<Option<Record>, Fault> {
        let offset = input.offset();
        let mut wanted = self.record_header_len;
        loop {
            let there = input.fill(wanted)?;
            if there.is_empty() {
                return Ok(None);
            }
            let missing = match (self.parse)(there) {
                Ok((_, block)) => return Ok(Some(self.record(&block))),
                Err(nom::Err::Incomplete(nom::Needed::Size(missing))) => missing.get(),
                // pcap-parser finds no other fault in a record.
                Err(_) => MAX_RECORD_LEN,
            };
            if there.len() < wanted {
                let header_only = wanted == self.record_header_len;
                let part = if header_only { Part::RecordHeader } else { Part::Record };
                let there = there.len();
                return Err(Fault::CutOff { offset, part, there, expected: wanted });
            }
            // With the header at hand, what is missing is the rest of the packet.
            wanted = there.len().saturating_add(missing);
            if wanted > MAX_RECORD_LEN {
                return Err(Fault::Damaged { offset, damage: Damage::TooLong(wanted as u64) });
            }
        }
    }

    fn record(&self, block: &LegacyPcapBlock<'_>) -> Record {
        let seconds = i64::from(block.ts_sec) * 1_000_000_000;
        let data = self.record_header_len..self.record_header_len + block.data.len();
        Record {
            // At most 2^32 s and 2^32 µs: no overflow.
            timestamp_ns: seconds + i64::from(block.ts_usec) * self.fraction_ns,
            link_type: self.link_type,
            len: data.end,
            data,
            wire_len: block.origlen as usize,
            interface: None,
            direction: Direction::Unknown,
        }
    }
}
