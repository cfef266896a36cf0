//! How handshakes end, by OpenSSL's clients and servers, against what they say themselves.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tls_sniff_tests::{
    peer::{Certificate, Client, Outcome, Server, Version},
    poll,
    sniffer::Sniffer,
    veth::VethPair,
};

use crate::handshakes::NAME;

const SOON: Duration = Duration::from_secs(10);
const PORT: u16 = 443;

/// A pair, its server's certificate, and a sniffer at the server's end.
struct Scene {
    pair: VethPair,
    certificate: Certificate,
    sniffer: Sniffer,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::self_signed(folder.path(), NAME)?;
        let pair = VethPair::new()?;
        let arguments = ["-i", "veth-b", "--format", "json"];
        let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
        sniffer.ready()?;
        let address = SocketAddr::new(pair.second.address(false), PORT);
        Ok(Self { pair, certificate, sniffer, address, folder })
    }

    fn path(&self, name: &str) -> Result<String> {
        let path: &Path = self.folder.path();
        Ok(path.join(name).to_str().context("a path in UTF-8")?.to_owned())
    }

    fn server(&self, arguments: &[&str]) -> Server<'_> {
        Server::new(&self.certificate, self.address).arguments(arguments)
    }

    fn client(&self, arguments: &[&str]) -> Client {
        Client::new(self.address, NAME).arguments(arguments)
    }

    fn run(&self, client: &Client) -> Result<Outcome> {
        client.run(&self.pair.first.namespace)
    }

    /// The event of the next handshake behind `seen` others.
    fn handshake(&mut self, seen: usize) -> Result<Value> {
        poll::until(SOON, "a handshake to be told", || {
            let events = self.sniffer.events().into_iter();
            events.filter(|event| event["event"] == "handshake").nth(seen)
        })
    }
}

fn check(handshake: &Value, expected: &Value, output: &str) -> Result<()> {
    for (name, value) in expected.as_object().context("an object")? {
        ensure!(handshake[name] == *value, "{name}: {handshake}\nexpected {expected}\n{output}");
    }
    Ok(())
}

/// A client that does not trust the server.
pub(crate) fn client_refuses() -> Result<()> {
    // In TLS 1.3 too: OpenSSL's client encrypts only behind the server's Finished.
    for version in [Version::Tls13, Version::Tls12] {
        let expected = json!({"outcome": "alert", "alert": "unknown_ca"});
        let mut scene = Scene::new()?;
        let server = scene.server(&[]).start(&scene.pair.second.namespace)?;
        let client = scene.client(&["-verify_return_error"]).version(version);
        let outcome = scene.run(&client)?;
        ensure!(outcome.output.contains("certificate verify failed"), "{}", outcome.output);
        let handshake = scene.handshake(0)?;
        check(&handshake, &expected, &outcome.output)?;
        check(&handshake, &json!({"outcome_by": "client", "sni": NAME}), &outcome.output)?;
        drop(server);
    }
    Ok(())
}

/// A server that wants a certificate of a client that has none.
pub(crate) fn server_refuses() -> Result<()> {
    for (version, expected) in [
        (Version::Tls13, json!({"outcome": "probable_encrypted_alert", "inferred": true})),
        (Version::Tls12, json!({"outcome": "alert", "alert": "handshake_failure"})),
    ] {
        let mut scene = Scene::new()?;
        let server = scene.server(&["-Verify", "1"]).start(&scene.pair.second.namespace)?;
        // In TLS 1.3 the client learns of it when it reads.
        let client = scene.client(&[]).version(version).request(b"GET / HTTP/1.0\r\n\r\n");
        let outcome = scene.run(&client)?;
        ensure!(outcome.output.contains("alert"), "{}", outcome.output);
        let handshake = scene.handshake(0)?;
        check(&handshake, &expected, &outcome.output)?;
        check(&handshake, &json!({"outcome_by": "server"}), &outcome.output)?;
        drop(server);
    }
    Ok(())
}

/// A session and its resumption.
pub(crate) fn resumed() -> Result<()> {
    for version in [Version::Tls12, Version::Tls13] {
        let mut scene = Scene::new()?;
        let server = scene.server(&["-www"]).start(&scene.pair.second.namespace)?;
        let session = scene.path("session")?;
        let request = b"GET / HTTP/1.0\r\n\r\n";
        let first = scene.client(&["-sess_out", &session]).version(version).request(request);
        scene.run(&first)?;
        let full = scene.handshake(0)?;
        check(&full, &json!({"outcome": "completed", "resumed": false}), "")?;
        let second = scene.client(&["-sess_in", &session]).version(version).request(request);
        let outcome = scene.run(&second)?;
        ensure!(outcome.output.contains("Reused, "), "{}", outcome.output);
        let again = scene.handshake(1)?;
        let expected = json!({"outcome": "completed", "resumed": true, "offers_resumption": true});
        check(&again, &expected, &outcome.output)?;
        drop(server);
    }
    Ok(())
}

/// A server that wants another group than the client has a key share for.
pub(crate) fn retried() -> Result<()> {
    let mut scene = Scene::new()?;
    let server = scene.server(&["-groups", "P-256"]).start(&scene.pair.second.namespace)?;
    let client = scene.client(&["-groups", "X25519:P-256"]).version(Version::Tls13);
    scene.run(&client)?.established()?;
    let handshake = scene.handshake(0)?;
    let expected = json!({
        "outcome": "completed", "hello_retry_request": true, "group": "secp256r1",
        "version": "TLS 1.3",
    });
    check(&handshake, &expected, "")?;
    let history = handshake["ssl_history"].as_str().context("a history")?;
    ensure!(history.starts_with("Cj"), "{handshake}");
    drop(server);
    Ok(())
}

/// A server that speaks something else, and one that closes without a word, to which OpenSSL's client says
/// `decode_error`.
pub(crate) fn no_tls() -> Result<()> {
    let cases: [(&'static [u8], Value); 2] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", json!({"outcome": "not_tls"})),
        (b"", json!({"outcome": "closed", "outcome_by": "server"})),
    ];
    for (answer, expected) in cases {
        let mut scene = Scene::new()?;
        let address = scene.address;
        let listener = scene.pair.second.namespace.enter(|| TcpListener::bind(address))??;
        let server = thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            // All of the hello is read, or the kernel would reset.
            let _hello = stream.read(&mut [0; 4096])?;
            stream.write_all(answer)
        });
        let outcome = scene.run(&scene.client(&[]))?;
        ensure!(outcome.established().is_err());
        server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
        check(&scene.handshake(0)?, &expected, &outcome.output)?;
    }
    Ok(())
}

/// A connection that tls-sniff does not see the end of.
pub(crate) fn no_answer() -> Result<()> {
    let scene = Scene::new()?;
    let address = scene.address;
    let listener = scene.pair.second.namespace.enter(|| TcpListener::bind(address))??;
    let mut command = scene.pair.first.namespace.command("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-servername", NAME]);
    let client = tls_sniff_tests::process::Process::spawn(command, None)?;
    let (_stream, _) = listener.accept()?;
    let mut sniffer = scene.sniffer;
    sniffer.wait_for(SOON, |event| event["event"] == "client_hello")?;
    let stopped = sniffer.stop()?;
    let handshake = crate::handshakes::first(&stopped.events, "handshake")?;
    check(handshake, &json!({"outcome": "still_open", "sni": NAME, "ssl_history": "C"}), "")?;
    drop(client);
    Ok(())
}
