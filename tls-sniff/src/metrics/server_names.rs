//! The most frequent server names, in bounded memory.
//!
//! ```text
//!  name ─► is shown ──► its counter
//!          is not ────► the counter `other`, and the sketch: space-saving (Metwally, Agrawal, El Abbadi 2005)
//!                       often enough for certain? ─► shown, in place of the shown one with the lowest rank
//! ```
//!
//! What is shown only grows: the counter of a name begins when the name enters. A name enters by what is certain of
//! it, the sketch's count less its error, so that a flood of names that come once moves nothing. Ranks are halved
//! every [`HALVE`] handshakes: what was frequent long ago makes room.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Names that can be shown.
pub const MAX_SERVER_NAMES: usize = 1000;

/// Handshakes between two halvings of the ranks.
const HALVE: u64 = 1 << 16;

/// Names that the sketch has for each that is shown.
const SKETCH: usize = 4;

/// Names that it has at least.
const LEAST_SKETCH: usize = 256;

/// The longest host name, RFC 1035 section 2.3.4, without the last dot.
const LONGEST: usize = 253;

/// The longest part of one.
const LONGEST_LABEL: usize = 63;

/// All names that are not shown, and what is no name.
const OTHER: &str = "other";

/// Counters of the most frequent names.
#[derive(Debug)]
pub(super) struct ServerNames {
    /// Names that are shown, at most.
    limit: usize,
    shown: HashMap<Arc<str>, Shown>,
    /// No rank of `shown` is lower.
    floor: u64,
    other: u64,
    sketch: Sketch,
    until_halved: u64,
}

#[derive(Debug)]
struct Shown {
    count: u64,
    rank: u64,
}

impl ServerNames {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            shown: HashMap::new(),
            floor: 0,
            other: 0,
            sketch: Sketch::new((SKETCH * limit).max(LEAST_SKETCH)),
            until_halved: HALVE,
        }
    }

    /// Counts a handshake for this name, as it was sent.
    pub(super) fn count(&mut self, sent: Option<&[u8]>) {
        self.until_halved -= 1;
        if self.until_halved == 0 {
            self.halve();
        }
        let mut room = [0; LONGEST];
        let Some(name) = sent.and_then(|sent| host_name(sent, &mut room)) else {
            self.other += 1;
            return;
        };
        if let Some(shown) = self.shown.get_mut(name) {
            shown.count += 1;
            shown.rank += 1;
        } else if self.shown.len() < self.limit {
            let rank = self.sketch.remove(name).unwrap_or(0) + 1;
            self.show(name, rank);
        } else {
            self.challenge(name);
        }
    }

    /// A name that is not shown, and no place is free.
    fn challenge(&mut self, name: &str) {
        let certain = self.sketch.add(name);
        if certain > self.floor
            && let Some(least) = self.least()
        {
            self.floor = least.1;
            if certain > least.1 {
                self.shown.remove(&least.0);
                self.sketch.remove(name);
                self.sketch.insert(&least.0, least.1, 0);
                return self.show(name, certain);
            }
        }
        self.other += 1;
    }

    fn show(&mut self, name: &str, rank: u64) {
        self.floor = self.floor.min(rank);
        self.shown.insert(name.into(), Shown { count: 1, rank });
    }

    /// The shown one with the lowest rank.
    fn least(&self) -> Option<(Arc<str>, u64)> {
        let least = self.shown.iter().min_by_key(|(_, shown)| shown.rank)?;
        Some((least.0.clone(), least.1.rank))
    }

    fn halve(&mut self) {
        self.until_halved = HALVE;
        for shown in self.shown.values_mut() {
            shown.rank /= 2;
        }
        self.floor /= 2;
        self.sketch.halve();
    }

    /// What is shown, and all others.
    pub(super) fn counts(&self) -> Vec<(Arc<str>, u64)> {
        let shown = self.shown.iter().map(|(name, shown)| (name.clone(), shown.count));
        let mut counts: Vec<_> = shown.chain([(OTHER.into(), self.other)]).collect();
        counts.sort_unstable();
        counts
    }
}

/// How often names came that are not shown, if they came often: those that come rarely take one another's places,
/// and the count with it, which is then in part an error.
#[derive(Debug)]
struct Sketch {
    capacity: usize,
    entries: HashMap<Arc<str>, Entry>,
    by_rank: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    rank: u64,
    error: u64,
}

impl Sketch {
    fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), by_rank: BTreeSet::new() }
    }

    /// Counts a name, and says how often it came for certain.
    fn add(&mut self, name: &str) -> u64 {
        if let Some((key, entry)) = self.entries.remove_entry(name) {
            self.by_rank.remove(&(entry.rank, key.clone()));
            let Entry { rank, error } = entry;
            self.enter(key, rank + 1, error);
            return rank + 1 - error;
        }
        let taken = self.make_room();
        self.enter(name.into(), taken + 1, taken);
        1
    }

    /// Enters a name that is not there.
    fn insert(&mut self, name: &Arc<str>, rank: u64, error: u64) {
        self.make_room();
        self.enter(name.clone(), rank, error);
    }

    fn enter(&mut self, name: Arc<str>, rank: u64, error: u64) {
        self.by_rank.insert((rank, name.clone()));
        self.entries.insert(name, Entry { rank, error });
    }

    /// Takes out the lowest rank if there is no room, and returns it.
    fn make_room(&mut self) -> u64 {
        if self.entries.len() < self.capacity {
            return 0;
        }
        let Some((rank, name)) = self.by_rank.pop_first() else { return 0 };
        self.entries.remove(&name);
        rank
    }

    /// Takes a name out, and says how often it came for certain.
    fn remove(&mut self, name: &str) -> Option<u64> {
        let (name, Entry { rank, error }) = self.entries.remove_entry(name)?;
        self.by_rank.remove(&(rank, name));
        Some(rank - error)
    }

    fn halve(&mut self) {
        for entry in self.entries.values_mut() {
            *entry = Entry { rank: entry.rank / 2, error: entry.error / 2 };
        }
        self.entries.retain(|_, entry| entry.rank > 0);
        self.by_rank =
            self.entries.iter().map(|(name, entry)| (entry.rank, name.clone())).collect();
    }
}

/// A name that a host can have, in lower case: letters, digits, hyphens and underscores, in parts between dots.
/// Anything else is the invention of who sends it.
fn host_name<'a>(sent: &[u8], room: &'a mut [u8; LONGEST]) -> Option<&'a str> {
    let of_host = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut labels = sent.split(|byte| *byte == b'.');
    let valid =
        labels.all(|label| (1..=LONGEST_LABEL).contains(&label.len()) && label.iter().all(of_host));
    let name = room.get_mut(..sent.len()).filter(|_| valid)?;
    name.copy_from_slice(sent);
    name.make_ascii_lowercase();
    str::from_utf8(name).ok().filter(|name| *name != OTHER)
}
