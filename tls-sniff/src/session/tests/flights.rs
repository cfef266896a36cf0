//! What clients and servers say, whole flights of it.

use crate::tls::tests::{
    bytes,
    certificates::{
        message,
        vectors::{CA_P521, LEAF_P256},
    },
    vectors::{
        HELLO_RETRY_REQUEST, TLS_1_2_CLIENT, TLS_1_2_SERVER, TLS_1_3_CLIENT, TLS_1_3_SERVER,
    },
};

/// ChangeCipherSpec.
pub(super) const CCS: &[u8] = &[20, 3, 3, 0, 1, 1];

pub(super) fn record(content_type: u8, fragment: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(fragment.len()).unwrap().to_be_bytes();
    [&[content_type, 3, 3, high, low], fragment].concat()
}

/// A handshake message in a record.
pub(super) fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(body.len()).unwrap().to_be_bytes();
    record(22, &[&[kind, high, middle, low], body].concat())
}

/// An application data record of `length` bytes.
pub(super) fn data(length: usize) -> Vec<u8> {
    record(23, &vec![0xa5; length])
}

pub(super) fn alert(level: u8, description: u8) -> Vec<u8> {
    record(21, &[level, description])
}

/// An encrypted Finished of TLS 1.2.
pub(super) fn finished() -> Vec<u8> {
    record(22, &[&[0; 8][..], &[0x5a; 32]].concat())
}

pub(super) fn client_1_3() -> Vec<u8> {
    bytes(TLS_1_3_CLIENT)
}

pub(super) fn server_1_3() -> Vec<u8> {
    [bytes(TLS_1_3_SERVER), CCS.to_vec(), data(700)].concat()
}

pub(super) fn client_1_2() -> Vec<u8> {
    bytes(TLS_1_2_CLIENT)
}

pub(super) fn hello_retry_request() -> Vec<u8> {
    [bytes(HELLO_RETRY_REQUEST), CCS.to_vec()].concat()
}

/// ServerHello to ServerHelloDone, with a chain of two certificates.
pub(super) fn server_1_2() -> Vec<u8> {
    let chain = message(&[bytes(LEAF_P256), bytes(CA_P521)]);
    let key_exchange = [&[3, 0, 29, 32][..], &[0x16; 32], &[4, 3, 0, 70], &[0x16; 70]].concat();
    [bytes(TLS_1_2_SERVER), handshake(11, &chain), handshake(12, &key_exchange), handshake(14, &[])]
        .concat()
}

/// ClientKeyExchange to Finished.
pub(super) fn client_1_2_finishes() -> Vec<u8> {
    [handshake(16, &[0x16; 66]), CCS.to_vec(), finished()].concat()
}

/// NewSessionTicket to Finished.
pub(super) fn server_1_2_finishes() -> Vec<u8> {
    [handshake(4, &[7; 180]), CCS.to_vec(), finished()].concat()
}

/// The same hello with more extensions behind it.
pub(super) fn with_extension(hello: &[u8], kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let more = [&kind.to_be_bytes()[..], &length, content].concat();
    let mut hello = hello.to_vec();
    let added = more.len();
    // Of the record, of the message (its lower half), of the extensions.
    let session_id = usize::from(hello[43]);
    let suites_at = 44 + session_id;
    let suites = usize::from(u16::from_be_bytes([hello[suites_at], hello[suites_at + 1]]));
    let methods_at = suites_at + 2 + suites;
    let extensions_at = methods_at + 1 + usize::from(hello[methods_at]);
    for at in [3, 7, extensions_at] {
        let old = usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
        let new = u16::try_from(old + added).unwrap().to_be_bytes();
        hello[at..at + 2].copy_from_slice(&new);
    }
    hello.extend(more);
    hello
}

/// The message of one record cut over records of at most `size` bytes.
pub(super) fn in_records(one: &[u8], size: usize) -> Vec<u8> {
    one[5..].chunks(size).flat_map(|part| record(22, part)).collect()
}

/// The client's last words in TLS 1.3.
pub(super) fn finished_1_3() -> Vec<u8> {
    [CCS, &data(69)].concat()
}

/// What [`server_1_2`] says behind its ServerHello.
pub(super) fn certificate_to_done() -> Vec<u8> {
    let whole = server_1_2();
    let hello = 5 + usize::from(u16::from_be_bytes([whole[3], whole[4]]));
    whole[hello..].to_vec()
}
