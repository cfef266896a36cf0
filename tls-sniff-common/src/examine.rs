//! From a packet to what becomes of it: what every hook and `-r` run.

use crate::{
    counters::Counter,
    flow::{flags, flow_id},
    gate::{Arrival, Bucket, Emission, Verdict},
    headers::{LENGTH_MASK, Segment},
    packet::PacketBytes,
    start::{Start, payload_start},
};

/// The table of flows in their handshake, and the clock.
pub trait Flows {
    /// The bucket of a flow. `None` does not happen: it stands for a map that is not there.
    fn bucket(&self, flow: crate::flow::FlowId) -> Option<&Bucket>;

    /// ns on the clock of the events.
    fn now(&self) -> u64;

    /// As [`PacketBytes::forget`].
    #[inline(always)]
    fn forget<const MASK: usize>(&self, value: usize) -> usize {
        value
    }
}

/// Whether a segment can be told from its headers alone: a pure acknowledgement.
#[inline(always)]
#[must_use]
pub const fn is_pure_acknowledgement(segment: &Segment) -> bool {
    segment.payload_len == 0 && segment.tcp_flags & (flags::SYN | flags::FIN | flags::RST) == 0
}

/// What the gate asks of a segment: its flow and what its payload starts with. `segment` stays what it is,
/// but that what its length was compared with is forgotten, see [`PacketBytes::forget`].
///
/// # Errors
///
/// [`Counter::Truncated`] if bytes of it are not at hand.
#[inline(always)]
pub fn arrival<P: PacketBytes>(
    packet: &P,
    segment: &mut Segment,
    seed: u64,
) -> Result<Arrival, Counter> {
    let start =
        if segment.payload_len == 0 { Start::Empty } else { payload_start(packet, segment)? };
    // All that the payload could start with, and its length, leads to the same state behind this.
    segment.payload_len = packet.forget::<LENGTH_MASK>(segment.payload_len);
    let start = packet.forget::<{ Start::MASK }>(start.code());
    let (flow, sequence) = flow_id(packet, segment, seed).ok_or(Counter::Truncated)?;
    #[expect(clippy::cast_possible_truncation, reason = "no packet is longer than 4 GiB")]
    let payload_len = segment.payload_len as u32;
    Ok(Arrival { flow, flags: segment.tcp_flags, sequence, payload_len, start })
}

/// Asks the gate. `application_data` lets application data records through that it would only count.
///
/// # Errors
///
/// The counter that says why the segment is not emitted.
#[inline(always)]
pub fn judge(
    flows: &impl Flows,
    arrival: &Arrival,
    application_data: bool,
) -> Result<Emission, Counter> {
    let bucket = flows.bucket(arrival.flow).ok_or(Counter::ReadFailed)?;
    match bucket.judge(arrival, flows) {
        Verdict::Emit(emission) => Ok(emission),
        Verdict::Skip(Counter::ApplicationData) if application_data => Ok(Emission::WHOLE),
        Verdict::Skip(counter) => Err(counter),
    }
}
