//! Why a capture file could not be read, or not to its end: one line for the operator.

use std::io;

use super::{MAX_INTERFACES, MAX_RECORD_LEN};

/// A capture file that cannot be read, or not to its end. What stands before [`CaptureError::offset`]
/// was delivered.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct CaptureError {
    /// The file as the operator named it.
    pub file: String,
    /// What is wrong with it; its text is part of this error's.
    pub fault: Fault,
}

impl CaptureError {
    /// Where in the file the fault is: the first byte of the header, packet record or block that is
    /// damaged or cut off. `None` if the file as a whole is not what it should be.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match &self.fault {
            Fault::Open(_) | Fault::Empty | Fault::Compressed { .. } | Fault::Unknown { .. } => {
                None
            }
            Fault::Read { offset, .. }
            | Fault::CutOff { offset, .. }
            | Fault::Damaged { offset, .. } => Some(*offset),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match &self.fault {
            Fault::Compressed { hint, .. } => Some(hint),
            Fault::Unknown { .. } => Some("editcap FILE NEW.pcapng converts other formats"),
            Fault::CutOff { .. } => Some("a capture that was killed while it wrote ends like this"),
            Fault::Open(_) | Fault::Read { .. } | Fault::Empty | Fault::Damaged { .. } => None,
        }
    }
}

/// What is wrong with a capture file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system refuses to open it.
    #[error("cannot open the file: {0}")]
    Open(#[source] io::Error),
    /// The system refuses to read on.
    #[error("cannot read at byte {offset}: {source}")]
    Read {
        /// How far the reading had come.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// No byte at all.
    #[error("the file is empty; a capture without packets has at least a header")]
    Empty,
    /// A compressed file, by its first bytes.
    #[error("compressed with {format}")]
    Compressed {
        /// The name of the compression.
        format: &'static str,
        /// How to read it nevertheless.
        hint: &'static str,
    },
    /// Neither pcap nor pcapng, by its first bytes.
    #[error(
        "not a capture file that tls-sniff knows: it starts with {start}; known are pcap and pcapng"
    )]
    Unknown {
        /// The first bytes in hexadecimal, at most eight.
        start: String,
    },
    /// The file ends inside a header, a packet record or a block.
    #[error(
        "cut off at byte {}: of the {part} at byte {offset} only {there} of {expected} bytes are there; \
         what stands before it was read",
        offset.saturating_add(*there as u64)
    )]
    CutOff {
        /// Where the part starts.
        offset: u64,
        /// What it is.
        part: Part,
        /// Bytes of it that are there.
        there: usize,
        /// Bytes that it should have.
        expected: usize,
    },
    /// A length or a reference that cannot be right.
    #[error("damaged at byte {offset}: {damage}; what stands before it was read")]
    Damaged {
        /// Where the header, packet record or block starts.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
}

/// A part of a capture file that has a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The header of a pcap file.
    FileHeader,
    /// The header of a packet record of a pcap file.
    RecordHeader,
    /// A packet record of a pcap file: header and packet.
    Record,
    /// Type, length and first word of a pcapng block.
    BlockHeader,
    /// A pcapng block of this type.
    Block(u32),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FileHeader => f.write_str("file header"),
            Self::RecordHeader => f.write_str("packet record's header"),
            Self::Record => f.write_str("packet record"),
            Self::BlockHeader => f.write_str("block's header"),
            Self::Block(kind) => write!(f, "block of type {kind:#010x}"),
        }
    }
}

/// What is wrong with a part that is all there.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Damage {
    /// A version of the format that nobody has described.
    #[error("{format} version {major}.{minor} is not supported")]
    Version {
        /// pcap or pcapng.
        format: &'static str,
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// The "modified" pcap format of a big-endian machine.
    #[error("modified pcap (magic a1b2cd34) is only supported in little-endian byte order")]
    BigEndianModified,
    /// A packet or block over [`MAX_RECORD_LEN`].
    #[error(
        "a length of {0} bytes, more than the {MAX_RECORD_LEN} that a packet or block may have"
    )]
    TooLong(u64),
    /// A block length that no block can have.
    #[error("a block length of {0}, which is below 12 or no multiple of 4")]
    BlockLength(u32),
    /// A block starts and ends with its length; these are two different ones.
    #[error("the block starts with a length of {first} and ends with a length of {last}")]
    BlockLengths {
        /// The length at the start.
        first: u32,
        /// The length at the end.
        last: u32,
    },
    /// A section header without 1a2b3c4d in either byte order.
    #[error("a section header without byte-order magic")]
    ByteOrder,
    /// What a block says about its contents does not fit into it.
    #[error("the block of type {0:#010x} is too short for what it says it holds")]
    Contents(u32),
    /// A packet of an interface that its section has not described.
    #[error("a packet of interface {interface}, but the section describes {described}")]
    Interface {
        /// The interface that is meant, from 0.
        interface: u32,
        /// How many were described so far.
        described: usize,
    },
    /// More than [`MAX_INTERFACES`] interfaces in a section.
    #[error("more than {MAX_INTERFACES} interfaces in a section")]
    TooManyInterfaces,
}

/// The error for a file that starts with `start` and is neither pcap nor pcapng.
pub(super) fn unknown_format(start: &[u8]) -> Fault {
    const COMPRESSIONS: [(&[u8], &str, &str); 5] = [
        (&[0x1f, 0x8b], "gzip", "decompress it first: zcat FILE | tls-sniff -r -"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "decompress it first: zstdcat FILE | tls-sniff -r -"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz", "decompress it first: xzcat FILE | tls-sniff -r -"),
        (&[0x04, 0x22, 0x4d, 0x18], "lz4", "decompress it first: lz4cat FILE | tls-sniff -r -"),
        (b"BZh", "bzip2", "decompress it first: bzcat FILE | tls-sniff -r -"),
    ];
    for (magic, format, hint) in COMPRESSIONS {
        if start.starts_with(magic) {
            return Fault::Compressed { format, hint };
        }
    }
    let start: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Fault::Unknown { start: start.join(" ") }
}
