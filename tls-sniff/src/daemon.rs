//! Live capture, in the process that reads the network's bytes: wait for the attacher, read until told to stop,
//! have it detach, drain, account.
//!
//! ```text
//!                 ┌ signal | output closed | count reached ──► stop
//!                 ├ SIGHUP ──► files of outputs are opened again; the configuration is read again (reload)
//!  select ────────┼ the attacher reports ──► names, an interface that is gone, counters
//!                 ├ ring readable ──► a bounded batch through dedup and the pipeline
//!                 ├ held for long enough ► what dedup holds, through the pipeline
//!                 └ something is due ► handshakes that fell silent; counters, for losses to be said and statistics
//!
//!  stop: the attacher detaches and reads the counters → drain the ring → stats event → output ends, within
//!  FINISH_LIMIT → the attacher has ended, or does not answer
//! ```
//!
//! After the start nothing here asks the kernel for anything that needs a capability.

mod losses;
mod manager;
mod reader;
mod reload;
mod scraping;

use std::time::{Duration, Instant};

use tls_sniff_common::{
    counters::CounterBlock,
    flow::{Hook, KERNEL_HOOKS},
};

pub use self::reload::{Follow, Fresh, Read};
use self::{
    manager::Manager,
    reader::Reader,
    reload::Reload,
    scraping::{Scraping, Step},
};
use crate::{
    attacher::{
        self, Forked, Handle,
        protocol::{Counters, Report, Request},
    },
    clock,
    ending::{Stop, ended, stop_signal},
    error::Error,
    metrics::{InterfaceEvents, Listening},
    notify::Notifier,
    pipeline::{Pipeline, PipelineOptions, Sinks},
    sandbox::{self, Plan, Strictness},
    sink::output::WhenFull,
    source::ring::Ring,
};

/// What a live run is told, beside what the attacher is.
pub struct LiveOptions {
    /// Events.
    pub pipeline: PipelineOptions,
    /// How often statistics are told beside the last ones.
    pub stats_interval: Option<Duration>,
    /// How much of the sandbox must be there.
    pub sandbox: Strictness,
    /// The service manager.
    pub notifier: Notifier,
    /// Makes the configuration's part for this process of its text; `None` if there is no configuration.
    pub follow: Option<Follow>,
}

/// Watches until a signal, a closed output, or the wanted number of events.
///
/// # Errors
///
/// See [`Error`].
pub async fn run(attacher: Forked, options: LiveOptions, sinks: Sinks) -> Result<(), Error> {
    let mut stop = stop_signal()?;
    let reload = Reload::new(options.follow, sinks.have_files())?;
    let (attacher, connector) = attacher.split()?;
    let metrics = options.pipeline.metrics.as_ref();
    let metrics = metrics.map(|metrics| Listening::at(&metrics.address)).transpose()?;
    let (loaded, ring) = tokio::select! {
        loaded = attacher.loaded() => loaded?,
        // Nothing was watched, and nothing is to be told.
        () = stop.next() => return Ok(()),
    };
    let mut ring = Ring::from_fd(ring, loaded.ring_len, loaded.packets)
        .map_err(|source| Error::Process { what: "watch the ring buffer", source })?;
    if metrics.is_some()
        && let Err(error) = ring.watch_fill()
    {
        tracing::warn!("metrics do not tell how full the ring buffer is: {error}");
    }
    let dedup = options.pipeline.dedup && loaded.sees_twice;
    let sinks = sinks.open_with(attacher::connecting(connector), WhenFull::Drop)?;
    // All is open, and no thread has been started.
    let plan = Plan { accept: metrics.is_some(), ..sinks.plan() };
    sandbox::enter(&plan, options.sandbox)?;
    let pipeline = Pipeline::start(options.pipeline, sinks)?;
    let by_interface = metrics.is_some().then(InterfaceEvents::default);
    let reader = Reader::new(pipeline, dedup, options.stats_interval, by_interface);
    let manager = Manager::new(options.notifier, &reader);
    let scraping = metrics.map(Listening::start).transpose()?.map(Scraping::new);
    let mut live = Live { attacher, reader, ring, scraping, reload, manager };
    let outcome = match live.start(&mut stop).await {
        Ok(true) => live.watch(&mut stop).await,
        Ok(false) => Ok(()),
        // It says why nothing is watched.
        Err(error) => return Err(error),
    };
    live.manager.stopping();
    let finished = live.finish(&mut stop).await;
    outcome.and(finished)
}

