//! The header walk: from the first byte of a packet to its TCP payload, in wire order.
//!
//! ```text
//!  Ethernet | SLL | SLL2 | BSD null | (none)     link layer, known for each interface
//!   802.1Q / 802.1ad tag   × 0..=MAX_VLAN_TAGS   more may be offloaded: in the skb, not in the bytes
//!   PPPoE | MPLS | Cisco CMD                     what stands between link and network
//!    IPv4, real IHL, options skipped
//!    IPv6  extension header × 0..=MAX_IPV6_EXTENSIONS
//!     IP in IP | GRE | VXLAN | GENEVE            a tunnel: another network header, × 0..=MAX_TUNNELS
//!     TCP, real data offset, options skipped
//!      payload                                   length by the IP header: link padding is not payload
//! ```
//!
//! The result is offsets, not copies: nearly every packet is no handshake, and none of its addresses
//! is ever needed. Sources: RFC 791, RFC 8200, RFC 9293, IEEE 802.1Q, the modules' own, and the LINKTYPE
//! registry of tcpdump.org for the capture-file link layers.

mod ip;
mod link;
mod tunnel;

pub(crate) use ip::{PROTOCOL_TCP, PROTOCOL_UDP};
pub use link::vlan_tags;
pub(crate) use link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN};
pub(crate) use tunnel::is_tunnel;

use crate::{counters::Counter, flow::IpVersion, packet::PacketBytes};

/// VLAN tags read from the bytes of one packet; QinQ has two.
pub const MAX_VLAN_TAGS: usize = 2;

/// IPv6 extension headers walked before a packet is given up as [`Counter::TooManyHeaders`].
/// RFC 8200 section 4.1 recommends an order with six different ones.
pub const MAX_IPV6_EXTENSIONS: usize = 6;

/// Tunnels in tunnels that are followed.
pub const MAX_TUNNELS: usize = 2;

/// No header starts behind this offset: two VLAN tags, IPv6 and six extension headers of 2,048 bytes end
/// before it. What lies deeper in a tunnel is not found.
pub(crate) const OFFSET_MASK: usize = (1 << 14) - 1;

/// No packet is longer: BIG TCP goes up to 512 KiB.
pub(crate) const LENGTH_MASK: usize = (1 << 20) - 1;

/// What stands before the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// Ethernet, also the kernel's loopback.
    Ethernet,
    /// Nothing: the packet starts with its IP header (tun, WireGuard, `LINKTYPE_RAW`).
    RawIp,
    /// Linux cooked capture, `LINKTYPE_LINUX_SLL`: 16 bytes, the protocol at byte 14.
    LinuxSll,
    /// Linux cooked capture v2, `LINKTYPE_LINUX_SLL2`: 20 bytes, the protocol at byte 0.
    LinuxSll2,
    /// BSD loopback, `LINKTYPE_NULL` and `LINKTYPE_LOOP`: a 4-byte address family, in the byte order
    /// of the capturing host or of the network. The IP version nibble says the same, so it is not read.
    BsdLoopback,
}

/// VLAN tags of one packet, outermost first, as tag control information (priority, DEI, VLAN id).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTags {
    /// Tag control information, host byte order; the first `count` are meant.
    pub tci: [u16; MAX_VLAN_TAGS],
    /// How many tags were seen, at most [`MAX_VLAN_TAGS`] of them kept.
    pub count: u8,
}

impl VlanTags {
    /// Puts `tci` outside the tags that the bytes held: where an offloaded tag belongs. With both
    /// places taken the innermost is dropped from the report, not from `count`.
    #[inline(always)]
    pub fn push_outer(&mut self, tci: u16) {
        let [first, _] = self.tci;
        self.tci = [tci, first];
        self.count += 1;
    }
}

/// A TCP segment inside a packet, as offsets from the packet's first byte. What else the headers say is
/// read again, by [`ip_version`] and [`vlan_tags`], for the few packets that become events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the IP header starts.
    pub ip_offset: usize,
    /// Where the TCP header starts.
    pub tcp_offset: usize,
    /// Where the payload starts.
    pub payload_offset: usize,
    /// Payload bytes on the wire by the IP header, captured or not.
    pub payload_len: usize,
    /// TCP flags, CWR to FIN: see [`crate::flow::flags`].
    pub tcp_flags: u8,
}

/// A network header behind its link layer.
struct Network {
    ip: IpVersion,
    offset: usize,
}

/// What an IP header leads to: which protocol, where it starts and where the packet ends by its IP length.
struct Transport {
    protocol: u8,
    offset: usize,
    end: usize,
}

/// Walks from the link layer to the TCP payload.
///
/// # Errors
///
/// The counter that says why there is no TCP segment to look at. [`Counter::Truncated`] means that
/// `packet` ended inside its headers; a caller with a second way to the bytes may try that.
#[inline(always)]
pub fn walk<P: PacketBytes>(packet: &P, link: LinkLayer) -> Result<Segment, Counter> {
    let mut network = link::network(packet, link)?;
    for _ in 0..=MAX_TUNNELS {
        let transport = match network.ip {
            IpVersion::V4 => ip::ipv4(packet, network.offset)?,
            IpVersion::V6 => ip::ipv6(packet, network.offset)?,
        };
        if transport.protocol == PROTOCOL_TCP {
            return tcp(packet, network.offset, &transport);
        }
        network = tunnel::inner(packet, &transport)?;
    }
    Err(Counter::TooManyHeaders)
}

/// The IP version of a packet that was walked.
#[inline(always)]
pub fn ip_version<P: PacketBytes>(packet: &P, segment: &Segment) -> Option<IpVersion> {
    let [first, _] = packet.load(segment.ip_offset)?;
    if first >> 4 == 4 { Some(IpVersion::V4) } else { Some(IpVersion::V6) }
}

/// The data offset is the upper nibble of byte 12, in units of 4 bytes.
#[inline(always)]
fn tcp<P: PacketBytes>(
    packet: &P,
    ip_offset: usize,
    transport: &Transport,
) -> Result<Segment, Counter> {
    let tcp_offset = packet.forget::<OFFSET_MASK>(transport.offset);
    let [data_offset, tcp_flags] = load(packet, tcp_offset + 12)?;
    let header_len = usize::from(data_offset >> 4) * 4;
    let payload_offset = tcp_offset + header_len;
    if header_len < 20 || transport.end < payload_offset {
        return Err(Counter::Malformed);
    }
    Ok(Segment {
        ip_offset,
        tcp_offset,
        payload_offset,
        payload_len: packet.forget::<LENGTH_MASK>(transport.end - payload_offset),
        tcp_flags,
    })
}

#[inline(always)]
fn load<P: PacketBytes, const N: usize>(packet: &P, offset: usize) -> Result<[u8; N], Counter> {
    packet.load(offset).ok_or(Counter::Truncated)
}
