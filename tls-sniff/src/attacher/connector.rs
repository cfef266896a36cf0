//! Connections to outputs, which the sandboxed daemon cannot make itself: by a process that has no capability, since it
//! parses what the DNS answers, and over a pair of sockets of their own, so that a thread of an output can wait for one
//! and nobody else does.
//!
//! ```text
//!                                     connector, a child of the attacher
//!  threads of outputs ─► Wanted ──► main thread ─► a thread for each attempt
//!         ▲                                           │
//!         └── by the request's number ◄── Answer, fd ◄┘
//! ```
//!
//! It ends when the daemon's end is closed, which outlives the attacher: the last events are written then. If it ends
//! before, the attacher starts another one, and the daemon asks that; what the old one was asked for has failed.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde::{Deserialize, Serialize};

use super::protocol::{self, Message};

/// Connects the output with this digest. May take seconds: it has a thread of its own.
pub type Connect = Box<dyn Fn(u64) -> io::Result<OwnedFd> + Send + Sync>;

/// Attempts at one time. More are refused, and made again later as any that fail.
const MOST_ATTEMPTS: usize = 16;

/// An output that is to be connected.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Wanted {
    /// The number of the request.
    request: u32,
    /// Digest of the output.
    output: u64,
}

/// That it is connected, or the errno if there is one, and the words.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Answer {
    request: u32,
    outcome: Result<(), (Option<i32>, String)>,
}

impl Message for Wanted {
    const MAX: usize = 64;
    const BRINGS_FD: bool = false;
}

impl Message for Answer {
    const MAX: usize = 4096;
    const BRINGS_FD: bool = true;
}

/// The daemon's way to have outputs connected, by whichever connector there is.
pub struct Connector {
    end: Mutex<Arc<End>>,
}

impl Connector {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { end: Mutex::new(Arc::new(End::new(socket))) }
    }

    /// Has the output with this digest connected, and waits for it. Others may ask meanwhile.
    ///
    /// # Errors
    ///
    /// If it cannot be connected, or the connector has ended: there is another one soon.
    pub fn connect(&self, output: u64) -> io::Result<OwnedFd> {
        let end = Arc::clone(&self.end());
        end.connect(output)
    }

    /// Asks another connector from now on. Whoever waits for the old one sees its end.
    pub(super) fn replace(&self, socket: OwnedFd) {
        *self.end() = Arc::new(End::new(socket));
    }

    fn end(&self) -> MutexGuard<'_, Arc<End>> {
        // Nothing in it can be half done.
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error of the connector's socket says that it has ended; one that has left a message unread resets it.
pub(super) fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// For an output that is one more attempt in vain. The attacher says how it has ended.
fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the process that connects outputs has ended")
}

/// The daemon's end of the socket to one connector.
struct End {
    socket: OwnedFd,
    answers: Mutex<Answers>,
    arrived: Condvar,
}

/// What has arrived, by the request. One of those who wait reads for all of them.
#[derive(Default)]
struct Answers {
    requests: u32,
    arrived: BTreeMap<u32, io::Result<OwnedFd>>,
    somebody_reads: bool,
}

