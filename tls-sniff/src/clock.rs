//! From the kernel's clock to the calendar.
//!
//! Events carry `CLOCK_MONOTONIC`, the clock that every supported kernel gives BPF programs. Its distance
//! to `CLOCK_REALTIME` changes when the wall clock is set or slewed and when the machine sleeps, so it is
//! measured anew while events arrive, at most once a second.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of the kernel's events.
#[must_use]
pub fn kernel_now() -> u64 {
    u64::try_from(nanoseconds(ClockId::CLOCK_MONOTONIC)).unwrap_or(0)
}

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Now, by the wall clock.
    #[must_use]
    pub fn now() -> Self {
        Self(nanoseconds(ClockId::CLOCK_REALTIME))
    }
}

/// RFC 3339, UTC, nine digits of a second: `2026-01-02T03:04:05.678901234Z`.
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => write!(f, "{timestamp:.9}"),
            Err(_) => f.write_str("1970-01-01T00:00:00.000000000Z"),
        }
    }
}

/// The distance from `CLOCK_MONOTONIC` to the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct KernelClock {
    offset: i64,
    measured: i64,
}

impl KernelClock {
    const REFRESH: i64 = 1_000_000_000;

    /// Measures the distance.
    #[must_use]
    pub fn measure() -> Self {
        let before = nanoseconds(ClockId::CLOCK_MONOTONIC);
        let wall = nanoseconds(ClockId::CLOCK_REALTIME);
        let after = nanoseconds(ClockId::CLOCK_MONOTONIC);
        let monotonic = before + (after - before) / 2;
        Self { offset: wall - monotonic, measured: monotonic }
    }

    /// The wall clock at `monotonic` nanoseconds of the kernel's clock. An event from more than a second
    /// after the last measurement has it measured again.
    pub fn wall(&mut self, monotonic: u64) -> Timestamp {
        let monotonic = i64::try_from(monotonic).unwrap_or(i64::MAX);
        if monotonic.saturating_sub(self.measured) > Self::REFRESH {
            *self = Self::measure();
        }
        Timestamp(monotonic.saturating_add(self.offset))
    }
}

fn nanoseconds(clock: ClockId) -> i64 {
    // Both clocks exist on every Linux; a failure would only show as 1970.
    clock_gettime(clock).map_or(0, |time| {
        time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_with_nine_digits() {
        // `date -u -d @1700000000.000000001 +%Y-%m-%dT%H:%M:%S.%NZ`
        assert_eq!(
            Timestamp(1_700_000_000_000_000_001).to_string(),
            "2023-11-14T22:13:20.000000001Z"
        );
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn the_kernel_clock_is_now() {
        let mut clock = KernelClock::measure();
        let monotonic = u64::try_from(nanoseconds(ClockId::CLOCK_MONOTONIC)).unwrap();
        let difference = (clock.wall(monotonic).0 - Timestamp::now().0).abs();
        assert!(difference < 1_000_000_000, "{difference} ns");
    }
}
