//! Sockets that somebody else listens on: lines, datagrams, syslog.
//!
//! ```text
//!  lines ─► wire: as they are | one datagram each | a header before each ─► send
//!                                                     peer gone ─► connect again after 0.1, 0.2, … 10 s
//! ```
//!
//! Nothing is lost while the peer is away but what finds the queue full. What it had not taken whole is sent again to the
//! next one: a reader may get half a line, then the end of the stream. What the system took counts as delivered; what
//! becomes of that when the peer dies, it does not tell.

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nix::errno::Errno;

use super::{Connect, Connected, Control, Destination, Ended, Lost, lines_in};
use crate::sink::syslog::{Header, counted};

/// Times between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Time until the system may have buffers again.
const BUFFER_PAUSE: Duration = Duration::from_millis(10);

/// Somebody who comes and goes is told of this often.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How lines become what is sent.
#[derive(Debug)]
pub enum Framing {
    /// As they are.
    Lines,
    /// Each one a datagram, without its line end.
    Datagrams,
    /// Each one a message for the system's logger.
    Syslog(Header),
    /// Each one a message of RFC 5424 behind the count of its octets.
    Counted(Header),
}

/// A socket of somebody else.
pub struct Socket {
    /// As the operator knows it.
    name: String,
    connect: Box<dyn Connect>,
    connected: Option<Connected>,
    /// Nobody has tried to connect.
    untried: bool,
    framing: Framing,
    /// Before the next attempt; `None` if the last connection was of use.
    pause: Option<Duration>,
    /// When it was said that nobody is there, and whether it is to be said that somebody is again.
    said_gone: Option<Instant>,
    say_back: bool,
    /// Events that were too long.
    too_long: u64,
    wire: Vec<u8>,
    /// Where each line ends on the wire.
    ends: Vec<usize>,
}

/// How sending ended.
enum Sent {
    /// Nobody is there any more. `lines`: those that were taken.
    Gone { lines: usize, error: io::Error },
    /// Nobody waits any more.
    Abandoned { lines: usize },
    /// All is sent, but for so many lines that are too long.
    All { too_long: u64 },
}

impl Socket {
    /// Begins with the connection `first`, and has others from `connect`. Why there is none is said, and tried again
    /// when there is something to send. Without a `first`, its thread tries as soon as there is one.
    #[must_use]
    pub fn new(
        name: String,
        first: Option<io::Result<Connected>>,
        connect: Box<dyn Connect>,
        framing: Framing,
    ) -> Self {
        let mut socket = Self {
            name,
            connect,
            connected: None,
            untried: first.is_none(),
            framing,
            pause: None,
            said_gone: None,
            say_back: false,
            too_long: 0,
            wire: Vec::new(),
            ends: Vec::new(),
        };
        match first {
            Some(Ok(connected)) => socket.connected = Some(connected),
            Some(Err(error)) => socket.lose(&error),
            None => {}
        }
        socket
    }

