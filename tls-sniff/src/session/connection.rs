//! One connection: its two directions, what they said, how it ended.

use tls_sniff_common::{
    event::Event,
    flow::flags,
    start::{Speaker, Start},
};

use super::{
    interfaces::Interfaces,
    key::Key,
    progress::Close,
    side::{Piece, Side},
    story::{Observe, Story, Told},
};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::{HandshakeObservation, Observation, Outcome, Party, Seen},
    tls::message::Partial,
};

/// A connection in its handshake.
#[derive(Debug)]
pub(super) struct Connection {
    key: Key,
    interfaces: Interfaces,
    sides: [Side; 2],
    story: Story,
    first: Seen,
    last: Seen,
    /// The last event's time on the kernel's clock.
    last_clock: u64,
    /// When its SYN and SYN-ACK were seen, on the packets' clock.
    tcp: Option<TcpTimes>,
    /// FIN or RST was seen.
    close: Option<Close>,
    /// Both sides have sent FIN, or the server RST: nothing more will come.
    ended: bool,
    /// How it ended was told, or nothing is left to tell.
    over: bool,
}

/// Times of the TCP handshake.
#[derive(Clone, Copy, Debug)]
struct TcpTimes {
    syn_to_syn_ack: Option<i64>,
    syn_ack_to_hello: Option<i64>,
}

impl Connection {
    pub(super) fn new(key: Key, seen: Seen) -> Self {
        Self {
            key,
            interfaces: Interfaces::default(),
            sides: <[Side; 2]>::default(),
            story: Story { community_id: key.community_id(), ..Story::default() },
            first: seen,
            last: seen,
            last_clock: 0,
            tcp: None,
            close: None,
            ended: false,
            over: false,
        }
    }

    /// Heap bytes held, and its own.
    pub(super) fn memory(&self) -> usize {
        let [one, other] = &self.sides;
        size_of::<Self>()
            + self.interfaces.memory()
            + one.memory()
            + other.memory()
            + self.story.memory()
    }

    /// When its last segment was seen.
    pub(super) const fn last_seen(&self) -> Timestamp {
        self.last.timestamp
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
    pub(super) fn is_succeeded_by(&self, event: &Event<'_>, start: Start, side: usize) -> bool {
        if event.header.syn_time > self.last_clock {
            return true;
        }
        let hello = matches!(start, Start::Hello(Speaker::Client));
        let near = self.sides.get(side).is_none_or(|side| side.is_near(event.header.tcp_sequence));
        hello && (!near || (self.is_over() && self.is_new(event, side)))
    }

    /// Whether a segment starts behind all that its side has sent.
    pub(super) fn is_new(&self, event: &Event<'_>, side: usize) -> bool {
        let end = self.sides.get(side).and_then(|side| side.range).map(|(_, end)| end);
        end.is_none_or(|end| event.header.tcp_sequence.wrapping_sub(end).cast_signed() >= 0)
    }

    /// Takes a segment. Returns whether it held more messages than are taken of one.
    pub(super) fn event(
        &mut self,
        event: &Event<'_>,
        side: usize,
        start: Start,
        on: SeenOn<'_>,
        seen: Seen,
        observe: Observe<'_>,
    ) -> bool {
        let header = &event.header;
        // Far from all that was seen it is somebody else's, or made to mislead.
        let near = self.sides.get(side).is_some_and(|side| side.is_near(header.tcp_sequence));
        if self.is_over() || !near {
            return false;
        }
        self.interfaces.add(on);
        self.last = seen;
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
            let piece = Piece {
                at: seen.timestamp,
                sequence: header.tcp_sequence.wrapping_add(syn),
                bytes: event.payload,
                length: header.payload_len,
                start,
            };
            let silent = peer.is_silent();
            let mut told = Told {
                key: &self.key,
                on,
                side,
                seen,
                silent,
                story: &mut self.story,
                observe,
                messages: 0,
            };
            ours.segment(&piece, &mut |item| told.item(item));
            crowded = told.is_crowded();
        }
        self.share_version();
        self.take_close(event, side);
        self.decide(seen.timestamp, observe);
        crowded
    }

    /// Takes the only segment that will ever be looked at of a connection whose handshake is not followed.
    pub(super) fn alone(
        mut self,
        event: &Event<'_>,
        side: usize,
        start: Start,
        on: SeenOn<'_>,
        seen: Seen,
        observe: Observe<'_>,
    ) -> bool {
        let sequence = event.header.tcp_sequence;
        let piece = Piece {
            at: seen.timestamp,
            sequence,
            bytes: event.payload,
            length: event.header.payload_len,
            start,
        };
        let Self { key, sides, story, .. } = &mut self;
        let mut told = Told { key, on, side, seen, silent: true, story, observe, messages: 0 };
        if let Some(ours) = sides.get_mut(side) {
            ours.join_midway(sequence);
            ours.segment(&piece, &mut |item| told.item(item));
            ours.finish(Partial::Lost, &mut |item| told.item(item));
        }
        told.is_crowded()
    }

