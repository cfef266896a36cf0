//! How full the ring buffer is: its two positions, which the kernel shows in the first two pages of its memory.
//!
//! ```text
//!  page 0: consumer position | page 1: producer position | data, twice
//! ```
//!
//! Bytes ever read and ever written, kernel/bpf/ringbuf.c. Both pages are mapped once more, for reading alone.

use std::{
    ffi::c_void,
    io,
    num::NonZero,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{Ordering, fence},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The positions of a ring.
#[derive(Debug)]
pub(super) struct Fill {
    pages: NonNull<c_void>,
    page_len: NonZero<usize>,
    /// The most that was unread since this was taken last.
    most: usize,
}

impl Fill {
    /// Maps the positions of the ring of this file descriptor.
    pub(super) fn map(ring: impl AsFd) -> io::Result<Self> {
        let page_len = super::page_len()?;
        let length = page_len.checked_mul(NonZero::<usize>::MIN.saturating_add(1));
        let length = length.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the kernel chooses where, so that nothing is there yet.
        let pages =
            unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, ring, 0) }?;
        Ok(Self { pages, page_len, most: 0 })
    }

    fn position(&self, offset: usize) -> usize {
        // SAFETY: both pages are mapped as long as `self` lives; a page begins with an aligned `unsigned long`, which
        // the kernel and the ring's reader write as a whole, and others than this thread at any time: so volatile.
        unsafe { self.pages.as_ptr().byte_add(offset).cast::<usize>().read_volatile() }
    }

    /// Bytes that are not read yet.
    pub(super) fn unread(&self) -> usize {
        // In this order the difference is never negative.
        let read = self.position(0);
        fence(Ordering::Acquire);
        self.position(self.page_len.get()).wrapping_sub(read)
    }

    /// Looks, for the highest.
    pub(super) fn look(&mut self) {
        self.most = self.most.max(self.unread());
    }

    /// The highest since this was called last.
    pub(super) fn take_most(&mut self) -> usize {
        self.look();
        std::mem::take(&mut self.most)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nobody has a reference into it.
        let _cannot_fail = unsafe { munmap(self.pages, 2 * self.page_len.get()) };
    }
}
