//! What the kernel programs do, on frames of a file: the same walk, rules, gate and events.

use std::cell::Cell;

use tls_sniff_common::{
    Flows, arrival,
    config::MAX_CAPTURE_LEN,
    counters::Counter,
    event::{Event, EventHeader, marks},
    filter::{self, Rules as _, records::Records},
    flow::{Direction, FlowId, FlowKey, Hook},
    gate::{BUCKETS, Bucket, Emission},
    headers::{self, Segment},
    is_idle, judge,
};

use super::Frame;
use crate::filter::{expression::Expression, packet::RuleSet};

/// The key of the flow hash; any, but the same for the same file.
const FLOW_KEY: FlowKey = FlowKey::of(0x2545_f491_4f6c_dd1d);

/// Behind the link layers.
const NO_DIRECTION: u8 = 1 << 7;

/// The rules and the gate's table for one file; its clock is that of the frames.
pub struct Examiner {
    capture_len: u32,
    rules: RuleSet,
    expression: Option<Expression>,
    /// Link layers that the expression is none for, and [`NO_DIRECTION`], as far as it was said.
    said: Cell<u8>,
    flows: FileFlows,
}

impl Examiner {
    /// A gate that knows no flow. `capture_len`: payload bytes of each segment to look at.
    #[must_use]
    pub fn new(capture_len: u32, rules: RuleSet) -> Self {
        let buckets = std::iter::repeat_with(Bucket::default).take(BUCKETS).collect();
        let flows = FileFlows { buckets, now: Cell::new(0), evicted: Cell::new(0) };
        let capture_len = capture_len.min(MAX_CAPTURE_LEN);
        Self { capture_len, rules, expression: None, said: Cell::new(0), flows }
    }

    /// Looks only at frames that match an expression.
    #[must_use]
    pub fn with_expression(self, expression: Option<Expression>) -> Self {
        Self { expression, ..self }
    }

    /// Looks at a frame.
    ///
    /// # Errors
    ///
    /// The counter that says why it is no event.
    pub fn examine<'a>(&self, frame: &Frame<'a>) -> Result<Event<'a>, Counter> {
        let packet = &frame.packet;
        if !self.matches_expression(frame) {
            return Err(Counter::Filtered);
        }
        if self.rules.direction() != 0 && frame.direction == Direction::Unknown {
            self.say(NO_DIRECTION, || {
                tracing::warn!("the file does not tell directions: --direction leaves nothing out");
            });
        }
        if !filter::wants_direction(&self.rules, frame.direction) {
            return Err(Counter::Filtered);
        }
        let mut segment = headers::walk(packet, frame.link)?;
        if is_idle(&segment, &self.rules) {
            return Err(Counter::NoPayload);
        }
        if !self.wants_connection(frame, &segment)? {
            return Err(Counter::Filtered);
        }
        self.flows.now.set(u64::try_from(frame.timestamp_ns).unwrap_or(0));
        let key = FLOW_KEY.on(frame.interface_index);
        let arrival = arrival(packet, &mut segment, key, &self.rules)?;
        let records = Records { rules: &self.rules, packet: *packet, segment: &segment };
        let emission = judge(&self.flows, &arrival, &records)?;
        self.event(frame, &segment, &emission).ok_or(Counter::ReadFailed)
    }

    /// Open flows that made room so far: [`Counter::FlowEvicted`].
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.flows.evicted.get()
    }

    fn matches_expression(&self, frame: &Frame<'_>) -> bool {
        let Some(expression) = &self.expression else { return true };
        match expression.matches(&frame.packet, frame.link) {
            Ok(matches) => matches,
            Err(error) => {
                self.say(1 << frame.link as u8, || {
                    tracing::warn!("nothing matches on the link layer {:?}: {error}", frame.link);
                });
                false
            }
        }
    }

    /// Says something once.
    fn say(&self, this: u8, warn: impl FnOnce()) {
        let said = self.said.get();
        if said & this == 0 {
            warn();
            self.said.set(said | this);
        }
    }

    fn wants_connection(&self, frame: &Frame<'_>, segment: &Segment) -> Result<bool, Counter> {
        let Self { rules, .. } = self;
        let packet = &frame.packet;
        if rules.vlans() != 0 {
            let tags = filter::tags(packet, frame.link, segment, None);
            if !filter::wants_vlan(rules, tags) {
                return Ok(false);
            }
        }
        if !filter::wants_ends(rules, packet, segment)? {
            return Ok(false);
        }
        if rules.sample() > 1 {
            return filter::is_sampled(rules, packet, segment, FLOW_KEY);
        }
        Ok(true)
    }

    fn event<'a>(
        &self,
        frame: &Frame<'a>,
        segment: &Segment,
        emission: &Emission,
    ) -> Option<Event<'a>> {
        let packet = &frame.packet;
        let mut header = EventHeader::default();
        header.describe(packet, frame.link, segment)?;
        let start = segment.payload_offset;
        let there = packet.bytes.len().saturating_sub(start);
        let limit = self.capture_len.min(emission.capture) as usize;
        let captured = limit.min(segment.payload_len).min(there);
        header.timestamp = self.flows.now.get();
        header.syn_time = emission.syn_time;
        header.syn_ack_time = emission.syn_ack_time;
        header.packet_len = u32::try_from(packet.wire_len).unwrap_or(u32::MAX);
        header.packet_captured = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
        header.captured_len = u16::try_from(captured).unwrap_or(u16::MAX);
        header.interface = frame.interface_index;
        header.hook = Hook::File as u8;
        header.direction = frame.direction as u8;
        if emission.selected {
            header.marks |= marks::SELECTED;
        }
        let payload = packet.bytes.get(start..start + captured).unwrap_or_default();
        // The walk has set all that an event is checked for.
        Event::new(header, payload, Some(packet.bytes)).ok()
    }
}

struct FileFlows {
    buckets: Vec<Bucket>,
    now: Cell<u64>,
    evicted: Cell<u64>,
}

impl Flows for FileFlows {
    fn bucket(&self, flow: FlowId) -> Option<&Bucket> {
        self.buckets.get(flow.bucket(BUCKETS))
    }

    fn evicts(&self) {
        self.evicted.set(self.evicted.get() + 1);
    }

    fn now(&self) -> u64 {
        self.now.get()
    }
}
