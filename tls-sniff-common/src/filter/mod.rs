//! Which packets are wanted: the tests that the kernel makes before it copies anything.
//!
//! ```text
//!  connection  direction, VLAN, addresses, ports, one connection in N      the same for all its packets
//!  segment     TCP flags, payload length                                   each segment by itself
//!  records     content type, versions, message type of a record in it      see [`records`]
//! ```
//!
//! A packet is wanted if it passes all three: values of one kind of test are alternatives, tests of
//! different kinds add up, and what is excluded is excluded whatever else includes it. A test that nobody
//! asked for passes.
//!
//! What the rules are is asked through [`Rules`]: in the kernel from read-only globals and maps, for a
//! capture file from a struct. The tests themselves are the same code.

pub mod records;

use crate::{
    counters::Counter,
    flow::{Direction, FlowKey, IpVersion, flags, flow_id},
    headers::{self, LinkLayer, OFFSET_MASK, Segment, VlanTags},
    packet::PacketBytes,
};

/// What a set of rules says of one address or one port, as bits; rules of both signs may apply.
pub mod end {
    /// Wanted as a source.
    pub const SOURCE: u8 = 1;
    /// Wanted as a destination.
    pub const DESTINATION: u8 = 2;
    /// Unwanted as a source.
    pub const NOT_SOURCE: u8 = 4;
    /// Unwanted as a destination.
    pub const NOT_DESTINATION: u8 = 8;
}

/// Which kinds of rules a set has: 0 for none, else one or both of these.
pub mod set {
    /// Something is excluded.
    pub const EXCLUDES: u8 = 1;
    /// Something is included, and nothing else is wanted.
    pub const INCLUDES: u8 = 2;
}

/// TCP segments that begin or end a connection, as bits.
pub mod tcp {
    /// SYN without ACK.
    pub const SYN: u8 = 1;
    /// SYN with ACK.
    pub const SYN_ACK: u8 = 2;
    /// FIN.
    pub const FIN: u8 = 4;
    /// RST.
    pub const RST: u8 = 8;
}

/// Which tags [`Rules::vlans`] lets through.
pub mod vlan {
    /// There is a rule: the ids that [`Rules::has_vlan`](super::Rules::has_vlan) knows.
    pub const BY_ID: u8 = 1;
    /// Also packets without a tag.
    pub const UNTAGGED: u8 = 2;
}

/// How much of a connection is handed to user space.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Segments that say something of TLS.
    #[default]
    Record = 0,
    /// Every segment from the SYN to the end of the handshake.
    Handshake = 1,
    /// Every segment of a connection with a handshake.
    Connection = 2,
}

impl Scope {
    /// The scope of a byte that user space wrote; what is unknown is [`Scope::Record`].
    #[inline(always)]
    #[must_use]
    pub const fn from_wire(byte: u8) -> Self {
        match byte {
            1 => Self::Handshake,
            2 => Self::Connection,
            _ => Self::Record,
        }
    }
}

/// An address as rules have it: its family, 4 or 6, then the address, IPv4 in the first four bytes. One trie
/// holds both, and no prefix of one family holds an address of the other.
pub type FamilyAddress = [u8; 17];

/// Bits of a [`FamilyAddress`] before the address.
pub const FAMILY_BITS: u32 = 8;

