//! Numbers that may be unknown, in no more room than the number and without room before it: there are many.

use crate::clock::Timestamp;

/// What an allocation costs beside its bytes, on average.
pub(super) const ALLOCATION: usize = 16;

/// A time or a span of it, ns, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nanoseconds([u8; 8]);

impl Nanoseconds {
    /// No packet has this time.
    pub(super) const UNKNOWN: Self = Self::of(i64::MIN);

    pub(super) const fn of(ns: i64) -> Self {
        Self(ns.to_ne_bytes())
    }

    pub(super) fn get(self) -> Option<i64> {
        (self != Self::UNKNOWN).then_some(i64::from_ne_bytes(self.0))
    }

    /// As a time.
    pub(super) fn at(self) -> Option<Timestamp> {
        self.get().map(Timestamp)
    }

    /// It is `at`, unless it is known.
    pub(super) fn get_or_insert(&mut self, at: Timestamp) {
        if *self == Self::UNKNOWN {
            *self = Self::of(at.0);
        }
    }
}

impl Default for Nanoseconds {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl From<Option<i64>> for Nanoseconds {
    fn from(ns: Option<i64>) -> Self {
        ns.map_or(Self::UNKNOWN, Self::of)
    }
}
