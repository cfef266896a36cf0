//! JSON lines: one object an event, fields that do not apply left out. docs/events.md documents them.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr};

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use tls_sniff_common::{
    counters::{Counter, CounterBlock},
    flow::Hook,
};

use crate::{
    observation::{Message, Observation, PipelineCounters, Stats},
    tls::{
        fingerprint,
        names::{CipherSuite, Printable, ProtocolVersion},
    },
};

/// Appends an observation as one line.
pub fn observation(observation: &Observation<'_>, out: &mut Vec<u8>) {
    line(&Line(observation), out);
}

/// Appends the statistics as one line.
pub fn stats(stats: &Stats, out: &mut Vec<u8>) {
    line(&StatsLine::from(stats), out);
}

fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    // Writing to memory cannot fail; should a value ever be refused, half a line is worse than none.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

/// Serializes by `Display`, without a string in between.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Serializes an iterator as a list, without a vector in between.
struct List<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for List<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

struct Line<'a, 'b>(&'a Observation<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let observation = self.0;
        let header = &observation.segment.header;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Shown(observation.timestamp))?;
        map.serialize_entry("event", observation.event())?;
        if let Some(interface) = observation.interface {
            map.serialize_entry("interface", &Shown(Printable(interface.as_bytes())))?;
        }
        if let Some(direction) = observation.direction() {
            map.serialize_entry("direction", direction)?;
        }
        map.serialize_entry("hook", observation.hook())?;
        endpoint(&mut map, ["source_address", "source_port"], observation.source())?;
        endpoint(&mut map, ["destination_address", "destination_port"], observation.destination())?;
        let vlan = observation.segment.vlan();
        if vlan.count > 0 {
            let ids = vlan.tci.iter().take(vlan.count.into()).map(|tci| tci & 0x0fff);
            map.serialize_entry("vlan", &List(ids))?;
        }
        map.serialize_entry("tcp_sequence", &header.tcp_sequence)?;
        map.serialize_entry("tcp_acknowledgement", &header.tcp_acknowledgement)?;
        map.serialize_entry("payload_length", &header.payload_len)?;
        map.serialize_entry("content_type", observation.record.content_type.as_str())?;
        map.serialize_entry("record_version", &Shown(ProtocolVersion(observation.record.version)))?;
        map.serialize_entry("record_length", &observation.record.length)?;
        message(&mut map, &observation.message)?;
        if observation.is_whole() {
            fingerprints(&mut map, &observation.message)?;
        }
        if let Some(partial) = observation.partial {
            map.serialize_entry("partial", partial.as_str())?;
        }
        if let Some(malformed) = observation.malformed {
            map.serialize_entry("malformed", &Shown(malformed))?;
        }
        map.end()
    }
}

fn endpoint<M: serde::ser::SerializeMap>(
    map: &mut M,
    [address, port]: [&'static str; 2],
    socket: std::net::SocketAddr,
) -> Result<(), M::Error> {
    let ip: IpAddr = socket.ip();
    map.serialize_entry(address, &ip)?;
    map.serialize_entry(port, &socket.port())
}

fn message<M: serde::ser::SerializeMap>(
    map: &mut M,
    message: &Message<'_>,
) -> Result<(), M::Error> {
    match message {
        Message::ClientHello(hello) => {
            map.serialize_entry("handshake_type", "client_hello")?;
            map.serialize_entry("legacy_version", &Shown(ProtocolVersion(hello.legacy_version)))?;
            let versions = hello.offered_versions().map(|version| Shown(ProtocolVersion(version)));
            if versions.clone().next().is_some() {
                map.serialize_entry("offered_versions", &List(versions))?;
            }
            if let Some(name) = hello.sni() {
                map.serialize_entry("sni", &Shown(Printable(name)))?;
            }
            if let Some(protocols) = hello.alpn() {
                map.serialize_entry("alpn", &List(protocols.map(|name| Shown(Printable(name)))))?;
            }
            Ok(())
        }
        Message::ServerHello(hello) => {
            map.serialize_entry("handshake_type", "server_hello")?;
            map.serialize_entry("hello_retry_request", &hello.is_hello_retry_request())?;
            if let Some(version) = hello.selected_version() {
                map.serialize_entry("version", &Shown(ProtocolVersion(version)))?;
            }
            map.serialize_entry("cipher_suite", &Shown(CipherSuite(hello.cipher_suite)))?;
            if let Some(mut protocols) = hello.alpn()
                && let Some(protocol) = protocols.next()
            {
                map.serialize_entry("alpn", &Shown(Printable(protocol)))?;
            }
            Ok(())
        }
        Message::Handshake(handshake_type) => {
            map.serialize_entry("handshake_type", &Shown(handshake_type))
        }
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

fn fingerprints<M: serde::ser::SerializeMap>(
    map: &mut M,
    message: &Message<'_>,
) -> Result<(), M::Error> {
    match message {
        Message::ClientHello(hello) => {
            let prints = fingerprint::client(hello);
            map.serialize_entry("ja3", &prints.ja3)?;
            map.serialize_entry("ja4", &prints.ja4)?;
            map.serialize_entry("ja4_r", &prints.ja4_r)
        }
        Message::ServerHello(hello) => map.serialize_entry("ja3s", &fingerprint::ja3s(hello)),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct StatsLine<'a> {
    timestamp: Shown<crate::clock::Timestamp>,
    event: &'static str,
    duration_seconds: f64,
    hooks: BTreeMap<&'static str, Counts<'a>>,
    pipeline: PipelineCounters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    skipped_link_types: BTreeMap<u32, u64>,
}

impl<'a> From<&'a Stats> for StatsLine<'a> {
    fn from(stats: &'a Stats) -> Self {
        let name = |(hook, block): &'a (Hook, CounterBlock)| (hook.as_str(), Counts(block));
        Self {
            timestamp: Shown(stats.timestamp),
            event: "stats",
            duration_seconds: (stats.seconds * 1000.0).round() / 1000.0,
            hooks: stats.hooks.iter().map(name).collect(),
            pipeline: stats.pipeline,
            skipped_link_types: stats.skipped_link_types.iter().copied().collect(),
        }
    }
}

/// A block with its names.
struct Counts<'a>(&'a CounterBlock);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Counter::ALL.iter().map(|counter| counter.as_str()).zip(self.0))
    }
}
