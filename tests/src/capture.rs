//! Captures beside the one under test: tcpdump's, and what is in a file.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tls_sniff::source::file::CaptureFile;

use crate::{
    need::command,
    netns::Namespace,
    poll,
    process::{Process, run},
    veth::End,
};

const SOON: Duration = Duration::from_secs(10);

/// A running tcpdump, which writes a file; killed on drop.
pub struct Tcpdump(Process);

impl Tcpdump {
    /// Starts tcpdump at `end` with an expression, and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it ends, or does not listen in time.
    pub fn start(end: &End, file: &Path, expression: &str) -> Result<Self> {
        Self::on(&end.namespace, &end.interface, file, expression)
    }

    /// The same on an interface of a namespace.
    ///
    /// # Errors
    ///
    /// See [`Tcpdump::start`].
    pub fn on(
        namespace: &Namespace,
        interface: &str,
        file: &Path,
        expression: &str,
    ) -> Result<Self> {
        Self::with(namespace, &["-i", interface], file, expression)
    }

    /// The same with tcpdump's own options for what to capture.
    ///
    /// # Errors
    ///
    /// See [`Tcpdump::start`].
    pub fn with(
        namespace: &Namespace,
        options: &[&str],
        file: &Path,
        expression: &str,
    ) -> Result<Self> {
        let mut tcpdump = namespace.command("tcpdump");
        tcpdump
            .args(options)
            .args(["--immediate-mode", "-U", "-Z", "root"])
            // A place of the buffer has room for the longest packet, so that the usual 2 MiB are eight of them.
            .args(["--buffer-size", "65536", "-w"])
            .arg(file)
            .arg(expression);
        let process = Process::spawn(tcpdump, None)?;
        listening(process, "listening").map(Self)
    }

    /// Ends it by SIGINT.
    ///
    /// # Errors
    ///
    /// If it does not end in time, or says that the kernel dropped packets.
    pub fn stop(mut self) -> Result<()> {
        self.0.signal(Signal::SIGINT)?;
        let finished = self.0.finish(SOON)?;
        let none = |line: &String| line == "0 packets dropped by kernel";
        ensure!(finished.stderr.iter().any(none), "{}", finished.stderr.join(" | "));
        Ok(())
    }
}

/// Waits until a process that captures says so on stderr.
///
/// # Errors
///
/// If it ends, or does not say `said` in time.
pub fn listening(mut process: Process, said: &str) -> Result<Process> {
    poll::try_until(SOON, &format!("{said:?} on stderr"), || {
        process.check_alive()?;
        Ok(process.stderr().iter().any(|line| line.contains(said)).then_some(()))
    })?;
    Ok(process)
}

/// The packets of a capture, in order.
///
/// # Errors
///
/// If the file cannot be read to its end.
pub fn packets(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut file = CaptureFile::open(path)?;
    let mut packets = Vec::new();
    while let Some(frame) = file.next().with_context(|| path.display().to_string())? {
        packets.push(frame.packet.bytes.to_vec());
    }
    Ok(packets)
}

/// What capinfos counts in a file.
///
/// # Errors
///
/// If it does not like the file, or warns of something.
pub fn capinfos_count(path: &Path) -> Result<u64> {
    let finished = {
        let mut capinfos = command("capinfos");
        capinfos.args(["-M", "-c", "-r", "-T"]).arg(path);
        Process::spawn(capinfos, None)?.finish(SOON)?
    };
    let (stdout, stderr) = (finished.stdout.join(" "), finished.stderr.join(" "));
    ensure!(finished.status.success() && stderr.is_empty(), "{}: {stderr}", path.display());
    let count = stdout.split_whitespace().last().context("a count")?;
    count.parse().with_context(|| stdout.clone())
}

/// Checks that tshark reads a file to its end without a word on stderr, and returns how many frames it has.
///
/// # Errors
///
/// If it does not.
pub fn tshark_count(path: &Path) -> Result<usize> {
    let mut tshark = command("tshark");
    tshark.args(["-T", "fields", "-e", "frame.number", "-r"]).arg(path);
    let finished = Process::spawn(tshark, None)?.finish(Duration::from_secs(60))?;
    // It has this to say to whoever is root.
    let complaints = finished.stderr.iter().filter(|line| !line.contains("Running as user"));
    let complaints: Vec<_> = complaints.collect();
    ensure!(finished.status.success() && complaints.is_empty(), "{complaints:?}");
    Ok(finished.stdout.len())
}

/// The output of a program that is to succeed.
///
/// # Errors
///
/// If it does not.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    run(command(program).args(arguments))
}
