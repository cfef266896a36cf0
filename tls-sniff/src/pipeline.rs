//! The stages behind a source, put together.
//!
//! ```text
//!  event ─► sessions ─► observations ─┬► selection ─► lines: formatted ─► outputs
//!                                     └► comments ─┐
//!  event, with its packet ─────────────────────────┴► selection ─► capture file
//!                      observations of handshakes ─► metrics
//! ```

mod lines;
mod outlets;
mod sinks;

use std::time::{Duration, Instant};

use tls_sniff_common::{counters::CounterBlock, event::Event, flow::Hook};

pub use self::sinks::{OpenSinks, Sinks};
use self::{
    lines::{Lines, WaitingLine},
    outlets::Outlets,
};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    error::Error,
    filter::{PacketFilter, handshake::HandshakeFilter},
    metrics::{HandshakeCounts, Handshakes, MetricsOptions},
    observation::{
        CaptureCounters, CaptureStats, Ends, EventKind, EventKinds, Observation, OutputCounters,
        PipelineCounters, Seen, SegmentObservation, Stats, StatsReason,
    },
    recorder::{OwnedPacket, Recorder},
    selection::Selection,
    session::{Limits, Sessions},
    sink::{
        capture::{OpenCapture, SaveError},
        open::OutputOptions,
        output::{Output, Written},
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
    /// Which events any output asks for.
    pub events: Vec<EventKind>,
    /// Which packets they may come from, and which records they may be.
    pub filter: PacketFilter,
    /// Which handshakes are wanted.
    pub handshakes: HandshakeFilter,
    /// Stop after this many observations; packets, if no events are written.
    pub count: Option<u64>,
    /// Whether a packet that is seen on several interfaces is one packet, and its connection one connection.
    pub dedup: bool,
    /// Which metrics are kept, if any are.
    pub metrics: Option<MetricsOptions>,
}

impl PipelineOptions {
    /// Whether application data outside of handshakes is wanted.
    #[must_use]
    pub fn application_data(&self) -> bool {
        self.events.contains(&EventKind::ApplicationData)
    }

    /// Whether the filters select what an observation was made of; its connection may not be wanted.
    fn selects(&self, observation: &Observation<'_>) -> bool {
        match observation {
            Observation::Message(message) => {
                !self.filter.narrows_segments()
                    || (message.seen.selected && self.filter.wants_message(message))
            }
            Observation::Segment(segment) => segment.seen.selected,
            Observation::Handshake(_) => true,
        }
    }
}

/// What an output that is no longer asked for is given to take what it has.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

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
    /// How the lines ended: those on stdout, or those of the first file that lost some.
    pub written: Written,
    /// How the capture ended.
    pub capture: Result<(), SaveError>,
}

