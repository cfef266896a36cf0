//! The daemon's end.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};

use super::{
    Connector,
    protocol::{Channel, Loaded, Received, Report, Request},
};
use crate::error::Error;

/// What the attacher is given to end, and before that to detach, which takes the kernel some 20 ms for each link.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An attacher that was started, before there is a runtime.
pub struct Forked {
    socket: OwnedFd,
    connector: OwnedFd,
    child: Child,
}

impl Forked {
    pub(super) const fn new(socket: OwnedFd, connector: OwnedFd, child: Pid) -> Self {
        Self { socket, connector, child: Child { id: child, patience: PATIENCE } }
    }

    /// The ways to talk to it and to its connector. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the reactor refuses the socket.
    pub fn split(self) -> Result<(Handle, Arc<Connector>), Error> {
        let Self { socket, connector, child } = self;
        let channel = Channel::new(socket).map_err(unheard)?;
        let connector = Arc::new(Connector::new(connector));
        Ok((Handle::new(channel, Arc::clone(&connector), child), connector))
    }
}

/// The attacher, as the daemon has it. Dropping it ends the attacher and waits until it has ended, for
/// [`PATIENCE`] at most.
pub struct Handle {
    // In this order they are dropped: the end of the socket is what ends the process.
    channel: Channel<Request, Report>,
    /// What was received ahead of its time.
    waiting: RefCell<VecDeque<Received<Report>>>,
    /// Requests that the socket has had no room for.
    unsent: RefCell<VecDeque<Request>>,
    /// Whether counters were asked for and have not come.
    counting: Cell<bool>,
    child: Child,
    /// Gets the socket of another one, if that connects outputs. It is closed last: so the attacher sees no end of the
    /// connector before the daemon's.
    connector: Arc<Connector>,
}

impl Handle {
    fn new(channel: Channel<Request, Report>, connector: Arc<Connector>, child: Child) -> Self {
        let (waiting, unsent) = (RefCell::default(), RefCell::default());
        Self { channel, waiting, unsent, counting: Cell::new(false), child, connector }
    }

    /// Waits until the programs are loaded, and takes the ring over.
    ///
    /// # Errors
    ///
    /// What the attacher failed with, or that it has ended.
    pub async fn loaded(&self) -> Result<(Loaded, OwnedFd), Error> {
        match self.channel.receive().await.map_err(unheard)? {
            Some((Report::Loaded(loaded), Some(ring))) => Ok((loaded, ring)),
            Some((Report::Failed(failure), _)) => Err(Error::Attacher(failure)),
            Some(_) => Err(unheard(io::ErrorKind::InvalidData.into())),
            None => Err(Error::AttacherDied),
        }
    }

    /// The next report, before which requests are sent that could not be yet. The socket of another connector is asked from
    /// then on. Nothing is lost if this is dropped while it waits.
    ///
    /// # Errors
    ///
    /// What the attacher failed with, or that it has ended.
    pub async fn next(&self) -> Result<Report, Error> {
        let waiting = self.waiting.borrow_mut().pop_front();
        let received = match waiting {
            Some(received) => received,
            None => self.received().await.map_err(unheard)?.ok_or(Error::AttacherDied)?,
        };
        match received {
            (report @ Report::Counters(_), _) => {
                self.counting.set(false);
                Ok(report)
            }
            (Report::Failed(failure), _) => Err(Error::Attacher(failure)),
            (Report::Reloaded(_), Some(file)) => {
                let mut text = String::new();
                File::from(file).read_to_string(&mut text).map_err(unheard)?;
                Ok(Report::Reloaded(Some(text)))
            }
            (Report::Connector, Some(socket)) => {
                self.connector.replace(socket);
                Ok(Report::Connector)
            }
            (Report::Connector, None) => {
                // The kernel hands none over then. The attacher sees the end of that connector, and sends another one's.
                tracing::warn!("outputs are not connected again yet: too many files are open");
                Ok(Report::Connector)
            }
            (report, _) => Ok(report),
        }
    }

    async fn received(&self) -> io::Result<Option<Received<Report>>> {
        loop {
            let unsent = self.unsent.borrow().front().copied();
            let send = async {
                match unsent {
                    Some(request) => self.channel.send(&request, None).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                received = self.channel.receive() => return received,
                sent = send => self.gone(sent),
            }
        }
    }

    /// Asks for something, without waiting: what the socket has no room for goes out while [`Self::next`] waits. Counters
    /// that were asked for and have not come are the answer for whoever asks now, too.
    pub fn ask(&self, request: Request) {
        if request == Request::Counters && self.counting.replace(true) {
            return;
        }
        self.unsent.borrow_mut().push_back(request);
        loop {
            // In their order.
            let Some(request) = self.unsent.borrow().front().copied() else { return };
            match self.channel.send_now(&request) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                sent => self.gone(sent),
            }
        }
    }

