//! The gate: which segments of a flow are worth their bytes.
//!
//! ```text
//!            SYN                 hello                 client sends CCS or application data,
//!  (unknown) ───► connecting ───────────────► open ───────────────────────────────────────────► tail
//!      │              │ payload that is no hello │                 either side resets             │
//!      └──── hello ───┼──────────────────────►   │ byte budget, time         TAIL segments of each side
//!                     └─► (unknown)              └─► (unknown)                                   └─► (unknown)
//! ```
//!
//! A hello opens its flow, both directions. Segments of an open flow are emitted whatever they start
//! with, so that a hello over several segments, records or retransmissions is whole in user space. Once
//! the client sends ChangeCipherSpec or application data its part is nearly over: a few segments more
//! of each side tell how the handshake ended. What a flow sends later costs a look at one cache line and
//! nothing else. A RST frees nothing: anybody can send one, and the peer decides whether to believe it.
//!
//! A SYN is remembered for its time and sequence number: the time goes out with the hello, the number
//! tells a segment that overtook the hello from one that starts something else.
//!
//! The table has a fixed size, no locks and no allocation: [`BUCKETS`] buckets of [`WAYS`] flows, found by
//! a keyed hash of addresses, ports and interface. When all places of a bucket are taken, the oldest
//! unanswered SYN or flow in its tail makes room, then the oldest open flow, which is counted. Two CPUs that change one flow at the same
//! moment may lose a count: budgets are then a little larger. (Cells, not atomics: LLVM's BPF back end selects no
//! atomic load before `-mcpu=v4`. A cell of 8 bytes is read and written by one instruction, and no index or
//! address is ever made of one.)
//!
//! A [`Scope`] wider than records lets more through: what connects, acknowledges and ends, marked as not
//! selected. Rules about records follow them from segment to segment, see [`crate::filter::records`].
//!
//! The same code runs on a capture file, so that live and offline emit the same segments.

use core::cell::Cell;

use crate::{
    Flows,
    counters::Counter,
    filter::{
        Rules, Scope, narrows_records, narrows_segments,
        records::{Records, Walked},
    },
    flow::{FlowId, flags},
    headers::LENGTH_MASK,
    packet::PacketBytes,
    record::ContentType,
    start::{Speaker, Start},
};

/// Flows in one bucket.
pub const WAYS: usize = 4;

/// Buckets; a power of two. 32,768 flows are in their handshake at once, in 2.4 MB.
pub const BUCKETS: usize = 1 << 13;

/// Bytes that an open flow may send in one direction before it is no handshake: certificate chains of
/// 100 kB exist.
pub const DIRECTION_BUDGET: u64 = 1 << 17;

/// How long a flow stays open, ns.
pub const OPEN_LIMIT: u64 = 30_000_000_000;

/// Segments emitted of each side once the client has sent ChangeCipherSpec or application data. On loopback
/// each segment is seen twice.
pub const TAIL: u64 = 8;

/// Bytes worth copying of what follows a first segment of application data: record headers.
const TAIL_CAPTURE: u32 = 64;

/// How far behind the start of the stream a segment may be and still have overtaken the hello.
pub const EARLY_WINDOW: u32 = 1 << 16;

const OPEN: u64 = 1;
/// The client is side 1 of the flow.
const CLIENT_IS_SIDE_1: u64 = 2;
/// The sequence number of side 0's first byte is known; of side 1's one bit higher.
const START_KNOWN: u64 = 4;
/// The client has changed its cipher or sent application data, or somebody has reset.
const IN_TAIL: u64 = 16;
/// Not only changed its cipher: after a HelloRetryRequest a ClientHello may follow that (RFC 8446 D.4).
const DATA_SENT: u64 = 32;
/// Segments of side 0 in the tail; of side 1 a byte higher.
/// Of a side's record position: it is known. The lower half is its sequence number.
const POSITION_KNOWN: u64 = 1 << 32;
/// The bytes up to there belong to a handshake record that is wanted.
const GOES_ON: u64 = 1 << 33;

const TAIL_SHIFT: u64 = 8;
const TAIL_BITS: u64 = 8;
const TAIL_MASK: u64 = (1 << TAIL_BITS) - 1;

/// One place of the table for each flow that hashes to it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Bucket {
    /// [`FlowId::tag`] of the flow in each place, 0 if it is free.
    tags: [Cell<u64>; WAYS],
    flows: [Flow; WAYS],
}

