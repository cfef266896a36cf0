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

use crate::clock::Timestamp;

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

/// One direction of a connection. One that holds nothing is small: most are read as they come.
#[derive(Debug)]
pub struct Stream {
    /// Sequence number of the byte behind the buffer.
    next: u32,
    /// Whether segments were cut.
    cut: bool,
    held: Option<Box<Held>>,
}

/// Bytes that wait.
#[derive(Debug, Default)]
struct Held {
    buffer: Vec<u8>,
    /// Sorted by distance from `next`, disjoint.
    pending: Vec<Chunk>,
    pending_bytes: usize,
    holes: Vec<Hole>,
    /// Since when bytes are missing.
    gap_since: Option<Timestamp>,
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
        Self { next: sequence, cut: false, held: None }
    }

    /// The bytes that are there in order and not read yet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.held.as_ref().map_or(&[], |held| &held.buffer)
    }

    /// Sequence number of the first of [`Stream::bytes`].
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the buffer is within its budget")]
    pub fn position(&self) -> u32 {
        self.next.wrapping_sub(self.bytes().len() as u32)
    }

    /// Whether a segment that starts here is next and nothing waits: it can be read where it is, and what was
    /// read of it told by [`Stream::advance`].
    #[must_use]
    pub const fn is_next(&self, sequence: u32) -> bool {
        self.next == sequence && self.held.is_none()
    }

    /// Heap bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.held.as_ref().map_or(0, |held| {
            size_of::<Held>()
                + ALLOCATION
                + held.buffer.capacity()
                + held.pending_bytes
                + held.pending.capacity() * size_of::<Chunk>()
                + held.pending.len() * ALLOCATION
                + held.holes.capacity() * size_of::<Hole>()
        })
    }

    /// Bytes that wait for earlier ones.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.pending_bytes)
    }

    /// Takes a segment: `bytes` of it, of `length` on the wire.
    pub fn insert(&mut self, sequence: u32, bytes: &[u8], length: u32) -> Inserted {
        if !self.is_near(sequence) {
            return Inserted { refused: true, ..Inserted::default() };
        }
        let (position, next) = (self.position(), self.next);
        let held = self.held.get_or_insert_default();
        let end = sequence.wrapping_add(length);
        let cut = sequence.wrapping_add(length_of(bytes));
        if distance(cut, end) > 0 && distance(next, end) > 0 && held.holes.len() < MAX_HOLES {
            held.holes.push(Hole { sequence: cut, end });
        }
        let (inserted, behind) = held.insert(position, next, sequence, bytes);
        self.next = behind;
        self.let_go();
        inserted
    }

    /// Drops `length` bytes from the front, arrived or not: what is not there yet is not waited for.
    pub fn advance(&mut self, length: usize) {
        let there = self.bytes().len();
        if let Some(held) = self.held.as_mut().filter(|_| length < there) {
            held.buffer.drain(..length);
            return;
        }
        let beyond = u32::try_from(length - there).unwrap_or(u32::MAX);
        self.go_on(self.next.wrapping_add(beyond));
    }

    /// Goes on at `next`: what was not read is dropped, and what waits for that moves up.
    fn go_on(&mut self, next: u32) {
        self.next = next;
        if let Some(held) = &mut self.held {
            held.buffer = Vec::new();
            self.next = held.join(next);
            self.let_go();
        }
    }

    /// Gives back memory that nothing is in.
    fn let_go(&mut self) {
        self.cut = self.held.as_ref().is_some_and(|held| !held.holes.is_empty());
        let empty = |held: &Held| held.buffer.is_empty() && held.pending.is_empty();
        if !self.cut && self.held.as_deref().is_some_and(empty) {
            self.held = None;
        }
    }

    /// Why the byte behind the buffer is not there, if later ones are or it was cut.
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        let held = self.held.as_ref()?;
        let cut = |hole: &Hole| {
            distance(hole.sequence, self.next) >= 0 && distance(self.next, hole.end) > 0
        };
        if self.cut && held.holes.iter().any(cut) {
            Some(Gap::Cut)
        } else {
            (!held.pending.is_empty()).then_some(Gap::Unseen)
        }
    }

    /// Why the next byte is not there, and since when that has been asked; `now`: since now, if nobody has yet.
    /// While it is not known where the stream starts (`unplaced`), nothing is missing.
    pub fn gap_since(&mut self, now: Timestamp, unplaced: bool) -> Option<(Gap, Timestamp)> {
        let gap = self.gap().filter(|_| !unplaced);
        let held = self.held.as_mut()?;
        if gap.is_none() {
            held.gap_since = None;
        }
        gap.map(|gap| (gap, *held.gap_since.get_or_insert(now)))
    }

    /// The next gap is another one.
    pub fn gap_is_given_up(&mut self) {
        if let Some(held) = &mut self.held {
            held.gap_since = None;
        }
    }

    /// Sequence number of the first byte that is there behind missing ones, or was cut off.
    #[must_use]
    pub fn gap_end(&self) -> Option<u32> {
        let held = self.held.as_ref()?;
        let chunk = held.pending.first().map(|chunk| chunk.sequence);
        let hole = held.holes.iter().map(|hole| hole.end).find(|end| distance(self.next, *end) > 0);
        chunk.or(hole)
    }

    /// Gives up what is missing, and the unread bytes before it: goes on with the first waiting segment
    /// whose bytes pass `test`, or behind all that is there. Returns whether there was one.
    pub fn skip_gap(&mut self, test: impl Fn(&[u8]) -> bool) -> bool {
        let Some(mut to) = self.gap_end() else { return false };
        let Some(held) = &mut self.held else { return false };
        let found = held.pending.iter().position(|chunk| test(&chunk.bytes));
        let kept = held.pending.split_off(found.unwrap_or(held.pending.len()));
        if let Some(last) = held.pending.last() {
            to = last.end();
        }
        let next = kept.first().map_or(to, |chunk| chunk.sequence);
        held.pending = kept;
        held.count();
        self.go_on(next);
        found.is_some()
    }

    /// Begins anew at `sequence`; what waits, or was not read, stays for when its turn comes.
    pub fn restart(&mut self, sequence: u32) {
        let start = self.position();
        if let Some(held) = &mut self.held {
            let unread = std::mem::take(&mut held.buffer);
            if !unread.is_empty() {
                held.put(0, start, &unread);
            }
            held.pending.retain(|chunk| distance(sequence, chunk.end()) > 0);
            held.count();
        }
        self.go_on(sequence);
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

impl Held {
    /// Takes bytes of a segment; the buffer reaches from `position` to `next`. Returns what came of it, and up
    /// to where the buffer reaches then.
    fn insert(&mut self, position: u32, next: u32, sequence: u32, bytes: &[u8]) -> (Inserted, u32) {
        let mut inserted = Inserted::default();
        let (sequence, bytes) = self.behind(position, next, sequence, bytes, &mut inserted);
        if bytes.is_empty() {
            return (inserted, next);
        }
        let held = self.buffer.len() + self.pending_bytes + bytes.len();
        // What is next never waits, however much does.
        let waits = distance(next, sequence) > 0;
        if held > DIRECTION_BUDGET || (waits && self.pending.len() >= MAX_PENDING) {
            return (Inserted { refused: true, ..inserted }, next);
        }
        if self.pending.is_empty() && sequence == next {
            self.buffer.extend_from_slice(bytes);
            return (inserted, next.wrapping_add(length_of(bytes)));
        }
        inserted.conflict |= self.insert_pending(sequence, bytes);
        (inserted, self.join(next))
    }

    /// Cuts off what `bytes` repeat of the buffer or of what was read already, comparing what is still here.
    fn behind<'a>(
        &self,
        position: u32,
        next: u32,
        sequence: u32,
        bytes: &'a [u8],
        inserted: &mut Inserted,
    ) -> (u32, &'a [u8]) {
        let Ok(repeated) = usize::try_from(distance(sequence, next)) else {
            return (sequence, bytes);
        };
        let repeated = repeated.min(bytes.len());
        let Some((old, new)) = bytes.split_at_checked(repeated) else { return (sequence, &[]) };
        let from_start = distance(position, sequence);
        let same = if let Ok(start) = usize::try_from(from_start) {
            self.buffer.get(start..).is_some_and(|kept| starts_alike(kept, old))
        } else {
            let read = usize::try_from(-from_start).unwrap_or(usize::MAX);
            old.get(read..).is_none_or(|old| starts_alike(&self.buffer, old))
        };
        inserted.conflict |= !same && !old.is_empty();
        (sequence.wrapping_add(length_of(old)), new)
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

    fn count(&mut self) {
        self.pending_bytes = self.pending.iter().map(|chunk| chunk.bytes.len()).sum();
    }

    /// Moves to the buffer, which reaches up to `next`, what comes then. Returns up to where it reaches.
    fn join(&mut self, mut next: u32) -> u32 {
        while let Some(chunk) = self.pending.first()
            && distance(next, chunk.sequence) <= 0
        {
            let chunk = self.pending.remove(0);
            self.pending_bytes -= chunk.bytes.len();
            let repeated = usize::try_from(distance(chunk.sequence, next)).unwrap_or_default();
            let bytes = chunk.bytes.get(repeated..).unwrap_or_default();
            self.buffer.extend_from_slice(bytes);
            next = next.wrapping_add(length_of(bytes));
        }
        self.holes.retain(|hole| distance(next, hole.end) > 0);
        next
    }
}

/// The length of bytes that are within their budget, as sequence numbers count.
fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// How far `to` is behind `from`, negative if it is before.
const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

/// Whether two slices agree as far as both go.
fn starts_alike(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}
