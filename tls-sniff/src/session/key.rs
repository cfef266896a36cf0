//! Which connection a segment belongs to, and which of its two ends sent it.

use std::net::SocketAddr;

use super::unknown::ALLOCATION;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use tls_sniff_common::{
    event::Event,
    flow::{IpVersion, WireAddress, socket_addr},
};

/// An end of a connection: address, port.
type End = (WireAddress, u16);

/// A connection. The lower end comes first, so that both directions agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Where it was seen, if the same connection elsewhere is another one; else 0.
    interface: u32,
    ipv6: bool,
    ends: [End; 2],
}

impl Key {
    /// The connection of an event, and the side that sent it: 0 for the lower end.
    pub(super) fn of(event: &Event<'_>, per_interface: bool) -> (Self, usize) {
        let header = &event.header;
        let source = (header.source, header.source_port);
        let destination = (header.destination, header.destination_port);
        let (ends, side) = if source <= destination {
            ([source, destination], 0)
        } else {
            ([destination, source], 1)
        };
        let interface = if per_interface { header.interface } else { 0 };
        (Self { interface, ipv6: event.ip == IpVersion::V6, ends }, side)
    }

    /// The two ends.
    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        let ip = if self.ipv6 { IpVersion::V6 } else { IpVersion::V4 };
        self.ends.map(|(address, port)| socket_addr(ip, address, port))
    }

    /// Community ID version 1 with seed 0, <https://github.com/corelight/community-id-spec>:
    ///
    /// ```text
    ///  seed (2) | lower address (4 or 16) | higher address | protocol 6 | 0 | lower port (2) | higher port
    /// ```
    pub(super) fn community_id(&self) -> CommunityId {
        const PROTOCOL_TCP: u8 = 6;
        let mut hash = Sha1::new();
        let length = if self.ipv6 { 16 } else { 4 };
        hash.update([0, 0]);
        for (address, _) in &self.ends {
            hash.update(address.get(..length).unwrap_or_default());
        }
        hash.update([PROTOCOL_TCP, 0]);
        for (_, port) in &self.ends {
            hash.update(port.to_be_bytes());
        }
        let mut id = CommunityId(*b"1:0000000000000000000000000000");
        let digits = id.0.get_mut(2..).unwrap_or_default();
        // They are as many as base64 makes of the hash.
        let _fits = STANDARD.encode_slice(hash.finalize(), digits);
        id
    }

    /// All of it, in words for [`super::index`].
    pub(super) fn words(&self) -> [u32; WORDS] {
        let [(lower, lower_port), (higher, higher_port)] = &self.ends;
        let ports = u32::from(*lower_port) << 16 | u32::from(*higher_port);
        let [a, b, c, d] = words_of(lower);
        let [e, f, g, h] = words_of(higher);
        [self.interface, u32::from(self.ipv6), ports, a, b, c, d, e, f, g, h]
    }
}

/// A key in less room, if it is of IPv4.
#[derive(Debug)]
pub(super) enum Stored {
    V4 { interface: u32, addresses: [[u8; 4]; 2], ports: [u16; 2] },
    V6(Box<Key>),
}

impl Stored {
    pub(super) fn of(key: &Key) -> Self {
        let [(lower, lower_port), (higher, higher_port)] = key.ends;
        match (key.ipv6, lower, higher) {
            // In an event, nothing stands behind the four bytes.
            (false, [a, b, c, d, ..], [e, f, g, h, ..]) => Self::V4 {
                interface: key.interface,
                addresses: [[a, b, c, d], [e, f, g, h]],
                ports: [lower_port, higher_port],
            },
            (true, ..) => Self::V6(Box::new(*key)),
        }
    }

    pub(super) fn key(&self) -> Key {
        match self {
            Self::V4 { interface, addresses: [lower, higher], ports: [first, second] } => {
                let ends = [(in_wire(*lower), *first), (in_wire(*higher), *second)];
                Key { interface: *interface, ipv6: false, ends }
            }
            Self::V6(key) => **key,
        }
    }

    /// Heap bytes held.
    pub(super) const fn memory(&self) -> usize {
        match self {
            Self::V4 { .. } => 0,
            Self::V6(_) => size_of::<Key>() + ALLOCATION,
        }
    }
}

const fn in_wire([a, b, c, d]: [u8; 4]) -> WireAddress {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Words of a key.
pub(super) const WORDS: usize = 11;

fn words_of(address: &WireAddress) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
}

/// A Community ID, `1:` and 28 digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommunityId([u8; 30]);

impl CommunityId {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ends: [(&str, u16); 2]) -> Key {
        let end = |(address, port): (&str, u16)| {
            let mut wire = [0; 16];
            match address.parse().unwrap() {
                std::net::IpAddr::V4(address) => wire[..4].copy_from_slice(&address.octets()),
                std::net::IpAddr::V6(address) => wire = address.octets(),
            }
            (wire, port)
        };
        Key { interface: 0, ipv6: ends[0].0.contains(':'), ends: ends.map(end) }
    }

    /// The specification's baseline, baseline_deflt.json.
    #[test]
    fn community_id_as_published() {
        let v4 = key([("66.35.250.204", 80), ("128.232.110.120", 34855)]);
        assert_eq!(v4.community_id().as_str(), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    }
}
