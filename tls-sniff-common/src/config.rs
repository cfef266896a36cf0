//! What user space tells the kernel programs at load, through read-only globals.
//!
//! A global that is never written after load lets the verifier prune the branches it turns off: a
//! helper that an old kernel lacks is then not even looked at.

/// Name of the global `u32`: payload bytes to copy behind each event header,
/// [`MIN_CAPTURE_LEN`]..=[`MAX_CAPTURE_LEN`].
pub const CAPTURE_LEN: &str = "CAPTURE_LEN";

/// Name of the global `u8`: 1 to emit application data records, 0 to count them.
pub const EMIT_APPLICATION_DATA: &str = "EMIT_APPLICATION_DATA";

/// Name of the global `u8`: 1 if the kernel has `bpf_xdp_load_bytes` (5.18).
pub const HAS_XDP_LOAD_BYTES: &str = "HAS_XDP_LOAD_BYTES";

/// Name of the global `u64`: the key of the flow hash, of random bits.
pub const FLOW_SEED: &str = "FLOW_SEED";

/// The fewest payload bytes to ask for: enough to tell a hello, its version and its random.
pub const MIN_CAPTURE_LEN: u32 = 64;

/// The most payload bytes that an event can carry: one record's worth, and the default. At TC a flight
/// with its certificates is one packet before segmentation and after GRO. The kernel's scratch space
/// is this much for each CPU.
pub const MAX_CAPTURE_LEN: u32 = 16_384;

/// The most payload bytes that XDP copies on a kernel without `bpf_xdp_load_bytes`, where the verifier
/// follows each step of the copy loop.
pub const MAX_DIRECT_CAPTURE_LEN: u32 = 2048;

/// Ring buffer size in bytes unless told otherwise: some 2,500 handshakes of 6 kB, certificates among it,
/// which outlasts a user side that is not scheduled for a quarter of a second at 10,000 handshakes/s.
pub const DEFAULT_RING_LEN: u32 = 16 << 20;
