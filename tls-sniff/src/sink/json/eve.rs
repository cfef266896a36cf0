//! Suricata's EVE event `tls` (doc/userguide/output/eve/eve-json-format.rst, Suricata 8): its names, its
//! forms of times and fingerprints. What Suricata does not have is left out.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{List, Shown, some, stats, text, vlan};
use crate::{
    clock::Timestamp,
    observation::HandshakeObservation,
    tls::certificate::{Certificate, Chain},
};

pub(super) struct Line<'a, 'b>(pub(super) &'a HandshakeObservation<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let it = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Shown(Time(it.timestamp)))?;
        some(&mut map, "in_iface", it.on.interface.map(|name| text(name.as_bytes())))?;
        map.serialize_entry("event_type", "tls")?;
        vlan(&mut map, it.first.vlan)?;
        map.serialize_entry("src_ip", &it.client.ip())?;
        map.serialize_entry("src_port", &it.client.port())?;
        map.serialize_entry("dest_ip", &it.server.ip())?;
        map.serialize_entry("dest_port", &it.server.port())?;
        map.serialize_entry("proto", "TCP")?;
        map.serialize_entry("community_id", it.community_id)?;
        map.serialize_entry("tls", &Tls(it))?;
        map.end()
    }
}

struct Tls<'a, 'b>(&'a HandshakeObservation<'b>);

impl Serialize for Tls<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let it = self.0;
        let mut map = serializer.serialize_map(None)?;
        certificate(&mut map, it.server_certificates)?;
        let sni = it.client_hello.and_then(|hello| hello.sni.as_deref());
        some(&mut map, "sni", sni.map(text))?;
        some(&mut map, "version", it.version.map(|version| Shown(Version(version))))?;
        let resumed = it.resumed.filter(|resumed| *resumed);
        some(&mut map, "session_resumed", resumed)?;
        let prints = it.client_hello.and_then(|hello| hello.fingerprints.as_ref());
        some(&mut map, "ja3", prints.map(|prints| Hash { hash: &prints.ja3 }))?;
        let ja3s = it.server_hello.and_then(|hello| hello.ja3s.as_ref());
        some(&mut map, "ja3s", ja3s.map(|hash| Hash { hash }))?;
        some(&mut map, "ja4", prints.map(|prints| &prints.ja4))?;
        let offered = it.client_hello.map(|hello| &hello.alpn).filter(|alpn| !alpn.is_empty());
        some(
            &mut map,
            "client_alpns",
            offered.map(|alpn| List(alpn.iter().map(|name| text(name)))),
        )?;
        let chosen = it.server_hello.and_then(|hello| hello.alpn.as_deref());
        some(&mut map, "server_alpns", chosen.map(|name| List([name].into_iter().map(text))))?;
        some(&mut map, "client", it.client_certificates.map(Client))?;
        map.end()
    }
}

#[derive(Serialize)]
struct Hash<'a> {
    hash: &'a str,
}

struct Client<'a>(&'a Chain);

impl Serialize for Client<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        certificate(&mut map, Some(self.0))?;
        map.end()
    }
}

fn certificate<M: SerializeMap>(map: &mut M, chain: Option<&Chain>) -> Result<(), M::Error> {
    let Some(leaf) = chain.and_then(Chain::leaf) else { return Ok(()) };
    if let Ok(x509) = &leaf.x509 {
        map.serialize_entry("subject", &x509.subject)?;
        map.serialize_entry("issuerdn", &x509.issuer)?;
        some(map, "subjectaltname", (!x509.san.is_empty()).then_some(&x509.san))?;
        map.serialize_entry("serial", &colons(x509.serial.as_bytes()).to_ascii_uppercase())?;
        map.serialize_entry("notbefore", &Shown(Date(x509.not_before)))?;
        map.serialize_entry("notafter", &Shown(Date(x509.not_after)))?;
    }
    map.serialize_entry("fingerprint", &fingerprint(leaf))
}

/// SHA-1 of the DER.
fn fingerprint(certificate: &Certificate) -> String {
    colons(certificate.sha1.as_bytes())
}

/// Hexadecimal digits with a colon after each byte but the last.
fn colons(digits: &[u8]) -> String {
    let pairs: Vec<String> =
        digits.chunks(2).map(|pair| pair.iter().copied().map(char::from).collect()).collect();
    pairs.join(":")
}

/// Suricata's words for versions (src/app-layer-ssl.c).
struct Version(u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0x0002 => f.write_str("SSLv2"),
            0x0300 => f.write_str("SSLv3"),
            0x0301 => f.write_str("TLSv1"),
            0x0302 => f.write_str("TLS 1.1"),
            0x0303 => f.write_str("TLS 1.2"),
            0x0304 => f.write_str("TLS 1.3"),
            draft @ 0x7f00..=0x7fff => write!(f, "TLS 1.3 draft-{}", draft & 0xff),
            other => write!(f, "{other:#06x}"),
        }
    }
}

/// `2026-01-02T03:04:05.678901+0000`
pub(super) struct Time(Timestamp);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let utc = self.0.to_string();
        write!(f, "{}+0000", utc.get(..26).unwrap_or(&utc))
    }
}

/// `2026-01-02T03:04:05`
struct Date(i64);

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let utc = Timestamp(self.0.saturating_mul(1_000_000_000)).to_string();
        f.write_str(utc.get(..19).unwrap_or(&utc))
    }
}

/// The statistics, under a name that Suricata's own do not have.
#[derive(Serialize)]
pub(super) struct StatsLine<'a> {
    event_type: &'static str,
    stats: Own<'a>,
}

#[derive(Serialize)]
struct Own<'a> {
    tls_sniff: stats::Line<'a>,
}

impl<'a> From<stats::Line<'a>> for StatsLine<'a> {
    fn from(tls_sniff: stats::Line<'a>) -> Self {
        Self { event_type: "stats", stats: Own { tls_sniff } }
    }
}
