//! From the ring's bytes to the pipeline, and what time asks for meanwhile.
//!
//! ```text
//!  handshakes that may fall silent ┐
//!  losses that may be to be said   ├─► the first that is due wakes the thread; nothing due, no wake-up
//!  --stats-interval                ┘
//! ```
//!
//! The last two need the kernel's counters, which the attacher reads: they are asked for, and the rest is done when
//! they are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tls_sniff_common::{
    counters::CounterBlock,
    event::{Event, marks},
    flow::Hook,
};

use super::losses::{self, LossWatch};
use crate::{
    attacher::Handle,
    clock::{self, KernelClock, Timestamp},
    dedup::{Dedup, HOLD, SeenOn, Taken},
    ending::FINISH_LIMIT,
    metrics::{HandshakeCounts, InterfaceEvents},
    observation::{Stats, StatsReason},
    pipeline::{Finished, Pipeline, Sighting},
    source::file::{LINKTYPE_ETHERNET, LINKTYPE_RAW},
};

/// How often handshakes are looked after that have fallen silent, and how long what is still in the ring may speak
/// first.
const TICK: Duration = Duration::from_secs(1);

/// What turns the ring's bytes into output.
pub(super) struct Reader {
    pub(super) dedup: Dedup,
    pub(super) pipeline: Pipeline,
    pub(super) names: BTreeMap<u32, String>,
    /// Events by interface, if metrics are kept.
    by_interface: Option<InterfaceEvents>,
    clock: KernelClock,
    losses: LossWatch,
    ticked: Instant,
    statistics: Option<Periodic>,
    asked: Asked,
    /// The counters as they were last heard of.
    counters: Vec<(Hook, CounterBlock)>,
}

/// What counters were asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    losses: bool,
    statistics: bool,
}

/// What is to be done every so often.
struct Periodic {
    every: Duration,
    next: Instant,
}

impl Periodic {
    fn new(every: Duration) -> Self {
        Self { every, next: Instant::now() + every }
    }

    /// Whether it is time at `now`. Then the next time follows the one that was due, not `now`, or every delay would
    /// add up; times that have passed altogether are left out.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next += self.every;
        if self.next <= now {
            self.next = now + self.every;
        }
        true
    }
}

