//! Entry points. Each one only names its hook and its link layer; every outcome passes the packet, but on a tap,
//! where none does.
//!
//! User space loads the ones that it attaches: the `l3` pair for interfaces without an Ethernet header,
//! one of the two XDP programs by what the kernel can do.

#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{
        TC_ACT_UNSPEC,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use tls_sniff_common::{flow::Hook, headers::LinkLayer};

/// XDP for kernels with multi-buffer packets (5.18): jumbo frames too.
#[xdp(frags)]
#[inline(always)]
fn tls_sniff_xdp(ctx: XdpContext) -> u32 {
    tls_sniff_ebpf::xdp(&ctx);
    xdp_verdict()
}

/// XDP for kernels before 5.18, which refuse a program that claims to know fragments.
#[xdp]
#[inline(always)]
fn tls_sniff_xdp1(ctx: XdpContext) -> u32 {
    tls_sniff_ebpf::xdp(&ctx);
    xdp_verdict()
}

/// Known at load, whatever a packet came to.
#[inline(always)]
fn xdp_verdict() -> u32 {
    if tls_sniff_ebpf::is_tap() { XDP_DROP } else { XDP_PASS }
}

/// TC ingress on Ethernet.
#[classifier]
#[inline(always)]
fn tls_sniff_in(ctx: TcContext) -> i32 {
    tls_sniff_ebpf::tc(&ctx, LinkLayer::Ethernet, Hook::TcIngress);
    TC_ACT_UNSPEC
}

/// TC egress on Ethernet.
#[classifier]
#[inline(always)]
fn tls_sniff_out(ctx: TcContext) -> i32 {
    tls_sniff_ebpf::tc(&ctx, LinkLayer::Ethernet, Hook::TcEgress);
    TC_ACT_UNSPEC
}

/// TC ingress where packets start with the IP header: tun, WireGuard.
#[classifier]
#[inline(always)]
fn tls_sniff_l3in(ctx: TcContext) -> i32 {
    tls_sniff_ebpf::tc(&ctx, LinkLayer::RawIp, Hook::TcIngress);
    TC_ACT_UNSPEC
}

/// TC egress where packets start with the IP header.
#[classifier]
#[inline(always)]
fn tls_sniff_l3out(ctx: TcContext) -> i32 {
    tls_sniff_ebpf::tc(&ctx, LinkLayer::RawIp, Hook::TcEgress);
    TC_ACT_UNSPEC
}

/// A panic that survives compilation must fail verification, not run: the loop has no end.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The licence that the kernel asks for before it lends some helpers; none used here needs it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
