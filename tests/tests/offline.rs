//! `tls-sniff -r`: bundled captures against tshark, the corpus, damaged files, wrong usage.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tls_sniff_tests::{
    frame::Frame,
    need::{Need, command, corpus},
    process::{Process, run},
    runner::{self, test},
    sniffer::{Sniffer, Stopped, binary},
    tshark, workspace_root,
};

#[path = "offline/config.rs"]
mod config;
#[path = "offline/filters.rs"]
mod filters;
#[path = "offline/full_disk.rs"]
mod full_disk;
#[path = "offline/manual.rs"]
mod manual;
#[path = "offline/outputs.rs"]
mod outputs;
#[path = "offline/progress.rs"]
mod progress;
#[path = "offline/sandbox.rs"]
mod sandbox;
#[path = "offline/tunnels.rs"]
mod tunnels;
#[path = "offline/usage.rs"]
mod usage;

const SOON: Duration = Duration::from_secs(60);
const EVERY_EVENT: &str = "client_hello,server_hello,certificate,alert,handshake,handshake_message,\
    change_cipher_spec,application_data";
const TSHARK: &[Need] = &[Need::Tool("tshark")];
const SYSLOG: &[Need] = &[Need::Tool("rsyslogd")];
const FULL_DISK: &[Need] =
    &[Need::Root, Need::Tool("unshare"), Need::Tool("tshark"), Need::Tool("capinfos")];

fn main() -> ExitCode {
    runner::main(vec![
        test("bundled_handshakes_as_tshark_reads_them", TSHARK, as_tshark),
        test("tunnels_as_tshark_reads_them", TSHARK, tunnels::as_tshark),
        test("every_bundled_capture_is_read", &[], every_bundled_capture),
        test(
            "every_corpus_file_ends_well",
            &[Need::Corpus, Need::Tool("capinfos")],
            every_corpus_file,
        ),
        test("handshake_filters_on_the_bundled_capture", &[], filters::bundled),
        test("handshake_filters_on_the_corpus", &[Need::Corpus], filters::of_corpus),
        test("outputs_agree_and_files_rotate", &[], outputs::rotation),
        test("outputs_change_while_they_run", &[], outputs::reload),
        test("output_onto_a_full_disk", FULL_DISK, outputs::full_disk),
        test("output_whose_reader_goes_away", &[], outputs::gone),
        test("rsyslog_takes_events", SYSLOG, outputs::rsyslog),
        test("stdin_is_read", &[], stdin),
        test("pipe_is_shown_as_it_comes", &[], pipe),
        test("signal_ends_a_pipe_with_stats", &[], signal),
        test("count_and_text", &[], count_and_text),
        test("needs_no_privileges", &[Need::Root, Need::Tool("setpriv")], no_privileges),
        test("sandbox_says_what_the_kernel_lacks", &[], sandbox::what_is_missing_is_said),
        test(
            "directory_of_another_user_is_refused",
            &[Need::Root],
            sandbox::directory_of_another_user,
        ),
        test("what_is_cut_off_is_not_made_up", &[], little_captured),
        test("a_crowded_segment_is_bounded", &[], crowded),
        test("truncated_file_gives_what_is_before", &[], truncated),
        test("files_that_are_no_captures", &[], no_captures),
        test("wrong_usage_exits_with_2", &[], usage::wrong),
        test("expressions_that_are_refused", &[Need::Tool("tcpdump")], usage::bad_expressions),
        test("captures_that_cannot_be_written", &[], usage::unwritable),
        test("capture_onto_a_full_disk", FULL_DISK, full_disk::full_disk),
        test(
            "a_configuration_file_counts_and_is_checked",
            &[Need::Tool("tcpdump")],
            config::checked,
        ),
        test("bash_completes", &[Need::Tool("bash")], manual::bash_completes),
        test("man_pages_are_whole", &[Need::Tool("groff")], manual::pages),
        test("progress_is_for_terminals", &[Need::Tool("script")], progress::bar),
        test("directions_that_a_file_does_not_tell", &[], usage::without_directions),
        test("filters_are_explained", &[], usage::explained),
        test("places_are_explained", &[], usage::places),
        test("help_names_every_flag_once", &[], usage::help),
    ])
}