/// When time alone asks for a tick, if the packets' clock shows `wall` at `now`: [`TICK`] after what is `due` on that
/// clock, and [`TICK`] after the last tick. Not after `now` if it is time.
fn tick_at(due: Timestamp, wall: Timestamp, now: Instant, ticked: Instant) -> Instant {
    let left = due.0.saturating_add(nanoseconds(TICK)).saturating_sub(wall.0);
    let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0));
    (now + left).max(ticked + TICK)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Reader {
    /// `dedup`: whether a packet may be seen more than once, and is to be told once.
    pub(super) fn new(
        pipeline: Pipeline,
        dedup: bool,
        statistics: Option<Duration>,
        by_interface: Option<InterfaceEvents>,
    ) -> Self {
        Self {
            dedup: if dedup { Dedup::new(HOLD) } else { Dedup::off() },
            pipeline,
            names: BTreeMap::new(),
            by_interface,
            clock: KernelClock::measure(),
            losses: LossWatch::new(),
            ticked: Instant::now(),
            statistics: statistics.map(Periodic::new),
            asked: Asked::default(),
            counters: Vec::new(),
        }
    }

    /// How often statistics are told from now on.
    pub(super) fn tell_statistics_every(&mut self, every: Option<Duration>) {
        self.statistics = every.map(Periodic::new);
    }

    /// One item of the ring. `attacher` may have more names.
    pub(super) fn event(&mut self, bytes: &[u8], attacher: &Handle) {
        let event = match Event::decode(bytes) {
            Ok(event) => event,
            Err(error) => {
                if self.pipeline.undecodable() == 1 {
                    tracing::error!("{error}: the kernel programs are of another build");
                }
                return;
            }
        };
        if !self.names.contains_key(&event.header.interface) {
            attacher.look_ahead(&mut self.names);
        }
        let timestamp = self.clock.wall(event.header.timestamp);
        let Self { dedup, pipeline, names, by_interface, .. } = self;
        let taken = dedup.event(&event, timestamp, &mut |event, timestamp, interfaces| {
            count(by_interface.as_mut(), names, event);
            hand_on(pipeline, names, event, timestamp, interfaces);
        });
        if taken == Taken::Duplicate {
            count(by_interface.as_mut(), names, &event);
            pipeline.duplicate();
        }
    }

    /// What is held has waited for long enough.
    pub(super) fn release_due(&mut self) {
        let Self { dedup, pipeline, names, by_interface, .. } = self;
        dedup.release_due(clock::kernel_now(), &mut |event, timestamp, interfaces| {
            count(by_interface.as_mut(), names, event);
            hand_on(pipeline, names, event, timestamp, interfaces);
        });
        self.flush();
    }

    /// Nothing more is waited for.
    pub(super) fn release_all(&mut self) {
        let Self { dedup, pipeline, names, by_interface, .. } = self;
        dedup.release_all(&mut |event, timestamp, interfaces| {
            count(by_interface.as_mut(), names, event);
            hand_on(pipeline, names, event, timestamp, interfaces);
        });
    }

    /// Ends a batch.
    pub(super) fn flush(&mut self) {
        self.pipeline.flush();
        self.losses.activity(Instant::now());
    }

    /// When time alone will ask for something.
    pub(super) fn due(&self) -> Option<Instant> {
        let statistics = self.statistics.as_ref().map(|periodic| periodic.next);
        // Not what waits for counters already.
        let losses = self.losses.due().filter(|_| !self.asked.losses);
        [losses, self.tick_due(), statistics].into_iter().flatten().min()
    }

    fn tick_due(&self) -> Option<Instant> {
        let due = self.pipeline.due()?;
        Some(tick_at(due, Timestamp::now(), Instant::now(), self.ticked))
    }

    /// Does what time asks for; whether counters are to be asked for.
    pub(super) fn keep_time(&mut self) -> bool {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let due = self.pipeline.due().map(|due| tick_at(due, wall, now, self.ticked));
        if is_due(due) {
            self.ticked = now;
            self.pipeline.tick(Timestamp(wall.0.saturating_sub(nanoseconds(TICK))));
            self.flush();
        }
        let losses = is_due(self.losses.due());
        let statistics = self.statistics.as_mut().is_some_and(|periodic| periodic.is_due(now));
        let pending = self.asked.losses || self.asked.statistics;
        self.asked.losses |= losses;
        self.asked.statistics |= statistics;
        (losses || statistics) && !pending
    }

    /// The counters that were asked for; `None` if they could not be read.
    pub(super) fn counted(&mut self, counters: Option<Vec<(Hook, CounterBlock)>>) {
        let asked = std::mem::take(&mut self.asked);
        let now = Instant::now();
        let Some(counters) = counters else {
            if asked.losses {
                self.losses.skip(now);
            }
            return;
        };
        self.counters = counters;
        if asked.losses {
            self.look_for_losses(now);
        }
        if asked.statistics {
            let stats = self.stats(StatsReason::Interval);
            self.pipeline.tell_losses(&stats);
            self.pipeline.report(&stats);
        }
    }

    fn look_for_losses(&mut self, now: Instant) {
        let stats = self.stats(StatsReason::Loss);
        self.pipeline.tell_losses(&stats);
        let all = stats.losses();
        if let Some(new) = self.losses.look(now, all.clone(), stats.is_open()) {
            losses::warn(&new, &all);
            self.pipeline.report(&stats);
        }
    }

    fn stats(&self, reason: StatsReason) -> Stats {
        self.pipeline.stats(reason, seen(&self.counters))
    }

    /// What was lost by all stages, as far as it is known.
    pub(super) fn lost(&self) -> u64 {
        self.stats(StatsReason::Interval).losses().sum()
    }

    /// What metrics are made of, if they are kept.
    pub(super) fn metrics(&mut self) -> Option<(HandshakeCounts, InterfaceEvents, Stats)> {
        let Self { pipeline, names, by_interface, .. } = self;
        let there: BTreeSet<&str> = names.values().map(String::as_str).collect();
        let handshakes = pipeline.handshakes(|name| there.contains(name))?;
        let events = by_interface.as_mut()?.counts(&there);
        Some((handshakes, events, self.stats(StatsReason::Interval)))
    }

    /// The counters as they were last heard of.
    pub(super) fn last_counters(&self) -> Vec<(Hook, CounterBlock)> {
        self.counters.clone()
    }

    /// Accounts for everything, and ends the outputs.
    pub(super) fn finish(mut self, hooks: &[(Hook, CounterBlock)]) -> Finished {
        let finished = self.pipeline.finish(seen(hooks), Vec::new(), FINISH_LIMIT);
        let all = finished.stats.losses();
        losses::warn(&self.losses.last(all.clone()), &all);
        finished
    }
}