/// An IPv4 address as rules have it.
#[inline(always)]
#[must_use]
pub const fn ipv4([a, b, c, d]: [u8; 4]) -> FamilyAddress {
    [4, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// An IPv6 address as rules have it.
#[inline(always)]
#[must_use]
pub const fn ipv6(address: [u8; 16]) -> FamilyAddress {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    [6, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// The rules, wherever they are kept. Numbers are in host byte order.
pub trait Rules {
    /// The one direction that is wanted, as [`Direction`]; 0 for both.
    fn direction(&self) -> u8;
    /// [`set`] of the rules for ports.
    fn ports(&self) -> u8;
    /// [`end`] of a port.
    fn port(&self, port: u16) -> u8;
    /// [`set`] of the rules for addresses.
    fn networks(&self) -> u8;
    /// [`end`] of an address: of all prefixes that hold it.
    fn address(&self, address: &FamilyAddress) -> u8;
    /// [`vlan`]; 0 for no rule.
    fn vlans(&self) -> u8;
    /// Whether a VLAN id is wanted.
    fn has_vlan(&self, id: u16) -> bool;
    /// N, of whose connections one is wanted; 0 and 1 for all.
    fn sample(&self) -> u32;
    /// [`tcp`], any of which is wanted; 0 for no rule.
    fn tcp_flags(&self) -> u8;
    /// Least and most bytes of payload; [`NO_PAYLOAD_RULE`] for no rule.
    fn payload_len(&self) -> (u32, u32);
    /// Content types, bit 0 for ChangeCipherSpec (20) to bit 3 for application data; 0 for no rule.
    fn content_types(&self) -> u8;
    /// Record versions by their minor byte, bit 0 for SSL 3.0; 0 for no rule.
    fn record_versions(&self) -> u8;
    /// Versions of hellos in the same way.
    fn hello_versions(&self) -> u8;
    /// Types of handshake messages, bit N for type N; 0 for no rule.
    fn handshake_types(&self) -> u32;
    /// How much of a connection is wanted.
    fn scope(&self) -> Scope;
    /// Whether whole handshakes are wanted beside what the rules select: somebody follows them.
    fn follows_handshakes(&self) -> bool;
    /// Whether application data outside of handshakes is wanted without a rule.
    fn application_data(&self) -> bool;
}

/// [`Rules::payload_len`] without a rule.
pub const NO_PAYLOAD_RULE: (u32, u32) = (u32::MAX, 0);

/// Whether there is any rule, or anything is asked for beside what says something of TLS.
#[inline(always)]
#[must_use]
pub fn has_rules(rules: &impl Rules) -> bool {
    rules.direction() != 0
        || rules.ports() != 0
        || rules.networks() != 0
        || rules.vlans() != 0
        || rules.sample() > 1
        || narrows_segments(rules)
        || rules.scope() as u8 != Scope::Record as u8
        || rules.application_data()
}

/// Whether some rule tells segments of one connection apart.
#[inline(always)]
#[must_use]
pub fn narrows_segments(rules: &impl Rules) -> bool {
    rules.tcp_flags() != 0 || rules.payload_len() != NO_PAYLOAD_RULE || narrows_records(rules)
}

/// Whether some rule is about records.
#[inline(always)]
#[must_use]
pub fn narrows_records(rules: &impl Rules) -> bool {
    rules.content_types() != 0 || rules.record_versions() != 0 || narrows_messages(rules)
}

/// Whether some rule is about handshake messages.
#[inline(always)]
#[must_use]
pub fn narrows_messages(rules: &impl Rules) -> bool {
    rules.hello_versions() != 0 || rules.handshake_types() != 0
}

/// Whether packets of this direction are wanted. What has no direction is.
#[inline(always)]
#[must_use]
pub fn wants_direction(rules: &impl Rules, direction: Direction) -> bool {
    let wanted = rules.direction();
    wanted == 0 || direction == Direction::Unknown || wanted == direction as u8
}

/// Whether the rules for ports and addresses want a segment.
///
/// # Errors
///
/// [`Counter::Truncated`] if their bytes are not at hand.
#[inline(always)]
pub fn wants_ends<P: PacketBytes>(
    rules: &impl Rules,
    packet: &P,
    segment: &Segment,
) -> Result<bool, Counter> {
    let ports = rules.ports();
    if ports != 0 {
        let [s0, s1, d0, d1] = packet.load(segment.tcp_offset).ok_or(Counter::Truncated)?;
        let [source, destination] = [[s0, s1], [d0, d1]].map(u16::from_be_bytes);
        if !passes(ports, rules.port(source), rules.port(destination)) {
            return Ok(false);
        }
    }
    let networks = rules.networks();
    if networks == 0 {
        return Ok(true);
    }
    let ip = headers::ip_version(packet, segment).ok_or(Counter::Truncated)?;
    let start = packet.forget::<OFFSET_MASK>(segment.ip_offset);
    // One after the other: the kernel's stack is small.
    let source = address(packet, start, ip, [12, 8])?;
    let source = packet.forget::<END_MASK>(usize::from(rules.address(&source)));
    let destination = address(packet, start, ip, [16, 24])?;
    let destination = rules.address(&destination);
    #[expect(clippy::cast_possible_truncation, reason = "within END_MASK")]
    Ok(passes(networks, source as u8, destination))
}

/// All bits of [`end`].
const END_MASK: usize = 15;

/// The address at an offset that each family has, from the IP header on.
#[inline(always)]
fn address<P: PacketBytes>(
    packet: &P,
    start: usize,
    ip: IpVersion,
    [of_ipv4, of_ipv6]: [usize; 2],
) -> Result<FamilyAddress, Counter> {
    match ip {
        IpVersion::V4 => packet.load(start + of_ipv4).map(ipv4),
        IpVersion::V6 => packet.load(start + of_ipv6).map(ipv6),
    }
    .ok_or(Counter::Truncated)
}

/// Whether a set of rules wants a pair of which it says this.
#[inline(always)]
const fn passes(rules: u8, source: u8, destination: u8) -> bool {
    if source & end::NOT_SOURCE != 0 || destination & end::NOT_DESTINATION != 0 {
        return false;
    }
    rules & set::INCLUDES == 0 || source & end::SOURCE != 0 || destination & end::DESTINATION != 0
}

/// Whether the rules want a packet with these tags, of which the innermost may be missing.
#[inline(always)]
#[must_use]
pub fn wants_vlan(rules: &impl Rules, tags: VlanTags) -> bool {
    const ID: u16 = 0x0fff;
    let vlans = rules.vlans();
    if vlans == 0 {
        return true;
    }
    let [outer, inner] = tags.tci;
    (tags.count == 0 && vlans & vlan::UNTAGGED != 0)
        || (tags.count > 0 && rules.has_vlan(outer & ID))
        || (tags.count > 1 && rules.has_vlan(inner & ID))
}

/// The VLAN tags that rules are asked about: those in the bytes, and one that a NIC took off.
#[inline(always)]
pub fn tags<P: PacketBytes>(
    packet: &P,
    link: LinkLayer,
    segment: &Segment,
    offloaded: Option<u16>,
) -> VlanTags {
    let mut tags = headers::vlan_tags(packet, link, segment);
    if let Some(tci) = offloaded {
        tags.push_outer(tci);
    }
    tags
}

/// Whether a connection is in the sample: by a hash that is the same for both directions and on every
/// interface.
///
/// # Errors
///
/// [`Counter::Truncated`] if the bytes are not at hand.
#[inline(always)]
pub fn is_sampled<P: PacketBytes>(
    rules: &impl Rules,
    packet: &P,
    segment: &Segment,
    key: FlowKey,
) -> Result<bool, Counter> {
    // Another key than the gate's: a sample that took one bucket in N would crowd those.
    const OTHER: u64 = 0x5a5a_5a5a_5a5a_5a5a;
    let key = FlowKey { summand: key.summand ^ OTHER, ..key };
    let (flow, _) = flow_id(packet, segment, key).ok_or(Counter::Truncated)?;
    let number = (flow.tag >> 32) as u32;
    Ok(number.is_multiple_of(rules.sample()))
}

/// Whether a segment by itself is wanted, whatever its payload is.
#[inline(always)]
#[must_use]
pub fn wants_segment(rules: &impl Rules, tcp_flags: u8, payload_len: u32) -> bool {
    let wanted = rules.tcp_flags();
    if wanted != 0 && wanted & begins_or_ends(tcp_flags) == 0 {
        return false;
    }
    let (least, most) = rules.payload_len();
    (least, most) == NO_PAYLOAD_RULE || (least <= payload_len && payload_len <= most)
}

/// What a segment with these flags begins or ends, as [`tcp`].
#[inline(always)]
#[must_use]
pub const fn begins_or_ends(tcp_flags: u8) -> u8 {
    const SYN_ACK: u8 = flags::SYN | flags::ACK;
    let syn = match tcp_flags & SYN_ACK {
        flags::SYN => tcp::SYN,
        SYN_ACK => tcp::SYN_ACK,
        _ => 0,
    };
    let fin = if tcp_flags & flags::FIN != 0 { tcp::FIN } else { 0 };
    let rst = if tcp_flags & flags::RST != 0 { tcp::RST } else { 0 };
    syn | fin | rst
}
