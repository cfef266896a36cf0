//! Zeek's ssl.log as JSON: the fields of `SSL::Info` (base/protocols/ssl/main.zeek of Zeek 7) that can be
//! filled without validating certificates, and `_path` as its JSON streaming writer adds it. Zeek's uid is
//! random; here it is made of the connection and its time, so that a file read twice has the same.

use serde::{Serialize, Serializer, ser::SerializeMap};
use sha2::{Digest as _, Sha256};

use super::{List, Shown, some, stats, text};
use crate::{
    clock::Timestamp,
    observation::{HandshakeObservation, Outcome},
    tls::{
        certificate::{Chain, X509},
        names::{CipherSuite, NamedGroup},
    },
};

pub(super) struct Line<'a, 'b>(pub(super) &'a HandshakeObservation<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let it = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("_path", "ssl")?;
        map.serialize_entry("ts", &epoch(it.first.timestamp))?;
        map.serialize_entry("uid", &uid(it))?;
        map.serialize_entry("id.orig_h", &it.client.ip())?;
        map.serialize_entry("id.orig_p", &it.client.port())?;
        map.serialize_entry("id.resp_h", &it.server.ip())?;
        map.serialize_entry("id.resp_p", &it.server.port())?;
        chosen(&mut map, it)?;
        let sni = it.client_hello.and_then(|hello| hello.sni.as_deref());
        some(&mut map, "server_name", sni.map(text))?;
        map.serialize_entry("resumed", &it.resumed.unwrap_or(false))?;
        if let Outcome::Alert { alert: Some(alert), .. } = it.outcome {
            map.serialize_entry("last_alert", &Shown(alert.description))?;
        }
        let alpn = it.server_hello.and_then(|hello| hello.alpn.as_deref());
        some(&mut map, "next_protocol", alpn.map(text))?;
        map.serialize_entry("established", &it.is_established())?;
        map.serialize_entry("ssl_history", it.history)?;
        some(&mut map, "cert_chain_fps", it.server_certificates.map(fingerprints))?;
        some(&mut map, "client_cert_chain_fps", it.client_certificates.map(fingerprints))?;
        names(&mut map, ["subject", "issuer"], it.server_certificates)?;
        names(&mut map, ["client_subject", "client_issuer"], it.client_certificates)?;
        map.serialize_entry("community_id", it.community_id)?;
        let prints = it.client_hello.and_then(|hello| hello.fingerprints.as_ref());
        some(&mut map, "ja3", prints.map(|prints| &prints.ja3))?;
        some(&mut map, "ja4", prints.map(|prints| &prints.ja4))?;
        some(&mut map, "ja3s", it.server_hello.and_then(|hello| hello.ja3s.as_ref()))?;
        map.end()
    }
}

fn chosen<M: SerializeMap>(map: &mut M, it: &HandshakeObservation<'_>) -> Result<(), M::Error> {
    some(map, "version", it.version.map(version))?;
    let Some(hello) = it.server_hello else { return Ok(()) };
    map.serialize_entry("cipher", &Shown(CipherSuite(hello.cipher_suite)))?;
    some(map, "curve", it.group.map(|group| Shown(NamedGroup(group))))
}

/// Zeek's words for versions (base/protocols/ssl/consts.zeek).
fn version(version: u16) -> String {
    match version {
        0x0002 => "SSLv2".to_owned(),
        0x0300 => "SSLv3".to_owned(),
        0x0301 => "TLSv10".to_owned(),
        0x0302 => "TLSv11".to_owned(),
        0x0303 => "TLSv12".to_owned(),
        0x0304 => "TLSv13".to_owned(),
        draft @ 0x7f00..=0x7fff => format!("TLSv13-draft{}", draft & 0xff),
        other => format!("unknown-{other}"),
    }
}

fn fingerprints(chain: &Chain) -> impl Serialize {
    List(chain.certificates.iter().map(|certificate| &certificate.sha256))
}

fn names<M: SerializeMap>(
    map: &mut M,
    [subject, issuer]: [&'static str; 2],
    chain: Option<&Chain>,
) -> Result<(), M::Error> {
    let x509: Option<&X509> =
        chain.and_then(Chain::leaf).and_then(|leaf| leaf.x509.as_deref().ok());
    some(map, subject, x509.map(|x509| &x509.subject))?;
    some(map, issuer, x509.map(|x509| &x509.issuer))
}

/// Seconds of the Unix epoch, with a fraction to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "Zeek's own times are doubles")]
fn epoch(timestamp: Timestamp) -> f64 {
    (timestamp.0 / 1000) as f64 / 1e6
}

/// `C` and 17 letters and digits, as Zeek's look.
fn uid(it: &HandshakeObservation<'_>) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut hash = Sha256::new();
    hash.update(it.community_id);
    hash.update(it.first.timestamp.0.to_be_bytes());
    let letters = hash.finalize();
    let digit = |byte: &u8| DIGITS.get(usize::from(*byte) % DIGITS.len()).copied();
    let letters = letters.iter().take(17).filter_map(digit).map(char::from);
    std::iter::once('C').chain(letters).collect()
}

/// The statistics, which Zeek's own stats.log has other fields for.
#[derive(Serialize)]
pub(super) struct StatsLine<'a> {
    #[serde(rename = "_path")]
    path: &'static str,
    tls_sniff: stats::Line<'a>,
}

impl<'a> From<stats::Line<'a>> for StatsLine<'a> {
    fn from(tls_sniff: stats::Line<'a>) -> Self {
        Self { path: "tls_sniff_stats", tls_sniff }
    }
}
