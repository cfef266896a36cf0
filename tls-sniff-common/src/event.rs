//! The ring buffer's event: a fixed header, then the captured bytes: of the payload, or of the whole packet
//! if that is asked for.
//!
//! ```text
//!   0  8  timestamp      ns, CLOCK_MONOTONIC
//!   8  8  syn_time       of the connection's SYN, if it was seen and a hello starts here; else 0
//!  16  8  syn_ack_time   of its SYN-ACK
//!  24 16  source         address, network byte order, IPv4 in the first four bytes
//!  40 16  destination
//!  56  4  interface      index
//!  60  4  tcp_sequence
//!  64  4  tcp_acknowledgement
//!  68  4  payload_len    bytes of TCP payload on the wire
//!  72  4  packet_len     bytes of the packet as the hook saw it
//!  76  4  packet_captured  bytes of it that follow the header; 0: payload follows
//!  80  2  captured_len   bytes of payload that follow, in the packet or alone
//!  82  2  payload_offset where it starts in the packet
//!  84  2  source_port
//!  86  2  destination_port
//!  88  4  vlan_tci       two tags, outermost first
//!  92  2  offloaded_tpid tag type of the outermost, if it is not in the packet's bytes; else 0
//!  94  1  vlan_count
//!  95  1  ip_version     4 or 6
//!  96  1  tcp_flags      as in byte 13 of the TCP header
//!  97  1  direction
//!  98  1  hook
//!  99  1  marks          [`marks`]
//! 100  1  abi_version
//! 101  3  (zero)
//! 104     captured bytes
//! ```
//!
//! Numbers are in host byte order: both sides run on one machine. User space reads each field at its
//! offset by length-checked loads; nothing is ever transmuted.

use core::mem::{offset_of, size_of};

use crate::{
    ABI_VERSION,
    flow::{Direction, Hook, IpVersion, WireAddress},
    headers::{self, LinkLayer, MAX_VLAN_TAGS, Segment, VlanTags},
    packet::PacketBytes,
};

/// Bytes before the captured payload.
pub const EVENT_HEADER_LEN: usize = 104;

/// What else there is to say of an event, as bits.
pub mod marks {
    /// The rules select the packet; else it is for the context of what they select.
    pub const SELECTED: u8 = 1;
    /// The packet starts with its IP header, not with Ethernet's.
    pub const RAW_IP: u8 = 2;
}

/// The fixed part of an event, laid out as above.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventHeader {
    /// When the program saw the packet, ns of `CLOCK_MONOTONIC`.
    pub timestamp: u64,
    /// When the connection's SYN was seen, on the same clock; 0 if it was not.
    pub syn_time: u64,
    /// When its SYN-ACK was seen.
    pub syn_ack_time: u64,
    /// Source address.
    pub source: WireAddress,
    /// Destination address.
    pub destination: WireAddress,
    /// Interface index.
    pub interface: u32,
    /// TCP sequence number of the first payload byte.
    pub tcp_sequence: u32,
    /// TCP acknowledgement number.
    pub tcp_acknowledgement: u32,
    /// TCP payload on the wire, in bytes.
    pub payload_len: u32,
    /// The packet's length where it was seen.
    pub packet_len: u32,
    /// Bytes of the packet that follow the header; 0 if its payload does.
    pub packet_captured: u32,
    /// Payload bytes that follow the header.
    pub captured_len: u16,
    /// Where they start in the packet.
    pub payload_offset: u16,
    /// TCP source port.
    pub source_port: u16,
    /// TCP destination port.
    pub destination_port: u16,
    /// VLAN tag control information, outermost first.
    pub vlan_tci: [u16; MAX_VLAN_TAGS],
    /// The type of an outermost tag that is not in the packet's bytes.
    pub offloaded_tpid: u16,
    /// How many VLAN tags there were.
    pub vlan_count: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// TCP flags, CWR to FIN.
    pub tcp_flags: u8,
    /// [`Direction`]
    pub direction: u8,
    /// [`Hook`]
    pub hook: u8,
    /// [`marks`]
    pub marks: u8,
    /// [`ABI_VERSION`]
    pub abi_version: u8,
    /// Zero.
    pub zero: [u8; 3],
}

