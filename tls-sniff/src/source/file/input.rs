//! A window on a reader: as many bytes as one record needs, never more because a length field says so.

use std::io::{self, Read};

use super::error::Fault;

/// Bytes asked for at a time.
const CHUNK: usize = 64 * 1024;

/// A buffered reader that gives the next bytes as one slice, however few a read returns.
///
/// ```text
///  buffer  | consumed | at hand          | space for the next read |
///          0          start              end               buffer.len()
/// ```
///
/// The buffer doubles when it is full, so it is never more than twice what was really read or [`CHUNK`],
/// whichever is greater.
pub(super) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, end: 0, offset: 0 }
    }

    /// The file offset of the first byte at hand.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes at hand.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads until `len` bytes are at hand or the input ends, and returns all that are at hand: fewer
    /// than `len` only at the end.
    pub(super) fn fill(&mut self, len: usize) -> Result<&[u8], Fault> {
        while self.end - self.start < len {
            self.make_space(len);
            let space = self.buffer.get_mut(self.end..).unwrap_or_default();
            let room = space.len();
            match self.reader.read(space) {
                Ok(0) => break,
                // `min`: a reader that claims more than there is room must not move `end` outside.
                Ok(read) => self.end += read.min(room),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let offset = self.offset + self.bytes().len() as u64;
                    return Err(Fault::Read { offset, source });
                }
            }
        }
        Ok(self.bytes())
    }

    /// Moves on by `len` bytes, which are at hand.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.end - self.start);
        self.start += len;
        self.offset += len as u64;
    }

    /// Makes room for at least one byte, if the buffer is full.
    fn make_space(&mut self, wanted: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end < self.buffer.len() {
            return;
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            let doubled = self.buffer.len().saturating_mul(2);
            self.buffer.resize(doubled.min(wanted).max(CHUNK), 0);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}
