//! What waits until it is known whether its connection is wanted: lines and packets.
//!
//! ```text
//!  observation ─► learn: the handshake filter's tests          ┐ yes: what waits goes out, in order, and all that follows
//!  packet ──────► selected by the kernel? (scopes beyond       ├ no: what waits is dropped, and all that follows
//!                 one record: any packet of the connection)    ┘ not known yet: it waits
//! ```
//!
//! A connection is known by its two ends alone: on whatever interface it is seen, it is wanted or not. Waiting
//! has limits, of time and of memory; what they cost is counted.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use tls_sniff_common::{event::Event, filter::Scope, flow::flags};

use crate::{
    clock::Timestamp,
    filter::handshake::{HandshakeFilter, Judgement},
    observation::{Ends, Observation},
};

/// A line or a packet that can wait, whatever it is.
pub trait Waiting {
    /// Heap bytes held.
    fn memory(&self) -> usize;
}

/// What may wait.
#[derive(Debug)]
pub enum Item<L, P> {
    /// An event, as it is to be written.
    Line(L),
    /// A packet for the capture.
    Packet(P),
}

impl<L: Waiting, P: Waiting> Item<L, P> {
    fn memory(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Line(line) => line.memory(),
                Self::Packet(packet) => packet.memory(),
            }
    }
}

/// Whether something goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Now.
    Pass,
    /// Perhaps later: see [`Selection::hold`].
    Wait,
    /// Never.
    Drop,
}

/// Bytes of what waits, at most.
const HELD_LIMIT: usize = 64 << 20;

/// Connections that are remembered, at most.
const CONNECTIONS: usize = 1 << 17;

/// How long a connection without packets is remembered, ns: longer than a silent handshake is followed.
const PATIENCE: i64 = 60_000_000_000;

/// The same where whole connections are wanted: they may be silent for long.
const LONG_PATIENCE: i64 = 3_600_000_000_000;

#[derive(Debug)]
struct Connection<L, P> {
    judgement: Judgement,
    /// The kernel has selected a packet of it.
    selected: bool,
    /// Its handshake is over: another hello begins another connection.
    over: bool,
    /// Sequence number of its SYN, if that was seen.
    syn: Option<u32>,
    /// When that was: what is older is the connection's that had the same ports before.
    since: Timestamp,
    last: Timestamp,
    items: Vec<Item<L, P>>,
    /// What waits of that one, whose handshake is still to be told.
    earlier: Option<Box<Earlier<L, P>>>,
}

/// A connection that another one with the same ports has followed.
#[derive(Debug)]
struct Earlier<L, P> {
    judgement: Judgement,
    selected: bool,
    items: Vec<Item<L, P>>,
}

/// Connections about which something is to be found out.
#[derive(Debug)]
pub struct Selection<L, P> {
    filter: HandshakeFilter,
    scope: Scope,
    connections: HashMap<Ends, Connection<L, P>>,
    /// In the order in which they were last looked at.
    queue: VecDeque<(Timestamp, Ends)>,
    held: usize,
    dropped: Dropped,
}

/// What waited and was not let out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Lines of connections that turned out not to be wanted.
    pub lines: u64,
    /// Packets of such connections.
    pub packets: u64,
    /// Lines that waited when memory was needed, whether wanted or not.
    pub lines_for_memory: u64,
    /// Packets likewise.
    pub packets_for_memory: u64,
}

impl<L: Waiting, P: Waiting> Selection<L, P> {
    /// Nothing is known of any connection.
    #[must_use]
    pub fn new(filter: HandshakeFilter, scope: Scope) -> Self {
        Self {
            filter,
            scope,
            connections: HashMap::new(),
            queue: VecDeque::new(),
            held: 0,
            dropped: Dropped::default(),
        }
    }

    /// Other rules from now on. What is over stays as it was judged; handshakes in progress are judged anew, the last
    /// time by what is told at their end, which says all. What waits and is wanted now is in `released`.
    pub fn reload(
        &mut self,
        filter: HandshakeFilter,
        scope: Scope,
        released: &mut Vec<Item<L, P>>,
    ) {
        (self.filter, self.scope) = (filter, scope);
        let ends: Vec<Ends> = self.queue.iter().map(|(_, ends)| *ends).collect();
        for ends in ends {
            let fresh = self.filter.begin();
            let Some(connection) = self.connections.get_mut(&ends) else { continue };
            if !connection.over {
                connection.judgement = fresh;
            }
            let Some(mut earlier) = connection.earlier.take() else {
                self.settle(&ends, released);
                continue;
            };
            earlier.judgement = fresh;
            if fresh.decided().is_some() {
                self.settle_earlier(*earlier, released);
            } else {
                connection.earlier = Some(earlier);
            }
            self.settle(&ends, released);
        }
    }

    /// Whether every line of every connection is wanted.
    #[must_use]
    pub const fn takes_all_lines(&self) -> bool {
        self.filter.is_empty()
    }

