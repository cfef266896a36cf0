//! Numbers that may be unknown, in no more room than the number: connections have many of them.

use crate::clock::Timestamp;

/// What an allocation costs beside its bytes, on average.
pub(super) const ALLOCATION: usize = 16;

/// A time or a span of it, ns, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nanoseconds(i64);

impl Nanoseconds {
    /// No packet has this time.
    pub(super) const UNKNOWN: Self = Self(i64::MIN);

    pub(super) const fn of(ns: i64) -> Self {
        Self(ns)
    }

    pub(super) fn get(self) -> Option<i64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }

    /// As a time.
    pub(super) fn at(self) -> Option<Timestamp> {
        self.get().map(Timestamp)
    }

    /// The time that is known, or else `at` from now on.
    pub(super) fn get_or_insert(&mut self, at: Timestamp) -> Timestamp {
        if *self == Self::UNKNOWN {
            self.0 = at.0;
        }
        Timestamp(self.0)
    }
}

impl Default for Nanoseconds {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl From<Option<i64>> for Nanoseconds {
    fn from(ns: Option<i64>) -> Self {
        ns.map_or(Self::UNKNOWN, Self)
    }
}
