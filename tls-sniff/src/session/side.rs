//! One direction of a connection: segments in, messages out.

use tls_sniff_common::{
    gate::EARLY_WINDOW,
    record::{ContentType, RECORD_HEADER_LEN, RecordHeader},
    start::{Speaker, Start},
};

use super::{
    arrival::{Piece, start_of},
    records::{Records, Sink},
    unit::{SSL2_HEADER_LEN, Unit, next_unit, ssl2_item},
};
use crate::{
    clock::Timestamp,
    reassembly::{Gap, Stream},
    tls::message::Partial,
};

/// How long bytes that the peer has acknowledged are waited for, ns of the packets' clock.
const GAP_LIMIT: i64 = 1_000_000_000;

/// Bytes behind a gap after which it is given up if the peer has acknowledged what is missing.
const GAP_BYTES: usize = 8192;

/// Where the record layer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sync {
    /// No hello yet: what arrived is kept for when it comes.
    #[default]
    Waiting,
    /// At what may be the first byte of the handshake: too short a piece of it to be sure.
    Maybe,
    /// At the first byte of the handshake.
    Start,
    /// At the start of a record.
    InStep,
    /// Bytes are missing: the next segment that starts with a record is where to go on.
    Lost,
    /// The first bytes are no TLS.
    NotTls,
}

impl Sync {
    /// Whether records can be read.
    const fn is_placed(self) -> bool {
        matches!(self, Self::Start | Self::InStep)
    }
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Side {
    stream: Option<Stream>,
    pub(super) records: Records,
    /// The highest acknowledgement number of the peer.
    acknowledged: u32,
    /// Sequence numbers of the first byte and behind the last, for counting.
    range: (u32, u32),
    has_acknowledged: bool,
    has_range: bool,
    sync: Sync,
    /// Something was seen twice and was not the same.
    pub(super) conflict: bool,
    /// Why messages of it are missing.
    pub(super) missing: Option<Partial>,
    /// An SSLv2 hello was its first record.
    ssl2: bool,
    /// It was joined in mid-connection: its hello may still come.
    joined: bool,
    /// Segments whose first bytes were no TLS.
    alien_segments: u8,
}

impl Side {
    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.records.memory() + self.stream.as_ref().map_or(0, Stream::memory)
    }

    /// Whether nothing was ever seen of it.
    pub(super) const fn is_silent(&self) -> bool {
        !self.has_range
    }

    /// Whether its first bytes were no TLS.
    pub(super) fn is_not_tls(&self) -> bool {
        self.sync == Sync::NotTls
    }

    /// Whether what followed them was none either: the first bytes may be a server's last plaintext word, to a
    /// client that did not wait for it before its hello.
    pub(super) fn is_surely_not_tls(&self) -> bool {
        self.is_not_tls() && self.alien_segments > 1
    }

