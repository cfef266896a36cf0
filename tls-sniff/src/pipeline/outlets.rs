//! What becomes of observations and packets: whether they are wanted, now or later, and where they go.

use tls_sniff_common::event::Event;

use super::{
    PipelineOptions, Sighting,
    lines::{Lines, WaitingLine},
};
use crate::{
    dedup::SeenOn,
    metrics::Handshakes,
    observation::{Ends, Observation, PipelineCounters},
    recorder::{OwnedPacket, Recorder},
    selection::{Fate, Item, Selection},
};

/// What becomes of observations and packets.
pub(super) struct Outlets {
    pub(super) options: PipelineOptions,
    pub(super) lines: Lines,
    pub(super) recorder: Option<Recorder>,
    pub(super) selection: Selection<WaitingLine, OwnedPacket>,
    /// All of them, whatever is selected.
    pub(super) handshakes: Option<Handshakes>,
    pub(super) counters: PipelineCounters,
    /// Handshakes that failed, whether they are wanted or not.
    pub(super) failed: u64,
    /// Packets handed to the capture.
    pub(super) packets: u64,
    /// Packets that no filter selects, the context of others, and those behind the last that `-c` asked for.
    pub(super) context: u64,
    /// Of [`Selection`], to be written.
    pub(super) released: Vec<Item<WaitingLine, OwnedPacket>>,
}

impl Outlets {
    pub(super) fn is_done(&self) -> bool {
        let has_lines = !self.lines.is_empty();
        let done = if has_lines { self.counters.observations } else { self.packets };
        self.options.count.is_some_and(|count| done >= count)
    }

    /// An observation; `current`: between whom the event went that led to it, if one did.
    pub(super) fn observation(&mut self, observation: &Observation<'_>, current: Option<&Ends>) {
        if let Observation::Handshake(handshake) = observation {
            self.failed += u64::from(handshake.outcome.is_failure());
            if let Some(handshakes) = &mut self.handshakes {
                handshakes.count(handshake);
            }
        }
        if let (Some(recorder), Some(current)) = (&mut self.recorder, current) {
            recorder.observation(observation, current);
        }
        let wanted = self.lines.wants(observation.kind()) && self.options.selects(observation);
        if self.selection.takes_all_lines() {
            if wanted && self.counts() {
                self.lines.observation(observation);
            }
            return;
        }
        let mut released = std::mem::take(&mut self.released);
        let fate = self.selection.observation(observation, &mut released);
        self.release(released);
        match fate {
            _ if !wanted => {}
            Fate::Pass => {
                if self.counts() {
                    self.lines.observation(observation);
                }
            }
            Fate::Drop => self.counters.unselected += 1,
            Fate::Wait => {
                if let Some(lines) = self.lines.waiting(observation) {
                    self.selection.hold(observation.ends(), Item::Line(lines));
                }
            }
        }
    }

    /// Counts an observation. Whether it is not beyond the last that `-c` asked for.
    fn counts(&mut self) -> bool {
        let Self { options, counters, .. } = self;
        counters.observations += 1;
        let beyond = options.count.is_some_and(|count| counters.observations > count);
        counters.beyond_count += u64::from(beyond);
        !beyond
    }

    /// Writes what had to wait.
    pub(super) fn release(&mut self, mut released: Vec<Item<WaitingLine, OwnedPacket>>) {
        for item in released.drain(..) {
            match item {
                Item::Line(line) => {
                    if self.counts() {
                        self.lines.release(&line);
                    }
                }
                Item::Packet(packet) => self.record(&packet),
            }
        }
        // Its memory is for the next time.
        self.released = released;
    }

    /// Whether so many packets are written as were asked for; with lines, those are counted.
    fn is_enough(&self) -> bool {
        self.lines.is_empty() && self.options.count.is_some_and(|count| self.packets >= count)
    }

    fn record(&mut self, packet: &OwnedPacket) {
        if self.is_enough() {
            self.context += 1;
        } else if let Some(recorder) = &mut self.recorder {
            self.packets += 1;
            recorder.capture().packet(&packet.packet());
        }
    }

    /// The packet of an event, after what it completed was observed.
    pub(super) fn packet(&mut self, event: &Event<'_>, sighting: Sighting<'_>) {
        let Self { recorder: Some(recorder), selection, .. } = self else { return };
        let Sighting { timestamp, on: SeenOn { interface, .. }, link_type } = sighting;
        let mut released = std::mem::take(&mut self.released);
        let fate = match selection.takes_packets_alone() {
            true if event.is_selected() => Fate::Pass,
            true => Fate::Drop,
            false => selection.packet(event, timestamp, &mut released),
        };
        if fate == Fate::Wait
            && let Some(packet) = recorder.copy(event, timestamp, interface, link_type)
        {
            selection.hold(Ends::of(event), Item::Packet(packet));
        }
        self.context += u64::from(fate == Fate::Drop);
        self.release(released);
        if fate == Fate::Pass && self.is_enough() {
            self.context += 1;
        } else if fate == Fate::Pass
            && let Some(recorder) = &mut self.recorder
        {
            self.packets += u64::from(recorder.write(event, timestamp, interface, link_type));
        }
    }
}
