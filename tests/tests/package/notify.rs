//! The program and a service manager's socket, without a service manager.

use std::{
    fs,
    os::unix::net::UnixDatagram,
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
    sniffer::{Sniffer, binary},
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(30);

/// What the manager is promised: a sign of life within this time.
const WATCHDOG: Duration = Duration::from_millis(400);

/// A service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Manager {
    /// Starts tls-sniff on the second end of `pair` as a service.
    fn start(pair: &VethPair) -> Result<(Self, Sniffer)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        let mut command = pair.second.namespace.command(binary()?.to_str().context("a path")?);
        command.args(["-i", "veth-b", "--format", "json", "--events", "client_hello,handshake"]);
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        let sniffer = Sniffer::spawn(command)?;
        Ok((Self { socket, heard: Vec::new(), _folder: folder }, sniffer))
    }

    /// What has come since, one `NAME=VALUE` each.
    fn listen(&mut self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let before = self.heard.len();
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
            self.heard.extend(message.lines().map(str::to_owned));
        }
        self.heard[before..].to_vec()
    }

    fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let found = poll::until(SOON, what, || self.listen().into_iter().find(|line| wanted(line)));
        found.with_context(|| format!("heard {:?}", self.heard))
    }

    /// The signs of life of so much time.
    fn signs_of_life(&mut self, time: Duration) -> usize {
        self.listen();
        std::thread::sleep(time);
        self.listen().iter().filter(|line| *line == "WATCHDOG=1").count()
    }
}

pub(crate) fn manager_is_told() -> Result<()> {
    let pair = VethPair::new()?;
    let (mut manager, mut sniffer) = Manager::start(&pair)?;
    manager.wait_for("READY=1", |line| line == "READY=1")?;
    ensure!(attached::programs(&pair.second.namespace)? > 0, "ready before it is attached");
    // Half a period apart, and the network is quiet.
    let alive = manager.signs_of_life(5 * WATCHDOG);
    ensure!((8..=11).contains(&alive), "{alive} signs of life in five periods");

    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    socket.send(&Frame::ethernet().ipv4().tcp(1234, 443).payload(&client_hello()).build())?;
    let status = manager.wait_for("a status with a rate", |line| {
        line.starts_with("STATUS=watching veth-b: ") && !line.contains(": 0 handshakes/s")
    })?;
    ensure!(status.contains("0 lost"), "{status}");

    sniffer.signal(Signal::SIGTERM)?;
    let stopped = sniffer.finish(SOON)?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    let rest = manager.listen();
    ensure!(rest.last().is_some_and(|line| line == "STOPPING=1"), "{rest:?}");
    let ready = manager.heard.iter().filter(|line| *line == "READY=1").count();
    ensure!(ready == 1, "{:?}", manager.heard);
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
    sniffer.stop()?.check_sums().map(drop)
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
