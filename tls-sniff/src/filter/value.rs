//! The values of filter flags, as users write them.

use std::{fmt, str::FromStr};

use tls_sniff_common::{filter, record::ContentType};

use crate::{
    nearest::{did_you_mean, nearest},
    tls::{handshake::HandshakeType, names::handshake_type_name},
};

/// Why a value is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a number, or too large.
    #[error("{0:?} is no port: 0 to 65535, or a range like 8443-8450")]
    Port(String),
    /// The upper bound is below the lower one.
    #[error("the range {0} is empty: its end is below its beginning")]
    Inverted(String),
    /// No address and no prefix.
    #[error("{0:?} is no IP address or prefix, such as 10.0.0.0/8 or 2001:db8::/32")]
    Network(String),
    /// A prefix length that the family does not have.
    #[error("{network:?}: a prefix length is 0 to {most}")]
    PrefixLength {
        /// What was written.
        network: String,
        /// The most bits.
        most: u8,
    },
    /// No VLAN id.
    #[error("{0:?} is no VLAN: 0 to 4095, any or none")]
    Vlan(String),
    /// No range of lengths.
    #[error("{0:?} is no range of bytes: MIN..MAX, MIN.., ..MAX or one number")]
    Lengths(String),
    /// No fraction.
    #[error("{0:?} is no sample: 1/N, N from 1")]
    Sample(String),
    /// No handshake type.
    #[error(
        "{written:?} is no handshake message: a name such as client_hello, or a number up to 31{}",
        did_you_mean(near.as_deref())
    )]
    Handshake {
        /// What was written.
        written: String,
        /// The name that was probably meant.
        near: Option<String>,
    },
    /// No cipher suite.
    #[error(
        "{written:?} is no cipher suite known here: an IANA name, 0x and four digits, or a pattern of those{}",
        did_you_mean(near.as_deref())
    )]
    Cipher {
        /// What was written.
        written: String,
        /// The name that was probably meant.
        near: Option<String>,
    },
    /// No JA4.
    #[error(
        "{0:?} is no JA4 of TLS over TCP, such as t13d1516h2_8daaf6152771_e5627efa2ab1, and no pattern of one, such as t13d*"
    )]
    Ja4(String),
    /// No version.
    #[error("{0:?} is no version: ssl2, ssl3, 1.0, 1.1, 1.2 or 1.3")]
    Version(String),
    /// No number of bytes.
    #[error("{0:?} is no size: a number of millions of bytes, or 64K, 64M, 1G")]
    Size(String),
}

/// One port, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let port = |port: &str| port.parse::<u16>().map_err(|_| ValueError::Port(text.to_owned()));
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if last < first {
            return Err(ValueError::Inverted(text.to_owned()));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// A VLAN id, or what has a tag or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vlan {
    /// Packets with this id in one of their tags.
    Id(u16),
    /// Packets with a tag.
    Any,
    /// Packets without.
    Untagged,
}

impl FromStr for Vlan {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "any" => Ok(Self::Any),
            "none" => Ok(Self::Untagged),
            id => match id.parse() {
                Ok(id @ 0..=4095) => Ok(Self::Id(id)),
                _ => Err(ValueError::Vlan(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "VLAN {id}"),
            Self::Any => f.write_str("any VLAN"),
            Self::Untagged => f.write_str("no VLAN"),
        }
    }
}

/// Bytes of payload, both bounds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// The fewest.
    pub least: u32,
    /// The most; not below the fewest.
    pub most: u32,
}

impl FromStr for Lengths {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = |number: &str, absent: u32| {
            if number.is_empty() { Ok(absent) } else { number.parse() }
        };
        let bounds = match text.split_once("..") {
            Some(("", "")) => None,
            Some((least, most)) => {
                number(least, 0).ok().zip(number(most.trim_start_matches('='), u32::MAX).ok())
            }
            None => text.parse().ok().map(|length| (length, length)),
        };
        let (least, most) = bounds.ok_or_else(|| ValueError::Lengths(text.to_owned()))?;
        if most < least {
            return Err(ValueError::Inverted(text.to_owned()));
        }
        Ok(Self { least, most })
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (least, u32::MAX) => write!(f, "at least {least} bytes"),
            (least, most) if least == most => write!(f, "{least} bytes"),
            (least, most) => write!(f, "{least} to {most} bytes"),
        }
    }
}

/// A number of bytes, as tcpdump's -C has it: in millions, unless a letter says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (number, unit) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (text.get(..text.len() - 1), 1 << 10),
            Some(b'm' | b'M') => (text.get(..text.len() - 1), 1 << 20),
            Some(b'g' | b'G') => (text.get(..text.len() - 1), 1 << 30),
            _ => (Some(text), 1_000_000),
        };
        let bytes = number.and_then(|number| number.parse::<u64>().ok()?.checked_mul(unit));
        let bytes = bytes.filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or_else(|| ValueError::Size(text.to_owned()))
    }
}

/// One connection in N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(pub u32);

impl FromStr for Sample {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.strip_prefix("1/").map(str::parse) {
            Some(Ok(n)) if n >= 1 => Ok(Self(n)),
            _ => Err(ValueError::Sample(text.to_owned())),
        }
    }
}