    /// Puts lines on the wire, and notes where each ends.
    fn frame(&mut self, lines: &[u8]) {
        let Self { framing, wire, ends, .. } = self;
        wire.clear();
        ends.clear();
        let header = match framing {
            Framing::Lines | Framing::Datagrams => String::new(),
            Framing::Syslog(header) => header.local(Timestamp::now()),
            Framing::Counted(header) => header.rfc_5424(Timestamp::now()),
        };
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let bare = line.strip_suffix(b"\n").unwrap_or(line);
            match framing {
                Framing::Lines => wire.extend_from_slice(line),
                Framing::Datagrams => wire.extend_from_slice(bare),
                Framing::Syslog(_) => {
                    wire.extend_from_slice(header.as_bytes());
                    wire.extend_from_slice(bare);
                }
                Framing::Counted(_) => counted(&header, bare, wire),
            }
            ends.push(wire.len());
        }
    }

    /// Sends what is on the wire, from its line `first` on.
    fn send(&mut self, first: usize, control: &Control) -> Sent {
        let Some(connected) = &self.connected else {
            return Sent::Gone { lines: first, error: ErrorKind::NotConnected.into() };
        };
        let is_datagram = matches!(connected, Connected::UnixDatagram(_));
        let before = first.checked_sub(1).and_then(|line| self.ends.get(line).copied());
        let (mut at, mut lines, mut too_long) = (before.unwrap_or(0), first, 0);
        while let Some(end) = self.ends.get(lines).copied() {
            let end = if is_datagram { end } else { self.wire.len() };
            match connected.send(self.wire.get(at..end).unwrap_or_default()) {
                Ok(taken) => {
                    self.pause = None;
                    at += taken;
                    while self.ends.get(lines).is_some_and(|end| *end <= at) {
                        lines += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_datagram && is(&error, Errno::EMSGSIZE) => {
                    too_long += 1;
                    (at, lines) = (end, lines + 1);
                }
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock || is(&error, Errno::ENOBUFS) =>
                {
                    if control.is_abandoned() {
                        return Sent::Abandoned { lines };
                    }
                    if is(&error, Errno::ENOBUFS) {
                        control.pause(BUFFER_PAUSE);
                    }
                }
                Err(error) => return Sent::Gone { lines, error },
            }
        }
        Sent::All { too_long }
    }

    /// Connects, if nobody is there. `false`: nobody is, and it is time to end.
    fn connect(&mut self, control: &Control) -> bool {
        if self.connected.as_ref().is_some_and(Connected::is_closed) {
            self.lose(&io::Error::new(ErrorKind::ConnectionReset, "the reader has closed it"));
        }
        while self.connected.is_none() {
            control.set_connected(false);
            if let Some(pause) = self.pause {
                control.pause(pause);
            }
            self.attempt();
            if self.connected.is_none() && control.is_ending() {
                return false;
            }
        }
        control.set_connected(true);
        true
    }

    fn attempt(&mut self) {
        match self.connect.connect() {
            Ok(connected) => self.connected = Some(connected),
            Err(error) => self.lose(&error),
        }
        // Also what connects and is closed at once is not to be tried without a pause.
        self.pause = Some(self.pause.map_or(FIRST_PAUSE, |it| (2 * it).min(LONGEST_PAUSE)));
    }

    fn lose(&mut self, error: &io::Error) {
        self.connected = None;
        if self.said_gone.is_none_or(|said| said.elapsed() >= SAY_EVERY) && !self.say_back {
            (self.said_gone, self.say_back) = (Some(Instant::now()), true);
            tracing::warn!("{}: {error}; events wait until somebody reads there", self.name);
        }
    }

    fn count_too_long(&mut self, lines: u64) {
        if lines > 0 && self.too_long == 0 {
            tracing::warn!("{}: events that are too long for a datagram are lost", self.name);
        }
        self.too_long += lines;
    }
}

impl Destination for Socket {
    fn begin(&mut self, control: &Control) {
        if std::mem::take(&mut self.untried) {
            control.set_connected(false);
            self.attempt();
            control.set_connected(self.connected.is_some());
        }
    }

    fn write(&mut self, lines: &[u8], control: &Control) -> Result<Lost, Ended> {
        let all = lines_in(lines);
        let left = |first: usize| all.saturating_sub(first as u64);
        let mut lost = Lost::default();
        self.frame(lines);
        let mut first = 0;
        loop {
            if !self.connect(control) {
                lost.connection += left(first);
                return Ok(lost);
            }
            match self.send(first, control) {
                Sent::All { too_long } => {
                    lost.write += too_long;
                    self.count_too_long(too_long);
                    if std::mem::take(&mut self.say_back) {
                        tracing::info!("{} is connected", self.name);
                    }
                    return Ok(lost);
                }
                Sent::Abandoned { lines } => {
                    lost.queue += left(lines);
                    return Ok(lost);
                }
                Sent::Gone { lines, error } => {
                    self.lose(&error);
                    first = lines;
                }
            }
        }
    }

    fn end(&mut self) -> Option<io::Error> {
        if self.too_long > 0 {
            let Self { name, too_long, .. } = self;
            tracing::warn!("{name}: {too_long} events were too long for a datagram in all");
        }
        // Of what does not fit into a message, no other run would make more.
        None
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _},
        os::unix::net::{UnixDatagram, UnixListener},
        path::Path,
        sync::{Arc, mpsc},
        thread,
    };

    use nix::{
        fcntl::{FcntlArg, OFlag, fcntl},
        sys::socket::Backlog,
    };

    use super::*;
    use crate::sink::destination::{Peer, directly};

    fn socket(peer: &Peer, framing: Framing) -> Socket {
        let connect = directly(peer);
        Socket::new("test".to_owned(), Some(connect.connect()), connect, framing)
    }

    fn stream(path: &Path) -> Socket {
        socket(&Peer::UnixStream(path.to_owned()), Framing::Lines)
    }

    #[test]
    fn a_reader_may_come_late_go_and_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let control = Arc::new(Control::default());
        let mut socket = stream(&path);
        assert!(socket.connected.is_none());
        let late = thread::spawn({
            let (path, control) = (path.clone(), Arc::clone(&control));
            move || {
                while control.disconnected_for().is_none() {
                    thread::yield_now();
                }
                UnixListener::bind(path).unwrap()
            }
        });
        assert_eq!(socket.write(b"one\ntwo\n", &control).unwrap(), Lost::default());
        assert_eq!(control.disconnected_for(), None);
        let listener = late.join().unwrap();
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        // What it has not read is lost with it, which nobody can tell; what comes then is for the next one.
        drop(reader);
        assert_eq!(socket.write(b"three\n", &control).unwrap(), Lost::default());
        drop(socket);
        let mut rest = String::new();
        listener.accept().unwrap().0.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "three\n");
    }

    #[test]
    fn who_listens_and_accepts_nobody_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        nix::sys::socket::listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let (tried, ended) = mpsc::channel();
        // On a thread, so that waiting for ever would fail.
        thread::spawn(move || {
            let peer = Peer::UnixStream(path);
            let queued = peer.connect().unwrap();
            let Connected::UnixStream(stream) = &queued else { panic!("{queued:?}") };
            let flags = fcntl(stream, FcntlArg::F_GETFL).unwrap();
            assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
            let full = peer.connect().unwrap_err();
            // Not tried before the thread begins; then once, and at the end not again and again.
            let connect = directly(&peer);
            let mut socket = Socket::new("test".to_owned(), None, connect, Framing::Lines);
            let control = Control::default();
            socket.begin(&control);
            assert!(control.disconnected_for().is_some());
            control.end();
            let lost = socket.write(b"one\n", &control).unwrap();
            tried.send((full.kind(), lost)).unwrap();
        });
        let (full, lost) = ended.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(full, ErrorKind::WouldBlock);
        assert_eq!(lost, Lost { connection: 1, ..Lost::default() });
    }

    #[test]
    fn at_the_end_nobody_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let control = Control::default();
        control.end();
        let mut socket = stream(&path);
        let lost = socket.write(b"one\ntwo\n", &control).unwrap();
        assert_eq!(lost, Lost { connection: 2, ..Lost::default() });
        // Somebody is there and does not read: what went into the socket counts as written.
        let _listener = UnixListener::bind(&path).unwrap();
        control.abandon();
        let lines = [[b'x'; 1023].as_slice(), b"\n"].concat().repeat(4096);
        let lost = socket.write(&lines, &control).unwrap();
        assert!((1..4096).contains(&lost.queue) && lost.connection == 0, "{lost:?}");
    }

    #[test]
    fn datagrams_are_lines_and_those_too_long_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let reader = UnixDatagram::bind(&path).unwrap();
        let mut socket = socket(&Peer::UnixDatagram(path), Framing::Datagrams);
        let long = "x".repeat(1 << 20);
        let lines = format!("one\n{long}\ntwo\n");
        let lost = socket.write(lines.as_bytes(), &Control::default()).unwrap();
        assert_eq!(lost, Lost { write: 1, ..Lost::default() });
        let mut buffer = [0; 16];
        for expected in ["one", "two"] {
            let length = reader.recv(&mut buffer).unwrap();
            assert_eq!(buffer.get(..length), Some(expected.as_bytes()));
        }
    }
}
