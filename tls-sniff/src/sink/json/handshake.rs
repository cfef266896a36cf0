//! The event of a connection's handshake.

use super::{
    SCHEMA, certificate, endpoint,
    message::fingerprints,
    microseconds, seen_on, vlan,
    writer::{Object, Plain},
};
use crate::{
    observation::{HandshakeObservation, Outcome},
    tls::{
        extension::Ech,
        names::{CipherSuite, NamedGroup, Printable, ProtocolVersion},
    },
};

pub(super) fn fields(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.field("timestamp", it.timestamp);
    line.field("event", "handshake");
    line.field("schema", SCHEMA);
    seen_on(line, it.on);
    line.field("hook", it.first.hook());
    endpoint(line, ["client_address", "client_port"], it.client);
    endpoint(line, ["server_address", "server_port"], it.server);
    vlan(line, it.first.vlan);
    line.field("community_id", it.community_id);
    line.field("start", it.first.timestamp);
    outcome(line, it.outcome);
    offered(line, it);
    chosen(line, it);
    line.some("server_certificate", it.server_certificates.and_then(certificate::summary));
    line.some("client_certificate", it.client_certificates.and_then(certificate::summary));
    line.list("weaknesses", it.weaknesses.iter().map(|weakness| weakness.as_str()));
    line.some("tcp_syn_ack_us", it.syn_to_syn_ack.map(microseconds));
    line.some("tcp_client_hello_us", it.syn_ack_to_hello.map(microseconds));
    line.some("tls_handshake_us", it.duration.map(microseconds));
    let [client, server] = it.bytes;
    line.field("client_bytes", client);
    line.field("server_bytes", server);
    line.field("ssl_history", it.history);
    line.some("partial", it.partial.map(|partial| partial.as_str()));
    line.flag("overlap", it.overlap);
}

fn outcome(line: &mut Object<'_>, outcome: Outcome) {
    line.field("outcome", outcome.as_str());
    line.some("outcome_by", outcome.by().map(|party| party.as_str()));
    match outcome {
        Outcome::Alert { alert: Some(alert), .. } => line.field("alert", alert.description),
        Outcome::ProbableEncryptedAlert { .. } => line.field("inferred", true),
        _ => {}
    }
}

fn offered(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    let Some(hello) = it.client_hello else { return };
    line.some("sni", hello.sni().map(Printable));
    line.list("offered_alpn", hello.alpn().map(Printable));
    line.some("post_quantum", hello.post_quantum.map(|ready| ready.as_str()));
    line.some("ech", hello.ech.as_ref().map(Ech::as_str));
    line.flag("early_data", hello.early_data);
    line.flag("offers_resumption", hello.offers_resumption);
    fingerprints(line, hello.fingerprints.as_ref());
}

fn chosen(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.some("version", it.version.map(ProtocolVersion));
    let Some(hello) = it.server_hello else { return };
    line.field("cipher_suite", CipherSuite(hello.cipher_suite));
    line.some("group", it.group.map(NamedGroup));
    line.flag("post_quantum_group", it.is_post_quantum());
    line.some("alpn", hello.alpn.as_deref().map(Printable));
    line.some("ja3s", hello.ja3s().map(Plain));
    line.some("resumed", it.resumed);
    line.flag("hello_retry_request", it.hello_retry_request);
}
