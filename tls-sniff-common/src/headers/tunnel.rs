//! Tunnels: from the header behind IP to the network header inside.
//!
//! ```text
//!  IP in IP                                             IPv4 | IPv6       RFC 2003, RFC 4213, RFC 2473
//!  GRE     flags, version (2) | protocol (2) | [checksum (4)] [key (4)] [sequence (4)]    RFC 2784, 2890
//!            IPv4 | IPv6 | Ethernet | ERSPAN type I, II (a mirror's copy of an Ethernet frame)
//!  VXLAN   UDP 4789: flags (1) | (3) | VNI (3) | (1) ║ Ethernet                                 RFC 7348
//!  GENEVE  UDP 6081: version, option length (1) | (1) | protocol (2) | VNI (3) | (1) ║ options ║ ...  RFC 8926
//!  GTP-U   UDP 2152: version, flags (1) | 255 (1) | (2) | TEID (4) ║ [sequence (2) | (1) | next (1)]
//!            { length / 4 (1) | ... | next (1) } ... ║ IPv4 | IPv6                           3GPP TS 29.281
//! ```

use super::{
    Network, OFFSET_MASK, Transport,
    ip::{PROTOCOL_GRE, PROTOCOL_IPV4, PROTOCOL_IPV6, PROTOCOL_UDP},
    link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethertypes, version_nibble},
    load,
};
use crate::{counters::Counter, flow::IpVersion, packet::PacketBytes};

const PORT_VXLAN: u16 = 4789;
const PORT_GENEVE: u16 = 6081;
const PORT_GTP_U: u16 = 2152;
/// Extension headers of GTP-U that are walked.
const MAX_GTP_EXTENSIONS: usize = 2;
/// Transparent Ethernet bridging.
const ETHERTYPE_ETHERNET: u16 = 0x6558;
/// ERSPAN types I and II.
const ETHERTYPE_ERSPAN: u16 = 0x88be;

const GRE_CHECKSUM: u16 = 0x8000;
const GRE_KEY: u16 = 0x2000;
const GRE_SEQUENCE: u16 = 0x1000;
/// Routing (RFC 1701) and versions other than 0 have other headers.
const GRE_OTHER: u16 = 0x4007;

/// Whether UDP to this port is a tunnel that is walked.
#[inline(always)]
pub(crate) const fn is_tunnel(port: u16) -> bool {
    matches!(port, PORT_VXLAN | PORT_GENEVE | PORT_GTP_U)
}

/// The network header inside a tunnel.
#[inline(always)]
pub(super) fn inner<P: PacketBytes>(packet: &P, transport: &Transport) -> Result<Network, Counter> {
    let offset = packet.forget::<OFFSET_MASK>(transport.offset);
    match transport.protocol {
        PROTOCOL_IPV4 => Ok(Network { ip: IpVersion::V4, offset }),
        PROTOCOL_IPV6 => Ok(Network { ip: IpVersion::V6, offset }),
        PROTOCOL_GRE => gre(packet, offset),
        PROTOCOL_UDP => udp(packet, offset),
        _ => Err(Counter::NotTcp),
    }
}

#[inline(always)]
fn gre<P: PacketBytes>(packet: &P, offset: usize) -> Result<Network, Counter> {
    let [f0, f1, p0, p1] = load(packet, offset)?;
    let flags = u16::from_be_bytes([f0, f1]);
    if flags & GRE_OTHER != 0 {
        return Err(Counter::NotTcp);
    }
    let mut length = 4;
    for flag in [GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE] {
        length += if flags & flag != 0 { 4 } else { 0 };
    }
    let mut protocol = u16::from_be_bytes([p0, p1]);
    if protocol == ETHERTYPE_ERSPAN {
        // Type II, which counts its frames, has a header of its own.
        length += if flags & GRE_SEQUENCE != 0 { 8 } else { 0 };
        protocol = ETHERTYPE_ETHERNET;
    }
    of_protocol(packet, protocol, packet.forget::<OFFSET_MASK>(offset + length))
}

#[inline(always)]
fn udp<P: PacketBytes>(packet: &P, offset: usize) -> Result<Network, Counter> {
    let port = u16::from_be_bytes(load(packet, offset + 2)?);
    if port == PORT_GTP_U {
        return gtp_u(packet, offset + 8);
    }
    if !is_tunnel(port) {
        return Err(Counter::NotTcp);
    }
    let [first, _, p0, p1] = load(packet, offset + 8)?;
    let inside = offset + 16;
    if port == PORT_VXLAN {
        // Without a network identifier it is no VXLAN of RFC 7348.
        let valid = first & 0x08 != 0;
        return if valid {
            of_protocol(packet, ETHERTYPE_ETHERNET, inside)
        } else {
            Err(Counter::NotTcp)
        };
    }
    if first >> 6 != 0 {
        return Err(Counter::NotTcp);
    }
    let inside = packet.forget::<OFFSET_MASK>(inside + usize::from(first & 0x3f) * 4);
    of_protocol(packet, u16::from_be_bytes([p0, p1]), inside)
}

#[inline(always)]
fn gtp_u<P: PacketBytes>(packet: &P, start: usize) -> Result<Network, Counter> {
    const VERSION_1: u8 = 0x30;
    const USER_PACKET: u8 = 255;
    let [flags, kind] = load(packet, start)?;
    if flags & 0xf0 != VERSION_1 || kind != USER_PACKET {
        return Err(Counter::NotTcp);
    }
    let mut offset = start + 8;
    if flags & 0x07 != 0 {
        let [mut next] = load(packet, offset + 3)?;
        offset += 4;
        for _ in 0..MAX_GTP_EXTENSIONS {
            if flags & 0x04 == 0 || next == 0 {
                break;
            }
            let [quarters] = load(packet, offset)?;
            offset = packet.forget::<OFFSET_MASK>(offset + usize::from(quarters) * 4);
            [next] = load(packet, packet.forget::<OFFSET_MASK>(offset.wrapping_sub(1)))?;
        }
    }
    version_nibble(packet, packet.forget::<OFFSET_MASK>(offset))
}

/// What an ethertype in a tunnel's header announces.
#[inline(always)]
fn of_protocol<P: PacketBytes>(
    packet: &P,
    protocol: u16,
    offset: usize,
) -> Result<Network, Counter> {
    match protocol {
        ETHERTYPE_IPV4 => Ok(Network { ip: IpVersion::V4, offset }),
        ETHERTYPE_IPV6 => Ok(Network { ip: IpVersion::V6, offset }),
        ETHERTYPE_ETHERNET => ethertypes(packet, offset + 12, offset + 14),
        _ => Err(Counter::NotTcp),
    }
}
