//! The harness itself: that its guards undo what they did, that its peers speak each TLS version,
//! that tshark reads its frames as they were described, and that its runner reports missing needs.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tls_sniff_tests::frame::Frame;
use tls_sniff_tests::need::Need;
use tls_sniff_tests::netns::{Namespace, sweep};
use tls_sniff_tests::packet_socket::PacketSocket;
use tls_sniff_tests::peer::{Certificate, Client, Key, Mode, Server, Version};
use tls_sniff_tests::process::Process;
use tls_sniff_tests::runner::{self, test};
use tls_sniff_tests::sniffer::{Sniffer, binary};
use tls_sniff_tests::veth::{Options, VethPair};

#[path = "harness/frames.rs"]
mod frames;

/// Set for the copy of this program that the tests of the runner start: it has other tests.
const INNER: &str = "TLS_SNIFF_TESTS_INNER";

const NETWORK: &[Need] = &[Need::Root, Need::Tool("ip")];
const TLS: &[Need] = &[Need::Root, Need::Tool("ip"), Need::Tool("ss"), Need::Tool("openssl")];
const TSHARK: &[Need] = &[Need::Tool("tshark")];

fn main() -> ExitCode {
    if std::env::var_os(INNER).is_some() {
        return runner::main(vec![
            test("needs_nothing", &[], || Ok(())),
            test("needs_a_tool", &[Need::Tool("tls-sniff-no-such-program")], || Ok(())),
            test("needs_the_corpus", &[Need::Corpus], || Ok(())),
            test("fails_by_error", &[], || Err(anyhow::anyhow!("cause").context("outer"))),
            test("fails_by_panic", &[], || panic!("broken assumption")),
        ]);
    }
    runner::main(vec![
        test("namespace_disappears_on_drop", NETWORK, namespace_disappears_on_drop),
        test("namespace_disappears_on_panic", NETWORK, namespace_disappears_on_panic),
        test("namespace_drop_ends_what_runs_inside", NETWORK, namespace_drop_ends_what_runs_inside),
        test("sweep_removes_what_dead_processes_left", NETWORK, sweep_removes_leftovers),
        test("veth_pair_carries_both_families", NETWORK, veth_pair_carries_both_families),
        test("veth_pair_has_the_options", NETWORK, veth_pair_has_the_options),
        test("packet_socket_sends_a_frame", NETWORK, packet_socket_sends_a_frame),
        test("each_tls_version_handshakes_over_ipv4", TLS, || each_version_handshakes(false)),
        test("each_tls_version_handshakes_over_ipv6", TLS, || each_version_handshakes(true)),
        test("handshake_with_cipher_alpn_and_request", TLS, cipher_alpn_and_request),
        test("failed_handshake_is_an_outcome", TLS, failed_handshake_is_an_outcome),
        test("server_that_cannot_start_says_why", TLS, server_that_cannot_start_says_why),
        test("sniffer_program_is_built", &[], sniffer_program_is_built),
        test("sniffer_collects_events_and_log", &[], sniffer_collects_events_and_log),
        test("sniffer_that_ends_says_why", &[], sniffer_that_ends_says_why),
        test("sniffer_mixture_on_stdout_is_an_error", &[], sniffer_mixture_is_an_error),
        test("tshark_reads_the_frames_as_described", TSHARK, frames::agree_with_tshark),
        test("missing_need_is_ignored_without_ci", &[], missing_need_is_ignored_without_ci),
        test("missing_need_fails_in_ci", &[], missing_need_fails_in_ci),
        test("runner_lists_and_filters", &[], runner_lists_and_filters),
    ])
}

fn namespace_disappears_on_drop() -> Result<()> {
    let namespace = Namespace::new()?;
    let path = namespace.path();
    ensure!(path.exists(), "{} was made", path.display());
    drop(namespace);
    ensure!(!path.exists(), "{} is left over", path.display());
    Ok(())
}

fn namespace_disappears_on_panic() -> Result<()> {
    let namespace = Namespace::new()?;
    let path = namespace.path();
    let existed = path.exists();
    let thread = std::thread::spawn(move || {
        let _inside = namespace;
        std::panic::resume_unwind(Box::new("on purpose")); // unlike panic!, prints nothing
    });
    ensure!(existed && thread.join().is_err() && !path.exists(), "{} is left", path.display());
    Ok(())
}

