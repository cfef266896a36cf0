//! What a packet came to: one counter for each outcome, kept per CPU and per hook in the kernel and
//! once for a file.
//!
//! Every packet comes to exactly one outcome, and for each hook
//!
//! ```text
//! seen = emitted + skipped (each reason) + filtered (application data, the filters) + lost (each reason)
//! ```
//!
//! The kernel counts outcomes only, and user space adds them up: a second counter costs each packet as much as all that most
//! packets are asked. Tests and benches compare `seen` with what they sent.

/// One counter. The discriminant is its place in a [`CounterBlock`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Packets that a program ran on: the sum of the outcomes, which the kernel leaves at 0.
    Seen = 0,
    /// Segments handed to user space: TLS records, and whatever a flow sends in its handshake.
    Emitted = 1,
    /// Application data outside a handshake, counted and not emitted unless asked.
    ApplicationData = 2,
    /// No IPv4 and no IPv6.
    NotIp = 3,
    /// An IP fragment other than the first: it carries no TCP header.
    LaterFragment = 4,
    /// IP without TCP.
    NotTcp = 5,
    /// More VLAN tags or IPv6 extension headers than are walked.
    TooManyHeaders = 6,
    /// Headers whose lengths contradict each other.
    Malformed = 7,
    /// The packet ended inside its headers or before the record header.
    Truncated = 8,
    /// TCP without payload: SYN, FIN, RST, pure acknowledgements, unless they end a handshake.
    NoPayload = 9,
    /// TCP payload that does not start with a TLS record and belongs to no handshake.
    NoRecord = 10,
    /// A segment to be emitted, and the ring buffer had no room for it.
    RingFull = 11,
    /// A segment to be emitted, and its bytes could not be read.
    ReadFailed = 12,
    /// Not an outcome: flows in their handshake that made room for another one, so that what they send
    /// next may be missing.
    FlowEvicted = 13,
    /// Packets that the filters leave out.
    Filtered = 14,
}

/// How many counters there are.
pub const COUNTERS: usize = 15;

/// The counters of one hook on one CPU, indexed by [`Counter`].
pub type CounterBlock = [u64; COUNTERS];

/// What a counter says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// Every packet.
    Total,
    /// It became an event.
    Emitted,
    /// Nobody asked for it.
    Filtered,
    /// It holds no TLS record at the start of a TCP payload.
    Skipped,
    /// It should have become an event and did not.
    Lost,
    /// Nothing of the packet itself: it is counted elsewhere.
    Aside,
}

impl Counter {
    /// All counters, in the order of a [`CounterBlock`].
    pub const ALL: [Self; COUNTERS] = [
        Self::Seen,
        Self::Emitted,
        Self::ApplicationData,
        Self::NotIp,
        Self::LaterFragment,
        Self::NotTcp,
        Self::TooManyHeaders,
        Self::Malformed,
        Self::Truncated,
        Self::NoPayload,
        Self::NoRecord,
        Self::RingFull,
        Self::ReadFailed,
        Self::FlowEvicted,
        Self::Filtered,
    ];

    /// The counter's place in a [`CounterBlock`].
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in `stats` events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Emitted => "emitted",
            Self::ApplicationData => "application_data",
            Self::NotIp => "not_ip",
            Self::LaterFragment => "later_fragment",
            Self::NotTcp => "not_tcp",
            Self::TooManyHeaders => "too_many_headers",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::NoPayload => "no_payload",
            Self::NoRecord => "no_record",
            Self::RingFull => "ring_full",
            Self::ReadFailed => "read_failed",
            Self::FlowEvicted => "flow_evicted",
            Self::Filtered => "filtered",
        }
    }

    /// Which term of the sum the counter belongs to.
    #[must_use]
    pub const fn kind(self) -> CounterKind {
        match self {
            Self::Seen => CounterKind::Total,
            Self::Emitted => CounterKind::Emitted,
            Self::ApplicationData | Self::Filtered => CounterKind::Filtered,
            Self::NotIp
            | Self::LaterFragment
            | Self::NotTcp
            | Self::TooManyHeaders
            | Self::Malformed
            | Self::Truncated
            | Self::NoPayload
            | Self::NoRecord => CounterKind::Skipped,
            Self::RingFull | Self::ReadFailed => CounterKind::Lost,
            Self::FlowEvicted => CounterKind::Aside,
        }
    }
}
