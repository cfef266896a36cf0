//! The connections that are in their handshake, within limits.

use tls_sniff_common::{event::Event, record::ContentType, start::Start};

use super::{
    arrival::{Arrival, start_of},
    connection::{Connection, GiveUp},
    index::Index,
    interfaces::Shared,
    key::Key,
    story::{Audience, Observe},
    turns::{self, Queued, Turns},
    unknown::ALLOCATION,
};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::{EventKinds, Observation, Seen},
};

/// What the table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections, those included that are over.
    pub connections: usize,
    /// Bytes of memory for all of them.
    pub bytes: usize,
    /// How long a handshake may be silent, ns.
    pub silence: i64,
    /// Whether application data outside of handshakes is told.
    pub application_data: bool,
    /// Whether a connection that is seen on two interfaces is two.
    pub per_interface: bool,
    /// The kinds of observations that anybody asks for: no others are made.
    pub kinds: EventKinds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 17,
            bytes: 58 << 20,
            silence: 30_000_000_000,
            application_data: false,
            per_interface: false,
            kinds: EventKinds::ALL,
        }
    }
}

/// How long what is late is waited for, and the server's first word after the client's last, ns.
const SETTLING: i64 = 1_000_000_000;

/// How long a connection that is over is known, so that a late copy of its hello makes no other, ns.
const KNOWN: i64 = 30_000_000_000;

/// Connections that are over and still known.
const OVER: usize = 4096;

/// A clock that goes back further than this was wrong before, ns: a frame of a damaged capture.
const BACKWARDS: i64 = 60_000_000_000;

/// Bytes of a connection beside what it holds: its own, and its places in the index, half of which may be
/// empty, and in the queues.
const OVERHEAD: usize = size_of::<Connection>()
    + ALLOCATION
    + size_of::<Option<Box<Connection>>>()
    + 2 * (size_of::<u32>() + 1)
    + turns::MEMORY;

/// What the table did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Connections made.
    pub connections: u64,
    /// Connections given up because there was no room for them.
    pub evicted: u64,
    /// Events that belong to no connection and say nothing by themselves.
    pub unrelated: u64,
    /// Segments with more messages than are taken of one.
    pub crowded_segments: u64,
}

/// All connections.
#[derive(Debug)]
pub struct Sessions {
    limits: Limits,
    index: Index,
    /// By number.
    connections: Vec<Option<Box<Connection>>>,
    /// Numbers that are free, below the length of `connections`.
    free: Vec<u32>,
    turns: Turns,
    /// Before this nobody's turn comes.
    next_turn: i64,
    shared: Shared,
    memory: usize,
    now: Timestamp,
    counters: SessionCounters,
    /// Connections looked at to make room.
    #[cfg(test)]
    pub(super) looks: u64,
}

impl Sessions {
    /// Other observations are asked for from now on.
    pub const fn ask_for(&mut self, kinds: EventKinds, application_data: bool) {
        (self.limits.kinds, self.limits.application_data) = (kinds, application_data);
    }

    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            index: Index::new(),
            connections: Vec::new(),
            free: Vec::new(),
            turns: Turns::new(),
            next_turn: i64::MAX,
            shared: Shared::default(),
            memory: 0,
            now: Timestamp(i64::MIN),
            counters: SessionCounters::default(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Bytes of memory that the connections hold.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory + self.turns.out_of_turn_memory()
    }