/// A run in progress.
struct Live {
    attacher: Handle,
    reader: Reader,
    ring: Ring,
    manager: Manager,
    /// If metrics are served.
    scraping: Option<Scraping>,
    reload: Reload,
}

impl Live {
    /// Waits until the first interfaces are attached; whether they are, and not a signal has come.
    async fn start(&mut self, stop: &mut Stop) -> Result<bool, Error> {
        loop {
            let Self { attacher, ring, reader, scraping, .. } = self;
            let turn = tokio::select! {
                biased;
                () = stop.next() => return Ok(false),
                turn = turn(attacher, ring, reader, scraping.as_mut()) => turn?,
            };
            if turn == Turn::Reported(Report::Watching) {
                let names: Vec<&str> = self.reader.names.values().map(String::as_str).collect();
                tracing::info!("watching {}", names.join(", "));
                self.manager.ready(&self.reader);
                return Ok(true);
            }
            self.turned(turn);
        }
    }

    async fn watch(&mut self, stop: &mut Stop) -> Result<(), Error> {
        let closed = self.reader.pipeline.closed();
        tokio::pin!(closed);
        loop {
            self.say_what_waits();
            self.tell_manager();
            if self.reload.has_changed_outputs() {
                closed.set(self.reader.pipeline.closed());
            }
            let Self { attacher, ring, reader, scraping, reload, manager, .. } = self;
            if reader.keep_time() {
                attacher.ask(Request::Counters);
            }
            if reader.pipeline.is_done() {
                return Ok(());
            }
            let due = [reader.due(), manager.due(), reload.due()].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = stop.next() => return Ok(()),
                () = &mut closed => return Ok(()),
                () = reload.hangup() => self.hung_up(),
                turn = turn(attacher, ring, reader, scraping.as_mut()) => {
                    let turn = turn?;
                    self.turned(turn);
                }
                // Done above.
                () = reached(due) => {}
            }
        }
    }

    /// What a turn asks for.
    fn turned(&mut self, turn: Turn) {
        match turn {
            Turn::Reported(report) => self.reported(report),
            Turn::Scraped(Step::Counters) => self.attacher.ask(Request::Counters),
            Turn::Scraped(Step::Answer) => self.answer_scrape(),
            Turn::Read => {}
        }
    }

    /// Tells the service manager that this loop lives when it is time to, which is after a turn at the ring: a reactor
    /// that wakes nobody, or a ring that cannot be read, is no life.
    fn tell_manager(&mut self) {
        let now = Instant::now();
        if self.manager.due().is_none_or(|due| due > now) {
            return;
        }
        let Self { attacher, ring, reader, manager, .. } = self;
        if ring.turn(|bytes| reader.event(bytes, attacher)) {
            reader.flush();
        }
        manager.lives(reader, now);
        // For the status, and for the attacher to look whether all is attached still.
        attacher.ask(Request::Counters);
    }

    /// What the attacher says beside the first and the last.
    fn reported(&mut self, report: Report) {
        match report {
            Report::Names(names) => self.reader.names.extend(names),
            Report::Gone(index) => self.forget(index),
            Report::Counters(counters) => self.counted(hooks(counters).ok()),
            Report::Reading => self.reading(),
            Report::Reloaded(text) => self.reloaded(text.as_deref()),
            Report::Refused(failure) => self.refused(&failure),
            // `Handle` has given the connector's socket to the outputs.
            Report::Connector
            | Report::Loaded(_)
            | Report::Watching
            | Report::Detached(_)
            | Report::Failed(_) => {}
        }
    }

    /// Counters that were asked for; `None` if they could not be read.
    fn counted(&mut self, counters: Option<Vec<(Hook, CounterBlock)>>) {
        if let (Some(scraping), Some(_)) = (&mut self.scraping, &counters) {
            scraping.counted();
        }
        self.reader.counted(counters);
        self.answer_scrape();
    }

    fn answer_scrape(&mut self) {
        let Self { reader, ring, scraping, .. } = self;
        if let Some(scraping) = scraping {
            scraping.answer(reader, ring);
        }
    }

    /// Forgets an interface that is gone, after its last events, which are still in the ring.
    fn forget(&mut self, index: u32) {
        self.drain();
        self.reader.release_all();
        self.reader.flush();
        self.reader.names.remove(&index);
    }

    fn drain(&mut self) {
        let Self { attacher, ring, reader, .. } = self;
        ring.drain(|bytes| reader.event(bytes, attacher));
    }

    /// Has everything detached, drains, accounts, by the last counters that were heard of if the attacher is no more.
    async fn finish(mut self, stop: &mut Stop) -> Result<(), Error> {
        let counters = self.detached(stop).await;
        self.drain();
        self.reader.release_all();
        let (hooks, counted) = match counters {
            Ok(hooks) => (hooks, Ok(())),
            Err(error) => (self.reader.last_counters(), Err(error)),
        };
        ended(self.reader.finish(&hooks)).and(counted)
    }

    /// Has everything detached; the last counters. Another signal ends the wait for them.
    async fn detached(&mut self, stop: &mut Stop) -> Result<Vec<(Hook, CounterBlock)>, Error> {
        self.attacher.ask(Request::Detach);
        let limit = tokio::time::sleep(attacher::PATIENCE);
        let another = stop.another();
        tokio::pin!(limit, another);
        loop {
            let Self { attacher, ring, reader, scraping, .. } = self;
            let turn = tokio::select! {
                biased;
                () = &mut another => return Err(attacher.abandon()),
                () = &mut limit => return Err(attacher.abandon()),
                turn = turn(attacher, ring, reader, scraping.as_mut()) => turn?,
            };
            match turn {
                Turn::Reported(Report::Detached(counters)) => return hooks(counters),
                // Nothing more is asked of it.
                Turn::Scraped(_) => self.answer_scrape(),
                turn => self.turned(turn),
            }
        }
    }
}