#[repr(C)]
#[derive(Debug, Default)]
struct Flow {
    /// When it was entered or opened, ns.
    since: Cell<u64>,
    /// When the SYN was seen, ns; 0 if not.
    syn: Cell<u64>,
    /// When the SYN-ACK was seen.
    syn_ack: Cell<u64>,
    /// Of each side: the sequence number of its first payload byte (lower half), and the payload bytes
    /// emitted of it.
    sides: [Cell<u64>; 2],
    /// The bits above.
    state: Cell<u64>,
    /// Of each side: where its next record begins, if a rule asks for records: see [`Flow::position`].
    records: [Cell<u64>; 2],
}

/// A segment that has a payload, or says something of its connection.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Whose it is.
    pub flow: FlowId,
    /// TCP flags.
    pub flags: u8,
    /// Sequence number of the segment.
    pub sequence: u32,
    /// Payload bytes on the wire.
    pub payload_len: u32,
    /// What the payload starts with, as [`Start::code`]: a number has no part that only some kinds have.
    pub start: usize,
    /// Whether the rules for segments want it, whatever records it holds.
    pub wanted: bool,
}

impl Arrival {
    #[inline(always)]
    const fn start(&self) -> Start {
        Start::of_code(self.start)
    }

    #[inline(always)]
    const fn starts_with(&self, start: Start) -> bool {
        self.start == start.code()
    }

    /// Whether a record begins where the payload does, as far as can be told.
    #[inline(always)]
    const fn starts_with_record(&self) -> bool {
        self.start > Start::Other.code()
    }

    /// Whether it says no more than that something arrived.
    #[inline(always)]
    const fn only_acknowledges(&self) -> bool {
        self.starts_with(Start::Empty) && self.flags & (flags::SYN | flags::FIN | flags::RST) == 0
    }
}

/// What to do with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to user space.
    Emit(Emission),
    /// Count it as this.
    Skip(Counter),
}

/// How to hand a segment to user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emission {
    /// Payload bytes worth copying, at most.
    pub capture: u32,
    /// When the connection's SYN was seen, ns; 0 if not, and once its flow is open in segments that start
    /// with no hello.
    pub syn_time: u64,
    /// When its SYN-ACK was seen.
    pub syn_ack_time: u64,
    /// Whether an open flow had to make room for this one.
    pub evicted: bool,
    /// Whether the rules select it; else it is for the context of what they select.
    pub selected: bool,
}

impl Emission {
    /// All of it, without times.
    pub const WHOLE: Self =
        Self { capture: u32::MAX, syn_time: 0, syn_ack_time: 0, evicted: false, selected: true };

    /// All of it, for its context.
    const ASIDE: Self = Self { selected: false, ..Self::WHOLE };
}

impl Bucket {
    /// Judges a segment whose flow belongs to this bucket of `flows`, whose clock is asked only if the time
    /// matters. `records` has the rules, and is walked only if one of them is about records.
    #[inline(always)]
    pub fn judge(
        &self,
        arrival: &Arrival,
        flows: &impl Flows,
        records: &Records<'_, impl Rules, impl PacketBytes>,
    ) -> Verdict {
        let rules = records.rules;
        let found = self.tags.iter().position(|tag| tag.get() == arrival.flow.tag);
        let place = found.map(|way| flows.forget::<{ WAYS - 1 }>(way));
        let place = place.and_then(|way| Some((self.tags.get(way)?, self.flows.get(way)?)));
        let mut wanted = arrival.wanted;
        let mut walked = Walked::NOT_LOOKED;
        if narrows_records(rules) {
            let position = match place {
                Some((_, flow)) => flow.position(arrival),
                None => Position { begins: arrival.starts_with_record(), first: 0, goes_on: false },
            };
            let first = flows.forget::<LENGTH_MASK>(position.first);
            let goes_on = flows.forget::<1>(usize::from(position.goes_on));
            if flows.forget::<1>(usize::from(position.begins)) != 0 {
                walked = records.walk(first);
            }
            if arrival.starts_with(Start::Hello(Speaker::Unknown)) {
                walked = Walked::of_cut_header(may_be_handshake(rules));
            }
            walked = walked.forgotten(flows);
            let found = flows.forget::<1>(usize::from(walked.is_wanted()));
            wanted &= goes_on | found != 0;
        }
        let (verdict, flow) = match place {
            None => self.unknown(arrival, flows, rules),
            Some((tag, flow)) => (flow.judge(tag, arrival, flows.now(), rules), Some(flow)),
        };
        if walked.is_walked()
            && let Some(flow) = flow
        {
            flow.remember(arrival, walked);
        }
        narrowed(verdict, arrival, wanted, rules)
    }

