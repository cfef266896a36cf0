//! Handshakes by OpenSSL, and what tls-sniff says of them against what OpenSSL says.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tls_sniff_tests::{
    need::command,
    netns::Namespace,
    peer::{Certificate, Client, Server, Version},
    process::run,
    sniffer::{Sniffer, Stopped},
    veth::VethPair,
};

pub(crate) const NAME: &str = "server.example";
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// RFC words.
const fn version_name(version: Version) -> &'static str {
    match version {
        Version::Tls10 => "TLS 1.0",
        Version::Tls11 => "TLS 1.1",
        Version::Tls12 => "TLS 1.2",
        Version::Tls13 => "TLS 1.3",
    }
}

/// The IANA name of a suite, by OpenSSL's own table.
fn iana_name(cipher: &str) -> Result<String> {
    let table = run(command("openssl").args(["ciphers", "-stdname", "ALL:@SECLEVEL=0"]))?;
    let name = table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (name, _dash, openssl) = (words.next()?, words.next()?, words.next()?);
        (openssl == cipher).then(|| name.to_owned())
    });
    name.with_context(|| format!("openssl does not list {cipher}"))
}

/// The first event of a kind.
pub(crate) fn first<'a>(events: &'a [Value], kind: &str) -> Result<&'a Value> {
    events
        .iter()
        .find(|event| event["event"] == kind)
        .with_context(|| format!("no {kind} in {events:#?}"))
}

/// Waits until the sniffer has shown a hello of the server.
pub(crate) fn wait_for_server_hello(sniffer: &mut Sniffer) -> Result<()> {
    sniffer.wait_for(SOON, |event| event["event"] == "server_hello").map(drop)
}

/// One handshake for each version that OpenSSL speaks, watched at both ends.
pub(crate) fn every_version(hook: &str, v6: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    for version in Version::ALL {
        let pair = VethPair::new()?;
        let address = SocketAddr::new(pair.second.address(v6), 443);
        let server = Server::new(&certificate, address).version(version).alpn("h2,http/1.1");
        let _server = server.start(&pair.second.namespace)?;
        let arguments = |interface| ["-i", interface, "--hook", hook, "--format", "json"];
        let mut client_side = Sniffer::start(&pair.first.namespace, &arguments("veth-a"))?;
        let mut server_side = Sniffer::start(&pair.second.namespace, &arguments("veth-b"))?;
        client_side.ready()?;
        server_side.ready()?;
        let client = Client::new(address, NAME).version(version).alpn("h2,http/1.1");
        let outcome = client.run(&pair.first.namespace)?;
        let negotiated = outcome.established()?;
        wait_for_server_hello(&mut client_side)?;
        wait_for_server_hello(&mut server_side)?;

        let expected = json!({
            "version": version_name(version),
            "cipher_suite": iana_name(&negotiated.cipher)?,
        });
        let at_xdp = if hook == "xdp" { "xdp" } else { "tc" };
        for (stopped, interface, client_way, server_way) in [
            (client_side.stop()?, "veth-a", ("egress", "tc"), ("ingress", at_xdp)),
            (server_side.stop()?, "veth-b", ("ingress", at_xdp), ("egress", "tc")),
        ] {
            let what = || format!("{version:?} at {interface}");
            check_hellos(&stopped, interface, [client_way, server_way], &expected)
                .with_context(what)?;
            let hello = first(&stopped.events, "client_hello")?;
            ensure!(hello["destination_port"] == 443, "{}", what());
            let from = pair.first.address(v6).to_string();
            let to = pair.second.address(v6).to_string();
            ensure!(hello["source_address"] == from && hello["destination_address"] == to);
            ensure!(hello["offered_versions"] == json!([version_name(version)]), "{hello}");
        }
    }
    Ok(())
}

/// An expression that reads the payload, which is not linear in what a TCP socket sends.
pub(crate) fn by_expression(hook: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let address = SocketAddr::new(pair.second.address(false), 443);
    let _server = Server::new(&certificate, address).start(&pair.second.namespace)?;
    for (expression, hellos) in [
        ("tcp[((tcp[12:1] & 0xf0) >> 2):1] = 0x16", true),
        ("tcp[((tcp[12:1] & 0xf0) >> 2):1] = 0x17", false),
    ] {
        let arguments = ["--hook", hook, "--format", "json", expression];
        let mut client_side = Sniffer::start(&pair.first.namespace, &arguments)?;
        let mut server_side = Sniffer::start(&pair.second.namespace, &arguments)?;
        client_side.ready()?;
        server_side.ready()?;
        Client::new(address, NAME).run(&pair.first.namespace)?.established()?;
        for mut side in [client_side, server_side] {
            if hellos {
                wait_for_server_hello(&mut side)?;
            }
            let stopped = side.stop()?;
            stopped.check_sums()?;
            ensure!(first(&stopped.events, "client_hello").is_ok() == hellos, "{expression}");
            ensure!(first(&stopped.events, "server_hello").is_ok() == hellos, "{expression}");
        }
    }
    Ok(())
}

