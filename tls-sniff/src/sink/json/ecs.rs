//! The Elastic Common Schema, version 8.17: `tls.*`, `client`, `server`, `network` and `event`
//! (<https://www.elastic.co/docs/reference/ecs/ecs-tls>), with dotted names as ECS documents write them.

use serde::Serialize;

use super::{
    certificate::Date,
    stats,
    writer::{List, Object, Plain},
};
use crate::{
    clock::Timestamp,
    observation::{HandshakeObservation, Outcome},
    tls::{
        certificate::Chain,
        names::{CipherSuite, NamedGroup, Printable},
    },
};

const ECS_VERSION: &str = "8.17.0";

pub(super) fn fields(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.field("@timestamp", it.timestamp);
    line.field("ecs.version", ECS_VERSION);
    event(line, it);
    for (address, ip, port, socket) in [
        ("client.address", "client.ip", "client.port", it.client),
        ("server.address", "server.ip", "server.port", it.server),
    ] {
        line.field(address, socket.ip());
        line.field(ip, socket.ip());
        line.field(port, socket.port());
    }
    line.field("network.transport", "tcp");
    line.field("network.protocol", "tls");
    line.field("network.community_id", it.community_id);
    let interface = it.on.interface.map(|name| Printable(name.as_bytes()));
    line.some("observer.ingress.interface.name", interface);
    client(line, it);
    server(line, it);
}

fn event(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.field("event.kind", "event");
    line.field("event.category", List(["network"].into_iter()));
    line.field("event.type", List(["connection", "protocol"].into_iter()));
    line.field("event.action", "tls-handshake");
    let result = match it.outcome {
        Outcome::Completed => "success",
        Outcome::StillOpen | Outcome::Partial => "unknown",
        _ => "failure",
    };
    line.field("event.outcome", result);
    line.field("event.reason", it.outcome.as_str());
    line.field("event.start", it.first.timestamp);
    line.some("event.duration", it.duration);
}

fn client(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    let Some(hello) = it.client_hello else { return };
    line.some("tls.client.server_name", hello.sni().map(Printable));
    line.some("tls.client.ja3", hello.fingerprints.as_ref().map(|prints| Plain(prints.ja3())));
    // ECS has no field of its own for JA4.
    line.some("tls.client.ja4", hello.fingerprints.as_ref().map(|prints| Plain(prints.ja4())));
    let names = [
        "tls.client.subject",
        "tls.client.issuer",
        "tls.client.not_before",
        "tls.client.not_after",
        "tls.client.hash.sha256",
    ];
    certificate(line, names, it.client_certificates);
}

fn server(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.field("tls.established", it.is_established());
    line.some("tls.resumed", it.resumed);
    if let Some((protocol, version)) = it.version.and_then(version) {
        line.field("tls.version_protocol", protocol);
        line.field("tls.version", version);
    }
    let Some(hello) = it.server_hello else { return };
    line.field("tls.cipher", CipherSuite(hello.cipher_suite));
    line.some("tls.curve", it.group.map(NamedGroup));
    line.some("tls.next_protocol", hello.alpn.as_deref().map(Printable));
    line.some("tls.server.ja3s", hello.ja3s().map(Plain));
    let names = [
        "tls.server.subject",
        "tls.server.issuer",
        "tls.server.not_before",
        "tls.server.not_after",
        "tls.server.hash.sha256",
    ];
    certificate(line, names, it.server_certificates);
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

fn certificate(
    line: &mut Object<'_>,
    [subject, issuer, not_before, not_after, hash]: [&'static str; 5],
    chain: Option<&Chain>,
) {
    let Some(leaf) = chain.and_then(Chain::leaf) else { return };
    if let Ok(x509) = &leaf.x509 {
        line.field(subject, x509.subject.as_str());
        line.field(issuer, x509.issuer.as_str());
        line.field(not_before, Date(x509.not_before));
        line.field(not_after, Date(x509.not_after));
    }
    line.field(hash, Plain(leaf.sha256.to_ascii_uppercase()));
}

/// The statistics.
#[derive(Serialize)]
pub(super) struct StatsLine<'a> {
    #[serde(rename = "@timestamp", serialize_with = "stats::time")]
    timestamp: Timestamp,
    #[serde(rename = "ecs.version")]
    ecs_version: &'static str,
    #[serde(rename = "event.kind")]
    kind: &'static str,
    tls_sniff: stats::Line<'a>,
}

impl<'a> From<stats::Line<'a>> for StatsLine<'a> {
    fn from(tls_sniff: stats::Line<'a>) -> Self {
        let timestamp = tls_sniff.timestamp;
        Self { timestamp, ecs_version: ECS_VERSION, kind: "metric", tls_sniff }
    }
}
