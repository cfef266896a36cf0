//! From the link layer to the network header: VLAN tags and what else may stand between.

use super::{LinkLayer, MAX_VLAN_TAGS, Network, OFFSET_MASK, Segment, VlanTags, load};
use crate::{counters::Counter, flow::IpVersion, packet::PacketBytes};

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// The tag type of switches from before 802.1ad.
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;

/// PPP over Ethernet, session stage: RFC 2516.
const ETHERTYPE_PPPOE: u16 = 0x8864;
/// MPLS, unicast and multicast: RFC 3032.
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_MPLS_MULTICAST: u16 = 0x8848;
/// Cisco MetaData, which carries a security group tag.
const ETHERTYPE_CMD: u16 = 0x8909;

/// MPLS labels that are walked.
const MAX_MPLS_LABELS: usize = 4;

/// The network header of a packet with this link layer.
#[inline(always)]
pub(super) fn network<P: PacketBytes>(packet: &P, link: LinkLayer) -> Result<Network, Counter> {
    match link {
        LinkLayer::Ethernet => ethertypes(packet, 12, 14),
        LinkLayer::LinuxSll => ethertypes(packet, 14, 16),
        LinkLayer::LinuxSll2 => ethertypes(packet, 0, 20),
        LinkLayer::RawIp => version_nibble(packet, 0),
        LinkLayer::BsdLoopback => version_nibble(packet, 4),
    }
}

/// The VLAN tags in the bytes of a packet that was walked: those of the outermost headers.
#[inline(always)]
pub fn vlan_tags<P: PacketBytes>(packet: &P, link: LinkLayer, segment: &Segment) -> VlanTags {
    let mut tags = VlanTags::default();
    let (type_offset, first) = match link {
        LinkLayer::Ethernet => (12, 14),
        LinkLayer::LinuxSll => (14, 16),
        LinkLayer::LinuxSll2 => (0, 20),
        LinkLayer::RawIp | LinkLayer::BsdLoopback => return tags,
    };
    if first == segment.ip_offset {
        return tags;
    }
    let Some(ethertype) = packet.load(type_offset) else { return tags };
    let mut ethertype = u16::from_be_bytes(ethertype);
    for (slot, place) in tags.tci.iter_mut().enumerate() {
        if !is_vlan(ethertype) {
            break;
        }
        let Some([t0, t1, e0, e1]) = packet.load(first + slot * 4) else { break };
        *place = u16::from_be_bytes([t0, t1]);
        ethertype = u16::from_be_bytes([e0, e1]);
        tags.count += 1;
    }
    tags
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD)
}

/// Follows ethertypes from the one at `type_offset`; what it names starts at `next`.
#[inline(always)]
pub(super) fn ethertypes<P: PacketBytes>(
    packet: &P,
    type_offset: usize,
    next: usize,
) -> Result<Network, Counter> {
    let mut ethertype = u16::from_be_bytes(load(packet, type_offset)?);
    let mut offset = next;
    for tags in 0..=MAX_VLAN_TAGS {
        if !is_vlan(ethertype) {
            break;
        }
        if tags == MAX_VLAN_TAGS {
            return Err(Counter::TooManyHeaders);
        }
        let [_, _, type_high, type_low] = load(packet, offset)?;
        ethertype = u16::from_be_bytes([type_high, type_low]);
        offset += 4;
    }
    let offset = packet.forget::<OFFSET_MASK>(offset);
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Network { ip: IpVersion::V4, offset }),
        ETHERTYPE_IPV6 => Ok(Network { ip: IpVersion::V6, offset }),
        _ => shim(packet, ethertype, offset),
    }
}

/// What stands between Ethernet and IP on some networks:
///
/// ```text
///  PPPoE   version, type (1) | code 0 (1) | session (2) | length (2) ║ PPP protocol (2)
///  CMD     version (1) | length (1) | option (2) | security group tag (2) ║ ethertype (2)
///  MPLS    { label, class, S (3) | time to live (1) } ... until S is set, then IP by its version
/// ```
#[inline(always)]
fn shim<P: PacketBytes>(packet: &P, ethertype: u16, offset: usize) -> Result<Network, Counter> {
    match ethertype {
        ETHERTYPE_PPPOE => {
            let ip = match load(packet, offset + 6)? {
                [0x00, 0x21] => IpVersion::V4,
                [0x00, 0x57] => IpVersion::V6,
                _ => return Err(Counter::NotIp),
            };
            Ok(Network { ip, offset: offset + 8 })
        }
        ETHERTYPE_CMD => {
            let ip = match u16::from_be_bytes(load(packet, offset + 6)?) {
                ETHERTYPE_IPV4 => IpVersion::V4,
                ETHERTYPE_IPV6 => IpVersion::V6,
                _ => return Err(Counter::NotIp),
            };
            Ok(Network { ip, offset: offset + 8 })
        }
        ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => {
            let mut offset = offset;
            for _ in 0..MAX_MPLS_LABELS {
                let [_, _, bottom, _] = load(packet, offset)?;
                offset += 4;
                if bottom & 1 != 0 {
                    return version_nibble(packet, packet.forget::<OFFSET_MASK>(offset));
                }
            }
            Err(Counter::TooManyHeaders)
        }
        _ => Err(Counter::NotIp),
    }
}

/// The IP version by the first nibble at `offset`, where no ethertype tells it.
#[inline(always)]
pub(super) fn version_nibble<P: PacketBytes>(
    packet: &P,
    offset: usize,
) -> Result<Network, Counter> {
    let [first, _] = load(packet, offset)?;
    let ip = match first >> 4 {
        4 => IpVersion::V4,
        6 => IpVersion::V6,
        _ => return Err(Counter::NotIp),
    };
    // Also where it is a constant: the walk through a tunnel would else be compiled for it once more.
    Ok(Network { ip, offset: packet.forget::<OFFSET_MASK>(offset) })
}
