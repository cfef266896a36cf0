//! Certificates in JSON.

use super::writer::{List, Object, Plain, Shown, Value, object};
use crate::{
    digits,
    tls::certificate::{Certificate, Chain, X509},
};

/// All certificates of a chain that are kept.
pub(super) fn all(chain: &Chain) -> impl Value {
    let seen = chain.seen;
    List(chain.certificates.iter().map(move |certificate| One { certificate, seen, length: None }))
}

/// The first certificate of a chain, and the chain's length.
pub(super) fn summary(chain: &Chain) -> Option<impl Value> {
    let certificate = chain.leaf()?;
    Some(One { certificate, seen: chain.seen, length: Some(chain.length) })
}

/// One certificate at the time when it was seen, seconds of the Unix epoch.
struct One<'a> {
    certificate: &'a Certificate,
    seen: i64,
    /// That of its chain, if it stands for it.
    length: Option<usize>,
}

impl Value for One<'_> {
    fn write(self, out: &mut Vec<u8>) {
        let Self { certificate, seen, length } = self;
        object(out, |one| {
            one.some("chain_length", length);
            one.field("sha256", Plain(&certificate.sha256));
            match &certificate.x509 {
                Ok(x509) => fields(one, x509, seen),
                Err(error) => one.field("undecodable", error.as_str()),
            }
        });
    }
}

fn fields(one: &mut Object<'_>, x509: &X509, seen: i64) {
    one.field("subject", x509.subject.as_str());
    one.field("issuer", x509.issuer.as_str());
    one.list("san", x509.san.iter().map(String::as_str));
    one.field("serial", Plain(&x509.serial));
    one.field("not_before", Date(x509.not_before));
    one.field("not_after", Date(x509.not_after));
    one.field("days_left", x509.days_left(seen));
    one.field("key_type", x509.key_type.as_str());
    one.some("key_bits", x509.key_bits);
    one.some("curve", x509.curve.as_deref());
    one.field("signature_algorithm", x509.signature_algorithm.as_str());
    one.flag("self_signed", x509.self_signed);
}

/// Seconds of the Unix epoch, as RFC 3339 in UTC without a fraction.
pub(super) struct Date(pub(super) i64);

impl Value for Date {
    fn write(self, out: &mut Vec<u8>) {
        if let Some(second) = digits::second(self.0) {
            out.push(b'"');
            out.extend_from_slice(&second);
            return out.extend_from_slice(b"Z\"");
        }
        match jiff::Timestamp::from_second(self.0) {
            Ok(timestamp) => Shown(timestamp).write(out),
            // Beyond the year 9999.
            Err(_) => crate::clock::Timestamp(0).write(out),
        }
    }
}
