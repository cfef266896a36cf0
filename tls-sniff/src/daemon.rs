//! Live capture: load, attach, read until told to stop, detach, drain, account.
//!
//! ```text
//!                 ┌ signal | output closed | count reached ──► stop
//!  select ────────┼ link change ──► compare interfaces with what is attached
//!                 ├ ring readable ──► a bounded batch through dedup and the pipeline
//!                 ├ held for long enough ► what dedup holds, through the pipeline
//!                 └ something is due ► handshakes that fell silent, losses to be said, statistics
//!
//!  stop: detach → drain the ring → counters → stats event → output ends, within FINISH_LIMIT
//! ```

mod losses;
mod reader;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::{Duration, Instant},
};

use self::{
    losses::LossWatch,
    reader::{Periodic, Reader},
};
use crate::{
    attach::{AttachOptions, Attacher},
    clock::{self, KernelClock},
    dedup::{Dedup, HOLD},
    ending::{ended, stop_signal},
    error::Error,
    interfaces::{Interface, Interfaces},
    load::{self, LoadOptions},
    pipeline::{Pipeline, PipelineOptions, Sinks},
    privilege,
    sink::output::WhenFull,
    source::ring::Ring,
};

/// The index of loopback in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Which interfaces to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All that are up, also those that appear later.
    Any,
    /// Those with these names.
    Named(BTreeSet<String>),
}

impl Selection {
    fn wants(&self, interface: &Interface) -> bool {
        match self {
            Self::Any => interface.up,
            Self::Named(names) => names.contains(&interface.name),
        }
    }

    /// Whether a packet may be seen more than once: on several interfaces, or on its way out of loopback and in
    /// again.
    fn sees_twice(&self, found: &[Interface]) -> bool {
        let loopback = |interface: &Interface| interface.index == LOOPBACK && self.wants(interface);
        match self {
            Self::Any => true,
            Self::Named(names) => names.len() > 1 || found.iter().any(loopback),
        }
    }
}

/// What a live run is told.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Interfaces.
    pub selection: Selection,
    /// Hooks.
    pub attach: AttachOptions,
    /// Kernel programs.
    pub load: LoadOptions,
    /// Events.
    pub pipeline: PipelineOptions,
    /// How often statistics are told beside the last ones.
    pub stats_interval: Option<Duration>,
}

/// Watches until a signal, a closed output, or the wanted number of events.
///
/// # Errors
///
/// See [`Error`].
pub async fn run(mut options: LiveOptions, sinks: Sinks) -> Result<(), Error> {
    privilege::check()?;
    let mut interfaces = Interfaces::open()?;
    let found = interfaces.list().await?;
    check_names(&options.selection, &found)?;
    let stop = stop_signal()?;

    let least = options.load.least_ring_len();
    if options.load.ring_len < least {
        let asked = options.load.ring_len;
        tracing::warn!(
            "--ring-bytes {asked} has no room for two of the largest events; it is {least} now"
        );
        options.load.ring_len = least;
    }
    let mut programs = load::load(&options.load)?;
    #[cfg(feature = "kernel-log")]
    crate::kernel_log::forward(&mut programs);
    let packets = options.load.snaplen > 0;
    let ring = Ring::new(programs.take_ring()?, options.load.ring_len, packets)
        .map_err(|source| Error::Process { what: "watch the ring buffer", source })?;
    let counters = programs.take_counters()?;
    let dedup = options.pipeline.dedup && options.selection.sees_twice(&found);
    let pipeline = Pipeline::start(options.pipeline, sinks.open(WhenFull::Drop)?)?;
    let mut live = Live {
        selection: options.selection,
        attacher: Attacher::new(programs, options.attach),
        reader: Reader {
            dedup: if dedup { Dedup::new(HOLD) } else { Dedup::off() },
            pipeline,
            clock: KernelClock::measure(),
            names: BTreeMap::new(),
            counters,
            losses: LossWatch::new(),
            ticked: Instant::now(),
            statistics: options.stats_interval.map(Periodic::new),
        },
        ring,
        refused: BTreeMap::new(),
    };
    tokio::pin!(stop);
    let outcome = tokio::select! {
        attached = live.attach_first(&found, &interfaces) => attached.map(|()| true),
        () = &mut stop => Ok(false),
    };
    let outcome = match outcome {
        Ok(true) => live.watch(&mut interfaces, &mut stop).await,
        Ok(false) => Ok(()),
        Err(error) => {
            live.attacher.detach_all();
            return Err(error);
        }
    };
    let finished = live.finish();
    outcome.and(finished)
}

/// Every interface that was named must be there at the start.
fn check_names(selection: &Selection, found: &[Interface]) -> Result<(), Error> {
    let Selection::Named(names) = selection else { return Ok(()) };
    match names.iter().find(|name| !found.iter().any(|interface| interface.name == **name)) {
        None => Ok(()),
        Some(name) => Err(Error::NoSuchInterface {
            name: name.clone(),
            available: found.iter().map(|interface| interface.name.clone()).collect(),
        }),
    }
}

