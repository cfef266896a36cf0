//! Where a segment was seen and between whom it went.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
