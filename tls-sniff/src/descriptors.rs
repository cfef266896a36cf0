//! What a process inherits and is not to have: the caller's file descriptors, and those of another process of this run.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
};

use nix::libc;

/// Closes all file descriptors but stdin, stdout, stderr and `kept`.
///
/// # Errors
///
/// If the kernel refuses, and there is no /proc.
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
        // A service manager or container runtime that filters system calls may be older than it (5.9).
        _ => close_each(first, last),
    }
}

#[expect(unsafe_code, reason = "the descriptors have owners, of whom this knows nothing")]
fn close_each(first: RawFd, last: RawFd) -> io::Result<()> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<RawFd>().ok();
    // Its own is among them, and closed by then.
    let open: Vec<_> = fs::read_dir("/proc/self/fd")?.flatten().filter_map(number).collect();
    for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
    Ok(())
}
