//! Zeek's ssl.log as JSON: the fields of `SSL::Info` (base/protocols/ssl/main.zeek of Zeek 7) that can be
//! filled without validating certificates, and `_path` as its JSON streaming writer adds it. Zeek's uid is
//! random; here it is made of the connection and its time, so that a file read twice has the same.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    stats,
    writer::{List, Object, Plain, Value},
};
use crate::{
    clock::Timestamp,
    observation::{HandshakeObservation, Outcome},
    tls::{
        certificate::{Chain, X509},
        names::{CipherSuite, NamedGroup, Printable},
    },
};

pub(super) fn fields(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.field("_path", "ssl");
    line.field("ts", Epoch(it.first.timestamp));
    line.field("uid", Plain(uid(it)));
    line.field("id.orig_h", it.client.ip());
    line.field("id.orig_p", it.client.port());
    line.field("id.resp_h", it.server.ip());
    line.field("id.resp_p", it.server.port());
    chosen(line, it);
    let sni = it.client_hello.and_then(|hello| hello.sni());
    line.some("server_name", sni.map(Printable));
    line.field("resumed", it.resumed.unwrap_or(false));
    if let Outcome::Alert { alert: Some(alert), .. } = it.outcome {
        line.field("last_alert", alert.description);
    }
    let alpn = it.server_hello.and_then(|hello| hello.alpn.as_deref());
    line.some("next_protocol", alpn.map(Printable));
    line.field("established", it.is_established());
    line.field("ssl_history", it.history);
    line.some("cert_chain_fps", it.server_certificates.map(fingerprints));
    line.some("client_cert_chain_fps", it.client_certificates.map(fingerprints));
    names(line, ["subject", "issuer"], it.server_certificates);
    names(line, ["client_subject", "client_issuer"], it.client_certificates);
    line.field("community_id", it.community_id);
    let prints = it.client_hello.and_then(|hello| hello.fingerprints.as_ref());
    line.some("ja3", prints.map(|prints| Plain(prints.ja3())));
    line.some("ja4", prints.map(|prints| Plain(prints.ja4())));
    let ja3s = it.server_hello.and_then(|hello| hello.ja3s());
    line.some("ja3s", ja3s.map(Plain));
}

fn chosen(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.some("version", it.version.map(Version));
    let Some(hello) = it.server_hello else { return };
    line.field("cipher", CipherSuite(hello.cipher_suite));
    line.some("curve", it.group.map(NamedGroup));
}

/// Zeek's words for versions (base/protocols/ssl/consts.zeek).
struct Version(u16);

impl Value for Version {
    fn write(self, out: &mut Vec<u8>) {
        let name = match self.0 {
            0x0002 => "SSLv2",
            0x0300 => "SSLv3",
            0x0301 => "TLSv10",
            0x0302 => "TLSv11",
            0x0303 => "TLSv12",
            0x0304 => "TLSv13",
            draft @ 0x7f00..=0x7fff => &format!("TLSv13-draft{}", draft & 0xff),
            other => &format!("unknown-{other}"),
        };
        Plain(name).write(out);
    }
}

fn fingerprints(chain: &Chain) -> impl Value {
    List(chain.certificates.iter().map(|certificate| Plain(&certificate.sha256)))
}

fn names(line: &mut Object<'_>, [subject, issuer]: [&'static str; 2], chain: Option<&Chain>) {
    let x509: Option<&X509> =
        chain.and_then(Chain::leaf).and_then(|leaf| leaf.x509.as_deref().ok());
    line.some(subject, x509.map(|x509| x509.subject.as_str()));
    line.some(issuer, x509.map(|x509| x509.issuer.as_str()));
}

/// Seconds of the Unix epoch, with a fraction to the microsecond.
struct Epoch(Timestamp);

impl Value for Epoch {
    #[expect(clippy::cast_precision_loss, reason = "Zeek's own times are doubles")]
    fn write(self, out: &mut Vec<u8>) {
        let seconds = (self.0.0 / 1000) as f64 / 1e6;
        // Writing to memory does not fail.
        let _infallible = serde_json::to_writer(out, &seconds);
    }
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
