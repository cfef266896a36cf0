//! The header walk: from the first byte of a packet to its TCP payload, in wire order.
//!
//! ```text
//!  Ethernet | SLL | SLL2 | BSD null | (none)     link layer, known for each interface
//!   802.1Q / 802.1ad tag   × 0..=MAX_VLAN_TAGS   more may be offloaded: in the skb, not in the bytes
//!    IPv4, real IHL, options skipped
//!    IPv6  extension header × 0..=MAX_IPV6_EXTENSIONS
//!     TCP, real data offset, options skipped
//!      payload                                   length by the IP header: link padding is not payload
//! ```
//!
//! The result is offsets, not copies: nearly every packet is no handshake, and none of its addresses
//! is ever needed. Sources: RFC 791, RFC 8200, RFC 9293, IEEE 802.1Q, and the LINKTYPE registry of
//! tcpdump.org for the capture-file link layers.

use crate::{counters::Counter, flow::IpVersion, packet::PacketBytes};

/// VLAN tags read from the bytes of one packet; QinQ has two.
pub const MAX_VLAN_TAGS: usize = 2;

/// IPv6 extension headers walked before a packet is given up as [`Counter::TooManyHeaders`].
/// RFC 8200 section 4.1 recommends an order with six different ones.
pub const MAX_IPV6_EXTENSIONS: usize = 6;

/// No header starts behind this offset: two VLAN tags, IPv6 and six extension headers of 2,048 bytes end
/// before it.
const OFFSET_MASK: usize = (1 << 14) - 1;

/// No packet is longer: BIG TCP goes up to 512 KiB.
const LENGTH_MASK: usize = (1 << 20) - 1;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// The tag type of switches from before 802.1ad.
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_HOP_BY_HOP: u8 = 0;
const PROTOCOL_ROUTING: u8 = 43;
const PROTOCOL_FRAGMENT: u8 = 44;
const PROTOCOL_AUTHENTICATION: u8 = 51;
const PROTOCOL_DESTINATION_OPTIONS: u8 = 60;
const PROTOCOL_MOBILITY: u8 = 135;
const PROTOCOL_HIP: u8 = 139;
const PROTOCOL_SHIM6: u8 = 140;

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
}

/// A network header behind its link layer.
struct Network {
    ip: IpVersion,
    offset: usize,
}

/// What an IP header leads to: where TCP starts and where the packet ends by its IP length.
struct Transport {
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
    let network = match link {
        LinkLayer::Ethernet => ethertypes(packet, 12, 14)?,
        LinkLayer::LinuxSll => ethertypes(packet, 14, 16)?,
        LinkLayer::LinuxSll2 => ethertypes(packet, 0, 20)?,
        LinkLayer::RawIp => version_nibble(packet, 0)?,
        LinkLayer::BsdLoopback => version_nibble(packet, 4)?,
    };
    let transport = match network.ip {
        IpVersion::V4 => ipv4(packet, network.offset)?,
        IpVersion::V6 => ipv6(packet, network.offset)?,
    };
    tcp(packet, network.offset, transport)
}

/// The IP version of a packet that was walked.
#[inline(always)]
pub fn ip_version<P: PacketBytes>(packet: &P, segment: &Segment) -> Option<IpVersion> {
    let [first, _] = packet.load(segment.ip_offset)?;
    if first >> 4 == 4 { Some(IpVersion::V4) } else { Some(IpVersion::V6) }
}

/// The VLAN tags in the bytes of a packet that was walked: four bytes each, between the link layer and
/// the IP header.
#[inline(always)]
pub fn vlan_tags<P: PacketBytes>(packet: &P, link: LinkLayer, segment: &Segment) -> VlanTags {
    let mut tags = VlanTags::default();
    let first = match link {
        LinkLayer::Ethernet => 14,
        LinkLayer::LinuxSll => 16,
        LinkLayer::LinuxSll2 => 20,
        LinkLayer::RawIp | LinkLayer::BsdLoopback => return tags,
    };
    for (slot, place) in tags.tci.iter_mut().enumerate() {
        let offset = first + slot * 4;
        if offset >= segment.ip_offset {
            break;
        }
        let Some(tci) = packet.load(offset) else { break };
        *place = u16::from_be_bytes(tci);
        tags.count += 1;
    }
    tags
}

