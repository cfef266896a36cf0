//! Tests of packets: what the kernel is told, and the same rules for frames of a file.

use tls_sniff_common::{
    config::{PORT_COUNT, VLAN_COUNT},
    filter::{self, FamilyAddress, NO_PAYLOAD_RULE, Rules, Scope},
    flow::Direction,
};

use super::{
    end::{EndRule, kinds},
    networks::{Network, NetworkSet},
    value::{Content, Handshake, Lengths, PortRange, TcpFlag, Vlan, WireVersion},
};
use crate::{
    observation::MessageObservation,
    tls::{handshake::HandshakeType, message::Message},
};

/// Which packets are wanted. Empty lists and `None` want all.
#[derive(Clone, Debug, Default)]
pub struct PacketFilter {
    /// The one direction.
    pub direction: Option<Direction>,
    /// Ports of either end.
    pub ports: Vec<EndRule<PortRange>>,
    /// Addresses of either end.
    pub networks: Vec<EndRule<Network>>,
    /// VLAN tags.
    pub vlans: Vec<Vlan>,
    /// One connection in N.
    pub sample: Option<u32>,
    /// Beginnings and ends of connections.
    pub tcp: Vec<TcpFlag>,
    /// Bytes of payload of a segment.
    pub payload_len: Option<Lengths>,
    /// Content types of records.
    pub content: Vec<Content>,
    /// Version bytes of records.
    pub record_versions: Vec<WireVersion>,
    /// Version bytes of hellos.
    pub hello_versions: Vec<WireVersion>,
    /// Types of handshake messages.
    pub handshakes: Vec<Handshake>,
    /// How much of a connection is wanted.
    pub scope: Scope,
    /// Whether whole handshakes are wanted beside what is selected.
    pub follows_handshakes: bool,
    /// Whether application data outside of handshakes is wanted without a rule.
    pub application_data: bool,
}

impl PacketFilter {
    /// Whether some rule tells segments of one connection apart.
    #[must_use]
    pub fn narrows_segments(&self) -> bool {
        !self.tcp.is_empty() || self.payload_len.is_some() || self.narrows_records()
    }

    /// Whether some rule is about records.
    #[must_use]
    pub fn narrows_records(&self) -> bool {
        !self.content.is_empty()
            || !self.record_versions.is_empty()
            || !self.hello_versions.is_empty()
            || !self.handshakes.is_empty()
    }

    /// Whether the rules about records want a message, by the record in which it starts.
    #[must_use]
    pub fn wants_message(&self, message: &MessageObservation<'_>) -> bool {
        let record = message.record;
        let any_content = self.content.is_empty();
        (any_content || self.content.iter().any(|it| it.content_type() == record.content_type))
            && has_version(&self.record_versions, Some(record.version))
            && (self.handshakes.is_empty()
                || handshake_type(&message.said.message)
                    .is_some_and(|kind| self.handshakes.contains(&Handshake(kind.0))))
            && has_version(&self.hello_versions, hello_version(&message.said.message))
    }

    /// The rules as numbers and tables.
    #[must_use]
    pub fn rules(&self) -> RuleSet {
        RuleSet::new(self)
    }
}

/// Whether a version is among those that are wanted.
fn has_version(wanted: &[WireVersion], version: Option<u16>) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| Some(wanted.wire()) == version)
}

/// The type of a handshake message, if it can be read.
const fn handshake_type(message: &Message<'_>) -> Option<HandshakeType> {
    match message {
        Message::ClientHello(_) | Message::Ssl2ClientHello(_) => Some(HandshakeType::CLIENT_HELLO),
        Message::ServerHello(_) | Message::Ssl2ServerHello(_) => Some(HandshakeType::SERVER_HELLO),
        Message::Certificate(_) => Some(HandshakeType::CERTIFICATE),
        Message::ServerKeyExchange(_) => Some(HandshakeType::SERVER_KEY_EXCHANGE),
        Message::Handshake(kind) => Some(*kind),
        _ => None,
    }
}

/// The version bytes of a hello.
const fn hello_version(message: &Message<'_>) -> Option<u16> {
    match message {
        Message::ClientHello(hello) => Some(hello.legacy_version),
        Message::ServerHello(hello) => Some(hello.legacy_version),
        _ => None,
    }
}

