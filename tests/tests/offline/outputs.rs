//! Several outputs of one run: files that rotate, a disk that is full, syslog to rsyslog.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
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

/// What fits is in the file in whole lines; the rest is counted on it and said once; stdout has all.
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
    ensure!(stopped.status.success(), "{:?}", stopped.stderr);
    let name = format!("file:{}/x", disk.display());
    let file = counters(stopped.stats()?, &name)?;
    let (written, lost) = (count(file, "written")?, count(file, "lost_write")?);
    ensure!(written + lost == count(file, "events")? && written > 10 && lost > 100, "{file}");
    let kept = fs::read_to_string(kept)?;
    ensure!(kept.ends_with('\n') && kept.lines().count() as u64 == written, "{file}");
    ensure!(kept.lines().all(|line| stopped.stdout.iter().any(|it| it == line)));
    let log = stopped.stderr.join("\n");
    ensure!(log.matches("No space left on device").count() == 1, "{log}");
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