/// Content types of records, IANA "TLS ContentType".
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// 22
    Handshake,
    /// 21
    Alert,
    /// ChangeCipherSpec, 20
    Ccs,
    /// Application data, 23
    Appdata,
}

impl Content {
    /// The record layer's own.
    #[must_use]
    pub const fn content_type(self) -> ContentType {
        match self {
            Self::Handshake => ContentType::Handshake,
            Self::Alert => ContentType::Alert,
            Self::Ccs => ContentType::ChangeCipherSpec,
            Self::Appdata => ContentType::ApplicationData,
        }
    }

    /// As [`filter::Rules::content_types`] has it.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << (self.content_type() as u8 - ContentType::ChangeCipherSpec as u8)
    }
}

/// A version as two bytes on the wire. TLS 1.3 writes 1.2 there, in hellos and records: the negotiated
/// version is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WireVersion {
    /// 0x0300
    Ssl3,
    /// 0x0301
    #[value(name = "1.0")]
    Tls10,
    /// 0x0302
    #[value(name = "1.1")]
    Tls11,
    /// 0x0303
    #[value(name = "1.2")]
    Tls12,
}

impl WireVersion {
    /// The two bytes.
    #[must_use]
    pub const fn wire(self) -> u16 {
        0x0300 | self as u16
    }

    /// As [`filter::Rules::record_versions`] has it.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Segments that begin or end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TcpFlag {
    /// SYN without ACK
    Syn,
    /// SYN with ACK
    Synack,
    /// FIN
    Fin,
    /// RST
    Rst,
}

impl TcpFlag {
    /// As [`filter::Rules::tcp_flags`] has it.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Syn => filter::tcp::SYN,
            Self::Synack => filter::tcp::SYN_ACK,
            Self::Fin => filter::tcp::FIN,
            Self::Rst => filter::tcp::RST,
        }
    }
}

/// The type of a handshake message, by its IANA name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake(pub u8);

/// Types that are kept as bits of a number.
const MOST_HANDSHAKE_TYPES: u8 = 32;

impl FromStr for Handshake {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let known = |kind: &u8| HandshakeType(*kind).to_string() == text;
        let kind = (0..MOST_HANDSHAKE_TYPES).find(known).or_else(|| text.parse().ok());
        kind.filter(|kind| *kind < MOST_HANDSHAKE_TYPES).map(Self).ok_or_else(|| {
            let names = (0..MOST_HANDSHAKE_TYPES).filter_map(handshake_type_name);
            let near = nearest(text, names).map(str::to_owned);
            ValueError::Handshake { written: text.to_owned(), near }
        })
    }
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HandshakeType(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_nonsense() {
        let ports = |text: &str| text.parse::<PortRange>().map(|ports| (ports.first, ports.last));
        assert_eq!(ports("443"), Ok((443, 443)));
        assert_eq!(ports("8443-8450"), Ok((8443, 8450)));
        assert_eq!(ports("8450-8443"), Err(ValueError::Inverted("8450-8443".to_owned())));
        for nonsense in ["", "65536", "-1", "1-", "https", "1-2-3", "0x1bb"] {
            assert!(matches!(ports(nonsense), Err(ValueError::Port(_))), "{nonsense}");
        }
        let lengths = |text: &str| text.parse::<Lengths>().map(|it| (it.least, it.most));
        assert_eq!(lengths("100..200"), Ok((100, 200)));
        assert_eq!(lengths("100..=200"), Ok((100, 200)));
        assert_eq!(lengths("100.."), Ok((100, u32::MAX)));
        assert_eq!(lengths("..200"), Ok((0, 200)));
        assert_eq!(lengths("0"), Ok((0, 0)));
        assert_eq!(lengths("200..100"), Err(ValueError::Inverted("200..100".to_owned())));
        for nonsense in ["", "..", "a..b", "1...2", "-1..5"] {
            assert!(matches!(lengths(nonsense), Err(ValueError::Lengths(_))), "{nonsense}");
        }
        assert_eq!("1".parse(), Ok(Size(1_000_000)));
        assert_eq!("64k".parse(), Ok(Size(65_536)));
        for nonsense in ["", "0", "k", "-1", "1T", "99999999999999999G"] {
            assert!(matches!(nonsense.parse::<Size>(), Err(ValueError::Size(_))), "{nonsense}");
        }
        assert_eq!("1/100".parse(), Ok(Sample(100)));
        for nonsense in ["100", "1/0", "2/3", "1/-1", "1/"] {
            assert!(nonsense.parse::<Sample>().is_err(), "{nonsense}");
        }
        assert_eq!("client_hello".parse(), Ok(Handshake(1)));
        assert_eq!("20".parse(), Ok(Handshake(20)));
        let near = Some("client_hello".to_owned());
        let written = "clent_hello".to_owned();
        assert_eq!(written.parse::<Handshake>(), Err(ValueError::Handshake { written, near }));
        assert!("32".parse::<Handshake>().is_err() && "hello".parse::<Handshake>().is_err());
        assert_eq!("4095".parse(), Ok(Vlan::Id(4095)));
        assert!("4096".parse::<Vlan>().is_err());
    }
}
