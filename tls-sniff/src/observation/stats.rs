//! The counters of a run.

use serde::Serialize;
use tls_sniff_common::{
    counters::{Counter, CounterBlock, CounterKind},
    flow::Hook,
};

use crate::clock::Timestamp;

/// The counters of one run. Each stage's input is the sum of what it did with it.
#[derive(Clone, Debug)]
pub struct Stats {
    /// When they were read.
    pub timestamp: Timestamp,
    /// How long the run took so far, in seconds.
    pub seconds: f64,
    /// Where packets were inspected: `seen` = all others together, for each hook.
    pub hooks: Vec<(Hook, CounterBlock)>,
    /// What user space made of the events.
    pub pipeline: PipelineCounters,
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
    /// Observations made: `written` + `dropped` + `beyond_count`.
    pub observations: u64,
    /// Observations handed to the output.
    pub written: u64,
    /// Observations that a slow output had no room for.
    pub dropped: u64,
    /// Observations after the last that `-c` asked for.
    pub beyond_count: u64,
    /// Not among `observations`: those of connections that the filters for handshakes leave out.
    pub unselected: u64,
    /// Not among `observations`: those that waited for the filters' answer when memory was needed.
    pub given_up: u64,
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

impl Stats {
    /// Records that were found and did not become events, over all hooks.
    #[must_use]
    pub fn lost(&self) -> u64 {
        lost(&self.hooks)
    }
}

/// Records that were found and did not become events.
#[must_use]
pub fn lost(hooks: &[(Hook, CounterBlock)]) -> u64 {
    let counts = hooks.iter().flat_map(|(_, block)| Counter::ALL.iter().zip(block));
    counts.filter(|(counter, _)| counter.kind() == CounterKind::Lost).map(|(_, count)| count).sum()
}
