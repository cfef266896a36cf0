//! Hellos by others, whole, cut at every byte, and damaged. The expected values are tshark 4.0.17's
//! (`text2pcap -T 50000,443`, then `tshark -T fields -e tls.handshake...`).

pub(crate) mod certificates;
mod hellos;
mod ssl2;
pub(crate) mod vectors;
mod weaknesses;

use std::hint::black_box;

use proptest::prelude::*;
use tls_sniff_common::record::RECORD_HEADER_LEN;

use super::{
    client_hello::ClientHello,
    fingerprint,
    handshake::{HandshakeType, Protection, messages, protection},
    names::{CipherSuite, Printable, ProtocolVersion, is_grease},
    server_hello::ServerHello,
};
use vectors::*;

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The body of the one message in a record.
fn body(record: &[u8], handshake_type: HandshakeType) -> &[u8] {
    let (header, fragment) = record.split_at(RECORD_HEADER_LEN);
    assert_eq!(usize::from(u16::from_be_bytes([header[3], header[4]])), fragment.len());
    assert_eq!(protection(fragment, fragment.len()), Protection::Plaintext);
    let message = messages(fragment).next().unwrap();
    assert_eq!(message.handshake_type, handshake_type);
    assert!(message.is_complete());
    message.body
}

fn versions(hello: &ClientHello<'_>) -> Vec<String> {
    hello.offered_versions().map(|version| ProtocolVersion(version).to_string()).collect()
}

#[test]
fn client_hellos_as_tshark_reads_them() {
    let cases = [
        (RFC_8448_CLIENT, "server", "", "TLS 1.3", 3, 0),
        (TLS_1_3_CLIENT, "server.example", "h2,http/1.1", "TLS 1.3", 4, 32),
        (TLS_1_2_CLIENT, "server.example", "h2,http/1.1", "TLS 1.2", 28, 0),
        (TLS_1_0_CLIENT, "old.example", "", "TLS 1.0", 9, 0),
    ];
    for (hex, sni, alpn, offered, suites, session_id) in cases {
        let record = bytes(hex);
        let body = body(&record, HandshakeType::CLIENT_HELLO);
        let (hello, end) = ClientHello::parse(body, body.len()).unwrap();
        assert_eq!(end, Ok(()), "{sni}");
        assert_eq!(hello.sni(), Some(sni.as_bytes()));
        let protocols: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        assert_eq!(protocols.join(&b','), alpn.as_bytes());
        assert_eq!(versions(&hello), [offered]);
        assert_eq!((hello.cipher_suites.len(), hello.session_id.len()), (suites, session_id));
        assert_eq!(hello.compression_methods, [0]);
    }
    let record = bytes(TLS_1_3_CLIENT);
    let body = body(&record, HandshakeType::CLIENT_HELLO);
    let (hello, _) = ClientHello::parse(body, body.len()).unwrap();
    assert!(hello.cipher_suites.iter().eq([0x1302, 0x1303, 0x1301, 0x00ff]));
    assert_eq!(hello.random[..4], [0x22, 0xda, 0x14, 0xe7]);
}

