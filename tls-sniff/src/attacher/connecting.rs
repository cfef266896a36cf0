//! The attacher's side of the connector: it starts it, tells it of outputs, and starts another one when it has ended.
//!
//! ```text
//!  NotYet ── the first output ──► Runs ── its end ──► reaped, said ──► Ended ── pause ──► Runs
//!                                   ▲                                                      │
//!                                   └── Peer, for each output of a reload                  └► a socket, for the daemon
//! ```

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    connector,
    peers::Peers,
    protocol::{self, Channel, Message},
};
use crate::{
    apart,
    sink::destination::{self, Connected, Peer},
};

/// What `ps` and /proc show of the connector; the kernel cuts names after 15 bytes.
const NAME: &std::ffi::CStr = c"tls-connector";

/// Before another one is started in the place of one that did not live for [`LONGEST_PAUSE`], or if none can be had;
/// doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A process closes its sockets a little before it can be waited for.
const REAP_PAUSE: Duration = Duration::from_millis(10);

/// What the connector tells the attacher: only its end is heard.
#[derive(Debug, Serialize, Deserialize)]
enum Nothing {}

impl Message for Nothing {
    const MAX: usize = 0;
    const BRINGS_FD: bool = false;
}

/// The connector, which is there if it ever had anything to connect.
pub(super) struct Connecting {
    state: State,
    /// The outputs that it knows, and that another one will: of the configuration, and of those that it was before, since
    /// outputs that are no longer asked for may have something to write still.
    known: Peers,
    /// Before the last one was started.
    pause: Duration,
}

enum State {
    /// There was no output to connect. The socket is the connector's, should there be one.
    NotYet(OwnedFd),
    /// It runs, or its end was not noticed yet.
    Runs(Process),
    /// It has ended: another one is started then.
    Ended(Instant),
}

struct Process {
    id: Pid,
    started: Instant,
    /// It is told of outputs here, and this ends with it.
    more: Channel<Peer, Nothing>,
}

impl Connecting {
    /// `socket`: the connector's, whose other end the daemon has.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { state: State::NotYet(socket), known: Peers::default(), pause: Duration::ZERO }
    }

    /// Has `peers` connected from now on, when the daemon asks for it. If the connector has ended, that is by the next one,
    /// which the daemon cannot ask before it knows them.
    ///
    /// # Errors
    ///
    /// If there is no process to be had, or it does not listen.
    pub(super) fn serve(&mut self, peers: &Peers) -> io::Result<()> {
        match &self.state {
            State::NotYet(_) if peers.is_empty() => {}
            State::NotYet(socket) => {
                let process = start(socket, peers)?;
                // The daemon is to see the end of the connector: nobody else has its socket now.
                self.state = State::Runs(process);
                self.known = peers.clone();
            }
            State::Runs(Process { more, .. }) => {
                for peer in peers.iter() {
                    if !self.known.contains(peer) {
                        match more.send_now(peer) {
                            Err(error) if !connector::has_ended(&error) => return Err(error),
                            _ => self.known.add(peer.clone()),
                        }
                    }
                }
            }
            State::Ended(_) => peers.iter().for_each(|peer| self.known.add(peer.clone())),
        }
        Ok(())
    }

    /// Waits until there is another connector in the place of one that has ended; the socket is for the daemon. Nothing is
    /// lost if this is dropped while it waits.
    pub(super) async fn again(&mut self) -> OwnedFd {
        loop {
            match &self.state {
                State::NotYet(_) => std::future::pending().await,
                State::Runs(process) => {
                    let ended = process.ended().await;
                    let lived = process.started.elapsed();
                    self.note_end(process.id, ended, lived);
                }
                State::Ended(again) => {
                    sleep_until(*again).await;
                    match self.start_again() {
                        Ok(socket) => return socket,
                        Err(error) => self.note_failure(&error),
                    }
                }
            }
        }
    }

    fn start_again(&mut self) -> io::Result<OwnedFd> {
        let (socket, its_socket) = protocol::pair()?;
        let process = start(&its_socket, &self.known)?;
        tracing::info!("outputs are connected by another process, {}", process.id);
        self.state = State::Runs(process);
        Ok(socket)
    }

    fn note_end(&mut self, id: Pid, ended: Option<WaitStatus>, lived: Duration) {
        self.pause = pause(self.pause, lived);
        let how = match ended {
            // The daemon has closed its end. It is about to end, which the attacher hears during the pause; or else it
            // could not take the socket.
            Some(WaitStatus::Exited(_, 0)) => {
                self.pause = self.pause.max(FIRST_PAUSE);
                None
            }
            Some(WaitStatus::Exited(_, code)) => Some(format!("has ended with the code {code}")),
            Some(WaitStatus::Signaled(_, signal, _)) => Some(format!("was ended by {signal}")),
            _ => Some("has ended".to_owned()),
        };
        if let Some(how) = how {
            let then = match self.pause.as_secs() {
                0 => "now".to_owned(),
                seconds => format!("in {seconds} s"),
            };
            tracing::warn!(
                "the process that connects outputs, {id}, {how}; another one is started {then}"
            );
        }
        self.state = State::Ended(Instant::now() + self.pause);
    }

    fn note_failure(&mut self, error: &io::Error) {
        self.pause = pause(self.pause, Duration::ZERO);
        tracing::warn!(
            "cannot start the process that connects outputs: {error}; trying again in {} s",
            self.pause.as_secs()
        );
        self.state = State::Ended(Instant::now() + self.pause);
    }
}

