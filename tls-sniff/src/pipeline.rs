//! The stages behind a source, put together: event → sessions → observations → formatted → output.

use std::{io, time::Instant};

use tls_sniff_common::{counters::CounterBlock, event::Event, flow::Hook};

use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    filter::PacketFilter,
    observation::{EventKind, Observation, PipelineCounters, Seen, SegmentObservation, Stats},
    session::{Limits, Sessions},
    sink::{
        Formatter,
        output::{Output, WhenFull, Written},
    },
};

/// Where and when a segment was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// When.
    pub timestamp: Timestamp,
    /// The interfaces by name.
    pub on: SeenOn<'a>,
}

/// What the pipeline is told.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// Which events to write.
    pub events: Vec<EventKind>,
    /// Which packets they may come from, and which records they may be.
    pub filter: PacketFilter,
    /// Stop after this many observations.
    pub count: Option<u64>,
    /// Whether a packet that is seen on several interfaces is one packet, and its connection one connection.
    pub dedup: bool,
}

impl PipelineOptions {
    /// Whether application data outside of handshakes is wanted.
    #[must_use]
    pub fn application_data(&self) -> bool {
        self.events.contains(&EventKind::ApplicationData)
    }

    /// Whether an observation is to be written.
    fn wants(&self, observation: &Observation<'_>) -> bool {
        let selected = match observation {
            Observation::Message(message) => {
                !self.filter.narrows_segments()
                    || (message.seen.selected && self.filter.wants_message(message))
            }
            Observation::Segment(segment) => segment.seen.selected,
            Observation::Handshake(_) => true,
        };
        selected && self.events.contains(&observation.kind())
    }
}

/// One run's stages and their counters.
pub struct Pipeline {
    sessions: Sessions,
    writer: Writer,
    started: Instant,
}

/// What becomes of observations.
struct Writer {
    options: PipelineOptions,
    formatter: Formatter,
    output: Output,
    counters: PipelineCounters,
}

impl Writer {
    fn is_done(&self) -> bool {
        self.options.count.is_some_and(|count| self.counters.observations >= count)
    }

    fn write(&mut self, observation: &Observation<'_>) {
        let Self { options, formatter, output, counters } = self;
        if !options.wants(observation) {
            return;
        }
        counters.observations += 1;
        if options.count.is_some_and(|count| counters.observations > count) {
            counters.beyond_count += 1;
        } else {
            output.event(|batch| formatter.observation(observation, batch));
        }
    }
}

impl Pipeline {
    /// A pipeline that ends on stdout.
    ///
    /// # Errors
    ///
    /// If the output thread cannot be started.
    pub fn to_stdout(
        options: PipelineOptions,
        formatter: Formatter,
        when_full: WhenFull,
    ) -> io::Result<Self> {
        let output = Output::start(io::stdout(), when_full)?;
        let counters = PipelineCounters::default();
        let writer = Writer { options, formatter, output, counters };
        let limits = Limits {
            application_data: writer.options.application_data(),
            per_interface: !writer.options.dedup,
            ..Limits::default()
        };
        let sessions = Sessions::new(limits);
        Ok(Self { sessions, writer, started: Instant::now() })
    }

    /// Takes one event.
    pub fn event(&mut self, event: &Event<'_>, sighting: Sighting<'_>) {
        self.writer.counters.received += 1;
        let seen = Seen::of(event, sighting.timestamp);
        let Self { sessions, writer, .. } = self;
        let segment = SegmentObservation { seen, on: sighting.on, event };
        writer.write(&Observation::Segment(segment));
        sessions.event(event, sighting.on, seen, &mut |observation| {
            writer.write(observation);
        });
    }

    /// Looks after handshakes that have been silent for too long, while no events come.
    pub fn tick(&mut self, now: Timestamp) {
        let Self { sessions, writer, .. } = self;
        sessions.tick(now, &mut |observation| writer.write(observation));
    }

    /// Takes one event of a packet that was seen on `interfaces`, some of which have a `name`.
    pub fn seen_on<'n>(
        &mut self,
        event: &Event<'_>,
        timestamp: Timestamp,
        interfaces: &[u32],
        name: impl Fn(u32) -> Option<&'n str>,
    ) {
        SeenOn::of(interfaces, name, |on| self.event(event, Sighting { timestamp, on }));
    }

    /// Takes note of an event of a packet that was taken before.
    pub const fn duplicate(&mut self) {
        self.writer.counters.received += 1;
        self.writer.counters.duplicates += 1;
    }

    /// Takes note of bytes that were no event, and returns how many such there were.
    pub const fn undecodable(&mut self) -> u64 {
        self.writer.counters.received += 1;
        self.writer.counters.undecodable += 1;
        self.writer.counters.undecodable
    }

    /// Whether `count` is reached.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.writer.is_done()
    }

    /// Lets the output have what there is.
    pub fn flush(&mut self) {
        self.writer.output.flush();
    }

    /// The output, to see whether it is still there.
    #[must_use]
    pub const fn output(&self) -> &Output {
        &self.writer.output
    }

    /// Writes the statistics and ends the output.
    #[must_use]
    pub fn finish(
        self,
        hooks: Vec<(Hook, CounterBlock)>,
        skipped_link_types: Vec<(u32, u64)>,
        limit: std::time::Duration,
    ) -> (Stats, Written) {
        let Self { mut sessions, mut writer, started } = self;
        if !writer.is_done() && !writer.output.is_closed() {
            sessions.finish(&mut |observation| writer.write(observation));
        }
        let Writer { mut formatter, mut output, mut counters, .. } = writer;
        output.flush();
        counters.written = output.written();
        counters.dropped = output.dropped();
        let of_sessions = sessions.counters();
        counters.connections = of_sessions.connections;
        counters.evicted = of_sessions.evicted;
        counters.unrelated = of_sessions.unrelated;
        counters.crowded_segments = of_sessions.crowded_segments;
        let stats = Stats {
            timestamp: Timestamp::now(),
            seconds: started.elapsed().as_secs_f64(),
            hooks,
            pipeline: counters,
            skipped_link_types,
        };
        let mut last = Vec::new();
        formatter.stats(&stats, &mut last);
        let written = output.finish(&last, limit);
        (stats, written)
    }
}
