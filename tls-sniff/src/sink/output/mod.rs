//! An output, behind a thread and a bounded queue: a slow reader stops neither the ring's reader nor other outputs.
//!
//! ```text
//!  pipeline ─► batch (≤ 64 KiB) ─► queue (≤ 4 MiB) ─► thread ─► destination
//!                                     ▲                  │
//!                                     └─ empty buffers ◄─┘
//! ```
//!
//! Batches are as small as the wake-ups that they come from, so the queue is bounded by its bytes, and small ones share
//! a buffer. Live, a full queue costs events, and they are counted; from a file, the file waits. What is to be said of
//! that passes the queue: the thread writes it before the next buffer. Each event that comes is one of `written` and
//! what was lost, or still on its way.

mod queue;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use self::queue::{Full, Shared, Work, add};
use super::{
    destination::{Destination, Lost},
    spec::Rotation,
};
use crate::observation::OutputCounters;

/// A batch goes to the queue when it has this many bytes, or when its producer has nothing more. A buffer of the queue
/// takes more until it has as many.
const BATCH_LEN: usize = 64 * 1024;

/// What a thread that is told to return is given for it.
const RETURN: Duration = Duration::from_millis(300);

/// What to do when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Wait: the source can. For a peer that is gone not longer than ten seconds.
    Wait,
    /// Drop the batch and count its events: the source cannot wait.
    Drop,
}

/// How the writing ended.
#[derive(Debug)]
pub enum Written {
    /// Everything was written, or counted as lost.
    All,
    /// The reader went away (`| head`): no error.
    ReaderGone,
    /// Lines were lost for good, though the writing may have gone on.
    Failed {
        /// The output.
        name: String,
        /// The first reason.
        error: io::Error,
    },
    /// The reader did not take the rest in time.
    Stalled,
}

/// The writing side that the pipeline sees.
pub struct Output {
    name: String,
    shared: Arc<Shared>,
    batch: Vec<u8>,
    batch_events: u64,
    when_full: WhenFull,
    done: Receiver<()>,
    events: u64,
    said_end: bool,
    /// The counters of one that did not take the rest in time, and may be in the middle of it.
    stalled: Option<OutputCounters>,
}

/// The thread's end of [`Shared`]: however it ends, nobody waits for it.
struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The thread.
fn run(destination: &mut dyn Destination, shared: &Shared) {
    destination.begin(&shared.control);
    let mut written = Vec::new();
    loop {
        let (report, filled) = match shared.next(std::mem::take(&mut written)) {
            Work::Write { report, filled } => (report, filled),
            Work::Reopen => {
                destination.reopen();
                continue;
            }
            Work::Rotate(rotation) => {
                destination.set_rotation(rotation);
                continue;
            }
            Work::End => {
                if let Some(error) = destination.end() {
                    shared.fail(error);
                }
                return;
            }
        };
        // A report that is lost is followed by another one.
        let reported =
            if report.is_empty() { Ok(()) } else { destination.report(&report, &shared.control) };
        let result = reported.map_err(|ended| (filled.events, ended.error)).and_then(|()| {
            // The last lines of all.
            if filled.events == 0 {
                let last = destination.report(&filled.lines, &shared.control);
                return last.map(|()| Lost::default()).map_err(|ended| (0, ended.error));
            }
            let result = destination.write(&filled.lines, &shared.control);
            result.map_err(|ended| (ended.events.min(filled.events), ended.error))
        });
        match result {
            Ok(lost) => shared.count(filled.events, lost),
            Err((late, error)) => {
                add(&shared.written, filled.events - late);
                add(&shared.after_end, late);
                shared.fail(error);
                return;
            }
        }
        written = filled.lines;
    }
}

