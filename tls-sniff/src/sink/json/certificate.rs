//! Certificates in JSON.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{List, Shown, flag, some};
use crate::{
    clock::Timestamp,
    tls::certificate::{Certificate, Chain, X509},
};

/// All certificates of a chain that are kept.
pub(super) fn all(chain: &Chain) -> impl Serialize {
    let seen = chain.seen;
    List(chain.certificates.iter().map(move |certificate| One { certificate, seen }))
}

/// The first certificate of a chain, and the chain's length.
pub(super) fn summary(chain: &Chain) -> Option<impl Serialize> {
    let certificate = chain.leaf()?;
    Some(Summary { one: One { certificate, seen: chain.seen }, chain_length: chain.length })
}

#[derive(Serialize)]
struct Summary<'a> {
    chain_length: usize,
    #[serde(flatten)]
    one: One<'a>,
}

/// One certificate at the time when it was seen, seconds of the Unix epoch.
struct One<'a> {
    certificate: &'a Certificate,
    seen: i64,
}

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sha256", &self.certificate.sha256)?;
        match &self.certificate.x509 {
            Ok(x509) => fields(&mut map, x509, self.seen)?,
            Err(error) => map.serialize_entry("undecodable", error)?,
        }
        map.end()
    }
}

fn fields<M: SerializeMap>(map: &mut M, x509: &X509, seen: i64) -> Result<(), M::Error> {
    map.serialize_entry("subject", &x509.subject)?;
    map.serialize_entry("issuer", &x509.issuer)?;
    some(map, "san", (!x509.san.is_empty()).then_some(&x509.san))?;
    map.serialize_entry("serial", &x509.serial)?;
    map.serialize_entry("not_before", &date(x509.not_before))?;
    map.serialize_entry("not_after", &date(x509.not_after))?;
    map.serialize_entry("days_left", &x509.days_left(seen))?;
    map.serialize_entry("key_type", &x509.key_type)?;
    some(map, "key_bits", x509.key_bits)?;
    some(map, "curve", x509.curve.as_ref())?;
    map.serialize_entry("signature_algorithm", &x509.signature_algorithm)?;
    flag(map, "self_signed", x509.self_signed)
}

/// RFC 3339 in UTC.
pub(super) fn date(seconds: i64) -> Shown<Seconds> {
    Shown(Seconds(seconds))
}

/// Seconds of the Unix epoch, shown as RFC 3339 without a fraction.
pub(super) struct Seconds(i64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            // Beyond the year 9999.
            Err(_) => Timestamp(0).fmt(f),
        }
    }
}