/// The hooks that packets came through.
fn seen(hooks: &[(Hook, CounterBlock)]) -> Vec<(Hook, CounterBlock)> {
    hooks.iter().filter(|(_, block)| block.iter().any(|count| *count > 0)).copied().collect()
}

/// What an event's packet starts with.
const fn link_type(event: &Event<'_>) -> u32 {
    if event.header.marks & marks::RAW_IP != 0 { LINKTYPE_RAW } else { LINKTYPE_ETHERNET }
}

/// Counts an event for its interface, when the pipeline counts it as well: a scrape is not to find one without the other.
fn count(
    by_interface: Option<&mut InterfaceEvents>,
    names: &BTreeMap<u32, String>,
    event: &Event<'_>,
) {
    if let Some(events) = by_interface
        && let Some(name) = names.get(&event.header.interface)
    {
        events.count(name, event.direction);
    }
}

/// Hands a packet that was seen on `interfaces` to the pipeline.
fn hand_on(
    pipeline: &mut Pipeline,
    names: &BTreeMap<u32, String>,
    event: &Event<'_>,
    timestamp: Timestamp,
    interfaces: &[u32],
) {
    let name = |index: u32| names.get(&index).map(String::as_str);
    SeenOn::of(interfaces, name, |on| {
        pipeline.event(event, Sighting { timestamp, on, link_type: link_type(event) });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_due_when_its_time_has_come() {
        let ticked = Instant::now();
        let now = ticked + Duration::from_secs(10);
        let at = |due, wall| {
            let seconds = |seconds: i64| Timestamp(seconds * 1_000_000_000);
            tick_at(seconds(due), seconds(wall), now, ticked)
        };
        // The patience is not over: it is then, not earlier and not later.
        assert_eq!(at(100, 90), now + Duration::from_secs(11));
        assert_eq!(at(100, 100), now + TICK);
        // It is over, just so and for long.
        assert_eq!(at(100, 101), now);
        assert_eq!(at(100, 1000), now);
        // One tick each second, at most.
        let seconds = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        assert_eq!(tick_at(seconds(100), seconds(1000), now, now), now + TICK);
    }

    #[test]
    fn what_is_periodic_does_not_drift() {
        let start = Instant::now();
        let at = |tenths: u32| start + Duration::from_millis(100) * tenths;
        let mut periodic = Periodic { every: Duration::from_secs(1), next: at(10) };
        assert!(!periodic.is_due(at(9)));
        assert!(periodic.is_due(at(13)));
        assert_eq!(periodic.next, at(20));
        // What was missed is not made up for.
        assert!(periodic.is_due(at(55)));
        assert_eq!(periodic.next, at(65));
    }
}
