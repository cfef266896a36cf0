//! Standard output, behind a thread and a bounded queue: a slow reader never stops the ring's reader.
//!
//! ```text
//!  pipeline ─► batch (≤ 64 KiB) ─► queue (≤ 4 MiB) ─► thread: write, flush ─► stdout
//!                                     ▲                  │
//!                                     └─ empty buffers ◄─┘
//! ```
//!
//! Batches are as small as the wake-ups that they come from, so the queue is bounded by its bytes, and small ones share
//! a buffer. Live, a full queue costs events, and they are counted; from a file, the file waits. What is to be said of
//! that passes the queue: the thread writes it before the next buffer.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// A batch goes to the queue when it has this many bytes, or when its producer has nothing more. A buffer of the queue
/// takes more until it has as many.
const BATCH_LEN: usize = 64 * 1024;

/// Bytes that may wait for the reader of stdout.
const QUEUE_LEN: usize = 4 << 20;

/// Empty buffers that are kept.
const MOST_SPARE: usize = 4;

/// What to do when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Wait: the source can.
    Wait,
    /// Drop the batch and count its events: the source cannot wait.
    Drop,
}

/// How the writing ended.
#[derive(Debug)]
pub enum Written {
    /// Everything was written.
    All,
    /// The reader went away (`| head`): no error.
    ReaderGone,
    /// Writing failed.
    Failed(io::Error),
    /// The reader did not take the rest in time.
    Stalled,
}

/// The writing side that the pipeline sees.
pub struct Output {
    shared: Arc<Shared>,
    batch: Vec<u8>,
    batch_events: u64,
    when_full: WhenFull,
    done: Receiver<()>,
    written: u64,
    dropped: u64,
    after_end: u64,
    said_end: bool,
}

/// Between the pipeline and the thread.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write, or there will be nothing more.
    filled: Condvar,
    /// There is room, or there never will be.
    drained: Condvar,
    /// The thread writes no more.
    gone: AtomicBool,
    error: Mutex<Option<io::Error>>,
    notify: Notify,
}

#[derive(Default)]
struct Queue {
    buffers: VecDeque<Vec<u8>>,
    /// Bytes in them.
    len: usize,
    spare: Vec<Vec<u8>>,
    report: Vec<u8>,
    /// Nothing more will come.
    ended: bool,
}

impl Queue {
    /// Whether there is room for `len` more. One that is larger than the queue has to fit too.
    fn takes(&self, len: usize) -> bool {
        self.len == 0 || self.len + len <= QUEUE_LEN
    }

