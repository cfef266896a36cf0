//! JSON lines: one object an event, fields that do not apply left out. docs/events.md documents the native
//! form, docs/events.schema.json pins it; the other profiles have the names of the tools that others run.

mod certificate;
mod ecs;
mod eve;
mod handshake;
mod message;
mod segment;
mod stats;
mod zeek;

use std::{fmt::Display, net::SocketAddr};

use serde::{Serialize, Serializer, ser::SerializeMap};
use tls_sniff_common::headers::VlanTags;

use crate::{
    dedup::SeenOn,
    observation::{Observation, Stats},
    tls::names::Printable,
};

/// The version of the native form. Fields and values may be added within one; one that is removed, renamed or
/// given another meaning makes a new one.
const SCHEMA: u32 = 1;

/// Whose names the fields have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// All events, as docs/events.md has them
    #[default]
    Native,
    /// One line for each handshake, as in Zeek's ssl.log
    Zeek,
    /// One line for each handshake, as Suricata's EVE event `tls`
    Eve,
    /// One line for each handshake, in the Elastic Common Schema
    Ecs,
}

/// Appends an observation as one line; nothing if the profile has no place for it.
pub fn observation(profile: Profile, observation: &Observation<'_>, out: &mut Vec<u8>) {
    match (profile, observation) {
        (Profile::Native, Observation::Message(it)) => line(&message::Line(it), out),
        (Profile::Native, Observation::Handshake(it)) => line(&handshake::Line(it), out),
        (Profile::Native, Observation::Segment(it)) => line(&segment::Line(it), out),
        (Profile::Zeek, Observation::Handshake(it)) => line(&zeek::Line(it), out),
        (Profile::Eve, Observation::Handshake(it)) => line(&eve::Line(it), out),
        (Profile::Ecs, Observation::Handshake(it)) => line(&ecs::Line(it), out),
        (_, Observation::Message(_) | Observation::Segment(_)) => {}
    }
}

/// Appends the statistics as one line.
pub fn stats(profile: Profile, stats: &Stats, out: &mut Vec<u8>) {
    let native = stats::Line::from(stats);
    match profile {
        Profile::Native => line(&native, out),
        Profile::Zeek => line(&zeek::StatsLine::from(native), out),
        Profile::Eve => line(&eve::StatsLine::from(native), out),
        Profile::Ecs => line(&ecs::StatsLine::from(native), out),
    }
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

/// Bytes from the network, made harmless.
const fn text(bytes: &[u8]) -> Shown<Printable<'_>> {
    Shown(Printable(bytes))
}

/// Serializes an iterator as a list, without a vector in between.
struct List<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for List<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// Code points by their names.
fn shown<I: Iterator + Clone, T: Display>(
    items: I,
    name: impl Fn(I::Item) -> T + Clone,
) -> List<impl Iterator<Item = Shown<T>> + Clone> {
    List(items.map(move |item| Shown(name(item))))
}

/// Writes a field if it has a value.
fn some<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

/// Writes a field if what it says is true: what is false is left out.
fn flag<M: SerializeMap>(map: &mut M, name: &'static str, value: bool) -> Result<(), M::Error> {
    some(map, name, value.then_some(true))
}

fn endpoint<M: SerializeMap>(
    map: &mut M,
    [address, port]: [&'static str; 2],
    socket: SocketAddr,
) -> Result<(), M::Error> {
    map.serialize_entry(address, &socket.ip())?;
    map.serialize_entry(port, &socket.port())
}

/// The interface, and all of them if there are more.
fn seen_on<M: SerializeMap>(map: &mut M, on: SeenOn<'_>) -> Result<(), M::Error> {
    some(map, "interface", on.interface.map(|name| text(name.as_bytes())))?;
    let all = shown(on.names(), |name| Printable(name.as_bytes()));
    some(map, "interfaces", (!on.others.is_empty()).then_some(all))
}

/// VLAN ids, outermost first.
fn vlan<M: SerializeMap>(map: &mut M, tags: VlanTags) -> Result<(), M::Error> {
    let ids = tags.tci.iter().take(tags.count.into()).map(|tci| tci & 0x0fff);
    some(map, "vlan", (tags.count > 0).then_some(List(ids)))
}

/// ns as µs.
const fn microseconds(ns: i64) -> i64 {
    ns / 1000
}