/// The rules of a [`PacketFilter`] as the kernel has them.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// [`Rules::direction`]
    pub direction: u8,
    /// [`Rules::ports`]
    pub ports: u8,
    /// [`Rules::networks`]
    pub networks: u8,
    /// [`Rules::vlans`]
    pub vlans: u8,
    /// [`Rules::sample`]
    pub sample: u32,
    /// [`Rules::tcp_flags`]
    pub tcp_flags: u8,
    /// [`Rules::payload_len`]
    pub payload_len: (u32, u32),
    /// [`Rules::content_types`]
    pub content_types: u8,
    /// [`Rules::record_versions`]
    pub record_versions: u8,
    /// [`Rules::hello_versions`]
    pub hello_versions: u8,
    /// [`Rules::handshake_types`]
    pub handshake_types: u32,
    /// [`Rules::scope`]
    pub scope: Scope,
    /// [`Rules::follows_handshakes`]
    pub follows_handshakes: bool,
    /// [`Rules::application_data`]
    pub application_data: bool,
    /// [`Rules::port`], by port.
    pub port_table: Box<[u8; PORT_COUNT]>,
    /// [`Rules::has_vlan`], by id: 1 if it is wanted.
    pub vlan_table: Box<[u8; VLAN_COUNT]>,
    /// [`Rules::address`]
    pub network_set: NetworkSet,
}

impl RuleSet {
    fn new(filter: &PacketFilter) -> Self {
        let lengths = |lengths: Lengths| (lengths.least, lengths.most);
        Self {
            direction: filter.direction.map_or(0, |direction| direction as u8),
            ports: kinds(&filter.ports),
            networks: kinds(&filter.networks),
            vlans: vlan_rule(&filter.vlans),
            sample: filter.sample.unwrap_or(0),
            tcp_flags: filter.tcp.iter().fold(0, |bits, flag| bits | flag.bit()),
            payload_len: filter.payload_len.map_or(NO_PAYLOAD_RULE, lengths),
            content_types: filter.content.iter().fold(0, |bits, content| bits | content.bit()),
            record_versions: versions(&filter.record_versions),
            hello_versions: versions(&filter.hello_versions),
            handshake_types: filter.handshakes.iter().fold(0, |bits, kind| bits | 1 << kind.0),
            scope: filter.scope,
            follows_handshakes: filter.follows_handshakes,
            application_data: filter.application_data,
            port_table: port_table(&filter.ports),
            vlan_table: vlan_table(&filter.vlans),
            network_set: NetworkSet::new(&filter.networks),
        }
    }
}

fn versions(versions: &[WireVersion]) -> u8 {
    versions.iter().fold(0, |bits, version| bits | version.bit())
}

fn vlan_rule(vlans: &[Vlan]) -> u8 {
    let untagged = vlans.contains(&Vlan::Untagged);
    match vlans {
        [] => 0,
        _ if untagged => filter::vlan::BY_ID | filter::vlan::UNTAGGED,
        _ => filter::vlan::BY_ID,
    }
}

fn vlan_table(vlans: &[Vlan]) -> Box<[u8; VLAN_COUNT]> {
    let any = vlans.contains(&Vlan::Any);
    let mut table = Box::new([u8::from(any); VLAN_COUNT]);
    for vlan in vlans {
        if let Vlan::Id(id) = vlan
            && let Some(wanted) = table.get_mut(usize::from(*id))
        {
            *wanted = 1;
        }
    }
    table
}

fn port_table(rules: &[EndRule<PortRange>]) -> Box<[u8; PORT_COUNT]> {
    let mut table = Box::new([0; PORT_COUNT]);
    for rule in rules {
        let ports = usize::from(rule.value.first)..=usize::from(rule.value.last);
        for port in table.get_mut(ports).into_iter().flatten() {
            *port |= rule.bits();
        }
    }
    table
}

impl Rules for RuleSet {
    fn direction(&self) -> u8 {
        self.direction
    }

    fn ports(&self) -> u8 {
        self.ports
    }

    fn port(&self, port: u16) -> u8 {
        self.port_table.get(usize::from(port)).copied().unwrap_or(0)
    }

    fn networks(&self) -> u8 {
        self.networks
    }

    fn address(&self, address: &FamilyAddress) -> u8 {
        self.network_set.address(address)
    }

    fn vlans(&self) -> u8 {
        self.vlans
    }

    fn has_vlan(&self, id: u16) -> bool {
        self.vlan_table.get(usize::from(id)).is_some_and(|wanted| *wanted != 0)
    }

    fn sample(&self) -> u32 {
        self.sample
    }

    fn tcp_flags(&self) -> u8 {
        self.tcp_flags
    }

    fn payload_len(&self) -> (u32, u32) {
        self.payload_len
    }

    fn content_types(&self) -> u8 {
        self.content_types
    }

    fn record_versions(&self) -> u8 {
        self.record_versions
    }

    fn hello_versions(&self) -> u8 {
        self.hello_versions
    }

    fn handshake_types(&self) -> u32 {
        self.handshake_types
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn follows_handshakes(&self) -> bool {
        self.follows_handshakes
    }

    fn application_data(&self) -> bool {
        self.application_data
    }
}
