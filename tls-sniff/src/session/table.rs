//! The connections that are in their handshake, within limits.

use std::collections::{BTreeMap, HashMap};

use tls_sniff_common::{event::Event, record::ContentType, start::Start};

use super::{
    connection::{Connection, GiveUp},
    key::Key,
    side::start_of,
    story::Observe,
};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::{Observation, Seen},
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1 << 16,
            bytes: 64 << 20,
            silence: 30_000_000_000,
            application_data: false,
            per_interface: false,
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

/// Bytes of an entry beside its connection's own: its place in the table, half of which may be empty, and in
/// a queue.
const OVERHEAD: usize =
    2 * size_of::<(Key, Entry)>() - size_of::<Connection>() + 2 * size_of::<(Due, Key)>();

/// What the table did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Connections made.
    pub connections: u64,
    /// Connections given up for their memory.
    pub evicted: u64,
    /// Events that belong to no connection and say nothing by themselves.
    pub unrelated: u64,
    /// Segments with more messages than are taken of one.
    pub crowded_segments: u64,
}

/// When a connection was put into its queue, and its generation: connections of one moment have an order too.
type Due = (Timestamp, u64);

/// Connections in the order in which their time to be looked at comes.
#[derive(Debug, Default)]
struct Queue(BTreeMap<Due, Key>);

#[derive(Debug)]
struct Entry {
    connection: Connection,
    memory: usize,
    /// Where its queue has it.
    queued: Queued,
    due: Due,
}

/// In which queue an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queued {
    Silence,
    Settling,
    Over,
}

/// All connections.
#[derive(Debug)]
pub struct Sessions {
    limits: Limits,
    entries: HashMap<Key, Entry>,
    /// By [`Queued`].
    queues: [Queue; 3],
    generations: u64,
    memory: usize,
    now: Timestamp,
    counters: SessionCounters,
}

