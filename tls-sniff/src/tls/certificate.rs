//! The Certificate message of TLS 1.2 and older (RFC 5246 section 7.4.2), and what its X.509 certificates
//! (RFC 5280) say. TLS 1.3 encrypts it.
//!
//! ```text
//!  length (3) | { length (3) | DER } ...      the sender's own certificate first, each next one signs it
//! ```
//!
//! x509-parser reads the DER. A certificate that it refuses is reported with its hash and what is wrong.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::der::parse_der_integer,
    extensions::GeneralName,
    objects::{oid_registry, oid2sn},
    oid_registry::Oid,
    prelude::FromDer as _,
    public_key::PublicKey,
    x509::{SubjectPublicKeyInfo, X509Name},
};

use super::{
    memo::{Kept, Memo, Value},
    names::Printable,
    reader::Reader,
};
use crate::digits;

/// Certificates of a chain that are looked at; more are only counted.
const MAX_CERTIFICATES: usize = 16;

/// Names of a certificate that are kept: some have hundreds.
const MAX_NAMES: usize = 100;

/// Bytes of a serial number that are kept: no more than 20 are allowed (RFC 5280 section 4.1.2.2).
const MAX_SERIAL: usize = 64;

/// Characters of an object identifier's numbers, or of what is wrong with a certificate, that are kept.
const MAX_TEXT: usize = 256;

/// What follows something that was cut.
const CUT: &str = "..";

/// What an allocation costs beside its bytes, at most on average.
const ALLOCATION: usize = 16;

const SECONDS_PER_DAY: i64 = 86_400;

/// The certificates of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The first ones, the sender's own first.
    pub certificates: Kept<[Certificate]>,
    /// How many there are.
    pub length: usize,
    /// When it was seen, seconds of the Unix epoch.
    pub seen: i64,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the DER, 64 hexadecimal digits.
    pub sha256: String,
    /// SHA-1 of the DER, 40 hexadecimal digits: how some tools still name certificates.
    pub sha1: String,
    /// Bytes of the DER.
    pub der_len: usize,
    /// What it says, or why that cannot be read.
    pub x509: Result<Box<X509>, String>,
}

/// What a certificate says. Strings are made harmless for terminals and logs, see [`Printable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509 {
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// subjectAltName: DNS names, addresses, mail addresses, URIs.
    pub san: Vec<String>,
    /// The serial number's bytes in hexadecimal digits; of a long one the first 64, and `..`.
    pub serial: String,
    /// From when on it is valid, seconds of the Unix epoch.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// `RSA`, `EC`, `Ed25519`, ...
    pub key_type: String,
    /// Size of the key in bits; of a curve, that of its field.
    pub key_bits: Option<usize>,
    /// The curve of an EC key.
    pub curve: Option<String>,
    /// How it is signed.
    pub signature_algorithm: String,
    /// Subject and issuer are the same. The signature is not looked at.
    pub self_signed: bool,
}

impl X509 {
    /// Whole days that it is still valid at `now`, seconds of the Unix epoch; negative if it is no longer.
    #[must_use]
    pub const fn days_left(&self, now: i64) -> i64 {
        self.not_after.saturating_sub(now).div_euclid(SECONDS_PER_DAY)
    }
}

impl Chain {
    /// Reads the certificates that are whole in a message's body, seen at `seen` (seconds of the Unix epoch).
    #[must_use]
    pub fn parse(body: &[u8], seen: i64) -> Self {
        let certificates = Kept::of((certificates(body), false));
        Self { certificates, length: ders(body).count(), seen }
    }

    /// The sender's own certificate.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first()
    }

    /// About how many heap bytes are held, beside what is shared.
    #[must_use]
    pub fn memory(&self) -> usize {
        if self.certificates.is_shared() { 0 } else { memory(&self.certificates) }
    }
}

fn certificates(body: &[u8]) -> Arc<[Certificate]> {
    ders(body).take(MAX_CERTIFICATES).map(Certificate::parse).collect()
}

