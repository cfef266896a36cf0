//! The kernel's events: the ring buffer, read through tokio.

#![expect(
    unsafe_code,
    reason = "tokio asks for it where a file descriptor is registered, and memory is mapped"
)]

mod fill;

use std::{
    io,
    num::NonZero,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData, RingBuf};
use nix::unistd::{SysconfVar, sysconf};
use tls_sniff_common::event::EVENT_HEADER_LEN;
use tokio::io::{Interest, unix::AsyncFd};

use self::fill::Fill;

/// Events read in one go before other work gets its turn.
const BATCH: usize = 256;

/// When an event comes within half of this after the ring was found empty, so much has to pass before it is read:
/// under load one wake-up is for many events then, not for one, and so is what follows, a write to stdout among it.
/// The first event after a silence does not wait. 0.2 ms saves little, and 5 ms little more.
const PAUSE: Duration = Duration::from_millis(2);

/// A smaller ring might run full meanwhile.
const LEAST_FOR_PAUSES: u32 = 1 << 20;

/// The same if events have whole packets: those of 10 Gbit/s are 2.5 MB then, and come in bursts.
const LEAST_FOR_PAUSES_WITH_PACKETS: u32 = 16 << 20;

/// The ring buffer on the user's side.
pub struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
    /// Events that fit, at most.
    capacity: usize,
    pause: Duration,
    /// When it was found empty; `None` in the middle of what it holds.
    emptied: Option<Instant>,
    /// Bytes.
    size: u32,
    /// If anybody wants to know.
    fill: Option<Fill>,
}

/// How full a ring is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFill {
    /// Its size.
    pub size: u64,
    /// What is not read yet.
    pub used: u64,
    /// The most that was found since this was asked last.
    pub most: u64,
}

impl Ring {
    /// Takes over what another process has made, as [`Self::new`] does. This calls `bpf(2)`, which is the last time.
    ///
    /// # Errors
    ///
    /// If it is no ring, cannot be mapped, or the reactor refuses its file descriptor.
    pub fn from_fd(ring: OwnedFd, bytes: u32, packets: bool) -> io::Result<Self> {
        let map = MapData::from_fd(ring).map_err(io::Error::other)?;
        let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(io::Error::other)?;
        Self::new(ring, bytes, packets)
    }

    /// Takes the ring of `bytes` bytes over for reading; `packets`: whether its events have packets. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the reactor refuses its file descriptor, or the system does not tell how large its pages are.
    pub fn new(ring: RingBuf<MapData>, bytes: u32, packets: bool) -> io::Result<Self> {
        // SAFETY: the map owns its file descriptor and keeps it open and the same for as long as the
        // `AsyncFd` that owns the map lives.
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let size = size(bytes, page_len()?);
        let capacity = size as usize / EVENT_HEADER_LEN;
        let pause = pause(bytes, packets);
        let ring = registered.map_err(|error| error.into_parts().1)?;
        Ok(Self { ring, capacity, pause, emptied: None, size, fill: None })
    }

    /// Looks from now on at how full it is, for [`Self::fill`].
    ///
    /// # Errors
    ///
    /// If its memory cannot be mapped.
    pub fn watch_fill(&mut self) -> io::Result<()> {
        self.fill = Some(Fill::map(self.ring.get_ref())?);
        Ok(())
    }

    /// How full it is, if that is looked at.
    pub fn fill(&mut self) -> Option<RingFill> {
        let fill = self.fill.as_mut()?;
        let (used, most) = (fill.unread() as u64, fill.take_most() as u64);
        Some(RingFill { size: self.size.into(), used, most })
    }

    /// Waits for events and gives each of a bounded batch to `handle`, as bytes in the ring itself. Whether there
    /// may be more: then this resolves again at once, and nothing that waits for the reactor is heard in between.
    ///
    /// # Errors
    ///
    /// If the reactor fails.
    pub async fn read(&mut self, mut handle: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut ready = self.ring.readable_mut().await?;
        if let Some(empty) = self.emptied.take().map(|emptied| emptied.elapsed())
            && empty < self.pause / 2
        {
            // Not on tokio's clock: the ring would wake the thread again meanwhile, and the clock goes by milliseconds.
            thread::sleep(self.pause.saturating_sub(empty));
        }
        if let Some(fill) = &mut self.fill {
            fill.look();
        }
        for _ in 0..BATCH {
            let Some(item) = ready.get_inner_mut().next() else {
                ready.clear_ready();
                self.emptied = Some(Instant::now());
                return Ok(false);
            };
            handle(&item);
        }
        Ok(true)
    }

    /// Gives at most a batch of what is in the ring to `handle`, without waiting and whether or not the kernel has said
    /// that there is something. Whether there was.
    pub fn turn(&mut self, mut handle: impl FnMut(&[u8])) -> bool {
        for number in 0..BATCH {
            let Some(item) = self.ring.get_mut().next() else { return number > 0 };
            handle(&item);
        }
        true
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

/// How large a ring becomes for which `bytes` are asked, where pages have `page` bytes: the loader rounds up to a power
/// of two of them, which may have 16 or 64 KiB elsewhere than on x86.
fn size(bytes: u32, page: NonZero<usize>) -> u32 {
    let page = u32::try_from(page.get()).unwrap_or(u32::MAX);
    // Both are powers of two, and what is larger than one and no smaller than the other is a multiple of it.
    bytes.next_power_of_two().max(page)
}

/// Bytes of a page.
fn page_len() -> io::Result<NonZero<usize>> {
    let len = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|len| usize::try_from(len).ok());
    len.and_then(NonZero::new).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// [`PAUSE`], if a ring of `bytes` bytes has room for what comes meanwhile.
fn pause(bytes: u32, packets: bool) -> Duration {
    let least = if packets { LEAST_FOR_PAUSES_WITH_PACKETS } else { LEAST_FOR_PAUSES };
    if bytes < least { Duration::ZERO } else { PAUSE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_whole_pages_and_a_power_of_two_of_them() {
        let size = |bytes, page| size(bytes, NonZero::new(page).unwrap());
        for (bytes, page, expected) in [
            (4096, 4096, 4096),
            (4097, 4096, 8192),
            (4096, 16 << 10, 16 << 10),
            (4096, 64 << 10, 64 << 10),
            (65_537, 64 << 10, 128 << 10),
            (16 << 20, 64 << 10, 16 << 20),
            (1 << 30, 64 << 10, 1 << 30),
        ] {
            assert_eq!(size(bytes, page), expected, "{bytes} bytes in pages of {page}");
        }
        assert!(page_len().unwrap().is_power_of_two());
    }

    #[test]
    fn only_a_ring_with_room_lets_events_wait() {
        assert_eq!(pause(1 << 19, false), Duration::ZERO);
        assert_eq!(pause(1 << 20, false), PAUSE);
        assert_eq!(pause(1 << 20, true), Duration::ZERO);
        assert_eq!(pause(16 << 20, true), PAUSE);
    }
}
