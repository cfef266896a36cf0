//! The progress bar of a long file: on a terminal, and nowhere else.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    frame::Frame,
    need::command,
    pcap::{link_type, pcap},
    process::{Finished, Process},
    sniffer::binary,
};

use super::SOON;

/// Of the bar at a third of the file and more.
const BAR: &str = " % [==========";

pub(crate) fn bar() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // A file of nine megabytes, each packet of which is an event.
    let frame = Frame::raw().ipv4().tcp(1, 2).payload(&[0; 1400]).build();
    let count = (9 << 20) / frame.len();
    let frames = (0..count).map(|_| (Duration::ZERO, frame.clone()));
    let file = dir.path().join("long.pcap");
    std::fs::write(&file, pcap(link_type::RAW_IP, frames))?;
    let (binary, file) = (binary()?, file.display().to_string());
    let read = format!("{} -r {file} --payload-len 1400.. --count {}", binary.display(), count - 1);
    // A reader that lets it wait for more than a second, also on a busy machine.
    let slow = format!("{read} --format json | (sleep 4; cat > /dev/null)");
    let on_terminal = |line: &str| {
        let mut script = command("script");
        let line = format!("stty cols 100; {line}");
        script.env("TERM", "xterm").args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        Process::spawn(script, None)
    };
    let quiet = on_terminal(&slow.replace(" | ", " --quiet | "))?;
    let piped = on_terminal(&slow.replace(" | ", " 2> /dev/null | "))?;
    let shown = on_terminal(&slow)?;
    let both = on_terminal(&format!("{read} --format text; sleep 1"))?;
    let ended = |process: Process| -> Result<Finished> {
        let finished = process.finish(SOON)?;
        ensure!(finished.status.success(), "{finished:?}");
        Ok(finished)
    };
    let has_bar = |finished: &Finished| finished.stdout.iter().any(|line| line.contains(BAR));
    let shown = ended(shown)?;
    ensure!(has_bar(&shown), "{shown:?}");
    // Taken away at the end: the last that is sent clears the line.
    let last = shown.stdout.last().context("what the terminal was sent")?;
    ensure!(last.ends_with("\u{1b}[2K"), "{last:?}");
    ensure!(!has_bar(&ended(quiet)?) && !has_bar(&ended(piped)?));
    let both = ended(both)?;
    ensure!(!has_bar(&both) && both.stdout.len() >= count - 1, "{}", both.stdout.len());
    Ok(())
}
