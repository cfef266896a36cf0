//! Standard output, behind a thread and a bounded queue: a slow reader never stops the ring's reader.
//!
//! ```text
//!  pipeline ─► batch (≤ 64 KiB) ─► queue (≤ 64 batches) ─► thread: write, flush ─► stdout
//!                      ▲                                       │
//!                      └────────── empty buffers ◄─────────────┘
//! ```
//!
//! Live, a full queue costs events, and they are counted; from a file, the file waits. What is to be said of that
//! passes the queue: the thread writes it before the next batch.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// A batch goes to the queue when it has this many bytes, or when its producer has nothing more.
const BATCH_LEN: usize = 64 * 1024;

/// Batches that may wait for the reader of stdout: 4 MiB.
const QUEUE_LEN: usize = 64;

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
    queue: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    batch: Vec<u8>,
    batch_events: u64,
    when_full: WhenFull,
    closed: Arc<Closed>,
    done: Receiver<()>,
    report: Arc<Mutex<Vec<u8>>>,
    written: u64,
    dropped: u64,
}

/// Set once by the writing thread when it can write no more.
#[derive(Default)]
struct Closed {
    error: Mutex<Option<io::Error>>,
    notify: Notify,
}

impl Output {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start(mut writer: impl Write + Send + 'static, when_full: WhenFull) -> io::Result<Self> {
        let (queue, batches) = mpsc::sync_channel::<Vec<u8>>(QUEUE_LEN);
        let (give_back, empty) = mpsc::sync_channel(QUEUE_LEN);
        let (finished, done) = mpsc::sync_channel(1);
        let closed = Arc::new(Closed::default());
        let on_error = Arc::clone(&closed);
        let report = Arc::new(Mutex::new(Vec::new()));
        let reported = Arc::clone(&report);
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            for mut batch in batches {
                let report = take(&reported);
                let mut write = |bytes: &[u8]| writer.write_all(bytes);
                let written = write(&report).and_then(|()| write(&batch));
                if let Err(error) = written.and_then(|()| writer.flush()) {
                    if let Ok(mut slot) = on_error.error.lock() {
                        *slot = Some(error);
                    }
                    break;
                }
                batch.clear();
                // The one that only announces a report never had any bytes.
                if batch.capacity() > 0 {
                    let _spare = give_back.try_send(batch);
                }
            }
            on_error.notify.notify_one();
            let _receiver_gone = finished.send(());
        })?;
        Ok(Self {
            queue,
            empty,
            batch: Vec::with_capacity(BATCH_LEN),
            batch_events: 0,
            when_full,
            closed,
            done,
            report,
            written: 0,
            dropped: 0,
        })
    }

    /// Appends one event to the batch.
    pub fn event(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
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
        let next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH_LEN));
        let batch = std::mem::replace(&mut self.batch, next);
        let events = std::mem::take(&mut self.batch_events);
        let sent = match self.when_full {
            WhenFull::Wait => self.queue.send(batch).is_ok(),
            WhenFull::Drop => self.queue.try_send(batch).is_ok(),
        };
        if sent {
            self.written += events;
        } else {
            self.dropped += events;
        }
    }

    /// Has `lines` written as soon as the reader takes something, before what waits for it. They replace those that
    /// it has not taken yet.
    pub fn report(&self, lines: Vec<u8>) {
        if let Ok(mut report) = self.report.lock() {
            *report = lines;
        }
        // If the queue is full, or closed, nobody waits for this one.
        let _no_room = self.queue.try_send(Vec::new());
    }

    /// Events handed to the writing thread.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Events that found the queue full or the reader gone.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Resolves when nothing more can be written.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let closed = Arc::clone(&self.closed);
        async move { closed.notify.notified().await }
    }

    /// Whether writing has failed, for a source that does not wait.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.error.lock().is_ok_and(|error| error.is_some())
    }

    /// Writes `last`, then waits for the thread to write everything, at most for `limit`.
    #[must_use]
    pub fn finish(mut self, last: &[u8], limit: Duration) -> Written {
        let deadline = Instant::now() + limit;
        self.flush();
        // What comes last says it all.
        take(&self.report);
        let mut last = last.to_vec();
        while let Err(TrySendError::Full(back)) = self.queue.try_send(last) {
            if Instant::now() >= deadline {
                return Written::Stalled;
            }
            last = back;
            thread::sleep(Duration::from_millis(5));
        }
        let Self { queue, done, closed, .. } = self;
        drop(queue);
        match done.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => return Written::Stalled,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        }
        match closed.error.lock().ok().and_then(|mut error| error.take()) {
            None => Written::All,
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Written::ReaderGone,
            Some(error) => Written::Failed(error),
        }
    }
}

fn take(report: &Mutex<Vec<u8>>) -> Vec<u8> {
    report.lock().map(|mut report| std::mem::take(&mut *report)).unwrap_or_default()
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
        let events = 3 * QUEUE_LEN as u64;
        for _ in 0..events {
            output.event(|batch| batch.extend_from_slice(b"event\n"));
            output.flush();
        }
        assert_eq!(output.written() + output.dropped(), events);
        assert!(output.dropped() >= events - QUEUE_LEN as u64 - 1, "{}", output.dropped());
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
        for _ in 0..3 * QUEUE_LEN {
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
        assert_eq!(lines.len() as u64, written + 1, "{lines:?}");
        // The batch in which the thread stood still comes first.
        assert!(lines.iter().take(3).any(|line| *line == "report"), "{lines:?}");
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
