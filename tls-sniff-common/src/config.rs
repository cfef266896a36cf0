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

/// Name of the global `u8`: 1 if there is neither a rule nor an expression, see [`crate::shortcut`].
pub const TAKES_SHORTCUT: &str = "TAKES_SHORTCUT";

/// Name of the global `u64`: [`FlowKey::summand`](crate::flow::FlowKey), of random bits.
pub const FLOW_SUMMAND: &str = "FLOW_SUMMAND";

/// Name of the global `u64`: [`FlowKey::factor`](crate::flow::FlowKey), of random bits and odd.
pub const FLOW_FACTOR: &str = "FLOW_FACTOR";

/// Name of the global `u32`: bytes of each selected packet to copy, from its first one; 0 to copy payload
/// only. At most [`MAX_SNAPLEN`].
pub const SNAPLEN: &str = "SNAPLEN";

/// Name of the global `u8`: 1 if the bodies of the [`expression`] functions were replaced, and each packet is
/// to be asked.
pub const HAS_EXPRESSION: &str = "HAS_EXPRESSION";

/// Name of the global `u8`: 1 if the interface is a tap, whose packets the XDP programs drop after they were looked
/// at: copies of what others send each other, which are not for this host.
pub const TAP: &str = "TAP";

/// What user space replaces in the kernel object before it is loaded: the bodies of three functions, each
/// `u32 f(context)`, that say whether a packet is wanted (1) or not (0). The names are what the symbols
/// end with.
pub mod expression {
    /// The function for packets at TC that start with an Ethernet header.
    pub const TC: &str = "tls_sniff_expression_tc";
    /// The function for packets at TC that start with their IP header.
    pub const TC_RAW_IP: &str = "tls_sniff_expression_l3";
    /// The function for packets at XDP.
    pub const XDP: &str = "tls_sniff_expression_xdp";
    /// Instructions that each body has room for, and a few more.
    pub const CAPACITY: usize = 4096;
}

/// Names of the globals that [`crate::filter::Rules`] asks for. `u8` all, but where it says otherwise.
pub mod rules {
    /// [`direction`](crate::filter::Rules::direction)
    pub const DIRECTION: &str = "RULE_DIRECTION";
    /// [`ports`](crate::filter::Rules::ports); the ports are in the map `PORTS`
    pub const PORTS: &str = "RULE_PORTS";
    /// [`networks`](crate::filter::Rules::networks); the prefixes are in the map `NETWORKS`
    pub const NETWORKS: &str = "RULE_NETWORKS";
    /// [`vlans`](crate::filter::Rules::vlans); the ids are in the map `VLANS`
    pub const VLANS: &str = "RULE_VLANS";
    /// `u32`, [`sample`](crate::filter::Rules::sample)
    pub const SAMPLE: &str = "RULE_SAMPLE";
    /// [`tcp_flags`](crate::filter::Rules::tcp_flags)
    pub const TCP_FLAGS: &str = "RULE_TCP_FLAGS";
    /// `u32`, the lower bound of [`payload_len`](crate::filter::Rules::payload_len)
    pub const PAYLOAD_LEAST: &str = "RULE_PAYLOAD_LEAST";
    /// `u32`, the upper bound
    pub const PAYLOAD_MOST: &str = "RULE_PAYLOAD_MOST";
    /// [`content_types`](crate::filter::Rules::content_types)
    pub const CONTENT_TYPES: &str = "RULE_CONTENT_TYPES";
    /// [`record_versions`](crate::filter::Rules::record_versions)
    pub const RECORD_VERSIONS: &str = "RULE_RECORD_VERSIONS";
    /// [`hello_versions`](crate::filter::Rules::hello_versions)
    pub const HELLO_VERSIONS: &str = "RULE_HELLO_VERSIONS";
    /// `u32`, [`handshake_types`](crate::filter::Rules::handshake_types)
    pub const HANDSHAKE_TYPES: &str = "RULE_HANDSHAKE_TYPES";
    /// [`scope`](crate::filter::Rules::scope)
    pub const SCOPE: &str = "RULE_SCOPE";
    /// [`follows_handshakes`](crate::filter::Rules::follows_handshakes)
    pub const FOLLOWS_HANDSHAKES: &str = "RULE_FOLLOWS_HANDSHAKES";
}

/// Ports that there are: the length of the one value of the map `PORTS`.
pub const PORT_COUNT: usize = 1 << 16;

/// VLAN ids that there are: the length of the one value of the map `VLANS`.
pub const VLAN_COUNT: usize = 1 << 12;

/// The longest packet that is copied whole, as tcpdump's: TSO makes packets of 64 KiB, BIG TCP longer ones.
/// The kernel's scratch space is this much for each CPU, if packets are asked for.
pub const MAX_SNAPLEN: u32 = 262_144;

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
