//! Where a connection is, by its key.
//!
//! Whoever sends packets chooses the keys. The hash is the multilinear one of Lemire and Kaser, "Strongly universal
//! string hashing is fast" (2014): over random numbers that nobody outside knows, any two keys have the same 32 bits
//! once in 2^32, however they were chosen. It costs eleven multiplications.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::key::{Key, WORDS};

/// Numbers of connections by their keys, which are kept elsewhere.
#[derive(Debug)]
pub(super) struct Index {
    numbers: HashTable<u32>,
    hasher: Hasher,
}

/// The random numbers.
#[derive(Debug)]
struct Hasher {
    first: u64,
    factors: [u64; WORDS],
}

impl Hasher {
    /// Keyed by the system's random numbers.
    fn new() -> Self {
        let random = RandomState::new();
        let factors = std::array::from_fn(|place| random.hash_one(place));
        Self { first: random.hash_one(WORDS), factors }
    }

    fn hash(&self, key: &Key) -> u64 {
        let products = self.factors.iter().zip(key.words());
        let sum = products.fold(self.first, |sum, (factor, word)| {
            sum.wrapping_add(factor.wrapping_mul(u64::from(word)))
        });
        // The upper half is the hash. The table takes places from the lower bits and tags from the upper.
        sum >> 32 | sum & !u64::from(u32::MAX)
    }
}

impl Index {
    pub(super) fn new() -> Self {
        Self { numbers: HashTable::new(), hasher: Hasher::new() }
    }

    /// The number that passes `is_it`, which compares keys.
    pub(super) fn find(&self, key: &Key, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.numbers.find(self.hasher.hash(key), |number| is_it(*number)).copied()
    }

    /// Enters a number that is not there. `key_of`: the key of a number.
    pub(super) fn insert(&mut self, key: &Key, number: u32, key_of: impl Fn(u32) -> Option<Key>) {
        let Self { numbers, hasher } = self;
        let hash_of = |number: &u32| key_of(*number).map_or(0, |key| hasher.hash(&key));
        numbers.insert_unique(hasher.hash(key), number, hash_of);
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, key: &Key, number: u32) {
        let hash = self.hasher.hash(key);
        if let Ok(entry) = self.numbers.find_entry(hash, |found| *found == number) {
            entry.remove();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}