    /// Whether a packet is wanted for what the kernel says of it alone.
    #[must_use]
    pub fn takes_packets_alone(&self) -> bool {
        self.filter.is_empty() && self.scope == Scope::Record
    }

    /// What waited and was not let out so far.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Learns from an observation, and says what becomes of its line. What waited and is wanted now is in
    /// `released`, to be written before it.
    pub fn observation(
        &mut self,
        observation: &Observation<'_>,
        released: &mut Vec<Item<L, P>>,
    ) -> Fate {
        let ends = observation.ends();
        let at = observation.timestamp();
        let fresh = self.filter.begin();
        let connection = self.connection(ends, at);
        if observation.begins() < connection.since {
            return self.earlier(&ends, observation, released);
        }
        if connection.over && observation.is_client_hello() {
            connection.judgement = fresh;
            connection.over = false;
            connection.selected = false;
        }
        let mut judgement = connection.judgement;
        self.filter.learn(&mut judgement, observation);
        if let Some(connection) = self.connections.get_mut(&ends) {
            connection.judgement = judgement;
            connection.over |= matches!(observation, Observation::Handshake(_));
        }
        self.settle(&ends, released);
        match judgement.decided() {
            Some(true) => Fate::Pass,
            None => Fate::Wait,
            Some(false) => Fate::Drop,
        }
    }

    /// Says what becomes of an event's packet, like [`Selection::observation`].
    pub fn packet(
        &mut self,
        event: &Event<'_>,
        at: Timestamp,
        released: &mut Vec<Item<L, P>>,
    ) -> Fate {
        let selected = event.is_selected();
        if self.scope == Scope::Record && !selected {
            return Fate::Drop;
        }
        let ends = Ends::of(event);
        self.begin_anew(event, at, ends);
        let scope = self.scope;
        let connection = self.connection(ends, at);
        connection.selected |= selected;
        let decided = connection.judgement.decided();
        let fate = match decided {
            Some(false) => Fate::Drop,
            Some(true) if connection.selected || scope == Scope::Record => Fate::Pass,
            _ => Fate::Wait,
        };
        self.settle(&ends, released);
        fate
    }

    /// The same ports, another connection: a SYN that is no retransmission.
    fn begin_anew(&mut self, event: &Event<'_>, at: Timestamp, ends: Ends) {
        let header = &event.header;
        if header.tcp_flags & (flags::SYN | flags::ACK) != flags::SYN {
            return;
        }
        let fresh = self.filter.begin();
        let connection = self.connection(ends, at);
        if connection.syn == Some(header.tcp_sequence) {
            return;
        }
        connection.syn = Some(header.tcp_sequence);
        connection.since = at;
        let earlier = Earlier {
            judgement: std::mem::replace(&mut connection.judgement, fresh),
            selected: std::mem::take(&mut connection.selected),
            items: std::mem::take(&mut connection.items),
        };
        let is_told = std::mem::take(&mut connection.over) || earlier.items.is_empty();
        let replaced = connection.earlier.take();
        let dropped = if is_told {
            earlier.items
        } else {
            connection.earlier = Some(Box::new(earlier));
            Vec::new()
        };
        self.drop_items(dropped, false);
        self.drop_items(replaced.map_or(Vec::new(), |earlier| earlier.items), false);
    }

    /// What is still told of the connection that had the same ports before.
    fn earlier(
        &mut self,
        ends: &Ends,
        observation: &Observation<'_>,
        released: &mut Vec<Item<L, P>>,
    ) -> Fate {
        let connection = self.connections.get_mut(ends);
        let earlier = connection.and_then(|connection| connection.earlier.take());
        let unknown = self.filter.begin();
        let mut judgement = earlier.as_ref().map_or(unknown, |earlier| earlier.judgement);
        self.filter.learn(&mut judgement, observation);
        let wanted = judgement.decided();
        match (earlier, self.connections.get_mut(ends)) {
            (Some(earlier), Some(connection)) if wanted.is_none() => {
                connection.earlier = Some(Box::new(Earlier { judgement, ..*earlier }));
            }
            (Some(earlier), _) => {
                self.settle_earlier(Earlier { judgement, ..*earlier }, released);
            }
            (None, _) => {}
        }
        // What would have to wait has nobody to wait for.
        if wanted == Some(true) { Fate::Pass } else { Fate::Drop }
    }

    /// Lets go of what waits of an earlier connection, one way or the other.
    fn settle_earlier(&mut self, earlier: Earlier<L, P>, released: &mut Vec<Item<L, P>>) {
        let lines = earlier.judgement.decided() == Some(true);
        let packets = lines && (earlier.selected || self.scope == Scope::Record);
        let (out, dropped) = earlier.items.into_iter().partition(|item| match item {
            Item::Line(_) => lines,
            Item::Packet(_) => packets,
        });
        self.drop_items(dropped, false);
        self.release(out, released);
    }

