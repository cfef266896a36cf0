//! What a scrape gets of a run.

use std::{fmt, sync::Arc, time::Instant};

use super::{
    exposition::{Writer, seconds},
    families,
    handshakes::HandshakeCounts,
    interfaces::InterfaceEvents,
    process::Usage,
    stages::{self, number},
};
use crate::{clock::Timestamp, observation::Stats, source::ring::RingFill};

/// The figures of a run at one time.
#[derive(Debug)]
pub struct Snapshot {
    /// When it was made.
    pub made: Instant,
    /// When the kernel's counters in it were read.
    pub counters_read: Instant,
    /// Handshakes so far.
    pub handshakes: HandshakeCounts,
    /// Events so far, by interface.
    pub interface_events: InterfaceEvents,
    /// Every stage's counters so far.
    pub stats: Stats,
    /// What there is now.
    pub now: State,
}

/// What a run holds, now.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Interfaces that are watched.
    pub interfaces: usize,
    /// Connections that are followed.
    pub connections: usize,
    /// Bytes of memory of these.
    pub connections_memory: usize,
    /// The ring buffer, if it can be looked at.
    pub ring: Option<RingFill>,
    /// The configuration.
    pub configuration: Configuration,
}

/// The configuration in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// When it was read.
    pub read: Timestamp,
    /// Whether it is what was last asked for.
    pub is_current: bool,
}

impl Default for Configuration {
    /// What the run began with.
    fn default() -> Self {
        Self { read: Timestamp::now(), is_current: true }
    }
}

impl Configuration {
    /// Another one was asked for now, and is in force or was refused.
    pub fn reloaded(&mut self, accepted: bool) {
        if accepted {
            *self = Self::default();
        } else {
            self.is_current = false;
        }
    }
}

/// A snapshot and what the process that serves it knows itself.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) process: Option<Usage>,
}

impl Scrape {
    pub(super) fn write(&self, writer: &mut Writer<'_, '_>) -> fmt::Result {
        let Snapshot { made, counters_read, handshakes, interface_events, stats, now } =
            &*self.snapshot;
        handshakes.write(writer)?;
        stages::write(stats, interface_events, writer)?;
        now.write(writer)?;
        let mut ages = writer.family(&families::AGE)?;
        ages.gauge(&["kernel"], counters_read.elapsed().as_secs_f64())?;
        ages.gauge(&["pipeline"], made.elapsed().as_secs_f64())?;
        now.configuration.write(writer)?;
        writer.family(&families::BUILD)?.info(&[env!("CARGO_PKG_VERSION")])?;
        Usage::write(self.process.as_ref(), writer)
    }
}

impl State {
    fn write(&self, writer: &mut Writer<'_, '_>) -> fmt::Result {
        let Self { interfaces, connections, connections_memory, ring, configuration: _ } = self;
        let gauge = |count: &usize| number(*count as u64);
        writer.gauge(&families::CONNECTIONS_OPEN, gauge(connections))?;
        writer.gauge(&families::CONNECTIONS_MEMORY, gauge(connections_memory))?;
        writer.gauge(&families::INTERFACES, gauge(interfaces))?;
        let ring_families = [
            (&families::RING_SIZE, ring.map(|ring| ring.size)),
            (&families::RING_USED, ring.map(|ring| ring.used)),
            (&families::RING_USED_MAX, ring.map(|ring| ring.most)),
        ];
        for (family, bytes) in ring_families {
            let mut series = writer.family(family)?;
            if let Some(bytes) = bytes {
                series.gauge(&[], number(bytes))?;
            }
        }
        Ok(())
    }
}

impl Configuration {
    fn write(&self, writer: &mut Writer<'_, '_>) -> fmt::Result {
        writer.gauge(&families::RELOAD_SUCCESSFUL, f64::from(u8::from(self.is_current)))?;
        let read = u64::try_from(self.read.0).unwrap_or(0);
        writer.gauge(&families::RELOAD_TIME, seconds(read))
    }
}
