//! Link types: which the header walk understands, and what those are called that it does not.
//!
//! Numbers are those of the LINKTYPE registry, <https://www.tcpdump.org/linktypes.html>.

use tls_sniff_common::{flow::Direction, headers::LinkLayer};

const LINKTYPE_NULL: u32 = 0;
/// Ethernet, also the kernel's loopback.
pub const LINKTYPE_ETHERNET: u32 = 1;
/// `DLT_RAW`, which differs between systems: 12 on most, 14 on OpenBSD. Some wrote it into files
/// instead of `LINKTYPE_RAW`.
const DLT_RAW: u32 = 12;
const DLT_RAW_OPENBSD: u32 = 14;
/// IPv4 or IPv6 without anything before it.
pub const LINKTYPE_RAW: u32 = 101;
const LINKTYPE_LOOP: u32 = 108;
const LINKTYPE_LINUX_SLL: u32 = 113;
const LINKTYPE_IPV4: u32 = 228;
const LINKTYPE_IPV6: u32 = 229;
const LINKTYPE_LINUX_SLL2: u32 = 276;

/// How to walk packets of a link type, or `None` if they cannot be.
pub(super) fn link_layer(link_type: u32) -> Option<LinkLayer> {
    match link_type {
        LINKTYPE_ETHERNET => Some(LinkLayer::Ethernet),
        LINKTYPE_RAW | DLT_RAW | DLT_RAW_OPENBSD | LINKTYPE_IPV4 | LINKTYPE_IPV6 => {
            Some(LinkLayer::RawIp)
        }
        LINKTYPE_LINUX_SLL => Some(LinkLayer::LinuxSll),
        LINKTYPE_LINUX_SLL2 => Some(LinkLayer::LinuxSll2),
        LINKTYPE_NULL | LINKTYPE_LOOP => Some(LinkLayer::BsdLoopback),
        _ => None,
    }
}

/// The registry's name, without `LINKTYPE_`, of link types that one meets in practice and that
/// [`link_layer`] does not know.
pub(super) fn link_type_name(link_type: u32) -> Option<&'static str> {
    Some(match link_type {
        6 => "IEEE802_5",
        9 => "PPP",
        10 => "FDDI",
        50 => "PPP_HDLC",
        51 => "PPP_ETHER",
        100 => "ATM_RFC1483",
        104 => "C_HDLC",
        105 => "IEEE802_11",
        107 => "FRELAY",
        117 => "PFLOG",
        119 => "IEEE802_11_PRISM",
        122 => "IP_OVER_FC",
        127 => "IEEE802_11_RADIOTAP",
        138 => "APPLE_IP_OVER_IEEE1394",
        147..=162 => "USER",
        163 => "IEEE802_11_AVS",
        187 => "BLUETOOTH_HCI_H4",
        189 => "USB_LINUX",
        192 => "PPI",
        195 => "IEEE802_15_4_WITHFCS",
        201 => "BLUETOOTH_HCI_H4_WITH_PHDR",
        220 => "USB_LINUX_MMAPPED",
        227 => "CAN_SOCKETCAN",
        239 => "NFLOG",
        240 => "NETANALYZER",
        242 => "IPOIB",
        249 => "USBPCAP",
        252 => "WIRESHARK_UPPER_PDU",
        253 => "NETLINK",
        258 => "PKTAP",
        _ => return None,
    })
}

/// The direction that a Linux cooked header tells: packet type 4 was sent by the host, 0 to 3 came to
/// its interface. Other link layers do not say.
///
/// ```text
///  SLL   0  packet type (2 bytes)
///  SLL2 10  packet type (1 byte)
/// ```
pub(super) fn cooked_direction(link: LinkLayer, packet: &[u8]) -> Direction {
    let packet_type = match link {
        LinkLayer::LinuxSll => {
            packet.first_chunk().map(|packet_type| u16::from_be_bytes(*packet_type))
        }
        LinkLayer::LinuxSll2 => packet.get(10).map(|packet_type| u16::from(*packet_type)),
        LinkLayer::Ethernet | LinkLayer::RawIp | LinkLayer::BsdLoopback => None,
    };
    match packet_type {
        Some(0..=3) => Direction::Ingress,
        Some(4) => Direction::Egress,
        _ => Direction::Unknown,
    }
}

/// The index of the interface that a Linux cooked header of version 2 tells, with the top bit set.
///
/// ```text
///  SLL2  4  interface index (4 bytes)
/// ```
pub(super) fn cooked_interface(link: LinkLayer, packet: &[u8]) -> Option<u32> {
    const COOKED: u32 = 1 << 31;
    let index = match link {
        LinkLayer::LinuxSll2 => packet.get(4..8)?.first_chunk()?,
        LinkLayer::Ethernet | LinkLayer::RawIp | LinkLayer::LinuxSll | LinkLayer::BsdLoopback => {
            return None;
        }
    };
    Some(u32::from_be_bytes(*index) | COOKED)
}
