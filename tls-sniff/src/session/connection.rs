//! One connection: its two directions, what they said, how it ended.

use tls_sniff_common::{
    event::Event,
    flow::flags,
    start::{Speaker, Start},
};

use super::{
    arrival::{Arrival, How},
    interfaces::{Interfaces, Last, Shared},
    key::{Key, Stored},
    progress::Close,
    side::Side,
    story::{Observe, Story, Told},
    unknown::Nanoseconds,
};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::{EventKind, HandshakeObservation, Observation, Outcome, Party, Seen},
    tls::message::Partial,
};

/// A connection in its handshake.
#[derive(Debug)]
pub(super) struct Connection {
    key: Stored,
    sides: [Side; 2],
    story: Story,
    interfaces: Interfaces,
    last_on: Last,
    first: Timestamp,
    last: Timestamp,
    /// How its first segment was seen, and how its last one.
    first_seen: How,
    last_seen: How,
    /// Bytes that it is accounted for.
    pub(super) accounted: u32,
    /// The last event's time on the kernel's clock.
    last_clock: u64,
    /// From its SYN to the SYN-ACK, on the packets' clock.
    syn_to_syn_ack: Nanoseconds,
    syn_ack_to_hello: Nanoseconds,
    /// Those two were looked for.
    timed: bool,
    /// FIN or RST was seen.
    close: Option<Close>,
    /// Both sides have sent FIN, or the server RST: nothing more will come.
    ended: bool,
    /// How it ended was told, or nothing is left to tell.
    over: bool,
}

// A hundred thousand of them are at hand on a busy host.
const _: () = assert!(size_of::<Connection>() <= 312);

impl Connection {
    pub(super) fn new(key: Key, seen: Seen) -> Self {
        Self {
            key: Stored::of(&key),
            sides: <[Side; 2]>::default(),
            story: Story::default(),
            interfaces: Interfaces::default(),
            last_on: 0,
            first: seen.timestamp,
            last: seen.timestamp,
            first_seen: How::of(seen),
            last_seen: How::of(seen),
            accounted: 0,
            last_clock: 0,
            syn_to_syn_ack: Nanoseconds::UNKNOWN,
            syn_ack_to_hello: Nanoseconds::UNKNOWN,
            timed: false,
            close: None,
            ended: false,
            over: false,
        }
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        let [one, other] = &self.sides;
        self.key.memory() + one.memory() + other.memory() + self.story.memory()
    }

