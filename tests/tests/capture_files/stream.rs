//! stdout and named pipes.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tls_sniff::sink::{capture::Capture, output::WhenFull};
use tls_sniff_tests::{need::command, poll};

use super::{
    make::{SOON, finish, frame, options, packet},
    same,
};

/// Set, this program writes a capture to stdout: a packet for each line of stdin.
pub(super) const WRITES_STDOUT: &str = "TLS_SNIFF_TEST_WRITES_STDOUT";

/// The other program: exit code 0 if the capture ended without an error.
pub(super) fn write_stdout() -> ExitCode {
    let frame = frame();
    let Ok(mut capture) = Capture::start(options("-".as_ref()), WhenFull::Drop) else {
        return ExitCode::from(2);
    };
    for _ in io::stdin().lines() {
        capture.packet(&packet(&frame));
        capture.flush();
    }
    match finish(capture) {
        Ok(counters) => {
            eprintln!("written {}, after the end {}", counters.written, counters.after_end);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn writer() -> Result<Child> {
    Ok(Command::new(env::current_exe()?)
        .env(WRITES_STDOUT, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?)
}

/// The exit code and stderr of a child that has nothing more to do.
fn end_of(mut child: Child) -> Result<(Option<i32>, String)> {
    drop(child.stdin.take());
    let status = poll::try_until(SOON, "the writer's end", || Ok(child.try_wait()?))?;
    let mut log = String::new();
    child.stderr.take().context("stderr")?.read_to_string(&mut log)?;
    Ok((status.code(), log.trim().to_owned()))
}

pub(super) fn at_once() -> Result<()> {
    let mut writer = writer()?;
    let mut tshark = command("tshark")
        .args(["-l", "-r", "-", "-T", "fields", "-e", "frame.number"])
        .stdin(writer.stdout.take().context("stdout")?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut rows = BufReader::new(tshark.stdout.take().context("stdout")?).lines();
    let mut lines = writer.stdin.take().context("stdin")?;
    for number in 1..4 {
        writeln!(lines)?;
        let row = rows.next().context("a row for each packet, at once")??;
        same("frame", &row, &number.to_string())?;
    }
    drop(lines);
    same("writer", &end_of(writer)?, &(Some(0), "written 3, after the end 0".to_owned()))?;
    ensure!(rows.next().is_none(), "a row too many");
    ensure!(tshark.wait()?.success(), "tshark reads to the end");
    Ok(())
}

pub(super) fn reader_gone() -> Result<()> {
    let mut writer = writer()?;
    let mut header = [0; 4];
    writer.stdout.take().context("stdout")?.read_exact(&mut header)?;
    let mut lines = writer.stdin.take().context("stdin")?;
    for _ in 0..100 {
        writeln!(lines)?;
    }
    drop(lines);
    same("writer", &end_of(writer)?, &(Some(0), "written 0, after the end 100".to_owned()))
}

pub(super) fn named_pipe() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pipe.pcap");
    mkfifo(&path, Mode::S_IRWXU)?;
    let of_writer = path.clone();
    let writer = thread::spawn(move || super::make::write(options(&of_writer), 1000));
    let rows = super::make::silent(command("tshark").arg("-r").arg(&path).args([
        "-T",
        "fields",
        "-e",
        "frame.number",
    ]))?;
    same("rows", &rows.lines().count(), &1000)?;
    let counters = writer.join().expect("no panic")?;
    same("written", &counters.written, &1000)
}
