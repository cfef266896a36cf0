//! pcapng: blocks in sections, each section with its own byte order and its own interfaces.
//!
//! ```text
//!  block             0 type   4 length   8 contents   length - 4 length again
//!  enhanced packet   8 interface   12 time   20 captured length   24 original length   28 packet, options
//!  packet (obsolete) 8 interface, drops      (else as the enhanced packet)
//!  simple packet     8 original length   12 packet
//! ```
//!
//! A block is read when its length is plausible, and goes to pcap-parser when it is all there and
//! ends with the length that it started with. Blocks that say nothing about packets are passed over.
//! Done here because pcap-parser 0.17 does not: the obsolete packet block, resolutions that are powers
//! of two, offsets in big-endian sections (rusticata/pcap-parser#62), the length at the end of section
//! headers.
//!
//! Source: draft-ietf-opsawg-pcapng; the packet block is in its appendix A.

use std::io::Read;

use pcap_parser::{
    Block, EPB_MAGIC, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, PcapError, PcapNGOption,
    SHB_MAGIC, SPB_MAGIC, parse_block_be, parse_block_le, parse_option_be, parse_option_le,
};
use tls_sniff_common::flow::Direction;

use super::{
    MAX_INTERFACES, MAX_RECORD_LEN, Record,
    error::{Damage, Fault, Part},
    input::Input,
};

/// The type of a section header reads the same in both byte orders.
const SECTION_HEADER: [u8; 4] = SHB_MAGIC.to_be_bytes();
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// The obsolete packet block.
const PACKET_BLOCK: u32 = 2;
/// Type, length, and in a section header the byte-order magic; the shortest block has this length.
const BLOCK_HEADER_LEN: usize = 12;
/// Where the packet starts in an enhanced or obsolete packet block, and in a simple one.
const PACKET_OFFSET: usize = 28;
const SIMPLE_PACKET_OFFSET: usize = 12;
/// `epb_flags` and `pack_flags`.
const OPTION_FLAGS: OptionCode = OptionCode(2);
const OPTION_TSRESOL: OptionCode = OptionCode(9);
const OPTION_TSOFFSET: OptionCode = OptionCode(14);
/// Bytes of an interface name that are kept: a damaged file must not fill the memory with names.
const MAX_NAME_LEN: usize = 255;

/// Byte order of a section.
#[derive(Clone, Copy)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The order in which `bytes` are the byte-order magic.
    fn of_magic(bytes: [u8; 4]) -> Option<Self> {
        [Self::Little, Self::Big].into_iter().find(|order| order.u32(bytes) == BYTE_ORDER_MAGIC)
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }

    fn u32_at(self, bytes: &[u8], offset: usize) -> Option<u32> {
        Some(self.u32(*bytes.get(offset..)?.first_chunk()?))
    }

    fn block(self, bytes: &[u8]) -> Option<Block<'_>> {
        let parse = match self {
            Self::Little => parse_block_le,
            Self::Big => parse_block_be,
        };
        parse(bytes).ok().map(|(_, block)| block)
    }

    /// The first option of `options`, and what follows it.
    fn option(self, options: &[u8]) -> Option<(&[u8], PcapNGOption<'_>)> {
        let parse = match self {
            Self::Little => parse_option_le::<PcapError<&[u8]>>,
            Self::Big => parse_option_be::<PcapError<&[u8]>>,
        };
        parse(options).ok()
    }
}

/// An interface of the current section.
struct Interface {
    link_type: u32,
    snaplen: u32,
    name: Option<String>,
    /// Units of a timestamp in a second.
    units: u128,
    /// Seconds to add.
    offset: i64,
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, order: ByteOrder) -> Self {
        let option = |code| {
            let known = block.options.iter().take_while(|option| option.code.0 != 0);
            known
                .filter_map(move |option| (option.code == code).then(|| option.as_bytes().ok())?)
                .next()
        };
        let resolution = option(OPTION_TSRESOL).and_then(<[u8]>::first);
        let offset = option(OPTION_TSOFFSET).and_then(<[u8]>::first_chunk);
        Self {
            link_type: block.linktype.0.cast_unsigned(),
            snaplen: block.snaplen,
            name: option(OptionCode::IfName).and_then(interface_name),
            units: units_per_second(resolution.copied().unwrap_or(6)),
            offset: offset.map_or(0, |offset| order.i64(*offset)),
        }
    }

    /// Nanoseconds since the Unix epoch. What an `i64` cannot hold (before 1677, after 2262) is given
    /// as the nearest that it can.
    fn timestamp_ns(&self, high: u32, low: u32) -> i64 {
        let units = u128::from(u64::from(high) << 32 | u64::from(low));
        let ns = units * 1_000_000_000 / self.units;
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let ns = ns.saturating_add(i128::from(self.offset) * 1_000_000_000);
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }
}

