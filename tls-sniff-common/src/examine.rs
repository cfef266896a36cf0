//! From a packet to what becomes of it: what every hook and `-r` run.

use crate::{
    counters::Counter,
    filter::{self, Rules, Scope, records::Records},
    flow::{FlowId, FlowKey, flags, flow_id},
    gate::{Arrival, Bucket, Emission, Glance, Verdict},
    headers::{LENGTH_MASK, Segment},
    packet::PacketBytes,
    start::{Start, payload_start},
};

/// The table of flows in their handshake, and the clock.
pub trait Flows {
    /// The bucket of a flow. `None` does not happen: it stands for a map that is not there.
    fn bucket(&self, flow: FlowId) -> Option<&Bucket>;

    /// What a glance tells of that bucket, where packets are asked for it.
    #[inline(always)]
    fn glance(&self, flow: FlowId) -> Option<&Glance> {
        let _ = flow;
        None
    }

    /// An open flow has to make room.
    fn evicts(&self);

    /// ns on the clock of the events.
    fn now(&self) -> u64;

    /// As [`PacketBytes::forget`].
    #[inline(always)]
    fn forget<const MASK: usize>(&self, value: usize) -> usize {
        value
    }
}

/// Whether a segment says nothing that is asked for: a pure acknowledgement, unless the rules are about
/// those too.
#[inline(always)]
#[must_use]
pub fn is_idle(segment: &Segment, rules: &impl Rules) -> bool {
    let (least, _) = rules.payload_len();
    segment.payload_len == 0
        && segment.tcp_flags & (flags::SYN | flags::FIN | flags::RST) == 0
        && least > 0
        && rules.scope() as u8 == Scope::Record as u8
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
    key: FlowKey,
    rules: &impl Rules,
) -> Result<Arrival, Counter> {
    let start =
        if segment.payload_len == 0 { Start::Empty } else { payload_start(packet, segment)? };
    #[expect(clippy::cast_possible_truncation, reason = "no packet is longer than 4 GiB")]
    let wanted = filter::wants_segment(rules, segment.tcp_flags, segment.payload_len as u32);
    // All that the payload could start with, its length and flags, and whether they are wanted, leads to
    // the same state behind this.
    segment.payload_len = packet.forget::<LENGTH_MASK>(segment.payload_len);
    let start = packet.forget::<{ Start::MASK }>(start.code());
    let wanted = packet.forget::<1>(usize::from(wanted));
    let flags = packet.forget::<{ u8::MAX as usize }>(usize::from(segment.tcp_flags));
    let (flow, sequence) = flow_id(packet, segment, key).ok_or(Counter::Truncated)?;
    #[expect(clippy::cast_possible_truncation, reason = "within their masks")]
    let (payload_len, flags) = (segment.payload_len as u32, flags as u8);
    let flow = flow.forgotten(packet);
    Ok(Arrival { flow, flags, sequence, payload_len, start, wanted: wanted != 0 })
}

/// Asks the gate, with the rules that `records` has.
///
/// # Errors
///
/// The counter that says why the segment is not emitted.
#[inline(always)]
pub fn judge(
    flows: &impl Flows,
    arrival: &Arrival,
    records: &Records<'_, impl Rules, impl PacketBytes>,
) -> Result<Emission, Counter> {
    let bucket = flows.bucket(arrival.flow).ok_or(Counter::ReadFailed)?;
    match bucket.judge(arrival, flows, records) {
        Verdict::Emit(emission) => Ok(emission),
        Verdict::Skip(counter) => Err(counter),
    }
}
