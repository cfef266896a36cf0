//! The differences that tests/corpus-differences.md records, taken out before the score. Each one must be
//! met: a difference that is no longer there is an error in this list.

use anyhow::{Result, ensure};
use serde_json::Value;

/// Which rows a difference takes out.
#[derive(Clone, Copy, Debug)]
enum Take {
    /// One of the truth, which tls-sniff does not have.
    Wanted,
    /// One of tls-sniff, which the truth does not have.
    Found,
    /// One of each, which disagree in a field.
    Both,
}

use Take::{Both, Found, Wanted};

/// File, kind, sender, what to take out.
const DIFFERENCES: &[(&str, &str, &str, Take)] = &[
    ("arkime__arkime_synthetic.pcap", "client_hello", "10.0.18.100:54334", Found),
    ("arkime__arkime_synthetic.pcap", "certificate", "10.20.30.1:443", Both),
    ("arkime__arkime_synthetic.pcap", "server_hello", "10.9.10.2:443", Both),
    ("arkime__arkime_synthetic.pcap", "server_hello", "10.9.19.2:443", Both),
    ("arkime__https2-301-get.pcap", "client_hello", "10.180.156.141:50754", Found),
    ("arkime__pppoe.pcap", "client_hello", "172.202.246.57:1063", Found),
    ("foxio__socks4-https.pcap", "certificate", "10.0.0.2:9901", Wanted),
    ("foxio__tls-non-ascii-alpn.pcapng", "client_hello", "", Both),
    ("ipfixprobe__tls.pcap", "client_hello", "172.16.121.155:3919", Found),
    ("ipfixprobe__tls.pcap", "client_hello", "172.16.121.155:3920", Found),
    ("ipfixprobe__tls.pcap", "client_hello", "172.16.121.155:3921", Found),
    ("ipfixprobe__tls.pcap", "client_hello", "172.16.121.155:3922", Found),
    ("ipfixprobe__tls.pcap", "client_hello", "172.16.121.155:3923", Found),
    ("ipfixprobe__tls.pcap", "client_hello", "172.16.121.155:3924", Found),
    ("ipfixprobe__tls.pcap", "server_hello", "87.106.189.123:443", Found),
    ("ipfixprobe__tls.pcap", "server_hello", "87.106.189.123:443", Found),
    ("ipfixprobe__tls.pcap", "server_hello", "87.106.189.123:443", Found),
    ("ipfixprobe__tls.pcap", "server_hello", "87.106.189.123:443", Found),
    ("ipfixprobe__tls.pcap", "server_hello", "87.106.189.123:443", Found),
    ("ipfixprobe__tls.pcap", "server_hello", "87.106.189.123:443", Found),
    ("ipfixprobe__tls.pcap", "certificate", "185.59.208.153:443", Found),
    ("mercury__corner-cases.pcap", "server_hello", "173.36.7.6:443", Found),
    ("mercury__corner-cases.pcap", "server_hello", "173.37.239.62:443", Found),
    ("mercury__corner-cases.pcap", "certificate", "52.49.217.102:443", Found),
    ("mercury__corner-cases.pcap", "server_hello", "160.68.205.252:443", Wanted),
    ("ndpi__4in6tunnel.pcap", "client_hello", "192.168.0.1:64455", Found),
    ("ndpi__4in6tunnel.pcap", "server_hello", "10.10.10.1:443", Found),
    (
        "ndpi__4in6tunnel.pcap",
        "client_hello",
        "22e0:1685:eda7:38cc:58bd:f3f1:aa3f:22d8:64455",
        Wanted,
    ),
    ("ndpi__KakaoTalk_talk.pcap", "client_hello", "10.24.82.188:32968", Found),
    ("ndpi__KakaoTalk_talk.pcap", "server_hello", "110.76.143.50:8080", Found),
    ("ndpi__KakaoTalk_talk.pcap", "certificate", "110.76.143.50:8080", Found),
    ("ndpi__google_ssl.pcap", "client_hello", "172.31.3.224:42835", Found),
    ("ndpi__imaps.pcap", "certificate", "10.10.10.1:993", Found),
    ("ndpi__ookla.pcap", "client_hello", "192.168.1.128:35830", Found),
    ("ndpi__ookla.pcap", "server_hello", "89.96.108.170:8080", Found),
    ("ndpi__openvpn_nohmac_tcp.pcapng", "client_hello", "10.181.235.122:39772", Wanted),
    ("ndpi__openvpn_nohmac_tcp.pcapng", "server_hello", "10.251.71.30:1194", Wanted),
    ("ndpi__openvpn_nohmac_tcp.pcapng", "certificate", "10.181.235.122:39772", Wanted),
    ("ndpi__openvpn_nohmac_tcp.pcapng", "certificate", "10.251.71.30:1194", Wanted),
    ("ndpi__ossfuzz_seed_fake_traces_1.pcapng", "client_hello", "192.168.1.128:1>10", Both),
    ("ndpi__ossfuzz_seed_fake_traces_1.pcapng", "client_hello", "192.168.1.128:1>11", Both),
    (
        "ndpi__tls_client_certificate_with_missing_server_one.pcapng",
        "certificate",
        "195.181.174.176:443",
        Found,
    ),
    ("ndpi__tls_missing_ch_frag.pcap", "client_hello", "192.168.0.1:33063", Found),
];

/// Takes the recorded rows of a file out of truth and candidate.
pub(crate) fn take_out(file: &str, wanted: &mut Vec<Value>, found: &mut Vec<Value>) -> Result<()> {
    for (of, kind, sender, take) in DIFFERENCES.iter().filter(|(of, ..)| *of == file) {
        let one = |rows: &mut Vec<Value>| {
            let place = rows.iter().rposition(|row| row["kind"] == *kind && is_from(row, sender));
            ensure!(place.is_some(), "{of}: no {kind} of {sender} is left for {take:?}");
            place.map(|place| rows.remove(place));
            Ok(())
        };
        if matches!(take, Wanted | Both) {
            one(wanted)?;
        }
        if matches!(take, Found | Both) {
            one(found)?;
        }
    }
    Ok(())
}

/// Whether a row is from `address:port`, or `address:port>destination port`; an empty one is any.
fn is_from(row: &Value, sender: &str) -> bool {
    let source = format!("{}:{}", row["src"].as_str().unwrap_or_default(), row["sport"]);
    match sender.split_once('>') {
        Some((sender, port)) => {
            source == sender && row["dport"] == port.parse::<u64>().unwrap_or(0)
        }
        None => sender.is_empty() || source == sender,
    }
}

/// How many differences are recorded.
pub(crate) const COUNT: usize = DIFFERENCES.len();
