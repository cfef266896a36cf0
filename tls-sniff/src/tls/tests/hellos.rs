//! What hellos say in their extensions: by OpenSSL as tshark reads them, and put together from the RFCs'
//! layouts where OpenSSL 3.0 does not speak the extension.

use std::hint::black_box;

use proptest::prelude::*;

use super::{body, bytes, vectors::*};
use crate::tls::{
    client_hello::{ClientHello, PostQuantum},
    extension::Ech,
    fingerprint::{self, Prints},
    handshake::HandshakeType,
    names::{
        CertificateCompression, CompressionMethod, ExtensionType, NamedGroup, PskKeyExchangeMode,
        SignatureScheme, is_grease,
    },
    server_hello::ServerHello,
};

/// The body of a ClientHello of one suite, with these extensions.
fn client_body(extensions: &str) -> Vec<u8> {
    let extensions = bytes(extensions);
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &length, &extensions].concat()
}

/// Reads a ClientHello with these extensions and nothing wrong about it.
fn with_client<T>(extensions: &str, read: impl FnOnce(ClientHello<'_>) -> T) -> T {
    let body = client_body(extensions);
    let (hello, end) = ClientHello::parse(&body, body.len()).unwrap();
    assert_eq!(end, Ok(()));
    read(hello)
}

/// The body of a ServerHello that ends with `random_end`, with these extensions.
fn server_body(version: [u8; 2], random_end: &[u8; 8], extensions: &str) -> Vec<u8> {
    let extensions = bytes(extensions);
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    [&version[..], &[7; 24], random_end, &[0, 0x13, 1, 0], &length, &extensions].concat()
}

#[test]
fn a_client_that_resumes_as_tshark_reads_it() {
    let record = bytes(TLS_1_3_RESUMING_CLIENT);
    let body = body(&record, HandshakeType::CLIENT_HELLO);
    let (hello, end) = ClientHello::parse(body, body.len()).unwrap();
    assert_eq!(end, Ok(()));
    assert!(hello.key_share_groups().eq([29]));
    assert_eq!(hello.psk_key_exchange_modes(), [1]);
    assert_eq!(hello.psk_identities(), Some(1));
    assert!(hello.has_early_data());
    assert_eq!(hello.session_ticket_len(), Some(0));
    assert_eq!((hello.ech(), hello.has_encrypted_server_name()), (None, false));
    assert_eq!(hello.record_size_limit(), None);
    assert!(hello.certificate_compression().is_empty());
    assert_eq!(hello.post_quantum(), PostQuantum::No);

    let record = bytes(RFC_8448_CLIENT);
    let body = self::body(&record, HandshakeType::CLIENT_HELLO);
    let (hello, _) = ClientHello::parse(body, body.len()).unwrap();
    assert_eq!(hello.record_size_limit(), Some(0x4001));
    assert_eq!((hello.psk_identities(), hello.has_early_data()), (None, false));
}

#[test]
fn key_shares_and_post_quantum() {
    // GREASE with one byte, X25519MLKEM768 and x25519 with two.
    let shares = "0033 0013 0011 0a0a 0001 00 11ec 0002 0102 001d 0002 0304".replace(' ', "");
    with_client(&shares, |hello| {
        assert!(hello.key_share_groups().eq([0x0a0a, 0x11ec, 0x001d]));
        assert_eq!(hello.post_quantum(), PostQuantum::KeyShare);
    });
    // The number of the drafts before 23.
    with_client("002800080006001d00020304", |hello| assert!(hello.key_share_groups().eq([29])));
    // Offered without a share.
    with_client("000a0006000411ec001d", |hello| {
        assert_eq!(hello.post_quantum(), PostQuantum::Offered);
    });
    // A share that is longer than its list.
    with_client("003300080006001d00030304", |hello| {
        assert_eq!(hello.key_share_groups().count(), 0)
    });
}

#[test]
fn encrypted_client_hello() {
    // outer, HKDF-SHA256, AES-128-GCM, configuration 0x2a, three bytes of enc, four of payload.
    let outer = "fe0d 0011 00 0001 0001 2a 0003 010203 0004 0a0b0c0d".replace(' ', "");
    let expected = Ech::Outer { kdf: 1, aead: 1, config_id: 0x2a, payload_len: 4 };
    with_client(&outer, |hello| assert_eq!(hello.ech(), Some(expected)));
    with_client("fe0d000101", |hello| assert_eq!(hello.ech(), Some(Ech::Inner)));
    with_client("fe0d000102", |hello| assert_eq!(hello.ech(), None));
    with_client("fe0d0000", |hello| assert_eq!(hello.ech(), None));
    with_client("ffce0000", |hello| assert!(hello.has_encrypted_server_name()));
}

#[test]
fn small_extensions_of_clients() {
    let certificate_compression = "001b 0005 04 0002 0003".replace(' ', "");
    with_client(&certificate_compression, |hello| {
        assert!(hello.certificate_compression().iter().eq([2, 3]));
    });
    // Half an algorithm.
    with_client("001b0004030002ff", |hello| assert!(hello.certificate_compression().is_empty()));
    with_client("00230003aabbcc", |hello| assert_eq!(hello.session_ticket_len(), Some(3)));
    with_client("002d0003020001", |hello| assert_eq!(hello.psk_key_exchange_modes(), [0, 1]));
    with_client("001c000140", |hello| assert_eq!(hello.record_size_limit(), None));
}

#[test]
fn servers_of_tls_1_3() {
    let record = bytes(TLS_1_3_SERVER);
    let body = body(&record, HandshakeType::SERVER_HELLO);
    let (hello, _) = ServerHello::parse(body, body.len()).unwrap();
    assert_eq!((hello.key_share_group(), hello.pre_shared_key()), (Some(29), None));
    assert_eq!(hello.downgrade_sentinel(), None);
    // A HelloRetryRequest names the group alone.
    let record = bytes(HELLO_RETRY_REQUEST);
    let body = self::body(&record, HandshakeType::SERVER_HELLO);
    let (hello, _) = ServerHello::parse(body, body.len()).unwrap();
    assert_eq!(hello.key_share_group(), Some(23));
    let body = server_body([3, 3], &[7; 8], "002b00020304002900020000");
    let (hello, _) = ServerHello::parse(&body, body.len()).unwrap();
    assert_eq!(hello.pre_shared_key(), Some(0));
}

#[test]
fn downgrade_sentinels() {
    let cases = [
        (b"DOWNGRD\x01", Some("TLS 1.2")),
        (b"DOWNGRD\x00", Some("TLS 1.1 or older")),
        (b"DOWNGRD\x02", None),
    ];
    for (random_end, expected) in cases {
        let body = server_body([3, 3], random_end, "");
        let (hello, end) = ServerHello::parse(&body, body.len()).unwrap();
        assert_eq!((end, hello.downgrade_sentinel()), (Ok(()), expected));
    }
}

/// Drafts 18 to 21 have neither session id nor compression method in a ServerHello; 22 has them again.
#[test]
fn servers_of_tls_1_3_drafts() {
    for draft in 18..=21 {
        let key_share = bytes("0006002800020017");
        let body = [&[0x7f, draft][..], &[7; 32], &[0x13, 2], &key_share].concat();
        let (hello, end) = ServerHello::parse(&body, body.len()).unwrap();
        assert_eq!(end, Ok(()));
        assert_eq!((hello.cipher_suite, hello.session_id), (0x1302, &[][..]));
        assert_eq!(hello.selected_version(), Some(0x7f00 | u16::from(draft)));
        assert_eq!(hello.key_share_group(), Some(23));
    }
    let body = server_body([0x7f, 22], &[7; 8], "");
    let (hello, end) = ServerHello::parse(&body, body.len()).unwrap();
    assert_eq!((end, hello.cipher_suite), (Ok(()), 0x1301));
}

/// Spot checks against the IANA registries, and what stands in none of them.
#[test]
fn names_of_code_points() {
    let group = |value| NamedGroup(value).to_string();
    assert_eq!(group(0x11ec), "X25519MLKEM768");
    assert_eq!(group(0x6399), "X25519Kyber768Draft00");
    assert_eq!(group(0x0104), "ffdhe8192");
    assert_eq!(group(0x2a2a), "GREASE (0x2a2a)");
    assert_eq!(group(0x1234), "0x1234");
    assert_eq!(SignatureScheme(0x0804).to_string(), "rsa_pss_rsae_sha256");
    // SHA-1 with DSA: TLS 1.2 has it, and the registry has no name for the pair.
    assert_eq!(SignatureScheme(0x0202).to_string(), "0x0202");
    assert_eq!(ExtensionType(0xfe0d).to_string(), "encrypted_client_hello");
    assert_eq!(ExtensionType(0xff01).to_string(), "renegotiation_info");
    assert_eq!(ExtensionType(0x3374).to_string(), "next_protocol_negotiation");
    assert_eq!(ExtensionType(0x754f).to_string(), "channel_id_old");
    assert_eq!(ExtensionType(0x7550).to_string(), "channel_id");
    assert_eq!(CertificateCompression(2).to_string(), "brotli");
    assert_eq!(PskKeyExchangeMode(1).to_string(), "psk_dhe_ke");
    assert_eq!(CompressionMethod(1).to_string(), "DEFLATE");
    // RFC 8701 section 2 lists these eight.
    let grease: Vec<u8> = (0..=u8::MAX)
        .filter(|value| PskKeyExchangeMode(*value).to_string().starts_with("GREASE"))
        .collect();
    assert_eq!(grease, [0x0b, 0x2a, 0x49, 0x68, 0x87, 0xa6, 0xc5, 0xe4]);
    // No name hides a GREASE value.
    for value in (0..=u16::MAX).filter(|value| is_grease(*value)) {
        for shown in
            [group(value), SignatureScheme(value).to_string(), ExtensionType(value).to_string()]
        {
            assert_eq!(shown, format!("GREASE ({value:#06x})"));
        }
    }
}

#[test]
fn post_quantum_groups() {
    for hybrid in [0x11eb, 0x11ec, 0x11ed, 0x11ee, 0x4138, 0x6399, 0x639a] {
        assert!(NamedGroup(hybrid).is_post_quantum() && NamedGroup(hybrid).is_hybrid());
    }
    for alone in 0x0200..=0x0202 {
        assert!(NamedGroup(alone).is_post_quantum() && !NamedGroup(alone).is_hybrid());
    }
    for classical in [23, 29, 30, 0x0100, 0x0a0a] {
        assert!(!NamedGroup(classical).is_post_quantum() && !NamedGroup(classical).is_hybrid());
    }
}

proptest! {
    /// Every accessor, on an extension of any content of each type that one of them reads.
    #[test]
    fn arbitrary_extensions_never_panic(
        extension_type in prop_oneof![
            Just(10u16), Just(27), Just(28), Just(35), Just(40), Just(41), Just(42), Just(45),
            Just(51), Just(0xfe0d), any::<u16>(),
        ],
        data in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let length = u16::try_from(data.len()).unwrap();
        let head = format!("{extension_type:04x}{length:04x}");
        let hex = data.iter().fold(head, |hex, byte| format!("{hex}{byte:02x}"));
        with_client(&hex, |hello| {
            black_box((hello.key_share_groups().count(), hello.psk_key_exchange_modes()));
            black_box((hello.psk_identities(), hello.session_ticket_len(), hello.ech()));
            black_box((hello.record_size_limit(), hello.certificate_compression().len()));
            black_box(hello.post_quantum());
        });
        let body = server_body([3, 3], &[7; 8], &hex);
        let (hello, end) = ServerHello::parse(&body, body.len()).unwrap();
        prop_assert_eq!(end, Ok(()));
        black_box((hello.key_share_group(), hello.pre_shared_key(), hello.selected_version()));
    }
}

/// A ClientHello of these suites and extensions, the latter with the data that follows each type.
fn hello_of(suites: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let wire = |numbers: &[u16]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let suites = wire(suites);
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &length(data), data].concat())
        .collect();
    let start = [&[3, 3][..], &[7; 32], &[0], &length(&suites), &suites, &[1, 0]].concat();
    [&start[..], &length(&extensions), &extensions].concat()
}

