//! Crafted frames: any stack of headers, with consistent lengths and checksums.
//!
//! A [`Frame`] is described from the outside in, in wire order, and turned into bytes by
//! [`Frame::build`]. The headers are written by etherparse; what this adds is that any combination
//! can be stacked (etherparse's own builder has at most two VLAN tags and one fixed order of
//! extension headers), and that each header's type and length fields follow from what is inside.
//!
//! ```
//! use tls_sniff_tests::frame::Frame;
//!
//! let bytes = Frame::ethernet()
//!     .vlan(0x8100, 100)
//!     .ipv4()
//!     .options(8)
//!     .tcp(40000, 443)
//!     .seq(1)
//!     .tcp_options(12)
//!     .payload(&[0x16, 3, 1])
//!     .build();
//! assert_eq!(bytes.len(), 14 + 4 + (20 + 8) + (20 + 12) + 3);
//! ```
//!
//! A call that makes no sense (IPv4 options on IPv6, a length that no header can have) panics: it
//! is a mistake in a test. Frames that are damaged on purpose are made by changing the bytes.

mod extension;

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, SingleVlanHeader, TcpHeader,
    UdpHeader, VlanId,
};

pub use extension::Extension;

/// Source hardware address if none is set; also the first end's of a [`crate::veth::VethPair`].
pub const MAC_SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Destination hardware address if none is set; also the second end's of a veth pair.
pub const MAC_DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Bits of the TCP header's flag byte (RFC 9293, 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number is significant.
    pub const ACK: u8 = 0x10;
}

#[derive(Clone, Debug)]
enum Network {
    None,
    V4(Ipv4Header),
    V6(Ipv6Header, Vec<Extension>),
}

#[derive(Clone, Debug)]
enum Transport {
    /// Nothing but the payload, under this protocol number.
    None(IpNumber),
    Tcp(TcpHeader),
    Udp(u16, u16),
}

/// The description of a frame. Defaults: the hardware addresses above, 10.77.1.1 to 10.77.1.2 or
/// fd77:1::1 to fd77:1::2, TTL 64, and a TCP segment with PSH and ACK, sequence and acknowledgment
/// number 1.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `None`: raw IP.
    link: Option<Ethernet2Header>,
    /// TPID and tag, outermost first.
    vlans: Vec<(EtherType, SingleVlanHeader)>,
    network: Network,
    transport: Transport,
    payload: Vec<u8>,
    minimum: usize,
    trailer: Vec<u8>,
}

impl Frame {
    /// A frame that begins with an Ethernet header.
    pub fn ethernet() -> Self {
        let (source, destination) = (MAC_SOURCE, MAC_DESTINATION);
        // IEEE 802's EtherType for local experiments, until there is a network header.
        let link = Ethernet2Header { source, destination, ether_type: EtherType(0x88b5) };
        Self { link: Some(link), ..Self::raw() }
    }

    /// A packet that begins with its IP header, as on an interface without link layer.
    pub fn raw() -> Self {
        Self {
            link: None,
            vlans: Vec::new(),
            network: Network::None,
            transport: Transport::None(IpNumber::TCP),
            payload: Vec::new(),
            minimum: 0,
            trailer: Vec::new(),
        }
    }

    /// Hardware addresses.
    #[must_use]
    pub fn mac(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        let link = self.link.as_mut().expect("hardware addresses need Ethernet");
        (link.source, link.destination) = (source, destination);
        self
    }

    /// The EtherType of a frame without IP (ARP is 0x0806). With [`Frame::ipv4`] or [`Frame::ipv6`]
    /// it follows from that.
    #[must_use]
    pub fn ether_type(mut self, ether_type: u16) -> Self {
        self.link.as_mut().expect("an EtherType needs Ethernet").ether_type = ether_type.into();
        self
    }

    /// Adds a VLAN tag inside those that are there: `tpid` is 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    #[must_use]
    pub fn vlan(mut self, tpid: u16, id: u16) -> Self {
        let vlan_id = VlanId::try_new(id).expect("a VLAN ID has 12 bits");
        self.vlans.push((EtherType(tpid), SingleVlanHeader { vlan_id, ..Default::default() }));
        self
    }

