//! IPv6 extension headers: each with the length asked for and the type of what follows it.

use etherparse::{IpAuthHeader, IpNumber, Ipv6FragmentHeader, Ipv6RawExtHeader};

/// An IPv6 extension header (RFC 8200, 4; RFC 4302 for AH).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, all padding; the number is the field Hdr Ext Len: 8-octet units after
    /// the first 8 octets.
    HopByHop(u8),
    /// A routing header of the experimental type 253 (RFC 4727) with no segments left; length as
    /// above.
    Routing(u8),
    /// Destination options, all padding; length as above.
    DestinationOptions(u8),
    /// A fragment header.
    Fragment {
        /// In units of 8 octets.
        offset: u16,
        /// More fragments follow.
        more: bool,
    },
    /// An authentication header with an integrity check value of so many octets, a multiple of 4.
    Authentication(u16),
}

impl Extension {
    pub(super) fn number(self) -> IpNumber {
        match self {
            Extension::HopByHop(_) => IpNumber::IPV6_HEADER_HOP_BY_HOP,
            Extension::Routing(_) => IpNumber::IPV6_ROUTE_HEADER,
            Extension::DestinationOptions(_) => IpNumber::IPV6_DESTINATION_OPTIONS,
            Extension::Fragment { .. } => IpNumber::IPV6_FRAGMENTATION_HEADER,
            Extension::Authentication(_) => IpNumber::AUTHENTICATION_HEADER,
        }
    }

    pub(super) fn to_bytes(self, next: IpNumber) -> Vec<u8> {
        let raw = |body: &[u8]| Ipv6RawExtHeader::new_raw(next, body).unwrap().to_bytes().to_vec();
        match self {
            Extension::HopByHop(units) | Extension::DestinationOptions(units) => {
                raw(&padding_options(6 + 8 * usize::from(units)))
            }
            Extension::Routing(units) => {
                let mut body = vec![0; 6 + 8 * usize::from(units)];
                body[0] = 253;
                raw(&body)
            }
            Extension::Fragment { offset, more } => {
                let offset = offset.try_into().expect("a fragment offset has 13 bits");
                Ipv6FragmentHeader::new(next, offset, more, 0x1234_5678).to_bytes().to_vec()
            }
            Extension::Authentication(octets) => {
                let icv = vec![0xa5; octets.into()];
                IpAuthHeader::new(next, 0x100, 1, &icv).unwrap().to_bytes().to_vec()
            }
        }
    }
}

/// Options of an extension header that are padding only (RFC 8200, 4.2): PadN, and Pad1 for a last
/// single octet.
fn padding_options(mut length: usize) -> Vec<u8> {
    let mut options = Vec::with_capacity(length);
    while length > 0 {
        let body = length.saturating_sub(2).min(255);
        match length {
            1 => options.push(0),
            _ => options.extend([1, u8::try_from(body).expect("at most 255")]),
        }
        options.resize(options.len() + body, 0);
        length -= (body + 2).min(length);
    }
    options
}
