//! Rules for one of the two ends of a connection: a port or a network, wanted or not, on either side.

use std::{fmt, str::FromStr};

use tls_sniff_common::filter::{end, set};

/// `[not] [src|dst] VALUE`: what a packet may come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndRule<T> {
    /// Packets with it are unwanted.
    pub excluded: bool,
    /// The one side that is meant; `None` for either.
    pub side: Option<Side>,
    /// The port or network.
    pub value: T,
}

/// A side of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl<T> EndRule<T> {
    /// The rule as [`end`] bits.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        let (source, destination) = if self.excluded {
            (end::NOT_SOURCE, end::NOT_DESTINATION)
        } else {
            (end::SOURCE, end::DESTINATION)
        };
        match self.side {
            None => source | destination,
            Some(Side::Source) => source,
            Some(Side::Destination) => destination,
        }
    }
}

/// [`set`] of some rules.
#[must_use]
pub fn kinds<T>(rules: &[EndRule<T>]) -> u8 {
    rules
        .iter()
        .fold(0, |kinds, rule| kinds | if rule.excluded { set::EXCLUDES } else { set::INCLUDES })
}

impl<T: FromStr> FromStr for EndRule<T> {
    type Err = T::Err;

    /// `443`, `!443`, `not 443`, `src 443`, `not dst 443`; a colon may stand for a space.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.trim();
        let (mut excluded, mut side) = (false, None);
        loop {
            rest = if let Some(behind) = word(rest, "not").or_else(|| rest.strip_prefix('!')) {
                excluded = !excluded;
                behind.trim_start()
            } else if let (None, Some(behind)) = (side, word(rest, "src")) {
                side = Some(Side::Source);
                behind
            } else if let (None, Some(behind)) = (side, word(rest, "dst")) {
                side = Some(Side::Destination);
                behind
            } else {
                return Ok(Self { excluded, side, value: rest.parse()? });
            };
        }
    }
}

/// What follows `word` and a space or colon.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let behind = text.strip_prefix(word)?;
    let rest = behind.strip_prefix([' ', ':'])?;
    Some(rest.trim_start())
}

impl<T: fmt::Display> fmt::Display for EndRule<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            None => {}
            Some(Side::Source) => f.write_str("source ")?,
            Some(Side::Destination) => f.write_str("destination ")?,
        }
        write!(f, "{}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::value::PortRange;

    fn rule(text: &str) -> EndRule<PortRange> {
        text.parse().unwrap()
    }

    #[test]
    fn words_before_a_value() {
        let either = end::SOURCE | end::DESTINATION;
        assert_eq!(rule("443").bits(), either);
        assert_eq!(rule("src 443").bits(), end::SOURCE);
        assert_eq!(rule("dst:443").bits(), end::DESTINATION);
        assert_eq!(rule("not 443").bits(), end::NOT_SOURCE | end::NOT_DESTINATION);
        assert_eq!(rule("!dst 443").bits(), end::NOT_DESTINATION);
        assert_eq!(rule("not:src:443-444").bits(), end::NOT_SOURCE);
        assert_eq!(rule("! not 443").bits(), either);
        for nonsense in ["", "src", "src dst 443", "nota 443", "not", "443 dst"] {
            assert!(nonsense.parse::<EndRule<PortRange>>().is_err(), "{nonsense}");
        }
    }
}
