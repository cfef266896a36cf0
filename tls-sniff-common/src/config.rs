//! What user space tells the kernel programs at load, through read-only globals.
//!
//! A global that is never written after load lets the verifier prune the branches it turns off: a
//! helper that an old kernel lacks is then not even looked at.

/// Name of the global `u32`: payload bytes to copy behind each event header, 0 or
/// [`MIN_CAPTURE_LEN`]..=[`MAX_CAPTURE_LEN`].
pub const CAPTURE_LEN: &str = "CAPTURE_LEN";

/// Name of the global `u8`: 1 to emit application data records, 0 to count them.
pub const EMIT_APPLICATION_DATA: &str = "EMIT_APPLICATION_DATA";

/// Name of the global `u8`: 1 if the kernel has `bpf_xdp_load_bytes` (5.18).
pub const HAS_XDP_LOAD_BYTES: &str = "HAS_XDP_LOAD_BYTES";

/// Payload bytes copied for each event unless told otherwise: a post-quantum ClientHello is 1.8 kB.
pub const DEFAULT_CAPTURE_LEN: u32 = 2048;

/// The fewest payload bytes to ask for, if any: a record header. (6.1's verifier refuses 1.)
pub const MIN_CAPTURE_LEN: u32 = 5;

/// The most payload bytes that an event can carry: one record's worth. The kernel's scratch space is
/// this much for each CPU.
pub const MAX_CAPTURE_LEN: u32 = 16_384;

/// The most payload bytes that XDP copies on a kernel without `bpf_xdp_load_bytes`, where the verifier
/// follows each step of the copy loop.
pub const MAX_DIRECT_CAPTURE_LEN: u32 = 2048;

/// Ring buffer size in bytes unless told otherwise: about 3,500 full-size events or 18,000 hellos of
/// 370 bytes, which outlasts a user side that is not scheduled for a second at 10,000 handshakes/s.
pub const DEFAULT_RING_LEN: u32 = 8 << 20;
