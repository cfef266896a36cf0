//! The counters of a run.

use serde::Serialize;
use tls_sniff_common::{
    counters::{Counter, CounterBlock, CounterKind},
    flow::Hook,
};

use crate::clock::Timestamp;

/// Why statistics are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatsReason {
    /// Something was lost since they were last told.
    Loss,
    /// `--stats-interval` has passed.
    Interval,
    /// The run has ended.
    End,
}

/// The counters of one run so far. Each stage's input is the sum of what it did with it; before the end, the rest is
/// on its way.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Why they are told.
    pub reason: StatsReason,
    /// When they were read.
    pub timestamp: Timestamp,
    /// How long the run took so far, in seconds.
    pub seconds: f64,
    /// Where packets were inspected: `seen` = all others together, for each hook.
    pub hooks: Vec<(Hook, CounterBlock)>,
    /// What user space made of the events.
    pub pipeline: PipelineCounters,
    /// What each output made of the observations that it asks for.
    pub outputs: Vec<OutputStats>,
    /// What became of their packets, if there is a capture.
    pub capture: Option<CaptureStats>,
    /// Frames of a capture file whose link type cannot be walked, by link type.
    pub skipped_link_types: Vec<(u32, u64)>,
}

/// What user space made of the events; sinks write the fields under their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PipelineCounters {
    /// Events taken from the ring or made from a file.
    pub received: u64,
    /// Events that were no events of this build.
    pub undecodable: u64,
    /// Events of packets that were seen elsewhere before; all others go to the sessions.
    pub duplicates: u64,
    /// Events of connections that are no longer, or not yet, in their handshake, and say nothing alone.
    pub unrelated: u64,
    /// Segments with more messages than are taken of one: what is beyond is no observation.
    pub crowded_segments: u64,
    /// Connections whose handshake was followed.
    pub connections: u64,
    /// Connections given up to keep memory bounded; their observations say `memory`.
    pub evicted: u64,
    /// Observations made that an output asks for, each once.
    pub observations: u64,
    /// The sum over the outputs of what they wrote.
    pub written: u64,
    /// The sum over the outputs of what they lost.
    pub dropped: u64,
    /// The sum over the outputs of what came when their readers had gone.
    pub after_end: u64,
    /// Observations after the last that `-c` asked for: they go to no output.
    pub beyond_count: u64,
    /// Not among `observations`: those of connections that the filters for handshakes leave out.
    pub unselected: u64,
    /// Not among `observations`: those that waited for the filters' answer when memory was needed.
    pub given_up: u64,
}

/// An output and its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputStats {
    /// Its target, as `--output` has it.
    pub name: String,
    /// What became of the events for it.
    #[serde(flatten)]
    pub counters: OutputCounters,
}

/// What became of the events that one output asks for: at the end `events` is the sum of all others; before, the rest
/// is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutputCounters {
    /// Events that it asks for.
    pub events: u64,
    /// Events that were written, or that the system took for a socket.
    pub written: u64,
    /// Events that found the queue full, or for which there was no time at the end: the reader is slow.
    pub lost_queue: u64,
    /// Likewise, while nobody was connected.
    pub lost_connection: u64,
    /// Events that the disk or the socket refused.
    pub lost_write: u64,
    /// Events that came when the reader had gone for good.
    pub after_end: u64,
}

impl OutputCounters {
    /// The sums with those of another output.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            written: self.written + other.written,
            lost_queue: self.lost_queue + other.lost_queue,
            lost_connection: self.lost_connection + other.lost_connection,
            lost_write: self.lost_write + other.lost_write,
            after_end: self.after_end + other.after_end,
        }
    }

    /// Events that are lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost_queue + self.lost_connection + self.lost_write
    }

    /// Events whose fate is not known yet.
    #[must_use]
    pub const fn on_their_way(&self) -> u64 {
        self.events.saturating_sub(self.written + self.lost() + self.after_end)
    }
}

/// What became of the packets of events, if they are captured: each was handed to the capture file, or is one of
/// `unselected` and `given_up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CaptureStats {
    /// What became of the packets that were handed to the capture file.
    #[serde(flatten)]
    pub file: CaptureCounters,
    /// Packets that the filters leave out, the context of packets that they select, and what came behind the last
    /// that `-c` asked for.
    pub unselected: u64,
    /// Packets that waited for the filters' answer when memory was needed.
    pub given_up: u64,
}

