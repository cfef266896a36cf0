//! Privileges, signals, counts, pipes, and the text for people.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    need::command,
    packet_socket::PacketSocket,
    poll,
    process::Process,
    sniffer::{Sniffer, binary},
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(10);

/// A hello from a port, through a pair.
fn send(pair: &VethPair, port: u16) -> Result<()> {
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    socket.send(&Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello()).build())
}

pub(crate) fn unprivileged() -> Result<()> {
    let mut command = command("setpriv");
    // The folder of the binary may be root's alone: it keeps the user id and loses what counts.
    command.args(["--bounding-set", "-all", "--inh-caps", "-all"]);
    command.arg(binary()?).args(["-i", "lo"]);
    let finished = Process::spawn(command, None)?.finish(SOON)?;
    ensure!(finished.status.code() == Some(1), "{finished:?}");
    let log = finished.stderr.join("\n");
    for name in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        ensure!(log.contains(name), "{log}");
    }
    ensure!(!log.contains("panicked") && finished.stderr.len() <= 2, "{log}");
    Ok(())
}

/// The three capabilities that the message names are enough, for a user who is not root.
pub(crate) fn least_capabilities() -> Result<()> {
    let pair = VethPair::new()?;
    let dir = tempfile::tempdir()?;
    // Where any user may run it.
    let copy = dir.path().join("tls-sniff");
    std::fs::copy(binary()?, &copy)?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    for (hook, how) in [("tc", "tcx"), ("xdp", "tcx"), ("tc", "clsact")] {
        let mut command = pair.second.namespace.command("setpriv");
        let caps = "+bpf,+net_admin,+perfmon";
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps", caps, "--ambient-caps", caps]).arg(&copy);
        command.args(["-i", "veth-b", "--hook", hook, "--tc-attach", how, "--format", "json"]);
        let mut sniffer = Sniffer::spawn(command)?;
        sniffer.ready().with_context(|| format!("{hook} {how}"))?;
        send(&pair, 1234)?;
        sniffer.wait_for(SOON, |event| event["source_port"] == 1234)?;
        sniffer.stop()?.check_sums()?;
    }
    Ok(())
}

pub(crate) fn count() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "-c", "3", "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    for port in 1..=5 {
        send(&pair, port)?;
    }
    let stopped = sniffer.finish(SOON)?;
    ensure!(stopped.status.success() && stopped.events.len() == 4, "{stopped:#?}");
    stopped.check_sums().map(drop)
}

pub(crate) fn interrupt() -> Result<()> {
    let pair = VethPair::new()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut sniffer =
            Sniffer::start(&pair.second.namespace, &["-i", "veth-b", "--format", "json"])?;
        sniffer.ready()?;
        send(&pair, 99)?;
        // Not waited for: what is in the ring at the signal is drained.
        sniffer.signal(signal)?;
        let stopped = sniffer.finish(SOON)?;
        ensure!(stopped.status.success(), "{stopped:#?}");
        ensure!(stopped.events.iter().any(|event| event["source_port"] == 99), "{stopped:#?}");
        stopped.check_sums()?;
    }
    Ok(())
}

/// `tls-sniff | head -1`
pub(crate) fn closed_pipe() -> Result<()> {
    let pair = VethPair::new()?;
    let mut command = pair.second.namespace.command(binary()?.to_str().context("a path")?);
    command.args(["-i", "veth-b", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut log = BufReader::new(child.stderr.take().context("stderr")?).lines();
    while !log.next().context("the log ended")??.contains("watching") {}
    let mut out = BufReader::new(child.stdout.take().context("stdout")?);
    send(&pair, 1)?;
    let mut line = String::new();
    out.read_line(&mut line)?;
    ensure!(line.contains("client_hello"), "{line}");
    drop(out);
    send(&pair, 2)?;
    let status = poll::until(SOON, "tls-sniff to end", || child.try_wait().ok().flatten());
    if status.is_err() {
        child.kill()?;
    }
    ensure!(status?.success());
    let rest: Vec<String> = log.collect::<Result<_, _>>()?;
    ensure!(rest.is_empty(), "it said {rest:?}");
    Ok(())
}

pub(crate) fn text() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "-c", "2", "--format", "text"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    send(&pair, 10_000)?;
    send(&pair, 1)?;
    let stopped = sniffer.finish(SOON)?;
    let column = |line: &str| line.find(" > ");
    let [one, two, ..] = stopped.stdout.as_slice() else { anyhow::bail!("{stopped:#?}") };
    ensure!(one.contains("client_hello  TLS 1.2"), "{one}");
    ensure!(column(one).is_some() && column(one) == column(two), "{one}\n{two}");
    Ok(())
}
