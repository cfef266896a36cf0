//! The kernel side of tls-sniff: XDP on ingress, TC on ingress and egress.
//!
//! ```text
//!  main      entry points, nothing else
//!   program  one packet: count it, inspect it, emit what was found
//!    access  the bytes of a packet: directly between data and data_end, or through a helper
//!    emit    the event: header, captured bytes, ring buffer
//!    expression  room for the user's expression, which user space compiles
//!    maps    every map, behind typed functions
//!    globals what user space set before load
//! ```
//!
//! The walk and the record test are `tls-sniff-common`'s. This library also compiles on the host, where
//! clippy reads it; what it does is tested in the kernel, by `tests/`.
//!
//! Rules kept here: no packet is written to, dropped (but by XDP on a tap) or redirected; no loop without a named bound; on
//! the path of a packet that holds no record no helper is called beyond the counter's map lookup; no
//! panic survives compilation (`cargo xtask build-ebpf` refuses the object otherwise).

#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    expect(unstable_features, reason = "asm! for BPF is unstable"),
    feature(asm_experimental_arch)
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "helpers take 32-bit offsets and lengths; all are bounded far below, the copied one by 16,384"
)]

mod access;
mod emit;
mod expression;
mod globals;
mod maps;
mod program;

pub use globals::is_tap;
pub use program::{tc, xdp};
