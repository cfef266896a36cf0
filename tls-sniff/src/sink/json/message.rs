//! The events of messages.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{SCHEMA, Shown, certificate, endpoint, flag, seen_on, shown, some, text, vlan};
use crate::{
    observation::{Facts, MessageObservation},
    tls::{
        client_hello::ClientHello,
        extension::Ech,
        fingerprint::ClientFingerprints,
        message::Message,
        names::{
            CertificateCompression, CipherSuite, CompressionMethod, ExtensionType, NamedGroup,
            ProtocolVersion, PskKeyExchangeMode, SignatureScheme, is_grease,
        },
        server_hello::ServerHello,
        ssl2::{CipherSpec, Ssl2ClientHello, Ssl2ServerHello},
    },
};

pub(super) struct Line<'a, 'b>(pub(super) &'a MessageObservation<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let it = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Shown(it.seen.timestamp))?;
        map.serialize_entry("event", it.kind().as_str())?;
        map.serialize_entry("schema", &SCHEMA)?;
        seen_on(&mut map, it.on)?;
        some(&mut map, "direction", it.seen.direction())?;
        map.serialize_entry("hook", it.seen.hook())?;
        endpoint(&mut map, ["source_address", "source_port"], it.source)?;
        endpoint(&mut map, ["destination_address", "destination_port"], it.destination)?;
        vlan(&mut map, it.seen.vlan)?;
        map.serialize_entry("community_id", it.community_id)?;
        map.serialize_entry("tcp_sequence", &it.sequence)?;
        map.serialize_entry("content_type", it.record.content_type.as_str())?;
        map.serialize_entry("record_version", &Shown(ProtocolVersion(it.record.version)))?;
        map.serialize_entry("record_length", &it.record.length)?;
        some(&mut map, "records", (it.records > 1).then_some(it.records))?;
        message(&mut map, it)?;
        some(&mut map, "partial", it.said.partial.map(|partial| partial.as_str()))?;
        some(&mut map, "malformed", it.said.malformed.map(Shown))?;
        map.end()
    }
}

fn message<M: SerializeMap>(map: &mut M, it: &MessageObservation<'_>) -> Result<(), M::Error> {
    match &it.said.message {
        Message::ClientHello(hello) => {
            client_hello(map, hello)?;
            match it.facts {
                Facts::Client(facts) => fingerprints(map, facts.fingerprints.as_ref()),
                _ => Ok(()),
            }
        }
        Message::Ssl2ClientHello(record) => ssl2_client_hello(map, record),
        Message::Ssl2ServerHello(record) => ssl2_server_hello(map, record),
        Message::ServerHello(hello) => {
            server_hello(map, hello)?;
            match it.facts {
                Facts::Server(facts) => some(map, "ja3s", facts.ja3s.as_ref()),
                _ => Ok(()),
            }
        }
        Message::Certificate(_) => {
            map.serialize_entry("handshake_type", "certificate")?;
            match it.facts {
                Facts::Chain(chain) => {
                    map.serialize_entry("chain_length", &chain.length)?;
                    map.serialize_entry("certificates", &certificate::all(chain))
                }
                _ => Ok(()),
            }
        }
        Message::ServerKeyExchange(_) => {
            map.serialize_entry("handshake_type", "server_key_exchange")
        }
        Message::Handshake(kind) => map.serialize_entry("handshake_type", &Shown(kind)),
        Message::Alert(alert) => {
            map.serialize_entry("level", &Shown(alert.level))?;
            map.serialize_entry("description", &Shown(alert.description))
        }
        Message::EncryptedHandshake | Message::EncryptedAlert => {
            map.serialize_entry("encrypted", &true)
        }
        Message::UnknownHandshake
        | Message::UnknownAlert
        | Message::ChangeCipherSpec
        | Message::ApplicationData => Ok(()),
    }
}

pub(super) fn fingerprints<M: SerializeMap>(
    map: &mut M,
    prints: Option<&ClientFingerprints>,
) -> Result<(), M::Error> {
    let Some(prints) = prints else { return Ok(()) };
    map.serialize_entry("ja3", &prints.ja3)?;
    map.serialize_entry("ja4", &prints.ja4)?;
    map.serialize_entry("ja4_r", &prints.ja4_r)
}