    /// Takes note that the first of the unsent requests was sent, or will never be.
    fn gone(&self, sent: io::Result<()>) {
        let request = self.unsent.borrow_mut().pop_front();
        if let Err(error) = sent {
            // That the attacher has ended is told by `next`.
            tracing::debug!("{request:?}: {error}");
        }
    }

    /// Its process.
    pub const fn id(&self) -> i32 {
        self.child.id.as_raw()
    }

    /// Gives up an attacher that does not answer: nothing waits for its end any more.
    pub const fn abandon(&mut self) -> Error {
        self.child.patience = Duration::ZERO;
        Error::AttacherStalled { id: self.id() }
    }

    /// Looks ahead, without waiting, for names that are missing: an event can be read before the report that
    /// was sent ahead of it.
    pub fn look_ahead(&self, names: &mut BTreeMap<u32, String>) {
        while let Some((report, fd)) = self.channel.receive_now() {
            if let Report::Names(new) = &report {
                for (index, name) in new {
                    names.entry(*index).or_insert_with(|| name.clone());
                }
            }
            self.waiting.borrow_mut().push_back((report, fd));
        }
    }
}

fn unheard(source: io::Error) -> Error {
    Error::Process { what: "talk to the attacher process", source }
}

/// A process that is waited for when this is dropped, but not for ever: it may be stopped.
struct Child {
    id: Pid,
    patience: Duration,
}

impl Drop for Child {
    fn drop(&mut self) {
        let start = Instant::now();
        let runs = || match waitpid(self.id, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => status == WaitStatus::StillAlive,
            Err(error) => error == Errno::EINTR,
        };
        while runs() {
            if start.elapsed() >= self.patience {
                // Of one that was given up it is said already.
                if !self.patience.is_zero() {
                    tracing::warn!("the attacher process, {}, still runs", self.id);
                }
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacher::{
        connector,
        protocol::{self, pair, receive},
    };

    /// It has no process.
    fn handle() -> (Handle, OwnedFd) {
        let (socket, other) = pair().unwrap();
        let child = Child { id: Pid::from_raw(i32::MAX), patience: Duration::ZERO };
        // Nobody connects.
        let connector = Arc::new(Connector::new(pair().unwrap().0));
        (Handle::new(Channel::new(socket).unwrap(), connector, child), other)
    }

    #[tokio::test]
    async fn a_text_that_could_not_be_handed_over_is_no_empty_one() {
        let (handle, other) = handle();
        let attacher = Channel::<Report, Request>::new(other).unwrap();
        attacher.send(&Report::Reloaded(None), None).await.unwrap();
        assert!(matches!(handle.next().await, Ok(Report::Reloaded(None))));
    }

    #[tokio::test]
    async fn requests_without_room_are_sent_later_and_in_their_order() {
        let (handle, other) = handle();
        let mut asked = 0;
        while handle.unsent.borrow().is_empty() {
            handle.ask(Request::Reload);
            asked += 1;
        }
        handle.ask(Request::Detach);
        let heard = thread::spawn(move || {
            let next = || receive::<Request>(&other).unwrap().unwrap().0;
            (0..=asked).map(|_| next()).collect::<Vec<_>>()
        });
        // Until all was read, and the other end is closed.
        assert!(matches!(handle.next().await, Err(Error::AttacherDied)));
        let mut heard = heard.join().unwrap();
        assert_eq!(heard.pop(), Some(Request::Detach));
        assert_eq!(heard, vec![Request::Reload; asked]);
    }

    #[tokio::test]
    async fn outputs_are_connected_by_the_connector_that_was_reported_last() {
        let (handle, other) = handle();
        let connector = Arc::clone(&handle.connector);
        connector.connect(0).unwrap_err();
        let (socket, its_socket) = pair().unwrap();
        protocol::send(&other, &Report::Connector, Some(&socket)).unwrap();
        drop(socket);
        // Also one that was read ahead of its time.
        handle.look_ahead(&mut BTreeMap::new());
        assert_eq!(handle.next().await.unwrap(), Report::Connector);
        thread::spawn(move || {
            let connect = |_| Ok(File::open("/dev/null")?.into());
            connector::serve(its_socket, Box::new(connect)).unwrap();
        });
        connector.connect(0).unwrap();
    }

    #[tokio::test]
    async fn counters_are_asked_for_once_until_they_come() {
        let (handle, other) = handle();
        let answer =
            || protocol::send(&other, &Report::Counters(Err(String::new())), None).unwrap();
        for _ in 0..2 {
            handle.ask(Request::Counters);
            handle.ask(Request::Counters);
            handle.ask(Request::Undo);
            assert_eq!(receive::<Request>(&other).unwrap().unwrap().0, Request::Counters);
            assert_eq!(receive::<Request>(&other).unwrap().unwrap().0, Request::Undo);
            answer();
            handle.next().await.unwrap();
        }
    }
}