impl Pipeline {
    /// A pipeline that ends in `sinks`. Starts their threads, which have the rights that this one has.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub fn start(options: PipelineOptions, sinks: OpenSinks) -> Result<Self, Error> {
        let OpenSinks { outputs, capture, connector, when_full, .. } = sinks;
        let capture = capture.map(OpenCapture::start).transpose()?;
        let lines = Lines::start(outputs, connector, when_full)?;
        let selection = Selection::new(options.handshakes.clone(), options.filter.scope);
        let handshakes = options.metrics.as_ref().map(Handshakes::new);
        let kinds = kinds(&options, &selection, capture.is_some());
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
            handshakes,
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
        if outlets.lines.wants(EventKind::Segment) {
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
    pub fn outcomes(&self) -> (u64, Option<u64>) {
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

    /// Whether nobody reads the lines any more and there is nothing else, for a source that does not wait.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.decisive().is_some_and(Output::is_closed)
    }

    /// The output with which the run ends: stdout, if there is nothing else.
    fn decisive(&self) -> Option<&Output> {
        self.outlets.lines.decisive().filter(|_| self.outlets.recorder.is_none())
    }

    /// Lets the outputs have what there is.
    pub fn flush(&mut self) {
        let Outlets { lines, recorder, .. } = &mut self.outlets;
        lines.flush(recorder.is_some());
        if let Some(recorder) = recorder {
            recorder.capture().flush();
        }
    }

    /// Has the files of outputs opened by their names again, which somebody has renamed. What comes before that is done
    /// is in the old ones.
    pub fn reopen(&self) {
        self.outlets.lines.reopen();
    }

    /// Other filters and outputs from now on. Outputs whose target stays keep their queues and counters; one that is no
    /// longer asked for gets what it has. What waits for the filters' answer goes to the outputs that it was made for, in
    /// their form of then; [`Selection::reload`] says by which rules. `-c`, whether packets are told once, and metrics do
    /// not change, nor what is known of handshakes in progress: an event may lack what nobody asked for before.
    ///
    /// [`Pipeline::closed`] is to be asked again.
    ///
    /// # Errors
    ///
    /// If an output that is new cannot be opened: then all stays as it was.
    pub fn reload(
        &mut self,
        options: PipelineOptions,
        outputs: Vec<OutputOptions>,
    ) -> Result<(), Error> {
        let Self { sessions, outlets, .. } = self;
        outlets.lines.reload(outputs, RELOAD_LIMIT)?;
        let mut released = std::mem::take(&mut outlets.released);
        let PipelineOptions { handshakes, filter, .. } = &options;
        outlets.selection.reload(handshakes.clone(), filter.scope, &mut released);
        outlets.release(released);
        let PipelineOptions { count, dedup, metrics, .. } = &mut outlets.options;
        let (count, dedup, metrics) = (*count, *dedup, metrics.take());
        outlets.options = PipelineOptions { count, dedup, metrics, ..options };
        let kinds = kinds(&outlets.options, &outlets.selection, outlets.recorder.is_some());
        sessions.ask_for(kinds, outlets.options.application_data());
        Ok(())
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
        let outputs = outlets.lines.stats();
        let of_outputs = outputs.iter().map(|output| output.counters);
        let of_outputs = of_outputs.fold(OutputCounters::default(), OutputCounters::plus);
        let pipeline = PipelineCounters {
            connections: of_sessions.connections,
            evicted: of_sessions.evicted,
            unrelated: of_sessions.unrelated,
            crowded_segments: of_sessions.crowded_segments,
            unselected: outlets.counters.unselected + dropped.lines,
            given_up: dropped.lines_for_memory,
            written: of_outputs.written,
            dropped: of_outputs.lost(),
            after_end: of_outputs.after_end,
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
            outputs,
            capture,
            skipped_link_types: Vec::new(),
        }
    }

    /// The counters of handshakes so far, if metrics are kept. Interfaces that are not there any more are forgotten.
    pub fn handshakes(&mut self, is_there: impl Fn(&str) -> bool) -> Option<HandshakeCounts> {
        self.outlets.handshakes.as_mut().map(|handshakes| handshakes.counts(is_there))
    }

    /// Connections that are followed, and the memory that they take in bytes.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        (self.sessions.len(), self.sessions.memory())
    }

    /// Tells the capture what the kernel lost so far: each file that ends says it.
    pub fn tell_losses(&mut self, stats: &Stats) {
        if let Some(recorder) = &mut self.outlets.recorder {
            recorder.capture().kernel_drops(stats.lost());
        }
    }

    /// Tells `stats` before the end to those who read the lines.
    pub fn report(&mut self, stats: &Stats) {
        self.outlets.lines.report(stats);
    }

    /// Resolves when the run is over for want of an output: the capture is complete, or its reader gone; without
    /// one, when the reader of the lines is gone.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let lines = self.decisive().map(Output::closed);
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
        // The last statistics tell what was lost, and need time themselves.
        let (deadline, for_the_last) = (Instant::now() + limit, limit / 5);
        self.outlets.lines.drain(deadline - for_the_last);
        let mut stats = self.stats(StatsReason::End, hooks);
        stats.skipped_link_types = skipped_link_types;
        let lost = stats.lost();
        let Outlets { lines, recorder, .. } = self.outlets;
        let mut captured = Ok(());
        if let (Some(recorder), Some(capture)) = (recorder, &mut stats.capture) {
            (capture.file, captured) = recorder.into_capture().finish(lost, limit);
            say_totals(capture);
        }
        let written = lines.finish(&stats, deadline.max(Instant::now() + for_the_last));
        Finished { stats, written, capture: captured }
    }
}

/// The kinds of observations to make: comments and filters for handshakes ask for more than is written.
fn kinds(
    options: &PipelineOptions,
    selection: &Selection<WaitingLine, OwnedPacket>,
    captures: bool,
) -> EventKinds {
    let all = captures || !selection.takes_all_lines();
    let kinds = if all { EventKinds::ALL } else { EventKinds::of(&options.events) };
    if options.metrics.is_some() { kinds.with(EventKind::Handshake) } else { kinds }
}

/// The last words of a capture, which may have no events beside it.
fn say_totals(capture: &CaptureStats) {
    let CaptureStats { file, given_up, .. } = *capture;
    let CaptureCounters { written, files, .. } = file;
    let files = if files == 1 { String::new() } else { format!(" in {files} files") };
    tracing::info!("{written} packets written{files}");
    if file.lost() + given_up > 0 {
        tracing::warn!(
            "not written: {} that the disk refused, {} for a slow disk, {} of another link type, {} for memory",
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