fn namespace_drop_ends_what_runs_inside() -> Result<()> {
    let namespace = Namespace::new()?;
    let mut command = namespace.command("sleep");
    command.arg("600");
    let sleep = Process::spawn(command, None)?;
    // Once it is there, `ip netns exec` has entered the namespace.
    let inside = || Ok(namespace.ip(&["netns", "pids", namespace.name()])?.contains(&pid(&sleep)));
    poll_true("sleep to be in the namespace", inside)?;
    drop(namespace);
    let finished = sleep.finish(Duration::from_secs(10))?;
    ensure!(!finished.status.success(), "sleep was not killed: {}", finished.status);
    Ok(())
}

fn pid(process: &Process) -> String {
    process.id().to_string()
}

fn poll_true(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let timeout = Duration::from_secs(10);
    tls_sniff_tests::poll::try_until(timeout, what, || Ok(condition()?.then_some(())))
}

fn sweep_removes_leftovers() -> Result<()> {
    let mut ended = Command::new("true").spawn()?;
    let dead = ended.id();
    ended.wait()?;
    let (left, alive) = (format!("tsn-{dead}-0"), Namespace::new()?);
    alive.ip(&["netns", "add", &left])?;
    // What another test process sweeps at the same time is not in our list, but gone.
    let removed = sweep()?;
    ensure!(!removed.iter().any(|name| name == alive.name()), "swept a living namespace");
    let names = alive.ip(&["netns", "list"])?;
    ensure!(!names.contains(&left) && names.contains(alive.name()), "{names}");
    Ok(())
}

/// Echoes a datagram between the ends, by sockets of this process.
fn veth_pair_carries_both_families() -> Result<()> {
    let pair = VethPair::new()?;
    for v6 in [false, true] {
        let (first, second) = (pair.first.address(v6), pair.second.address(v6));
        let server = pair.second.namespace.enter(|| socket(second))??;
        let client = pair.first.namespace.enter(|| socket(first))??;
        client.send_to(b"ping", server.local_addr()?)?;
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).context("the second end")?;
        ensure!(&buffer[..length] == b"ping" && from == client.local_addr()?, "{from}");
        server.send_to(b"pong", from)?;
        let (length, from) = client.recv_from(&mut buffer).context("the first end")?;
        ensure!(&buffer[..length] == b"pong" && from == server.local_addr()?, "{from}");
    }
    Ok(())
}

/// A UDP socket on a free port of `address` that does not wait for ever.
fn socket(address: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0)).with_context(|| format!("bind {address}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(socket)
}

fn veth_pair_has_the_options() -> Result<()> {
    let pair = VethPair::with(Options { first: "left", second: "right", mtu: 9000 })?;
    for (end, mac) in [(&pair.first, "02:00:00:00:00:01"), (&pair.second, "02:00:00:00:00:02")] {
        let shown = end.namespace.ip(&["link", "show", "dev", &end.interface])?;
        ensure!(shown.contains("mtu 9000") && shown.contains(mac), "{shown}");
    }
    ensure!(pair.first.interface == "left" && pair.second.interface == "right");
    let other = VethPair::new()?;
    ensure!(other.first.ipv4 != pair.first.ipv4 && other.first.ipv6 != pair.first.ipv6);
    Ok(())
}

/// The receiving kernel checks the hardware address, both IP checksums and lengths, and the UDP
/// checksum before a socket sees the datagram.
fn packet_socket_sends_a_frame() -> Result<()> {
    let pair = VethPair::new()?;
    let out = PacketSocket::open(&pair.first.namespace, &pair.first.interface)?;
    for v6 in [false, true] {
        let (from, to) = (pair.first.address(v6), pair.second.address(v6));
        let receiver = pair.second.namespace.enter(|| socket(to))??;
        let frame = if v6 { Frame::ethernet().ipv6() } else { Frame::ethernet().ipv4().options(8) };
        let port = receiver.local_addr()?.port();
        let frame = frame.addresses(from, to).udp(4000, port).payload(b"crafted").pad_to(100);
        out.send(&frame.build())?;
        let mut buffer = [0; 64];
        let (length, sender) = receiver.recv_from(&mut buffer).context("the crafted datagram")?;
        ensure!(&buffer[..length] == b"crafted", "{:?}", &buffer[..length]);
        ensure!(sender == SocketAddr::new(from, 4000), "{sender}");
    }
    let missing = PacketSocket::open(&pair.first.namespace, "nosuch0").unwrap_err().to_string();
    ensure!(missing.contains("no interface nosuch0 in tsn-"), "{missing}");
    Ok(())
}

fn each_version_handshakes(v6: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    for key in [Key::Rsa2048, Key::P256] {
        let certificate = Certificate::with_key(dir.path(), "server.example", key)?;
        for version in Version::ALL {
            let address = SocketAddr::new(pair.second.address(v6), 4433);
            let server = Server::new(&certificate, address).version(version);
            let _server = server.start(&pair.second.namespace)?;
            let client = Client::new(address, "server.example").version(version);
            let outcome = client.run(&pair.first.namespace)?;
            let negotiated = outcome.established()?;
            ensure!(negotiated.version == version, "{version:?} {key:?}: {negotiated:?}");
            ensure!(outcome.output.contains("CN = server.example"), "{}", outcome.output);
        }
    }
    Ok(())
}

fn cipher_alpn_and_request() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let certificate = Certificate::self_signed(dir.path(), "server.example")?;
    let address = SocketAddr::new(pair.second.ipv4.into(), 4433);
    for (version, cipher) in [
        (Version::Tls12, "ECDHE-RSA-AES128-GCM-SHA256"),
        (Version::Tls13, "TLS_CHACHA20_POLY1305_SHA256"),
    ] {
        let server = Server::new(&certificate, address).alpn("http/1.1").mode(Mode::Www);
        let _server = server.start(&pair.second.namespace)?;
        let client = Client::new(address, "server.example").version(version).cipher(cipher);
        let client = client.alpn("h2,http/1.1").request(b"GET / HTTP/1.0\r\n\r\n");
        let outcome = client.run(&pair.first.namespace)?;
        let negotiated = outcome.established()?;
        ensure!(negotiated.version == version && negotiated.cipher == cipher, "{negotiated:?}");
        ensure!(negotiated.alpn.as_deref() == Some("http/1.1"), "{negotiated:?}");
        ensure!(outcome.output.contains("HTTP/1.0 200 ok"), "{}", outcome.output);
    }
    Ok(())
}