    /// An IPv4 header.
    #[must_use]
    pub fn ipv4(mut self) -> Self {
        self.network = Network::V4(Ipv4Header {
            identification: 0x1234,
            dont_fragment: true,
            time_to_live: 64,
            source: [10, 77, 1, 1],
            destination: [10, 77, 1, 2],
            ..Default::default()
        });
        self
    }

    /// An IPv6 header.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        let address = |host| Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, host).octets();
        let (source, destination) = (address(1), address(2));
        let header = Ipv6Header { hop_limit: 64, source, destination, ..Default::default() };
        self.network = Network::V6(header, Vec::new());
        self
    }

    /// IP addresses, of the network header's family.
    #[must_use]
    pub fn addresses(mut self, from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Self {
        match (&mut self.network, from.into(), to.into()) {
            (Network::V4(header), IpAddr::V4(from), IpAddr::V4(to)) => {
                (header.source, header.destination) = (from.octets(), to.octets());
            }
            (Network::V6(header, _), IpAddr::V6(from), IpAddr::V6(to)) => {
                (header.source, header.destination) = (from.octets(), to.octets());
            }
            (network, ..) => panic!("addresses of another family than {network:?}"),
        }
        self
    }

    fn v4(&mut self) -> &mut Ipv4Header {
        match &mut self.network {
            Network::V4(header) => header,
            other => panic!("needs an IPv4 header, has {other:?}"),
        }
    }

    /// So many octets of IPv4 options (No Operation): 0 to 40, a multiple of 4.
    #[must_use]
    pub fn options(mut self, octets: usize) -> Self {
        self.v4().options = vec![1; octets][..].try_into().expect("0 to 40 octets by 4");
        self
    }

    /// Makes the IPv4 packet a fragment; `offset` is in units of 8 octets.
    ///
    /// Only the first fragment of a datagram has the TCP header: a later one is described by
    /// [`Frame::protocol`] and a payload.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        let header = self.v4();
        header.fragment_offset = offset.try_into().expect("a fragment offset has 13 bits");
        (header.more_fragments, header.dont_fragment) = (more, false);
        self
    }

    /// Adds an IPv6 extension header inside those that are there.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        match &mut self.network {
            Network::V6(_, extensions) => extensions.push(extension),
            other => panic!("needs an IPv6 header, has {other:?}"),
        }
        self
    }

    /// No transport header: the payload is directly in IP, under this protocol number.
    #[must_use]
    pub fn protocol(mut self, number: u8) -> Self {
        self.transport = Transport::None(IpNumber(number));
        self
    }

    /// A UDP header.
    #[must_use]
    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        self.transport = Transport::Udp(source, destination);
        self
    }

    /// A TCP header.
    #[must_use]
    pub fn tcp(mut self, source: u16, destination: u16) -> Self {
        self.transport = Transport::Tcp(TcpHeader::new(source, destination, 1, 65535));
        self.ack(1).flags(flags::PSH | flags::ACK)
    }

    fn tcp_header(&mut self) -> &mut TcpHeader {
        match &mut self.transport {
            Transport::Tcp(header) => header,
            other => panic!("needs a TCP header, has {other:?}"),
        }
    }

    /// Sequence number.
    #[must_use]
    pub fn seq(mut self, number: u32) -> Self {
        self.tcp_header().sequence_number = number;
        self
    }

    /// Acknowledgment number. Does not change the flags.
    #[must_use]
    pub fn ack(mut self, number: u32) -> Self {
        self.tcp_header().acknowledgment_number = number;
        self
    }

    /// All flags of the flag byte, see [`flags`].
    #[must_use]
    pub fn flags(mut self, bits: u8) -> Self {
        let header = self.tcp_header();
        header.fin = bits & flags::FIN != 0;
        header.syn = bits & flags::SYN != 0;
        header.rst = bits & flags::RST != 0;
        header.psh = bits & flags::PSH != 0;
        header.ack = bits & flags::ACK != 0;
        header.urg = bits & 0x20 != 0;
        header.ece = bits & 0x40 != 0;
        header.cwr = bits & 0x80 != 0;
        self
    }

    /// So many octets of TCP options (No-Operation): 0 to 40, a multiple of 4.
    #[must_use]
    pub fn tcp_options(mut self, octets: usize) -> Self {
        assert_eq!(octets % 4, 0, "etherparse would round up");
        self.tcp_header().set_options_raw(&vec![1; octets]).expect("0 to 40 octets");
        self
    }

    /// What is inside the innermost header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Pads the frame with zeros to at least so many octets, outside the IP packet, as a sender of
    /// Ethernet does to 60.
    #[must_use]
    pub fn pad_to(mut self, octets: usize) -> Self {
        self.minimum = octets;
        self
    }

    /// Octets after the IP packet that are not zeros: no reader may take them for payload.
    #[must_use]
    pub fn trailer(mut self, octets: &[u8]) -> Self {
        self.trailer = octets.to_vec();
        self
    }

    /// The bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes = self.link_headers();
        bytes.extend(self.network_packet());
        bytes.extend(&self.trailer);
        bytes.resize(bytes.len().max(self.minimum), 0);
        bytes
    }

    fn link_headers(&self) -> Vec<u8> {
        let Some(mut link) = self.link.clone() else {
            assert!(self.vlans.is_empty(), "VLAN tags need Ethernet");
            return Vec::new();
        };
        let mut inner = match self.network {
            Network::None => link.ether_type,
            Network::V4(_) => EtherType::IPV4,
            Network::V6(..) => EtherType::IPV6,
        };
        // From the inside out: each tag holds the type of what follows it.
        let mut tags = Vec::new();
        for (tpid, tag) in self.vlans.iter().rev() {
            let tag = SingleVlanHeader { ether_type: inner, ..tag.clone() };
            tags.splice(..0, tag.to_bytes());
            inner = *tpid;
        }
        link.ether_type = inner;
        [&link.to_bytes()[..], &tags].concat()
    }

    fn network_packet(&self) -> Vec<u8> {
        let segment = self.transport_segment();
        let number = match self.transport {
            Transport::None(number) => number,
            Transport::Tcp(_) => IpNumber::TCP,
            Transport::Udp(..) => IpNumber::UDP,
        };
        match &self.network {
            Network::None => segment,
            Network::V4(header) => {
                let mut header = Ipv4Header { protocol: number, ..header.clone() };
                header.set_payload_len(segment.len()).expect("at most 65535 octets");
                header.header_checksum = header.calc_header_checksum();
                [&header.to_bytes()[..], &segment].concat()
            }
            Network::V6(header, extensions) => {
                let (mut inner, mut next) = (segment, number);
                for extension in extensions.iter().rev() {
                    inner.splice(..0, extension.to_bytes(next));
                    next = extension.number();
                }
                let mut header = Ipv6Header { next_header: next, ..header.clone() };
                header.set_payload_length(inner.len()).expect("at most 65535 octets");
                [&header.to_bytes()[..], &inner].concat()
            }
        }
    }

    /// Transport header and payload.
    fn transport_segment(&self) -> Vec<u8> {
        let payload = &self.payload;
        match &self.transport {
            Transport::None(_) => payload.clone(),
            Transport::Tcp(header) => {
                let mut header = header.clone();
                header.checksum = match &self.network {
                    Network::V4(ip) => header.calc_checksum_ipv4(ip, payload).unwrap(),
                    Network::V6(ip, _) => header.calc_checksum_ipv6(ip, payload).unwrap(),
                    Network::None => panic!("TCP needs an IP header"),
                };
                [&header.to_bytes()[..], payload].concat()
            }
            Transport::Udp(source, destination) => {
                let (source, destination) = (*source, *destination);
                let header = match &self.network {
                    Network::V4(ip) => {
                        UdpHeader::with_ipv4_checksum(source, destination, ip, payload).unwrap()
                    }
                    Network::V6(ip, _) => {
                        UdpHeader::with_ipv6_checksum(source, destination, ip, payload).unwrap()
                    }
                    Network::None => panic!("UDP needs an IP header"),
                };
                [&header.to_bytes()[..], payload].concat()
            }
        }
    }
}

/// A payload for frames: a ClientHello of TLS 1.2 without extensions.
pub fn client_hello() -> Vec<u8> {
    let mut record = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    record.extend_from_slice(&[0x5a; 32]);
    record.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
    record
}
