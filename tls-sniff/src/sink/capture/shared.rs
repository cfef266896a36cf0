//! What the thread and its handle tell each other besides packets.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::error::SaveError;
use crate::observation::CaptureCounters;

/// Why nothing more is written.
#[derive(Debug)]
pub(super) enum End {
    /// `-W` files are complete.
    Complete,
    /// The reader of a pipe went away: no error.
    ReaderGone,
    /// A stream is broken, or a file may not be on the disk.
    Failed(SaveError),
}

/// Counters of the thread, and its end.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) written: AtomicU64,
    pub(super) dropped_queue: AtomicU64,
    pub(super) dropped_disk: AtomicU64,
    pub(super) other_link_type: AtomicU64,
    pub(super) after_end: AtomicU64,
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// As the kernel tells them, since the begin of the capture.
    pub(super) kernel_drops: AtomicU64,
    ended: AtomicBool,
    end: Mutex<Option<End>>,
    pub(super) notify: Notify,
}

/// Counters are for reading, not for ordering anything.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Shared {
    pub(super) fn counters(&self, taken: u64) -> CaptureCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CaptureCounters {
            taken,
            written: load(&self.written),
            dropped_queue: load(&self.dropped_queue),
            dropped_disk: load(&self.dropped_disk),
            other_link_type: load(&self.other_link_type),
            after_end: load(&self.after_end),
            files: load(&self.files),
            bytes: load(&self.bytes),
        }
    }

    /// The first end is the one that counts.
    pub(super) fn end(&self, end: End) {
        if let Ok(mut slot) = self.end.lock() {
            slot.get_or_insert(end);
        }
        self.ended.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn take_end(&self) -> Option<End> {
        self.end.lock().ok().and_then(|mut end| end.take())
    }
}
