//! Several outputs of one run: files that rotate, a disk that is full, syslog to rsyslog.

use std::{
    fs,
    io::Write as _,
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tls_sniff::{
    clock::Timestamp,
    dedup::SeenOn,
    filter::{
        PacketFilter,
        handshake::{HandshakeFilter, OutcomeClass},
    },
    observation::{EventKind, OutputCounters},
    pipeline::{Pipeline, PipelineOptions, Sighting, Sinks},
    sink::{Form, json::Profile, open::OutputOptions, output::WhenFull, spec::OutputSpec},
    source::file::{CaptureFile, Examiner},
};
use tls_sniff_tests::{
    need::command,
    poll,
    process::Process,
    sniffer::{Sniffer, binary},
};

use super::{SOON, full_disk::repeated, handshakes, tls_sniff};

/// The numbers of an output in `stats`.
fn counters<'a>(stats: &'a Value, name: &str) -> Result<&'a Value> {
    let outputs = stats["outputs"].as_array().context("outputs")?;
    outputs.iter().find(|output| output["name"] == *name).with_context(|| format!("no {name}"))
}

fn count(of: &Value, name: &str) -> Result<u64> {
    of[name].as_u64().with_context(|| format!("no {name} in {of}"))
}

/// Every line of stdout is in the files once, the oldest first in that with the highest number; another output has
/// its own events in its own form.
pub(crate) fn rotation() -> Result<()> {
    const MAX: u64 = 64 * 1024;
    let dir = tempfile::tempdir()?;
    let long = dir.path().join("long.pcap");
    fs::write(&long, repeated(100)?)?;
    let (file, zeek) = (dir.path().join("events.json"), dir.path().join("a,b.log"));
    let rotating = format!("file:{},max-size={MAX},keep=99", file.display());
    let escaped = zeek.display().to_string().replace(',', "\\,");
    let handshakes = format!("file:{escaped},profile=zeek");
    let long = long.to_str().context("a path")?;
    let arguments = ["-r", long, "--output", &rotating, "--output", &handshakes];
    let mut command = tls_sniff(&arguments)?;
    command.args(["--output", "stdout"]);
    let stopped = Sniffer::spawn(command)?.finish(SOON)?;
    ensure!(stopped.status.success(), "{:?}", stopped.stderr);
    stopped.check_sums()?;
    let numbered = |number: u32| dir.path().join(format!("events.json.{number}"));
    let last = (1..).take_while(|number| numbered(*number).exists()).last().unwrap_or(0);
    ensure!((5..99).contains(&last), "{last} files");
    let mut lines = Vec::new();
    for path in (1..=last).rev().map(numbered).chain([file]) {
        ensure!(path.metadata()?.len() <= MAX, "{} is too large", path.display());
        let text = fs::read_to_string(&path)?;
        ensure!(text.ends_with('\n'), "{} ends in half a line", path.display());
        lines.extend(text.lines().map(str::to_owned));
    }
    ensure!(lines == stopped.stdout, "{} lines, {} on stdout", lines.len(), stopped.stdout.len());
    let told = stopped.events.iter().filter(|event| event["event"] == "handshake").count();
    let zeek = fs::read_to_string(zeek)?;
    ensure!(
        zeek.lines().count() == told + 1,
        "{told} handshakes, {} of Zeek",
        zeek.lines().count()
    );
    ensure!(zeek.lines().take(told).all(|line| line.contains("id.orig_h")), "{zeek}");
    ensure!(told == 400, "{told} handshakes");
    Ok(())
}

/// What fits is in the file in whole lines; the rest is counted on it and said; stdout has all. The run has failed.
pub(crate) fn full_disk() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (disk, kept) = (dir.path().join("disk"), dir.path().join("kept"));
    fs::create_dir(&disk)?;
    let long = dir.path().join("long.pcap");
    fs::write(&long, repeated(60)?)?;
    // The mount goes with the namespace, so the file is copied out of it.
    let script = format!(
        "mount -t tmpfs -o size=64k none {disk} && {binary} -r {long} --output file:{disk}/x --output stdout; \
         code=$?; cp {disk}/x {kept}; exit $code",
        disk = disk.display(),
        binary = binary()?.display(),
        long = long.display(),
        kept = kept.display(),
    );
    let mut command = command("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let stopped = Sniffer::spawn(command)?.finish(SOON)?;
    stopped.check_sums().with_context(|| format!("{:?}", stopped.stderr))?;
    ensure!(stopped.status.code() == Some(1), "{:?}", stopped.stderr);
    let name = format!("file:{}/x", disk.display());
    let file = counters(stopped.stats()?, &name)?;
    let (written, lost) = (count(file, "written")?, count(file, "lost_write")?);
    ensure!(written + lost == count(file, "events")? && written > 10 && lost > 100, "{file}");
    let kept = fs::read_to_string(kept)?;
    ensure!(kept.ends_with('\n') && kept.lines().count() as u64 == written, "{file}");
    ensure!(kept.lines().all(|line| stopped.stdout.iter().any(|it| it == line)));
    let log = stopped.stderr.join("\n");
    ensure!(log.matches("events are lost so far").count() == 1, "{log}");
    ensure!(log.matches(&format!("{lost} events were lost in all")).count() == 1, "{log}");
    let failed = format!("cannot write to {name}: No space left on device");
    ensure!(log.matches(&failed).count() == 1 && log.contains("hint: make space"), "{log}");
    Ok(())
}