    /// A segment of a flow that is not in the table, and where it was entered.
    #[inline(always)]
    fn unknown(
        &self,
        arrival: &Arrival,
        flows: &impl Flows,
        rules: &impl Rules,
    ) -> (Verdict, Option<&Flow>) {
        let syn = arrival.flags & (flags::SYN | flags::ACK) == flags::SYN;
        let hello = matches!(arrival.start(), Start::Hello(_));
        if !syn && !hello {
            return (alone(arrival.start()), None);
        }
        let now = flows.now();
        let (way, evicted) = self.cheapest(now, rules);
        let way = flows.forget::<{ WAYS - 1 }>(way);
        if let (Some(tag), Some(flow)) = (self.tags.get(way), self.flows.get(way)) {
            tag.set(arrival.flow.tag);
            flow.enter(arrival, now);
            let emission = if let Start::Hello(speaker) = arrival.start() {
                flow.open(arrival, speaker, now);
                Some(Emission::WHOLE)
            } else {
                (rules.scope() as u8 > Scope::Record as u8).then_some(Emission::ASIDE)
            };
            let verdict = match emission {
                Some(emission) => Verdict::Emit(Emission { evicted, ..emission }),
                None => alone(arrival.start()),
            };
            return (verdict, Some(flow));
        }
        (alone(arrival.start()), None)
    }

    /// The place that is cheapest to lose, and whether an open flow has it.
    #[inline(always)]
    fn cheapest(&self, now: u64, rules: &impl Rules) -> (usize, bool) {
        const OPEN_COSTS: u64 = 1 << 63;
        let whole = keeps_connections(rules);
        let mut best = (u64::MAX, 0);
        for (way, (taken, flow)) in self.tags.iter().zip(&self.flows).enumerate() {
            let since = flow.since.get();
            let expired = now.wrapping_sub(since) > OPEN_LIMIT;
            let cost = match (taken.get(), flow.state.get() & (OPEN | IN_TAIL)) {
                (0, _) => 0,
                (_, state) if whole && state & OPEN != 0 => since | OPEN_COSTS,
                (_, OPEN) if !expired => since | OPEN_COSTS,
                _ => since,
            };
            if cost < best.0 {
                best = (cost, way);
            }
        }
        (best.1, best.0 & OPEN_COSTS != 0)
    }
}

