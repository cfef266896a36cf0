//! From segments to the bytes of one direction of a TCP connection, in order.
//!
//! ```text
//!        read by the record layer      next            pending: arrived early
//!  ──────────┬─────────────────────────┬───────────┬──────────────┬────┬─────────┐
//!   dropped  │  buffer                 │  not here │  chunk       │    │  chunk  │
//!  ──────────┴─────────────────────────┴───────────┴──────────────┴────┴─────────┘
//! ```
//!
//! The first bytes to arrive for a sequence number win; later ones that say something else are reported as
//! a conflict. Bytes that a snaplen cut are remembered as holes: nobody waits for them, but a second copy of
//! the segment fills them. Sequence numbers wrap (RFC 9293 section 3.4), so all comparing is by distance
//! from `next`.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

/// Bytes that one direction may hold, read and not: as many as the gate lets pass.
#[expect(clippy::cast_possible_truncation, reason = "128 KiB")]
pub const DIRECTION_BUDGET: usize = tls_sniff_common::gate::DIRECTION_BUDGET as usize;

/// Pieces that may wait for what comes before them.
const MAX_PENDING: usize = 512;

/// What an allocation costs beside its bytes.
const ALLOCATION: usize = 32;

/// Cut segments that are remembered.
const MAX_HOLES: usize = 64;

/// A segment further away than this does not belong to the bytes at hand.
const WINDOW: u32 = 1 << 20;

/// One direction of a connection.
#[derive(Debug)]
pub struct Stream {
    buffer: Vec<u8>,
    /// Sequence number of the byte behind the buffer.
    next: u32,
    /// Sorted by distance from `next`, disjoint.
    pending: Vec<Chunk>,
    pending_bytes: usize,
    holes: Vec<Hole>,
}

#[derive(Debug)]
struct Chunk {
    sequence: u32,
    bytes: Box<[u8]>,
}

impl Chunk {
    /// Sequence number of the byte behind it.
    fn end(&self) -> u32 {
        self.sequence.wrapping_add(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX))
    }
}

/// Bytes that were on the wire and not captured: from `sequence` up to, not including, `end`.
#[derive(Clone, Copy, Debug)]
struct Hole {
    sequence: u32,
    end: u32,
}

/// What came of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// It says something else about bytes that were there already, which stay.
    pub conflict: bool,
    /// It does not belong here: too far from what is expected, or beyond the budget.
    pub refused: bool,
}

/// Why the next byte is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// It was on the wire and not captured.
    Cut,
    /// It was never seen, and later bytes were.
    Unseen,
}

impl Stream {
    /// A stream whose first byte has this sequence number.
    #[must_use]
    pub const fn new(sequence: u32) -> Self {
        Self {
            buffer: Vec::new(),
            next: sequence,
            pending: Vec::new(),
            pending_bytes: 0,
            holes: Vec::new(),
        }
    }

    /// The bytes that are there in order and not read yet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Sequence number of the first of [`Stream::bytes`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the buffer is within its budget")]
    pub const fn position(&self) -> u32 {
        self.next.wrapping_sub(self.buffer.len() as u32)
    }

