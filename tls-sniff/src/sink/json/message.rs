//! The events of messages.

use super::{
    SCHEMA, certificate, endpoint, seen_on, vlan,
    writer::{List, Object, Plain, Shown},
};
use crate::{
    observation::{Facts, MessageObservation},
    tls::{
        client_hello::ClientHello,
        extension::Ech,
        fingerprint::ClientFingerprints,
        message::Message,
        names::{
            CertificateCompression, CipherSuite, CompressionMethod, ExtensionType, NamedGroup,
            Printable, ProtocolVersion, PskKeyExchangeMode, SignatureScheme, is_grease,
        },
        server_hello::ServerHello,
        ssl2::{CipherSpec, Ssl2ClientHello, Ssl2ServerHello},
    },
};

pub(super) fn fields(line: &mut Object<'_>, it: &MessageObservation<'_>) {
    line.field("timestamp", it.seen.timestamp);
    line.field("event", it.kind().as_str());
    line.field("schema", SCHEMA);
    seen_on(line, it.on);
    line.some("direction", it.seen.direction());
    line.field("hook", it.seen.hook());
    endpoint(line, ["source_address", "source_port"], it.source);
    endpoint(line, ["destination_address", "destination_port"], it.destination);
    vlan(line, it.seen.vlan);
    line.field("community_id", it.community_id);
    line.field("tcp_sequence", it.sequence);
    line.field("content_type", it.record.content_type.as_str());
    line.field("record_version", ProtocolVersion(it.record.version));
    line.field("record_length", it.record.length);
    line.some("records", (it.records > 1).then_some(it.records));
    message(line, it);
    line.some("partial", it.said.partial.map(|partial| partial.as_str()));
    line.some("malformed", it.said.malformed.map(Shown));
}

fn message(line: &mut Object<'_>, it: &MessageObservation<'_>) {
    match &it.said.message {
        Message::ClientHello(hello) => {
            client_hello(line, hello);
            if let Facts::Client(facts) = it.facts {
                fingerprints(line, facts.fingerprints.as_ref());
            }
        }
        Message::Ssl2ClientHello(record) => ssl2_client_hello(line, record),
        Message::Ssl2ServerHello(record) => ssl2_server_hello(line, record),
        Message::ServerHello(hello) => {
            server_hello(line, hello);
            if let Facts::Server(facts) = it.facts {
                line.some("ja3s", facts.ja3s().map(Plain));
            }
        }
        Message::Certificate(_) => {
            line.field("handshake_type", "certificate");
            if let Facts::Chain(chain) = it.facts {
                line.field("chain_length", chain.length);
                line.field("certificates", certificate::all(chain));
            }
        }
        Message::ServerKeyExchange(_) => line.field("handshake_type", "server_key_exchange"),
        Message::Handshake(kind) => line.field("handshake_type", *kind),
        Message::Alert(alert) => {
            line.field("level", alert.level);
            line.field("description", alert.description);
        }
        Message::EncryptedHandshake | Message::EncryptedAlert => line.field("encrypted", true),
        Message::UnknownHandshake
        | Message::UnknownAlert
        | Message::ChangeCipherSpec
        | Message::ApplicationData => {}
    }
}

pub(super) fn fingerprints(line: &mut Object<'_>, prints: Option<&ClientFingerprints>) {
    let Some(prints) = prints else { return };
    line.field("ja3", Plain(prints.ja3()));
    line.field("ja4", Plain(prints.ja4()));
    line.field("ja4_r", Plain(prints.ja4_r()));
}

fn client_hello(line: &mut Object<'_>, hello: &ClientHello<'_>) {
    line.field("handshake_type", "client_hello");
    line.field("legacy_version", ProtocolVersion(hello.legacy_version));
    line.list("offered_versions", hello.offered_versions().map(ProtocolVersion));
    line.some("sni", hello.sni().map(Printable));
    line.list("alpn", hello.alpn().into_iter().flatten().map(Printable));
    line.list("cipher_suites", hello.cipher_suites.iter().map(CipherSuite));
    let methods = hello.compression_methods.iter().copied();
    line.list("compression_methods", methods.map(CompressionMethod));
    let extensions = hello.extensions.iter().map(|extension| extension.extension_type);
    line.list("extensions", extensions.clone().map(ExtensionType));
    line.list("supported_groups", hello.supported_groups().iter().map(NamedGroup));
    line.list("key_shares", hello.key_share_groups().map(NamedGroup));
    line.list("signature_algorithms", hello.signature_algorithms().iter().map(SignatureScheme));
    let modes = hello.psk_key_exchange_modes().iter().copied();
    line.list("psk_key_exchange_modes", modes.map(PskKeyExchangeMode));
    line.some("psk_identities", hello.psk_identities());
    line.some("session_ticket_length", hello.session_ticket_len());
    line.flag("early_data", hello.has_early_data());
    ech(line, hello.ech());
    line.flag("encrypted_server_name", hello.has_encrypted_server_name());
    line.some("record_size_limit", hello.record_size_limit());
    let compression = hello.certificate_compression();
    line.list("certificate_compression", compression.iter().map(CertificateCompression));
    line.field("post_quantum", hello.post_quantum().as_str());
    line.flag("grease", hello.cipher_suites.iter().chain(extensions).any(is_grease));
}

fn ech(line: &mut Object<'_>, ech: Option<Ech>) {
    line.some("ech", ech.as_ref().map(Ech::as_str));
    let Some(Ech::Outer { kdf, aead, config_id, payload_len }) = ech else { return };
    line.object("ech_outer", |outer| {
        outer.field("kdf", kdf);
        outer.field("aead", aead);
        outer.field("config_id", config_id);
        outer.field("payload_length", payload_len);
    });
}

fn ssl2_client_hello(line: &mut Object<'_>, record: &[u8]) {
    line.field("handshake_type", "client_hello");
    line.field("ssl2", true);
    let Ok(hello) = Ssl2ClientHello::parse(record) else { return };
    line.field("legacy_version", ProtocolVersion(hello.version));
    line.field("offered_versions", List([ProtocolVersion(hello.version)].into_iter()));
    line.list("cipher_suites", hello.cipher_specs().map(CipherSpec));
}

fn ssl2_server_hello(line: &mut Object<'_>, record: &[u8]) {
    line.field("handshake_type", "server_hello");
    line.field("ssl2", true);
    let Ok(hello) = Ssl2ServerHello::parse(record) else { return };
    line.field("version", ProtocolVersion(hello.version));
    line.list("cipher_suites", hello.cipher_specs().map(CipherSpec));
}

fn server_hello(line: &mut Object<'_>, hello: &ServerHello<'_>) {
    line.field("handshake_type", "server_hello");
    line.field("hello_retry_request", hello.is_hello_retry_request());
    line.some("version", hello.selected_version().map(ProtocolVersion));
    line.field("legacy_version", ProtocolVersion(hello.legacy_version));
    line.field("cipher_suite", CipherSuite(hello.cipher_suite));
    line.some("group", hello.key_share_group().map(NamedGroup));
    line.some("alpn", hello.alpn().and_then(|mut names| names.next()).map(Printable));
    let extensions = hello.extensions.iter().map(|extension| extension.extension_type);
    line.list("extensions", extensions.map(ExtensionType));
    line.flag("pre_shared_key", hello.pre_shared_key().is_some());
    let compression =
        (hello.compression_method != 0).then_some(CompressionMethod(hello.compression_method));
    line.some("compression_method", compression);
    line.some("downgrade_sentinel", hello.downgrade_sentinel());
}