proptest! {
    /// Few values, so that much comes again and much is nearly the same.
    #[test]
    fn fingerprints_that_are_remembered_are_those_that_are_worked_out(
        hellos in prop::collection::vec(
            (
                prop::collection::vec(prop_oneof![Just(0x0a0a), 0x1301..0x1304_u16], 0..4),
                prop::collection::vec(prop_oneof![
                    Just((0x1a1a, vec![])),
                    Just((0, vec![])),
                    Just((10, vec![0, 2, 0, 29])),
                    Just((10, vec![0, 4, 0x2a, 0x2a, 0, 23])),
                    Just((11, vec![1, 0])),
                    Just((11, vec![2, 0, 1])),
                    Just((13, vec![0, 4, 4, 3, 8, 4])),
                    Just((16, vec![0, 3, 2, b'h', b'2'])),
                    Just((16, vec![0, 2, 1, 0xff])),
                    Just((43, vec![2, 3, 4])),
                ], 0..5),
            ),
            1..100,
        ),
    ) {
        let mut prints = Prints::new();
        for (suites, extensions) in hellos {
            let body = hello_of(&suites, &extensions);
            let (hello, end) = ClientHello::parse(&body, body.len()).unwrap();
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(prints.client(&hello), fingerprint::client(&hello));
        }
    }
}
