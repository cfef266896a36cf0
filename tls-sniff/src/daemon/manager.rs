//! What the service manager is told while the daemon runs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::reader::Reader;
use crate::notify::Notifier;

/// How often, if the manager has no watchdog.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The manager, and when it hears next.
pub(super) struct Manager {
    notifier: Notifier,
    /// `None` before the start is over, and if nobody listens.
    next: Option<Instant>,
    last: Figures,
    /// The newest configuration is not in force.
    refused: bool,
    /// It has not been read for some time.
    waits: bool,
}

/// What the status line is made of.
#[derive(Clone, Copy, Debug)]
struct Figures {
    at: Instant,
    handshakes: u64,
    /// `None` if it is not found out how handshakes end.
    failed: Option<u64>,
    lost: u64,
}

impl Figures {
    fn of(reader: &Reader, at: Instant) -> Self {
        let (handshakes, failed) = reader.pipeline.outcomes();
        Self { at, handshakes, failed, lost: reader.lost() }
    }

    /// `12 handshakes/s, 3 failed/s, 0 lost`: what there was since `earlier`, and what was lost in all.
    fn since(&self, earlier: &Self) -> String {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        let rate = |now: u64, then: u64| per_second(now.saturating_sub(then), seconds);
        let handshakes = rate(self.handshakes, earlier.handshakes);
        let failed = match (self.failed, earlier.failed) {
            (Some(now), Some(then)) => format!(", {} failed/s", rate(now, then)),
            _ => String::new(),
        };
        format!("{handshakes} handshakes/s{failed}, {} lost", self.lost)
    }
}

/// A rate as people write it: a small one with one digit behind the point, and never 0 for what there was.
fn per_second(count: u64, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 in one period is out of reach")]
    let rate = count as f64 / seconds.max(1e-3);
    match rate {
        _ if count == 0 => "0".to_owned(),
        0.0..0.1 => "<0.1".to_owned(),
        0.1..10.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

impl Manager {
    pub(super) fn new(notifier: Notifier, reader: &Reader) -> Self {
        let last = Figures::of(reader, Instant::now());
        Self { notifier, next: None, last, refused: false, waits: false }
    }

    /// Everything is attached, and the sandbox is closed.
    pub(super) fn ready(&mut self, reader: &Reader) {
        self.notifier.ready();
        self.tell(reader, Instant::now());
    }

    /// Another configuration is being read.
    pub(super) fn reloading(&mut self) {
        self.notifier.reloading();
    }

    /// That takes its time: a status says so now.
    pub(super) fn reload_waits(&mut self) {
        self.waits = true;
        self.tell_soon();
    }

    /// It is in force, or refused, which the next status says.
    pub(super) fn reloaded(&mut self, refused: bool) {
        self.refused = refused;
        self.notifier.ready();
        if std::mem::take(&mut self.waits) {
            self.tell_soon();
        }
    }

    /// With the next turn at the ring, since who is told of a status is told of life.
    fn tell_soon(&mut self) {
        self.next = self.next.map(|_| Instant::now());
    }

    /// The end has begun. Behind that nothing is said, also not of a reload that is over only then.
    pub(super) fn stopping(&mut self) {
        std::mem::take(&mut self.notifier).stopping();
        self.next = None;
    }

    /// When it is to hear next.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.next
    }

    /// That the loop lives, and what there is: to be called after the loop had its turn at the ring.
    pub(super) fn lives(&mut self, reader: &Reader, now: Instant) {
        self.notifier.watchdog();
        self.tell(reader, now);
    }

    fn tell(&mut self, reader: &Reader, now: Instant) {
        if !self.notifier.is_heard() {
            return;
        }
        let figures = Figures::of(reader, now);
        let names = watched(&reader.names);
        let reload = match (self.waits, self.refused) {
            (true, _) => "; a new configuration waits, see the log",
            (false, true) => "; the new configuration was refused, see the log",
            (false, false) => "",
        };
        let rates = figures.since(&self.last);
        self.notifier.status(&format!("watching {names}: {rates}{reload}"));
        self.last = figures;
        // Half of it, as sd_watchdog_enabled(3) asks for.
        let every = self.notifier.watchdog_limit().map_or(STATUS_EVERY, |limit| limit / 2);
        self.next = Some(now + every);
    }
}

/// The first names, and how many more there are.
fn watched(names: &BTreeMap<u32, String>) -> String {
    const SHOWN: usize = 8;
    let mut text = names.values().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => text = "nothing".to_owned(),
        all if all > SHOWN => text += &format!(" and {} more", all - SHOWN),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_rates_since_the_last_one() {
        let start = Instant::now();
        let first = Figures { at: start, handshakes: 100, failed: Some(7), lost: 0 };
        let later = Figures {
            at: start + Duration::from_secs(10),
            handshakes: 225,
            failed: Some(10),
            lost: 4,
        };
        assert_eq!(later.since(&first), "12 handshakes/s, 0.3 failed/s, 4 lost");
        let later = Figures { handshakes: 101, failed: None, lost: 4, ..later };
        assert_eq!(later.since(&first), "0.1 handshakes/s, 4 lost");
        let later = Figures { at: start + Duration::from_secs(1000), ..later };
        assert_eq!(later.since(&first), "<0.1 handshakes/s, 4 lost");
        let same = Figures { at: start, ..first };
        assert_eq!(same.since(&first), "0 handshakes/s, 0 failed/s, 0 lost");
    }

    #[test]
    fn many_interfaces_are_counted() {
        let names = |count: u32| watched(&(0..count).map(|it| (it, format!("e{it}"))).collect());
        assert_eq!(names(0), "nothing");
        assert_eq!(names(2), "e0, e1");
        assert_eq!(names(10), "e0, e1, e2, e3, e4, e5, e6, e7 and 2 more");
    }
}