/// A run in progress.
struct Live {
    selection: Selection,
    attacher: Attacher,
    reader: Reader,
    ring: Ring,
    /// Interfaces that could not be attached, as they were then: tried again when they have changed.
    refused: BTreeMap<u32, Interface>,
}

impl Live {
    /// Attaches to what is wanted. A named interface must succeed, of `any` at least one.
    async fn attach_first(
        &mut self,
        found: &[Interface],
        interfaces: &Interfaces,
    ) -> Result<(), Error> {
        let mut reasons = Vec::new();
        for interface in found.iter().filter(|interface| self.selection.wants(interface)) {
            self.reader.names.insert(interface.index, interface.name.clone());
            match self.attacher.attach(interface, interfaces.handle()).await {
                Ok(()) => {}
                Err(error) if self.selection == Selection::Any => {
                    tracing::warn!("{error}");
                    self.refused.insert(interface.index, interface.clone());
                    reasons.push(error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
            // The kernel takes some 20 ms for each link: a signal is not to wait for hundreds of them.
            tokio::task::yield_now().await;
        }
        let names = self.attacher.names();
        if names.is_empty() {
            return Err(Error::NothingToWatch { reasons });
        }
        tracing::info!("watching {}", names.join(", "));
        Ok(())
    }

    async fn watch(
        &mut self,
        interfaces: &mut Interfaces,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<(), Error> {
        let closed = self.reader.pipeline.closed();
        tokio::pin!(closed);
        loop {
            let Self { ring, reader, .. } = self;
            reader.keep_time();
            if reader.pipeline.is_done() {
                return Ok(());
            }
            let (held, due) = (reader.dedup.due(), reader.due());
            tokio::select! {
                biased;
                () = &mut *stop => return Ok(()),
                () = &mut closed => return Ok(()),
                () = interfaces.changed() => self.reconcile(interfaces).await,
                read = ring.read(|bytes| reader.event(bytes)) => {
                    let more = read
                        .map_err(|source| Error::Process { what: "read the ring buffer", source })?;
                    reader.flush();
                    if more {
                        // Signals are heard here, also while the ring is never empty.
                        tokio::task::yield_now().await;
                    }
                }
                // Behind the ring: in it may be other sightings of what is held.
                () = passed(held) => reader.release_due(),
                // Done above.
                () = reached(due) => {}
            }
        }
    }

    /// Makes what is attached agree with what there is. What fails is said and tried again at the next
    /// change: a run of months does not end because a list could not be had once.
    async fn reconcile(&mut self, interfaces: &Interfaces) {
        let found = match interfaces.list().await {
            Ok(found) => found,
            Err(error) => return tracing::warn!("{error}"),
        };
        let exists = |index: u32| found.iter().any(|interface| interface.index == index);
        self.refused.retain(|index, _| exists(*index));
        // An interface that is only down, or has another name now, keeps its programs.
        let gone: Vec<u32> = self.attacher.indices().filter(|index| !exists(*index)).collect();
        for index in gone {
            self.forget(index);
        }
        // The names of what was refused, and of what is gone after its last events are out.
        self.reader.names.retain(|index, _| exists(*index));
        let lost = self.attacher.let_go_of_lost(interfaces.handle()).await;
        for interface in &found {
            if self.attacher.watches(interface.index) {
                self.attacher.rename(interface);
                self.reader.names.insert(interface.index, interface.name.clone());
            } else if lost.contains(&interface.index) {
                // Also one that has another name by now than it was asked for by.
                let name = &interface.name;
                tracing::warn!("{name}: somebody removed tls-sniff's filters; attaching again");
                self.attach_later(interface, interfaces).await;
            } else if self.selection.wants(interface)
                && self.refused.get(&interface.index) != Some(interface)
            {
                self.attach_later(interface, interfaces).await;
            }
        }
    }

    /// Attaches to an interface that has appeared or come up.
    async fn attach_later(&mut self, interface: &Interface, interfaces: &Interfaces) {
        self.reader.names.insert(interface.index, interface.name.clone());
        match self.attacher.attach(interface, interfaces.handle()).await {
            Ok(()) => drop(self.refused.remove(&interface.index)),
            // It may have gone between the list and the attempt.
            Err(error) => {
                tracing::warn!("{error}");
                self.refused.insert(interface.index, interface.clone());
            }
        }
    }

    /// Drops an interface that is gone, after its last events, which are still in the ring.
    fn forget(&mut self, index: u32) {
        let Some(name) = self.attacher.detach(index) else { return };
        let Self { ring, reader, .. } = self;
        ring.drain(|bytes| reader.event(bytes));
        reader.release_all();
        reader.flush();
        tracing::info!("{name} is gone");
        if self.attacher.names().is_empty() {
            tracing::warn!("no interface is left to watch; waiting for one to appear");
        }
    }

    /// Detaches, drains, accounts.
    fn finish(mut self) -> Result<(), Error> {
        self.attacher.detach_all();
        let Self { mut ring, mut reader, .. } = self;
        ring.drain(|bytes| reader.event(bytes));
        let hooks = reader.counters.read()?;
        // What a program that was still running put there between the two.
        ring.drain(|bytes| reader.event(bytes));
        reader.release_all();
        ended(reader.finish(&hooks))
    }
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
