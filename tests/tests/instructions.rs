//! What user space costs, in instructions that callgrind counts: times are not comparable between machines, nor
//! between two runs on a busy one.

use std::{
    collections::BTreeMap, fs, path::Path, process::Command, process::ExitCode, time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff::source::file::CaptureFile;
use tls_sniff_tests::{
    baseline::Baseline,
    need::{self, Need},
    pcap::{link_type, pcap},
    process::run,
    runner::{self, test},
    sniffer, workspace_root,
};

/// A build that is optimized and takes a third of a release's time.
const PROFILE: &str = "counted";

/// Four handshakes by OpenSSL: TLS 1.3, 1.2, one that an alert ends, 1.0.
const CAPTURE: &str = "tests/captures/handshakes.pcap";
const CONNECTIONS: u64 = 4;

/// How often the capture is repeated, beside once for what a start and an end cost.
const COPIES: u64 = 50;

const RUNS: [(&str, &[&str]); 4] = [
    ("default events", &[]),
    ("handshake events", &["--events", "handshake"]),
    ("handshake events, Zeek", &["--json-profile", "zeek"]),
    ("default events, text", &["--format", "text"]),
];

fn main() -> ExitCode {
    runner::main(vec![test("instructions_for_a_connection", &[Need::Tool("valgrind")], compared)])
}

fn compared() -> Result<()> {
    let program = sniffer::build(PROFILE)?;
    let folder = tempfile::tempdir()?;
    let files =
        [1, 1 + COPIES].map(|copies| (copies, folder.path().join(format!("{copies}.pcap"))));
    for (copies, path) in &files {
        fs::write(path, repeated(*copies)?)?;
    }
    let mut figures = BTreeMap::new();
    for (name, arguments) in RUNS {
        let [once, often] = [0, 1].map(|file| instructions(&program, &files[file].1, arguments));
        let more = often?.checked_sub(once?).context("more work, fewer instructions")?;
        figures.insert(name.to_owned(), more / (COPIES * CONNECTIONS));
    }
    let rustc = run(Command::new("rustc").arg("--version"))?;
    let baseline = Baseline {
        name: "callgrind",
        of: "Instructions for a connection, from a capture file to stdout",
        measured_with: rustc.trim(),
        tolerance: 3,
        tolerance_elsewhere: Some(30),
    };
    baseline.check(&figures)
}

/// The capture several times, each time between other addresses and a second later.
fn repeated(copies: u64) -> Result<Vec<u8>> {
    let capture = fs::read(workspace_root().join(CAPTURE))?;
    let mut frames = Vec::new();
    for copy in 0..copies {
        let mut file = CaptureFile::new(capture.as_slice(), CAPTURE.to_owned());
        while let Some(frame) = file.next()? {
            let mut bytes = frame.packet.bytes.to_vec();
            // The second and third byte of the addresses of IPv4; the fifth and sixth of IPv6.
            let places = if bytes.get(12..14) == Some(&[8, 0]) { [27, 31] } else { [26, 42] };
            for place in places {
                let number = u16::try_from(copy)?.to_be_bytes();
                bytes.get_mut(place..place + 2).context("a short frame")?.copy_from_slice(&number);
            }
            let at = Duration::from_nanos(u64::try_from(frame.timestamp_ns)?);
            frames.push((at + Duration::from_secs(copy), bytes));
        }
    }
    Ok(pcap(link_type::ETHERNET, frames))
}

/// What the program executes to write the events of a file.
fn instructions(program: &Path, file: &Path, arguments: &[&str]) -> Result<u64> {
    let output = need::command("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg("-r")
        .arg(file)
        .args(arguments)
        .output()
        .context("start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !output.stdout.is_empty(), "{}: {said}", output.status);
    let count = said.lines().find_map(|line| line.split_once("Collected :"));
    let count = count.with_context(|| format!("callgrind counted nothing: {said}"))?.1;
    count.trim().parse().with_context(|| format!("{count}, of callgrind"))
}