/// What became of the packets of a capture file. At its end it adds up: `taken` is the sum of the five below it;
/// before, the rest is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CaptureCounters {
    /// Packets handed over.
    #[serde(rename = "packets")]
    pub taken: u64,
    /// Packets in files.
    pub written: u64,
    /// Packets that found the queue full or the thread gone.
    pub dropped_queue: u64,
    /// Packets that the disk had no space for, or refused.
    pub dropped_disk: u64,
    /// Packets of another link type than the pcap file's.
    pub other_link_type: u64,
    /// Packets that came when the last file was complete, or the reader of a pipe had gone.
    pub after_end: u64,
    /// Files opened.
    pub files: u64,
    /// Bytes in files, as compressed.
    pub bytes: u64,
}

impl CaptureCounters {
    /// Packets that are lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.dropped_queue + self.dropped_disk + self.other_link_type
    }

    /// Packets whose fate is not known yet.
    #[must_use]
    pub const fn on_their_way(&self) -> u64 {
        self.taken.saturating_sub(self.written + self.lost() + self.after_end)
    }
}

/// What was lost so far, by the stage that lost it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Segments that were found and did not become events.
    pub segments: u64,
    /// Handshakes that the kernel's table had no room for.
    pub flows: u64,
    /// Events, by the output that lost them, if one did; of its counters those of losses.
    pub outputs: Vec<OutputStats>,
    /// Packets that a slow disk had no room for.
    pub queued_packets: u64,
    /// Packets that the disk refused.
    pub refused_packets: u64,
    /// Handshakes given up for their memory or number, and told as far as they came.
    pub handshakes: u64,
    /// Events and packets that waited for the filters' answer when memory was needed.
    pub given_up: u64,
}

impl Losses {
    /// All together: segments, events, packets and handshakes.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let Self { segments, flows, queued_packets, refused_packets, handshakes, given_up, .. } =
            *self;
        let events: u64 = self.outputs.iter().map(|output| output.counters.lost()).sum();
        segments + flows + events + queued_packets + refused_packets + handshakes + given_up
    }

    /// What was lost since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let of = |stats: &OutputStats| {
            let earlier = earlier.outputs.iter().find(|it| it.name == stats.name);
            let before = earlier.map(|it| it.counters).unwrap_or_default();
            let now = stats.counters;
            let counters = OutputCounters {
                lost_queue: now.lost_queue.saturating_sub(before.lost_queue),
                lost_connection: now.lost_connection.saturating_sub(before.lost_connection),
                lost_write: now.lost_write.saturating_sub(before.lost_write),
                ..OutputCounters::default()
            };
            OutputStats { name: stats.name.clone(), counters }
        };
        Self {
            segments: self.segments.saturating_sub(earlier.segments),
            flows: self.flows.saturating_sub(earlier.flows),
            outputs: self.outputs.iter().map(of).collect(),
            queued_packets: self.queued_packets.saturating_sub(earlier.queued_packets),
            refused_packets: self.refused_packets.saturating_sub(earlier.refused_packets),
            handshakes: self.handshakes.saturating_sub(earlier.handshakes),
            given_up: self.given_up.saturating_sub(earlier.given_up),
        }
    }
}

impl Stats {
    /// Segments that were found and did not become events, over all hooks.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sum(|counter| counter.kind() == CounterKind::Lost)
    }

    /// What was lost, by the stage that lost it.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let PipelineCounters { evicted, given_up, .. } = self.pipeline;
        let has_lost = |stats: &&OutputStats| stats.counters.lost() > 0;
        let lost = |stats: &OutputStats| {
            let counters = OutputCounters { events: 0, written: 0, after_end: 0, ..stats.counters };
            OutputStats { name: stats.name.clone(), counters }
        };
        let file = self.capture.map(|capture| capture.file).unwrap_or_default();
        Losses {
            segments: self.lost(),
            flows: self.sum(|counter| counter == Counter::FlowEvicted),
            outputs: self.outputs.iter().filter(has_lost).map(lost).collect(),
            queued_packets: file.dropped_queue,
            refused_packets: file.dropped_disk,
            handshakes: evicted,
            given_up: given_up + self.capture.map_or(0, |capture| capture.given_up),
        }
    }

    /// Whether the fate of something is not known yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.capture.is_some_and(|capture| capture.file.on_their_way() > 0)
            || self.outputs.iter().any(|output| output.counters.on_their_way() > 0)
    }

    fn sum(&self, of: impl Fn(Counter) -> bool) -> u64 {
        let counts = self.hooks.iter().flat_map(|(_, block)| Counter::ALL.iter().zip(block));
        counts.filter(|(counter, _)| of(**counter)).map(|(_, count)| count).sum()
    }
}
