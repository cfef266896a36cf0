//! From a segment that the gate lets through to an event in the ring buffer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tls_sniff_common::{
    config::{MAX_CAPTURE_LEN, MAX_SNAPLEN},
    counters::Counter,
    event::{EventHeader, marks},
    flow::Hook,
    gate::Emission,
    headers::{LinkLayer, Segment},
    packet::PacketBytes,
};

use crate::{access::Packet, globals, maps};

/// Emits a segment and says what the packet came to.
///
/// The event is put together in this CPU's scratch slot and copied out once its size is known: the
/// ring holds just what an event carries, where a reservation would have to be of the largest size.
#[inline(always)]
pub(crate) fn event<P: Packet>(
    packet: &P,
    link: LinkLayer,
    segment: &Segment,
    emission: &Emission,
    hook: Hook,
) -> Counter {
    let emitted = if globals::snaplen() == 0 {
        payload(packet, link, segment, emission, hook)
    } else {
        whole(packet, link, segment, emission, hook)
    };
    match emitted {
        None => Counter::ReadFailed,
        Some(true) => Counter::Emitted,
        Some(false) => Counter::RingFull,
    }
}

/// Header and payload. `None` if the bytes cannot be read, `false` if the ring has no room.
#[inline(always)]
fn payload<P: Packet>(
    packet: &P,
    link: LinkLayer,
    segment: &Segment,
    emission: &Emission,
    hook: Hook,
) -> Option<bool> {
    let event = maps::scratch()?;
    let packet_len = packet.whole().wire_len();
    describe(&mut event.header, packet, packet_len, link, segment, emission, hook)?;
    let there = packet_len.saturating_sub(segment.payload_offset);
    let captured = payload_len(segment, emission).min(there);
    event.header.captured_len = captured as u16;
    event.header.packet_captured = 0;
    if captured == 0 {
        return Some(maps::output(event, 0));
    }
    let captured = within::<{ MAX_CAPTURE_LEN }>(captured);
    packet
        .copy(segment.payload_offset, &mut event.bytes, captured)
        .then(|| maps::output(event, captured))
}

/// Header and packet, from its first byte on: as much as the snaplen says, and as the payload needs.
#[inline(always)]
fn whole<P: Packet>(
    packet: &P,
    link: LinkLayer,
    segment: &Segment,
    emission: &Emission,
    hook: Hook,
) -> Option<bool> {
    let event = maps::packet_scratch()?;
    let packet_len = packet.whole().wire_len();
    describe(&mut event.header, packet, packet_len, link, segment, emission, hook)?;
    let needed = segment.payload_offset + payload_len(segment, emission);
    let copied = globals::snaplen().max(needed).min(packet_len);
    let copied = within::<MAX_SNAPLEN>(packet.copied_at_most(copied));
    event.header.packet_captured = copied as u32;
    let there = copied.saturating_sub(segment.payload_offset);
    event.header.captured_len = payload_len(segment, emission).min(there) as u16;
    packet.copy(0, &mut event.bytes, copied).then(|| maps::output(event, copied))
}

/// Bytes of a TCP header that are read.
const TCP_FIELDS: usize = 14;

/// What is to be said of a packet beside its bytes.
#[inline(always)]
fn describe<P: Packet>(
    header: &mut EventHeader,
    packet: &P,
    packet_len: usize,
    link: LinkLayer,
    segment: &Segment,
    emission: &Emission,
    hook: Hook,
) -> Option<()> {
    // The helper costs ten times as much, but a second way doubles what the verifier follows, which is too much for
    // a program that has all rules.
    let direct = globals::takes_shortcut()
        && packet.direct().load::<TCP_FIELDS>(segment.tcp_offset).is_some();
    if direct {
        header.describe(&packet.direct(), link, segment)?;
    } else {
        header.describe(&packet.whole(), link, segment)?;
    }
    if let Some((tpid, tci)) = packet.offloaded_vlan() {
        header.push_outer_vlan(tpid, tci);
    }
    header.timestamp = match emission.time {
        // SAFETY: the helper takes nothing and cannot fail.
        0 => unsafe { bpf_ktime_get_ns() },
        asked => asked,
    };
    header.syn_time = emission.syn_time;
    header.syn_ack_time = emission.syn_ack_time;
    header.interface = packet.interface();
    header.packet_len = packet_len as u32;
    header.hook = hook as u8;
    header.direction = hook.direction() as u8;
    if emission.selected {
        header.marks |= marks::SELECTED;
    }
    Some(())
}

/// Payload bytes to copy: what is asked for, what the IP header promises.
#[inline(always)]
fn payload_len(segment: &Segment, emission: &Emission) -> usize {
    globals::capture_len().min(emission.capture as usize).min(segment.payload_len)
}

/// `len`, which is not 0, as a number that every verifier knows to be in 1..=`MAX`.
///
/// In assembly, since the compiler proves part of the bounds, drops those checks, and the verifier,
/// which cannot follow its proof, then refuses the length.
#[inline(always)]
fn within<const MAX: u32>(len: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut len = len;
        // SAFETY: reads and writes one register, jumps only over its own instructions.
        unsafe {
            core::arch::asm!(
                "if {len} > 0 goto +1",
                "{len} = 1",
                "if {len} < {limit} goto +1",
                "{len} = {max}",
                len = inout(reg) len,
                limit = const MAX + 1,
                max = const MAX,
                options(nomem, nostack, preserves_flags),
            );
        }
        len
    }
    #[cfg(not(target_arch = "bpf"))]
    len.clamp(1, MAX as usize)
}
