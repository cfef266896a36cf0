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

/// A flow by a keyed hash of its addresses, ports and interface, the same for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId {
    /// The hash; never 0.
    pub tag: u64,
    /// Which end sends this segment.
    from_side_1: bool,
}

impl FlowId {
    /// The side that sends, 0 or 1.
    #[inline(always)]
    #[must_use]
    pub const fn side(self) -> u32 {
        self.from_side_1 as u32
    }

    /// What belongs to the side that sends.
    #[inline(always)]
    #[must_use]
    pub const fn of_side<T>(self, [side_0, side_1]: &[T; 2]) -> &T {
        if self.from_side_1 { side_1 } else { side_0 }
    }

    /// The bucket of a table with `buckets` (a power of two) of them.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(self, buckets: usize) -> usize {
        (self.tag >> 32) as usize & (buckets - 1)
    }
}

/// The flow of a segment and its sequence number. `seed` keys the hash: without it nobody can choose
/// connections that share a bucket.
#[inline(always)]
pub fn flow_id<P: PacketBytes>(packet: &P, segment: &Segment, seed: u64) -> Option<(FlowId, u32)> {
    let [s0, s1, d0, d1, q0, q1, q2, q3] = packet.load(segment.tcp_offset)?;
    let ports = [u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])];
    let [source_port, destination_port] = ports.map(u64::from);
    let (source, destination) = match headers::ip_version(packet, segment)? {
        IpVersion::V4 => {
            let [a, b, c, d, e, f, g, h] = packet.load(segment.ip_offset + 12)?;
            let [source, destination] =
                [[a, b, c, d], [e, f, g, h]].map(|address| u64::from(u32::from_ne_bytes(address)));
            (mix(seed, source << 16 | source_port), mix(seed, destination << 16 | destination_port))
        }
        IpVersion::V6 => {
            let end = |offset: usize, port: u64| {
                let [high, low] = [packet.load(offset)?, packet.load(offset + 8)?];
                let high = mix(seed, u64::from_ne_bytes(high));
                Some(mix(mix(high, u64::from_ne_bytes(low)), port))
            };
            let source = end(segment.ip_offset + 8, source_port)?;
            (source, end(segment.ip_offset + 24, destination_port)?)
        }
    };
    let tag = mix(seed, source.wrapping_add(destination)) | 1;
    let sequence = u32::from_be_bytes([q0, q1, q2, q3]);
    Some((FlowId { tag, from_side_1: source < destination }, sequence))
}

/// One round of a multiplicative hash: the constant is 2^64 divided by the golden ratio.
#[inline(always)]
const fn mix(state: u64, word: u64) -> u64 {
    let mixed = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}
