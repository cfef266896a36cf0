//! From a segment that the gate lets through to an event in the ring buffer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tls_sniff_common::{
    config::MAX_CAPTURE_LEN,
    counters::Counter,
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
    let Some(event) = maps::scratch() else { return Counter::ReadFailed };
    let header = &mut event.header;
    if header.describe(&packet.whole(), link, segment).is_none() {
        return Counter::ReadFailed;
    }
    if let Some(tci) = packet.offloaded_vlan() {
        header.push_outer_vlan(tci);
    }
    // SAFETY: the helper takes nothing and cannot fail.
    header.timestamp = unsafe { bpf_ktime_get_ns() };
    header.syn_time = emission.syn_time;
    header.syn_ack_time = emission.syn_ack_time;
    header.interface = packet.interface();
    header.hook = hook as u8;
    header.direction = hook.direction() as u8;

    let captured = capture_len(packet, segment, emission);
    header.captured_len = captured as u16;
    if captured == 0 {
        return submit(event, 0);
    }
    let captured = within_capture(captured);
    if packet.copy(segment.payload_offset, &mut event.payload, captured) {
        submit(event, captured)
    } else {
        Counter::ReadFailed
    }
}

/// Bytes to copy: what is asked for, what the IP header promises, what is there.
#[inline(always)]
fn capture_len<P: Packet>(packet: &P, segment: &Segment, emission: &Emission) -> usize {
    let there = packet.whole().wire_len().saturating_sub(segment.payload_offset);
    globals::capture_len().min(emission.capture as usize).min(segment.payload_len).min(there)
}

#[inline(always)]
fn submit(event: &maps::Scratch, captured: usize) -> Counter {
    if maps::output(event, captured) { Counter::Emitted } else { Counter::RingFull }
}

/// `len`, which is not 0, as a number that every verifier knows to be in 1..=[`MAX_CAPTURE_LEN`].
///
/// In assembly, since the compiler proves part of the bounds, drops those checks, and the verifier,
/// which cannot follow its proof, then refuses the length.
#[inline(always)]
fn within_capture(len: usize) -> usize {
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
                limit = const MAX_CAPTURE_LEN + 1,
                max = const MAX_CAPTURE_LEN,
                options(nomem, nostack, preserves_flags),
            );
        }
        len
    }
    #[cfg(not(target_arch = "bpf"))]
    len.clamp(1, MAX_CAPTURE_LEN as usize)
}
