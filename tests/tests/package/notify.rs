//! The program and a service manager's socket, without a service manager.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tls_sniff_tests::{
    attached,
    frame::{Frame, client_hello},
    packet_socket::PacketSocket,
    poll,
    process::Paused,
    sniffer::{Sniffer, binary},
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(30);

/// What the manager is promised: a sign of life within this time.
const WATCHDOG: Duration = Duration::from_millis(400);

/// A service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    /// All that came, one `NAME=VALUE` each.
    heard: Vec<String>,
    /// How many of them were waited for.
    seen: usize,
    folder: tempfile::TempDir,
}

impl Manager {
    /// Starts tls-sniff on the second end of `pair` as a service.
    fn start(pair: &VethPair) -> Result<(Self, Sniffer)> {
        let folder = tempfile::tempdir()?;
        let (path, config) = (folder.path().join("notify"), folder.path().join("config.toml"));
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        let file = folder.path().join("events.json");
        let outputs = ["stdout".to_owned(), format!("file:{}", file.display())];
        let outputs = outputs.map(|to| format!("[[output]]\nto = \"{to}\"\n")).concat();
        fs::write(&config, format!("events = [\"client_hello\", \"handshake\"]\n{outputs}"))?;
        let mut command = pair.second.namespace.command(binary()?.to_str().context("a path")?);
        command.arg("--config").arg(config).args(["-i", "veth-b"]).env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        let sniffer = Sniffer::spawn(command)?;
        Ok((Self { socket, heard: Vec::new(), seen: 0, folder }, sniffer))
    }

    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
            self.heard.extend(message.lines().map(str::to_owned));
        }
    }

    /// Waits for a line behind the last that was waited for.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let found = poll::until(SOON, what, || {
            self.listen();
            let line = self.heard[self.seen..].iter().position(|line| wanted(line))?;
            self.seen += line + 1;
            Some(self.heard[self.seen - 1].clone())
        });
        found.with_context(|| format!("heard {:?}", self.heard))
    }

    /// The signs of life of so much time.
    fn signs_of_life(&mut self, time: Duration) -> usize {
        self.listen();
        let before = self.heard.len();
        thread::sleep(time);
        self.listen();
        self.heard[before..].iter().filter(|line| *line == "WATCHDOG=1").count()
    }
}

pub(crate) fn manager_is_told() -> Result<()> {
    let pair = VethPair::new()?;
    let (mut manager, mut sniffer) = Manager::start(&pair)?;
    manager.wait_for("READY=1", |line| line == "READY=1")?;
    ensure!(attached::programs(&pair.second.namespace)? > 0, "ready before it is attached");
    // Half a period apart, or more on a busy machine, but never a whole one; and the network is quiet.
    let start = Instant::now();
    let alive = manager.signs_of_life(5 * WATCHDOG) as f64;
    let periods = start.elapsed().div_duration_f64(WATCHDOG);
    ensure!(
        alive >= 5.0 && alive <= 2.0 * periods + 1.0,
        "{alive} signs of life, {periods} periods"
    );

    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    socket.send(&Frame::ethernet().ipv4().tcp(1234, 443).payload(&client_hello()).build())?;
    let status = manager.wait_for("a status with a rate", |line| {
        line.starts_with("STATUS=watching veth-b: ") && !line.contains(": 0 handshakes/s")
    })?;
    ensure!(status.contains("0 lost"), "{status}");

    sniffer.signal(Signal::SIGHUP)?;
    manager.wait_for("RELOADING=1", |line| line == "RELOADING=1")?;
    let usec = manager.wait_for("the time", |line| line.starts_with("MONOTONIC_USEC="))?;
    ensure!(usec.split_once('=').is_some_and(|(_, usec)| usec.parse::<u64>().is_ok()), "{usec}");
    manager.wait_for("the end of it", |line| line == "READY=1")?;

    let refused = |line: &str| line.ends_with("; the new configuration was refused, see the log");
    ensure!(!manager.heard.iter().any(|line| refused(line)), "{:?}", manager.heard);
    fs::write(manager.folder.path().join("config.toml"), "no-such-key = 1\n")?;
    sniffer.signal(Signal::SIGHUP)?;
    manager.wait_for("a status that says so", refused)?;
    attacher_sleeps(&mut manager, &mut sniffer, &pair)?;

    // The end comes when a reload is over and the daemon has not heard of that.
    let attacher = Paused::new(sniffer.attacher()?)?;
    sniffer.signal(Signal::SIGHUP)?;
    manager.wait_for("a reload", |line| line == "RELOADING=1")?;
    let daemon = Paused::new(sniffer.id())?;
    drop(attacher);
    // For the attacher to answer; if it takes longer, the end comes first.
    thread::sleep(WATCHDOG);
    sniffer.signal(Signal::SIGTERM)?;
    drop(daemon);
    let stopped = sniffer.finish(SOON)?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    manager.wait_for("STOPPING=1", |line| line == "STOPPING=1")?;
    ensure!(manager.seen == manager.heard.len(), "behind the end: {:?}", manager.heard);
    Ok(())
}

