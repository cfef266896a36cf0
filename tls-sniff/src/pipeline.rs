//! The stages behind a source, put together.
//!
//! ```text
//!  event ─► sessions ─► observations ─┬► selection ─► lines: formatted ─► stdout
//!                                     └► comments ─┐
//!  event, with its packet ─────────────────────────┴► selection ─► capture file
//! ```

mod outlets;

use std::{
    io,
    time::{Duration, Instant},
};

use tls_sniff_common::{counters::CounterBlock, event::Event, flow::Hook};

use self::outlets::{Lines, Outlets};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    error::Error,
    filter::{PacketFilter, handshake::HandshakeFilter},
    observation::{
        CaptureCounters, CaptureStats, Ends, EventKind, EventKinds, Observation, PipelineCounters,
        Seen, SegmentObservation, Stats, StatsReason,
    },
    recorder::Recorder,
    selection::Selection,
    session::{Limits, Sessions},
    sink::{
        Formatter,
        capture::{Capture, CaptureOptions, SaveError},
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
    /// What its packet starts with, by the LINKTYPE registry.
    pub link_type: u32,
}

/// What the pipeline is told.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// Which events to write.
    pub events: Vec<EventKind>,
    /// Which packets they may come from, and which records they may be.
    pub filter: PacketFilter,
    /// Which handshakes are wanted.
    pub handshakes: HandshakeFilter,
    /// Stop after this many observations; packets, if no events are written.
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

    /// Whether an observation is to be written, if its connection is wanted.
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

/// Where it ends.
#[derive(Debug)]
pub struct Sinks {
    /// How events are written to stdout; `None` for no events.
    pub formatter: Option<Formatter>,
    /// The capture file, if there is to be one.
    pub capture: Option<CaptureOptions>,
}

/// One run's stages and their counters.
pub struct Pipeline {
    sessions: Sessions,
    outlets: Outlets,
    /// Whether it is found out how handshakes end.
    follows_outcomes: bool,
    started: Instant,
}

/// How a run ended.
pub struct Finished {
    /// Its counters.
    pub stats: Stats,
    /// How the lines ended.
    pub written: Written,
    /// How the capture ended.
    pub capture: Result<(), SaveError>,
}

impl Pipeline {
    /// A pipeline that ends in `sinks`.
    ///
    /// # Errors
    ///
    /// If the capture file cannot be written, or a thread not be started.
    pub fn start(
        options: PipelineOptions,
        sinks: Sinks,
        when_full: WhenFull,
    ) -> Result<Self, Error> {
        let lines = |formatter| {
            let output = Output::start(io::stdout(), when_full)?;
            Ok(Lines { formatter, output })
        };
        let no_thread = |source| Error::Process { what: "start the output thread", source };
        let capture =
            sinks.capture.map(|capture| Capture::start(capture, when_full)).transpose()?;
        let lines = sinks.formatter.map(lines).transpose().map_err(no_thread)?;
        let selection = Selection::new(options.handshakes.clone(), options.filter.scope);
        // Comments and filters for handshakes ask for more than is written.
        let all = capture.is_some() || !selection.takes_all_lines();
        let kinds = if all { EventKinds::ALL } else { EventKinds::of(&options.events) };
        let limits = Limits {
            kinds,
            application_data: options.application_data(),
            per_interface: !options.dedup,
            ..Limits::default()
        };
        let outlets = Outlets {
            options,
            lines,
            recorder: capture.map(Recorder::new),
            selection,
            counters: PipelineCounters::default(),
            failed: 0,
            packets: 0,
            context: 0,
            released: Vec::new(),
        };
        let sessions = Sessions::new(limits);
        let follows_outcomes = kinds.contains(EventKind::Handshake);
        Ok(Self { sessions, outlets, follows_outcomes, started: Instant::now() })
    }

    /// Takes one event.
    pub fn event(&mut self, event: &Event<'_>, sighting: Sighting<'_>) {
        let Self { sessions, outlets, .. } = self;
        outlets.counters.received += 1;
        let seen = Seen::of(event, sighting.timestamp);
        // Nobody else asks between whom it went.
        let ends = outlets.recorder.as_ref().map(|_| Ends::of(event));
        if let Some(recorder) = &mut outlets.recorder {
            recorder.begin();
        }
        if outlets.options.events.contains(&EventKind::Segment) {
            let segment = SegmentObservation { seen, on: sighting.on, event };
            outlets.observation(&Observation::Segment(segment), None);
        }
        sessions.event(event, sighting.on, seen, &mut |observation| {
            outlets.observation(observation, ends.as_ref());
        });
        outlets.packet(event, sighting);
        // Of a file, nothing else tells the time.
        outlets.selection.tick(sighting.timestamp);
    }

    /// Handshakes so far, and how many of them failed if that is found out.
    #[must_use]
    pub fn handshakes(&self) -> (u64, Option<u64>) {
        let failed = self.follows_outcomes.then_some(self.outlets.failed);
        (self.sessions.counters().connections, failed)
    }

    /// Looks after handshakes that have been silent for too long, while no events come.
    pub fn tick(&mut self, now: Timestamp) {
        let Self { sessions, outlets, .. } = self;
        sessions.tick(now, &mut |observation| outlets.observation(observation, None));
        outlets.selection.tick(now);
    }

    /// Takes note of an event of a packet that was taken before.
    pub const fn duplicate(&mut self) {
        let counters = &mut self.outlets.counters;
        counters.received += 1;
        counters.duplicates += 1;
    }

    /// Takes note of bytes that were no event, and returns how many such there were.
    pub const fn undecodable(&mut self) -> u64 {
        let counters = &mut self.outlets.counters;
        counters.received += 1;
        counters.undecodable += 1;
        counters.undecodable
    }

