//! One packet: count it, walk it, ask the rules and the gate, emit it.

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_ktime_get_ns,
    programs::{TcContext, XdpContext},
};
use tls_sniff_common::{
    Flows, arrival,
    counters::Counter,
    filter::{self, Rules as _, records::Records},
    flow::{FlowId, FlowKey, Hook},
    gate::{Arrival, Bucket, Glance},
    headers::{self, LinkLayer, Segment},
    is_idle, judge,
    packet::PacketBytes as _,
    shortcut,
};

use crate::{
    access::{Direct, Packet, TcPacket, XdpPacket},
    emit, expression,
    globals::{self, KernelRules},
    maps,
};

/// Runs on a packet at XDP: always ingress, always Ethernet.
#[inline(always)]
pub fn xdp(ctx: &XdpContext) {
    let wanted = || expression::tls_sniff_expression_xdp(ctx.as_ptr()) != 0;
    let _outcome = run(wanted, || XdpPacket::new(ctx), LinkLayer::Ethernet, Hook::Xdp);
    #[cfg(feature = "kernel-log")]
    diagnose(ctx, _outcome);
}

/// Runs on a packet at TC.
#[inline(always)]
pub fn tc(ctx: &TcContext, link: LinkLayer, hook: Hook) {
    let wanted = || match link {
        LinkLayer::RawIp => expression::tls_sniff_expression_l3(ctx.as_ptr()) != 0,
        _ => expression::tls_sniff_expression_tc(ctx.as_ptr()) != 0,
    };
    let _outcome = run(wanted, || TcPacket::new(ctx), link, hook);
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
///
/// The expression is asked before `packet` reads where the packet is: whatever the expression compared with
/// the packet's end, the verifier would know of those pointers too, and follow each case on its own.
#[inline(always)]
fn run<P: Packet>(
    wanted: impl FnOnce() -> bool,
    packet: impl Fn() -> P,
    link: LinkLayer,
    hook: Hook,
) -> Option<Counter> {
    if globals::takes_shortcut()
        && let Some(outcome) = take_shortcut(&packet(), link)
    {
        maps::counters(hook)?.add(outcome);
        return Some(outcome);
    }
    let mut counters = maps::counters(hook)?;
    let outcome = if globals::has_expression() && !wanted() {
        Counter::Filtered
    } else {
        outcome(&packet(), link, hook)
    };
    counters.add(outcome);
    Some(outcome)
}

/// What most packets come to; `None` for all that need more.
#[inline(always)]
fn take_shortcut<P: Packet>(packet: &P, link: LinkLayer) -> Option<Counter> {
    let direct = packet.direct();
    let payload = |offset| direct.load(offset).or_else(|| packet.whole().load(offset));
    let key = || globals::flow_key().on(packet.interface());
    shortcut::outcome(&direct, payload, link, key, maps::glance)
}

/// Headers, rules, payload start, gate, event.
#[inline(always)]
fn outcome<P: Packet>(packet: &P, link: LinkLayer, hook: Hook) -> Counter {
    let rules = KernelRules;
    if !filter::wants_direction(&rules, hook.direction()) {
        return Counter::Filtered;
    }
    let mut segment = match walk(packet, link) {
        Ok(segment) if is_idle(&segment, &rules) => return Counter::NoPayload,
        Ok(segment) => segment,
        Err(skipped) => return skipped,
    };
    match wants_connection(packet, link, &segment) {
        Ok(true) => {}
        Ok(false) => return Counter::Filtered,
        Err(skipped) => return skipped,
    }
    let key = globals::flow_key().on(packet.interface());
    let arrival = match arrive(packet, &mut segment, key) {
        Ok(arrival) => arrival,
        Err(skipped) => return skipped,
    };
    let flows = KernelFlows { direct: packet.direct(), hook };
    let records = Records { rules: &rules, packet: packet.whole(), segment: &segment };
    match judge(&flows, &arrival, &records) {
        Ok(emission) => emit::event(packet, link, &segment, &emission, hook),
        Err(skipped) => skipped,
    }
}

/// Whether the rules want the connection, and this packet's VLAN.
#[inline(always)]
fn wants_connection<P: Packet>(
    packet: &P,
    link: LinkLayer,
    segment: &Segment,
) -> Result<bool, Counter> {
    let rules = KernelRules;
    if rules.vlans() != 0 {
        let offloaded = packet.offloaded_vlan().map(|(_, tci)| tci);
        let tags = filter::tags(&packet.whole(), link, segment, offloaded);
        if !filter::wants_vlan(&rules, tags) {
            return Ok(false);
        }
    }
    let wanted = match filter::wants_ends(&rules, &packet.direct(), segment) {
        Err(Counter::Truncated) => filter::wants_ends(&rules, &packet.whole(), segment),
        read => read,
    };
    if wanted != Ok(true) {
        return wanted;
    }
    if rules.sample() > 1 {
        let key = globals::flow_key();
        return filter::is_sampled(&rules, &packet.whole(), segment, key);
    }
    Ok(true)
}

/// The headers directly, if the linear part has them all, which the compiler turns into few loads;
/// through the helper only if not.
#[inline(always)]
fn walk<P: Packet>(packet: &P, link: LinkLayer) -> Result<Segment, Counter> {
    match headers::walk(&packet.direct(), link) {
        Err(Counter::Truncated) => headers::walk(&packet.whole(), link),
        walked => walked,
    }
}

/// The payload's first bytes and the flow, in the same way.
#[inline(always)]
fn arrive<P: Packet>(packet: &P, segment: &mut Segment, key: FlowKey) -> Result<Arrival, Counter> {
    let rules = KernelRules;
    match arrival(&packet.direct(), segment, key, &rules) {
        Err(Counter::Truncated) => arrival(&packet.whole(), segment, key, &rules),
        arrived => arrived,
    }
}

/// The kernel's table and clock.
struct KernelFlows {
    direct: Direct,
    hook: Hook,
}

impl Flows for KernelFlows {
    #[inline(always)]
    fn bucket(&self, flow: FlowId) -> Option<&Bucket> {
        maps::bucket(flow)
    }

    #[inline(always)]
    fn glance(&self, flow: FlowId) -> Option<&Glance> {
        // Also where nobody asks: programs that take the shortcut may follow on these (a reload).
        maps::glance(flow)
    }

    #[inline(always)]
    fn evicts(&self) {
        if let Some(mut counters) = maps::counters(self.hook) {
            counters.add(Counter::FlowEvicted);
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper takes nothing and cannot fail.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn forget<const MASK: usize>(&self, value: usize) -> usize {
        self.direct.forget::<MASK>(value)
    }
}
