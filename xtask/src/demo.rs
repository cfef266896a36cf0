//! `cargo xtask demo`: tls-sniff at work, on handshakes that the demo makes itself.
//!
//! ```text
//!  root      namespace with OpenSSL clients ── veth ── namespace with OpenSSL servers, tls-sniff on its end
//!  else      tls-sniff -r tests/captures/handshakes.pcap: the same kinds of handshakes, captured before
//! ```
//!
//! JSON lines go to stdout, words to stderr. Namespaces, interfaces, processes and files go with their
//! guards, also when the demo fails.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    need::Need,
    peer::{Certificate, Client, Server, Version},
    sniffer::Sniffer,
    veth::VethPair,
};

use crate::{
    run::{cargo, run as run_command, say, workspace_root},
    setup,
};

const SERVER: &str = "server.example";

/// How long an event may take to come out.
const SOON: Duration = Duration::from_secs(10);

/// Runs the demo.
///
/// # Errors
///
/// If something cannot be installed, built or attached, or if tls-sniff does not show what was made.
pub fn run() -> Result<()> {
    match Need::Root.missing() {
        None => live(),
        Some(reason) => {
            say(&format!("no live demo: {reason}"));
            say("reading a bundled capture instead, through the same walk and the same decoder");
            offline()
        }
    }
}

fn offline() -> Result<()> {
    let mut command = cargo(&workspace_root());
    command.args(["run", "--quiet", "--package", "tls-sniff", "--", "--format", "json"]);
    run_command(command.args(["-r", "tests/captures/handshakes.pcap"]))
}

fn live() -> Result<()> {
    setup::programs(&["ip", "ss", "openssl"])?;
    say("building tls-sniff");
    tls_sniff_tests::sniffer::binary()?;
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let certificate = Certificate::self_signed(dir.path(), SERVER)?;
    let pair = VethPair::new()?;
    let (clients, servers) = (&pair.first.namespace, &pair.second.namespace);
    let address = |port| SocketAddr::new(pair.second.address(false), port);
    let _any = Server::new(&certificate, address(443)).alpn("h2,http/1.1").start(servers)?;
    let strict = Server::new(&certificate, address(8443)).version(Version::Tls13);
    let _strict = strict.start(servers)?;

    say(
        "two private network namespaces, joined by a veth pair; tls-sniff watches the servers' end:",
    );
    let arguments = ["-i", pair.second.interface.as_str(), "--format", "json"];
    say(&format!("$ tls-sniff {}", arguments.join(" ")));
    let mut sniffer = Sniffer::start(servers, &arguments)?;
    sniffer.ready()?;
    for line in sniffer.stderr() {
        say(&format!("  {}", line.trim()));
    }

    for version in [Version::Tls13, Version::Tls12] {
        let client = Client::new(address(443), SERVER).version(version).alpn("h2,http/1.1");
        let outcome = client.run(clients)?;
        let negotiated = outcome.established()?;
        say(&format!("openssl s_client {}: {}", version.flag(), negotiated.cipher));
    }
    let refused = Client::new(address(8443), SERVER).version(Version::Tls12).run(clients)?;
    ensure!(refused.established().is_err(), "a TLS 1.3 server took a TLS 1.2 client");
    say("openssl s_client -tls1_2 to a server that speaks TLS 1.3 only: refused");
    sniffer.wait_for(SOON, |event| event["description"] == "protocol_version")?;

    let stopped = sniffer.stop()?;
    say("and this is what tls-sniff printed:");
    let mut out = io::stdout().lock();
    for line in &stopped.stdout {
        writeln!(out, "{line}").context("cannot write to stdout")?;
    }
    let count = |kind: &str| stopped.events.iter().filter(|event| event["event"] == kind).count();
    let hellos = (count("client_hello"), count("server_hello"));
    ensure!(hellos == (3, 2), "expected 3 client_hello and 2 server_hello, got {hellos:?}");
    say("done; the namespaces are gone");
    Ok(())
}
