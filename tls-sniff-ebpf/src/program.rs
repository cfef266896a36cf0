//! One packet: count it, inspect it, emit what was found.

use aya_ebpf::programs::{TcContext, XdpContext};
use tls_sniff_common::{
    Found,
    counters::Counter,
    find_record,
    flow::Hook,
    headers::{self, LinkLayer},
    record::ContentType,
};

use crate::{
    access::{Packet, TcPacket, XdpPacket},
    emit, globals, maps,
};

/// Runs on a packet at XDP: always ingress, always Ethernet.
#[inline(always)]
pub fn xdp(ctx: &XdpContext) {
    let _outcome = run(&XdpPacket::new(ctx), LinkLayer::Ethernet, Hook::Xdp);
    #[cfg(feature = "kernel-log")]
    diagnose(ctx, _outcome);
}

/// Runs on a packet at TC.
#[inline(always)]
pub fn tc(ctx: &TcContext, link: LinkLayer, hook: Hook) {
    let _outcome = run(&TcPacket::new(ctx), link, hook);
    #[cfg(feature = "kernel-log")]
    diagnose(ctx, _outcome);
}

/// Says through aya-log what was lost. Not in the committed object: see the feature's comment.
#[cfg(feature = "kernel-log")]
#[inline(always)]
fn diagnose(ctx: &impl aya_ebpf::EbpfContext, outcome: Option<Counter>) {
    match outcome {
        Some(Counter::RingFull) => aya_log_ebpf::warn!(ctx, "no room in the ring buffer"),
        Some(Counter::ReadFailed) => aya_log_ebpf::warn!(ctx, "a record could not be read"),
        _ => {}
    }
}

/// Counts the packet and returns as what; `None` without a slot of counters, which does not happen.
#[inline(always)]
fn run<P: Packet>(packet: &P, link: LinkLayer, hook: Hook) -> Option<Counter> {
    let mut counters = maps::counters(hook)?;
    counters.add(Counter::Seen);
    let outcome = outcome(packet, link, hook);
    counters.add(outcome);
    Some(outcome)
}

#[inline(always)]
fn outcome<P: Packet>(packet: &P, link: LinkLayer, hook: Hook) -> Counter {
    match find(packet, link) {
        Err(skipped) => skipped,
        Ok(found)
            if found.record.content_type == ContentType::ApplicationData
                && !globals::emit_application_data() =>
        {
            Counter::ApplicationData
        }
        Ok(found) => emit::event(packet, link, &found, hook),
    }
}

/// Headers, then the record header, each directly if the linear part has it all, which the compiler
/// turns into few loads; through the helper only if not.
#[inline(always)]
fn find<P: Packet>(packet: &P, link: LinkLayer) -> Result<Found, Counter> {
    let segment = match headers::walk(&packet.direct(), link) {
        Err(Counter::Truncated) => headers::walk(&packet.whole(), link)?,
        walked => walked?,
    };
    match find_record(&packet.direct(), segment) {
        Err(Counter::Truncated) => find_record(&packet.whole(), segment),
        found => found,
    }
}