    /// Takes the bytes of `batch`, which is empty then.
    fn push(&mut self, batch: &mut Vec<u8>) {
        self.len += batch.len();
        match self.buffers.back_mut() {
            Some(last) if last.len() < BATCH_LEN => {
                last.extend_from_slice(batch);
                batch.clear();
            }
            _ => {
                let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH_LEN));
                self.buffers.push_back(std::mem::replace(batch, next));
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
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in it can be half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to write next: a report, and a buffer; `None` at the end.
    fn next(&self, written: Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut queue = self.queue();
        queue.give_back(written);
        loop {
            let buffer = queue.buffers.pop_front().unwrap_or_default();
            let report = std::mem::take(&mut queue.report);
            if !(buffer.is_empty() && report.is_empty()) {
                queue.len = queue.len.saturating_sub(buffer.len());
                self.drained.notify_one();
                return Some((report, buffer));
            }
            if queue.ended {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether `batch` went into the queue.
    fn offer(&self, batch: &mut Vec<u8>, when_full: WhenFull) -> bool {
        let mut queue = self.queue();
        while !(queue.takes(batch.len()) || self.is_gone()) {
            if when_full == WhenFull::Drop {
                return false;
            }
            queue = self.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.push(batch);
        drop(queue);
        self.filled.notify_one();
        true
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// The thread's end of [`Shared`]: however it ends, nobody waits for it.
struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        let Self(shared) = self;
        let mut queue = shared.queue();
        shared.gone.store(true, Ordering::Relaxed);
        queue.buffers.clear();
        queue.len = 0;
        drop(queue);
        shared.drained.notify_one();
        shared.notify.notify_one();
    }
}

impl Output {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(mut writer: impl Write + Send + 'static, when_full: WhenFull) -> io::Result<Self> {
        let (finished, done) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let writing = Writing(Arc::clone(&shared));
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut written = Vec::new();
            while let Some((report, buffer)) = writing.0.next(written) {
                let mut write = |bytes: &[u8]| writer.write_all(bytes);
                let result = write(&report).and_then(|()| write(&buffer));
                if let Err(error) = result.and_then(|()| writer.flush()) {
                    if let Ok(mut slot) = writing.0.error.lock() {
                        *slot = Some(error);
                    }
                    break;
                }
                written = buffer;
            }
            drop(writing);
            let _receiver_gone = finished.send(());
        })?;
        Ok(Self {
            shared,
            batch: Vec::with_capacity(BATCH_LEN),
            batch_events: 0,
            when_full,
            done,
            written: 0,
            dropped: 0,
            after_end: 0,
            said_end: false,
        })
    }

    /// Appends one event to the batch.
    pub fn event(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.shared.is_gone() {
            self.after_end += 1;
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
        if self.shared.is_gone() {
            self.after_end += events;
        } else if self.shared.offer(&mut self.batch, self.when_full) {
            self.written += events;
        } else {
            self.dropped += events;
        }
        self.batch.clear();
    }

    /// Has `lines` written as soon as the reader takes something, before what waits for it. They replace those that
    /// it has not taken yet.
    pub fn report(&self, lines: Vec<u8>) {
        self.shared.queue().report = lines;
        self.shared.filled.notify_one();
    }

    /// Events handed to the writing thread.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Events that found the queue full.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events that came when nothing more could be written: the reader was gone.
    #[must_use]
    pub const fn after_end(&self) -> u64 {
        self.after_end
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

    /// Writes `last`, then waits for the thread to write everything, at most for `limit`.
    #[must_use]
    pub fn finish(mut self, last: &[u8], limit: Duration) -> Written {
        let deadline = Instant::now() + limit;
        self.flush();
        let mut queue = self.shared.queue();
        // What comes last says it all, and is not so long that it has to wait for room.
        queue.report.clear();
        queue.push(&mut last.to_vec());
        queue.ended = true;
        drop(queue);
        self.shared.filled.notify_one();
        match self.done.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => return Written::Stalled,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        }
        match self.shared.error.lock().ok().and_then(|mut error| error.take()) {
            None => Written::All,
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Written::ReaderGone,
            Some(error) => Written::Failed(error),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.queue().ended = true;
        self.shared.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that takes nothing until it is told to.
    struct Gate {
        open: Receiver<()>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open_for_good = self.open.recv();
            self.taken.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_costs_counted_events_and_bounded_memory() {
        let (open, gate) = mpsc::channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let reader = Gate { open: gate, taken: Arc::clone(&taken) };
        let mut output = Output::start(reader, WhenFull::Drop).unwrap();
        // As small as the batches are, the whole queue is of use.
        let event = [[b'e'; 1023].as_slice(), b"\n"].concat();
        let fit = (QUEUE_LEN / event.len()) as u64;
        for _ in 0..3 * fit {
            output.event(|batch| batch.extend_from_slice(&event));
            output.flush();
        }
        assert_eq!(output.written() + output.dropped(), 3 * fit);
        let in_hand = (2 * BATCH_LEN / event.len()) as u64;
        assert!((fit..=fit + in_hand).contains(&output.written()), "{}", output.written());
        let written = output.written();
        drop(open);
        assert!(matches!(output.finish(b"last\n", Duration::from_secs(10)), Written::All));
        let taken = taken.lock().unwrap();
        let lines = taken.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        assert_eq!(lines as u64, written + 1);
    }

    #[test]
    fn a_report_passes_a_full_queue_and_takes_the_place_of_the_one_before() {
        let (open, gate) = mpsc::channel();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let reader = Gate { open: gate, taken: Arc::clone(&taken) };
        let mut output = Output::start(reader, WhenFull::Drop).unwrap();
        for _ in 0..1_000_000 {
            output.event(|batch| batch.extend_from_slice(b"event\n"));
            output.flush();
        }
        output.report(b"early\n".to_vec());
        output.report(b"report\n".to_vec());
        let written = output.written();
        drop(open);
        while !String::from_utf8_lossy(&taken.lock().unwrap()).contains("report") {
            thread::yield_now();
        }
        assert!(matches!(output.finish(b"", Duration::from_secs(10)), Written::All));
        let taken = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = taken.lines().collect();
        assert_eq!(lines.len() as u64, written + 1, "{}", lines.len());
        // The buffer in which the thread stood still comes first.
        let first = lines.iter().position(|line| *line == "report").unwrap();
        assert!(first <= 2 * BATCH_LEN / b"event\n".len(), "{first}");
    }

    #[test]
    fn a_source_that_can_wait_loses_nothing() {
        let (open, gate) = mpsc::channel::<()>();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let reader = Gate { open: gate, taken: Arc::clone(&taken) };
        let mut output = Output::start(reader, WhenFull::Wait).unwrap();
        let opens = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(open);
        });
        let event = [b'e'; 1024];
        let events = 3 * (QUEUE_LEN / event.len()) as u64;
        for _ in 0..events {
            output.event(|batch| batch.extend_from_slice(&event));
        }
        output.flush();
        assert_eq!((output.written(), output.dropped()), (events, 0));
        assert!(matches!(output.finish(b"", Duration::from_secs(10)), Written::All));
        opens.join().unwrap();
        assert_eq!(taken.lock().unwrap().len(), 3 * QUEUE_LEN);
    }

    #[test]
    fn a_reader_that_is_gone_is_not_a_slow_one() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for when_full in [WhenFull::Drop, WhenFull::Wait] {
            let mut output = Output::start(Gone, when_full).unwrap();
            output.event(|batch| batch.push(b'\n'));
            output.flush();
            while !output.is_closed() {
                thread::yield_now();
            }
            for _ in 0..10 {
                output.event(|_| panic!("nobody reads this"));
                output.flush();
            }
            assert_eq!((output.written(), output.dropped(), output.after_end()), (1, 0, 10));
            assert!(output.has_just_closed() && !output.has_just_closed());
            assert!(matches!(output.finish(b"\n", Duration::from_secs(10)), Written::ReaderGone));
        }
    }

    #[test]
    fn a_reader_that_never_reads_does_not_hang_the_end() {
        let (_open, gate) = mpsc::channel();
        let reader = Gate { open: gate, taken: Arc::default() };
        let mut output = Output::start(reader, WhenFull::Drop).unwrap();
        output.event(|batch| batch.push(b'\n'));
        assert!(matches!(output.finish(b"\n", Duration::from_millis(50)), Written::Stalled));
    }
}
