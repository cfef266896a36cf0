//! Functions whose bodies user space writes: the user's expression, in eBPF.
//!
//! ```text
//!  object    goto +0 × CAPACITY, r0 = KIND, exit     as it is compiled: wants every packet
//!  loaded    the expression, exit, what is left       if there is one; else nobody calls it
//! ```
//!
//! One for each kind of context and link layer. They are called before anything else, when the verifier
//! knows one state only, and return 0 or 1: what follows is verified once. They are not exported: the
//! verifier would take an exported function apart from its callers, with an argument of BTF's type.

use core::ffi::c_void;

use tls_sniff_common::config::expression::CAPACITY;

/// The room for an expression, and its answer. `KIND` makes functions differ that LLVM would merge.
#[inline(always)]
fn room<const KIND: u32>(context: *const c_void) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        let answer;
        // SAFETY: nothing is done; what replaces it keeps to the calling convention of BPF functions.
        unsafe {
            core::arch::asm!(
                ".rept {capacity}",
                "goto +0",
                ".endr",
                "r0 = {kind}",
                capacity = const CAPACITY,
                kind = const KIND,
                in("r1") context,
                lateout("r0") answer,
            );
        }
        answer
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = (context, CAPACITY);
        KIND
    }
}

/// At TC, packets that start with an Ethernet header.
#[inline(never)]
pub(crate) extern "C" fn tls_sniff_expression_tc(context: *const c_void) -> u32 {
    room::<1>(context)
}

/// At TC, packets that start with their IP header.
#[inline(never)]
pub(crate) extern "C" fn tls_sniff_expression_l3(context: *const c_void) -> u32 {
    room::<2>(context)
}

/// At XDP.
#[inline(never)]
pub(crate) extern "C" fn tls_sniff_expression_xdp(context: *const c_void) -> u32 {
    room::<3>(context)
}