fn failed_handshake_is_an_outcome() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let certificate = Certificate::self_signed(dir.path(), "server.example")?;
    let address = SocketAddr::new(pair.second.ipv4.into(), 4433);
    let server = Server::new(&certificate, address).version(Version::Tls13);
    let _server = server.start(&pair.second.namespace)?;
    let client = Client::new(address, "server.example").version(Version::Tls12);
    let outcome = client.run(&pair.first.namespace)?;
    ensure!(outcome.negotiated.is_none() && !outcome.status.success(), "{outcome:?}");
    ensure!(outcome.output.contains("alert protocol version"), "{}", outcome.output);
    ensure!(outcome.established().is_err());
    Ok(())
}

fn server_that_cannot_start_says_why() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let namespace = Namespace::new()?;
    let certificate = Certificate::with_key(dir.path(), "server.example", Key::P256)?;
    let address = SocketAddr::from(([127, 0, 0, 1], 4433));
    let server = Server::new(&certificate, address).arguments(&["-no-such-option"]);
    let error = server.start(&namespace).err().context("it started")?.to_string();
    ensure!(error.contains("no-such-option"), "{error}");
    Ok(())
}

fn sniffer_program_is_built() -> Result<()> {
    let binary = binary()?;
    let name = binary.file_name().and_then(|name| name.to_str());
    ensure!(binary.is_file() && name == Some("tls-sniff"), "{}", binary.display());
    ensure!(Command::new(&binary).arg("--help").output()?.status.success());
    Ok(())
}

/// A shell script in the place of tls-sniff.
fn script(text: &str) -> Result<Sniffer> {
    let mut command = Command::new("sh");
    command.args(["-c", text]);
    Sniffer::spawn(command)
}

fn sniffer_collects_events_and_log() -> Result<()> {
    let mut sniffer = script(
        r#"trap 'echo "{\"n\":3}"; exit 0' TERM; echo '{"n":1}'
        echo "INFO watching veth-b" >&2; echo '{"n":2}'; while :; do sleep 0.01; done"#,
    )?;
    sniffer.ready()?;
    let event = sniffer.wait_for(Duration::from_secs(10), |event| event["n"] == 2)?;
    ensure!(event == serde_json::json!({"n": 2}), "{event}");
    let waited = sniffer.wait_for(Duration::from_millis(20), |event| event["n"] == 4);
    ensure!(waited.is_err_and(|error| format!("{error:#}").contains("in vain")));
    let stopped = sniffer.stop()?;
    let numbers: Vec<_> = stopped.events.iter().map(|event| event["n"].as_u64()).collect();
    ensure!(numbers == [Some(1), Some(2), Some(3)], "{numbers:?}");
    ensure!(stopped.status.success() && stopped.stderr == ["INFO watching veth-b"], "{stopped:?}");
    Ok(())
}