const _: () = {
    assert!(size_of::<EventHeader>() == EVENT_HEADER_LEN);
    assert!(offset_of!(EventHeader, interface) == 56);
    assert!(offset_of!(EventHeader, captured_len) == 80);
    assert!(offset_of!(EventHeader, vlan_count) == 94);
    assert!(offset_of!(EventHeader, abi_version) == 100);
};

impl EventHeader {
    /// Writes what `packet` says into the header, in place. The caller adds where and when the packet
    /// was seen, and the length of what it captured.
    ///
    /// Returns `None` if the packet's addresses or TCP header cannot be read: the header then holds
    /// nothing of use.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the largest packet, BIG TCP's, is far below 4 GiB"
    )]
    pub fn describe<P: PacketBytes>(
        &mut self,
        packet: &P,
        link: LinkLayer,
        segment: &Segment,
    ) -> Option<()> {
        let ip = headers::ip_version(packet, segment)?;
        match ip {
            IpVersion::V4 => {
                let [a, b, c, d, e, f, g, h] = packet.load(segment.ip_offset + 12)?;
                self.source = ipv4_wire([a, b, c, d]);
                self.destination = ipv4_wire([e, f, g, h]);
            }
            IpVersion::V6 => {
                self.source = packet.load(segment.ip_offset + 8)?;
                self.destination = packet.load(segment.ip_offset + 24)?;
            }
        }
        let [s0, s1, d0, d1] = packet.load(segment.tcp_offset)?;
        self.source_port = u16::from_be_bytes([s0, s1]);
        self.destination_port = u16::from_be_bytes([d0, d1]);
        let [q0, q1, q2, q3, a0, a1, a2, a3, _, flags] = packet.load(segment.tcp_offset + 4)?;
        self.tcp_sequence = u32::from_be_bytes([q0, q1, q2, q3]);
        self.tcp_acknowledgement = u32::from_be_bytes([a0, a1, a2, a3]);
        self.tcp_flags = flags;
        self.payload_len = segment.payload_len as u32;
        self.payload_offset = segment.payload_offset as u16;
        self.ip_version = ip as u8;
        let vlan = headers::vlan_tags(packet, link, segment);
        self.vlan_tci = vlan.tci;
        self.vlan_count = vlan.count;
        self.offloaded_tpid = 0;
        self.marks = if link as u8 == LinkLayer::RawIp as u8 { marks::RAW_IP } else { 0 };
        self.abi_version = ABI_VERSION;
        Some(())
    }
}

impl EventHeader {
    /// The VLAN tags.
    #[inline(always)]
    #[must_use]
    pub const fn vlan(&self) -> VlanTags {
        VlanTags { tci: self.vlan_tci, count: self.vlan_count }
    }

    /// Puts an offloaded tag of type `tpid` outside those that the bytes held.
    #[inline(always)]
    pub fn push_outer_vlan(&mut self, tpid: u16, tci: u16) {
        let mut vlan = self.vlan();
        vlan.push_outer(tci);
        self.offloaded_tpid = tpid;
        self.vlan_tci = vlan.tci;
        self.vlan_count = vlan.count;
    }
}

#[inline(always)]
const fn ipv4_wire([a, b, c, d]: [u8; 4]) -> WireAddress {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Why bytes from the ring are no event of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventError {
    /// Shorter than the header, or than the payload that the header announces.
    Length {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        got: usize,
    },
    /// Written by a kernel program of another build.
    AbiVersion(u8),
    /// A field holds a value that it cannot have.
    Field(&'static str, u8),
}

impl core::fmt::Display for EventError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length { expected, got } => {
                write!(f, "event of {got} bytes where {expected} were expected")
            }
            Self::AbiVersion(version) => {
                write!(f, "event of ABI version {version}, this build reads {ABI_VERSION}")
            }
            Self::Field(name, value) => write!(f, "event with {name} {value}"),
        }
    }
}

impl core::error::Error for EventError {}

