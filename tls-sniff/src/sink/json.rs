//! JSON lines: one object an event, fields that do not apply left out. docs/events.md documents the native
//! form, docs/events.schema.json pins it; the other profiles have the names of the tools that others run.

mod certificate;
mod ecs;
mod eve;
mod handshake;
mod message;
mod segment;
mod stats;
mod writer;
mod zeek;

use std::net::SocketAddr;

use serde::Serialize;
use tls_sniff_common::headers::VlanTags;

use self::writer::{List, Object};
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
        (Profile::Native, Observation::Message(it)) => line(out, |line| message::fields(line, it)),
        (Profile::Native, Observation::Handshake(it)) => {
            line(out, |line| handshake::fields(line, it))
        }
        (Profile::Native, Observation::Segment(it)) => line(out, |line| segment::fields(line, it)),
        (Profile::Zeek, Observation::Handshake(it)) => line(out, |line| zeek::fields(line, it)),
        (Profile::Eve, Observation::Handshake(it)) => line(out, |line| eve::fields(line, it)),
        (Profile::Ecs, Observation::Handshake(it)) => line(out, |line| ecs::fields(line, it)),
        (_, Observation::Message(_) | Observation::Segment(_)) => {}
    }
}

/// Appends the statistics as one line.
pub fn stats(profile: Profile, stats: &Stats, out: &mut Vec<u8>) {
    let native = stats::Line::from(stats);
    match profile {
        Profile::Native => serialized(&native, out),
        Profile::Zeek => serialized(&zeek::StatsLine::from(native), out),
        Profile::Eve => serialized(&eve::StatsLine::from(native), out),
        Profile::Ecs => serialized(&ecs::StatsLine::from(native), out),
    }
}

fn line(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
    writer::object(out, fields);
    out.push(b'\n');
}

/// A line that is written once in a while.
fn serialized(value: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    // Writing to memory cannot fail; should a value ever be refused, half a line is worse than none.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

fn endpoint(line: &mut Object<'_>, [address, port]: [&'static str; 2], socket: SocketAddr) {
    line.field(address, socket.ip());
    line.field(port, socket.port());
}

/// The interface, and all of them if there are more.
fn seen_on(line: &mut Object<'_>, on: SeenOn<'_>) {
    line.some("interface", on.interface.map(|name| Printable(name.as_bytes())));
    if !on.others.is_empty() {
        line.field("interfaces", List(on.names().map(|name| Printable(name.as_bytes()))));
    }
}

/// VLAN ids, outermost first.
fn vlan(line: &mut Object<'_>, tags: VlanTags) {
    line.list("vlan", tags.tci.iter().take(tags.count.into()).map(|tci| tci & 0x0fff));
}

/// ns as µs.
const fn microseconds(ns: i64) -> i64 {
    ns / 1000
}