    /// Heap bytes held.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.buffer.capacity()
            + self.pending_bytes
            + self.pending.capacity() * size_of::<Chunk>()
            + self.pending.len() * ALLOCATION
            + self.holes.capacity() * size_of::<Hole>()
    }

    /// Bytes that wait for earlier ones.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.pending_bytes
    }

    /// Takes a segment: `bytes` of it, of `length` on the wire.
    pub fn insert(&mut self, sequence: u32, bytes: &[u8], length: u32) -> Inserted {
        let mut inserted = Inserted::default();
        let end = sequence.wrapping_add(length);
        if !self.is_near(sequence) {
            return Inserted { refused: true, ..inserted };
        }
        let cut = sequence.wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if distance(cut, end) > 0 && distance(self.next, end) > 0 && self.holes.len() < MAX_HOLES {
            self.holes.push(Hole { sequence: cut, end });
        }
        let (sequence, bytes) = self.behind_next(sequence, bytes, &mut inserted);
        if bytes.is_empty() {
            return inserted;
        }
        let held = self.buffer.len() + self.pending_bytes + bytes.len();
        // What is next never waits, however much does.
        let waits = distance(self.next, sequence) > 0;
        if held > DIRECTION_BUDGET || (waits && self.pending.len() >= MAX_PENDING) {
            return Inserted { refused: true, ..inserted };
        }
        if self.pending.is_empty() && sequence == self.next {
            self.append(bytes);
        } else {
            inserted.conflict |= self.insert_pending(sequence, bytes);
            self.join();
        }
        inserted
    }

    /// Cuts off what `bytes` repeat of the buffer or of what was read already, comparing what is still here.
    fn behind_next<'a>(
        &self,
        sequence: u32,
        bytes: &'a [u8],
        inserted: &mut Inserted,
    ) -> (u32, &'a [u8]) {
        let Ok(repeated) = usize::try_from(distance(sequence, self.next)) else {
            return (sequence, bytes);
        };
        let repeated = repeated.min(bytes.len());
        let Some((old, new)) = bytes.split_at_checked(repeated) else { return (sequence, &[]) };
        let from_start = distance(self.position(), sequence);
        let same = if let Ok(start) = usize::try_from(from_start) {
            self.buffer.get(start..).is_some_and(|kept| starts_alike(kept, old))
        } else {
            let read = usize::try_from(-from_start).unwrap_or(usize::MAX);
            old.get(read..).is_none_or(|old| starts_alike(&self.buffer, old))
        };
        inserted.conflict |= !same && !old.is_empty();
        let moved = u32::try_from(repeated).unwrap_or(u32::MAX);
        (sequence.wrapping_add(moved), new)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.next = self.next.wrapping_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }

    /// Puts into the gaps between the pending chunks what `bytes` have for them; returns whether they
    /// contradict a chunk.
    fn insert_pending(&mut self, mut sequence: u32, mut bytes: &[u8]) -> bool {
        let mut conflict = false;
        let mut place = 0;
        while !bytes.is_empty() {
            let Some(chunk) = self.pending.get(place) else {
                self.put(place, sequence, bytes);
                break;
            };
            let ahead = distance(sequence, chunk.sequence);
            let taken = match usize::try_from(ahead) {
                // A gap before the chunk.
                Ok(gap) if gap > 0 => {
                    let length = gap.min(bytes.len());
                    self.put(place, sequence, bytes.get(..length).unwrap_or_default());
                    length
                }
                _ => {
                    let inside = usize::try_from(-ahead).unwrap_or_default();
                    let kept = chunk.bytes.get(inside..).unwrap_or_default();
                    conflict |= !starts_alike(kept, bytes);
                    kept.len().min(bytes.len())
                }
            };
            sequence = sequence.wrapping_add(u32::try_from(taken).unwrap_or(u32::MAX));
            bytes = bytes.get(taken..).unwrap_or_default();
            place += 1;
        }
        conflict
    }

    fn put(&mut self, place: usize, sequence: u32, bytes: &[u8]) {
        self.pending_bytes += bytes.len();
        self.pending.insert(place, Chunk { sequence, bytes: bytes.into() });
    }

    /// Moves to the buffer what is next.
    fn join(&mut self) {
        while let Some(chunk) = self.pending.first()
            && distance(self.next, chunk.sequence) <= 0
        {
            let chunk = self.pending.remove(0);
            self.pending_bytes -= chunk.bytes.len();
            let repeated = usize::try_from(distance(chunk.sequence, self.next)).unwrap_or_default();
            self.append(chunk.bytes.get(repeated..).unwrap_or_default());
        }
        let next = self.next;
        self.holes.retain(|hole| distance(next, hole.end) > 0);
    }

    /// Drops `length` bytes from the front, arrived or not: what is not there yet is not waited for.
    pub fn advance(&mut self, length: usize) {
        if length < self.buffer.len() {
            self.buffer.drain(..length);
            return;
        }
        let beyond = length - self.buffer.len();
        self.buffer = Vec::new();
        self.next = self.next.wrapping_add(u32::try_from(beyond).unwrap_or(u32::MAX));
        self.join();
    }

    /// Why the byte behind the buffer is not there, if later ones are or it was cut.
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        let cut = |hole: &Hole| {
            distance(hole.sequence, self.next) >= 0 && distance(self.next, hole.end) > 0
        };
        if self.holes.iter().any(cut) {
            Some(Gap::Cut)
        } else {
            (!self.pending.is_empty()).then_some(Gap::Unseen)
        }
    }

    /// Sequence number of the first byte that is there behind missing ones, or was cut off.
    #[must_use]
    pub fn gap_end(&self) -> Option<u32> {
        let chunk = self.pending.first().map(|chunk| chunk.sequence);
        let hole = self.holes.iter().map(|hole| hole.end).find(|end| distance(self.next, *end) > 0);
        chunk.or(hole)
    }

    /// Gives up what is missing, and the unread bytes before it: goes on with the first waiting segment
    /// whose bytes pass `test`, or behind all that is there. Returns whether there was one.
    pub fn skip_gap(&mut self, test: impl Fn(&[u8]) -> bool) -> bool {
        let Some(mut to) = self.gap_end() else { return false };
        let found = self.pending.iter().position(|chunk| test(&chunk.bytes));
        let kept = self.pending.split_off(found.unwrap_or(self.pending.len()));
        if let Some(last) = self.pending.last() {
            to = last.end();
        }
        self.buffer = Vec::new();
        self.next = kept.first().map_or(to, |chunk| chunk.sequence);
        self.pending = kept;
        self.pending_bytes = self.pending.iter().map(|chunk| chunk.bytes.len()).sum();
        self.join();
        found.is_some()
    }

    /// Begins anew at `sequence`; what waits, or was not read, stays for when its turn comes.
    pub fn restart(&mut self, sequence: u32) {
        if !self.buffer.is_empty() {
            let start = self.position();
            let unread = std::mem::take(&mut self.buffer);
            self.put(0, start, &unread);
        }
        self.next = sequence;
        self.pending.retain(|chunk| distance(sequence, chunk.end()) > 0);
        self.pending_bytes = self.pending.iter().map(|chunk| chunk.bytes.len()).sum();
        self.join();
    }

    /// Whether the peer's acknowledgement says that it has bytes which are missing here.
    #[must_use]
    pub const fn misses(&self, acknowledged: u32) -> bool {
        distance(self.next, acknowledged) > 0
    }

    /// Whether a segment with this sequence number can belong to the stream.
    #[must_use]
    pub const fn is_near(&self, sequence: u32) -> bool {
        distance(self.next, sequence).unsigned_abs() <= WINDOW
    }
}

/// How far `to` is behind `from`, negative if it is before.
const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

/// Whether two slices agree as far as both go.
fn starts_alike(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}
