//! When connections have their turn to be looked at, in order of time.
//!
//! ```text
//!  queue    first ─► ─► ─► last      in the order in which they came, which is mostly that of their times
//!           out of turn: a tree      whose time is earlier than the last one's when it comes
//! ```
//!
//! Who talks on for longer than its queue waits is put back by its last segment, so a tree can have many.

use std::collections::BTreeSet;

use crate::clock::Timestamp;

/// When a connection was put into its queue, and its own number: those of one moment have an order too.
type Due = (Timestamp, u32, u32);

/// No connection.
const NONE: u32 = u32::MAX;

/// In which queue a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Silence,
    Settling,
    Over,
}

impl Queued {
    pub(super) const ALL: [Self; 3] = [Self::Silence, Self::Settling, Self::Over];
}

/// A connection's place, by its number.
#[derive(Clone, Copy, Debug)]
struct Place {
    due: Timestamp,
    /// How many connections came before it, modulo 2^32.
    generation: u32,
    previous: u32,
    next: u32,
    queued: Queued,
    in_turn: bool,
}

#[derive(Debug)]
struct Queue {
    first: u32,
    last: u32,
    length: usize,
    out_of_turn: BTreeSet<Due>,
}

impl Queue {
    const fn new() -> Self {
        Self { first: NONE, last: NONE, length: 0, out_of_turn: BTreeSet::new() }
    }
}

/// All queues.
#[derive(Debug)]
pub(super) struct Turns {
    places: Vec<Place>,
    /// By [`Queued`].
    queues: [Queue; 3],
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), queues: [Queue::new(), Queue::new(), Queue::new()] }
    }

    const fn queue(&self, queued: Queued) -> &Queue {
        let [silence, settling, over] = &self.queues;
        match queued {
            Queued::Silence => silence,
            Queued::Settling => settling,
            Queued::Over => over,
        }
    }

    const fn queue_mut(&mut self, queued: Queued) -> &mut Queue {
        let [silence, settling, over] = &mut self.queues;
        match queued {
            Queued::Silence => silence,
            Queued::Settling => settling,
            Queued::Over => over,
        }
    }

    fn place(&self, number: u32) -> Option<&Place> {
        self.places.get(number as usize)
    }

    fn place_mut(&mut self, number: u32) -> Option<&mut Place> {
        self.places.get_mut(number as usize)
    }

    fn due_of(&self, number: u32) -> Option<Due> {
        self.place(number).map(|place| (place.due, place.generation, number))
    }

    /// A new connection, in the queue `queued` from `due` on.
    pub(super) fn enter(&mut self, number: u32, generation: u32, queued: Queued, due: Timestamp) {
        let place = Place { due, generation, previous: NONE, next: NONE, queued, in_turn: false };
        match self.place_mut(number) {
            Some(free) => *free = place,
            // Numbers are given one by one.
            None => self.places.push(place),
        }
        self.link(number);
    }

    /// Puts a connection into another queue, or into its own again.
    pub(super) fn put(&mut self, number: u32, queued: Queued, due: Timestamp) {
        self.leave(number);
        if let Some(place) = self.place_mut(number) {
            place.queued = queued;
            place.due = due;
        }
        self.link(number);
    }

    fn link(&mut self, number: u32) {
        let Some(place) = self.place(number) else { return };
        let Place { queued, due, generation, .. } = *place;
        let last = self.queue(queued).last;
        let in_turn = self.due_of(last).is_none_or(|last| last < (due, generation, number));
        let queue = self.queue_mut(queued);
        queue.length += 1;
        if in_turn {
            queue.last = number;
            if last == NONE {
                queue.first = number;
            }
        } else {
            queue.out_of_turn.insert((due, generation, number));
        }
        if let Some(last) = self.place_mut(last).filter(|_| in_turn) {
            last.next = number;
        }
        if let Some(place) = self.place_mut(number) {
            place.in_turn = in_turn;
            place.next = NONE;
            place.previous = if in_turn { last } else { NONE };
        }
    }

    /// Takes a connection out of its queue.
    pub(super) fn leave(&mut self, number: u32) {
        let Some(place) = self.place(number) else { return };
        let Place { due, generation, previous, next, queued, in_turn } = *place;
        let queue = self.queue_mut(queued);
        queue.length -= 1;
        if !in_turn {
            queue.out_of_turn.remove(&(due, generation, number));
            return;
        }
        if queue.first == number {
            queue.first = next;
        }
        if queue.last == number {
            queue.last = previous;
        }
        if let Some(previous) = self.place_mut(previous) {
            previous.next = next;
        }
        if let Some(next) = self.place_mut(next) {
            next.previous = previous;
        }
    }

    /// Where a connection is, and since when.
    pub(super) fn of(&self, number: u32) -> Option<(Queued, Timestamp)> {
        self.place(number).map(|place| (place.queued, place.due))
    }

    /// How many connections are in a queue.
    pub(super) const fn len(&self, queued: Queued) -> usize {
        self.queue(queued).length
    }

    /// Bytes of the trees.
    pub(super) fn out_of_turn_memory(&self) -> usize {
        self.queues.iter().map(|queue| queue.out_of_turn.len() * OUT_OF_TURN).sum()
    }

    /// Whose turn is first in a queue, and since when it is there.
    pub(super) fn first(&self, queued: Queued) -> Option<(Timestamp, u32)> {
        self.first_but(queued, NONE)
    }

    /// Whose turn is first in a queue beside `spared`, and since when it is there.
    pub(super) fn first_but(&self, queued: Queued, spared: u32) -> Option<(Timestamp, u32)> {
        let queue = self.queue(queued);
        let in_turn = if queue.first == spared {
            self.place(spared).map_or(NONE, |place| place.next)
        } else {
            queue.first
        };
        let early = queue.out_of_turn.iter().find(|(.., number)| *number != spared).copied();
        let first = [self.due_of(in_turn), early].into_iter().flatten().min();
        first.map(|(due, _, number)| (due, number))
    }

    /// Whose turn is last.
    pub(super) fn last(&self, queued: Queued) -> Option<(Timestamp, u32)> {
        let queue = self.queue(queued);
        let early = queue.out_of_turn.last().copied();
        let last = [self.due_of(queue.last), early].into_iter().flatten().max();
        last.map(|(due, _, number)| (due, number))
    }

    /// Those that are in a queue, in the order in which they began.
    pub(super) fn by_age(&self, now: u32) -> Vec<u32> {
        let mut found: Vec<(u32, u32)> = Vec::new();
        for queued in Queued::ALL {
            let queue = self.queue(queued);
            found.extend(
                queue.out_of_turn.iter().map(|(_, generation, number)| (*generation, *number)),
            );
            let mut number = queue.first;
            while let Some(place) = self.place(number) {
                found.push((place.generation, number));
                number = place.next;
            }
        }
        found.sort_unstable_by_key(|(generation, _)| {
            std::cmp::Reverse(now.wrapping_sub(*generation))
        });
        found.into_iter().map(|(_, number)| number).collect()
    }
}

