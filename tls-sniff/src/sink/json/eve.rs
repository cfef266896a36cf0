//! Suricata's EVE event `tls` (doc/userguide/output/eve/eve-json-format.rst, Suricata 8): its names, its
//! forms of times and fingerprints. What Suricata does not have is left out.

use serde::Serialize;

use super::{
    stats, vlan,
    writer::{Object, Plain, Shown, Value},
};
use crate::{
    clock::Timestamp,
    digits,
    observation::HandshakeObservation,
    tls::{certificate::Chain, fingerprint::Digits, names::Printable},
};

pub(super) fn fields(line: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    line.field("timestamp", Time(it.timestamp));
    line.some("in_iface", it.on.interface.map(|name| Printable(name.as_bytes())));
    line.field("event_type", "tls");
    vlan(line, it.first.vlan);
    line.field("src_ip", it.client.ip());
    line.field("src_port", it.client.port());
    line.field("dest_ip", it.server.ip());
    line.field("dest_port", it.server.port());
    line.field("proto", "TCP");
    line.field("community_id", it.community_id);
    line.object("tls", |tls| inner(tls, it));
}

fn inner(tls: &mut Object<'_>, it: &HandshakeObservation<'_>) {
    certificate(tls, it.server_certificates);
    let sni = it.client_hello.and_then(|hello| hello.sni());
    tls.some("sni", sni.map(Printable));
    tls.some("version", it.version.map(|version| Shown(Version(version))));
    tls.flag("session_resumed", it.resumed == Some(true));
    let prints = it.client_hello.and_then(|hello| hello.fingerprints.as_ref());
    hash(tls, "ja3", prints.map(|prints| prints.ja3()));
    hash(tls, "ja3s", it.server_hello.and_then(|hello| hello.ja3s()));
    tls.some("ja4", prints.map(|prints| Plain(prints.ja4())));
    let offered = it.client_hello.map(|hello| hello.alpn().map(Printable));
    tls.list("client_alpns", offered.into_iter().flatten());
    let chosen = it.server_hello.and_then(|hello| hello.alpn.as_deref());
    tls.list("server_alpns", chosen.into_iter().map(Printable));
    if let Some(chain) = it.client_certificates {
        tls.object("client", |client| certificate(client, Some(chain)));
    }
}

fn hash(tls: &mut Object<'_>, name: &'static str, hash: Option<Digits<32>>) {
    if let Some(hash) = hash {
        tls.object(name, |it| it.field("hash", Plain(hash)));
    }
}

fn certificate(tls: &mut Object<'_>, chain: Option<&Chain>) {
    let Some(leaf) = chain.and_then(Chain::leaf) else { return };
    if let Ok(x509) = &leaf.x509 {
        tls.field("subject", x509.subject.as_str());
        tls.field("issuerdn", x509.issuer.as_str());
        tls.list("subjectaltname", x509.san.iter().map(String::as_str));
        tls.field("serial", Plain(colons(x509.serial.as_bytes()).to_ascii_uppercase()));
        tls.field("notbefore", Date(x509.not_before));
        tls.field("notafter", Date(x509.not_after));
    }
    // SHA-1 of the DER.
    tls.field("fingerprint", Plain(colons(leaf.sha1.as_bytes())));
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
struct Time(Timestamp);

impl Value for Time {
    fn write(self, out: &mut Vec<u8>) {
        let utc = digits::rfc_3339(self.0);
        out.push(b'"');
        out.extend_from_slice(utc.first_chunk::<26>().unwrap_or(&[0; 26]));
        out.extend_from_slice(b"+0000\"");
    }
}

/// `2026-01-02T03:04:05`
struct Date(i64);

impl Value for Date {
    fn write(self, out: &mut Vec<u8>) {
        // No certificate's time is beyond the year 9999.
        Plain(&digits::second(self.0).unwrap_or(*b"1970-01-01T00:00:00")).write(out);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5280 section 4.1.2.5: 9999-12-31T23:59:59Z is for what never ends, and 64 bits of nanoseconds end in 2262.
    #[test]
    fn certificates_that_never_expire() {
        for (seconds, text) in [
            (253_402_300_799, "\"9999-12-31T23:59:59\""),
            (1_795_458_485, "\"2026-11-23T18:28:05\""),
            (-631_152_000, "\"1950-01-01T00:00:00\""),
        ] {
            let mut out = Vec::new();
            Date(seconds).write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
