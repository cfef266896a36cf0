//! What was worked out before: the same clients and servers come again and again.
//!
//! Keys are compared byte for byte, so nobody gets what belongs to somebody else, whatever hashes are made to
//! collide. A memo has so many entries of at most so many bytes, and no more; a flood of inputs that never come
//! again makes it useless, not large and not slow.
//!
//! An entry that a connection holds stays. So what is shared is always the memo's, whose size is bounded, and a
//! connection accounts for what it holds alone.

use std::{ops::Deref, sync::Arc};

/// Entries in which a key may be.
const WAYS: usize = 4;

/// Bytes of a key that its hash is made of: what differs does so early, as a certificate's serial number does.
const HASHED: usize = 256;

/// A value that may be remembered.
pub(super) trait Value: Clone {
    /// About how many bytes it holds.
    fn memory(&self) -> usize;

    /// Whether somebody else holds it too.
    fn is_held(&self) -> bool;
}

/// Values by what they were made of.
#[derive(Debug)]
pub(super) struct Memo<V> {
    /// Sets of [`WAYS`] entries; none before the first is needed.
    entries: Vec<Option<Entry<V>>>,
    /// A power of two.
    sets: usize,
    /// The most bytes of an entry.
    limit: usize,
}

#[derive(Debug)]
struct Entry<V> {
    key: Box<[u8]>,
    value: V,
    /// It was asked for since somebody looked for room.
    used: bool,
}

impl<V: Value> Memo<V> {
    /// Holds at most `sets` (a power of two) times four entries of at most `limit` bytes.
    pub(super) const fn new(sets: usize, limit: usize) -> Self {
        Self { entries: Vec::new(), sets, limit }
    }

    /// The value of `key`, which is worked out unless it is known; and whether it is shared with the memo.
    pub(super) fn get(&mut self, key: &[u8], work_out: impl FnOnce() -> V) -> (V, bool) {
        if key.len() > self.limit {
            return (work_out(), false);
        }
        if self.entries.is_empty() {
            self.entries.resize_with(self.sets * WAYS, || None);
        }
        let first = (hash(key) & (self.sets - 1)) * WAYS;
        let Some(ways) = self.entries.get_mut(first..first + WAYS) else {
            return (work_out(), false);
        };
        let known = ways.iter_mut().flatten().find(|entry| *entry.key == *key);
        if let Some(entry) = known {
            entry.used = true;
            return (entry.value.clone(), true);
        }
        let value = work_out();
        if key.len() + value.memory() > self.limit {
            return (value, false);
        }
        let Some(place) = room(ways) else { return (value, false) };
        *place = Some(Entry { key: key.into(), value: value.clone(), used: false });
        (value, true)
    }
}

/// An empty place, or else the first whose value nobody holds and nobody has asked for lately.
fn room<V: Value>(ways: &mut [Option<Entry<V>>]) -> Option<&mut Option<Entry<V>>> {
    let idle =
        |place: &Option<Entry<V>>| place.as_ref().is_some_and(|it| !it.used && !it.value.is_held());
    let place = ways.iter().position(Option::is_none).or_else(|| ways.iter().position(idle));
    if place.is_none() {
        for entry in ways.iter_mut().flatten() {
            entry.used = false;
        }
    }
    ways.get_mut(place?)
}

/// A multiplication for each eight bytes: who finds collisions has found four entries that are of no use.
fn hash(key: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (head, _) = key.split_at_checked(HASHED).unwrap_or((key, &[]));
    let (words, rest) = head.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let mut state = key.len() as u64;
    for word in words.iter().chain([&last]) {
        state = (state.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD);
    }
    // The upper bits depend on all others.
    usize::try_from(state >> 40).unwrap_or_default()
}

/// A value that a connection holds, alone or with others.
#[derive(Debug)]
pub struct Kept<T: ?Sized> {
    value: Arc<T>,
    shared: bool,
}

impl<T: ?Sized> Kept<T> {
    /// What a memo gave.
    pub(super) fn of((value, shared): (Arc<T>, bool)) -> Self {
        Self { value, shared }
    }

    /// Whether others may hold it too, so that it is not accounted for here.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared
    }
}

impl<T: PartialEq + ?Sized> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq + ?Sized> Eq for Kept<T> {}

impl<T: ?Sized> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), shared: self.shared }
    }
}

impl<T: ?Sized> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Value for Arc<str> {
        fn memory(&self) -> usize {
            self.len()
        }

        fn is_held(&self) -> bool {
            Arc::strong_count(self) > 1
        }
    }

    /// Asks for the value of `key`, and tells whether it had to be worked out.
    fn ask(memo: &mut Memo<Arc<str>>, key: &[u8]) -> (Arc<str>, bool, bool) {
        let mut worked = false;
        let (value, shared) = memo.get(key, || {
            worked = true;
            format!("{key:?}").into()
        });
        assert_eq!(*value, *format!("{key:?}"), "somebody else's");
        (value, shared, worked)
    }

    #[test]
    fn what_was_worked_out_is_known() {
        let mut memo = Memo::new(4, 1024);
        assert!(ask(&mut memo, b"one").2);
        assert!(!ask(&mut memo, b"one").2);
        assert!(ask(&mut memo, b"two").2);
        assert!(!ask(&mut memo, b"one").2);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut memo = Memo::new(1, 4096);
        // Alike in length and in all that is hashed.
        let keys: Vec<Vec<u8>> = (0..3_u8).map(|n| [&[7; HASHED][..], &[n]].concat()).collect();
        for round in 0..2 {
            for key in &keys {
                assert_eq!(hash(key), hash(&keys[0]));
                assert_eq!(ask(&mut memo, key).2, round == 0);
            }
        }
    }

    #[test]
    fn a_flood_takes_no_more_than_the_entries() {
        let mut memo = Memo::new(8, 64);
        for number in 0..10_000_u32 {
            ask(&mut memo, &number.to_le_bytes());
        }
        assert_eq!(memo.entries.len(), 8 * WAYS);
        // What is too large is not kept, whether it is the key or the value.
        assert!(!ask(&mut memo, &[0; 65]).1);
        assert!(!ask(&mut memo, &[0; 60]).1);
        assert!(ask(&mut memo, &[0; 10]).1);
    }

    #[test]
    fn what_is_held_stays_and_the_rest_is_held_alone() {
        let mut memo = Memo::new(1, 64);
        let held: Vec<_> = (0..4_u8).map(|n| ask(&mut memo, &[n])).collect();
        assert!(held.iter().all(|(_, shared, _)| *shared));
        for _ in 0..2 {
            let (_value, shared, worked) = ask(&mut memo, &[4]);
            assert!(worked && !shared);
        }
        for n in 0..4_u8 {
            assert!(!ask(&mut memo, &[n]).2);
        }
        drop(held);
        // Those were asked for lately; the second look finds room.
        assert!(!ask(&mut memo, &[4]).1);
        assert!(ask(&mut memo, &[4]).1);
    }
}