/// Bytes that a connection takes here, beside those of the trees.
pub(super) const MEMORY: usize = size_of::<Place>();

/// Bytes of an entry of a tree: its nodes may be half empty, and have their own overhead.
const OUT_OF_TURN: usize = 3 * size_of::<Due>();

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A tree says what the order is.
    #[test]
    fn in_order_whatever_comes_and_goes() {
        let mut turns = Turns::new();
        let mut expected: [BTreeMap<Due, u32>; 3] = Default::default();
        let mut places: Vec<Option<(usize, Due)>> = vec![None; 64];
        let mut random = 12345_u32;
        for step in 0..20_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = random >> 8 & 63;
            let which = (random >> 16) as usize % 3;
            let due = Timestamp(
                i64::from(step / 7) - i64::from(random >> 20 & 15) * i64::from(random >> 30),
            );
            match places[number as usize].take() {
                None => {
                    // Numbers are given one by one.
                    if number as usize > turns.places.len() {
                        continue;
                    }
                    turns.enter(number, step, Queued::ALL[which], due);
                    expected[which].insert((due, step, number), number);
                    places[number as usize] = Some((which, (due, step, number)));
                }
                Some((old, key)) => {
                    expected[old].remove(&key);
                    if random & 1 == 0 {
                        turns.leave(number);
                    } else {
                        turns.put(number, Queued::ALL[which], due);
                        expected[which].insert((due, key.1, number), number);
                        places[number as usize] = Some((which, (due, key.1, number)));
                    }
                }
            }
            for (queued, expected) in Queued::ALL.into_iter().zip(&expected) {
                let of = |entry: Option<(&Due, &u32)>| entry.map(|(due, number)| (due.0, *number));
                assert_eq!(turns.first(queued), of(expected.first_key_value()));
                let beside = expected.iter().find(|(_, other)| **other != number);
                assert_eq!(turns.first_but(queued, number), of(beside));
                assert_eq!(turns.last(queued), of(expected.last_key_value()));
                assert_eq!(turns.len(queued), expected.len());
            }
        }
        let mut all: Vec<Due> = expected.iter().flat_map(|queue| queue.keys().copied()).collect();
        all.sort_unstable_by_key(|(_, generation, _)| *generation);
        assert!(!all.is_empty());
        assert_eq!(turns.by_age(20_000), all.iter().map(|due| due.2).collect::<Vec<_>>());
    }
}