/// An event with its enumerations checked, borrowing the captured bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The fixed part.
    pub header: EventHeader,
    /// IPv4 or IPv6.
    pub ip: IpVersion,
    /// Which way the packet went.
    pub direction: Direction,
    /// Where it was seen.
    pub hook: Hook,
    /// The first captured bytes of the TCP payload.
    pub payload: &'a [u8],
    /// The first bytes of the packet, if packets are asked for.
    pub packet: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    /// Reads an event as the ring holds it.
    ///
    /// # Errors
    ///
    /// If the lengths do not fit, the ABI is another one, or an enumeration has an unknown value.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EventError> {
        let (Some(head), Some(rest)) =
            (bytes.first_chunk::<EVENT_HEADER_LEN>(), bytes.get(EVENT_HEADER_LEN..))
        else {
            return Err(EventError::Length { expected: EVENT_HEADER_LEN, got: bytes.len() });
        };
        let header = decode_header(head);
        let payload_captured = usize::from(header.captured_len);
        let whole = header.packet_captured as usize;
        let (follows, from) = if whole > 0 {
            (whole, usize::from(header.payload_offset))
        } else {
            (payload_captured, 0)
        };
        let short = EventError::Length { expected: EVENT_HEADER_LEN + follows, got: bytes.len() };
        // The kernel rounds nothing up, but a longer item is still one whole event.
        let captured = rest.get(..follows).ok_or(short)?;
        let payload = match captured.get(from..from + payload_captured) {
            Some(payload) => payload,
            // A segment without payload ends before where it would be.
            None if payload_captured == 0 => &[],
            None => return Err(short),
        };
        Self::new(header, payload, (whole > 0).then_some(captured))
    }

    /// An event from a header that is already at hand, as a capture file gives it.
    ///
    /// # Errors
    ///
    /// If the ABI is another one or an enumeration has an unknown value.
    pub fn new(
        header: EventHeader,
        payload: &'a [u8],
        packet: Option<&'a [u8]>,
    ) -> Result<Self, EventError> {
        if header.abi_version != ABI_VERSION {
            return Err(EventError::AbiVersion(header.abi_version));
        }
        let ip = match header.ip_version {
            4 => IpVersion::V4,
            6 => IpVersion::V6,
            other => return Err(EventError::Field("ip_version", other)),
        };
        let direction = Direction::from_wire(header.direction)
            .ok_or(EventError::Field("direction", header.direction))?;
        let hook = Hook::from_wire(header.hook).ok_or(EventError::Field("hook", header.hook))?;
        Ok(Self { header, ip, direction, hook, payload, packet })
    }

    /// The VLAN tags, an offloaded one first.
    #[must_use]
    pub const fn vlan(&self) -> VlanTags {
        self.header.vlan()
    }

    /// Whether the rules select the packet; else it is for the context of what they select.
    #[must_use]
    pub const fn is_selected(&self) -> bool {
        self.header.marks & marks::SELECTED != 0
    }
}

/// Reads each field where [`EventHeader`] has it.
fn decode_header(bytes: &[u8; EVENT_HEADER_LEN]) -> EventHeader {
    /// The bytes of one field; the offsets are those of the struct, so they are always inside.
    fn at<const N: usize>(bytes: &[u8; EVENT_HEADER_LEN], offset: usize) -> [u8; N] {
        bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
    macro_rules! number {
        ($field:ident as $type:ty) => {
            <$type>::from_ne_bytes(at(bytes, offset_of!(EventHeader, $field)))
        };
    }
    let [t0, t1, t2, t3] = at(bytes, offset_of!(EventHeader, vlan_tci));
    EventHeader {
        timestamp: number!(timestamp as u64),
        syn_time: number!(syn_time as u64),
        syn_ack_time: number!(syn_ack_time as u64),
        source: at(bytes, offset_of!(EventHeader, source)),
        destination: at(bytes, offset_of!(EventHeader, destination)),
        interface: number!(interface as u32),
        tcp_sequence: number!(tcp_sequence as u32),
        tcp_acknowledgement: number!(tcp_acknowledgement as u32),
        payload_len: number!(payload_len as u32),
        packet_len: number!(packet_len as u32),
        packet_captured: number!(packet_captured as u32),
        captured_len: number!(captured_len as u16),
        payload_offset: number!(payload_offset as u16),
        source_port: number!(source_port as u16),
        destination_port: number!(destination_port as u16),
        vlan_tci: [u16::from_ne_bytes([t0, t1]), u16::from_ne_bytes([t2, t3])],
        offloaded_tpid: number!(offloaded_tpid as u16),
        vlan_count: number!(vlan_count as u8),
        ip_version: number!(ip_version as u8),
        tcp_flags: number!(tcp_flags as u8),
        direction: number!(direction as u8),
        hook: number!(hook as u8),
        marks: number!(marks as u8),
        abi_version: number!(abi_version as u8),
        zero: at(bytes, offset_of!(EventHeader, zero)),
    }
}
