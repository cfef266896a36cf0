//! SSLv2 records, made by the layouts of RFC 5246 appendix E.2 and draft-hickman-netscape-ssl-00; the
//! expected values are what tshark 4.0.17 shows of them.

use std::hint::black_box;

use proptest::prelude::*;

use super::bytes;
use crate::tls::ssl2::{CipherSpec, Ssl2ClientHello, Ssl2ServerHello};

/// Of a client that can TLS 1.0: three ciphers of SSL 2.0 and three suites.
const COMPATIBLE: &str = "\
    802b0103010012000000100100800700c006004000002f00000a0000ff000102030405060708090a0b0c0d0e0f";

/// Of one that can SSL 2.0 alone, with a session to resume and all seven ciphers.
const SSL_2: &str = "\
    803e0100020015001000100100800200800300800400800500800600400700c055555555555555555555555555555555\
    000102030405060708090a0b0c0d0e0f";

/// A server's answer, with five bytes for a certificate.
const ANSWER: &str =
    "8026040001000200050006001030030201ff010080020080000102030405060708090a0b0c0d0e0f";

fn names(specs: impl Iterator<Item = u32>) -> Vec<String> {
    specs.map(|spec| CipherSpec(spec).to_string()).collect()
}

#[test]
fn client_hellos() {
    let record = bytes(COMPATIBLE);
    let hello = Ssl2ClientHello::parse(&record[2..]).unwrap();
    assert_eq!((hello.version, hello.session_id, hello.challenge.len()), (0x0301, &[][..], 16));
    let expected = [
        "SSL_CK_RC4_128_WITH_MD5",
        "SSL_CK_DES_192_EDE3_CBC_WITH_MD5",
        "SSL_CK_DES_64_CBC_WITH_MD5",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
    ];
    assert_eq!(names(hello.cipher_specs()), expected);

    let record = bytes(SSL_2);
    let hello = Ssl2ClientHello::parse(&record[2..]).unwrap();
    assert_eq!((hello.version, hello.session_id), (0x0002, &[0x55; 16][..]));
    let all = names(hello.cipher_specs());
    assert_eq!(all.len(), 7);
    assert!(all.iter().all(|name| name.starts_with("SSL_CK_")), "{all:?}");
    assert_eq!(CipherSpec(0x08_0080).to_string(), "0x080080");
}

#[test]
fn server_hellos() {
    let record = bytes(ANSWER);
    let hello = Ssl2ServerHello::parse(&record[2..]).unwrap();
    assert_eq!((hello.version, hello.session_id_hit), (0x0002, false));
    assert_eq!(hello.certificate, [0x30, 3, 2, 1, 0xff]);
    let expected = ["SSL_CK_RC4_128_WITH_MD5", "SSL_CK_RC4_128_EXPORT40_WITH_MD5"];
    assert_eq!(names(hello.cipher_specs()), expected);
    assert!(hello.connection_id.iter().copied().eq(0..16));
}

#[test]
fn records_that_end_early_or_contradict_themselves() {
    for hex in [COMPATIBLE, SSL_2, ANSWER] {
        let record = bytes(hex);
        for length in 2..record.len() {
            assert!(Ssl2ClientHello::parse(&record[2..length]).is_err());
            assert!(Ssl2ServerHello::parse(&record[2..length]).is_err());
        }
    }
    let mut record = bytes(COMPATIBLE);
    record[6] = 17;
    let error = Ssl2ClientHello::parse(&record[2..]).unwrap_err();
    assert_eq!(error.to_string(), "cipher_spec_length is invalid");
    // One is not the other.
    assert!(Ssl2ClientHello::parse(&bytes(ANSWER)[2..]).is_err());
    assert!(Ssl2ServerHello::parse(&bytes(SSL_2)[2..]).is_err());
}

proptest! {
    #[test]
    fn arbitrary_records_never_panic(
        message_type in prop_oneof![Just(1u8), Just(4), any::<u8>()],
        rest in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let record = [vec![message_type], rest].concat();
        if let Ok(hello) = Ssl2ClientHello::parse(&record) {
            black_box(names(hello.cipher_specs()));
        }
        if let Ok(hello) = Ssl2ServerHello::parse(&record) {
            black_box(names(hello.cipher_specs()));
        }
    }
}
