//! When losses are looked for, and when they are said.
//!
//! ```text
//!  events were read ─► look, at most once a second ─► grown? ─► say: at once, then 1, 2, 4, 8, 10, 10, ... s apart
//! ```
//!
//! After the last activity they are looked for once more, a second later, and not in silence: the ring holds two of
//! the largest events, so what it had no room for was lost while events lay in it, which are read later; the other
//! stages lose what they are given.

use std::time::{Duration, Instant};

use crate::observation::{Losses, OutputCounters, OutputStats};

/// How often losses are looked for, while there is reason to.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest time between two reports of losses that go on.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// What was said, and what is due.
pub(super) struct LossWatch {
    looked: Option<Instant>,
    /// Something was read since.
    active: bool,
    due: Option<Instant>,
    said: Losses,
    /// When more may be said.
    silent_until: Option<Instant>,
    pause: Duration,
}

impl LossWatch {
    pub(super) fn new() -> Self {
        let said = Losses::default();
        Self { looked: None, active: false, due: None, said, silent_until: None, pause: LOOK_EVERY }
    }

    /// Something was read at `now`, so something may have been lost.
    pub(super) fn activity(&mut self, now: Instant) {
        let next = self.looked.map_or(now, |looked| now.max(looked + LOOK_EVERY));
        self.due.get_or_insert(next);
        self.active = true;
    }

    /// When to look.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The counters could not be had at `now`.
    pub(super) fn skip(&mut self, now: Instant) {
        self.looked = Some(now);
        self.due = Some(now + LOOK_EVERY);
    }

    /// What was lost by `now` beyond what was said, if it is time to say it. `open`: whether the fate of something
    /// is not known yet.
    pub(super) fn look(&mut self, now: Instant, losses: Losses, open: bool) -> Option<Losses> {
        self.looked = Some(now);
        let again = std::mem::take(&mut self.active) || open;
        self.due = again.then_some(now + LOOK_EVERY);
        if losses == self.said {
            return None;
        }
        if let Some(until) = self.silent_until {
            if now < until {
                self.due = Some(until);
                return None;
            }
            if now >= until + SAY_EVERY {
                self.pause = LOOK_EVERY;
            }
        }
        self.silent_until = Some(now + self.pause);
        self.pause = (2 * self.pause).min(SAY_EVERY);
        Some(self.last(losses))
    }

    /// What was lost beyond what was said, whether it is time or not.
    pub(super) fn last(&mut self, losses: Losses) -> Losses {
        let new = losses.since(&self.said);
        self.said = losses;
        new
    }
}

/// Says on stderr what is new, with the sum and what can be done.
pub(super) fn warn(new: &Losses, all: &Losses) {
    if new.segments > 0 {
        tracing::warn!(
            "{} segments were lost in the kernel ({} in all): --ring-bytes makes more room",
            new.segments,
            all.segments
        );
    }
    if new.flows > 0 {
        tracing::warn!(
            "{} handshakes made room for others in the kernel ({} in all): what they send next may be missing",
            new.flows,
            all.flows
        );
    }
    for output in &new.outputs {
        let of_it = all.outputs.iter().find(|it| it.name == output.name);
        warn_of(output, of_it.map(|it| it.counters).unwrap_or_default());
    }
    if new.queued_packets > 0 {
        tracing::warn!(
            "writing the capture is too slow: {} packets were dropped ({} in all)",
            new.queued_packets,
            all.queued_packets
        );
    }
    if new.handshakes > 0 {
        tracing::warn!(
            "{} handshakes were given up for their memory or number ({} in all): their events say `memory`",
            new.handshakes,
            all.handshakes
        );
    }
    if new.given_up > 0 {
        tracing::warn!(
            "{} events and packets that waited for the filters were dropped for their memory ({} in all)",
            new.given_up,
            all.given_up
        );
    }
    // `refused_packets`: the thread that writes the capture says it, with the reason.
}

/// Says what an output lost that is new.
fn warn_of(output: &OutputStats, all: OutputCounters) {
    let OutputStats { name, counters: new } = output;
    if new.lost_queue > 0 {
        tracing::warn!(
            "the reader of {name} is too slow: {} events were dropped ({} in all)",
            new.lost_queue,
            all.lost_queue
        );
    }
    if new.lost_connection > 0 {
        tracing::warn!(
            "nobody reads {name}: {} events were dropped ({} in all)",
            new.lost_connection,
            all.lost_connection
        );
    }
    // `lost_write`: its thread says it, with the reason.
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(segments: u64) -> Losses {
        Losses { segments, ..Losses::default() }
    }

    /// Times in seconds at which something is said, of losses that grow with every look.
    fn said(watch: &mut LossWatch, start: Instant, seconds: std::ops::Range<u64>) -> Vec<u64> {
        let mut said = Vec::new();
        for second in seconds {
            let now = start + Duration::from_secs(second);
            watch.activity(now);
            if watch.due().is_some_and(|due| due <= now)
                && watch.look(now, lost(second + 1), false).is_some()
            {
                said.push(second);
            }
        }
        said
    }

    #[test]
    fn losses_that_go_on_are_said_less_and_less_often() {
        let (mut watch, start) = (LossWatch::new(), Instant::now());
        assert_eq!(said(&mut watch, start, 0..40), [0, 1, 3, 7, 15, 25, 35]);
        // After a calm the next one is new.
        assert_eq!(said(&mut watch, start, 60..64), [60, 61, 63]);
    }

    #[test]
    fn all_that_is_lost_is_said_once() {
        let (mut watch, start) = (LossWatch::new(), Instant::now());
        let at = |tenths: u32| start + Duration::from_millis(100) * tenths;
        assert_eq!(watch.look(at(0), lost(5), false), Some(lost(5)));
        watch.activity(at(1));
        assert_eq!(watch.due(), Some(at(10)));
        assert_eq!(watch.look(at(9), lost(7), false), None);
        // Silence, and still there is something to say.
        assert_eq!(watch.due(), Some(at(10)));
        assert_eq!(watch.look(at(10), lost(8), false), Some(lost(3)));
        assert_eq!(watch.due(), None);
        // Also what was lost right behind the last look.
        watch.activity(at(30));
        assert_eq!(watch.look(at(30), lost(8), false), None);
        assert_eq!(watch.due(), Some(at(40)));
        assert_eq!(watch.look(at(40), lost(9), false), Some(lost(1)));
        assert_eq!(watch.due(), None);
    }

    #[test]
    fn nothing_is_looked_for_in_silence() {
        let (mut watch, start) = (LossWatch::new(), Instant::now());
        assert_eq!(watch.due(), None);
        watch.activity(start);
        assert_eq!(watch.due(), Some(start));
        assert_eq!(watch.look(start, lost(0), false), None);
        assert_eq!(watch.due(), Some(start + LOOK_EVERY));
        assert_eq!(watch.look(start, lost(0), true), None);
        // A packet is on its way to the disk.
        assert_eq!(watch.due(), Some(start + LOOK_EVERY));
        assert_eq!(watch.look(start + LOOK_EVERY, lost(0), false), None);
        assert_eq!(watch.due(), None);
    }
}
