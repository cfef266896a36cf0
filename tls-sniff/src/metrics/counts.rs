//! Counters by label values, and histograms: plain numbers of one thread, which a scrape gets a copy of.

use std::{array, collections::BTreeMap};

/// A code point without a name, an interface too many.
pub(super) const OTHER: &str = "other";

/// Upper bounds of a histogram's buckets, ns: from a handshake on one host to one that nearly timed out.
pub(super) const BUCKETS: [u64; 15] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Counters of one family. All values of labels are words of this program, never bytes of the network: their
/// number is bounded by that.
#[derive(Clone, Debug)]
pub(super) struct Counts<const N: usize>(BTreeMap<[&'static str; N], u64>);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<const N: usize> Counts<N> {
    pub(super) fn add(&mut self, values: [&'static str; N]) {
        *self.0.entry(values).or_default() += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[&'static str; N], u64)> {
        self.0.iter().map(|(values, count)| (values, *count))
    }
}

/// How often times fell into each of [`BUCKETS`], and what they add up to.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    /// The last one for what is longer than all bounds.
    counts: [u64; BUCKETS.len() + 1],
    /// ns.
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: array::from_fn(|_| 0), sum: 0 }
    }
}

impl Histogram {
    /// Counts a time in ns; a negative one, of clocks that were set back, is 0.
    pub(super) fn observe(&mut self, nanoseconds: i64) {
        let time = u64::try_from(nanoseconds).unwrap_or(0);
        let bucket = BUCKETS.partition_point(|bound| *bound < time);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(time);
    }

    /// Not cumulative.
    pub(super) fn buckets(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().copied()
    }

    /// ns.
    pub(super) const fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::default();
        for time in [i64::MIN, -1, 0, 499_999, 500_000] {
            histogram.observe(time);
        }
        histogram.observe(500_001);
        histogram.observe(30_000_000_000);
        histogram.observe(30_000_000_001);
        let buckets: Vec<u64> = histogram.buckets().collect();
        assert_eq!(buckets[..3], [5, 1, 0]);
        assert_eq!(buckets[13..], [0, 1, 1]);
        assert_eq!(histogram.sum(), 499_999 + 500_000 + 500_001 + 60_000_000_001);
        histogram.observe(i64::MAX);
        histogram.observe(i64::MAX);
        histogram.observe(i64::MAX);
        assert_eq!(histogram.sum(), u64::MAX);
    }
}
