//! What user space sets before load; see `tls_sniff_common::config` for the names and units.
//!
//! Read-only after load, so the verifier knows the values and prunes what they turn off.

use aya_ebpf::Global;
use tls_sniff_common::config::MAX_CAPTURE_LEN;

#[unsafe(no_mangle)]
static CAPTURE_LEN: Global<u32> = Global::new(MAX_CAPTURE_LEN);

#[unsafe(no_mangle)]
static EMIT_APPLICATION_DATA: Global<u8> = Global::new(0);

#[unsafe(no_mangle)]
static HAS_XDP_LOAD_BYTES: Global<u8> = Global::new(0);

#[unsafe(no_mangle)]
static FLOW_SEED: Global<u64> = Global::new(0);

/// Payload bytes wanted behind each event header.
#[inline(always)]
pub(crate) fn capture_len() -> usize {
    CAPTURE_LEN.load() as usize
}

/// Whether application data records become events.
#[inline(always)]
pub(crate) fn emit_application_data() -> bool {
    EMIT_APPLICATION_DATA.load() != 0
}

/// The key of the flow hash.
#[inline(always)]
pub(crate) fn flow_seed() -> u64 {
    FLOW_SEED.load()
}

/// Whether this kernel has `bpf_xdp_load_bytes` and `bpf_xdp_get_buff_len` (5.18).
#[inline(always)]
pub(crate) fn has_xdp_load_bytes() -> bool {
    HAS_XDP_LOAD_BYTES.load() != 0
}
