//! A ClientHello as large as post-quantum key shares make it, over an interface with small segments.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tls_sniff_tests::{
    capture::Tcpdump,
    frame::Frame,
    packet_socket::PacketSocket,
    peer::{Certificate, Client, Server},
    sniffer::Sniffer,
    tshark,
    veth::{Options, VethPair},
};

use crate::handshakes::{NAME, first, wait_for_server_hello};

/// 576 bytes less headers of 20 and 32.
const SEGMENT: u64 = 524;

/// The hello of a handshake over a pair with this MTU, and what tcpdump saw at the server's end.
fn hello(mtu: u16, hook: &str, alpn: &str, file: &Path) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let mtu = mtu.to_string();
    for end in [&pair.first, &pair.second] {
        // What is not segmented by the sender crosses a veth in one piece.
        let small = ["mtu", &mtu, "gso_max_segs", "1"];
        end.namespace.ip(&[&["link", "set", &end.interface], &small[..]].concat())?;
    }
    let address = SocketAddr::new(pair.second.address(false), 443);
    let _server = Server::new(&certificate, address).start(&pair.second.namespace)?;
    let dump = Tcpdump::start(&pair.second, file, "tcp")?;
    let arguments = ["-i", "veth-b", "--hook", hook, "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    Client::new(address, NAME).alpn(alpn).run(&pair.first.namespace)?.established()?;
    wait_for_server_hello(&mut sniffer)?;
    let stopped = sniffer.stop()?;
    stopped.check_sums()?;
    dump.stop()?;
    let handshake = first(&stopped.events, "handshake")?;
    let hello = first(&stopped.events, "client_hello")?;
    for name in ["sni", "ja3", "ja4", "ja4_r"] {
        ensure!(handshake[name] == hello[name] && hello[name].is_string(), "{handshake} {hello}");
    }
    ensure!(handshake["outcome"] == "completed", "{handshake}");
    Ok(hello.clone())
}

pub(crate) fn large_hello(hook: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    // 1.2 kB, as much as the key share of X25519MLKEM768 takes.
    let protocols: Vec<String> =
        (0..60).map(|number| format!("protocol-number-{number:03}")).collect();
    let alpn = protocols.join(",");
    let [small, large] = ["small.pcap", "large.pcap"].map(|name| dir.path().join(name));
    let over_small = hello(576, hook, &alpn, &small)?;
    ensure!(over_small.get("partial").is_none(), "{over_small}");
    ensure!(over_small["record_length"].as_u64() > Some(1400), "{over_small}");
    // The segments were as small as they should be.
    let lengths = tshark::rows(&small, "tcp.dstport == 443 && tcp.len > 0", &["tcp.len"])?;
    let lengths: Vec<u64> =
        lengths.iter().flatten().map(|it| it.parse()).collect::<Result<_, _>>()?;
    ensure!(lengths.len() > 3 && lengths.iter().all(|it| *it <= SEGMENT), "{lengths:?}");
    // The whole offer, as tshark reads it.
    ensure!(over_small["sni"] == NAME && over_small["alpn"] == json!(protocols), "{over_small}");
    let fields = [
        "tls.handshake.extensions_server_name",
        "tls.handshake.extensions_alpn_str",
        "tls.handshake.ja3",
        "tls.handshake.ciphersuite",
        "tls.handshake.extension.type",
    ];
    let rows = tshark::rows(&small, "tls.handshake.type == 1", &fields)?;
    let row = rows.first().context("tshark found no hello")?;
    let row: Vec<&str> = row.iter().map(String::as_str).collect();
    let count = |list: &str| list.split(',').count();
    let own = |name: &str| over_small[name].as_array().map_or(0, Vec::len);
    ensure!(row.first() == Some(&NAME) && row.get(1) == Some(&alpn.as_str()), "{row:?}");
    ensure!(row.get(2).map(|ja3| json!(ja3)) == Some(over_small["ja3"].clone()), "{row:?}");
    ensure!(row.get(3).map(|list| count(list)) == Some(own("cipher_suites")), "{row:?}");
    ensure!(row.get(4).map(|list| count(list)) == Some(own("extensions")), "{row:?}");
    // The same client over large segments has the same fingerprint.
    let over_large = hello(9000, hook, &alpn, &large)?;
    for name in ["ja3", "ja4", "ja4_r", "cipher_suites", "extensions", "supported_groups", "alpn"] {
        ensure!(over_small[name] == over_large[name], "{name}: {over_small} {over_large}");
    }
    Ok(())
}

/// Bytes behind their length in two bytes.
fn block(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a length of two bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// A ClientHello with these cipher suites and extensions.
pub(crate) fn hello_of(suites: &[u8], extensions: &[u8]) -> Vec<u8> {
    let random = [0x5a; 32];
    let body = [&[3, 3][..], &random, &[0], &block(suites), &[1, 0], &block(extensions)].concat();
    [&[0x16, 3, 1][..], &block(&[&[1, 0][..], &block(&body)].concat())].concat()
}

/// A ClientHello that fills a jumbo frame: 8,600 bytes of padding, and the server name behind that.
fn jumbo_hello() -> Vec<u8> {
    let name = block(&[&[0][..], &block(NAME.as_bytes())].concat());
    let padding = [&[0, 21][..], &block(&[0; 8600])].concat();
    hello_of(&[0x13, 1, 0x13, 2], &[&padding[..], &[0, 0], &block(&name)].concat())
}

/// XDP gets a jumbo frame in fragments, of which the first ends long before the server name.
pub(crate) fn jumbo(mode: &str) -> Result<()> {
    let pair = VethPair::with(Options { mtu: 9000, ..Options::default() })?;
    let arguments = ["-i", "veth-b", "--hook", "xdp", "--xdp-mode", mode, "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let hello = jumbo_hello();
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    socket.send(&Frame::ethernet().ipv4().tcp(1234, 443).payload(&hello).build())?;
    let event = sniffer.wait_for(Duration::from_secs(10), |event| event["source_port"] == 1234)?;
    ensure!(event["event"] == "client_hello" && event["hook"] == "xdp", "{event}");
    ensure!(event["sni"] == NAME && event.get("partial").is_none(), "{event}");
    ensure!(event["record_length"] == hello.len() - 5, "{event}");
    sniffer.stop()?.check_sums().map(drop)
}