impl Flow {
    /// A segment of this flow; `tag` is its place, which closing sets free.
    #[inline(always)]
    fn judge(&self, tag: &Cell<u64>, arrival: &Arrival, now: u64, rules: &impl Rules) -> Verdict {
        let state = self.state.get();
        if arrival.flags & flags::SYN != 0 {
            self.connect(arrival, state, now);
        }
        if let Start::Hello(speaker) = arrival.start() {
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
        let fate = if context && arrival.only_acknowledges() {
            self.acknowledge(arrival, state)
        } else if state & OPEN != 0 {
            self.in_open(arrival, state, now, rules)
        } else {
            self.before_hello(arrival, state)
        };
        if keeps_connections(rules) && self.state.get() & OPEN != 0 {
            // What was used last is the last to make room.
            self.since.set(now);
            return match fate {
                Fate::Emit(emission) => Verdict::Emit(emission),
                Fate::Keep | Fate::Free => Verdict::Emit(Emission::ASIDE),
            };
        }
        // Its later records are asked for too.
        let retained = narrows_records(rules) && state & OPEN != 0;
        if fate == Fate::Free && !retained {
            tag.set(0);
        }
        match fate {
            Fate::Emit(emission) => Verdict::Emit(emission),
            Fate::Keep | Fate::Free => alone(arrival.start()),
        }
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
    fn position(&self, arrival: &Arrival) -> Position {
        if arrival.starts_with_record() {
            return Position { begins: true, first: 0, goes_on: false };
        }
        if arrival.starts_with(Start::Empty) {
            return Position { begins: false, first: 0, goes_on: false };
        }
        let position = arrival.flow.of_side(&self.records).get();
        let first = low(position).wrapping_sub(arrival.sequence);
        let begins = position & POSITION_KNOWN != 0 && first < arrival.payload_len;
        Position { begins, first: first as usize, goes_on: position & GOES_ON != 0 }
    }

    /// Keeps where the next record of this side begins.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "no payload is longer than 4 GiB")]
    fn remember(&self, arrival: &Arrival, walked: Walked) {
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
            None => position.set(goes_on),
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
    fn enter(&self, arrival: &Arrival, now: u64) {
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
    fn open(&self, arrival: &Arrival, speaker: Speaker, now: u64) {
        let state = self.state.get();
        if state & OPEN == 0 {
            self.since.set(now);
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
    fn in_open(&self, arrival: &Arrival, state: u64, now: u64, rules: &impl Rules) -> Fate {
        let late = now.saturating_sub(self.since.get()) > OPEN_LIMIT && !keeps_connections(rules);
        if late || self.spend(arrival) > DIRECTION_BUDGET {
            return Fate::Free;
        }
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
        // What follows the client's ChangeCipherSpec may be its second hello.
        let maybe_hello =
            client_sends && arrival.starts_with(Start::Other) && said & DATA_SENT == 0;
        if said & IN_TAIL == 0 || maybe_hello {
            self.state.set(said);
            return Fate::Emit(Emission::WHOLE);
        }
        let own = tail_shift(arrival);
        let other = TAIL_SHIFT + TAIL_BITS - (own - TAIL_SHIFT);
        let sent = said >> own & TAIL_MASK;
        if sent >= TAIL {
            let both = said >> other & TAIL_MASK >= TAIL;
            return if both { Fate::Free } else { Fate::Keep };
        }
        self.state.set(said + (1 << own));
        let headers_only = data && sent > 0 && state & DATA_SENT != 0;
        let capture = if headers_only { TAIL_CAPTURE } else { u32::MAX };
        Fate::Emit(Emission { capture, ..Emission::WHOLE })
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
struct Position {
    /// There is one, as far as is known.
    begins: bool,
    /// Where, counted from the start of the payload.
    first: usize,
    /// What stands before it belongs to a handshake record that is wanted.
    goes_on: bool,
}

/// Whether the rules may want a record of which no more is known than that it is a handshake's.
#[inline(always)]
fn may_be_handshake(rules: &impl Rules) -> bool {
    const HANDSHAKE: u8 = 1 << (ContentType::Handshake as u8 - ContentType::ChangeCipherSpec as u8);
    rules.content_types() == 0 || rules.content_types() & HANDSHAKE != 0
}

/// What becomes of a segment that starts with no hello, and of its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Emit(Emission),
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
fn keeps_connections(rules: &impl Rules) -> bool {
    rules.scope() as u8 == Scope::Connection as u8
}

/// What the rules leave of a verdict; `wanted`: whether they want the segment.
#[inline(always)]
fn narrowed(verdict: Verdict, arrival: &Arrival, wanted: bool, rules: &impl Rules) -> Verdict {
    if !narrows_segments(rules) {
        let asked = arrival.starts_with(Start::Record(ContentType::ApplicationData))
            && rules.application_data();
        return match verdict {
            Verdict::Skip(_) if asked => Verdict::Emit(Emission::WHOLE),
            verdict => verdict,
        };
    }
    let context = rules.scope() as u8 > Scope::Record as u8 || rules.follows_handshakes();
    match verdict {
        Verdict::Emit(emission) if wanted || context => {
            Verdict::Emit(Emission { selected: wanted, ..emission })
        }
        Verdict::Skip(_) if wanted => Verdict::Emit(Emission::WHOLE),
        Verdict::Emit(_) => Verdict::Skip(Counter::Filtered),
        skipped @ Verdict::Skip(_) => skipped,
    }
}

/// A segment that no open flow makes interesting.
#[inline(always)]
const fn alone(start: Start) -> Verdict {
    match start {
        Start::Empty => Verdict::Skip(Counter::NoPayload),
        Start::Other => Verdict::Skip(Counter::NoRecord),
        Start::Record(ContentType::ApplicationData) => Verdict::Skip(Counter::ApplicationData),
        Start::Record(_) | Start::Hello(_) => Verdict::Emit(Emission::WHOLE),
    }
}