fn sniffer_that_ends_says_why() -> Result<()> {
    let mut sniffer = script("echo 'error: no such interface' >&2; exit 1")?;
    let error = format!("{:#}", sniffer.ready().unwrap_err());
    ensure!(error.contains("no such interface") && error.contains("exit status: 1"), "{error}");
    let mut sniffer = script("exec sleep 600")?;
    sniffer.signal(Signal::SIGKILL)?;
    let stopped = sniffer.finish(Duration::from_secs(10))?;
    ensure!(stopped.status.code().is_none() && stopped.events.is_empty(), "{stopped:?}");
    Ok(())
}

fn sniffer_mixture_is_an_error() -> Result<()> {
    let error = script("echo '{}'; echo garbage")?.finish(Duration::from_secs(10)).unwrap_err();
    ensure!(error.to_string().contains("garbage"), "{error}");
    let text = script("echo 12:00 veth-b TLS")?.finish(Duration::from_secs(10))?;
    ensure!(text.events.is_empty() && text.stdout == ["12:00 veth-b TLS"], "{text:?}");
    Ok(())
}

/// Runs the inner copy of this program, with no corpus.
fn inner(ci: bool, arguments: &[&str]) -> Result<(Output, String, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).env(INNER, "1").env("TLS_SNIFF_CORPUS", "/nonexistent");
    if ci {
        command.env("CI", "true")
    } else {
        command.env_remove("CI")
    };
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    Ok((output, stdout, stderr))
}

const TOOL_REASON: &str = "needs the program tls-sniff-no-such-program, not on PATH";

/// The line of libtest's report about the test `name`.
fn line<'a>(stdout: &'a str, name: &str) -> Result<&'a str> {
    let ours = |line: &&str| line.starts_with("test ") && line.contains(name);
    stdout.lines().find(ours).with_context(|| format!("no line on {name}:\n{stdout}"))
}

fn missing_need_is_ignored_without_ci() -> Result<()> {
    let (output, stdout, stderr) = inner(false, &["needs_"])?;
    ensure!(output.status.success(), "{stdout}");
    ensure!(line(&stdout, "needs_nothing")?.ends_with("ok"), "{stdout}");
    let tool = line(&stdout, "needs_a_tool")?;
    ensure!(tool.ends_with("ignored") && tool.contains(TOOL_REASON), "{tool}");
    ensure!(line(&stdout, "needs_the_corpus")?.ends_with("ignored"), "{stdout}");
    ensure!(stderr.matches(TOOL_REASON).count() == 1, "{stderr}");
    let (output, stdout, _) = inner(false, &["--ignored", "needs_a_tool"])?;
    ensure!(output.status.code() == Some(101), "a test without its need passed: {stdout}");
    Ok(())
}

fn missing_need_fails_in_ci() -> Result<()> {
    let (output, stdout, _) = inner(true, &["needs_a_tool"])?;
    ensure!(output.status.code() == Some(101), "{stdout}");
    ensure!(line(&stdout, "needs_a_tool")?.ends_with("FAILED"), "{stdout}");
    ensure!(stdout.contains(TOOL_REASON), "{stdout}");
    let (output, stdout, stderr) = inner(true, &["needs_the_corpus"])?;
    ensure!(output.status.success(), "the corpus may be absent: {stdout}");
    let corpus = line(&stdout, "needs_the_corpus")?;
    ensure!(corpus.ends_with("ignored") && corpus.contains("TLS_SNIFF_CORPUS"), "{corpus}");
    ensure!(stderr.contains("needs the corpus"), "{stderr}");
    Ok(())
}

fn runner_lists_and_filters() -> Result<()> {
    let (output, stdout, stderr) = inner(false, &["--list", "--format", "terse"])?;
    ensure!(output.status.success() && stderr.is_empty(), "{stderr}");
    ensure!(stdout.lines().filter(|line| line.ends_with(": test")).count() == 5, "{stdout}");
    let (_, stdout, _) = inner(false, &["--list", "--format", "terse", "--ignored"])?;
    ensure!(stdout.lines().count() == 2 && stdout.contains("needs_a_tool"), "{stdout}");
    let (output, stdout, _) = inner(false, &["--exact", "needs_nothing"])?;
    ensure!(output.status.success() && stdout.contains("1 passed; 0 failed"), "{stdout}");
    let (output, stdout, _) = inner(false, &["fails_by"])?;
    ensure!(output.status.code() == Some(101) && stdout.contains("2 failed"), "{stdout}");
    ensure!(stdout.contains("outer: cause"), "the chain of causes is shown: {stdout}");
    ensure!(stdout.contains("broken assumption"), "{stdout}");
    Ok(())
}
