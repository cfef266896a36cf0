//! Networks: IPv4 and IPv6 prefixes, and which rules of a set hold for an address.
//!
//! The kernel's trie answers with the longest prefix alone. So each prefix is stored with what all
//! prefixes say that hold its addresses: one lookup tells all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use tls_sniff_common::filter::{FAMILY_BITS, FamilyAddress, ipv4, ipv6};

use super::{end::EndRule, value::ValueError};

/// Bits of an IPv6 address.
const BITS: u32 = 128;

/// Bits of it behind an IPv4 address, which stands in its first four bytes.
const BEHIND_IPV4: u32 = 96;

/// An address and how many of its bits count. Bits behind those are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    ipv6: bool,
    /// IPv4 in the upper 32 bits.
    address: u128,
    length: u32,
}

impl Network {
    /// Address and prefix length, the family's bits among it, as the kernel's trie has them.
    #[must_use]
    pub fn key(self) -> (FamilyAddress, u32) {
        let address =
            if self.ipv6 { ipv6(self.address.to_be_bytes()) } else { ipv4(self.ipv4().octets()) };
        (address, FAMILY_BITS + self.length)
    }

    fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::from((self.address >> BEHIND_IPV4) as u32)
    }

    /// `None` if the family has fewer bits than `length`.
    fn of(address: IpAddr, length: Option<u8>) -> Option<Self> {
        let (bits, most, ipv6) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << BEHIND_IPV4, 32, false),
            IpAddr::V6(address) => (address.to_bits(), BITS, true),
        };
        let length = length.map_or(most, u32::from);
        (length <= most).then(|| Self { ipv6, address: bits & mask(length), length })
    }

    const fn holds(self, other: Self) -> bool {
        self.ipv6 == other.ipv6
            && self.length <= other.length
            && other.address & mask(self.length) == self.address
    }
}

const fn mask(length: u32) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (BITS - length) }
}

impl FromStr for Network {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let no_network = || ValueError::Network(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().map_err(|_| no_network())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| no_network())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        Self::of(address, length)
            .ok_or_else(|| ValueError::PrefixLength { network: text.to_owned(), most })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, most) = if self.ipv6 {
            (IpAddr::V6(Ipv6Addr::from_bits(self.address)), BITS)
        } else {
            (IpAddr::V4(self.ipv4()), 32)
        };
        if self.length == most {
            write!(f, "{address}")
        } else {
            write!(f, "{address}/{}", self.length)
        }
    }
}

/// Prefixes with what is said of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSet {
    networks: BTreeMap<Network, u8>,
    /// Prefix lengths that there are, the longest first: of IPv4, of IPv6.
    lengths: [Vec<u32>; 2],
}

impl NetworkSet {
    /// The set of some rules.
    #[must_use]
    pub fn new(rules: &[EndRule<Network>]) -> Self {
        let mut networks: BTreeMap<Network, u8> = BTreeMap::new();
        for rule in rules {
            *networks.entry(rule.value).or_default() |= rule.bits();
        }
        // In this order a prefix comes behind those that hold it.
        let mut holding: Vec<(Network, u8)> = Vec::new();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (network, bits) in &mut networks {
            while holding.last().is_some_and(|(outer, _)| !outer.holds(*network)) {
                holding.pop();
            }
            *bits |= holding.last().map_or(0, |(_, bits)| *bits);
            holding.push((*network, *bits));
            let [of_ipv4, of_ipv6] = &mut lengths;
            if network.ipv6 { of_ipv6 } else { of_ipv4 }.insert(network.length);
        }
        let lengths = lengths.map(|lengths| lengths.into_iter().rev().collect());
        Self { networks, lengths }
    }

    /// What is said of an address, as [`tls_sniff_common::filter::end`].
    #[must_use]
    pub fn address(&self, address: &FamilyAddress) -> u8 {
        let [family, address @ ..] = *address;
        let ipv6 = family == 6;
        let address = u128::from_be_bytes(address);
        let [of_ipv4, of_ipv6] = &self.lengths;
        let lengths = if ipv6 { of_ipv6 } else { of_ipv4 };
        let longest = lengths.iter().find_map(|length| {
            let address = address & mask(*length);
            self.networks.get(&Network { ipv6, address, length: *length })
        });
        longest.copied().unwrap_or(0)
    }

    /// The prefixes as [`Network::key`] has them, and what is said of their addresses.
    pub fn entries(&self) -> impl Iterator<Item = (FamilyAddress, u32, u8)> {
        self.networks.iter().map(|(network, bits)| {
            let (address, length) = network.key();
            (address, length, *bits)
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_as_written() {
        for (text, shown) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8:ffff::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        assert!(matches!("10.0.0.0/33".parse::<Network>(), Err(ValueError::PrefixLength { .. })));
        for nonsense in ["", "10.0.0", "10.0.0.0/", "10.0.0.0/-1", "example.org", "::/129x"] {
            assert!(matches!(nonsense.parse::<Network>(), Err(ValueError::Network(_))));
        }
    }

    fn rules() -> impl Strategy<Value = Vec<EndRule<Network>>> {
        let network = (any::<[u8; 2]>(), 0..=32_u8).prop_map(|([high, low], length)| {
            // Few bits: prefixes hold one another often.
            let address = IpAddr::from([10, high & 1, 0, low & 3]);
            Network::of(address, Some(length)).unwrap()
        });
        let rule = (any::<bool>(), network).prop_map(|(excluded, value)| EndRule {
            excluded,
            side: None,
            value,
        });
        prop::collection::vec(rule, 0..12)
    }

    proptest! {
        /// The longest prefix says what all rules say together.
        #[test]
        fn one_lookup_tells_all(rules in rules(), high in 0..2_u8, low in 0..4_u8) {
            let whole = Network::of(IpAddr::from([10, high, 0, low]), None).unwrap();
            let address = ipv4([10, high, 0, low]);
            let holding = rules.iter().filter(|rule| rule.value.holds(whole));
            let expected = holding.fold(0, |bits, rule| bits | rule.bits());
            prop_assert_eq!(NetworkSet::new(&rules).address(&address), expected);
        }
    }
}