    /// Keeps something that has to wait. `ends`: of the observation or event that said so.
    pub fn hold(&mut self, ends: Ends, item: Item<L, P>) {
        let memory = item.memory();
        if let Some(connection) = self.connections.get_mut(&ends) {
            connection.items.push(item);
            self.held += memory;
        }
        while self.held > HELD_LIMIT {
            if !self.give_up_oldest() {
                break;
            }
        }
    }

    fn connection(&mut self, ends: Ends, at: Timestamp) -> &mut Connection<L, P> {
        while self.connections.len() >= CONNECTIONS
            && !self.connections.contains_key(&ends)
            && self.give_up_oldest()
        {}
        let Self { filter, queue, connections, .. } = self;
        let connection = connections.entry(ends).or_insert_with(|| {
            queue.push_back((at, ends));
            Connection {
                judgement: filter.begin(),
                selected: false,
                over: false,
                syn: None,
                since: Timestamp(i64::MIN),
                last: at,
                items: Vec::new(),
                earlier: None,
            }
        });
        connection.last = connection.last.max(at);
        connection
    }

    /// Lets go of what waits, one way or the other, if that is known by now.
    fn settle(&mut self, ends: &Ends, released: &mut Vec<Item<L, P>>) {
        let Some(connection) = self.connections.get_mut(ends) else { return };
        if connection.items.is_empty() {
            return;
        }
        match connection.judgement.decided() {
            None => {}
            Some(false) => {
                let items = std::mem::take(&mut connection.items);
                self.drop_items(items, false);
            }
            Some(true) => {
                let packets = connection.selected || self.scope == Scope::Record;
                let items = std::mem::take(&mut connection.items);
                let (out, kept) =
                    items.into_iter().partition(|it| packets || matches!(it, Item::Line(_)));
                connection.items = kept;
                self.release(out, released);
            }
        }
    }

    /// Drops what waits of a connection.
    fn discard(&mut self, ends: &Ends, for_memory: bool) {
        let Some(connection) = self.connections.get_mut(ends) else { return };
        let items = std::mem::take(&mut connection.items);
        let earlier = connection.earlier.take();
        self.drop_items(items, for_memory);
        self.drop_items(earlier.map_or(Vec::new(), |earlier| earlier.items), for_memory);
    }

    fn release(&mut self, items: Vec<Item<L, P>>, released: &mut Vec<Item<L, P>>) {
        self.held -= items.iter().map(Item::memory).sum::<usize>();
        released.extend(items);
    }

    fn drop_items(&mut self, items: Vec<Item<L, P>>, for_memory: bool) {
        for item in items {
            self.held -= item.memory();
            let dropped = &mut self.dropped;
            *match (&item, for_memory) {
                (Item::Line(_), false) => &mut dropped.lines,
                (Item::Packet(_), false) => &mut dropped.packets,
                (Item::Line(_), true) => &mut dropped.lines_for_memory,
                (Item::Packet(_), true) => &mut dropped.packets_for_memory,
            } += 1;
        }
    }

    /// Forgets the connection that was looked at least recently. `false` if there is none.
    fn give_up_oldest(&mut self) -> bool {
        // One that was touched since it was queued goes back once.
        for _ in 0..=self.queue.len() {
            let Some((at, ends)) = self.queue.pop_front() else { return false };
            let Some(connection) = self.connections.get(&ends) else { continue };
            if connection.last > at {
                self.queue.push_back((connection.last, ends));
                continue;
            }
            self.discard(&ends, true);
            self.connections.remove(&ends);
            return true;
        }
        false
    }

    const fn patience(&self) -> i64 {
        if matches!(self.scope, Scope::Connection) { LONG_PATIENCE } else { PATIENCE }
    }

    /// When something that waits may have waited in vain, on the packets' clock.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let (at, _) = self.queue.front().filter(|_| self.held > 0)?;
        Some(Timestamp(at.0.saturating_add(self.patience())))
    }

    /// Forgets connections that were silent for long, by `now` on the packets' clock.
    pub fn tick(&mut self, now: Timestamp) {
        let patience = self.patience();
        while let Some((at, ends)) = self.queue.front().copied() {
            if now.0.saturating_sub(at.0) < patience {
                return;
            }
            self.queue.pop_front();
            let last = self.connections.get(&ends).map(|connection| connection.last);
            match last {
                Some(last) if last > at => self.queue.push_back((last, ends)),
                _ => {
                    self.discard(&ends, false);
                    self.connections.remove(&ends);
                }
            }
        }
    }

    /// The end: what still waits belongs to nothing that is wanted.
    pub fn finish(&mut self) {
        let ends: Vec<Ends> = self.connections.keys().copied().collect();
        for ends in ends {
            self.discard(&ends, false);
        }
    }
}
