//! What of a handshake should not be in use any more: RFC 8996 (TLS 1.0 and 1.1), RFC 7568 (SSL 3.0), RFC 7465
//! (RC4), RFC 9325 (recommendations), CA/Browser Forum Baseline Requirements (keys and hashes).

use super::{
    certificate::Certificate,
    names::{CipherSuite, CodePoint},
};

/// Days before its end from which a certificate counts as expiring.
const EXPIRING_DAYS: i64 = 30;

/// Something weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// SSL 2.0 to TLS 1.1.
    VersionBelowTls12,
    /// RC4 encrypts.
    Rc4,
    /// Triple DES encrypts.
    TripleDes,
    /// Single DES or RC2 encrypts.
    Des,
    /// Nothing encrypts.
    NullEncryption,
    /// A suite made weak for export.
    Export,
    /// Nobody is authenticated.
    Anonymous,
    /// Who has the server's key can decrypt what was recorded.
    NoForwardSecrecy,
    /// The certificate is signed with SHA-1.
    Sha1Certificate,
    /// The certificate is signed with MD5 or MD2.
    Md5Certificate,
    /// An RSA key below 2048 bits.
    ShortRsaKey,
    /// The certificate is no longer valid.
    ExpiredCertificate,
    /// It will not be in 30 days.
    ExpiringCertificate,
    /// It is not yet valid.
    NotYetValidCertificate,
}

impl Weakness {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VersionBelowTls12 => "version_below_tls_1_2",
            Self::Rc4 => "rc4",
            Self::TripleDes => "3des",
            Self::Des => "des",
            Self::NullEncryption => "null_encryption",
            Self::Export => "export",
            Self::Anonymous => "anonymous",
            Self::NoForwardSecrecy => "no_forward_secrecy",
            Self::Sha1Certificate => "sha1_certificate",
            Self::Md5Certificate => "md5_certificate",
            Self::ShortRsaKey => "short_rsa_key",
            Self::ExpiredCertificate => "expired_certificate",
            Self::ExpiringCertificate => "expiring_certificate",
            Self::NotYetValidCertificate => "not_yet_valid_certificate",
        }
    }
}

/// What is weak in a negotiated version and suite and in the server's certificate, at `now` in seconds of
/// the Unix epoch.
#[must_use]
pub fn of(
    version: Option<u16>,
    cipher_suite: Option<u16>,
    certificate: Option<&Certificate>,
    now: i64,
) -> Vec<Weakness> {
    let mut found = Vec::new();
    if version.is_some_and(|version| version < 0x0303) {
        found.push(Weakness::VersionBelowTls12);
    }
    if let Some(name) = cipher_suite.and_then(|number| CipherSuite(number).name()) {
        suite(name, &mut found);
    }
    if let Some(certificate) = certificate {
        of_certificate(certificate, now, &mut found);
    }
    found
}

/// By the name, which says it all: `TLS_<key exchange>_WITH_<cipher>_<hash>`, or in TLS 1.3 only the cipher.
fn suite(name: &str, found: &mut Vec<Weakness>) {
    let Some((exchange, cipher)) =
        name.strip_prefix("TLS_").and_then(|name| name.split_once("_WITH_"))
    else {
        if matches!(name, "TLS_SHA256_SHA256" | "TLS_SHA384_SHA384") {
            found.push(Weakness::NullEncryption);
        }
        return;
    };
    let (mut rc4, mut triple_des, mut des, mut null) = (false, false, false, false);
    for word in cipher.split('_') {
        match word {
            "RC4" => rc4 = true,
            "3DES" => triple_des = true,
            "DES" | "DES40" | "RC2" => des = true,
            "NULL" => null = true,
            _ => {}
        }
    }
    let flags = [
        (rc4, Weakness::Rc4),
        (triple_des, Weakness::TripleDes),
        (des, Weakness::Des),
        (null, Weakness::NullEncryption),
        (is_export(exchange), Weakness::Export),
        (exchange.contains("anon") || exchange == "NULL", Weakness::Anonymous),
        (!is_forward_secret(exchange), Weakness::NoForwardSecrecy),
    ];
    found.extend(flags.into_iter().filter(|(is, _)| *is).map(|(_, weakness)| weakness));
}

/// Keys of 512 bits and ciphers of 40, or of the later 1024 and 56.
fn is_export(exchange: &str) -> bool {
    exchange.ends_with("_EXPORT") || exchange.ends_with("_EXPORT1024")
}

/// Keys that are made for this session and forgotten. `PSK_DHE` is how RFC 6655 writes `DHE_PSK`.
fn is_forward_secret(exchange: &str) -> bool {
    let ephemeral = ["DHE_", "ECDHE_", "PSK_DHE", "DH_anon", "ECDH_anon", "SRP_", "ECCPWD"];
    ephemeral.iter().any(|start| exchange.starts_with(start))
}

fn of_certificate(certificate: &Certificate, now: i64, found: &mut Vec<Weakness>) {
    let Ok(x509) = &certificate.x509 else { return };
    let signed = x509.signature_algorithm.to_ascii_lowercase();
    // What signs itself is trusted for what it is, not for its signature.
    if !x509.self_signed {
        if signed.contains("sha1") {
            found.push(Weakness::Sha1Certificate);
        } else if signed.contains("md5") || signed.contains("md2") {
            found.push(Weakness::Md5Certificate);
        }
    }
    if x509.key_type == "RSA" && x509.key_bits.is_some_and(|bits| bits < 2048) {
        found.push(Weakness::ShortRsaKey);
    }
    if now > x509.not_after {
        found.push(Weakness::ExpiredCertificate);
    } else if x509.days_left(now) < EXPIRING_DAYS {
        found.push(Weakness::ExpiringCertificate);
    }
    if now < x509.not_before {
        found.push(Weakness::NotYetValidCertificate);
    }
}