/// About how many bytes certificates hold.
fn memory(certificates: &[Certificate]) -> usize {
    let certificates = certificates.iter().map(|certificate| {
        let Certificate { sha256, sha1, der_len: _, x509 } = certificate;
        let says = match x509 {
            Ok(x509) => size_of::<X509>() + ALLOCATION + x509.memory(),
            Err(error) => text(error),
        };
        size_of::<Certificate>() + text(sha256) + text(sha1) + says
    });
    ALLOCATION + certificates.sum::<usize>()
}

/// About how many heap bytes a string holds.
const fn text(text: &String) -> usize {
    ALLOCATION + text.capacity()
}

impl X509 {
    /// About how many heap bytes it holds.
    fn memory(&self) -> usize {
        let Self { subject, issuer, san, serial, key_type, curve, signature_algorithm, .. } = self;
        let texts = [subject, issuer, serial, key_type, signature_algorithm];
        let texts = texts.into_iter().chain(san).chain(curve).map(text).sum::<usize>();
        ALLOCATION + san.capacity() * size_of::<String>() + texts
    }
}

/// Chains that were read before: a server sends the same one to all.
#[derive(Debug)]
pub(super) struct Chains(Memo<Arc<[Certificate]>>);

impl Chains {
    /// Knows none. At most 256 of 12 KiB, DER and what was read: three certificates have some 4 and 3.
    pub(super) const fn new() -> Self {
        Self(Memo::new(64, 12 << 10))
    }

    /// As [`Chain::parse`].
    pub(super) fn chain(&mut self, body: &[u8], seen: i64) -> Chain {
        let read = || ders(body).take(MAX_CERTIFICATES).map(Certificate::parse).collect();
        Chain { certificates: Kept::of(self.0.get(body, read)), length: ders(body).count(), seen }
    }
}

impl Value for Arc<[Certificate]> {
    fn memory(&self) -> usize {
        memory(self)
    }

    fn is_held(&self) -> bool {
        Arc::strong_count(self) > 1
    }
}

/// The DER of each certificate that is whole.
pub fn ders(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::of_length(body, usize::MAX);
    // The length of all of them says nothing that those of each do not.
    let _length = reader.array::<3>("certificate_list");
    std::iter::from_fn(move || {
        let [high, middle, low] = reader.array("certificate").ok()?;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let der = reader.part(usize::try_from(length).ok()?, "certificate").ok()?;
        der.complete("certificate").ok()
    })
}

impl Certificate {
    /// Reads one certificate.
    #[must_use]
    pub fn parse(der: &[u8]) -> Self {
        let x509 = match X509Certificate::from_der(der) {
            Ok((_, certificate)) => Ok(Box::new(X509::of(&certificate))),
            Err(error) => Err(cut(Printable(error.to_string().as_bytes()).to_string())),
        };
        Self {
            sha256: hex(&Sha256::digest(der)),
            sha1: hex(&Sha1::digest(der)),
            der_len: der.len(),
            x509,
        }
    }
}

impl X509 {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let san = certificate.subject_alternative_name().ok().flatten();
        let names = san.map(|extension| &extension.value.general_names);
        let (key_type, key_bits, curve) = key(certificate.public_key());
        Self {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            san: names.into_iter().flatten().take(MAX_NAMES).filter_map(general_name).collect(),
            serial: serial(certificate.raw_serial()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            key_type,
            key_bits,
            curve,
            signature_algorithm: object(&certificate.signature_algorithm.algorithm),
            self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    digits::pairs(bytes).map(char::from).collect()
}

fn serial(bytes: &[u8]) -> String {
    match bytes.get(..MAX_SERIAL) {
        Some(first) if bytes.len() > MAX_SERIAL => hex(first) + CUT,
        _ => hex(bytes),
    }
}

/// What is kept of a text that is as long as its sender likes.
fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push_str(CUT);
        text.shrink_to_fit();
    }
    text
}

