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

mod flow;
mod glance;

use core::cell::Cell;

pub use self::glance::Glance;

use self::{
    flow::{Flow, IN_TAIL, OPEN, OVER, Position, keeps_connections},
    glance::Place,
};

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

/// Buckets; a power of two. 131,072 flows are in their handshake at once, in 9.4 MB.
pub const BUCKETS: usize = 1 << 15;

/// Bytes that an open flow may send in one direction before it is no handshake: certificate chains of
/// 100 kB exist.
pub const DIRECTION_BUDGET: u64 = 1 << 17;

/// How long a flow stays open, ns.
pub const OPEN_LIMIT: u64 = 30_000_000_000;

/// Segments emitted of each side once the client has sent ChangeCipherSpec or application data. On loopback
/// each segment is seen twice.
pub const TAIL: u64 = 8;

/// How far behind the start of the stream a segment may be and still have overtaken the hello.
pub const EARLY_WINDOW: u32 = 1 << 16;

/// One place of the table for each flow that hashes to it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Bucket {
    /// [`FlowId::tag`] of the flow in each place, 0 if it is free.
    tags: [Cell<u64>; WAYS],
    flows: [Flow; WAYS],
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

impl Verdict {
    /// With the time that it was asked for.
    #[inline(always)]
    const fn at(self, time: u64) -> Self {
        match self {
            Self::Emit(emission) => Self::Emit(Emission { time, ..emission }),
            Self::Skip(_) => self,
        }
    }
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
    /// The time, if the gate has asked for it; else 0. A clock costs as much as all that bulk does.
    pub time: u64,
    /// Whether the rules select it; else it is for the context of what they select.
    pub selected: bool,
}

impl Emission {
    /// All of it, without times.
    pub const WHOLE: Self =
        Self { capture: u32::MAX, syn_time: 0, syn_ack_time: 0, time: 0, selected: true };

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
        let place = found.and_then(|way| self.place(way, arrival.flow, flows));
        let mut wanted = arrival.wanted;
        let mut walked = Walked::NOT_LOOKED;
        if narrows_records(rules) {
            let position = match place {
                Some(place) => place.flow.position(arrival),
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
            Some(place) => {
                let now = flows.now();
                let verdict = place.flow.judge(&place, arrival, now, rules).at(now);
                (verdict, Some(place.flow))
            }
        };
        if walked.is_walked()
            && let Some(flow) = flow
        {
            flow.remember(arrival, walked);
        }
        narrowed(verdict, arrival, wanted, rules)
    }

    /// One of the places; `flow` belongs to this bucket.
    #[inline(always)]
    fn place<'a>(&'a self, way: usize, flow: FlowId, flows: &'a impl Flows) -> Option<Place<'a>> {
        let way = flows.forget::<{ WAYS - 1 }>(way);
        let glance = flows.glance(flow).and_then(|glance| glance.of_place(way));
        Some(Place { tag: self.tags.get(way)?, glance, flow: self.flows.get(way)? })
    }

    /// A segment of a flow that is not in the table, and where it was entered.
    #[inline(always)]
    fn unknown<'a>(
        &'a self,
        arrival: &Arrival,
        flows: &'a impl Flows,
        rules: &impl Rules,
    ) -> (Verdict, Option<&'a Flow>) {
        let syn = arrival.flags & (flags::SYN | flags::ACK) == flags::SYN;
        let hello = matches!(arrival.start(), Start::Hello(_));
        if !syn && !hello {
            return (alone(arrival.start()), None);
        }
        let now = flows.now();
        let (way, evicts) = self.cheapest(now, rules);
        if evicts {
            flows.evicts();
        }
        if let Some(place) = self.place(way, arrival.flow, flows) {
            place.take(arrival.flow);
            let flow = place.flow;
            flow.enter(arrival, now);
            let emission = if let Start::Hello(speaker) = arrival.start() {
                flow.open(arrival, speaker, now);
                Some(Emission { time: now, ..Emission::WHOLE })
            } else {
                (rules.scope() as u8 > Scope::Record as u8).then_some(Emission::ASIDE)
            };
            let verdict = match emission {
                Some(emission) => Verdict::Emit(emission),
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
            let expired = now.saturating_sub(since) > OPEN_LIMIT;
            let state = flow.state.get();
            let cost = match (taken.get(), state & (OPEN | IN_TAIL)) {
                (0, _) => 0,
                (_, open) if whole && open & OPEN != 0 && state & OVER != OVER => {
                    since | OPEN_COSTS
                }
                (_, OPEN) if !expired && !whole => since | OPEN_COSTS,
                _ => since,
            };
            if cost < best.0 {
                best = (cost, way);
            }
        }
        (best.1, best.0 & OPEN_COSTS != 0)
    }
}

/// Whether the rules may want a record of which no more is known than that it is a handshake's.
#[inline(always)]
fn may_be_handshake(rules: &impl Rules) -> bool {
    const HANDSHAKE: u8 = 1 << (ContentType::Handshake as u8 - ContentType::ChangeCipherSpec as u8);
    rules.content_types() == 0 || rules.content_types() & HANDSHAKE != 0
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
