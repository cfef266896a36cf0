//! IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200).

use super::{MAX_IPV6_EXTENSIONS, OFFSET_MASK, Transport, load};
use crate::{counters::Counter, packet::PacketBytes};

pub(crate) const PROTOCOL_TCP: u8 = 6;
/// IPv4 in IP, RFC 2003.
pub(super) const PROTOCOL_IPV4: u8 = 4;
/// IPv6 in IP, RFC 2473 and RFC 4213.
pub(super) const PROTOCOL_IPV6: u8 = 41;
pub(super) const PROTOCOL_GRE: u8 = 47;
pub(crate) const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_HOP_BY_HOP: u8 = 0;
const PROTOCOL_ROUTING: u8 = 43;
const PROTOCOL_FRAGMENT: u8 = 44;
const PROTOCOL_AUTHENTICATION: u8 = 51;
const PROTOCOL_DESTINATION_OPTIONS: u8 = 60;
const PROTOCOL_MOBILITY: u8 = 135;
const PROTOCOL_HIP: u8 = 139;
const PROTOCOL_SHIM6: u8 = 140;

/// ```text
///  0  version, IHL   2  total length   6  flags, fragment offset   9  protocol
/// ```
#[inline(always)]
pub(super) fn ipv4<P: PacketBytes>(packet: &P, offset: usize) -> Result<Transport, Counter> {
    let [version_ihl, _, total_high, total_low, _, _, fragment_high, fragment_low, _, protocol] =
        load(packet, offset)?;
    let header_len = usize::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_len < 20 {
        return Err(Counter::Malformed);
    }
    if u16::from_be_bytes([fragment_high, fragment_low]) & 0x1fff != 0 {
        return Err(Counter::LaterFragment);
    }
    let end = match u16::from_be_bytes([total_high, total_low]) {
        // Before segmentation the stack leaves the length of a packet over 64 KiB at zero.
        0 => packet.wire_len(),
        total => offset + usize::from(total),
    };
    Ok(Transport { protocol, offset: offset + header_len, end })
}

/// ```text
///  0  version, class, flow label   4  payload length   6  next header   40  extension headers
/// ```
#[inline(always)]
pub(super) fn ipv6<P: PacketBytes>(packet: &P, start: usize) -> Result<Transport, Counter> {
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
        if matches!(
            next,
            PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_IPV4 | PROTOCOL_IPV6 | PROTOCOL_GRE
        ) {
            return Ok(Transport { protocol: next, offset, end });
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