fn captures() -> PathBuf {
    workspace_root().join("tests/captures")
}

fn handshakes() -> PathBuf {
    captures().join("handshakes.pcap")
}

fn tls_sniff(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    Ok(command)
}

fn read(path: &Path) -> Result<Stopped> {
    read_with(path, &[])
}

fn read_with(path: &Path, arguments: &[&str]) -> Result<Stopped> {
    let path = path.to_str().context("a path in UTF-8")?;
    let mut command = tls_sniff(&["-r", path, "--format", "json"])?;
    command.args(arguments);
    Sniffer::spawn(command)?.finish(SOON)
}

fn as_tshark() -> Result<()> {
    let stopped = read(&handshakes())?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    stopped.check_sums()?;
    let of = |kind: &str| -> Vec<&Value> {
        stopped.events.iter().filter(|event| event["event"] == kind).collect()
    };
    let fields =
        ["frame.time_epoch", "tcp.srcport", "tcp.seq", "tls.handshake.extensions_server_name"];
    let rows = tshark::rows(&handshakes(), "tls.handshake.type == 1", &fields)?;
    let hellos = of("client_hello");
    ensure!(rows.len() == hellos.len() && rows.len() == 4, "{rows:#?} {hellos:#?}");
    for (row, hello) in rows.iter().zip(&hellos) {
        let [time, port, sequence, name] = row.as_slice() else { bail!("{row:?}") };
        ensure!(hello["source_port"].as_u64() == port.parse().ok(), "{row:?} {hello}");
        ensure!(hello["tcp_sequence"].as_u64() == sequence.parse().ok(), "{row:?} {hello}");
        ensure!(hello["sni"] == *name, "{row:?} {hello}");
        // tshark writes seconds, tls-sniff a date: the fraction is the same nine digits.
        let fraction = time.split('.').nth(1).context("a fraction")?;
        let stamp = hello["timestamp"].as_str().context("a timestamp")?;
        ensure!(stamp.ends_with(&format!(".{fraction}Z")), "{time} {stamp}");
    }
    let fields = [
        "tls.handshake.ciphersuite",
        "tls.handshake.extensions.supported_version",
        "tls.handshake.version",
    ];
    let rows = tshark::rows(&handshakes(), "tls.handshake.type == 2", &fields)?;
    let hellos = of("server_hello");
    ensure!(rows.len() == hellos.len() && rows.len() == 3, "{rows:#?} {hellos:#?}");
    for (row, hello) in rows.iter().zip(&hellos) {
        let [suite, supported, version] = row.as_slice() else { bail!("{row:?}") };
        let number = if supported.is_empty() { version } else { supported };
        let expected = match number.as_str() {
            "0x0304" => "TLS 1.3",
            "0x0303" => "TLS 1.2",
            "0x0301" => "TLS 1.0",
            other => bail!("version {other}"),
        };
        ensure!(hello["version"] == expected, "{row:?} {hello}");
        ensure!(hello["cipher_suite"] == name_of_suite(suite)?, "{row:?} {hello}");
    }
    let rows = tshark::rows(&handshakes(), "tls.alert_message.desc", &["tls.alert_message.desc"])?;
    let alerts: Vec<&Value> =
        of("alert").into_iter().filter(|alert| alert.get("encrypted").is_none()).collect();
    ensure!(rows == [["70"]] && alerts.len() == 1, "{rows:?} {alerts:#?}");
    ensure!(alerts[0]["description"] == "protocol_version" && alerts[0]["level"] == "fatal");
    Ok(())
}

/// The IANA name of a suite number such as 0xc02c, by OpenSSL.
fn name_of_suite(number: &str) -> Result<String> {
    let digits = number.trim_start_matches("0x").to_uppercase();
    let bytes = format!("0x{},0x{}", &digits[..2], &digits[2..]);
    let table = run(command("openssl").args(["ciphers", "-V", "-stdname", "ALL:@SECLEVEL=0"]))?;
    let row = table.lines().find(|row| row.contains(&bytes)).context("openssl has the suite")?;
    Ok(row
        .split(" - ")
        .nth(1)
        .context("a name")?
        .split_whitespace()
        .next()
        .context("a name")?
        .to_owned())
}