impl Output {
    /// Starts the thread that writes to `destination`, which operators know by `name`.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(
        name: String,
        mut destination: Box<dyn Destination>,
        when_full: WhenFull,
    ) -> io::Result<Self> {
        let (finished, done) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let writing = Writing(Arc::clone(&shared));
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            run(&mut *destination, &writing.0);
            drop(writing);
            let _receiver_gone = finished.send(());
        })?;
        Ok(Self {
            name,
            shared,
            batch: Vec::with_capacity(BATCH_LEN),
            batch_events: 0,
            when_full,
            done,
            events: 0,
            said_end: false,
            stalled: None,
        })
    }

    /// Its target, as in `--output`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends one event to the batch.
    pub fn event(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.events += 1;
        if self.shared.is_gone() {
            add(&self.shared.after_end, 1);
            return;
        }
        write(&mut self.batch);
        self.batch_events += 1;
        if self.batch.len() >= BATCH_LEN {
            self.flush();
        }
    }

    /// Hands what there is to the writing thread.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.batch_events);
        match self.shared.offer(&mut self.batch, events, self.when_full) {
            Ok(()) => {}
            Err(Full::Slow) => add(&self.shared.lost_queue, events),
            Err(Full::Disconnected) => add(&self.shared.lost_connection, events),
        }
        self.batch.clear();
    }

    /// Has `lines` written as soon as the reader takes something, before what waits for it. They replace those that
    /// it has not taken yet.
    pub fn report(&self, lines: Vec<u8>) {
        self.shared.report(lines);
    }

    /// Has the file opened by its name again, if it is one.
    pub fn reopen(&self) {
        self.shared.reopen();
    }

    /// Has the file renamed by other rules, if it is one.
    pub fn set_rotation(&self, rotation: Rotation) {
        self.shared.rotate(rotation);
    }

    /// What became of the events so far.
    #[must_use]
    pub fn counters(&self) -> OutputCounters {
        if let Some(counters) = self.stalled {
            return counters;
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OutputCounters {
            events: self.events,
            written: load(&self.shared.written),
            lost_queue: load(&self.shared.lost_queue),
            lost_connection: load(&self.shared.lost_connection),
            lost_write: load(&self.shared.lost_write),
            after_end: load(&self.shared.after_end),
        }
    }

    /// Resolves when nothing more can be written.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.notify.notified().await }
    }

    /// Whether nothing more can be written, for a source that does not wait.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_gone()
    }

    /// Whether nothing more can be written, once.
    pub fn has_just_closed(&mut self) -> bool {
        self.is_closed() && !std::mem::replace(&mut self.said_end, true)
    }

    /// Nothing more comes: a peer that is not there is not waited for.
    pub fn end(&mut self) {
        self.flush();
        self.shared.control.end();
    }

    /// Waits until all events are written or lost, at most until `deadline`: what is not then is lost. After
    /// [`Output::end`].
    pub fn drain(&mut self, deadline: Instant) {
        if self.shared.wait_idle(deadline) {
            return;
        }
        self.shared.abandon();
        self.shared.wait_idle(Instant::now() + RETURN);
        let mut counters = self.counters();
        // What the thread has in hand, and cannot let go.
        counters.lost_queue += counters.on_their_way();
        self.stalled = Some(counters);
    }

    /// Whether the thread has ended after [`Output::close`].
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.is_gone()
    }

    /// Has the thread end when it has written what there is; nobody waits for it.
    pub fn close(&self) {
        self.shared.control.end();
        self.shared.end(&[]);
    }

    /// Writes `last`, which is no event, and waits for the thread to end, at most until `deadline`. After
    /// [`Output::drain`].
    #[must_use]
    pub fn finish(self, last: &[u8], deadline: Instant) -> Written {
        if self.stalled.is_some() {
            return Written::Stalled;
        }
        self.shared.end(last);
        let left = deadline.saturating_duration_since(Instant::now());
        match self.done.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => return Written::Stalled,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        }
        match self.shared.take_error() {
            None => Written::All,
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Written::ReaderGone,
            Some(error) => Written::Failed { name: self.name.clone(), error },
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.control.abandon();
        self.shared.end(&[]);
    }
}
