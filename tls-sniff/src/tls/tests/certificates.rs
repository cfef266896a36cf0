//! Certificates by OpenSSL, against what `openssl x509 -text -serial -fingerprint` says of them.

pub(crate) mod vectors;

use std::hint::black_box;

use proptest::prelude::*;

use super::bytes;
use crate::tls::certificate::{Certificate, Chain, X509, ders};
pub(super) use vectors::*;

/// 2026-11-23 18:28:05 UTC, when most of them were made.
pub(super) const MADE: i64 = 1_795_458_485;
pub(super) const DAY: i64 = 86_400;

pub(super) fn certificate(hex: &str) -> Certificate {
    Certificate::parse(&bytes(hex))
}

fn x509(hex: &str) -> X509 {
    *certificate(hex).x509.unwrap()
}

/// The body of a Certificate message.
pub(crate) fn message(ders: &[Vec<u8>]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes()[1..].to_vec();
    let list: Vec<u8> =
        ders.iter().flat_map(|der| [length(der.len()), der.clone()].concat()).collect();
    [length(list.len()), list].concat()
}

#[test]
fn a_certificate_as_openssl_reads_it() {
    let leaf = certificate(LEAF_P256);
    assert_eq!(leaf.sha256, "951c3703dd6b1b3d7c52cf61208e476d40fff9d7c6913f327568be2c0dcaba92");
    assert_eq!((leaf.der_len, leaf.sha1.len()), (583, 40));
    let x509 = leaf.x509.unwrap();
    assert_eq!(x509.subject, "CN=server.example");
    assert_eq!(x509.issuer, "C=CH, O=Example, Inc, CN=Test CA");
    let san = [
        "server.example",
        "*.server.example",
        "192.0.2.1",
        "2001:db8::1",
        "admin@server.example",
        "https://server.example/x",
    ];
    assert_eq!(x509.san, san);
    // The DER's content, with the zero that keeps it positive, as tshark's x509af.serialNumber has it.
    assert_eq!(x509.serial, "0080aabbccddeeff01");
    assert_eq!((x509.not_before, x509.not_after), (MADE, MADE + 90 * DAY));
    assert!(!x509.self_signed);
    assert_eq!(x509.days_left(MADE), 90);
    assert_eq!(x509.days_left(MADE + 1), 89);
    assert_eq!(x509.days_left(MADE + 90 * DAY + 1), -1);
}

#[test]
fn keys_and_signatures_as_openssl_names_them() {
    let cases = [
        (CA_P521, "EC", 521, Some("secp521r1"), "ecdsa-with-SHA384", true),
        (LEAF_P256, "EC", 256, Some("secp256r1"), "ecdsa-with-SHA256", false),
        (LEAF_SHA1, "EC", 256, Some("secp256r1"), "ecdsa-with-SHA1", false),
        (ED25519, "Ed25519", 256, None, "ed25519", true),
        (RSA_1023, "RSA", 1023, None, "ed25519", false),
        (DSA_1024, "DSA", 1024, None, "dsa-with-sha1", true),
    ];
    for (hex, key_type, bits, curve, signature, self_signed) in cases {
        let x509 = x509(hex);
        assert_eq!((x509.key_type.as_str(), x509.key_bits), (key_type, Some(bits)));
        assert_eq!(x509.curve.as_deref(), curve);
        assert_eq!(x509.signature_algorithm, signature);
        assert_eq!(x509.self_signed, self_signed, "{}", x509.subject);
    }
}

/// Whatever is wrong with a certificate, its hash can be looked up.
#[test]
fn an_undecodable_certificate_keeps_its_hash() {
    let broken = Certificate::parse(b"abc");
    assert_eq!(broken.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(broken.der_len, 3);
    assert!(!broken.x509.unwrap_err().is_empty());
}

#[test]
fn chains_cut_at_every_byte() {
    let chain = [bytes(LEAF_P256), bytes(CA_P521)];
    let body = message(&chain);
    let parsed = Chain::parse(&body, MADE);
    assert_eq!((parsed.length, parsed.certificates.len()), (2, 2));
    assert_eq!(parsed.leaf(), Some(&certificate(LEAF_P256)));
    for length in 0..body.len() {
        let whole = usize::from(length >= 6 + chain[0].len());
        assert!(ders(&body[..length]).eq(chain.iter().take(whole)), "{length}");
    }
    // A server without a certificate, and more of them than anybody reads.
    assert_eq!(Chain::parse(&[0, 0, 0], MADE).length, 0);
    let many = Chain::parse(&message(&vec![vec![0x30, 0]; 40]), MADE);
    assert_eq!((many.length, many.certificates.len()), (40, 16));
}

proptest! {
    #[test]
    fn arbitrary_chains_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        black_box(Chain::parse(&body, 0).memory());
        black_box(Certificate::parse(&body));
    }

    #[test]
    fn damaged_certificates_never_panic(which in 0usize..6, place: usize, value: u8) {
        let mut der = bytes([CA_P521, LEAF_P256, LEAF_SHA1, ED25519, RSA_1023, DSA_1024][which]);
        let place = place % der.len();
        der[place] = value;
        black_box(Certificate::parse(&der));
    }
}