fn client_hello<M: SerializeMap>(map: &mut M, hello: &ClientHello<'_>) -> Result<(), M::Error> {
    map.serialize_entry("handshake_type", "client_hello")?;
    map.serialize_entry("legacy_version", &Shown(ProtocolVersion(hello.legacy_version)))?;
    list(map, "offered_versions", hello.offered_versions(), ProtocolVersion)?;
    some(map, "sni", hello.sni().map(text))?;
    let protocols = hello.alpn().into_iter().flatten();
    list(map, "alpn", protocols, crate::tls::names::Printable)?;
    list(map, "cipher_suites", hello.cipher_suites.iter(), CipherSuite)?;
    let methods = hello.compression_methods.iter().copied();
    list(map, "compression_methods", methods, CompressionMethod)?;
    let extensions = hello.extensions.iter().map(|extension| extension.extension_type);
    list(map, "extensions", extensions.clone(), ExtensionType)?;
    list(map, "supported_groups", hello.supported_groups().iter(), NamedGroup)?;
    list(map, "key_shares", hello.key_share_groups(), NamedGroup)?;
    let algorithms = hello.signature_algorithms();
    list(map, "signature_algorithms", algorithms.iter(), SignatureScheme)?;
    let modes = hello.psk_key_exchange_modes().iter().copied();
    list(map, "psk_key_exchange_modes", modes, PskKeyExchangeMode)?;
    some(map, "psk_identities", hello.psk_identities())?;
    some(map, "session_ticket_length", hello.session_ticket_len())?;
    flag(map, "early_data", hello.has_early_data())?;
    ech(map, hello.ech())?;
    flag(map, "encrypted_server_name", hello.has_encrypted_server_name())?;
    some(map, "record_size_limit", hello.record_size_limit())?;
    let compression = hello.certificate_compression();
    list(map, "certificate_compression", compression.iter(), CertificateCompression)?;
    map.serialize_entry("post_quantum", hello.post_quantum().as_str())?;
    flag(map, "grease", hello.cipher_suites.iter().chain(extensions).any(is_grease))
}

/// Writes a list unless it is empty.
fn list<M: SerializeMap, I: Iterator + Clone, T: std::fmt::Display>(
    map: &mut M,
    name: &'static str,
    items: I,
    show: impl Fn(I::Item) -> T + Clone,
) -> Result<(), M::Error> {
    let any = items.clone().next().is_some();
    some(map, name, any.then(|| shown(items, show)))
}

fn ech<M: SerializeMap>(map: &mut M, ech: Option<Ech>) -> Result<(), M::Error> {
    #[derive(Serialize)]
    struct Outer {
        kdf: u16,
        aead: u16,
        config_id: u8,
        payload_length: usize,
    }
    some(map, "ech", ech.as_ref().map(Ech::as_str))?;
    let Some(Ech::Outer { kdf, aead, config_id, payload_len }) = ech else { return Ok(()) };
    map.serialize_entry("ech_outer", &Outer { kdf, aead, config_id, payload_length: payload_len })
}

fn ssl2_client_hello<M: SerializeMap>(map: &mut M, record: &[u8]) -> Result<(), M::Error> {
    map.serialize_entry("handshake_type", "client_hello")?;
    map.serialize_entry("ssl2", &true)?;
    let Ok(hello) = Ssl2ClientHello::parse(record) else { return Ok(()) };
    map.serialize_entry("legacy_version", &Shown(ProtocolVersion(hello.version)))?;
    let versions = std::iter::once(hello.version);
    list(map, "offered_versions", versions, ProtocolVersion)?;
    list(map, "cipher_suites", hello.cipher_specs(), CipherSpec)
}

fn ssl2_server_hello<M: SerializeMap>(map: &mut M, record: &[u8]) -> Result<(), M::Error> {
    map.serialize_entry("handshake_type", "server_hello")?;
    map.serialize_entry("ssl2", &true)?;
    let Ok(hello) = Ssl2ServerHello::parse(record) else { return Ok(()) };
    map.serialize_entry("version", &Shown(ProtocolVersion(hello.version)))?;
    list(map, "cipher_suites", hello.cipher_specs(), CipherSpec)
}

fn server_hello<M: SerializeMap>(map: &mut M, hello: &ServerHello<'_>) -> Result<(), M::Error> {
    map.serialize_entry("handshake_type", "server_hello")?;
    map.serialize_entry("hello_retry_request", &hello.is_hello_retry_request())?;
    let version = hello.selected_version();
    some(map, "version", version.map(|version| Shown(ProtocolVersion(version))))?;
    map.serialize_entry("legacy_version", &Shown(ProtocolVersion(hello.legacy_version)))?;
    map.serialize_entry("cipher_suite", &Shown(CipherSuite(hello.cipher_suite)))?;
    some(map, "group", hello.key_share_group().map(|group| Shown(NamedGroup(group))))?;
    some(map, "alpn", hello.alpn().and_then(|mut names| names.next()).map(text))?;
    let extensions = hello.extensions.iter().map(|extension| extension.extension_type);
    list(map, "extensions", extensions, ExtensionType)?;
    flag(map, "pre_shared_key", hello.pre_shared_key().is_some())?;
    let compression = (hello.compression_method != 0)
        .then_some(Shown(CompressionMethod(hello.compression_method)));
    some(map, "compression_method", compression)?;
    some(map, "downgrade_sentinel", hello.downgrade_sentinel())
}
