//! Compression by the end of the name, so that a file is whole after each chunk.
//!
//! ```text
//!  gzip   | member | member | member |
//!  zstd   | frame: blocks of a chunk | blocks of a chunk | end |
//!                                                        └ written over by the next chunk
//! ```
//!
//! A zstd file is one frame, because Wireshark 4.0 loses its way in frames that begin far into a file, also
//! in those by zstd itself. Only what follows a chunk that was lost, and what goes into a pipe, is in frames
//! of its own.

use std::io::{self, Write as _};

use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

/// A last block without contents, which ends a frame without checksum: RFC 8878, section 3.1.1.2.
const END_OF_FRAME: &[u8] = &[1, 0, 0];

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `.gz`: RFC 1952.
    Gzip,
    /// `.zst`: RFC 8878.
    Zstd,
}

impl Compression {
    pub(super) const SUFFIXES: [(&'static str, Self); 2] =
        [(".gz", Self::Gzip), (".zst", Self::Zstd)];

    /// Endings of others, or the same in other letters: a file of such a name would not be what it says.
    const OTHERS: [&'static str; 11] =
        [".gz", ".zst", ".gzip", ".zstd", ".tgz", ".xz", ".lzma", ".bz2", ".lz4", ".7z", ".zip"];

    /// Whether a name that ends in none of [`Compression::SUFFIXES`] says that the file is compressed.
    pub(super) fn is_promised(name: &[u8]) -> bool {
        Self::OTHERS.iter().any(|ending| {
            let at = name.len().checked_sub(ending.len());
            let end = at.and_then(|at| name.get(at..)).unwrap_or_default();
            end.eq_ignore_ascii_case(ending.as_bytes())
        })
    }
}

/// What is written of a chunk.
pub(super) struct Packed<'a> {
    pub(super) bytes: &'a [u8],
    /// What the file ends with if nothing comes behind the chunk.
    pub(super) end: &'static [u8],
}

/// Turns chunks into what is written.
pub(super) enum Packer {
    Plain,
    Gzip(Vec<u8>),
    /// The frame at hand.
    Zstd(Option<ZstdEncoder<'static, Vec<u8>>>),
}

impl Packer {
    pub(super) fn new(compression: Option<Compression>) -> Self {
        match compression {
            None => Self::Plain,
            Some(Compression::Gzip) => Self::Gzip(Vec::new()),
            Some(Compression::Zstd) => Self::Zstd(None),
        }
    }

    /// The next chunk does not build on those before it: it begins a file, or one before it was lost.
    pub(super) fn restart(&mut self) {
        if let Self::Zstd(frame) = self {
            *frame = None;
        }
    }

    pub(super) fn pack<'a>(&'a mut self, chunk: &'a [u8]) -> io::Result<Packed<'a>> {
        match self {
            Self::Plain => Ok(Packed { bytes: chunk, end: &[] }),
            Self::Gzip(packed) => {
                packed.clear();
                let mut encoder = GzEncoder::new(&mut *packed, flate2::Compression::fast());
                encoder.write_all(chunk)?;
                encoder.finish()?;
                Ok(Packed { bytes: packed, end: &[] })
            }
            Self::Zstd(slot) => {
                let mut frame = match slot.take() {
                    Some(frame) => frame,
                    None => ZstdEncoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?,
                };
                frame.get_mut().clear();
                frame.write_all(chunk)?;
                frame.flush()?;
                Ok(Packed { bytes: slot.insert(frame).get_ref(), end: END_OF_FRAME })
            }
        }
    }
}
