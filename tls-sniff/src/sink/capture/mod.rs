//! Capture files: packets as they were seen, for Wireshark and everything that reads its files.
//!
//! ```text
//!  packet ─► batch ─► queue (≤ 16 MiB) ─► thread: encode, compress, write, rotate ─► files
//!               ▲                            │
//!               └────── empty batches ◄──────┘
//! ```
//!
//! Numbers of interfaces, headers and secrets belong to the file at hand, so packets are encoded by the
//! thread. It writes in chunks, each of them whole blocks; what the disk does not take whole it does not
//! keep, so that a file can be read at any time, also when the disk was full. Live, a full queue costs
//! packets, and they are counted; from a file, the file waits.

mod batch;
mod compression;
mod disk;
mod encoder;
mod error;
mod keylog;
mod names;
mod options;
mod pcap;
mod pcapng;
mod queue;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::utsname::uname;
use tls_sniff_common::flow::Direction;

use super::{directory_of, output::WhenFull};
use crate::clock::Timestamp;
pub use crate::observation::CaptureCounters;

use self::{
    batch::Batch,
    encoder::Encoder,
    keylog::KeyLog,
    pcapng::Description,
    queue::{Receiver, Sender, queue},
    shared::{End, Shared, add},
    writer::Writer,
};
pub use self::{
    compression::Compression,
    error::SaveError,
    options::{CaptureFormat, CaptureOptions, MAX_SNAPLEN},
};

/// Batches that wait for their secrets, at most: 32 MiB.
const MOST_WAITING: usize = 512;

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was seen.
    pub timestamp: Timestamp,
    /// The interface's number in the system; with name and link type it tells interfaces apart.
    pub interface_index: u32,
    /// The interface's name, if known.
    pub interface: Option<&'a str>,
    /// What the packet starts with, by its number in the LINKTYPE registry: 1 Ethernet, 101 raw IP.
    pub link_type: u32,
    /// Which way it went.
    pub direction: Direction,
    /// The tag that the network card took out of the bytes: TPID and TCI. It is put back behind the MAC
    /// addresses.
    pub offloaded_vlan: Option<(u16, u16)>,
    /// The bytes captured; those beyond `snaplen` are left out.
    pub bytes: &'a [u8],
    /// Bytes that it had on the wire, without the offloaded tag.
    pub wire_len: u32,
    /// What is to be said of it.
    pub comments: &'a [String],
}

/// The writing side that the source of packets sees.
pub struct Capture {
    path: PathBuf,
    snaplen: usize,
    when_full: WhenFull,
    queue: Sender,
    batch: Batch,
    taken: u64,
    shared: Arc<Shared>,
    done: mpsc::Receiver<()>,
}

/// A capture whose first file is open, and whose thread is still to be started: a sandbox may lie between.
pub struct OpenCapture {
    path: PathBuf,
    snaplen: usize,
    when_full: WhenFull,
    shared: Arc<Shared>,
    writer: Writer,
    rotates: bool,
}

impl OpenCapture {
    /// Opens the first file and writes its header; all that needs rights is done then but opening the files that
    /// rotation begins. Waits for the reader of a named pipe.
    ///
    /// # Errors
    ///
    /// If the options do not go together, the file cannot be written, or the key log not be read.
    pub fn open(options: CaptureOptions, when_full: WhenFull) -> Result<Self, SaveError> {
        let plan = options.plan()?;
        let names = options.names(&plan)?;
        let snaplen = options.snaplen();
        let live = when_full == WhenFull::Drop;
        let CaptureOptions { path, filter, application, keylog, .. } = options;
        let keylog = keylog.map(KeyLog::open).transpose()?;
        let description = describe(filter, application, live, snaplen);
        let encoder = Encoder::new(plan.format, description, keylog);
        let shared = Arc::new(Shared::default());
        let rotates = plan.rotates();
        let writer = Writer::open(plan, live, encoder, names, Arc::clone(&shared))?;
        let snaplen = usize::try_from(snaplen).unwrap_or(usize::MAX);
        Ok(Self { path, snaplen, when_full, shared, writer, rotates })
    }

    /// The directory in which files are made and renamed later, as it was given: with a time in it, if the name has
    /// one there.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.rotates.then(|| directory_of(&self.path))
    }

    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn start(self) -> Result<Capture, SaveError> {
        let Self { path, snaplen, when_full, shared, writer, .. } = self;
        let (queue, batches) = queue();
        let (finished, done) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || {
                run(writer, &batches);
                let _receiver_gone = finished.send(());
            })
            .map_err(SaveError::Thread)?;
        Ok(Capture { path, snaplen, when_full, queue, batch: Batch::new(), taken: 0, shared, done })
    }
}

