//! One flow of the gate: what is known of it, and what becomes of its segments.

use core::cell::Cell;

use super::{
    Arrival, DIRECTION_BUDGET, EARLY_WINDOW, Emission, OPEN_LIMIT, TAIL, Verdict, alone,
    glance::Place,
};
use crate::{
    filter::{Rules, Scope, narrows_records, records::Walked},
    flow::flags,
    record::ContentType,
    start::{Speaker, Start},
};

/// Bytes worth copying of what follows a first segment of application data: record headers.
const TAIL_CAPTURE: u32 = 64;

pub(super) const OPEN: u64 = 1;
/// The client is side 1 of the flow.
const CLIENT_IS_SIDE_1: u64 = 2;
/// The sequence number of side 0's first byte is known; of side 1's one bit higher.
const START_KNOWN: u64 = 4;
/// The client has changed its cipher or sent application data, or somebody has reset.
pub(super) const IN_TAIL: u64 = 16;
/// Not only changed its cipher: after a HelloRetryRequest a ClientHello may follow that (RFC 8446 D.4).
const DATA_SENT: u64 = 32;
/// Of a side's record position: it is known. The lower half is its sequence number; where that is not known, the end of
/// the segment that was looked at last.
const POSITION_KNOWN: u64 = 1 << 32;
/// The bytes up to there belong to a handshake record that is wanted.
const GOES_ON: u64 = 1 << 33;

/// Side 0 has sent FIN; side 1 one bit higher. A RST counts for both.
const FIN_SENT: u64 = 64;
/// Both have: nothing more will come.
pub(super) const OVER: u64 = FIN_SENT | FIN_SENT << 1;

/// Segments of side 0 in the tail; of side 1 a byte higher.
const TAIL_SHIFT: u64 = 8;
const TAIL_BITS: u64 = 8;
const TAIL_MASK: u64 = (1 << TAIL_BITS) - 1;

#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// When it was entered or opened, ns.
    pub(super) since: Cell<u64>,
    /// When the SYN was seen, ns; 0 if not.
    pub(super) syn: Cell<u64>,
    /// When the SYN-ACK was seen.
    pub(super) syn_ack: Cell<u64>,
    /// Of each side: the sequence number of its first payload byte (lower half), and the payload bytes
    /// emitted of it.
    pub(super) sides: [Cell<u64>; 2],
    /// The bits above.
    pub(super) state: Cell<u64>,
    /// Of each side: where its next record begins, if a rule asks for records: see [`Flow::position`].
    pub(super) records: [Cell<u64>; 2],
}

impl Flow {
    /// A segment of this flow at its place, which the flow's end sets free.
    #[inline(always)]
    pub(super) fn judge(
        &self,
        place: &Place<'_>,
        arrival: &Arrival,
        now: u64,
        rules: &impl Rules,
    ) -> Verdict {
        let state = self.state.get();
        if arrival.flags & flags::SYN != 0 {
            self.connect(arrival, state, now);
            place.take(arrival.flow);
        }
        if let Start::Hello(speaker) = arrival.start() {
            place.take(arrival.flow);
            self.open(arrival, speaker, now);
            return Verdict::Emit(Emission {
                syn_time: self.syn.get(),
                syn_ack_time: self.syn_ack.get(),
                ..Emission::WHOLE
            });
        }
        let context = rules.scope() as u8 > Scope::Record as u8;
        if arrival.flags & flags::SYN != 0 {
            return if context { Verdict::Emit(Emission::ASIDE) } else { alone(arrival.start()) };
        }
        let fate = if arrival.only_acknowledges() {
            if context { self.acknowledge(arrival, state) } else { Fate::Keep }
        } else if state & OPEN != 0 {
            self.in_open(place, arrival, state, now, rules)
        } else {
            self.before_hello(arrival, state)
        };
        if keeps_connections(rules) && self.state.get() & OPEN != 0 {
            // What was used last is the last to make room, until its connection is over.
            self.since.set(now);
            self.note_end(arrival);
            return match fate {
                Fate::Emit(emission) | Fate::Last(emission) => Verdict::Emit(emission),
                Fate::Keep | Fate::Free => Verdict::Emit(Emission::ASIDE),
            };
        }
        // Its later records are asked for too.
        let retained = narrows_records(rules) && state & OPEN != 0;
        if matches!(fate, Fate::Free | Fate::Last(_)) && !retained {
            place.free();
        }
        match fate {
            Fate::Emit(emission) | Fate::Last(emission) => Verdict::Emit(emission),
            Fate::Keep | Fate::Free => alone(arrival.start()),
        }
    }

    /// Takes note of FIN and RST.
    #[inline(always)]
    fn note_end(&self, arrival: &Arrival) {
        let mut said = 0;
        if arrival.flags & flags::FIN != 0 {
            said |= FIN_SENT << arrival.flow.side();
        }
        if arrival.flags & flags::RST != 0 {
            said |= OVER;
        }
        self.state.set(self.state.get() | said);
    }