/// What `if_tsresol` says: a negative power of 2 if the highest bit is set, else of 10.
fn units_per_second(resolution: u8) -> u128 {
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(u128::MAX)
}

fn interface_name(name: &[u8]) -> Option<String> {
    // Some writers count the NUL of a C string.
    let name = str::from_utf8(name).ok()?.trim_end_matches('\0');
    let end = name.floor_char_boundary(MAX_NAME_LEN);
    name.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Bits 0 and 1 of `epb_flags`: 0 unknown, 1 inbound, 2 outbound.
fn direction(flags: u32) -> Direction {
    match flags & 3 {
        1 => Direction::Ingress,
        2 => Direction::Egress,
        _ => Direction::Unknown,
    }
}

/// The fixed fields of an enhanced or obsolete packet block.
struct PacketFields {
    interface: u32,
    time: (u32, u32),
    captured: u32,
    original: u32,
    flags: Option<u32>,
}

/// The current section.
pub(super) struct PcapNg {
    order: ByteOrder,
    interfaces: Vec<Interface>,
}

impl PcapNg {
    pub(super) fn has_magic(start: &[u8]) -> bool {
        start.starts_with(&SECTION_HEADER)
    }

    pub(super) fn new() -> Self {
        // The first block is a section header, which sets the byte order.
        Self { order: ByteOrder::Little, interfaces: Vec::new() }
    }

    /// How many interfaces the section has described so far.
    pub(super) fn interfaces(&self) -> usize {
        self.interfaces.len()
    }

    pub(super) fn interface_name(&self, interface: usize) -> Option<&str> {
        self.interfaces.get(interface)?.name.as_deref()
    }

    /// The next packet; the blocks before it are consumed. `None` at the end of the file.
    pub(super) fn next<R: Read>(&mut self, input: &mut Input<R>) -> Result<Option<Record>, Fault> {
        loop {
            let offset = input.offset();
            let Some((kind, len)) = self.block_header(input)? else { return Ok(None) };
            let there = input.fill(len)?;
            let Some(block) = there.get(..len) else {
                let there = there.len();
                let part = Part::Block(kind);
                return Err(Fault::CutOff { offset, part, there, expected: len });
            };
            let record =
                self.block(kind, block).map_err(|damage| Fault::Damaged { offset, damage })?;
            if record.is_some() {
                return Ok(record);
            }
            input.consume(len);
        }
    }

    /// Type and length of the block at the start of `input`; `None` at the end of the file. At a
    /// section header the byte order changes to that of the section.
    fn block_header<R: Read>(
        &mut self,
        input: &mut Input<R>,
    ) -> Result<Option<(u32, usize)>, Fault> {
        let offset = input.offset();
        let damaged = |damage| Fault::Damaged { offset, damage };
        let there = input.fill(BLOCK_HEADER_LEN)?;
        if there.is_empty() {
            return Ok(None);
        }
        let Some([k0, k1, k2, k3, l0, l1, l2, l3, m0, m1, m2, m3]) = there.first_chunk() else {
            let (part, there) = (Part::BlockHeader, there.len());
            return Err(Fault::CutOff { offset, part, there, expected: BLOCK_HEADER_LEN });
        };
        let kind = [*k0, *k1, *k2, *k3];
        if kind == SECTION_HEADER {
            self.order = ByteOrder::of_magic([*m0, *m1, *m2, *m3])
                .ok_or_else(|| damaged(Damage::ByteOrder))?;
        }
        let len = self.order.u32([*l0, *l1, *l2, *l3]);
        let block_len = len as usize;
        if block_len < BLOCK_HEADER_LEN || !block_len.is_multiple_of(4) {
            return Err(damaged(Damage::BlockLength(len)));
        }
        if block_len > MAX_RECORD_LEN {
            return Err(damaged(Damage::TooLong(u64::from(len))));
        }
        Ok(Some((self.order.u32(kind), block_len)))
    }

    /// Takes in a whole block: notes what it says of the section, or returns its packet.
    fn block(&mut self, kind: u32, block: &[u8]) -> Result<Option<Record>, Damage> {
        let last = block.last_chunk().map_or(0, |last| self.order.u32(*last));
        let first = self.order.u32_at(block, 4).unwrap_or(0);
        if first != last {
            return Err(Damage::BlockLengths { first, last });
        }
        match kind {
            SHB_MAGIC | IDB_MAGIC | EPB_MAGIC | SPB_MAGIC => {}
            PACKET_BLOCK => {
                let fields = self.obsolete_packet(block).ok_or(Damage::Contents(kind))?;
                return self.packet(kind, block, &fields).map(Some);
            }
            _ => return Ok(None),
        }
        match self.order.block(block).ok_or(Damage::Contents(kind))? {
            Block::SectionHeader(section) => {
                let (major, minor) = (section.major_version, section.minor_version);
                if major != 1 {
                    return Err(Damage::Version { format: "pcapng", major, minor });
                }
                self.interfaces.clear();
                Ok(None)
            }
            Block::InterfaceDescription(interface) => {
                if self.interfaces.len() == MAX_INTERFACES {
                    return Err(Damage::TooManyInterfaces);
                }
                self.interfaces.push(Interface::new(&interface, self.order));
                Ok(None)
            }
            Block::EnhancedPacket(packet) => {
                let fields = PacketFields {
                    interface: packet.if_id,
                    time: (packet.ts_high, packet.ts_low),
                    captured: packet.caplen,
                    original: packet.origlen,
                    flags: self.flags(packet.options.iter()),
                };
                self.packet(kind, block, &fields).map(Some)
            }
            Block::SimplePacket(packet) => self.simple_packet(block, packet.origlen).map(Some),
            _ => Ok(None),
        }
    }

    fn packet(&self, kind: u32, block: &[u8], fields: &PacketFields) -> Result<Record, Damage> {
        let (index, interface) = self.interface(fields.interface)?;
        let end = PACKET_OFFSET.saturating_add(fields.captured as usize);
        if end > block.len() - 4 {
            return Err(Damage::Contents(kind));
        }
        let (high, low) = fields.time;
        Ok(Record {
            timestamp_ns: interface.timestamp_ns(high, low),
            link_type: interface.link_type,
            data: PACKET_OFFSET..end,
            len: block.len(),
            wire_len: fields.original as usize,
            interface: Some(index),
            direction: fields.flags.map_or(Direction::Unknown, direction),
        })
    }

    /// A simple packet is one of interface 0, cut at that interface's snaplen, without a time.
    fn simple_packet(&self, block: &[u8], original: u32) -> Result<Record, Damage> {
        let (index, interface) = self.interface(0)?;
        let room = block.len() - SIMPLE_PACKET_OFFSET - 4;
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let captured = original.min(snaplen) as usize;
        if captured > room {
            return Err(Damage::Contents(SPB_MAGIC));
        }
        Ok(Record {
            timestamp_ns: 0,
            link_type: interface.link_type,
            data: SIMPLE_PACKET_OFFSET..SIMPLE_PACKET_OFFSET + captured,
            len: block.len(),
            wire_len: original as usize,
            interface: Some(index),
            direction: Direction::Unknown,
        })
    }

    fn obsolete_packet(&self, block: &[u8]) -> Option<PacketFields> {
        let word = |offset| self.order.u32_at(block, offset);
        let interface_drops = word(8)?;
        let captured = word(20)?;
        let padded = (captured as usize).checked_next_multiple_of(4)?;
        let options = block.get(..block.len() - 4)?.get(PACKET_OFFSET.checked_add(padded)?..)?;
        let options =
            std::iter::successors(self.order.option(options), |(rest, _)| self.order.option(rest));
        let options: Vec<_> = options.map(|(_, option)| option).collect();
        Some(PacketFields {
            interface: match self.order {
                ByteOrder::Little => interface_drops & 0xffff,
                ByteOrder::Big => interface_drops >> 16,
            },
            time: (word(12)?, word(16)?),
            captured,
            original: word(24)?,
            flags: self.flags(options.iter()),
        })
    }

    fn flags<'a>(&self, options: impl Iterator<Item = &'a PcapNGOption<'a>>) -> Option<u32> {
        let flags = options
            .take_while(|option| option.code != OptionCode::EndOfOpt)
            .find(|option| option.code == OPTION_FLAGS)?;
        Some(self.order.u32(*flags.as_bytes().ok()?.first_chunk()?))
    }

    fn interface(&self, interface: u32) -> Result<(usize, &Interface), Damage> {
        let index = interface as usize;
        let described = self.interfaces.len();
        let found = self.interfaces.get(index).ok_or(Damage::Interface { interface, described })?;
        Ok((index, found))
    }
}