impl End {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, answers: Mutex::default(), arrived: Condvar::new() }
    }

    fn connect(&self, output: u64) -> io::Result<OwnedFd> {
        let request = self.next_request();
        protocol::send(&self.socket, &Wanted { request, output }, None)
            .map_err(|error| if has_ended(&error) { ended() } else { error })?;
        let mut answers = self.answers();
        loop {
            if let Some(answer) = answers.arrived.remove(&request) {
                return answer;
            }
            if answers.somebody_reads {
                answers = self.arrived.wait(answers).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            answers.somebody_reads = true;
            drop(answers);
            let received = self.receive();
            answers = self.answers();
            answers.somebody_reads = false;
            // Also if nothing comes any more: each is to see that for itself.
            self.arrived.notify_all();
            let (request, answer) = received?;
            answers.arrived.insert(request, answer);
        }
    }

    fn next_request(&self) -> u32 {
        let mut answers = self.answers();
        answers.requests = answers.requests.wrapping_add(1);
        answers.requests
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // Nothing in it can be half done.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next answer, whose ever it is.
    fn receive(&self) -> io::Result<(u32, io::Result<OwnedFd>)> {
        let (Answer { request, outcome }, fd) =
            protocol::receive(&self.socket)?.ok_or_else(ended)?;
        let connected = match outcome {
            Ok(()) => fd.ok_or_else(|| io::ErrorKind::InvalidData.into()),
            Err((Some(number), _)) => Err(io::Error::from_raw_os_error(number)),
            Err((None, words)) => Err(io::Error::other(words)),
        };
        Ok((request, connected))
    }
}

/// The other end.
struct Service {
    socket: OwnedFd,
    connect: Connect,
}

impl Service {
    fn attempt(&self, wanted: Wanted) {
        if let Err(error) = self.answer(wanted, (self.connect)(wanted.output)) {
            // Without a file descriptor it may pass; if not, the daemon has ended.
            drop(self.answer(wanted, Err(error)));
        }
    }

    fn answer(&self, wanted: Wanted, connected: io::Result<OwnedFd>) -> io::Result<()> {
        let (outcome, fd) = match connected {
            Ok(fd) => (Ok(()), Some(fd)),
            Err(error) => (Err((error.raw_os_error(), error.to_string())), None),
        };
        let answer = Answer { request: wanted.request, outcome };
        protocol::send(&self.socket, &answer, fd.as_ref())
    }
}

/// Serves until the daemon's end is closed, and starts a thread for each attempt.
///
/// # Errors
///
/// If the daemon does not talk as it should.
pub(super) fn serve(socket: OwnedFd, connect: Connect) -> io::Result<()> {
    let service = Arc::new(Service { socket, connect });
    while let Some((wanted, _)) = protocol::receive(&service.socket)? {
        if let Err(error) = start(&service, wanted) {
            service.answer(wanted, Err(error))?;
        }
    }
    Ok(())
}

/// Starts an attempt, on a thread that has a reference to `service`: so many are there beside this one.
fn start(service: &Arc<Service>, wanted: Wanted) -> io::Result<()> {
    if Arc::strong_count(service) > MOST_ATTEMPTS {
        return Err(io::Error::other("too many outputs are being connected"));
    }
    let service = Arc::clone(service);
    let thread = thread::Builder::new().name("connect".to_owned());
    thread.spawn(move || service.attempt(wanted)).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::Barrier};

    use super::*;

    const SLOW: u64 = u64::MAX;

    /// The daemon's end. [`SLOW`] is connected at the barrier.
    fn service(barrier: &Arc<Barrier>) -> OwnedFd {
        let (one, other) = protocol::pair().unwrap();
        let barrier = Arc::clone(barrier);
        let connect = move |output| match output {
            0 => Ok(File::open("/dev/null")?.into()),
            1 => Err(io::Error::from_raw_os_error(nix::libc::ECONNREFUSED)),
            SLOW => {
                barrier.wait();
                Ok(File::open("/dev/zero")?.into())
            }
            _ => Err(io::Error::other("there is no such output")),
        };
        thread::spawn(move || serve(other, Box::new(connect)).unwrap());
        one
    }

    #[test]
    fn an_output_is_connected_by_its_digest() {
        let connector = Connector::new(service(&Arc::new(Barrier::new(1))));
        connector.connect(0).unwrap();
        let refused = connector.connect(1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connector.connect(2).unwrap_err().to_string().contains("no such output"));
        connector.connect(0).unwrap();
    }

    #[test]
    fn slow_ones_delay_nobody() {
        let barrier = Arc::new(Barrier::new(4));
        let connector = Connector::new(service(&barrier));
        let path = |fd: OwnedFd| {
            let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
            std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap().display().to_string()
        };
        thread::scope(|scope| {
            let slow = [(); 3].map(|()| scope.spawn(|| path(connector.connect(SLOW).unwrap())));
            let end = Arc::clone(&connector.end());
            while end.answers().requests < 3 || !end.answers().somebody_reads {
                thread::yield_now();
            }
            // By another thread than that which reads the answers.
            assert_eq!(path(connector.connect(0).unwrap()), "/dev/null");
            barrier.wait();
            for slow in slow {
                assert_eq!(slow.join().unwrap(), "/dev/zero");
            }
        });
    }

    #[test]
    fn whoever_waits_sees_the_end_and_the_next_one_is_asked() {
        let (one, other) = protocol::pair().unwrap();
        let connector = Connector::new(one);
        let end = Arc::clone(&connector.end());
        thread::scope(|scope| {
            let waiting = [(); 3].map(|()| scope.spawn(|| connector.connect(0)));
            while end.answers().requests < 3 || !end.answers().somebody_reads {
                thread::yield_now();
            }
            // The old one ends behind that.
            connector.replace(service(&Arc::new(Barrier::new(1))));
            connector.connect(0).unwrap();
            // One of the requests is read and not answered.
            protocol::receive::<Wanted>(&other).unwrap();
            drop(other);
            for waiting in waiting {
                let error = waiting.join().unwrap().unwrap_err();
                assert!(error.to_string().contains("has ended"), "{error}");
            }
        });
        // Asked behind its end.
        let error = end.connect(0).unwrap_err();
        assert!(error.to_string().contains("has ended"), "{error}");
        connector.connect(0).unwrap();
    }

    #[test]
    fn so_many_attempts_and_no_more() {
        let barrier = Arc::new(Barrier::new(MOST_ATTEMPTS + 1));
        let socket = service(&barrier);
        for request in 0..=u32::try_from(MOST_ATTEMPTS).unwrap() {
            protocol::send(&socket, &Wanted { request, output: SLOW }, None).unwrap();
        }
        let next = || protocol::receive::<Answer>(&socket).unwrap().unwrap().0;
        let refused = next();
        assert!(refused.request == 16 && refused.outcome.is_err(), "{refused:?}");
        barrier.wait();
        assert!((0..MOST_ATTEMPTS).all(|_| next().outcome.is_ok()));
    }
}