    /// Connections at hand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes an event that was seen so.
    pub fn event(
        &mut self,
        event: &Event<'_>,
        on: SeenOn<'_>,
        seen: Seen,
        observe: &mut dyn FnMut(&Observation<'_>),
    ) {
        let observe = &mut Audience { wants: self.limits.kinds, tell: observe };
        self.look_around(seen.timestamp, observe);
        let start = start_of(event.payload, event.header.payload_len);
        let (key, side) = Key::of(event, self.limits.per_interface);
        let arrival = Arrival { event, side, start, on, seen };
        let Some(number) = self.number(key, &arrival, observe) else {
            return self.alone(key, &arrival, observe);
        };
        let Self { connections, shared, .. } = self;
        if let Some(connection) = of_mut(connections, number) {
            let crowded = connection.event(&arrival, shared, observe);
            self.counters.crowded_segments += u64::from(crowded);
        }
        self.settle(number);
        self.make_room(number, observe);
    }

    /// The connection that a segment belongs to, made if it begins one.
    fn number(&mut self, key: Key, arrival: &Arrival<'_>, observe: Observe<'_, '_>) -> Option<u32> {
        let Arrival { event, side, start, seen, .. } = *arrival;
        let found = self.index.find(&key, |number| {
            of(&self.connections, number).is_some_and(|connection| connection.is_of(&key))
        });
        if let Some(number) = found
            && let Some(connection) = of_mut(&mut self.connections, number)
        {
            if !connection.is_succeeded_by(arrival) {
                let late = connection.is_over() && connection.is_new(event, side);
                return (!late).then_some(number);
            }
            connection.give_up(GiveUp::Silence, seen.timestamp, observe);
            self.remove(number);
        }
        // What overtook its hello carries the time of the SYN.
        let begins = matches!(start, Start::Hello(_)) || event.header.syn_time != 0;
        begins.then(|| self.insert(Connection::new(key, seen)))
    }

    /// An event without a connection: a record may say something by itself.
    fn alone(&mut self, key: Key, arrival: &Arrival<'_>, observe: Observe<'_, '_>) {
        let told = match arrival.start {
            Start::Record(ContentType::ApplicationData) => self.limits.application_data,
            Start::Record(_) => true,
            Start::Empty | Start::Hello(_) | Start::Other => false,
        };
        if told {
            let crowded = Connection::new(key, arrival.seen).alone(arrival, observe);
            self.counters.crowded_segments += u64::from(crowded);
        } else {
            self.counters.unrelated += 1;
        }
    }

    fn insert(&mut self, connection: Connection) -> u32 {
        self.counters.connections += 1;
        let key = connection.key();
        let connection = Some(Box::new(connection));
        let number = self.free.pop().unwrap_or_else(|| {
            let number = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
            self.connections.push(None);
            number
        });
        if let Some(place) = self.connections.get_mut(number as usize) {
            *place = connection;
        }
        let connections = &self.connections;
        self.index
            .insert(&key, number, |it| of(connections, it).map(|connection| connection.key()));
        // By now, not by its segment: if the clock went back, it is new all the same.
        self.turns.enter(number, self.generation(), Queued::Silence, self.now);
        self.expect(Queued::Silence, self.now);
        number
    }

    /// How many connections there were, modulo 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "it wraps")]
    const fn generation(&self) -> u32 {
        self.counters.connections as u32
    }

    fn remove(&mut self, number: u32) {
        let connection = self.connections.get_mut(number as usize).and_then(Option::take);
        if let Some(connection) = connection {
            self.index.remove(&connection.key(), number);
            self.turns.leave(number);
            self.free.push(number);
            self.memory -= connection.accounted as usize;
        }
    }

    /// Accounts for a connection that has changed, and puts it where its time will come.
    fn settle(&mut self, number: u32) {
        let Some(connection) = of_mut(&mut self.connections, number) else { return };
        let memory = u32::try_from(connection.memory() + OVERHEAD).unwrap_or(u32::MAX);
        self.memory = self.memory - connection.accounted as usize + memory as usize;
        connection.accounted = memory;
        let queued = if connection.is_over() {
            Queued::Over
        } else if connection.is_settling() {
            Queued::Settling
        } else {
            Queued::Silence
        };
        if self.turns.of(number).is_some_and(|(old, _)| old != queued) {
            self.put(number, queued, self.now);
        }
        while self.turns.len(Queued::Over) > OVER {
            self.drop_oldest_over();
        }
    }

    /// Puts a connection into a queue, in which it is since `due`.
    fn put(&mut self, number: u32, queued: Queued, due: Timestamp) {
        self.turns.put(number, queued, due);
        self.expect(queued, due);
    }

    fn drop_oldest_over(&mut self) {
        if let Some((_, number)) = self.turns.first(Queued::Over) {
            self.remove(number);
        }
    }

    /// Gives up connections until the limits hold: those that are over, then those that were silent for
    /// longest. `current` is spared while there are others.
    fn make_room(&mut self, current: u32, observe: Observe<'_, '_>) {
        while self.len() > self.limits.connections || self.memory() > self.limits.bytes {
            if self.turns.len(Queued::Over) > 0 {
                self.drop_oldest_over();
                continue;
            }
            let Some((queued, due, number)) = self.oldest_but(current) else { return };
            let Some(connection) = of_mut(&mut self.connections, number) else { return };
            #[cfg(test)]
            {
                self.looks += 1;
            }
            // It has sent something since it was queued, for which it goes back once: no more looks than segments.
            let last_seen = connection.last_seen();
            if last_seen > due && number != current {
                self.put(number, queued, last_seen);
                continue;
            }
            self.counters.evicted += 1;
            connection.give_up(GiveUp::Memory, self.now, observe);
            self.remove(number);
        }
    }

    /// Who is in its queue for longest, of those that are not over: `current` only if there is no other.
    fn oldest_but(&self, current: u32) -> Option<(Queued, Timestamp, u32)> {
        let first = |spared| {
            let firsts = [Queued::Settling, Queued::Silence].into_iter().filter_map(|queued| {
                let (due, number) = self.turns.first_but(queued, spared)?;
                Some((queued, due, number))
            });
            firsts.min_by_key(|(_, due, _)| *due)
        };
        first(current).or_else(|| first(u32::MAX))
    }

    /// When the first of those that have something to tell is to be looked after, on the packets' clock.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let first = |queued| {
            let (due, _) = self.turns.first(queued)?;
            Some(Timestamp(due.0.saturating_add(self.limit(queued))))
        };
        [Queued::Silence, Queued::Settling].into_iter().filter_map(first).min()
    }

    /// Looks after connections whose time has come by `now`, on the packets' clock.
    pub fn tick(&mut self, now: Timestamp, observe: &mut dyn FnMut(&Observation<'_>)) {
        self.look_around(now, &mut Audience { wants: self.limits.kinds, tell: observe });
    }

    fn look_around(&mut self, now: Timestamp, observe: Observe<'_, '_>) {
        if self.now.0.saturating_sub(now.0) > BACKWARDS {
            self.now = now;
            self.give_up_the_future(observe);
        }
        if now <= self.now {
            return;
        }
        self.now = now;
        if now.0 < self.next_turn {
            return;
        }
        for queued in [Queued::Settling, Queued::Silence, Queued::Over] {
            // What is put back has a later time.
            while let Some(number) = self.due(queued) {
                self.look_after(number, queued, observe);
            }
        }
        self.next_turn = i64::MAX;
        for queued in Queued::ALL {
            if let Some((due, _)) = self.turns.first(queued) {
                self.expect(queued, due);
            }
        }
    }

    /// How long a connection stays in a queue, ns.
    const fn limit(&self, queued: Queued) -> i64 {
        match queued {
            Queued::Settling => SETTLING,
            Queued::Silence => self.limits.silence,
            Queued::Over => KNOWN,
        }
    }

    /// Something is in a queue since `due`.
    fn expect(&mut self, queued: Queued, due: Timestamp) {
        self.next_turn = self.next_turn.min(due.0.saturating_add(self.limit(queued)));
    }

    /// The clock was wrong before: who waits for that time waits for ever. What is over stays known.
    fn give_up_the_future(&mut self, observe: Observe<'_, '_>) {
        let now = self.now;
        for queued in [Queued::Silence, Queued::Settling] {
            while let Some((due, number)) = self.turns.last(queued)
                && due.0.saturating_sub(now.0) > BACKWARDS
            {
                let Some(connection) = of_mut(&mut self.connections, number) else { return };
                connection.give_up(GiveUp::Silence, now, observe);
                self.settle(number);
            }
        }
    }

    /// The first of a queue whose time has come.
    fn due(&self, queued: Queued) -> Option<u32> {
        let (due, number) = self.turns.first(queued)?;
        has_passed(due, self.now, self.limit(queued)).then_some(number)
    }

    fn look_after(&mut self, number: u32, queued: Queued, observe: Observe<'_, '_>) {
        let (now, limit) = (self.now, self.limit(queued));
        let Some(connection) = of_mut(&mut self.connections, number) else { return };
        if queued == Queued::Over {
            self.remove(number);
        } else if let last_seen = connection.last_seen()
            && !has_passed(last_seen, now, limit)
        {
            self.put(number, queued, last_seen);
        } else {
            connection.give_up(GiveUp::Silence, now, observe);
            self.settle(number);
        }
    }

    /// The end of the run or of the file: gives up all that is left.
    pub fn finish(&mut self, observe: &mut dyn FnMut(&Observation<'_>)) {
        let observe = &mut Audience { wants: self.limits.kinds, tell: observe };
        // In the order in which they began, for whoever reads it.
        for number in self.turns.by_age(self.generation()) {
            if let Some(connection) = of_mut(&mut self.connections, number) {
                let now = connection.last_seen();
                connection.give_up(GiveUp::End, now, observe);
            }
            self.remove(number);
        }
    }
}

fn of(connections: &[Option<Box<Connection>>], number: u32) -> Option<&Connection> {
    connections.get(number as usize)?.as_deref()
}

fn of_mut(connections: &mut [Option<Box<Connection>>], number: u32) -> Option<&mut Connection> {
    connections.get_mut(number as usize)?.as_deref_mut()
}

/// Whether `limit` has passed since `at`.
const fn has_passed(at: Timestamp, now: Timestamp, limit: i64) -> bool {
    now.0.saturating_sub(at.0) >= limit
}
