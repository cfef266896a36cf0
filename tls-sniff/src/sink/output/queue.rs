//! Between the pipeline and the thread of an output.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{BATCH_LEN, WhenFull};
use crate::sink::{
    destination::{Control, Lost},
    spec::Rotation,
};

/// Bytes that may wait for the reader.
pub(super) const QUEUE_LEN: usize = 4 << 20;

/// Empty buffers that are kept.
const MOST_SPARE: usize = 4;

/// How long a source that can wait waits for a peer that is gone.
const WAIT_FOR_PEER: Duration = Duration::from_secs(10);

/// Lines, and how many of them are events.
#[derive(Default)]
pub(super) struct Filled {
    pub(super) lines: Vec<u8>,
    pub(super) events: u64,
}

/// What the thread is to do next.
pub(super) enum Work {
    /// To write a report, then a buffer.
    Write { report: Vec<u8>, filled: Filled },
    /// To open its file again.
    Reopen,
    /// To rename its file by other rules.
    Rotate(Rotation),
    /// To end.
    End,
}

/// Shared by the handle and the thread.
#[derive(Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do.
    filled: Condvar,
    /// There is room, or nothing more to do, or there never will be.
    drained: Condvar,
    pub(super) control: Control,
    /// The thread writes no more.
    gone: AtomicBool,
    error: Mutex<Option<io::Error>>,
    pub(super) notify: Notify,
    /// What became of the events that the thread took.
    pub(super) written: AtomicU64,
    pub(super) lost_queue: AtomicU64,
    pub(super) lost_connection: AtomicU64,
    pub(super) lost_write: AtomicU64,
    pub(super) after_end: AtomicU64,
}

#[derive(Default)]
struct Queue {
    buffers: VecDeque<Filled>,
    /// Bytes in them.
    len: usize,
    spare: Vec<Vec<u8>>,
    report: Vec<u8>,
    reopen: bool,
    rotation: Option<Rotation>,
    /// The thread has nothing in hand.
    idle: bool,
    /// Nothing more will come.
    ended: bool,
}

impl Queue {
    /// Whether there is room for `len` more. One that is larger than the queue has to fit too.
    fn takes(&self, len: usize) -> bool {
        self.len == 0 || self.len + len <= QUEUE_LEN
    }

    /// Takes `events` in the bytes of `batch`, which is empty then.
    fn push(&mut self, batch: &mut Vec<u8>, events: u64) {
        self.len += batch.len();
        match self.buffers.back_mut() {
            Some(last) if last.lines.len() < BATCH_LEN => {
                last.lines.extend_from_slice(batch);
                last.events += events;
                batch.clear();
            }
            _ => {
                let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH_LEN));
                self.buffers.push_back(Filled { lines: std::mem::replace(batch, next), events });
            }
        }
    }

    /// Takes a buffer back that was written.
    fn give_back(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MOST_SPARE && buffer.capacity() > 0 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Drops what waits, and says how many events that were.
    fn clear(&mut self) -> u64 {
        self.len = 0;
        self.report.clear();
        self.buffers.drain(..).map(|filled| filled.events).sum()
    }
}

/// Counters are for reading, not for ordering anything.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Why events did not get into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The reader is slow.
    Slow,
    /// There is none.
    Disconnected,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in it can be half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do next, after `written` was.
    pub(super) fn next(&self, written: Vec<u8>) -> Work {
        let mut queue = self.queue();
        queue.give_back(written);
        loop {
            queue.idle = false;
            if std::mem::take(&mut queue.reopen) {
                return Work::Reopen;
            }
            if let Some(rotation) = queue.rotation.take() {
                return Work::Rotate(rotation);
            }
            let filled = queue.buffers.pop_front().unwrap_or_default();
            let report = std::mem::take(&mut queue.report);
            if !(filled.lines.is_empty() && report.is_empty()) {
                queue.len = queue.len.saturating_sub(filled.lines.len());
                self.drained.notify_one();
                return Work::Write { report, filled };
            }
            queue.idle = true;
            self.drained.notify_one();
            if queue.ended {
                return Work::End;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts `events` in the bytes of `batch` into the queue. Nothing of it if the thread is gone.
    pub(super) fn offer(
        &self,
        batch: &mut Vec<u8>,
        events: u64,
        when_full: WhenFull,
    ) -> Result<(), Full> {
        let mut queue = self.queue();
        while !(queue.takes(batch.len()) || self.is_gone()) {
            let away = self.control.disconnected_for();
            match (when_full, away) {
                (WhenFull::Drop, None) => return Err(Full::Slow),
                (WhenFull::Drop, Some(_)) => return Err(Full::Disconnected),
                (WhenFull::Wait, Some(away)) if away >= WAIT_FOR_PEER => {
                    return Err(Full::Disconnected);
                }
                (WhenFull::Wait, _) => {}
            }
            let waited = self.drained.wait_timeout(queue, WAIT_FOR_PEER);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if self.is_gone() {
            // It may have gone meanwhile: what is put into the queue now, nobody counts.
            add(&self.after_end, events);
            return Ok(());
        }
        queue.push(batch, events);
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Has `lines` written before all else, instead of a report that waits.
    pub(super) fn report(&self, lines: Vec<u8>) {
        if !self.is_gone() {
            self.queue().report = lines;
            self.filled.notify_one();
        }
    }

    pub(super) fn reopen(&self) {
        self.queue().reopen = true;
        self.filled.notify_one();
    }

    pub(super) fn rotate(&self, rotation: Rotation) {
        self.queue().rotation = Some(rotation);
        self.filled.notify_one();
    }

    /// Nothing more will come but `last`, which is no event.
    pub(super) fn end(&self, last: &[u8]) {
        let mut queue = self.queue();
        // What comes last says it all, and is not so long that it has to wait for room.
        queue.report.clear();
        if !(last.is_empty() || self.is_gone()) {
            queue.push(&mut last.to_vec(), 0);
        }
        queue.ended = true;
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until the thread has nothing more to do, not beyond `deadline`. Whether that is so.
    pub(super) fn wait_idle(&self, deadline: Instant) -> bool {
        let mut queue = self.queue();
        loop {
            if self.is_gone() || (queue.idle && queue.buffers.is_empty() && queue.report.is_empty())
            {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.drained.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Drops what waits; the thread is to return from what it does, if it can.
    pub(super) fn abandon(&self) {
        let lost = self.queue().clear();
        self.count_abandoned(lost);
        self.control.abandon();
    }

    /// Counts what there was no more time for.
    pub(super) fn count_abandoned(&self, events: u64) {
        let away = self.control.disconnected_for().is_some();
        add(if away { &self.lost_connection } else { &self.lost_queue }, events);
    }

    /// Takes note of what became of `events`.
    pub(super) fn count(&self, events: u64, lost: Lost) {
        add(&self.lost_queue, lost.queue);
        add(&self.lost_connection, lost.connection);
        add(&self.lost_write, lost.write);
        add(&self.written, events.saturating_sub(lost.queue + lost.connection + lost.write));
    }

    /// Keeps why the thread ends.
    pub(super) fn fail(&self, error: io::Error) {
        if let Ok(mut slot) = self.error.lock() {
            *slot = Some(error);
        }
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.error.lock().ok().and_then(|mut error| error.take())
    }

    /// Nothing more will be written: what waits is too late.
    pub(super) fn leave(&self) {
        let mut queue = self.queue();
        self.gone.store(true, Ordering::Relaxed);
        add(&self.after_end, queue.clear());
        drop(queue);
        self.drained.notify_one();
        self.notify.notify_one();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}