    /// Whether later bytes wait for earlier ones.
    pub(super) fn is_stuck(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.gap().is_some())
    }

    /// Whether a segment can belong to what was seen so far.
    pub(super) fn is_near(&self, sequence: u32) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.is_near(sequence))
    }

    /// Sequence numbers of the first byte that was seen and behind the last.
    pub(super) fn range(&self) -> Option<(u32, u32)> {
        self.has_range.then_some(self.range)
    }

    fn acknowledged(&self) -> Option<u32> {
        self.has_acknowledged.then_some(self.acknowledged)
    }

    /// TCP payload bytes by sequence numbers.
    pub(super) fn bytes(&self) -> u32 {
        self.range().map_or(0, |(first, end)| end.wrapping_sub(first))
    }

    /// The peer's hello says where this direction's answer starts.
    pub(super) fn expect(&mut self, sequence: u32) {
        if self.sync == Sync::Waiting {
            self.anchor(sequence);
            self.sync = Sync::Start;
        }
    }

    /// What stands at `sequence` is a record of a connection of which nothing before is known.
    pub(super) fn join_midway(&mut self, sequence: u32) {
        if self.sync == Sync::Waiting {
            self.anchor(sequence);
            self.records.resync();
            self.sync = Sync::InStep;
            self.joined = true;
        }
    }

    /// Whether a FIN or RST with this sequence number can be its sender's own: not before what the peer has
    /// acknowledged (RFC 9293 section 3.10.7.4, as far as segments tell).
    pub(super) fn is_plausible(&self, sequence: u32) -> bool {
        let early = |acknowledged: u32| sequence.wrapping_sub(acknowledged).cast_signed() < 0;
        self.is_near(sequence) && !self.acknowledged().is_some_and(early)
    }

    /// Drops all bytes: the connection is over.
    pub(super) fn forget(&mut self) {
        self.stream = None;
        self.records = Records::default();
    }

    /// The peer has everything before `sequence`.
    pub(super) fn acknowledge(&mut self, sequence: u32) {
        let newer = |old: u32| sequence.wrapping_sub(old).cast_signed() > 0;
        if self.is_near(sequence) && self.acknowledged().is_none_or(newer) {
            (self.acknowledged, self.has_acknowledged) = (sequence, true);
        }
    }

    /// Takes a segment and gives what became whole to `sink`.
    pub(super) fn segment(&mut self, piece: &Piece<'_>, sink: Sink<'_>) {
        self.count(piece);
        self.place(piece);
        let first = piece.sequence.wrapping_sub(EARLY_WINDOW);
        let stream = self.stream.get_or_insert_with(|| Stream::new(first));
        let whole = piece.bytes.len() == piece.length as usize;
        if whole && self.sync.is_placed() && stream.is_next(piece.sequence) {
            return self.read_in_place(piece, sink);
        }
        let inserted = stream.insert(piece.sequence, piece.bytes, piece.length);
        self.conflict |= inserted.conflict;
        if self.sync == Sync::NotTls {
            self.alien_segments = self.alien_segments.saturating_add(1);
        }
        if inserted.refused && self.sync == Sync::InStep {
            self.give_up(Partial::Memory, sink);
            return;
        }
        self.make_sure();
        self.drain(sink);
        self.look_for_gap(piece.at, sink);
    }

    /// Takes a segment that is next, with nothing waiting: most are, and most end where a record does.
    fn read_in_place(&mut self, piece: &Piece<'_>, sink: Sink<'_>) {
        let read = self.read(piece.bytes, piece.sequence, sink);
        let Some(stream) = &mut self.stream else { return };
        stream.advance(read);
        if let Some(rest) = piece.bytes.get(read..).filter(|rest| !rest.is_empty()) {
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            stream.insert(stream.position(), rest, length);
        }
    }

    /// Says where the handshake starts, or where to go on, if this segment tells.
    fn place(&mut self, piece: &Piece<'_>) {
        let hello = matches!(piece.start, Start::Hello(Speaker::Client | Speaker::Server));
        let perhaps = piece.start == Start::Hello(Speaker::Unknown);
        let record = matches!(piece.start, Start::Record(_)) || perhaps;
        let next = match self.sync {
            Sync::Waiting if hello => Sync::Start,
            Sync::Waiting if perhaps && self.is_first(piece) => Sync::Maybe,
            Sync::Maybe if hello && self.is_old(piece) => Sync::Start,
            Sync::Maybe if perhaps && self.is_old(piece) => Sync::Maybe,
            Sync::Maybe if self.is_old(piece) => return self.wait(piece.sequence),
            // Where the peer's acknowledgement says that an answer starts, something else may stand.
            Sync::Start if hello && (self.is_old(piece) || self.is_beyond(piece)) => Sync::Start,
            Sync::InStep if self.joined && hello && self.is_old(piece) => Sync::Start,
            Sync::Lost if (hello || record) && !self.is_old(piece) => Sync::InStep,
            Sync::NotTls if hello && !self.is_old(piece) => Sync::Start,
            _ => return,
        };
        if next == Sync::Start && self.joined {
            self.records.restart();
            self.joined = false;
        }
        self.anchor(piece.sequence);
        self.sync = next;
    }

    /// What looked like the first byte of a hello was none: what comes before it arrives after it.
    fn wait(&mut self, sequence: u32) {
        self.anchor(sequence.wrapping_sub(EARLY_WINDOW));
        self.sync = Sync::Waiting;
    }

    /// Looks whether enough is there of what may be a hello.
    fn make_sure(&mut self) {
        let Some(stream) = self.stream.as_ref().filter(|_| self.sync == Sync::Maybe) else {
            return;
        };
        let length = u32::try_from(stream.bytes().len()).unwrap_or(u32::MAX);
        match start_of(stream.bytes(), length) {
            Start::Hello(Speaker::Client | Speaker::Server) => self.sync = Sync::Start,
            Start::Hello(Speaker::Unknown) => {}
            _ => self.wait(stream.position()),
        }
    }

    /// Whether nothing before a segment was seen.
    fn is_first(&self, piece: &Piece<'_>) -> bool {
        self.range().is_none_or(|(first, _)| first == piece.sequence)
    }

    /// Whether a segment repeats what was read or given up, or comes before it.
    fn is_old(&self, piece: &Piece<'_>) -> bool {
        let before =
            |stream: &Stream| piece.sequence.wrapping_sub(stream.position()).cast_signed() < 0;
        self.stream.as_ref().is_some_and(before)
    }

    /// Whether a segment starts behind a first byte of which nothing was seen.
    fn is_beyond(&self, piece: &Piece<'_>) -> bool {
        self.stream.as_ref().is_some_and(|stream| {
            stream.bytes().is_empty()
                && stream.pending() == 0
                && stream.position() != piece.sequence
        })
    }

    fn anchor(&mut self, sequence: u32) {
        match &mut self.stream {
            Some(stream) if stream.is_near(sequence) => stream.restart(sequence),
            stream => *stream = Some(Stream::new(sequence)),
        }
    }

    fn count(&mut self, piece: &Piece<'_>) {
        let end = piece.sequence.wrapping_add(piece.length);
        let (first, last) = self.range().unwrap_or((piece.sequence, end));
        let before = |one: u32, other: u32| other.wrapping_sub(one).cast_signed() > 0;
        let first = if before(piece.sequence, first) { piece.sequence } else { first };
        self.range = (first, if before(last, end) { end } else { last });
        self.has_range = true;
    }

    /// Reads the records that are whole.
    fn drain(&mut self, sink: Sink<'_>) {
        while self.sync.is_placed()
            && let Some(mut stream) = self.stream.take()
        {
            let read = self.read(stream.bytes(), stream.position(), sink);
            stream.advance(read);
            self.stream = Some(stream);
            if read == 0 {
                return;
            }
        }
        if matches!(self.sync, Sync::Lost | Sync::NotTls) {
            // Nothing of this will be read.
            if let Some(stream) = &mut self.stream {
                *stream = Stream::new(stream.position());
            }
        }
    }

    /// Reads the records that are whole in `bytes`, the first of which has the sequence number `start`. Returns
    /// how many bytes are not needed any more, of which the last may not have come yet.
    fn read(&mut self, bytes: &[u8], start: u32, sink: Sink<'_>) -> usize {
        let mut read = 0;
        while self.sync.is_placed() {
            let position = start.wrapping_add(u32::try_from(read).unwrap_or(u32::MAX));
            let Some(rest) = bytes.get(read..) else { break };
            let first = self.sync == Sync::Start;
            match next_unit(rest, first, self.ssl2) {
                Unit::Record(header, fragment) => {
                    let fragment = fragment.get(..header.length.into());
                    let skipped = header.content_type == ContentType::ApplicationData;
                    match fragment {
                        Some(fragment) => self.records.record(header, fragment, position, sink),
                        // Nobody needs its bytes.
                        None if skipped => self.records.record(header, &[], position, sink),
                        None => break,
                    }
                    read += RECORD_HEADER_LEN + usize::from(header.length);
                    self.sync = Sync::InStep;
                }
                Unit::Ssl2(record) => {
                    sink(&ssl2_item(record, position));
                    read += SSL2_HEADER_LEN + record.len();
                    self.ssl2 = true;
                    self.sync = Sync::InStep;
                }
                Unit::NeedMore => break,
                Unit::Alien => {
                    self.sync = if first { Sync::NotTls } else { Sync::Lost };
                    if !first && !self.ssl2 && !self.records.in_data() {
                        self.missing.get_or_insert(Partial::Lost);
                    }
                    self.alien_segments = self.alien_segments.saturating_add(u8::from(first));
                    self.records.flush(None, Partial::Lost, sink);
                    read = bytes.len();
                }
            }
        }
        read
    }

    /// Gives up bytes that nobody will send again.
    fn look_for_gap(&mut self, now: Timestamp, sink: Sink<'_>) {
        let (acknowledged, unplaced) = (self.acknowledged(), self.is_unplaced());
        let Some(stream) = &mut self.stream else { return };
        let Some((gap, since)) = stream.gap_since(now, unplaced) else { return };
        let acknowledged = acknowledged.is_some_and(|sequence| stream.misses(sequence));
        let waited = stream.pending() > GAP_BYTES || now.0.saturating_sub(since.0) > GAP_LIMIT;
        match gap {
            Gap::Cut => self.give_up(Partial::CaptureLimit, sink),
            Gap::Unseen if acknowledged && waited => self.give_up(Partial::Lost, sink),
            Gap::Unseen => {}
        }
    }

    /// Whether it is not known where its handshake starts.
    fn is_unplaced(&self) -> bool {
        matches!(self.sync, Sync::Waiting | Sync::Maybe)
    }

    /// Bytes of it are missing: of messages, unless application data has begun or SSLv2 is spoken.
    fn lacks(&mut self, why: Partial) {
        if !self.ssl2 && !self.records.in_data() {
            self.missing.get_or_insert(why);
        }
    }

    /// Reports what is there of the record at hand and goes on behind what is missing: where the record
    /// ends, if that is behind it, else with a segment that starts with a record.
    fn give_up(&mut self, why: Partial, sink: Sink<'_>) {
        self.lacks(why);
        let unread = self.unread_record();
        let end = unread.map(|(header, _, position)| {
            position
                .wrapping_add(u32::from(header.length))
                .wrapping_add(u32::try_from(RECORD_HEADER_LEN).unwrap_or_default())
        });
        self.flush_record(why, sink);
        let Some(stream) = &mut self.stream else { return };
        stream.gap_is_given_up();
        let behind = |end: &u32| {
            stream.gap_end().is_some_and(|gap| end.wrapping_sub(gap).cast_signed() >= 0)
        };
        let found = if let Some(end) = end.filter(behind) {
            stream.restart(end);
            true
        } else {
            stream.skip_gap(|bytes| matches!(next_unit(bytes, false, false), Unit::Record(..)))
        };
        self.sync = if found { Sync::InStep } else { Sync::Lost };
        self.drain(sink);
    }

    /// The record that has begun: its header, what is there of it, where it starts.
    fn unread_record(&self) -> Option<(RecordHeader, &[u8], u32)> {
        let placed = matches!(self.sync, Sync::Maybe | Sync::Start | Sync::InStep);
        let stream = self.stream.as_ref().filter(|_| placed)?;
        let (head, fragment) = stream.bytes().split_first_chunk::<RECORD_HEADER_LEN>()?;
        Some((RecordHeader::recognise(*head)?, fragment, stream.position()))
    }

    fn flush_record(&mut self, why: Partial, sink: Sink<'_>) {
        let mut records = std::mem::take(&mut self.records);
        records.flush(self.unread_record(), why, sink);
        self.records = records;
    }

    /// The end: reports what is left, then what waits behind gaps.
    pub(super) fn finish(&mut self, why: Partial, sink: Sink<'_>) {
        while self.is_stuck() && !self.is_unplaced() {
            self.give_up(if why == Partial::Memory { why } else { Partial::Lost }, sink);
        }
        let unread = self.stream.as_ref().is_some_and(|stream| !stream.bytes().is_empty());
        if unread && self.sync == Sync::Start && self.first_is_alien() {
            self.sync = Sync::NotTls;
        } else {
            if unread && self.sync != Sync::Waiting {
                self.lacks(why);
            }
            self.flush_record(why, sink);
        }
        self.stream = None;
    }

    /// Whether the few bytes that are there cannot become a record.
    fn first_is_alien(&self) -> bool {
        let bytes = self.stream.as_ref().map_or(&[][..], Stream::bytes);
        !matches!(bytes, [20..=23] | [20..=23, 3, ..])
    }
}