/// Before the next one is started, behind one that was started after a pause of `last` and has `lived` for so long.
fn pause(last: Duration, lived: Duration) -> Duration {
    if lived >= LONGEST_PAUSE {
        Duration::ZERO
    } else {
        (2 * last).clamp(FIRST_PAUSE, LONGEST_PAUSE)
    }
}

impl Process {
    /// Waits for its end, and returns how it ended, if that can be told; then nothing is left of it. Nothing is lost if
    /// this is dropped while it waits.
    async fn ended(&self) -> Option<WaitStatus> {
        // Also one that says something is none any more: it has nothing to say.
        drop(self.more.receive().await);
        // It has ended, is about to, or is to. It is a child that nobody has waited for, so nobody else has its number.
        let _ended = kill(self.id, Signal::SIGKILL);
        loop {
            match waitpid(self.id, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => sleep(REAP_PAUSE).await,
                Ok(status) => return Some(status),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Starts the connector. At the end of a run nobody waits for it: it ends behind the attacher.
fn start(socket: &OwnedFd, peers: &Peers) -> io::Result<Process> {
    let (more, its_more) = protocol::pair()?;
    let more = Channel::new(more)?;
    protocol::set_nonblocking(&its_more)?;
    let id = apart::start(NAME, &[socket.as_fd(), its_more.as_fd()], |confined| {
        confined?;
        // What the two own is closed by the end of the process.
        let socket = socket.try_clone()?;
        let served = Mutex::new(Served { peers: peers.clone(), more: its_more.try_clone()? });
        connector::serve(socket, Box::new(move |wanted| connect(&served, wanted)))
    })?;
    Ok(Process { id, started: Instant::now(), more })
}

/// What the connector knows.
struct Served {
    peers: Peers,
    /// Where the attacher tells of others, always before the daemon hears of them.
    more: OwnedFd,
}

fn connect(served: &Mutex<Served>, wanted: u64) -> io::Result<OwnedFd> {
    let peer = {
        let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((peer, _)) = next(&served.more) {
            served.peers.add(peer);
        }
        served.peers.with_digest(wanted).cloned()
    };
    let unknown = || io::Error::other("the configuration has no such output");
    destination::Connect::connect(&peer.ok_or_else(unknown)?).map(Connected::into_fd)
}

/// The next one, if it is there already.
fn next(more: &OwnedFd) -> Option<(Peer, Option<OwnedFd>)> {
    loop {
        match protocol::receive(more) {
            Ok(next) => return next,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // One that is too long for a message is no peer either: those behind it are.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, path::Path};

    use tokio::time::timeout;

    use super::*;
    use crate::attacher::{Connector, peers::digest};

    fn output(folder: &Path, name: &str) -> (Peers, u64, UnixListener) {
        let path = folder.join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let peer = Peer::UnixStream(path);
        let digest = digest(&peer);
        let mut peers = Peers::default();
        peers.add(peer);
        (peers, digest, listener)
    }

    fn process(connecting: &Connecting) -> &Process {
        match &connecting.state {
            State::Runs(process) => process,
            State::NotYet(_) | State::Ended(_) => panic!("no connector"),
        }
    }

    #[tokio::test]
    async fn one_that_is_killed_has_a_successor_that_knows_all_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = ["1", "2", "3"].map(|name| output(folder.path(), name));
        let [(first, digest, _), (second, ..), (third, ..)] = &outputs;
        let (socket, its_socket) = protocol::pair().unwrap();
        let connector = Connector::new(socket);
        let mut connecting = Connecting::new(its_socket);
        connecting.serve(&Peers::default()).unwrap();
        assert!(matches!(connecting.state, State::NotYet(_)));
        connecting.serve(first).unwrap();
        connector.connect(*digest).unwrap();

        let (killed, asked) = (process(&connecting).id, Instant::now());
        kill(killed, Signal::SIGKILL).unwrap();
        // Before anybody has noticed.
        connecting.serve(second).unwrap();
        // As the attacher waits: it hears the daemon in between.
        timeout(FIRST_PAUSE / 4, connecting.again()).await.unwrap_err();
        assert_eq!(waitpid(killed, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
        connecting.serve(third).unwrap();
        connector.connect(*digest).unwrap_err();
        let socket = loop {
            if let Ok(socket) = timeout(FIRST_PAUSE / 4, connecting.again()).await {
                break socket;
            }
        };
        assert!(asked.elapsed() >= FIRST_PAUSE, "{:?}", asked.elapsed());
        connector.replace(socket);
        for (_, digest, _) in &outputs {
            connector.connect(*digest).unwrap();
        }
        // At the end of a run.
        drop(connector);
        let ended = process(&connecting).ended().await;
        assert!(matches!(ended, Some(WaitStatus::Exited(_, 0))), "{ended:?}");
    }

    #[tokio::test]
    async fn one_that_speaks_or_stays_is_ended() {
        let (more, its_more) = protocol::pair().unwrap();
        let id = apart::start(c"apart-test", &[its_more.as_fd()], |_| {
            protocol::send(&its_more, &Peer::UnixStream("/".into()), None)?;
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        });
        let more = Channel::new(more).unwrap();
        let process = Process { id: id.unwrap(), started: Instant::now(), more };
        let ended = process.ended().await;
        assert!(matches!(ended, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))), "{ended:?}");
    }

    #[test]
    fn those_that_end_at_once_are_started_more_and_more_slowly() {
        let seconds = |last, lived| pause(Duration::from_secs(last), Duration::from_secs(lived));
        assert_eq!(
            [0, 1, 2, 4, 8, 10].map(|last| seconds(last, 9).as_secs()),
            [1, 2, 4, 8, 10, 10]
        );
        assert_eq!(seconds(10, 10), Duration::ZERO);
    }
}