/// A reload waits for the attacher: that is said once, all else goes on, and of two signals the newest file counts. At the
/// end the manager hears that it is over.
fn attacher_sleeps(manager: &mut Manager, sniffer: &mut Sniffer, pair: &VethPair) -> Result<()> {
    const WAITS: &str = "; a new configuration waits, see the log";
    let config = manager.folder.path().join("config.toml");
    let attacher = sniffer.attacher()?;
    let count =
        |sniffer: &Sniffer, words| sniffer.stderr().iter().filter(|it| it.contains(words)).count();
    let read = count(sniffer, "the configuration was read again");

    let paused = Paused::new(attacher)?;
    let heard = manager.heard.len();
    fs::write(&config, "port = 443\n")?;
    sniffer.signal(Signal::SIGHUP)?;
    manager.wait_for("the first", |line| line == "RELOADING=1")?;
    fs::write(&config, "neither-such = 1\n")?;
    sniffer.signal(Signal::SIGHUP)?;
    manager.wait_for("the second", |line| line == "RELOADING=1")?;
    manager.wait_for("a status that says so", |line| line.ends_with(WAITS))?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    socket.send(&Frame::ethernet().ipv4().tcp(1235, 443).payload(&client_hello()).build())?;
    sniffer.wait_for(SOON, |event| event["source_port"] == 1235)?;
    manager.listen();
    ensure!(!manager.heard[heard..].iter().any(|line| line == "READY=1"), "{:?}", manager.heard);

    drop(paused);
    manager.wait_for("the end of it", |line| line == "READY=1")?;
    manager.wait_for("a status behind it", |line| line.starts_with("STATUS="))?;
    let status = &manager.heard[manager.seen - 1];
    ensure!(status.ends_with("; the new configuration was refused, see the log"), "{status}");
    // Its log comes another way.
    let refused = "unknown key \"neither-such\"";
    poll::until(SOON, refused, || (count(sniffer, refused) > 0).then_some(()))?;
    let log = sniffer.stderr();
    ensure!(count(sniffer, refused) == 1, "{log:#?}");
    ensure!(count(sniffer, "the configuration was read again") == read, "{log:#?}");
    let waits = format!("the reload still waits: process {attacher}, which is to do it, does not");
    ensure!(log.iter().filter(|line| line.contains(&waits)).count() == 1, "{log:#?}");
    Ok(())
}

/// The thread that reads the ring stands still; all others of the process do not.
pub(crate) fn hanging() -> Result<()> {
    let pair = VethPair::new()?;
    let (mut manager, sniffer) = Manager::start(&pair)?;
    manager.wait_for("a sign of life", |line| line == "WATCHDOG=1")?;
    let id = sniffer.id();
    let main = Pid::from_raw(i32::try_from(id)?);
    ptrace::seize(main, ptrace::Options::empty())?;
    ptrace::interrupt(main)?;
    let stopped = waitpid(main, Some(WaitPidFlag::__WALL))?;
    ensure!(
        matches!(stopped, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)),
        "{stopped:?}"
    );
    let threads = running_threads(id)?;
    let start = Instant::now();
    let alive = manager.signs_of_life(3 * WATCHDOG);
    ptrace::detach(main, None)?;
    ensure!(threads > 0, "the process has no thread but the one that reads");
    ensure!(alive == 0, "{alive} signs of life in {:?}, and it hangs", start.elapsed());
    manager.wait_for("life again", |line| line == "WATCHDOG=1")?;
    ensure!(sniffer.stop()?.status.success());
    Ok(())
}

/// Threads of a process that are not stopped.
fn running_threads(id: u32) -> Result<usize> {
    let mut running = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or_default();
        running += usize::from(state.contains("(sleeping)") || state.contains("(running)"));
    }
    Ok(running)
}
