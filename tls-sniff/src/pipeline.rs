//! The stages behind a source, put together: event → observations → formatted → output.

use std::{io, time::Instant};

use tls_sniff_common::{counters::CounterBlock, event::Event, flow::Hook};

use crate::{
    clock::Timestamp,
    decode::{self, Sighting},
    observation::{PipelineCounters, Stats},
    sink::{
        Formatter,
        output::{Output, WhenFull, Written},
    },
};

/// What the pipeline is told.
#[derive(Clone, Copy, Debug)]
pub struct PipelineOptions {
    /// Report application data records.
    pub application_data: bool,
    /// Stop after this many observations.
    pub count: Option<u64>,
}

/// One run's stages and their counters.
pub struct Pipeline {
    options: PipelineOptions,
    formatter: Formatter,
    output: Output,
    counters: PipelineCounters,
    started: Instant,
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
        Ok(Self { options, formatter, output, counters, started: Instant::now() })
    }

    /// Takes one event.
    pub fn event(&mut self, event: &Event<'_>, sighting: Sighting<'_>) {
        self.counters.received += 1;
        let Self { options, formatter, output, counters, .. } = self;
        let crowded = decode::decode(event, sighting, options.application_data, |observation| {
            counters.observations += 1;
            if options.count.is_some_and(|count| counters.observations > count) {
                counters.beyond_count += 1;
            } else {
                output.event(|batch| formatter.observation(observation, batch));
            }
        });
        counters.crowded_segments += u64::from(crowded);
    }

    /// Takes note of bytes that were no event, and returns how many such there were.
    pub const fn undecodable(&mut self) -> u64 {
        self.counters.received += 1;
        self.counters.undecodable += 1;
        self.counters.undecodable
    }

    /// Whether `count` is reached.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.options.count.is_some_and(|count| self.counters.observations >= count)
    }

    /// Lets the output have what there is.
    pub fn flush(&mut self) {
        self.output.flush();
    }

    /// The output, to see whether it is still there.
    #[must_use]
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// Writes the statistics and ends the output.
    #[must_use]
    pub fn finish(
        mut self,
        hooks: Vec<(Hook, CounterBlock)>,
        skipped_link_types: Vec<(u32, u64)>,
        limit: std::time::Duration,
    ) -> (Stats, Written) {
        self.output.flush();
        self.counters.written = self.output.written();
        self.counters.dropped = self.output.dropped();
        let stats = Stats {
            timestamp: Timestamp::now(),
            seconds: self.started.elapsed().as_secs_f64(),
            hooks,
            pipeline: self.counters,
            skipped_link_types,
        };
        let mut last = Vec::new();
        self.formatter.stats(&stats, &mut last);
        let written = self.output.finish(&last, limit);
        (stats, written)
    }
}