    /// An acknowledgement without payload, in a scope that has it.
    #[inline(always)]
    fn acknowledge(&self, arrival: &Arrival, state: u64) -> Fate {
        if state & IN_TAIL == 0 {
            return Fate::Emit(Emission::ASIDE);
        }
        let own = tail_shift(arrival);
        // Half of the tail is kept for what says something.
        if state >> own & TAIL_MASK >= TAIL / 2 {
            return Fate::Keep;
        }
        self.state.set(state + (1 << own));
        Fate::Emit(Emission::ASIDE)
    }

    /// Where the records of a segment begin.
    #[inline(always)]
    pub(super) fn position(&self, arrival: &Arrival) -> Position {
        if arrival.starts_with_record() {
            return Position { begins: true, first: 0, goes_on: false };
        }
        if arrival.starts_with(Start::Empty) {
            return Position { begins: false, first: 0, goes_on: false };
        }
        let position = arrival.flow.of_side(&self.records).get();
        let first = low(position).wrapping_sub(arrival.sequence);
        let known = position & POSITION_KNOWN != 0;
        let begins = known && first < arrival.payload_len;
        // Behind a segment that was lost it is not known what goes on; behind half a header the next segment does.
        let inside = if known { first.cast_signed() > 0 } else { first == 0 };
        Position { begins, first: first as usize, goes_on: position & GOES_ON != 0 && inside }
    }

    /// Keeps where the next record of this side begins.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no payload is longer than 4 GiB")]
    pub(super) fn remember(&self, arrival: &Arrival, walked: Walked) {
        let position = arrival.flow.of_side(&self.records);
        let goes_on = if walked.goes_on() { GOES_ON } else { 0 };
        match walked.next() {
            Some(next) => {
                let next = arrival.sequence.wrapping_add(next as u32);
                let old = position.get();
                let ahead = next.wrapping_sub(low(old)).cast_signed() >= 0;
                // A retransmission takes nothing back.
                if old & POSITION_KNOWN == 0 || ahead {
                    position.set(u64::from(next) | POSITION_KNOWN | goes_on);
                }
            }
            None => {
                let end = arrival.sequence.wrapping_add(arrival.payload_len);
                position.set(u64::from(end) | goes_on);
            }
        }
    }

    /// SYN and SYN-ACK. Those of a connection that is known are retransmissions, of which the first counts.
    #[inline(always)]
    fn connect(&self, arrival: &Arrival, state: u64, now: u64) {
        let first = arrival.sequence.wrapping_add(1);
        let known = START_KNOWN << arrival.flow.side();
        let same = state & known != 0 && start_of(arrival.flow.of_side(&self.sides)) == first;
        if same {
            return;
        }
        if arrival.flags & flags::ACK == 0 {
            // The same ports, another connection.
            self.enter(arrival, now);
        } else if state & OPEN == 0 {
            arrival.flow.of_side(&self.sides).set(u64::from(first));
            self.syn_ack.set(now);
            self.state.set(state | known);
        }
    }

    /// Begins anew with a SYN, or with a hello whose SYN was not seen.
    #[inline(always)]
    pub(super) fn enter(&self, arrival: &Arrival, now: u64) {
        let is_syn = arrival.flags & flags::SYN != 0;
        self.since.set(now);
        self.syn.set(if is_syn { now } else { 0 });
        self.syn_ack.set(0);
        let [one, other] = &self.sides;
        one.set(0);
        other.set(0);
        let [one, other] = &self.records;
        one.set(0);
        other.set(0);
        let first = u64::from(arrival.sequence.wrapping_add(1));
        arrival.flow.of_side(&self.sides).set(first);
        let known = if is_syn { START_KNOWN << arrival.flow.side() } else { 0 };
        self.state.set(known);
    }

    /// Opens with a hello, or keeps open: a second ClientHello, a ServerHello after early data.
    #[inline(always)]
    pub(super) fn open(&self, arrival: &Arrival, speaker: Speaker, now: u64) {
        let state = self.state.get();
        if state & OPEN == 0 {
            self.since.set(now);
        } else if state & DATA_SENT != 0 || self.is_late(now) {
            // Another handshake on the same connection: behind a proxy, or renegotiation.
            self.since.set(now);
            self.syn.set(0);
            self.syn_ack.set(0);
            let [one, other] = &self.sides;
            one.set(u64::from(start_of(one)));
            other.set(u64::from(start_of(other)));
        }
        let side_1 = arrival.flow.side() == 1;
        let client_is_side_1 = match speaker {
            Speaker::Client => side_1,
            Speaker::Server => !side_1,
            Speaker::Unknown if state & OPEN != 0 => state & CLIENT_IS_SIDE_1 != 0,
            Speaker::Unknown => side_1,
        };
        let client = if client_is_side_1 { CLIENT_IS_SIDE_1 } else { 0 };
        let known = state & (START_KNOWN | START_KNOWN << 1);
        self.state.set(OPEN | client | known);
        self.spend(arrival);
    }

