//! Captures, and what the tools say of them.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff::{
    clock::Timestamp,
    sink::{
        capture::{Capture, CaptureCounters, CaptureOptions, Packet},
        output::WhenFull,
    },
};
use tls_sniff_common::flow::Direction;
use tls_sniff_tests::{frame::Frame, need::command};

use super::last_number;

pub(super) const SOON: Duration = Duration::from_secs(60);

pub(super) fn options(path: &Path) -> CaptureOptions {
    CaptureOptions {
        path: path.to_owned(),
        filter: "tcp port 443".to_owned(),
        application: "tls-sniff 0.1.0".to_owned(),
        ..CaptureOptions::default()
    }
}

/// A frame of TCP.
pub(super) fn frame() -> Vec<u8> {
    Frame::ethernet().ipv4().tcp(40000, 443).payload(&[7; 200]).build()
}

/// Frames that cannot be compressed: a different payload for each.
pub(super) struct Noise {
    frame: Vec<u8>,
    state: u64,
}

impl Noise {
    pub(super) fn new() -> Self {
        Self { frame: frame(), state: 0x2545_f491_4f6c_dd1d }
    }

    pub(super) fn next(&mut self) -> &[u8] {
        for byte in self.frame.iter_mut().skip(54) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            *byte = self.state.to_le_bytes()[0];
        }
        &self.frame
    }
}

/// A packet of `bytes` of the interface `eth7`.
pub(super) fn packet(bytes: &[u8]) -> Packet<'_> {
    Packet {
        timestamp: Timestamp(1_700_000_000_123_456_789),
        interface_index: 7,
        interface: Some("eth7"),
        link_type: 1,
        direction: Direction::Ingress,
        offloaded_vlan: None,
        bytes,
        wire_len: u32::try_from(bytes.len()).expect("a short packet"),
        comments: &[],
    }
}

/// Ends a capture that had no trouble: what was taken is accounted for.
pub(super) fn finish(capture: Capture) -> Result<CaptureCounters> {
    let (counters, result) = capture.finish(0, SOON);
    result?;
    check_sum(&counters)?;
    Ok(counters)
}

/// The same of one that had no space at times: it goes on, and fails.
pub(super) fn finish_with_losses(capture: Capture) -> Result<CaptureCounters> {
    let (counters, result) = capture.finish(0, SOON);
    let error = result.err().context("an error")?;
    ensure!(error.hint().starts_with("make space"), "{error}");
    check_sum(&counters)?;
    Ok(counters)
}

pub(super) fn check_sum(counters: &CaptureCounters) -> Result<()> {
    let CaptureCounters { taken, written, dropped_queue, dropped_disk, .. } = *counters;
    let known =
        written + dropped_queue + dropped_disk + counters.other_link_type + counters.after_end;
    ensure!(taken == known, "{counters:?}");
    Ok(())
}

/// A file of `count` packets.
pub(super) fn write(options: CaptureOptions, count: u64) -> Result<CaptureCounters> {
    let frame = frame();
    let mut capture = Capture::start(options, WhenFull::Wait)?;
    for _ in 0..count {
        capture.packet(&packet(&frame));
    }
    finish(capture)
}

/// stdout of a tool that had nothing to complain of.
pub(super) fn silent(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> =
        complaints.lines().filter(|line| !line.starts_with("Running as user \"root\"")).collect();
    ensure!(output.status.success(), "{command:?}: {}: {complaints:?}", output.status);
    ensure!(complaints.is_empty(), "{command:?}: {complaints:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Packets in a file, by capinfos, which does not complain.
pub(super) fn counted(path: &Path) -> Result<u64> {
    last_number(&silent(command("capinfos").args(["-T", "-r", "-M", "-c"]).arg(path))?)
}

/// As [`counted`]; tshark says the same.
pub(super) fn count(path: &Path) -> Result<u64> {
    let by_capinfos = counted(path)?;
    let mut tshark = command("tshark");
    let rows = silent(tshark.arg("-r").arg(path).args(["-T", "fields", "-e", "frame.len"]))?;
    let by_tshark = rows.lines().count() as u64;
    ensure!(by_capinfos == by_tshark, "{}: {by_capinfos}, {by_tshark}", path.display());
    Ok(by_capinfos)
}

/// Fields of the file's blocks: tshark dissects the file itself.
pub(super) fn block_fields(path: &Path, fields: &[&str]) -> Result<Vec<String>> {
    let mut tshark = command("tshark");
    tshark.args(["-X", "read_format:MIME Files Format", "-T", "fields", "-r"]).arg(path);
    for field in fields {
        tshark.args(["-e", &format!("pcapng.{field}")]);
    }
    let rows = silent(&mut tshark)?;
    Ok(rows.trim_end_matches('\n').split('\t').map(str::to_owned).collect())
}