    fn take_times(&mut self, event: &Event<'_>) {
        let header = &event.header;
        if self.tcp.is_some() || header.syn_time == 0 {
            return;
        }
        let between = |from: u64, to: u64| {
            (from != 0 && to >= from).then(|| i64::try_from(to - from).unwrap_or(i64::MAX))
        };
        self.tcp = Some(TcpTimes {
            syn_to_syn_ack: between(header.syn_time, header.syn_ack_time),
            syn_ack_to_hello: between(header.syn_ack_time, header.timestamp),
        });
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
    fn decide(&mut self, now: Timestamp, observe: Observe<'_>) {
        if self.story.client.is_none() {
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
        self.story.client.and_then(|client| self.sides.get(1 - client))
    }

    /// Whether the server's first bytes are no TLS.
    fn answered_by_other(&self) -> bool {
        self.server().is_some_and(Side::is_not_tls) && self.story.server_hello.is_none()
    }

    /// Whether it goes on in that way.
    fn is_surely_not_tls(&self) -> bool {
        self.answered_by_other() && self.server().is_some_and(Side::is_surely_not_tls)
    }

    /// Reports what is left of messages that will not become whole.
    fn flush(&mut self, why: Partial, observe: Observe<'_>) {
        let [first, second] = &mut self.sides;
        let silent = [second.is_silent(), first.is_silent()];
        for ((side, ours), silent) in [first, second].into_iter().enumerate().zip(silent) {
            let mut told = Told {
                key: &self.key,
                on: SeenOn::one(self.interfaces.last()),
                side,
                seen: self.last,
                silent,
                story: &mut self.story,
                observe,
                messages: 0,
            };
            ours.finish(why, &mut |item| told.item(item));
        }
    }

    /// It is not waited for any longer, and why.
    pub(super) fn give_up(&mut self, why: GiveUp, now: Timestamp, observe: Observe<'_>) {
        if self.is_over() {
            return;
        }
        let partial = if why == GiveUp::Memory { Partial::Memory } else { Partial::End };
        self.flush(partial, observe);
        let Some(client) = self.story.client else {
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

    fn conclude(&mut self, outcome: Outcome, now: Timestamp, observe: Observe<'_>) {
        self.over = true;
        let Some(client) = self.story.client else { return };
        let story = &self.story;
        let (Some(client_side), Some(server_side)) =
            (self.sides.get(client), self.sides.get(1 - client))
        else {
            return;
        };
        let [first, second] = self.key.addresses();
        let (client_address, server_address) =
            if client == 0 { (first, second) } else { (second, first) };
        let certificates = |side: usize| story.certificates.get(side).and_then(Option::as_ref);
        let weaknesses = story.weaknesses(now);
        let completed = story.progress.completed.filter(|_| outcome == Outcome::Completed);
        let missing = self
            .missing()
            .or_else(|| (!story.asked && story.server_hello.is_some()).then_some(Partial::Lost))
            .filter(|missing| *missing != Partial::End || outcome != Outcome::Completed);
        let names = self.interfaces.names();
        observe(&Observation::Handshake(HandshakeObservation {
            timestamp: now,
            first: self.first,
            on: SeenOn::all(&names),
            client: client_address,
            server: server_address,
            community_id: &story.community_id,
            client_hello: story.client_hello.as_ref(),
            server_hello: story.server_hello.as_ref(),
            version: story.version(),
            hello_retry_request: story.hello_retry_request,
            group: story.group,
            resumed: story.resumed(),
            server_certificates: certificates(1 - client),
            client_certificates: certificates(client),
            syn_to_syn_ack: self.tcp.and_then(|times| times.syn_to_syn_ack),
            syn_ack_to_hello: self.tcp.and_then(|times| times.syn_ack_to_hello),
            duration: completed.map(|at| at.0.saturating_sub(self.first.timestamp.0).max(0)),
            bytes: [client_side.bytes(), server_side.bytes()],
            history: story.history.as_str(),
            outcome,
            weaknesses: &weaknesses,
            partial: missing,
            overlap: client_side.conflict || server_side.conflict,
        }));
        // What stays only tells late segments from new connections.
        for side in &mut self.sides {
            side.forget();
        }
        self.story.forget();
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
