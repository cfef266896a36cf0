//! The daemon's end.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use nix::{errno::Errno, sys::wait::waitpid, unistd::Pid};

use super::{
    Connector,
    protocol::{Channel, Loaded, Received, Report, Request},
};
use crate::error::Error;

/// An attacher that was started, before there is a runtime.
pub struct Forked {
    socket: OwnedFd,
    connector: OwnedFd,
    child: Child,
}

impl Forked {
    pub(super) const fn new(socket: OwnedFd, connector: OwnedFd, child: Pid) -> Self {
        Self { socket, connector, child: Child(child) }
    }

    /// The two ways to talk to it. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the reactor refuses the socket.
    pub fn split(self) -> Result<(Handle, Connector), Error> {
        let Self { socket, connector, child } = self;
        let channel = Channel::new(socket).map_err(unheard)?;
        let waiting = RefCell::default();
        Ok((Handle { channel, waiting, _child: child }, Connector::new(connector)))
    }
}

/// The attacher, as the daemon has it. Dropping it ends the attacher and waits until it has ended.
pub struct Handle {
    // In this order they are dropped: the end of the socket is what ends the process.
    channel: Channel<Request, Report>,
    /// What was received ahead of its time.
    waiting: RefCell<VecDeque<Received<Report>>>,
    _child: Child,
}

impl Handle {
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

    /// The next report. Nothing is lost if this is dropped while it waits.
    ///
    /// # Errors
    ///
    /// What the attacher failed with, or that it has ended.
    pub async fn next(&self) -> Result<Report, Error> {
        let waiting = self.waiting.borrow_mut().pop_front();
        let received = match waiting {
            Some(received) => received,
            None => self.channel.receive().await.map_err(unheard)?.ok_or(Error::AttacherDied)?,
        };
        match received {
            (Report::Failed(failure), _) => Err(Error::Attacher(failure)),
            (Report::Reloaded(_), Some(file)) => {
                let mut text = String::new();
                File::from(file).read_to_string(&mut text).map_err(unheard)?;
                Ok(Report::Reloaded(text))
            }
            (report, _) => Ok(report),
        }
    }

    /// Asks for something. It never waits: the attacher is never owed more than a few answers.
    pub fn ask(&self, request: Request) {
        // That it has ended is told by `next`.
        if let Err(error) = self.channel.send_now(&request) {
            tracing::debug!("{request:?}: {error}");
        }
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

/// A process that is waited for when this is dropped.
struct Child(Pid);

impl Drop for Child {
    fn drop(&mut self) {
        while waitpid(self.0, None) == Err(Errno::EINTR) {}
    }
}
