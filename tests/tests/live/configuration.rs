//! SIGHUP: what a changed file asks for is done, or refused with its place and all stays as it was.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::{
    signal::Signal,
    socket::{self, Backlog},
};
use serde_json::Value;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    packet_socket::PacketSocket,
    poll,
    sniffer::Sniffer,
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(20);
const READ: &str = "the configuration was read again";
const STAYS: &str = "the configuration stays as it was";

/// A run with a file, and where its events go.
struct Run {
    sniffer: Sniffer,
    socket: PacketSocket,
    config: PathBuf,
    /// The ports that the hellos came from, and those that are to be told.
    sent: u16,
}

impl Run {
    fn count(&self, words: &str) -> usize {
        self.sniffer.stderr().iter().filter(|line| line.contains(words)).count()
    }

    /// Another text, and what the log says of it from there on.
    fn reload(&mut self, text: &str, answer: &str) -> Result<Vec<String>> {
        let (lines, before) = (self.sniffer.stderr().len(), self.count(answer));
        // As an editor does it: a signal of before may have it read meanwhile.
        let beside = self.config.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.config)?;
        self.sniffer.signal(Signal::SIGHUP)?;
        poll::until(SOON, answer, || (self.count(answer) > before).then_some(()))
            .with_context(|| self.sniffer.stderr().join("\n"))?;
        Ok(self.sniffer.stderr().split_off(lines))
    }

    /// Sends a hello to a port, and waits until it is in these files as their last.
    fn told_in(&mut self, port: u16, files: &[&Path]) -> Result<()> {
        let from = self.send(port)?;
        for file in files {
            poll::until(SOON, "an event in a file", || {
                (sources(file).last() == Some(&from)).then_some(())
            })
            .with_context(|| format!("{from} in {file:?}: {}", self.sniffer.stderr().join("\n")))?;
        }
        Ok(())
    }

    fn send(&mut self, port: u16) -> Result<u16> {
        self.sent += 1;
        let frame = Frame::ethernet().ipv4().tcp(self.sent, port).payload(&client_hello()).build();
        self.socket.send(&frame)?;
        Ok(self.sent)
    }
}

/// The source ports of the hellos in a file.
fn sources(file: &Path) -> Vec<u16> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let hellos = events.filter(|event| event["event"] == "client_hello");
    hellos.filter_map(|event| u16::try_from(event["source_port"].as_u64()?).ok()).collect()
}

/// `[[output]]` of the hellos.
fn output(to: &str) -> String {
    format!("[[output]]\nto = \"{to}\"\nevents = [\"client_hello\"]\n")
}