impl Sessions {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            queues: <[Queue; 3]>::default(),
            generations: 0,
            memory: 0,
            now: Timestamp(i64::MIN),
            counters: SessionCounters::default(),
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Bytes of memory that the connections hold.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.memory
    }

    /// Connections at hand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes an event that was seen so.
    pub fn event(
        &mut self,
        event: &Event<'_>,
        on: SeenOn<'_>,
        seen: Seen,
        observe: &mut dyn FnMut(&Observation<'_>),
    ) {
        self.tick(seen.timestamp, observe);
        let start = start_of(event.payload, event.header.payload_len);
        let (key, side) = Key::of(event, self.limits.per_interface);
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.connection.is_succeeded_by(event, start, side)
        {
            entry.connection.give_up(GiveUp::Silence, seen.timestamp, observe);
            self.remove(&key);
        }
        match self.entries.get(&key) {
            // What overtook its hello carries the time of the SYN.
            None if matches!(start, Start::Hello(_)) || event.header.syn_time != 0 => {
                self.insert(key, Connection::new(key, seen));
            }
            Some(entry) if !entry.connection.is_over() || !entry.connection.is_new(event, side) => {
            }
            _ => return self.alone(key, event, side, start, on, seen, observe),
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            let crowded = entry.connection.event(event, side, start, on, seen, observe);
            self.counters.crowded_segments += u64::from(crowded);
        }
        self.settle(&key);
        self.make_room(&key, observe);
    }

    /// An event without a connection: a record may say something by itself.
    #[expect(clippy::too_many_arguments, reason = "the event and all that is known of it")]
    fn alone(
        &mut self,
        key: Key,
        event: &Event<'_>,
        side: usize,
        start: Start,
        on: SeenOn<'_>,
        seen: Seen,
        observe: Observe<'_>,
    ) {
        let told = match start {
            Start::Record(ContentType::ApplicationData) => self.limits.application_data,
            Start::Record(_) => true,
            Start::Empty | Start::Hello(_) | Start::Other => false,
        };
        if told {
            let connection = Connection::new(key, seen);
            let crowded = connection.alone(event, side, start, on, seen, observe);
            self.counters.crowded_segments += u64::from(crowded);
        } else {
            self.counters.unrelated += 1;
        }
    }

    fn insert(&mut self, key: Key, connection: Connection) {
        self.generations += 1;
        self.counters.connections += 1;
        let due = (connection.last_seen(), self.generations);
        self.queue(Queued::Silence).insert(due, key);
        let entry = Entry { connection, memory: 0, queued: Queued::Silence, due };
        self.entries.insert(key, entry);
    }

    const fn queue(&mut self, queued: Queued) -> &mut BTreeMap<Due, Key> {
        let [silence, settling, over] = &mut self.queues;
        match queued {
            Queued::Silence => &mut silence.0,
            Queued::Settling => &mut settling.0,
            Queued::Over => &mut over.0,
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.memory -= entry.memory;
            self.queue(entry.queued).remove(&entry.due);
        }
    }

    /// Accounts for a connection that has changed, and puts it where its time will come.
    fn settle(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let memory = entry.connection.memory() + OVERHEAD;
        self.memory = self.memory - entry.memory + memory;
        entry.memory = memory;
        let queued = if entry.connection.is_over() {
            Queued::Over
        } else if entry.connection.is_settling() {
            Queued::Settling
        } else {
            Queued::Silence
        };
        if queued != entry.queued {
            self.put(key, queued);
        }
        while self.queue(Queued::Over).len() > OVER {
            self.drop_oldest_over();
        }
    }

    /// Puts a connection into a queue: by its last segment, or by now if it is over.
    fn put(&mut self, key: &Key, queued: Queued) {
        let now = self.now;
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (from, old) = (entry.queued, entry.due);
        entry.queued = queued;
        entry.due.0 = if queued == Queued::Over { now } else { entry.connection.last_seen() };
        let due = entry.due;
        self.queue(from).remove(&old);
        self.queue(queued).insert(due, *key);
    }

    fn drop_oldest_over(&mut self) {
        if let Some((_, key)) = self.queue(Queued::Over).pop_first() {
            self.remove(&key);
        }
    }

    /// Gives up connections until the limits hold: those that are over, then those that were silent for
    /// longest. `current` is spared.
    fn make_room(&mut self, current: &Key, observe: Observe<'_>) {
        // One that was touched since it was queued goes back once.
        let mut tries = self.entries.len();
        while self.entries.len() > self.limits.connections || self.memory > self.limits.bytes {
            if !self.queue(Queued::Over).is_empty() {
                self.drop_oldest_over();
                continue;
            }
            let oldest = [Queued::Silence, Queued::Settling].into_iter().find_map(|queued| {
                self.queue(queued).first_key_value().map(|(_, key)| (queued, *key))
            });
            let Some((queued, key)) = oldest else { return };
            let Some(entry) = self.entries.get_mut(&key) else { return };
            let touched = entry.connection.last_seen() > entry.due.0 || key == *current;
            if touched && tries > 0 {
                tries -= 1;
                self.put(&key, queued);
                continue;
            }
            self.counters.evicted += 1;
            entry.connection.give_up(GiveUp::Memory, self.now, observe);
            self.remove(&key);
        }
    }

    /// When the first of those that have something to tell is to be looked after, on the packets' clock.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let [silence, settling, _] = &self.queues;
        let first = |queue: &Queue, limit: i64| {
            let (due, _) = queue.0.first_key_value()?;
            Some(Timestamp(due.0.0.saturating_add(limit)))
        };
        [first(silence, self.limits.silence), first(settling, SETTLING)].into_iter().flatten().min()
    }

    /// Looks after connections whose time has come by `now`, on the packets' clock.
    pub fn tick(&mut self, now: Timestamp, observe: &mut dyn FnMut(&Observation<'_>)) {
        if self.now.0.saturating_sub(now.0) > BACKWARDS {
            self.now = now;
            self.give_up_the_future(observe);
        }
        if now <= self.now {
            return;
        }
        self.now = now;
        let limits = [
            (Queued::Settling, SETTLING),
            (Queued::Silence, self.limits.silence),
            (Queued::Over, KNOWN),
        ];
        for (queued, limit) in limits {
            // What is put back has a later time.
            while let Some(key) = self.due(queued, limit) {
                self.look_after(&key, limit, observe);
            }
        }
    }

    /// The clock was wrong before: who waits for that time waits for ever. What is over stays known.
    fn give_up_the_future(&mut self, observe: Observe<'_>) {
        let now = self.now;
        for queued in [Queued::Silence, Queued::Settling] {
            while let Some((due, key)) = self.queue(queued).last_key_value()
                && due.0.0.saturating_sub(now.0) > BACKWARDS
            {
                let key = *key;
                let Some(entry) = self.entries.get_mut(&key) else { return };
                entry.connection.give_up(GiveUp::Silence, now, observe);
                self.settle(&key);
            }
        }
    }

    /// The first of a queue whose time has come.
    fn due(&mut self, queued: Queued, limit: i64) -> Option<Key> {
        let now = self.now;
        let (due, key) = self.queue(queued).first_key_value()?;
        has_passed(due.0, now, limit).then_some(*key)
    }

    fn look_after(&mut self, key: &Key, limit: i64, observe: Observe<'_>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let queued = entry.queued;
        if queued == Queued::Over {
            self.remove(key);
        } else if !has_passed(entry.connection.last_seen(), self.now, limit) {
            self.put(key, queued);
        } else {
            entry.connection.give_up(GiveUp::Silence, self.now, observe);
            self.settle(key);
        }
    }

    /// The end of the run or of the file: gives up all that is left.
    pub fn finish(&mut self, observe: &mut dyn FnMut(&Observation<'_>)) {
        let mut left: Vec<(u64, Key)> =
            self.entries.iter().map(|(key, entry)| (entry.due.1, *key)).collect();
        // In the order in which they began, for whoever reads it.
        left.sort_unstable_by_key(|(generation, _)| *generation);
        for (_, key) in left {
            if let Some(entry) = self.entries.get_mut(&key) {
                let now = entry.connection.last_seen();
                entry.connection.give_up(GiveUp::End, now, observe);
            }
            self.remove(&key);
        }
    }
}

/// Whether `limit` has passed since `at`.
const fn has_passed(at: Timestamp, now: Timestamp, limit: i64) -> bool {
    now.0.saturating_sub(at.0) >= limit
}
