//! Answers to scrapes, between two batches of events.
//!
//! ```text
//!  scrape ─► the attacher is asked for counters ─► they come, or PATIENCE is over ─► snapshot
//! ```

use std::time::{Duration, Instant};

use super::reader::Reader;
use crate::{
    metrics::{Configuration, Scrapes, Snapshot, State, Waiting},
    source::ring::Ring,
};

/// How long the kernel's counters are waited for. Then those are told that were heard of last, and their age.
const PATIENCE: Duration = Duration::from_secs(1);

/// The scrapes of a run.
pub(super) struct Scraping {
    scrapes: Scrapes,
    /// One that waits for counters, and how long it does.
    waiting: Option<(Waiting, Instant)>,
    /// When counters were heard of last.
    counters_read: Instant,
    configuration: Configuration,
}

/// What a scrape asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The kernel's counters; then an answer.
    Counters,
    /// An answer, since the counters did not come.
    Answer,
}

impl Scraping {
    pub(super) fn new(scrapes: Scrapes) -> Self {
        let counters_read = Instant::now();
        Self { scrapes, waiting: None, counters_read, configuration: Configuration::default() }
    }

    /// What is to be done next, when it is. Nothing is lost if this is dropped while it waits.
    pub(super) async fn step(scraping: Option<&mut Self>) -> Step {
        let Some(scraping) = scraping else { return std::future::pending().await };
        if let Some((_, until)) = &scraping.waiting {
            tokio::time::sleep_until((*until).into()).await;
            return Step::Answer;
        }
        let next = scraping.scrapes.next().await;
        scraping.waiting = Some((next, Instant::now() + PATIENCE));
        Step::Counters
    }

    /// Takes note of counters that were heard of just now.
    pub(super) fn counted(&mut self) {
        self.counters_read = Instant::now();
    }

    /// Takes note that another configuration was asked for, and whether it is in force.
    pub(super) fn reloaded(&mut self, accepted: bool) {
        self.configuration.reloaded(accepted);
    }

    /// Answers who waits.
    pub(super) fn answer(&mut self, reader: &mut Reader, ring: &mut Ring) {
        let Some((waiting, _)) = self.waiting.take() else { return };
        let Some((handshakes, interface_events, stats)) = reader.metrics() else { return };
        let (connections, connections_memory) = reader.pipeline.connections();
        let now = State {
            interfaces: reader.names.len(),
            connections,
            connections_memory,
            ring: ring.fill(),
            configuration: self.configuration,
        };
        let counters_read = self.counters_read;
        let made = Instant::now();
        waiting.answer(Snapshot { made, counters_read, handshakes, interface_events, stats, now });
    }
}