#[test]
fn server_hellos_as_tshark_reads_them() {
    let cases = [
        (RFC_8448_SERVER, "TLS 1.3", "TLS_AES_128_GCM_SHA256", None, false),
        (TLS_1_3_SERVER, "TLS 1.3", "TLS_AES_256_GCM_SHA384", None, false),
        (TLS_1_2_SERVER, "TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Some("h2"), false),
        (TLS_1_0_SERVER, "TLS 1.0", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None, false),
        (HELLO_RETRY_REQUEST, "TLS 1.3", "TLS_AES_256_GCM_SHA384", None, true),
    ];
    for (hex, version, suite, alpn, retry) in cases {
        let record = bytes(hex);
        let body = body(&record, HandshakeType::SERVER_HELLO);
        let (hello, end) = ServerHello::parse(body, body.len()).unwrap();
        assert_eq!(end, Ok(()));
        assert_eq!(ProtocolVersion(hello.selected_version().unwrap()).to_string(), version);
        assert_eq!(CipherSuite(hello.cipher_suite).to_string(), suite);
        let protocol = hello.alpn().and_then(|mut protocols| protocols.next());
        assert_eq!(protocol, alpn.map(str::as_bytes));
        assert_eq!(hello.is_hello_retry_request(), retry);
    }
}

/// A hello that ends early says so, and says nothing that the whole one does not.
#[test]
fn client_hellos_cut_at_every_byte() {
    for hex in [RFC_8448_CLIENT, TLS_1_3_CLIENT, TLS_1_2_CLIENT, TLS_1_0_CLIENT] {
        let record = bytes(hex);
        let body = body(&record, HandshakeType::CLIENT_HELLO);
        let (whole, _) = ClientHello::parse(body, body.len()).unwrap();
        for length in 0..body.len() {
            let Ok((cut, end)) = ClientHello::parse(&body[..length], body.len()) else {
                assert!(length < 34, "{length} bytes hold version and random");
                continue;
            };
            assert!(end.unwrap_err().is_cut(), "{length}: {end:?}");
            assert_eq!((cut.legacy_version, cut.random), (whole.legacy_version, whole.random));
            assert!(cut.session_id.is_empty() || cut.session_id == whole.session_id);
            assert!(cut.cipher_suites.is_empty() || cut.cipher_suites == whole.cipher_suites);
            assert!(cut.sni().is_none() || cut.sni() == whole.sni());
            let versions = versions(&cut);
            assert!(versions.is_empty() || versions == self::versions(&whole), "{length}");
            assert!(
                whole
                    .extensions
                    .iter()
                    .take(cut.extensions.iter().count())
                    .eq(cut.extensions.iter())
            );
        }
    }
}

#[test]
fn server_hellos_cut_at_every_byte() {
    for hex in [RFC_8448_SERVER, TLS_1_3_SERVER, TLS_1_2_SERVER, TLS_1_0_SERVER] {
        let record = bytes(hex);
        let body = body(&record, HandshakeType::SERVER_HELLO);
        let (whole, _) = ServerHello::parse(body, body.len()).unwrap();
        for length in 0..body.len() {
            let Ok((cut, end)) = ServerHello::parse(&body[..length], body.len()) else { continue };
            assert!(end.unwrap_err().is_cut(), "{length}: {end:?}");
            assert_eq!(cut.cipher_suite, whole.cipher_suite);
            // TLS 1.3 says its version in an extension: before that is read, TLS 1.2 is no answer.
            let version = cut.selected_version();
            assert!(version.is_none() || version == whole.selected_version(), "{length}");
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_invalid() {
    let record = bytes(TLS_1_2_CLIENT);
    let body = body(&record, HandshakeType::CLIENT_HELLO).to_vec();
    let damaged = |place: usize, value: u8| {
        let mut body = body.clone();
        body[place] = value;
        let (_, end) = ClientHello::parse(&body, body.len()).unwrap();
        end.unwrap_err()
    };
    // Behind version and random: the session id's length, then the first half of the suites'.
    assert_eq!(damaged(34, 33).to_string(), "session_id is invalid");
    assert_eq!(damaged(35, 0xff).to_string(), "cipher_suites is invalid");
    assert_eq!(damaged(36, 57).to_string(), "cipher_suites is invalid");
    let with_extra = [body.clone(), vec![0]].concat();
    let (hello, end) = ClientHello::parse(&with_extra, with_extra.len()).unwrap();
    assert_eq!(end.unwrap_err().to_string(), "end of extensions is invalid");
    assert_eq!(hello.sni(), Some(&b"server.example"[..]));
}

#[test]
fn several_messages_in_one_record() {
    let done = [14, 0, 0, 0];
    let both = [&bytes(TLS_1_2_SERVER)[RECORD_HEADER_LEN..], &done].concat();
    assert_eq!(protection(&both, both.len()), Protection::Plaintext);
    let types: Vec<u8> = messages(&both).map(|message| message.handshake_type.0).collect();
    assert_eq!(types, [2, 14]);
}

#[test]
fn encrypted_records_are_told_from_plaintext() {
    // TLS 1.2 Finished under AES-GCM: an explicit nonce that counts from zero, then 32 bytes.
    let mut finished = vec![0; 8];
    finished.extend((0..32u8).map(|byte| byte.wrapping_mul(151).wrapping_add(37)));
    assert_eq!(protection(&finished, finished.len()), Protection::Encrypted);
    // HelloRequest: all of its record.
    assert_eq!(protection(&[0, 0, 0, 0], 4), Protection::Plaintext);
    // Not alone, it is no HelloRequest: one segment must not become thousands of messages.
    assert_eq!(protection(&[0; 2000], 2000), Protection::Encrypted);
    // Too little to tell, and a hello in a record of its first five bytes.
    assert_eq!(protection(&[], 512), Protection::Unknown);
    assert_eq!(protection(&[1, 0, 2], 512), Protection::Unknown);
    assert_eq!(protection(&[1, 0, 1, 252], 512), Protection::Plaintext);
    assert_eq!(protection(&[1, 0, 2, 0, 3], 5), Protection::Plaintext);
    // A certificate that goes on in the next record.
    let mut certificate = vec![11, 0, 0x20, 0];
    certificate.resize(4096, 0x30);
    assert_eq!(protection(&certificate, certificate.len()), Protection::Plaintext);
    // Random bytes in the size of an encrypted Finished: a linear congruential generator's.
    let mut state = 1u64;
    let mut wrong = 0;
    for _ in 0..200_000 {
        let fragment: Vec<u8> = (0..40)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        wrong += usize::from(protection(&fragment, fragment.len()) != Protection::Encrypted);
    }
    assert!(wrong <= 2, "{wrong} of 200,000 random records were taken for plaintext");
}

/// The example of JA4's own specification (technical_details/JA4.md), and tshark 4.0.17's JA3 and JA3S of
/// OpenSSL's hellos.
#[test]
fn fingerprints_as_published() {
    let suites = "002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9";
    assert_eq!(fingerprint::ja4_hash(suites.as_bytes()), *b"8daaf6152771");
    let extensions = "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01\
        _0403,0804,0401,0503,0805,0501,0806,0601";
    assert_eq!(fingerprint::ja4_hash(extensions.as_bytes()), *b"e5627efa2ab1");
    assert_eq!(fingerprint::ja4_hash(b""), *b"000000000000");

    let record = bytes(TLS_1_3_CLIENT);
    let body = body(&record, HandshakeType::CLIENT_HELLO);
    let (hello, _) = ClientHello::parse(body, body.len()).unwrap();
    let prints = fingerprint::client(&hello);
    assert_eq!(&*prints.ja3(), "9dffdb8b608a430b774a2ff7d36c1a0c");
    assert!(prints.ja4().starts_with("t13d0411h2_"), "{prints:?}");
    let lists = "t13d0411h2_00ff,1301,1302,1303_000a,000b,000d,0016,0017,0023,002b,002d,0033_";
    assert!(prints.ja4_r().starts_with(lists), "{prints:?}");

    let record = bytes(TLS_1_2_SERVER);
    let body = self::body(&record, HandshakeType::SERVER_HELLO);
    let (hello, _) = ServerHello::parse(body, body.len()).unwrap();
    assert_eq!(&*fingerprint::ja3s(&hello), "895252f3ce80cebf7a8837be83ec8e16");
}

#[test]
fn names_of_what_has_none() {
    assert_eq!(ProtocolVersion(0x7f1c).to_string(), "TLS 1.3 draft 28");
    assert_eq!(ProtocolVersion(0x1234).to_string(), "0x1234");
    assert_eq!(ProtocolVersion(0x3a3a).to_string(), "GREASE (0x3a3a)");
    assert_eq!(CipherSuite(0xfafa).to_string(), "GREASE (0xfafa)");
    assert_eq!(CipherSuite(0x00ff).to_string(), "TLS_EMPTY_RENEGOTIATION_INFO_SCSV");
    assert_eq!(CipherSuite(0x5600).to_string(), "TLS_FALLBACK_SCSV");
    assert_eq!(CipherSuite(0xeeee).to_string(), "0xeeee");
    // RFC 8701 has sixteen.
    assert_eq!((0..=u16::MAX).filter(|value| is_grease(*value)).count(), 16);
}

#[test]
fn strings_from_the_network_do_no_harm() {
    let shown = |bytes: &[u8]| Printable(bytes).to_string();
    assert_eq!(shown(b"server.example"), "server.example");
    assert_eq!(shown("bücher.example".as_bytes()), "bücher.example");
    assert_eq!(shown(b"\x1b[2Jx\n"), "\\x1b[2Jx\\x0a");
    assert_eq!(shown(b"a\xff\xc3b"), "a\\xff\\xc3b");
    assert_eq!(shown(b"\\x41"), "\\\\x41");
    // C1 control, right-to-left override, zero-width space.
    assert_eq!(
        shown("\u{9b}\u{202e}\u{200b}".as_bytes()),
        "\\xc2\\x9b\\xe2\\x80\\xae\\xe2\\x80\\x8b"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        black_box(protection(&bytes, bytes.len()));
        for message in messages(&bytes) {
            if let Ok((hello, _)) = ClientHello::parse(message.body, message.length) {
                hello.offered_versions().for_each(drop);
            }
        }
        if let Ok((hello, _)) = ServerHello::parse(&bytes, bytes.len() + 1) {
            black_box(hello.selected_version());
        }
        let shown = Printable(&bytes).to_string();
        prop_assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn damaged_hellos_never_panic(place in 0usize..257, value: u8) {
        let mut record = bytes(TLS_1_3_CLIENT);
        let fragment = record.len() - 9;
        record[9 + place % fragment] = value;
        if let Ok((hello, _)) = ClientHello::parse(&record[9..], fragment) {
            black_box(hello.sni());
            hello.alpn().into_iter().flatten().for_each(drop);
            hello.offered_versions().for_each(drop);
        }
    }
}
