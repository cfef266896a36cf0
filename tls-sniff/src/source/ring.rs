//! The kernel's events: the ring buffer, read through tokio.

#![expect(unsafe_code, reason = "tokio asks for it where a file descriptor is registered")]

use std::io;

use aya::maps::{MapData, RingBuf};
use tls_sniff_common::event::EVENT_HEADER_LEN;
use tokio::io::{Interest, unix::AsyncFd};

/// Events read in one go before other work gets its turn.
const BATCH: usize = 256;

/// The ring buffer on the user's side.
pub struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
    /// Events that fit, at most.
    capacity: usize,
}

impl Ring {
    /// Takes the ring of `bytes` bytes over for reading. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the reactor refuses its file descriptor.
    pub fn new(ring: RingBuf<MapData>, bytes: u32) -> io::Result<Self> {
        // SAFETY: the map owns its file descriptor and keeps it open and the same for as long as the
        // `AsyncFd` that owns the map lives.
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        // Rounded up to a power of two by the loader.
        let capacity = bytes.next_power_of_two() as usize / EVENT_HEADER_LEN;
        registered.map(|ring| Self { ring, capacity }).map_err(|error| {
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
        let mut ready = self.ring.readable_mut().await?;
        for _ in 0..BATCH {
            let Some(item) = ready.get_inner_mut().next() else {
                ready.clear_ready();
                break;
            };
            handle(&item);
        }
        Ok(())
    }

    /// Gives what is in the ring to `handle`, without waiting: all of it if nobody writes any more, and
    /// at most as many events as fit into the ring if somebody does.
    pub fn drain(&mut self, mut handle: impl FnMut(&[u8])) {
        for _ in 0..self.capacity {
            let Some(item) = self.ring.get_mut().next() else { break };
            handle(&item);
        }
    }
}