/// Both hellos with their names, where they were seen, and what the server chose.
fn check_hellos(
    stopped: &Stopped,
    interface: &str,
    ways: [(&str, &str); 2],
    expected: &Value,
) -> Result<()> {
    ensure!(stopped.status.success(), "{stopped:#?}");
    let client = first(&stopped.events, "client_hello")?;
    let server = first(&stopped.events, "server_hello")?;
    for (hello, (direction, hook)) in [client, server].into_iter().zip(ways) {
        ensure!(hello["interface"] == interface, "{hello}");
        ensure!(hello["direction"] == direction && hello["hook"] == hook, "{hello}");
        ensure!(hello["content_type"] == "handshake" && hello.get("partial").is_none(), "{hello}");
    }
    ensure!(client["sni"] == NAME && client["alpn"] == json!(["h2", "http/1.1"]), "{client}");
    for (field, value) in expected.as_object().context("an object")? {
        ensure!(server[field] == *value, "{field}: {server}, expected {value}");
    }
    stopped.check_sums().map(drop)
}

pub(crate) fn loopback(hook: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    for address in ["127.0.0.1:4433", "[::1]:4433"] {
        let address: SocketAddr = address.parse()?;
        let namespace = Namespace::new()?;
        let _server = Server::new(&certificate, address).start(&namespace)?;
        let arguments = ["-i", "lo", "--hook", hook, "--format", "json"];
        let mut sniffer = Sniffer::start(&namespace, &arguments)?;
        sniffer.ready()?;
        Client::new(address, NAME).run(&namespace)?.established()?;
        sniffer.wait_for(SOON, |event| event["event"] == "handshake")?;
        let stopped = sniffer.stop()?;
        let hello = first(&stopped.events, "client_hello")?;
        ensure!(hello["sni"] == NAME && hello["interface"] == "lo", "{hello}");
        // Loopback hands each packet out and in again: one connection, each message once.
        for kind in ["client_hello", "server_hello", "handshake"] {
            let seen = stopped.events.iter().filter(|event| event["event"] == kind).count();
            ensure!(seen == 1, "{seen} times {kind}: {:#?}", stopped.events);
        }
        ensure!(hello["direction"] == "egress", "{hello}");
        stopped.check_sums()?;
    }
    Ok(())
}

/// A server that speaks TLS 1.3 only and a client that does not.
pub(crate) fn failed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let address = SocketAddr::new(pair.second.address(false), 443);
    let server = Server::new(&certificate, address).version(Version::Tls13);
    let _server = server.start(&pair.second.namespace)?;
    let mut sniffer = Sniffer::start(&pair.second.namespace, &["-i", "veth-b"])?;
    sniffer.ready()?;
    let outcome = Client::new(address, NAME).version(Version::Tls12).run(&pair.first.namespace)?;
    ensure!(outcome.established().is_err());
    let alert = sniffer.wait_for(SOON, |event| event["event"] == "alert")?;
    // As the client's own message says: "tlsv1 alert protocol version".
    ensure!(outcome.output.contains("protocol version"), "{}", outcome.output);
    ensure!(alert["level"] == "fatal" && alert["description"] == "protocol_version", "{alert}");
    ensure!(alert["direction"] == "egress", "{alert}");
    Ok(())
}

/// Before segmentation the stack has the whole hello in one packet, much of it outside the linear part.
pub(crate) fn large_hello() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let address = SocketAddr::new(pair.second.address(false), 443);
    let _server = Server::new(&certificate, address).start(&pair.second.namespace)?;
    let arguments = ["-i", "veth-a", "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.first.namespace, &arguments)?;
    sniffer.ready()?;
    let protocols: Vec<String> =
        (0..200).map(|number| format!("protocol-number-{number:04}")).collect();
    let client = Client::new(address, NAME).alpn(&protocols.join(","));
    client.run(&pair.first.namespace)?.established()?;
    wait_for_server_hello(&mut sniffer)?;
    let stopped = sniffer.stop()?;
    let hello = first(&stopped.events, "client_hello")?;
    ensure!(hello["record_length"].as_u64() > Some(4000), "{hello}");
    ensure!(hello.get("partial").is_none(), "{hello}");
    ensure!(hello["alpn"] == json!(protocols), "{hello}");
    Ok(())
}

pub(crate) fn any_port() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let mut sniffer = Sniffer::start(&pair.second.namespace, &["-i", "veth-b"])?;
    sniffer.ready()?;
    for port in [25, 80, 8443, 50_000] {
        let address = SocketAddr::new(pair.second.address(false), port);
        let _server = Server::new(&certificate, address).start(&pair.second.namespace)?;
        Client::new(address, NAME).run(&pair.first.namespace)?.established()?;
        sniffer.wait_for(SOON, |event| {
            event["event"] == "client_hello" && event["destination_port"] == port
        })?;
    }
    Ok(())
}
