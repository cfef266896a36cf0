//! What a process inherits and is not to have: the caller's file descriptors, and those of another process of this run.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
};

use nix::libc;

/// Closes all file descriptors but stdin, stdout, stderr and `kept`.
///
/// # Errors
///
/// If the kernel refuses (`close_range` came with Linux 5.9).
///
/// # Safety
///
/// Whatever owns another one must never be used nor dropped in this process.
#[expect(unsafe_code, reason = "the descriptors have owners, of whom this knows nothing")]
pub(crate) unsafe fn close_others(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = kept.iter().map(|fd| fd.as_raw_fd()).collect();
    kept.sort_unstable();
    let mut first = libc::STDERR_FILENO + 1;
    for fd in kept.into_iter().filter(|fd| *fd > libc::STDERR_FILENO) {
        if first < fd {
            close(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close(first, RawFd::MAX)
}

#[expect(unsafe_code, reason = "a call that libc has no name for everywhere")]
fn close(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: it touches no memory; who owns what is closed is `close_others`'s to know.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