    /// Whether the client sends this.
    #[inline(always)]
    fn is_client(&self, arrival: &Arrival, state: u64) -> bool {
        (state & CLIENT_IS_SIDE_1 != 0) == (arrival.flow.side() == 1)
    }

    /// Adds to what was emitted, and returns how much that is.
    #[inline(always)]
    fn spend(&self, arrival: &Arrival) -> u64 {
        let side = arrival.flow.of_side(&self.sides);
        let sum = side.get().wrapping_add(u64::from(arrival.payload_len) << 32);
        // What is over its budget stays there: a sum of 4 GiB would be 0 again.
        if side.get() >> 32 <= DIRECTION_BUDGET {
            side.set(sum);
        }
        sum >> 32
    }

    /// A segment of an open flow that starts with no hello.
    #[inline(always)]
    fn in_open(
        &self,
        place: &Place<'_>,
        arrival: &Arrival,
        state: u64,
        now: u64,
        rules: &impl Rules,
    ) -> Fate {
        let client_sends = self.is_client(arrival, state);
        let data = arrival.starts_with(Start::Record(ContentType::ApplicationData));
        let changed = arrival.starts_with(Start::Record(ContentType::ChangeCipherSpec));
        let mut now_said = 0;
        if client_sends && (data || changed) || arrival.flags & flags::RST != 0 {
            now_said |= IN_TAIL;
        }
        if client_sends && data {
            now_said |= DATA_SENT;
        }
        let said = state | now_said;
        let own = tail_shift(arrival);
        let sent = said >> own & TAIL_MASK;
        // Until the client has sent data, what starts with no record may still be its second hello.
        let no_hello = said & DATA_SENT != 0 || !client_sends;
        if sent >= TAIL && no_hello {
            // Before all else: a sender that is not looked at any more changes nothing by what it sends.
            self.state.set(said);
            place.ignore_sender(arrival.flow);
            return Fate::Keep;
        }
        let late = self.is_late(now) && !keeps_connections(rules);
        if late || self.spend(arrival) > DIRECTION_BUDGET {
            return Fate::Free;
        }
        self.state.set(said);
        let maybe_hello = arrival.starts_with(Start::Other) && !no_hello;
        if said & IN_TAIL == 0 || maybe_hello {
            return Fate::Emit(Emission::WHOLE);
        }
        if sent >= TAIL {
            return Fate::Keep;
        }
        self.state.set(said + (1 << own));
        let headers_only = data && sent > 0 && state & DATA_SENT != 0;
        let capture = if headers_only { TAIL_CAPTURE } else { u32::MAX };
        let emission = Emission { capture, ..Emission::WHOLE };
        let other = TAIL_SHIFT + TAIL_BITS - (own - TAIL_SHIFT);
        let both = sent + 1 >= TAIL && said >> other & TAIL_MASK >= TAIL;
        if both && said & DATA_SENT != 0 { Fate::Last(emission) } else { Fate::Emit(emission) }
    }

    /// Whether it has been open for too long.
    #[inline(always)]
    const fn is_late(&self, now: u64) -> bool {
        now.saturating_sub(self.since.get()) > OPEN_LIMIT
    }

    /// A segment after SYN and before any hello: emitted if it overtook the first one of its side; else the
    /// flow starts with something else.
    #[inline(always)]
    fn before_hello(&self, arrival: &Arrival, state: u64) -> Fate {
        let known = state & START_KNOWN << arrival.flow.side() != 0;
        let start = start_of(arrival.flow.of_side(&self.sides));
        let distance = arrival.sequence.wrapping_sub(start);
        let overtook = known && distance > 0 && distance < EARLY_WINDOW && arrival.payload_len > 0;
        if overtook && self.spend(arrival) <= u64::from(EARLY_WINDOW) {
            Fate::Emit(Emission { syn_time: self.syn.get(), ..Emission::WHOLE })
        } else {
            Fate::Free
        }
    }
}

/// The first record that begins in a segment.
pub(super) struct Position {
    /// There is one, as far as is known.
    pub(super) begins: bool,
    /// Where, counted from the start of the payload.
    pub(super) first: usize,
    /// What stands before it belongs to a handshake record that is wanted.
    pub(super) goes_on: bool,
}

/// What becomes of a segment that starts with no hello, and of its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Emit(Emission),
    /// The same, and the flow is over.
    Last(Emission),
    /// The segment is nobody's concern, its flow's other side is.
    Keep,
    /// The flow is over.
    Free,
}

/// The sequence number of a side's first payload byte.
#[inline(always)]
fn start_of(side: &Cell<u64>) -> u32 {
    low(side.get())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn low(word: u64) -> u32 {
    word as u32
}

/// Where the state counts the segments that the sender has in the tail.
#[inline(always)]
fn tail_shift(arrival: &Arrival) -> u64 {
    TAIL_SHIFT + TAIL_BITS * u64::from(arrival.flow.side())
}

/// Whether a flow is kept for as long as its connection lasts.
#[inline(always)]
pub(super) fn keeps_connections(rules: &impl Rules) -> bool {
    rules.scope() as u8 == Scope::Connection as u8
}
