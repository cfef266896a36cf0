//! What the kernel programs do, on frames of a file: the same walk, the same gate, the same events.

use std::cell::Cell;

use tls_sniff_common::{
    Flows, arrival,
    config::MAX_CAPTURE_LEN,
    counters::Counter,
    event::{Event, EventHeader},
    flow::{FlowId, Hook},
    gate::{BUCKETS, Bucket},
    headers, is_pure_acknowledgement, judge,
};

use super::Frame;

/// A frame that becomes an event.
#[derive(Clone, Copy, Debug)]
pub struct Examined<'a> {
    /// The event; its times are those of the frame.
    pub event: Event<'a>,
    /// Whether another flow had to make room in the gate.
    pub evicted: bool,
}

/// The gate's table for one file; its clock is that of the frames.
pub struct Examiner {
    capture_len: u32,
    application_data: bool,
    flows: FileFlows,
}

impl Examiner {
    /// A gate that knows no flow. `capture_len`: payload bytes of each segment to look at;
    /// `application_data`: whether such records are events outside of handshakes too.
    #[must_use]
    pub fn new(capture_len: u32, application_data: bool) -> Self {
        let buckets = std::iter::repeat_with(Bucket::default).take(BUCKETS).collect();
        let flows = FileFlows { buckets, now: Cell::new(0) };
        Self { capture_len: capture_len.min(MAX_CAPTURE_LEN), application_data, flows }
    }

    /// Looks at a frame.
    ///
    /// # Errors
    ///
    /// The counter that says why it is no event.
    pub fn examine<'a>(&self, frame: &Frame<'a>) -> Result<Examined<'a>, Counter> {
        let packet = &frame.packet;
        let mut segment = headers::walk(packet, frame.link)?;
        if is_pure_acknowledgement(&segment) {
            return Err(Counter::NoPayload);
        }
        self.flows.now.set(u64::try_from(frame.timestamp_ns).unwrap_or(0));
        let arrival = arrival(packet, &mut segment, u64::from(frame.interface_index))?;
        let emission = judge(&self.flows, &arrival, self.application_data)?;
        let mut header = EventHeader::default();
        header.describe(packet, frame.link, &segment).ok_or(Counter::ReadFailed)?;
        let start = segment.payload_offset;
        let there = packet.bytes.len().saturating_sub(start);
        let limit = self.capture_len.min(emission.capture) as usize;
        let captured = limit.min(segment.payload_len).min(there);
        header.timestamp = self.flows.now.get();
        header.syn_time = emission.syn_time;
        header.syn_ack_time = emission.syn_ack_time;
        header.captured_len = u16::try_from(captured).unwrap_or(u16::MAX);
        header.interface = frame.interface_index;
        header.hook = Hook::File as u8;
        header.direction = frame.direction as u8;
        let payload = packet.bytes.get(start..start + captured).unwrap_or_default();
        // The walk has set all that an event is checked for.
        let event = Event::new(header, payload).map_err(|_| Counter::ReadFailed)?;
        Ok(Examined { event, evicted: emission.evicted })
    }
}

struct FileFlows {
    buckets: Vec<Bucket>,
    now: Cell<u64>,
}

impl Flows for FileFlows {
    fn bucket(&self, flow: FlowId) -> Option<&Bucket> {
        self.buckets.get(flow.bucket(BUCKETS))
    }

    fn now(&self) -> u64 {
        self.now.get()
    }
}
