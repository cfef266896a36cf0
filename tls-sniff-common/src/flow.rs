//! Where a segment was seen and between whom it went.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{
    headers::{self, Segment},
    packet::PacketBytes,
};

/// TCP flags, RFC 9293 section 3.1.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
}

/// The IP version of a packet; the discriminant is the header's version nibble.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4, RFC 791.
    V4 = 4,
    /// IPv6, RFC 8200.
    V6 = 6,
}

/// Which way a packet crossed an interface.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A capture file that does not say.
    Unknown = 0,
    /// Into the host.
    Ingress = 1,
    /// Out of the host.
    Egress = 2,
}

impl Direction {
    /// The direction of a wire byte.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Unknown),
            1 => Some(Self::Ingress),
            2 => Some(Self::Egress),
            _ => None,
        }
    }
}

/// Where a packet was inspected. The discriminant is the index of the hook's counters.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// XDP: ingress, before GRO.
    Xdp = 0,
    /// TC ingress: after GRO.
    TcIngress = 1,
    /// TC egress: before segmentation.
    TcEgress = 2,
    /// A capture file.
    File = 3,
}

/// Hooks of the kernel, each with counters of its own.
pub const KERNEL_HOOKS: [Hook; 3] = [Hook::Xdp, Hook::TcIngress, Hook::TcEgress];

impl Hook {
    /// The hook of a wire byte.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Xdp),
            1 => Some(Self::TcIngress),
            2 => Some(Self::TcEgress),
            3 => Some(Self::File),
            _ => None,
        }
    }

    /// The way that packets at this hook go.
    #[inline(always)]
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Xdp | Self::TcIngress => Direction::Ingress,
            Self::TcEgress => Direction::Egress,
            Self::File => Direction::Unknown,
        }
    }

    /// The name of the hook's counters in `stats` events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::TcIngress => "tc_ingress",
            Self::TcEgress => "tc_egress",
            Self::File => "file",
        }
    }
}

/// An address as it stands in an event: network byte order, IPv4 in the first four bytes.
pub type WireAddress = [u8; 16];

/// The socket address of a [`WireAddress`] and a port in host byte order.
#[must_use]
pub fn socket_addr(ip: IpVersion, address: WireAddress, port: u16) -> SocketAddr {
    let address = match ip {
        IpVersion::V4 => {
            let [a, b, c, d, ..] = address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        IpVersion::V6 => IpAddr::V6(Ipv6Addr::from(address)),
    };
    SocketAddr::new(address, port)
}

/// The key of the flow hash: without it nobody can choose connections that share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Added to each end.
    pub summand: u64,
    /// Multiplies what the ends come to; odd.
    pub factor: u64,
}

impl FlowKey {
    /// The key of random bits.
    #[inline(always)]
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self { summand: mixed(seed), factor: mixed(seed.wrapping_add(GOLDEN)) | 1 }
    }

    /// One end, mixed.
    #[inline(always)]
    const fn hashed(self, end: u64) -> u64 {
        folded(end.wrapping_add(self.summand).wrapping_mul(self.factor))
    }

    /// The key for an interface: one interface's flows are not another's.
    #[inline(always)]
    #[must_use]
    pub const fn on(self, interface: u32) -> Self {
        Self { summand: self.summand ^ interface as u64, ..self }
    }
}

/// 2^64 divided by the golden ratio: odd, and without a pattern.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64: each bit of the input changes half of the output's.
const fn mixed(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(GOLDEN);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// A flow by a keyed hash of its addresses, ports and interface, the same for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId {
    /// The hash; never 0.
    pub tag: u64,
    /// The end that sends this segment, 0 or 1: a number, which needs no branch.
    side: usize,
}

impl FlowId {
    /// The side that sends, 0 or 1.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "0 or 1")]
    pub const fn side(self) -> u32 {
        self.side as u32
    }

    /// The same, as far as the verifier sees, whichever end sends: it would follow the two each on its own.
    #[inline(always)]
    #[must_use]
    pub fn forgotten(self, packet: &impl PacketBytes) -> Self {
        Self { side: packet.forget::<1>(self.side), ..self }
    }

