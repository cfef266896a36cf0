//! The kernel's events: the ring buffer, read through tokio.

#![expect(unsafe_code, reason = "tokio asks for it where a file descriptor is registered")]

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};

/// Events read in one go before other work gets its turn.
const BATCH: usize = 256;

/// The ring buffer on the user's side.
pub struct Ring(AsyncFd<RingBuf<MapData>>);

impl Ring {
    /// Takes the ring over for reading. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the reactor refuses its file descriptor.
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the map owns its file descriptor and keeps it open and the same for as long as the
        // `AsyncFd` that owns the map lives.
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        registered.map(Self).map_err(|error| {
            let (_, error) = error.into_parts();
            error
        })
    }

    /// Waits for events and gives each of a bounded batch to `handle`, as bytes in the ring itself.
    ///
    /// # Errors
    ///
    /// If the reactor fails.
    pub async fn read(&mut self, mut handle: impl FnMut(&[u8])) -> io::Result<()> {
        let mut ready = self.0.readable_mut().await?;
        for _ in 0..BATCH {
            let Some(item) = ready.get_inner_mut().next() else {
                ready.clear_ready();
                break;
            };
            handle(&item);
        }
        Ok(())
    }

    /// Gives what is in the ring now to `handle`, without waiting.
    pub fn drain(&mut self, mut handle: impl FnMut(&[u8])) {
        while let Some(item) = self.0.get_mut().next() {
            handle(&item);
        }
    }
}