pub(crate) fn followed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let [one, two] = ["one.json", "two.json"].map(path);
    let file = |path: &Path| output(&format!("file:{}", path.display()));
    let pair = VethPair::new()?;
    let first = format!("port = 443\n{}", file(&one));
    fs::write(path("config.toml"), &first)?;
    let arguments = ["--config", path("config.toml").to_str().context("UTF-8")?, "-i", "veth-b"]
        .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let mut run = Run { sniffer, socket, config: path("config.toml"), sent: 1000 };
    run.sniffer.ready()?;
    run.told_in(443, &[&one])?;

    // Filters, a file for the kernel alone to know, a file and a socket that are new.
    let listener = UnixListener::bind(path("socket"))?;
    let heard = thread::spawn(move || -> Result<String> {
        let mut line = String::new();
        BufReader::new(listener.accept()?.0).read_line(&mut line)?;
        Ok(line)
    });
    fs::write(path("networks"), "0.0.0.0/0\n")?;
    let wide = format!(
        "port = [443, 8443]\nnet-file = \"{}\"\nverbose = true\n{}{}{}",
        path("networks").display(),
        file(&one),
        file(&two),
        output(&format!("unix:{}", path("socket").display()))
    );
    let log = run.reload(&wide, READ)?;
    let changed = "changed: verbose, port, net-file, output";
    ensure!(log.iter().any(|line| line.ends_with(changed)), "{log:#?}");
    run.told_in(8443, &[&one, &two])?;
    let heard = heard.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(heard.contains(&format!("\"source_port\":{}", run.sent)), "{heard}");

    // What is refused names its place and changes nothing: no key, a value, a restart, an output.
    let restart = format!("ring-bytes = 65536\n{wide}");
    let [new, empty, lost] = ["new.json", "empty.json", "nowhere/x.json"].map(path);
    fs::write(&empty, "")?;
    let nowhere = format!("port = 9\n{}", [&one, &new, &empty, &lost].map(|it| file(it)).concat());
    for (text, expected) in [
        (
            "prot = 443\ncount = 0",
            &["config.toml:1:1: unknown key \"prot\"", "config.toml:2:9: count: 0"][..],
        ),
        (&restart, &["config.toml:1:1: ring-bytes changes only with a restart"]),
        (&nowhere, &["nowhere/x.json"]),
    ] {
        let log = run.reload(text, STAYS)?;
        for words in expected {
            ensure!(log.iter().any(|line| line.contains(words)), "{words}: {log:#?}");
        }
        run.told_in(8443, &[&one, &two])?;
    }
    ensure!(!new.exists(), "a reload that was refused has left a file");
    ensure!(empty.exists(), "a file is gone that was there before");

    // logrotate's rename, and signals faster than a reload.
    fs::rename(&one, path("one.json.1"))?;
    let (before, narrow) = (run.count(READ), first);
    fs::write(&run.config, &narrow)?;
    for _ in 0..10 {
        run.sniffer.signal(Signal::SIGHUP)?;
    }
    poll::until(SOON, READ, || (run.count(READ) > before).then_some(()))?;
    // Also behind those that came while it was going on.
    run.reload(&narrow, "changed: nothing")?;
    let unwanted = run.send(8443)?;
    run.told_in(443, &[&one])?;
    let all = [sources(&path("one.json.1")), sources(&one)].concat();
    let wanted: Vec<u16> = (1001..=run.sent).filter(|port| *port != unwanted).collect();
    ensure!(all == wanted, "each once: {all:?} {wanted:?}");
    ensure!(sources(&two) == wanted[1..wanted.len() - 1], "{:?}", sources(&two));
    accepts_nobody(&mut run, &narrow, dir.path(), pair.first.ipv4)?;
    let stopped = run.sniffer.stop()?;
    ensure!(stopped.status.success() && stopped.stdout.is_empty(), "{stopped:#?}");
    Ok(())
}

/// A reload brings a socket whose backlog is full, and a host that says nothing: the run goes on, and another output is
/// connected again. `text`: of the configuration without them.
fn accepts_nobody(run: &mut Run, text: &str, dir: &Path, address: Ipv4Addr) -> Result<()> {
    let (full, other) = (dir.join("full"), dir.join("other"));
    let listener = UnixListener::bind(&full)?;
    socket::listen(&listener, Backlog::new(0)?)?;
    let _queued = UnixStream::connect(&full)?;
    let others = UnixListener::bind(&other)?;
    others.set_nonblocking(true)?;
    let accept = || poll::until(SOON, "a connection", || others.accept().ok());
    let [full, other] = [full, other].map(|path| format!("unix:{}", path.display()));
    let [a, b, c, _] = address.octets();
    let outputs = [&full, &format!("syslog+tcp:{a}.{b}.{c}.99:601"), &other].map(|to| output(to));
    run.reload(&format!("{text}{}", outputs.concat()), READ)?;
    drop(accept()?);
    let said = format!("{full}: who listens there accepts nobody");
    poll::until(SOON, &said, || (run.count(&said) > 0).then_some(()))?;
    let from = run.send(443)?;
    let again = accept()?.0;
    again.set_nonblocking(false)?;
    again.set_read_timeout(Some(SOON))?;
    let mut line = String::new();
    BufReader::new(again).read_line(&mut line)?;
    ensure!(line.contains(&format!("\"source_port\":{from}")), "{line}");
    Ok(())
}
