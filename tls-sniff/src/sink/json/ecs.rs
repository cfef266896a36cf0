//! The Elastic Common Schema, version 8.17: `tls.*`, `client`, `server`, `network` and `event`
//! (<https://www.elastic.co/docs/reference/ecs/ecs-tls>), with dotted names as ECS documents write them.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Shown, certificate::date, some, stats, text};
use crate::{
    clock::Timestamp,
    observation::{HandshakeObservation, Outcome},
    tls::{
        certificate::Chain,
        names::{CipherSuite, NamedGroup},
    },
};

const ECS_VERSION: &str = "8.17.0";

pub(super) struct Line<'a, 'b>(pub(super) &'a HandshakeObservation<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let it = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("@timestamp", &Shown(it.timestamp))?;
        map.serialize_entry("ecs.version", ECS_VERSION)?;
        event(&mut map, it)?;
        for (address, ip, port, socket) in [
            ("client.address", "client.ip", "client.port", it.client),
            ("server.address", "server.ip", "server.port", it.server),
        ] {
            map.serialize_entry(address, &socket.ip())?;
            map.serialize_entry(ip, &socket.ip())?;
            map.serialize_entry(port, &socket.port())?;
        }
        map.serialize_entry("network.transport", "tcp")?;
        map.serialize_entry("network.protocol", "tls")?;
        map.serialize_entry("network.community_id", it.community_id)?;
        let interface = it.on.interface.map(|name| text(name.as_bytes()));
        some(&mut map, "observer.ingress.interface.name", interface)?;
        client(&mut map, it)?;
        server(&mut map, it)?;
        map.end()
    }
}

fn event<M: SerializeMap>(map: &mut M, it: &HandshakeObservation<'_>) -> Result<(), M::Error> {
    map.serialize_entry("event.kind", "event")?;
    map.serialize_entry("event.category", &["network"])?;
    map.serialize_entry("event.type", &["connection", "protocol"])?;
    map.serialize_entry("event.action", "tls-handshake")?;
    let result = match it.outcome {
        Outcome::Completed => "success",
        Outcome::StillOpen | Outcome::Partial => "unknown",
        _ => "failure",
    };
    map.serialize_entry("event.outcome", result)?;
    map.serialize_entry("event.reason", it.outcome.as_str())?;
    map.serialize_entry("event.start", &Shown(it.first.timestamp))?;
    some(map, "event.duration", it.duration)
}

fn client<M: SerializeMap>(map: &mut M, it: &HandshakeObservation<'_>) -> Result<(), M::Error> {
    let Some(hello) = it.client_hello else { return Ok(()) };
    some(map, "tls.client.server_name", hello.sni.as_deref().map(text))?;
    some(map, "tls.client.ja3", hello.fingerprints.as_ref().map(|prints| &prints.ja3))?;
    // ECS has no field of its own for JA4.
    some(map, "tls.client.ja4", hello.fingerprints.as_ref().map(|prints| &prints.ja4))?;
    let names = [
        "tls.client.subject",
        "tls.client.issuer",
        "tls.client.not_before",
        "tls.client.not_after",
        "tls.client.hash.sha256",
    ];
    certificate(map, names, it.client_certificates)
}

fn server<M: SerializeMap>(map: &mut M, it: &HandshakeObservation<'_>) -> Result<(), M::Error> {
    map.serialize_entry("tls.established", &it.is_established())?;
    some(map, "tls.resumed", it.resumed)?;
    if let Some((protocol, version)) = it.version.and_then(version) {
        map.serialize_entry("tls.version_protocol", protocol)?;
        map.serialize_entry("tls.version", version)?;
    }
    let Some(hello) = it.server_hello else { return Ok(()) };
    map.serialize_entry("tls.cipher", &Shown(CipherSuite(hello.cipher_suite)))?;
    some(map, "tls.curve", it.group.map(|group| Shown(NamedGroup(group))))?;
    some(map, "tls.next_protocol", hello.alpn.as_deref().map(text))?;
    some(map, "tls.server.ja3s", hello.ja3s.as_ref())?;
    let names = [
        "tls.server.subject",
        "tls.server.issuer",
        "tls.server.not_before",
        "tls.server.not_after",
        "tls.server.hash.sha256",
    ];
    certificate(map, names, it.server_certificates)
}

/// ECS has protocol and number apart.
const fn version(version: u16) -> Option<(&'static str, &'static str)> {
    match version {
        0x0002 => Some(("ssl", "2.0")),
        0x0300 => Some(("ssl", "3.0")),
        0x0301 => Some(("tls", "1.0")),
        0x0302 => Some(("tls", "1.1")),
        0x0303 => Some(("tls", "1.2")),
        0x0304 | 0x7f00..=0x7fff => Some(("tls", "1.3")),
        _ => None,
    }
}

fn certificate<M: SerializeMap>(
    map: &mut M,
    [subject, issuer, not_before, not_after, hash]: [&'static str; 5],
    chain: Option<&Chain>,
) -> Result<(), M::Error> {
    let Some(leaf) = chain.and_then(Chain::leaf) else { return Ok(()) };
    if let Ok(x509) = &leaf.x509 {
        map.serialize_entry(subject, &x509.subject)?;
        map.serialize_entry(issuer, &x509.issuer)?;
        map.serialize_entry(not_before, &date(x509.not_before))?;
        map.serialize_entry(not_after, &date(x509.not_after))?;
    }
    map.serialize_entry(hash, &leaf.sha256.to_ascii_uppercase())
}

/// The statistics.
#[derive(Serialize)]
pub(super) struct StatsLine<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: Shown<Timestamp>,
    #[serde(rename = "ecs.version")]
    ecs_version: &'static str,
    #[serde(rename = "event.kind")]
    kind: &'static str,
    tls_sniff: stats::Line<'a>,
}

impl<'a> From<stats::Line<'a>> for StatsLine<'a> {
    fn from(tls_sniff: stats::Line<'a>) -> Self {
        let timestamp = Shown(tls_sniff.timestamp.0);
        Self { timestamp, ecs_version: ECS_VERSION, kind: "metric", tls_sniff }
    }
}
