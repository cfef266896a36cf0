//! What most packets come to, told from one look at their headers: UDP, acknowledgements, and payload of
//! connections that are not in their handshake.
//!
//! ```text
//!  Ethernet, one 802.1Q tag at most, or none of both
//!   IPv4 of 20 bytes, no later fragment | IPv6 without extension headers
//!    UDP to no tunnel's port                              ─► not TCP
//!    TCP, payload 0, no SYN, FIN, RST                     ─► no payload
//!    TCP, payload starts with no record | with data,
//!         and a glance tells that the gate does not know the sender  ─► no record | application data
//! ```
//!
//! Everything else goes the whole way: walk, rules, gate. It is not asked where there are rules
//! ([`crate::filter::has_rules`]), and it says of no packet what the whole way would not: tests/shortcut.rs sends a million both
//! ways.

use crate::{
    counters::Counter,
    flow::{FlowId, FlowKey, WirePort, flags},
    gate::Glance,
    headers::{self, LinkLayer},
    packet::PacketBytes,
    record::{ContentType, RecordHeader},
    start::HELLO_LEN,
};

/// Five words of header, in the upper nibble.
const MIN_DATA_OFFSET: u8 = 0x50;

/// A TCP segment with a payload, by offsets that the headers gave.
struct Payload {
    flow: FlowId,
    offset: usize,
}

/// What the headers come to.
enum Headers {
    Outcome(Counter),
    Payload(Payload),
}

/// What the packet comes to, if that is easily told. `headers` has its headers, `payload` reads its payload,
/// wherever that is.
#[inline(always)]
pub fn outcome<'g, P: PacketBytes>(
    packet: &P,
    payload: impl FnOnce(usize) -> Option<[u8; HELLO_LEN]>,
    link: LinkLayer,
    key: impl FnOnce() -> FlowKey,
    glance: impl FnOnce(FlowId) -> Option<&'g Glance>,
) -> Option<Counter> {
    let Payload { flow, offset } = match headers(packet, link, key)? {
        Headers::Outcome(counter) => return Some(counter),
        Headers::Payload(payload) => payload,
    };
    let counter = starts_with(payload(offset)?)?;
    (!glance(flow)?.may_have(flow)).then_some(counter)
}

#[inline(always)]
fn headers<P: PacketBytes>(
    packet: &P,
    link: LinkLayer,
    key: impl FnOnce() -> FlowKey,
) -> Option<Headers> {
    let (ethertype, offset) = match link {
        LinkLayer::Ethernet => match u16::from_be_bytes(packet.load(12)?) {
            headers::ETHERTYPE_VLAN => (u16::from_be_bytes(packet.load(16)?), 18),
            ethertype => (ethertype, 14),
        },
        LinkLayer::RawIp => match packet.load(0)? {
            [0x45] => (headers::ETHERTYPE_IPV4, 0),
            _ => (headers::ETHERTYPE_IPV6, 0),
        },
        _ => return None,
    };
    match ethertype {
        headers::ETHERTYPE_IPV4 => ipv4(packet, offset, key),
        headers::ETHERTYPE_IPV6 => ipv6(packet, offset, key),
        _ => None,
    }
}

/// IPv4 without options, and what of UDP and TCP is behind it.
#[inline(always)]
#[rustfmt::skip]
fn ipv4<P: PacketBytes>(packet: &P, start: usize, key: impl FnOnce() -> FlowKey) -> Option<Headers> {
    const LEN: usize = 20;
    let [
        0x45, _, l0, l1,  _, _, f0, f1,  _, protocol, _, _,
        a0, a1, a2, a3,  b0, b1, b2, b3,
        s0, s1, d0, d1,  _, _, _, _,  _, _, _, _,  data_offset, tcp_flags,
    ] = packet.load(start)? else { return None };
    if u16::from_be_bytes([f0, f1]) & 0x1fff != 0 {
        return None;
    }
    let [from, to] = [u16::from_ne_bytes([s0, s1]), u16::from_ne_bytes([d0, d1])];
    let ends = [([a0, a1, a2, a3], from), ([b0, b1, b2, b3], to)];
    match protocol {
        headers::PROTOCOL_TCP => {
            let end = start + usize::from(u16::from_be_bytes([l0, l1]));
            tcp(start + LEN, end, data_offset, tcp_flags, || FlowId::of_ipv4(ends, key()))
        }
        headers::PROTOCOL_UDP => udp(to),
        _ => None,
    }
}

/// IPv6 without extension headers.
#[inline(always)]
#[rustfmt::skip]
fn ipv6<P: PacketBytes>(packet: &P, start: usize, key: impl FnOnce() -> FlowKey) -> Option<Headers> {
    const LEN: usize = 40;
    let [
        0x60..=0x6f, _, _, _,  l0, l1, protocol, _,
        a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15,
        b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15,
        s0, s1, d0, d1,  _, _, _, _,  _, _, _, _,  data_offset, tcp_flags,
    ] = packet.load(start)? else { return None };
    let source = [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15];
    let destination = [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15];
    let [from, to] = [u16::from_ne_bytes([s0, s1]), u16::from_ne_bytes([d0, d1])];
    let ends = [(source, from), (destination, to)];
    match protocol {
        headers::PROTOCOL_TCP => {
            let end = start + LEN + usize::from(u16::from_be_bytes([l0, l1]));
            tcp(start + LEN, end, data_offset, tcp_flags, || FlowId::of_ipv6(ends, key()))
        }
        headers::PROTOCOL_UDP => udp(to),
        _ => None,
    }
}

#[inline(always)]
fn udp(port: WirePort) -> Option<Headers> {
    let tunnel = headers::is_tunnel(u16::from_be(port));
    (!tunnel).then_some(Headers::Outcome(Counter::NotTcp))
}

/// TCP at an offset of a packet that ends at `end`.
#[inline(always)]
fn tcp(
    offset: usize,
    end: usize,
    data_offset: u8,
    tcp_flags: u8,
    flow: impl FnOnce() -> FlowId,
) -> Option<Headers> {
    let payload_offset = offset + usize::from(data_offset >> 4) * 4;
    if data_offset < MIN_DATA_OFFSET || tcp_flags & flags::SYN != 0 {
        return None;
    }
    if end >= payload_offset + HELLO_LEN {
        return Some(Headers::Payload(Payload { flow: flow(), offset: payload_offset }));
    }
    let only_acknowledges = end == payload_offset && tcp_flags & (flags::FIN | flags::RST) == 0;
    only_acknowledges.then_some(Headers::Outcome(Counter::NoPayload))
}

/// What a payload comes to that starts so and holds no handshake; `None` if it may.
#[inline(always)]
fn starts_with(start: [u8; HELLO_LEN]) -> Option<Counter> {
    let [kind, major, minor, length_high, length_low, ..] = start;
    if kind == ContentType::ApplicationData as u8 {
        let header = RecordHeader::recognise([kind, major, minor, length_high, length_low]);
        return header.is_some().then_some(Counter::ApplicationData);
    }
    let record =
        kind >= ContentType::ChangeCipherSpec as u8 && kind <= ContentType::Handshake as u8;
    // A ClientHello of SSLv2 has its type there.
    let ssl2 = kind >= 0x80 && minor == 1;
    (!record && !ssl2).then_some(Counter::NoRecord)
}