/// Follows ethertypes from the one at `type_offset`; what it names starts at `next`.
#[inline(always)]
fn ethertypes<P: PacketBytes>(
    packet: &P,
    type_offset: usize,
    next: usize,
) -> Result<Network, Counter> {
    let mut ethertype = u16::from_be_bytes(load(packet, type_offset)?);
    let mut offset = next;
    for tags in 0..=MAX_VLAN_TAGS {
        let ip = match ethertype {
            ETHERTYPE_IPV4 => IpVersion::V4,
            ETHERTYPE_IPV6 => IpVersion::V6,
            ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD if tags < MAX_VLAN_TAGS => {
                let [_, _, type_high, type_low] = load(packet, offset)?;
                ethertype = u16::from_be_bytes([type_high, type_low]);
                offset += 4;
                continue;
            }
            ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD => break,
            _ => return Err(Counter::NotIp),
        };
        return Ok(Network { ip, offset: packet.forget::<OFFSET_MASK>(offset) });
    }
    Err(Counter::TooManyHeaders)
}

/// The IP version by the first nibble at `offset`, where no ethertype tells it.
#[inline(always)]
fn version_nibble<P: PacketBytes>(packet: &P, offset: usize) -> Result<Network, Counter> {
    let [first, _] = load(packet, offset)?;
    let ip = match first >> 4 {
        4 => IpVersion::V4,
        6 => IpVersion::V6,
        _ => return Err(Counter::NotIp),
    };
    Ok(Network { ip, offset })
}

/// ```text
///  0  version, IHL   2  total length   6  flags, fragment offset   9  protocol
/// ```
#[inline(always)]
fn ipv4<P: PacketBytes>(packet: &P, offset: usize) -> Result<Transport, Counter> {
    let [version_ihl, _, total_high, total_low, _, _, fragment_high, fragment_low, _, protocol] =
        load(packet, offset)?;
    let header_len = usize::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_len < 20 {
        return Err(Counter::Malformed);
    }
    if u16::from_be_bytes([fragment_high, fragment_low]) & 0x1fff != 0 {
        return Err(Counter::LaterFragment);
    }
    if protocol != PROTOCOL_TCP {
        return Err(Counter::NotTcp);
    }
    let end = match u16::from_be_bytes([total_high, total_low]) {
        // Before segmentation the stack leaves the length of a packet over 64 KiB at zero.
        0 => packet.wire_len(),
        total => offset + usize::from(total),
    };
    Ok(Transport { offset: offset + header_len, end })
}

/// ```text
///  0  version, class, flow label   4  payload length   6  next header   40  extension headers
/// ```
#[inline(always)]
fn ipv6<P: PacketBytes>(packet: &P, start: usize) -> Result<Transport, Counter> {
    let [version, _, _, _, length_high, length_low, mut next] = load(packet, start)?;
    if version >> 4 != 6 {
        return Err(Counter::Malformed);
    }
    let mut offset = start + 40;
    let end = match u16::from_be_bytes([length_high, length_low]) {
        // A jumbogram (RFC 2675), or BIG TCP before segmentation.
        0 => packet.wire_len(),
        length => offset + usize::from(length),
    };
    for _ in 0..=MAX_IPV6_EXTENSIONS {
        if next == PROTOCOL_TCP {
            return Ok(Transport { offset, end });
        }
        let [following, extension_len, fragment_high, fragment_low] = match next {
            PROTOCOL_HOP_BY_HOP
            | PROTOCOL_ROUTING
            | PROTOCOL_FRAGMENT
            | PROTOCOL_AUTHENTICATION
            | PROTOCOL_DESTINATION_OPTIONS
            | PROTOCOL_MOBILITY
            | PROTOCOL_HIP
            | PROTOCOL_SHIM6 => load(packet, offset)?,
            _ => return Err(Counter::NotTcp),
        };
        offset += match next {
            PROTOCOL_FRAGMENT => {
                // The offset is the upper 13 bits, in units of 8 bytes (RFC 8200 section 4.5).
                if u16::from_be_bytes([fragment_high, fragment_low]) & 0xfff8 != 0 {
                    return Err(Counter::LaterFragment);
                }
                8
            }
            // Units of 4 bytes, less two (RFC 4302 section 2.2).
            PROTOCOL_AUTHENTICATION => (usize::from(extension_len) + 2) * 4,
            // Units of 8 bytes, not counting the first (RFC 8200 section 4.3).
            _ => (usize::from(extension_len) + 1) * 8,
        };
        offset = packet.forget::<OFFSET_MASK>(offset);
        next = following;
    }
    Err(Counter::TooManyHeaders)
}

/// The data offset is the upper nibble of byte 12, in units of 4 bytes.
#[inline(always)]
fn tcp<P: PacketBytes>(
    packet: &P,
    ip_offset: usize,
    transport: Transport,
) -> Result<Segment, Counter> {
    let tcp_offset = packet.forget::<OFFSET_MASK>(transport.offset);
    let [data_offset, _flags] = load(packet, tcp_offset + 12)?;
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
    })
}

#[inline(always)]
fn load<P: PacketBytes, const N: usize>(packet: &P, offset: usize) -> Result<[u8; N], Counter> {
    packet.load(offset).ok_or(Counter::Truncated)
}