impl Capture {
    /// Opens the first file and starts the thread.
    ///
    /// # Errors
    ///
    /// See [`OpenCapture`].
    pub fn start(options: CaptureOptions, when_full: WhenFull) -> Result<Self, SaveError> {
        OpenCapture::open(options, when_full)?.start()
    }

    /// Takes a copy of `packet`.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.taken += 1;
        if self.shared.has_ended() {
            add(&self.shared.after_end, 1);
            return;
        }
        self.batch.push(packet, self.snaplen);
        if self.batch.is_full() {
            self.flush();
        }
    }

    /// Hands what there is to the thread.
    pub fn flush(&mut self) {
        self.hand_over(match self.when_full {
            WhenFull::Wait => None,
            WhenFull::Drop => Some(Duration::ZERO),
        });
    }

    /// Hands what there is to the thread, and waits for room no longer than `limit`, if there is one.
    fn hand_over(&mut self, limit: Option<Duration>) {
        if self.batch.len() > 0 && !self.queue.send(&mut self.batch, limit) {
            self.refused();
        }
    }

    /// Packets that the kernel lost since the capture began: the file's statistics tell of them.
    pub fn kernel_drops(&self, total: u64) {
        self.shared.kernel_drops.store(total, Ordering::Relaxed);
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counters(&self) -> CaptureCounters {
        self.shared.counters(self.taken)
    }

    /// Resolves when nothing more will be written: the last of `-W` files is complete, the reader of a
    /// pipe is gone, a stream is broken.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.notify.notified().await }
    }

    /// Whether nothing more will be written, for a source that does not wait.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.has_ended()
    }

    /// Has the thread write everything and end the file, which tells of `kernel_drops`; waits for it, at
    /// most for `limit`. A reader that went away is no error.
    ///
    /// # Errors
    ///
    /// If a stream is broken, or does not take the rest in time.
    #[must_use = "it tells what was lost"]
    pub fn finish(
        mut self,
        kernel_drops: u64,
        limit: Duration,
    ) -> (CaptureCounters, Result<(), SaveError>) {
        let deadline = Instant::now() + limit;
        self.kernel_drops(kernel_drops);
        self.hand_over(Some(limit));
        let Self { path, queue, done, shared, taken, .. } = self;
        drop(queue);
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = done.recv_timeout(left);
        let mut counters = shared.counters(taken);
        // What the thread still has is lost with it.
        counters.dropped_queue += counters.on_their_way();
        let result = match (waited, shared.take_end()) {
            (Err(RecvTimeoutError::Timeout), _) => {
                Err(SaveError::Stalled { file: path, seconds: limit.as_secs() })
            }
            (_, Some(End::Failed(error))) => Err(error),
            (Err(RecvTimeoutError::Disconnected), None) => {
                let source = io::Error::other("the thread that wrote it has died");
                Err(SaveError::Write { file: path, source })
            }
            (_, None | Some(End::Complete | End::ReaderGone)) => Ok(()),
        };
        (counters, result)
    }

    /// Counts what the queue did not take, and keeps the buffers.
    fn refused(&mut self) {
        let lost = if self.shared.has_ended() {
            &self.shared.after_end
        } else {
            &self.shared.dropped_queue
        };
        add(lost, self.batch.len());
        self.batch.clear();
    }
}

/// The thread: until its handle is gone. Batches that come after the end are counted.
fn run(mut writer: Writer, batches: &Receiver) {
    let delay = writer.delay();
    let mut waiting: VecDeque<(Instant, Batch)> = VecDeque::new();
    loop {
        let due = waiting.front().map(|(since, _)| delay.saturating_sub(since.elapsed()));
        let over = match batches.recv([writer.patience(), due].into_iter().flatten().min()) {
            Ok(batch) => {
                waiting.push_back((Instant::now(), batch));
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        while let Some((since, _)) = waiting.front()
            && (over || since.elapsed() >= delay || waiting.len() > MOST_WAITING)
            && let Some((_, batch)) = waiting.pop_front()
        {
            writer.batch(&batch);
            batches.give_back(batch);
        }
        if over {
            break;
        }
        writer.tick();
    }
    writer.finish();
}

fn describe(filter: String, application: String, live: bool, snaplen: u32) -> Description {
    let (os, hardware) = uname().map_or_else(
        |_| ("Linux".to_owned(), String::new()),
        |system| {
            let [name, release, machine] = [system.sysname(), system.release(), system.machine()]
                .map(|text| text.to_string_lossy());
            (format!("{name} {release}"), machine.into_owned())
        },
    );
    Description { hardware, os, application, filter, own_interfaces: live, snaplen }
}
