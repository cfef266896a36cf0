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

/// A DER value.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], &length[..], content].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

/// A certificate whose serial number, algorithms, curve and name have as many bytes as is asked for.
fn of_sizes([serial, signature, key, curve, name]: [usize; 5]) -> Vec<u8> {
    // Each byte is an arc.
    let oid = |length: usize| der(6, &[&[0x2a][..], &vec![0x7b; length]].concat());
    let serial = der(2, &vec![0x11; serial]);
    let signature = sequence(&[oid(signature)]);
    let common_name = sequence(&[bytes("0603550403"), der(12, &vec![b'n'; name])]);
    let name = sequence(&[der(0x31, &common_name)]);
    let validity = sequence(&[der(23, b"260101000000Z"), der(23, b"270101000000Z")]);
    // EC, unless it has to be long.
    let algorithm = if key == 0 { bytes("06072a8648ce3d0201") } else { oid(key) };
    let key =
        sequence(&[sequence(&[algorithm, oid(curve)]), der(3, &[&[0, 4][..], &[7; 64]].concat())]);
    let tbs = sequence(&[serial, signature.clone(), name.clone(), validity, name, key]);
    sequence(&[tbs, signature, der(3, &[0, 1])])
}

/// Heap bytes that a certificate holds, by the capacities.
fn held(certificate: &Certificate) -> usize {
    let Certificate { sha256, sha1, x509, .. } = certificate;
    let says = match x509 {
        Err(error) => error.capacity(),
        Ok(x509) => {
            let san: usize = x509.san.iter().map(String::capacity).sum();
            let texts = [
                &x509.subject,
                &x509.issuer,
                &x509.serial,
                &x509.key_type,
                &x509.signature_algorithm,
            ];
            let texts = texts.into_iter().chain(&x509.curve).map(String::capacity).sum::<usize>();
            size_of::<X509>() + san + x509.san.capacity() * size_of::<String>() + texts
        }
    };
    size_of::<Certificate>() + sha256.capacity() + sha1.capacity() + says
}

fn assert_accounted(der: &[u8]) {
    // Alone: no other connection holds it.
    let chain = Chain::parse(&message(&[der.to_vec(), der.to_vec(), vec![0x30; 40_000]]), MADE);
    assert!(!chain.certificates.is_shared());
    let held: usize = chain.certificates.iter().map(held).sum();
    assert!(chain.memory() >= held, "{} < {held}", chain.memory());
}

#[test]
fn what_is_as_long_as_the_sender_likes_is_cut() {
    let long = Certificate::parse(&of_sizes([40_001, 30_000, 0, 20_000, 10])).x509.unwrap();
    assert_eq!(long.serial, "11".repeat(64) + "..");
    assert_eq!(long.subject.len(), 3 + 10);
    let curve = long.curve.unwrap();
    assert!(long.signature_algorithm.len() <= 258 && long.signature_algorithm.ends_with(".."));
    assert!(curve.len() <= 258 && curve.ends_with(".."), "{curve}");
    let long = Certificate::parse(&of_sizes([64, 1, 30_000, 1, 10])).x509.unwrap();
    assert_eq!(long.serial, "11".repeat(64));
    assert_eq!(long.signature_algorithm, "1.2.123");
    assert!(long.key_type.len() <= 258 && long.key_type.ends_with(".."), "{}", long.key_type);
}

proptest! {
    #[test]
    fn all_that_is_held_is_accounted_for(sizes in prop::array::uniform5(0_usize..3000)) {
        assert_accounted(&of_sizes(sizes));
        assert_accounted(&of_sizes(sizes.map(|size| size % 100)));
    }

    #[test]
    fn what_damaged_ones_hold_is_accounted_for(which in 0usize..6, place: usize, value: u8) {
        let mut der = bytes([CA_P521, LEAF_P256, LEAF_SHA1, ED25519, RSA_1023, DSA_1024][which]);
        let place = place % der.len();
        der[place] = value;
        assert_accounted(&der);
    }

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
