//! Compression by the end of the name: each chunk is a gzip member or a zstd frame of its own, so that a
//! file that ends behind any of them is whole.

use std::io::{self, Write as _};

use flate2::write::GzEncoder;
use zstd::bulk::Compressor;

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
}

/// Turns chunks into what is written.
pub(super) enum Packer {
    Plain,
    Gzip(Vec<u8>),
    Zstd(Compressor<'static>, Vec<u8>),
}

impl Packer {
    pub(super) fn new(compression: Option<Compression>) -> io::Result<Self> {
        Ok(match compression {
            None => Self::Plain,
            Some(Compression::Gzip) => Self::Gzip(Vec::new()),
            Some(Compression::Zstd) => {
                let mut compressor = Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
                compressor.include_checksum(true)?;
                Self::Zstd(compressor, Vec::new())
            }
        })
    }

    pub(super) fn pack<'a>(&'a mut self, chunk: &'a [u8]) -> io::Result<&'a [u8]> {
        match self {
            Self::Plain => Ok(chunk),
            Self::Gzip(packed) => {
                packed.clear();
                let mut encoder = GzEncoder::new(&mut *packed, flate2::Compression::fast());
                encoder.write_all(chunk)?;
                encoder.finish()?;
                Ok(packed)
            }
            Self::Zstd(compressor, packed) => {
                packed.clear();
                packed.reserve(zstd::zstd_safe::compress_bound(chunk.len()));
                compressor.compress_to_buffer(chunk, packed)?;
                Ok(packed)
            }
        }
    }
}
