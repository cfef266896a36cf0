//! Where lines go: what an output implements.
//!
//! ```text
//!  Output: queue (≤ 4 MiB) ─► its own thread ─► Destination::write ─► stdout | file | socket
//!                                                   │ waits for room, for its peer, as long as Control says
//!                                                   └► how many events it could not deliver, and why
//! ```
//!
//! A destination is opened before its thread is started, and with all that needs rights: a sandbox lies between.
//! What comes later, a broker for example, implements [`Destination`] and gets a `Target`.

mod connect;
mod file;
mod socket;
mod stream;

use std::{
    io,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use self::{
    connect::{Connect, Connected, Connector, Peer, directly},
    file::{Created, LogFile},
    socket::{Framing, Socket},
    stream::Stream,
};
use super::spec::Rotation;

/// Takes lines, on a thread of its own: it may wait, but not when [`Control::is_abandoned`].
pub trait Destination: Send {
    /// Comes first on the thread: what may take its time and is not needed to start.
    fn begin(&mut self, _control: &Control) {}

    /// Takes `lines`: whole events, each ended by LF. Each of them is delivered or counted in what is returned.
    ///
    /// # Errors
    ///
    /// If nothing more can ever be delivered: the reader of a pipe is gone.
    fn write(&mut self, lines: &[u8], control: &Control) -> Result<Lost, Ended>;

    /// Takes lines that are no events, but tell of the run: what is lost of them is not counted.
    ///
    /// # Errors
    ///
    /// As [`Destination::write`].
    fn report(&mut self, lines: &[u8], control: &Control) -> Result<(), Ended> {
        self.write(lines, control).map(drop)
    }

    /// Opens what it writes to by its name again, if it has one (logrotate). What cannot be opened stays as it was.
    fn reopen(&mut self) {}

    /// Comes last on the thread: says how many events were lost in all, if it has not. The error by which the run has
    /// failed, though it went on: the first one that cost lines.
    fn end(&mut self) -> Option<io::Error> {
        None
    }

    /// Renames its file by other rules from now on, if it has one.
    fn set_rotation(&mut self, _rotation: Rotation) {}

    /// The directory in which it makes and renames files later.
    fn directory(&self) -> Option<&Path> {
        None
    }
}

/// Events that were not delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Whoever reads does not keep up, and the run is over.
    pub queue: u64,
    /// Nobody is connected.
    pub connection: u64,
    /// Refused: the disk is full, a message is too long.
    pub write: u64,
}

/// Nothing more can be delivered.
#[derive(Debug)]
pub struct Ended {
    /// Events that were not.
    pub events: u64,
    /// Why not.
    pub error: io::Error,
}

/// How many lines end in `bytes`.
#[must_use]
pub fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// What the pipeline tells a destination while that waits, and the other way round.
#[derive(Debug, Default)]
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ending: bool,
    abandoned: bool,
    disconnected: Option<Instant>,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it can be half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more comes: a peer that is not there is not waited for any more.
    pub fn end(&self) {
        self.state().ending = true;
        self.changed.notify_all();
    }

    /// Nobody waits any more.
    pub fn abandon(&self) {
        let mut state = self.state();
        (state.ending, state.abandoned) = (true, true);
        drop(state);
        self.changed.notify_all();
    }

    /// Whether a peer that is not there is to be given up.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.state().ending
    }

    /// Whether to return at once.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Waits, but not beyond the end.
    pub fn pause(&self, duration: Duration) {
        let state = self.state();
        let until_end = |state: &mut State| !state.ending;
        // Who waits asks for the state again.
        drop(self.changed.wait_timeout_while(state, duration, until_end));
    }

    /// Takes note of whether there is a peer.
    pub fn set_connected(&self, connected: bool) {
        let mut state = self.state();
        state.disconnected =
            if connected { None } else { Some(state.disconnected.unwrap_or_else(Instant::now)) };
    }

    /// Since when there is none.
    #[must_use]
    pub fn disconnected_for(&self) -> Option<Duration> {
        self.state().disconnected.map(|since| since.elapsed())
    }
}