fn every_bundled_capture() -> Result<()> {
    let mut read_files = 0;
    for entry in fs::read_dir(captures())? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "pcap" || end == "pcapng") {
            let stopped = read(&path)?;
            ensure!(stopped.status.success(), "{}: {stopped:#?}", path.display());
            ensure!(stopped.check_sums()? > 0, "{}", path.display());
            read_files += 1;
        }
    }
    ensure!(read_files >= 10, "{read_files} files");
    Ok(())
}

/// Exit code 0, or 1 and a clear message; every frame accounted for.
fn every_corpus_file() -> Result<()> {
    let folder = corpus().context("the corpus")?.join("pcap");
    let mut read_files = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stopped = read_with(&path, &["--events", EVERY_EVENT])?;
        let what = || format!("{}: {:?}", path.display(), stopped.stderr);
        let log = stopped.stderr.join("\n");
        ensure!(!log.contains("panicked"), "{}", what());
        match stopped.status.code() {
            Some(0) => {
                let frames = stopped.check_sums().with_context(what)?;
                let infos = run(command("capinfos").args(["-T", "-M", "-r", "-c"]).arg(&path))?;
                let expected = infos.split_whitespace().last().context("a count")?;
                ensure!(
                    frames.to_string() == expected,
                    "{frames} frames, capinfos: {expected}, {}",
                    what()
                );
            }
            Some(1) => ensure!(log.contains("byte "), "{}", what()),
            _ => bail!("{}: {}", what(), stopped.status),
        }
        read_files += 1;
    }
    ensure!(read_files > 100, "{read_files} files");
    Ok(())
}

fn stdin() -> Result<()> {
    let from_file = read(&handshakes())?;
    let mut command = tls_sniff(&["-r", "-", "--format", "json"])?;
    command.stdin(Stdio::from(fs::File::open(handshakes())?));
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout)?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let (last, events) = lines.split_last().context("events")?;
    ensure!(last["event"] == "stats");
    ensure!(events == &from_file.events[..from_file.events.len() - 1]);
    Ok(())
}