    /// Whether nothing more is wanted or can be written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let recorder = self.outlets.recorder.as_ref();
        self.outlets.is_done() || recorder.is_some_and(Recorder::is_closed)
    }

    /// Whether nobody reads the lines any more and there is no capture, for a source that does not wait.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.decisive_lines().is_some_and(|lines| lines.output.is_closed())
    }

    /// The lines, if the run ends with their reader: a capture goes on without.
    const fn decisive_lines(&self) -> Option<&Lines> {
        match &self.outlets {
            Outlets { lines: Some(lines), recorder: None, .. } => Some(lines),
            _ => None,
        }
    }

    /// Lets the outputs have what there is.
    pub fn flush(&mut self) {
        if let Some(lines) = &mut self.outlets.lines {
            lines.output.flush();
            if self.outlets.recorder.is_some() && lines.output.has_just_closed() {
                tracing::info!("the reader of stdout is gone; the capture goes on");
            }
        }
        if let Some(recorder) = &mut self.outlets.recorder {
            recorder.capture().flush();
        }
    }

    /// When, on the packets' clock, time alone will have something to tell: a handshake that has fallen silent, or
    /// something that waits in vain. `None` while there is nothing.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        [self.sessions.next_due(), self.outlets.selection.next_due()].into_iter().flatten().min()
    }

    /// The counters so far, with those of the hooks.
    #[must_use]
    pub fn stats(&self, reason: StatsReason, hooks: Vec<(Hook, CounterBlock)>) -> Stats {
        let Self { sessions, outlets, started, .. } = self;
        let of_sessions = sessions.counters();
        let dropped = outlets.selection.dropped();
        let output = outlets.lines.as_ref().map(|lines| &lines.output);
        let pipeline = PipelineCounters {
            connections: of_sessions.connections,
            evicted: of_sessions.evicted,
            unrelated: of_sessions.unrelated,
            crowded_segments: of_sessions.crowded_segments,
            unselected: outlets.counters.unselected + dropped.lines,
            given_up: dropped.lines_for_memory,
            written: output.map_or(0, Output::written),
            dropped: output.map_or(0, Output::dropped),
            after_end: output.map_or(0, Output::after_end),
            ..outlets.counters
        };
        let capture = outlets.recorder.as_ref().map(|recorder| CaptureStats {
            file: recorder.counters(),
            unselected: outlets.context + dropped.packets,
            given_up: dropped.packets_for_memory,
        });
        Stats {
            reason,
            timestamp: Timestamp::now(),
            seconds: started.elapsed().as_secs_f64(),
            hooks,
            pipeline,
            capture,
            skipped_link_types: Vec::new(),
        }
    }

    /// Tells the capture what the kernel lost so far: each file that ends says it.
    pub fn tell_losses(&mut self, stats: &Stats) {
        if let Some(recorder) = &mut self.outlets.recorder {
            recorder.capture().kernel_drops(stats.lost());
        }
    }

    /// Tells `stats` before the end to the reader of the lines.
    pub fn report(&mut self, stats: &Stats) {
        if let Some(Lines { formatter, output }) = &mut self.outlets.lines {
            let mut told = Vec::new();
            formatter.stats(stats, &mut told);
            if !told.is_empty() {
                output.report(told);
            }
        }
    }

    /// Resolves when the run is over for want of an output: the capture is complete, or its reader gone; without
    /// one, when the reader of the lines is gone.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let lines = self.decisive_lines().map(|lines| lines.output.closed());
        let capture = self.outlets.recorder.as_ref().map(Recorder::closed);
        async move {
            tokio::select! {
                () = resolved(lines) => {}
                () = resolved(capture) => {}
            }
        }
    }

    /// Writes the statistics and ends the outputs.
    #[must_use]
    pub fn finish(
        mut self,
        hooks: Vec<(Hook, CounterBlock)>,
        skipped_link_types: Vec<(u32, u64)>,
        limit: Duration,
    ) -> Finished {
        if !(self.is_done() || self.is_closed()) {
            let Self { sessions, outlets, .. } = &mut self;
            sessions.finish(&mut |observation| outlets.observation(observation, None));
        }
        self.outlets.selection.finish();
        self.flush();
        let mut stats = self.stats(StatsReason::End, hooks);
        stats.skipped_link_types = skipped_link_types;
        let lost = stats.lost();
        let Outlets { lines, recorder, .. } = self.outlets;
        let mut captured = Ok(());
        if let (Some(recorder), Some(capture)) = (recorder, &mut stats.capture) {
            (capture.file, captured) = recorder.into_capture().finish(lost, limit);
            say_totals(capture);
        }
        let Some(Lines { mut formatter, output }) = lines else {
            return Finished { stats, written: Written::All, capture: captured };
        };
        let mut last = Vec::new();
        formatter.stats(&stats, &mut last);
        let written = output.finish(&last, limit);
        Finished { stats, written, capture: captured }
    }
}

/// The last words of a capture, which may have no events beside it.
fn say_totals(capture: &CaptureStats) {
    let CaptureStats { file, given_up, .. } = *capture;
    let CaptureCounters { written, files, .. } = file;
    let files = if files == 1 { String::new() } else { format!(" in {files} files") };
    tracing::info!("{written} packets written{files}");
    if file.lost() + given_up > 0 {
        tracing::warn!(
            "not written: {} for want of space, {} for a slow disk, {} of another link type, {} for memory",
            file.dropped_disk,
            file.dropped_queue,
            file.other_link_type,
            given_up
        );
    }
}

/// What an output that is not there never does.
async fn resolved(closed: Option<impl Future<Output = ()>>) {
    match closed {
        Some(closed) => closed.await,
        None => std::future::pending().await,
    }
}