/// What came of [`turn`].
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is not kept")]
enum Turn {
    /// The attacher's report.
    Reported(Report),
    /// Somebody scrapes.
    Scraped(Step),
    /// What was in the ring, or held, went on.
    Read,
}

/// What is done at all times, also while hundreds of interfaces are attached or detached: waits for what happens first.
/// Nothing is lost if this is dropped while it waits.
async fn turn(
    attacher: &Handle,
    ring: &mut Ring,
    reader: &mut Reader,
    scraping: Option<&mut Scraping>,
) -> Result<Turn, Error> {
    let held = reader.dedup.due();
    tokio::select! {
        biased;
        report = attacher.next() => return Ok(Turn::Reported(report?)),
        step = Scraping::step(scraping) => return Ok(Turn::Scraped(step)),
        read = ring.read(|bytes| reader.event(bytes, attacher)) => {
            let more =
                read.map_err(|source| Error::Process { what: "read the ring buffer", source })?;
            reader.flush();
            if more {
                // Signals are heard here, also while the ring is never empty.
                tokio::task::yield_now().await;
            }
        }
        // Behind the ring: in it may be other sightings of what is held.
        () = passed(held) => reader.release_due(),
    }
    Ok(Turn::Read)
}

/// Counters by hook.
fn hooks(counters: Counters) -> Result<Vec<(Hook, CounterBlock)>, Error> {
    let blocks = counters.map_err(Error::Counters)?;
    Ok(KERNEL_HOOKS.into_iter().zip(blocks).collect())
}

/// Resolves when it is `due` on the kernel's clock; never if nothing is.
async fn passed(due: Option<u64>) {
    let Some(due) = due else { return std::future::pending().await };
    tokio::time::sleep(Duration::from_nanos(due.saturating_sub(clock::kernel_now()))).await;
}

/// Resolves at `due`; never if that is never.
async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