    /// What belongs to the side that sends.
    #[inline(always)]
    #[must_use]
    pub const fn of_side<T>(self, [side_0, side_1]: &[T; 2]) -> &T {
        if self.side == 0 { side_0 } else { side_1 }
    }

    /// The bucket of a table with `buckets` of them, a power of two from 2 to 2^16: the best bits of the hash.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "fewer bits than an index has")]
    pub const fn bucket(self, buckets: usize) -> usize {
        (self.tag >> (u64::BITS - buckets.trailing_zeros())) as usize
    }

    /// 15 bits of the hash beside those of the bucket; never 0.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the bits that are meant")]
    pub const fn short(self) -> u16 {
        (self.tag >> 32) as u16 | 1
    }

    /// The flow between two IPv4 ends.
    #[inline(always)]
    #[must_use]
    pub const fn of_ipv4(ends: [([u8; 4], WirePort); 2], key: FlowKey) -> Self {
        let [source, destination] = ends;
        Self::between(end_of_ipv4(source), end_of_ipv4(destination), key)
    }

    /// The flow between two IPv6 ends.
    #[inline(always)]
    #[must_use]
    pub const fn of_ipv6(ends: [(WireAddress, WirePort); 2], key: FlowKey) -> Self {
        let [source, destination] = ends;
        Self::between(end_of_ipv6(source, key), end_of_ipv6(destination, key), key)
    }

    /// The product of both ends is the same for both directions. Each is hashed before, or what they have in common
    /// would show: with one address at both ends the product of `address + port` knows only the sum of the ports.
    #[inline(always)]
    const fn between(source: u64, destination: u64, key: FlowKey) -> Self {
        let ends = (key.hashed(source), key.hashed(destination));
        let product =
            ends.0.wrapping_add(key.summand).wrapping_mul(ends.1.wrapping_add(key.summand));
        let tag = folded(product).wrapping_mul(key.factor) | 1;
        // Whatever the two are, exactly one order of them has this bit.
        Self { tag, side: (source.wrapping_sub(destination) >> 63) as usize }
    }
}

/// The upper half brought into the lower one, which multiplication leaves alone.
#[inline(always)]
const fn folded(word: u64) -> u64 {
    word ^ word >> 32
}

/// A port as it stands in a packet, read as a number of the processor's: its order does not matter to a hash.
pub type WirePort = u16;

/// Address and port as one number.
#[inline(always)]
const fn end_of_ipv4((address, port): ([u8; 4], WirePort)) -> u64 {
    u32::from_ne_bytes(address) as u64 | (port as u64) << 32
}

/// The same of an address that does not fit: as keyed as the rest. The port stands low, where a product has it whole.
#[inline(always)]
const fn end_of_ipv6((address, port): (WireAddress, WirePort), key: FlowKey) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    let network = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let host = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
    let product = network.wrapping_add(key.summand).wrapping_mul(host.wrapping_add(key.factor));
    folded(product).wrapping_add(port as u64)
}

/// The flow of a segment and its sequence number.
#[inline(always)]
pub fn flow_id<P: PacketBytes>(
    packet: &P,
    segment: &Segment,
    key: FlowKey,
) -> Option<(FlowId, u32)> {
    let [s0, s1, d0, d1, q0, q1, q2, q3] = packet.load(segment.tcp_offset)?;
    let [from, to] = [[s0, s1], [d0, d1]].map(WirePort::from_ne_bytes);
    let flow = match headers::ip_version(packet, segment)? {
        IpVersion::V4 => {
            let [a, b, c, d, e, f, g, h] = packet.load(segment.ip_offset + 12)?;
            FlowId::of_ipv4([([a, b, c, d], from), ([e, f, g, h], to)], key)
        }
        IpVersion::V6 => {
            let source = packet.load(segment.ip_offset + 8)?;
            let destination = packet.load(segment.ip_offset + 24)?;
            FlowId::of_ipv6([(source, from), (destination, to)], key)
        }
    };
    Some((flow, u32::from_be_bytes([q0, q1, q2, q3])))
}