    /// Whether it is the one with this key.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        self.key() == *key
    }

    /// Between whom.
    pub(super) fn key(&self) -> Key {
        self.key.key()
    }

    /// When its last segment was seen.
    pub(super) const fn last_seen(&self) -> Timestamp {
        self.last
    }

    /// Whether its outcome is known.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Whether it is over but for what is late.
    pub(super) fn is_settling(&self) -> bool {
        self.story.progress.is_settling()
            || self.ended
            || matches!(self.close, Some(Close::Reset(_)))
    }

    /// Whether an event begins another connection between the same ends.
    pub(super) fn is_succeeded_by(&self, arrival: &Arrival<'_>) -> bool {
        let Arrival { event, side, start, .. } = *arrival;
        if event.header.syn_time > self.last_clock {
            return true;
        }
        let hello = matches!(start, Start::Hello(Speaker::Client));
        let near = self.sides.get(side).is_none_or(|side| side.is_near(event.header.tcp_sequence));
        hello && (!near || (self.is_over() && self.is_new(event, side)))
    }

    /// Whether a segment starts behind all that its side has sent.
    pub(super) fn is_new(&self, event: &Event<'_>, side: usize) -> bool {
        let end = self.sides.get(side).and_then(Side::range).map(|(_, end)| end);
        end.is_none_or(|end| event.header.tcp_sequence.wrapping_sub(end).cast_signed() >= 0)
    }

    /// Takes a segment. Returns whether it held more messages than are taken of one.
    pub(super) fn event(
        &mut self,
        arrival: &Arrival<'_>,
        shared: &mut Shared,
        observe: Observe<'_, '_>,
    ) -> bool {
        let Arrival { event, side, start, on, seen } = *arrival;
        let header = &event.header;
        // Far from all that was seen it is somebody else's, or made to mislead.
        let near = self.sides.get(side).is_some_and(|side| side.is_near(header.tcp_sequence));
        if self.is_over() || !near {
            return false;
        }
        self.last_on = self.interfaces.add(on, shared);
        (self.last, self.last_seen) = (seen.timestamp, How::of(seen));
        // What connects or only acknowledges may be the next connection's: its hello tells by the time of its SYN.
        if header.payload_len > 0 {
            self.last_clock = header.timestamp.max(self.last_clock);
        }
        if matches!(start, Start::Hello(_)) {
            self.take_times(event);
        }
        let [first, second] = &mut self.sides;
        let (ours, peer) = if side == 0 { (first, second) } else { (second, first) };
        if header.tcp_flags & flags::ACK != 0 {
            peer.acknowledge(header.tcp_acknowledgement);
            match start {
                Start::Hello(Speaker::Client | Speaker::Unknown) => {
                    peer.expect(header.tcp_acknowledgement);
                }
                // What it answers was not seen, or is late.
                Start::Hello(Speaker::Server) => peer.join_midway(header.tcp_acknowledgement),
                _ => {}
            }
        }
        let syn = u32::from(header.tcp_flags & flags::SYN != 0);
        let mut crowded = false;
        if header.payload_len > 0 {
            let silent = peer.is_silent();
            let Self { key, story, .. } = self;
            let mut told = Told { key: &*key, on, side, seen, silent, story, observe, messages: 0 };
            let piece = arrival.piece(header.tcp_sequence.wrapping_add(syn));
            ours.segment(&piece, &mut |item| told.item(item));
            crowded = told.is_crowded();
            self.share_version();
        }
        self.take_close(event, side);
        self.decide(seen.timestamp, observe);
        crowded
    }

    /// Takes the only segment that will ever be looked at of a connection whose handshake is not followed.
    pub(super) fn alone(mut self, arrival: &Arrival<'_>, observe: Observe<'_, '_>) -> bool {
        let Arrival { event, side, on, seen, .. } = *arrival;
        let sequence = event.header.tcp_sequence;
        let Self { key, sides, story, .. } = &mut self;
        let mut told =
            Told { key: &*key, on, side, seen, silent: true, story, observe, messages: 0 };
        if let Some(ours) = sides.get_mut(side) {
            ours.join_midway(sequence);
            ours.segment(&arrival.piece(sequence), &mut |item| told.item(item));
            ours.finish(Partial::Lost, &mut |item| told.item(item));
        }
        told.is_crowded()
    }

    fn take_times(&mut self, event: &Event<'_>) {
        let header = &event.header;
        if self.timed || header.syn_time == 0 {
            return;
        }
        let between = |from: u64, to: u64| {
            (from != 0 && to >= from).then(|| i64::try_from(to - from).unwrap_or(i64::MAX))
        };
        self.timed = true;
        self.syn_to_syn_ack = between(header.syn_time, header.syn_ack_time).into();
        self.syn_ack_to_hello = between(header.syn_ack_time, header.timestamp).into();
    }

    /// Both directions must know from when on the other's choice encrypts.
    fn share_version(&mut self) {
        if let Some(version) = self.story.progress.version {
            let legacy = Some(version <= 0x0303);
            for side in &mut self.sides {
                side.records.legacy = legacy;
            }
        }
    }

    fn take_close(&mut self, event: &Event<'_>, side: usize) {
        let header = &event.header;
        let believed = |side: &Side| side.is_plausible(header.tcp_sequence);
        if header.tcp_flags & (flags::RST | flags::FIN) == 0
            || !self.sides.get(side).is_some_and(believed)
        {
            return;
        }
        let by = self.party(side);
        if header.tcp_flags & flags::RST != 0 {
            self.close.get_or_insert(Close::Reset(by));
            // What the server has sent still arrives after the client has reset.
            self.ended |= by == Party::Server;
        } else {
            let first = *self.close.get_or_insert(Close::Fin(by));
            self.ended |= first != Close::Fin(by);
            self.story.progress.closes(by);
        }
    }

    fn party(&self, side: usize) -> Party {
        self.story.party(side)
    }

    /// Whether somebody's bytes wait for earlier ones.
    fn is_stuck(&self) -> bool {
        self.sides.iter().any(Side::is_stuck)
    }

    /// Says how it ended if that is known.
    fn decide(&mut self, now: Timestamp, observe: Observe<'_, '_>) {
        if self.story.client().is_none() {
            return;
        }
        let outcome = match (self.story.progress.outcome(), self.close) {
            (Some(outcome), _) => Some(outcome),
            // The other side may have something to say still: `give_up` will come.
            (None, Some(_)) if !self.ended || self.is_stuck() => None,
            (None, Some(close)) => {
                self.flush(Partial::End, observe);
                let told = self.story.progress.outcome();
                Some(told.unwrap_or_else(|| self.closed(close)))
            }
            (None, None) => self.is_surely_not_tls().then_some(Outcome::NotTls),
        };
        if let Some(outcome) = outcome {
            self.conclude(outcome, now, observe);
        }
    }

    fn closed(&mut self, close: Close) -> Outcome {
        if self.answered_by_other() { Outcome::NotTls } else { self.story.progress.closed(close) }
    }

    fn server(&self) -> Option<&Side> {
        self.story.client().and_then(|client| self.sides.get(1 - client))
    }

    /// Whether the server's first bytes are no TLS.
    fn answered_by_other(&self) -> bool {
        self.server().is_some_and(Side::is_not_tls) && !self.story.answered
    }

    /// Whether it goes on in that way.
    fn is_surely_not_tls(&self) -> bool {
        self.answered_by_other() && self.server().is_some_and(Side::is_surely_not_tls)
    }

    /// Reports what is left of messages that will not become whole.
    fn flush(&mut self, why: Partial, observe: Observe<'_, '_>) {
        let [first, second] = &mut self.sides;
        let silent = [second.is_silent(), first.is_silent()];
        for ((side, ours), silent) in [first, second].into_iter().enumerate().zip(silent) {
            let mut told = Told {
                key: &self.key,
                on: SeenOn::one(self.interfaces.last(self.last_on)),
                side,
                seen: self.last_seen.at(self.last),
                silent,
                story: &mut self.story,
                observe,
                messages: 0,
            };
            ours.finish(why, &mut |item| told.item(item));
        }
    }

    /// It is not waited for any longer, and why.
    pub(super) fn give_up(&mut self, why: GiveUp, now: Timestamp, observe: Observe<'_, '_>) {
        if self.is_over() {
            return;
        }
        let partial = if why == GiveUp::Memory { Partial::Memory } else { Partial::End };
        self.flush(partial, observe);
        let Some(client) = self.story.client() else {
            // Something overtook a hello that never came.
            self.over = true;
            return;
        };
        let answered = self.sides.get(1 - client).is_some_and(|server| !server.is_silent());
        let asked = self.sides.get(client).is_some_and(|client| !client.is_silent());
        let incomplete = self.missing().is_some_and(|missing| missing != Partial::End) || !asked;
        if !answered || !asked {
            self.story.progress.trust_one_side();
        }
        let otherwise = match why {
            _ if self.answered_by_other() => Outcome::NotTls,
            GiveUp::Memory => Outcome::Partial,
            GiveUp::End => Outcome::StillOpen,
            GiveUp::Silence if !answered => Outcome::NoAnswer,
            GiveUp::Silence if incomplete => Outcome::Partial,
            GiveUp::Silence => Outcome::TimedOut,
        };
        let outcome = match (self.story.progress.outcome(), self.close) {
            (Some(outcome), _) => outcome,
            (None, Some(close)) => self.closed(close),
            (None, None) => self.story.progress.given_up(otherwise),
        };
        self.conclude(outcome, now, observe);
    }

    fn missing(&self) -> Option<Partial> {
        let [first, second] = &self.sides;
        first.missing.or(second.missing).or(self.story.partial)
    }

    fn conclude(&mut self, outcome: Outcome, now: Timestamp, observe: Observe<'_, '_>) {
        self.over = true;
        if observe.wants(EventKind::Handshake) {
            self.tell(outcome, now, observe);
        }
        // What stays only tells late segments from new connections.
        for side in &mut self.sides {
            side.forget();
        }
        self.story.forget();
    }

    fn tell(&self, outcome: Outcome, now: Timestamp, observe: Observe<'_, '_>) {
        let Some(client) = self.story.client() else { return };
        let story = &self.story;
        let (Some(client_side), Some(server_side)) =
            (self.sides.get(client), self.sides.get(1 - client))
        else {
            return;
        };
        let key = self.key();
        let [first, second] = key.addresses();
        let (client_address, server_address) =
            if client == 0 { (first, second) } else { (second, first) };
        let certificates = |side: usize| story.certificates(side);
        let weaknesses = story.weaknesses(now);
        let completed = story.progress.completed().filter(|_| outcome == Outcome::Completed);
        let missing = self
            .missing()
            .or_else(|| (!story.asked && story.answered).then_some(Partial::Lost))
            .filter(|missing| *missing != Partial::End || outcome != Outcome::Completed);
        let names = self.interfaces.names();
        (observe.tell)(&Observation::Handshake(HandshakeObservation {
            timestamp: now,
            first: self.first_seen.at(self.first),
            on: SeenOn::all(&names),
            client: client_address,
            server: server_address,
            community_id: key.community_id().as_str(),
            client_hello: story.client_hello.as_deref(),
            server_hello: story.server_hello.as_deref(),
            version: story.version(),
            hello_retry_request: story.hello_retry_request,
            group: story.group,
            resumed: story.resumed(),
            server_certificates: certificates(1 - client),
            client_certificates: certificates(client),
            syn_to_syn_ack: self.syn_to_syn_ack.get(),
            syn_ack_to_hello: self.syn_ack_to_hello.get(),
            duration: completed.map(|at| at.0.saturating_sub(self.first.0).max(0)),
            bytes: [client_side.bytes(), server_side.bytes()],
            history: story.history.as_str(),
            outcome,
            weaknesses: &weaknesses,
            partial: missing,
            overlap: client_side.conflict || server_side.conflict,
        }));
    }
}

/// Why a connection is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// Nothing was seen for long.
    Silence,
    /// The run or the file is over.
    End,
    /// Its memory is needed.
    Memory,
}
