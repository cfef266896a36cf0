//! Log messages of the kernel programs, with the cargo feature `kernel-log` only: for work on the
//! programs themselves.

#![expect(unsafe_code, reason = "tokio asks for it where a file descriptor is registered")]

use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use crate::load::Programs;

/// Hands what the programs log to this process's log. Must run inside a tokio runtime.
pub fn forward(programs: &mut Programs) {
    let logger = match EbpfLogger::init(programs.ebpf_mut()) {
        Ok(logger) => logger,
        Err(error) => return tracing::warn!("no log of the kernel programs: {error}"),
    };
    // SAFETY: the logger owns its map's file descriptor, open and the same for as long as it lives.
    let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = match registered {
        Ok(logger) => logger,
        Err(error) => {
            let (_, error) = error.into_parts();
            return tracing::warn!("no log of the kernel programs: {error}");
        }
    };
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
}