/// As in `ssh host tcpdump -w - | tls-sniff -r -`: what came is shown while the pipe stays open.
fn pipe() -> Result<()> {
    let whole = fs::read(handshakes())?;
    let mut command = tls_sniff(&["-r", "-", "--format", "json"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut into = child.stdin.take().context("stdin")?;
    into.write_all(&whole[..whole.len() / 2])?;
    into.flush()?;
    let mut out = BufReader::new(child.stdout.take().context("stdout")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    ensure!(line.contains("client_hello"), "{line}");
    into.write_all(&whole[whole.len() / 2..])?;
    drop(into);
    let rest = out.lines().collect::<Result<Vec<_>, _>>()?;
    ensure!(rest.last().is_some_and(|last| last.contains("stats")), "{rest:?}");
    ensure!(child.wait()?.success());
    Ok(())
}

/// Ctrl-C reaches both ends of a pipe: the writer's end closes, and the stats are printed.
fn signal() -> Result<()> {
    let mut command = tls_sniff(&["-r", "-", "--format", "json"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut into = child.stdin.take().context("stdin")?;
    let mut out = BufReader::new(child.stdout.take().context("stdout")?);
    into.write_all(&fs::read(handshakes())?)?;
    let mut line = String::new();
    out.read_line(&mut line)?;
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGINT)?;
    drop(into);
    let rest = out.lines().collect::<Result<Vec<_>, _>>()?;
    ensure!(child.wait()?.code() == Some(0));
    ensure!(rest.last().is_some_and(|last| last.contains("stats")), "{rest:?}");
    Ok(())
}

fn count_and_text() -> Result<()> {
    let path = handshakes();
    let path = path.to_str().context("a path")?;
    let command = tls_sniff(&["-r", path, "-c", "2", "--format", "text"])?;
    let finished = Process::spawn(command, None)?.finish(SOON)?;
    ensure!(finished.status.success(), "{finished:?}");
    let events: Vec<&String> = finished.stdout.iter().filter(|line| line.contains(" > ")).collect();
    ensure!(events.len() == 2, "{finished:?}");
    ensure!(events[0].contains("client_hello  TLS 1.3  sni=server.example  alpn=h2,http/1.1"));
    ensure!(events[1].contains("server_hello  TLS 1.3  TLS_AES_256_GCM_SHA384"), "{}", events[1]);
    Ok(())
}

fn no_privileges() -> Result<()> {
    let mut command = command("setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"]);
    command.arg(binary()?).arg("-r").arg(handshakes());
    let finished = Process::spawn(command, None)?.finish(SOON)?;
    ensure!(finished.status.success() && finished.stdout.len() > 10, "{finished:?}");
    Ok(())
}

/// What is cut off is not made up: no version, no encryption.
fn little_captured() -> Result<()> {
    let path = handshakes();
    let path = path.to_str().context("a path")?;
    for bytes in ["64", "100", "150"] {
        let command =
            tls_sniff(&["-r", path, "-c", "2", "--payload-bytes", bytes, "--format", "json"])?;
        let stopped = Sniffer::spawn(command)?.finish(SOON)?;
        let [client, server, ..] = stopped.events.as_slice() else { bail!("{stopped:#?}") };
        for (hello, kind) in [(client, "client_hello"), (server, "server_hello")] {
            let known = hello["handshake_type"] == kind && hello.get("encrypted").is_none();
            ensure!(known, "{bytes}: {hello}");
        }
        ensure!(client["partial"] == "capture_limit", "{bytes}: {client}");
        ensure!(client.get("offered_versions").is_none(), "{bytes}: {client}");
        let version = server.get("version");
        ensure!(version.is_none_or(|version| version == "TLS 1.3"), "{bytes}: {server}");
    }
    Ok(())
}

/// A segment full of the smallest messages is not thousands of events.
fn crowded() -> Result<()> {
    let mut payload = vec![0x16, 3, 3, 0x05, 0];
    payload.extend(std::iter::repeat_n([14, 0, 0, 0], 320).flatten());
    let mut packet = Frame::raw().ipv4().tcp(1, 2).payload(&payload).build();
    let length = u32::try_from(packet.len())?.to_le_bytes();
    let mut capture = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    capture.extend([0, 0, 4, 0, 101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    capture.extend([length, length].concat());
    capture.append(&mut packet);
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("crowded.pcap");
    fs::write(&path, capture)?;
    let stopped = read_with(&path, &["--events", "handshake_message"])?;
    ensure!(stopped.status.success() && stopped.events.len() == 65, "{}", stopped.events.len());
    ensure!(stopped.events[64]["pipeline"]["crowded_segments"] == 1, "{}", stopped.events[64]);
    Ok(())
}

fn truncated() -> Result<()> {
    let whole = fs::read(handshakes())?;
    let dir = tempfile::tempdir()?;
    let cut = dir.path().join("cut.pcap");
    fs::write(&cut, &whole[..whole.len() / 2])?;
    let stopped = read(&cut)?;
    ensure!(stopped.status.code() == Some(1), "{stopped:#?}");
    ensure!(stopped.events.iter().any(|event| event["event"] == "server_hello"), "{stopped:#?}");
    stopped.check_sums()?;
    let log = stopped.stderr.join("\n");
    let end = format!("byte {}", whole.len() / 2);
    ensure!(log.contains("cut.pcap") && log.contains(&end), "{log}");
    Ok(())
}

fn no_captures() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let write = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = dir.path().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    };
    let cases = [
        (write("empty", b"")?, "empty"),
        (write("text", b"GET / HTTP/1.1\r\n\r\n")?, "pcap"),
        (write("packed.pcap.gz", b"\x1f\x8b\x08\0\0\0\0\0")?, "gzip"),
        (dir.path().join("missing"), "No such file"),
        (dir.path().to_owned(), "directory"),
    ];
    for (path, expected) in cases {
        let stopped = read(&path)?;
        ensure!(stopped.status.code() == Some(1), "{stopped:#?}");
        let log = stopped.stderr.join("\n");
        ensure!(log.contains(expected), "expected {expected}: {log}");
        ensure!(stopped.stdout.is_empty(), "{stopped:#?}");
        ensure!(stopped.stderr.len() <= 2 && !log.contains("panicked"), "{log}");
    }
    Ok(())
}
