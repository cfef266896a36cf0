//! The event of a connection's handshake.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    List, SCHEMA, Shown, certificate, endpoint, flag, message::fingerprints, microseconds, seen_on,
    some, text, vlan,
};
use crate::{
    observation::{HandshakeObservation, Outcome},
    tls::{
        extension::Ech,
        names::{CipherSuite, NamedGroup, ProtocolVersion},
    },
};

pub(super) struct Line<'a, 'b>(pub(super) &'a HandshakeObservation<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let it = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Shown(it.timestamp))?;
        map.serialize_entry("event", "handshake")?;
        map.serialize_entry("schema", &SCHEMA)?;
        seen_on(&mut map, it.on)?;
        map.serialize_entry("hook", it.first.hook())?;
        endpoint(&mut map, ["client_address", "client_port"], it.client)?;
        endpoint(&mut map, ["server_address", "server_port"], it.server)?;
        vlan(&mut map, it.first.vlan)?;
        map.serialize_entry("community_id", it.community_id)?;
        map.serialize_entry("start", &Shown(it.first.timestamp))?;
        outcome(&mut map, it.outcome)?;
        offered(&mut map, it)?;
        chosen(&mut map, it)?;
        some(
            &mut map,
            "server_certificate",
            it.server_certificates.and_then(certificate::summary),
        )?;
        some(
            &mut map,
            "client_certificate",
            it.client_certificates.and_then(certificate::summary),
        )?;
        let weak = it.weaknesses.iter().map(|weakness| weakness.as_str());
        some(&mut map, "weaknesses", (!it.weaknesses.is_empty()).then_some(List(weak)))?;
        some(&mut map, "tcp_syn_ack_us", it.syn_to_syn_ack.map(microseconds))?;
        some(&mut map, "tcp_client_hello_us", it.syn_ack_to_hello.map(microseconds))?;
        some(&mut map, "tls_handshake_us", it.duration.map(microseconds))?;
        let [client, server] = it.bytes;
        map.serialize_entry("client_bytes", &client)?;
        map.serialize_entry("server_bytes", &server)?;
        map.serialize_entry("ssl_history", it.history)?;
        some(&mut map, "partial", it.partial.map(|partial| partial.as_str()))?;
        flag(&mut map, "overlap", it.overlap)?;
        map.end()
    }
}

fn outcome<M: SerializeMap>(map: &mut M, outcome: Outcome) -> Result<(), M::Error> {
    map.serialize_entry("outcome", outcome.as_str())?;
    some(map, "outcome_by", outcome.by().map(|party| party.as_str()))?;
    match outcome {
        Outcome::Alert { alert: Some(alert), .. } => {
            map.serialize_entry("alert", &Shown(alert.description))
        }
        Outcome::ProbableEncryptedAlert { .. } => map.serialize_entry("inferred", &true),
        _ => Ok(()),
    }
}

fn offered<M: SerializeMap>(map: &mut M, it: &HandshakeObservation<'_>) -> Result<(), M::Error> {
    let Some(hello) = it.client_hello else { return Ok(()) };
    some(map, "sni", hello.sni.as_deref().map(text))?;
    let offered = List(hello.alpn.iter().map(|name| text(name)));
    some(map, "offered_alpn", (!hello.alpn.is_empty()).then_some(offered))?;
    some(map, "post_quantum", hello.post_quantum.map(|ready| ready.as_str()))?;
    some(map, "ech", hello.ech.as_ref().map(Ech::as_str))?;
    flag(map, "early_data", hello.early_data)?;
    flag(map, "offers_resumption", hello.offers_resumption)?;
    fingerprints(map, hello.fingerprints.as_ref())
}

fn chosen<M: SerializeMap>(map: &mut M, it: &HandshakeObservation<'_>) -> Result<(), M::Error> {
    some(map, "version", it.version.map(|version| Shown(ProtocolVersion(version))))?;
    let Some(hello) = it.server_hello else { return Ok(()) };
    map.serialize_entry("cipher_suite", &Shown(CipherSuite(hello.cipher_suite)))?;
    some(map, "group", it.group.map(|group| Shown(NamedGroup(group))))?;
    flag(map, "post_quantum_group", it.is_post_quantum())?;
    some(map, "alpn", hello.alpn.as_deref().map(text))?;
    some(map, "ja3s", hello.ja3s.as_ref())?;
    some(map, "resumed", it.resumed)?;
    flag(map, "hello_retry_request", it.hello_retry_request)
}