const RSYSLOG: &str = r#"
global(maxMessageSize="64k" workDirectory="DIR")
module(load="imuxsock" SysSock.Use="off")
module(load="imtcp")
input(type="imuxsock" Socket="DIR/log")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="DIR/port")
template(name="message" type="string" string="%syslogfacility-text% %app-name% %procid%%msg%\n")
if $inputname == "imtcp" then action(type="omfile" file="DIR/tcp" template="message")
else action(type="omfile" file="DIR/local" template="message")
"#;

/// rsyslog gets by its local socket and by TCP what stdout gets.
pub(crate) fn rsyslog() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let folder = dir.path().to_str().context("a path")?;
    fs::write(at("conf"), RSYSLOG.replace("DIR", folder))?;
    let mut command = command("rsyslogd");
    command.arg("-n").arg("-f").arg(at("conf")).arg("-i").arg(at("pid"));
    let daemon = Process::spawn(command, None)?;
    let port = poll::until(SOON, "rsyslogd to listen", || {
        let is_bound = at("log").exists();
        let port: u16 = fs::read_to_string(at("port")).ok()?.trim().parse().ok()?;
        is_bound.then_some(port)
    })
    .with_context(|| format!("{:?}", daemon.stderr()))?;
    let mut command = Command::new(binary()?);
    command.arg("-r").arg(handshakes());
    command.arg("--output").arg(format!("syslog:unix:{folder}/log,facility=local3"));
    command.arg("--output").arg(format!("syslog+tcp:127.0.0.1:{port},app-name=sniffer"));
    let stopped = Sniffer::spawn({
        command.args(["--output", "stdout"]);
        command
    })?
    .finish(SOON)?;
    ensure!(stopped.status.success() && stopped.stdout.len() > 10, "{stopped:#?}");
    stopped.check_sums()?;
    for (name, expected) in [("local", "local3 tls-sniff "), ("tcp", "daemon sniffer ")] {
        let lines = poll::until(SOON, "the last line", || {
            let lines = messages(&at(name), expected);
            (lines.len() >= stopped.stdout.len()).then_some(lines)
        })
        .with_context(|| fs::read_to_string(at(name)).unwrap_or_default())?;
        ensure!(lines == stopped.stdout, "{name}: {lines:#?}");
    }
    Ok(())
}

/// The JSON of each message that begins with what is expected and the number of a process.
fn messages(path: &Path, expected: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let json = |line: &str| {
        let rest = line.strip_prefix(expected)?;
        let (pid, json) = rest.split_at(rest.find('{')?);
        pid.trim().parse::<u32>().ok()?;
        Some(json.to_owned())
    };
    text.lines().filter_map(json).collect()
}

/// A file in `folder`, for these events.
fn output(
    folder: &Path,
    name: &str,
    profile: Profile,
    events: &[EventKind],
) -> Result<OutputOptions> {
    let spec: OutputSpec = format!("file:{}/{name}", folder.display()).parse()?;
    Ok(spec.options(Form::Json(profile), events.to_vec()))
}

fn options(outcomes: &[OutcomeClass]) -> PipelineOptions {
    PipelineOptions {
        events: EventKind::DEFAULT.to_vec(),
        filter: PacketFilter::default(),
        handshakes: HandshakeFilter { outcomes: outcomes.to_vec(), ..HandshakeFilter::default() },
        count: None,
        dedup: true,
        metrics: None,
    }
}

fn lines(folder: &Path, name: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())?;
    let is_event = |line: &&str| !line.contains("duration_seconds");
    Ok(text.lines().filter(is_event).map(str::to_owned).collect())
}

/// Feeds a pipeline with the bundled capture; `change` is called before the frame with that number.
fn feed(
    pipeline: &mut Pipeline,
    at: usize,
    change: impl FnOnce(&mut Pipeline) -> Result<()>,
) -> Result<()> {
    let bytes = fs::read(handshakes())?;
    let mut file = CaptureFile::new(bytes.as_slice(), "handshakes.pcap".to_owned());
    let examiner = Examiner::new(u32::MAX, PacketFilter::default().rules());
    let (mut change, mut number) = (Some(change), 0);
    while let Some(frame) = file.next()? {
        if let Some(change) = change.take_if(|_| number == at) {
            change(pipeline)?;
        }
        number += 1;
        let (timestamp, link_type) = (Timestamp(frame.timestamp_ns), frame.link_type);
        if let Ok(event) = examiner.examine(&frame) {
            pipeline.event(&event, Sighting { timestamp, on: SeenOn::default(), link_type });
        }
    }
    ensure!(change.is_none(), "no frame {at}");
    Ok(())
}