fn name(name: &X509Name<'_>) -> String {
    Printable(name.to_string().as_bytes()).to_string()
}

fn general_name(general_name: &GeneralName<'_>) -> Option<String> {
    match general_name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some(Printable(text.as_bytes()).to_string())
        }
        GeneralName::Invalid(_, bytes) => Some(Printable(bytes).to_string()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = <[u8; 16]>::try_from(*bytes).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or(v6).ok()
        }
        GeneralName::DirectoryName(directory) => Some(name(directory)),
        _ => None,
    }
}

/// An object identifier by its short name, or its numbers.
fn object(oid: &Oid<'_>) -> String {
    if let Ok(name) = oid2sn(oid, oid_registry()) {
        return name.to_owned();
    }
    let numbers = oid.to_id_string();
    // What x509-parser's registry does not have.
    let name = match numbers.as_str() {
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1",
        "1.3.14.3.2.27" => "dsaWithSHA1",
        "2.16.840.1.101.3.4.3.1" => "dsa-with-sha224",
        "2.16.840.1.101.3.4.3.2" => "dsa-with-sha256",
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        _ => return cut(numbers),
    };
    name.to_owned()
}

/// Type, size and curve of a public key.
fn key(info: &SubjectPublicKeyInfo<'_>) -> (String, Option<usize>, Option<String>) {
    let parameters = info.algorithm.parameters.as_ref();
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => ("RSA".to_owned(), Some(bits(rsa.modulus)), None),
        Ok(PublicKey::EC(point)) => {
            let oid = parameters.and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
            let known = oid.as_deref().and_then(curve);
            let size = known.map_or(point.key_size(), |(_, size)| size);
            let name = known.map(|(name, _)| name.to_owned()).or(oid.map(cut));
            ("EC".to_owned(), Some(size), name)
        }
        Ok(PublicKey::DSA(_)) => {
            // The first parameter is the prime, whose size is that of the key (RFC 3279 section 2.3.2).
            let prime = parameters.and_then(|any| parse_der_integer(any.data).ok());
            let size = prime.and_then(|(_, prime)| prime.as_slice().ok().map(bits));
            ("DSA".to_owned(), size, None)
        }
        Ok(_) | Err(_) => match info.algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => ("Ed25519".to_owned(), Some(256), None),
            "1.3.101.113" => ("Ed448".to_owned(), Some(456), None),
            _ => (object(&info.algorithm.algorithm), None, None),
        },
    }
}

/// Significant bits of a big-endian number. x509-parser's own count takes it for granted that the first
/// byte only carries the sign, which is so of sizes that are multiples of eight and of no others.
fn bits(number: &[u8]) -> usize {
    let leading = number.iter().take_while(|byte| **byte == 0).count();
    match number.get(leading..) {
        Some([first, rest @ ..]) => rest.len() * 8 + (u8::BITS - first.leading_zeros()) as usize,
        _ => 0,
    }
}

/// The curves that certificates have, in the words of RFC 8422 and RFC 7027, and the bits of their
/// field, which need not fill the point's bytes.
fn curve(oid: &str) -> Option<(&'static str, usize)> {
    Some(match oid {
        "1.2.840.10045.3.1.1" => ("secp192r1", 192),
        "1.2.840.10045.3.1.7" => ("secp256r1", 256),
        "1.3.132.0.10" => ("secp256k1", 256),
        "1.3.132.0.33" => ("secp224r1", 224),
        "1.3.132.0.34" => ("secp384r1", 384),
        "1.3.132.0.35" => ("secp521r1", 521),
        "1.3.36.3.3.2.8.1.1.7" => ("brainpoolP256r1", 256),
        "1.3.36.3.3.2.8.1.1.11" => ("brainpoolP384r1", 384),
        "1.3.36.3.3.2.8.1.1.13" => ("brainpoolP512r1", 512),
        _ => return None,
    })
}