/// In the middle of the second handshake, whose lines wait for its end by the filters of before, filters and outputs
/// change: nothing is lost, nothing is told twice, and everybody's counters add up.
pub(crate) fn reload() -> Result<()> {
    const MIDDLE: usize = 23;
    let dir = tempfile::tempdir()?;
    let folder = dir.path();
    let (all, handshakes) = (&EventKind::DEFAULT[..], &[EventKind::Handshake][..]);
    let start = |outputs, outcomes: &[OutcomeClass]| -> Result<Pipeline> {
        let sinks = Sinks { outputs, capture: None }.open(WhenFull::Wait)?;
        Ok(Pipeline::start(options(outcomes), sinks)?)
    };
    let reference = output(folder, "reference", Profile::Native, all)?;
    let mut pipeline = start(vec![reference], &[])?;
    feed(&mut pipeline, 0, |_| Ok(()))?;
    let _stats = pipeline.finish(Vec::new(), Vec::new(), SOON).stats;

    let stays = output(folder, "stays", Profile::Native, all)?;
    let goes = output(folder, "goes", Profile::Zeek, handshakes)?;
    let mut pipeline = start(vec![stays, goes], &[OutcomeClass::Completed])?;
    feed(&mut pipeline, MIDDLE, |pipeline| {
        let no_directory = output(&folder.join("none"), "x", Profile::Native, all)?;
        let refused = vec![output(folder, "new", Profile::Native, all)?, no_directory];
        ensure!(pipeline.reload(options(&[]), refused).is_err(), "a file in no directory");
        let new = output(folder, "new", Profile::Native, all)?;
        // The same file by another path.
        let stays = output(&folder.join("."), "stays", Profile::Native, handshakes)?;
        Ok(pipeline.reload(options(&[]), vec![new, stays])?)
    })?;
    let stats = pipeline.finish(Vec::new(), Vec::new(), Duration::from_secs(60)).stats;
    let told = |name: &str| -> Result<(Vec<String>, OutputCounters)> {
        let name_in_stats = format!("file:{}/{name}", folder.display());
        let of = stats.outputs.iter().find(|output| output.name == name_in_stats);
        let counters = of.with_context(|| format!("no {name} in {stats:#?}"))?.counters;
        let lines = lines(folder, name)?;
        ensure!(counters.events == lines.len() as u64, "{name}: {counters:?} {lines:#?}");
        ensure!(counters.written == counters.events, "{name}: {counters:?}");
        Ok((lines, counters))
    };
    let (stays, goes, new) = (told("stays")?.0, told("goes")?.0, told("new")?.0);
    let reference = lines(folder, "reference")?;
    let is_handshake = |line: &&String| line.contains(r#""event":"handshake""#);
    // What waited went where it was to go when it was seen; after that everything is new.
    let before = reference.len() - new.len();
    ensure!(reference.get(before..) == Some(&new[..]), "{new:#?}");
    let after = new.iter().filter(is_handshake);
    let expected: Vec<&String> = reference.iter().take(before).chain(after).collect();
    ensure!(stays.iter().collect::<Vec<_>>() == expected, "{stays:#?}");
    let waited = reference.iter().take(before).skip_while(|line| !is_handshake(line)).count() - 1;
    ensure!(waited >= 2, "only {waited} lines waited");
    ensure!(goes.len() == 1, "{goes:#?}");
    ensure!(stats.pipeline.observations == reference.len() as u64, "{:?}", stats.pipeline);
    Ok(())
}

/// A reader that goes away before anything comes: what it costs is said at the end, with the number.
pub(crate) fn gone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket)?;
    let to_socket = format!("unix:{}", socket.display());
    let mut command =
        tls_sniff(&["-r", "-", "--output", &to_socket, "--output", "stdout", "--format", "json"])?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn()?;
    // It connects before it reads.
    listener.set_nonblocking(true)?;
    drop(poll::until(SOON, "a connection", || listener.accept().ok())?);
    drop(listener);
    fs::remove_file(&socket)?;
    process.stdin.take().context("stdin")?.write_all(&fs::read(handshakes())?)?;
    let output = process.wait_with_output()?;
    let (told, log) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let events = told.lines().filter(|line| !line.contains(r#""event":"stats""#)).count();
    let said = format!("{to_socket}: {events} events were lost in all");
    ensure!(events > 10 && log.matches(&said).count() == 1, "{events} events: {log}");
    Ok(())
}
