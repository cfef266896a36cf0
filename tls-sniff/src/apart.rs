//! Processes without capabilities, for what a process that has some is not to do itself: parse what others send.
//!
//! ```text
//!  this process, one thread ─ fork ─► no capability, no_new_privs, no file but `kept` ─► work ─► _exit
//!         ▲                                                                               │
//!         └──────────────────────────── JSON, through a pipe ◄────────────────────────────┘   ([`run`])
//! ```
//!
//! A fork and no exec: the work is a closure, and has what it needs in memory.

use std::{
    ffi::CStr,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, pipe2, read, write},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{descriptors::close_others, privilege};

/// How long the lookup of a name may take: resolv.conf(5) has 5 seconds for each of two attempts.
pub(crate) const LOOKUP: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: a classic BPF program has at most 4,096 instructions.
const MAX_ANSWER: usize = 1 << 20;

/// What `work` comes to, done by another process if this one has a capability, for which it then waits as long as
/// `patience`. Here while there are several threads, of which the child of a fork would have one: a run has its
/// capabilities for as long as it has one thread.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] if that is not long enough; or if the process could not be had, or has failed.
pub(crate) fn run<T: Serialize + DeserializeOwned>(
    name: &'static CStr,
    patience: Duration,
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    let alone = threads().is_ok_and(|threads| threads == 1);
    if privilege::has_any() && alone { ask(name, patience, work) } else { Ok(work()) }
}

/// How many threads this process has.
///
/// # Errors
///
/// If /proc does not tell.
pub(crate) fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Starts a process with this name (of which the kernel keeps 15 bytes) that does `work`, has `kept` and stdin, stdout
/// and stderr open, and ends with what `work` returns. Somebody has to wait for its end.
///
/// # Errors
///
/// If there is no process to be had.
#[expect(unsafe_code, reason = "fork, and what the child does instead of returning")]
pub(crate) fn start(
    name: &'static CStr,
    kept: &[BorrowedFd<'_>],
    work: impl FnOnce() -> io::Result<()>,
) -> io::Result<Pid> {
    // SAFETY: of threads there is one, or none holds a lock that `work` needs: that of the allocator is the C library's
    // to see to.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        return Ok(child);
    }
    let lived = catch_unwind(AssertUnwindSafe(|| {
        prctl::set_name(name)?;
        privilege::drop_all().map_err(io::Error::other)?;
        prctl::set_no_new_privs()?;
        // SAFETY: their owners are in frames that the child never comes back to.
        unsafe { close_others(kept) }?;
        work()
    }));
    let code = match lived {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            tracing::debug!("{}: {error}", name.to_string_lossy());
            1
        }
        // It has said so itself.
        Err(_panic) => 1,
    };
    // SAFETY: nothing is left to do; what `exit` would run is the parent's.
    unsafe { libc::_exit(code) }
}

fn ask<T: Serialize + DeserializeOwned>(
    name: &'static CStr,
    patience: Duration,
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    let deadline = Instant::now() + patience;
    let (answer, its_answer) = pipe2(OFlag::O_CLOEXEC)?;
    let child = start(name, &[its_answer.as_fd()], || {
        // Nobody waits for it any more.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let answer = serde_json::to_vec(&work())?;
        write_all(&its_answer, &answer)
    })?;
    drop(its_answer);
    let answered = read_until(&answer, deadline);
    if answered.is_err() {
        // It can have ended by itself.
        let _ended = kill(child, Signal::SIGKILL);
    }
    while waitpid(child, None) == Err(Errno::EINTR) {}
    Ok(serde_json::from_slice(&answered?)?)
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// All that comes, until the end.
fn read_until(from: &OwnedFd, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match read(from, &mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(len) => answer.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn the_other_process_has_no_capabilities_and_no_files() {
        let file = fs::File::open("/dev/zero").unwrap();
        let (process, status, files) = ask(c"apart-test", SOON, || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let is_zero = |fd: fs::DirEntry| {
                fs::read_link(fd.path()).is_ok_and(|path| path.ends_with("zero"))
            };
            let files = fs::read_dir("/proc/self/fd")
                .unwrap()
                .flatten()
                .filter_map(|fd| is_zero(fd).then_some(()));
            (std::process::id(), status, files.count())
        })
        .unwrap();
        drop(file);
        assert_ne!(process, std::process::id());
        assert_eq!(files, 0);
        let is = |line: &str| assert!(status.lines().any(|it| it == line), "{line}: {status}");
        is("Name:\tapart-test");
        is("NoNewPrivs:\t1");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            is(&format!("{set}:\t0000000000000000"));
        }
    }

    #[test]
    fn one_that_takes_too_long_is_ended() {
        let asked = Instant::now();
        let error = ask(c"apart-test", Duration::from_millis(50), || {
            std::thread::sleep(2 * SOON);
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(asked.elapsed() < SOON);
    }

    #[test]
    fn one_that_panics_is_an_error() {
        ask(c"apart-test", SOON, || -> u32 { panic!("the test's own panic") }).unwrap_err();
    }

    #[test]
    fn a_long_answer_comes_whole_and_a_longer_one_does_not() {
        let long = ask(c"apart-test", SOON, || "x".repeat(MAX_ANSWER - 2)).unwrap();
        assert_eq!(long.len(), MAX_ANSWER - 2);
        ask(c"apart-test", SOON, || "x".repeat(MAX_ANSWER)).unwrap_err();
    }

    #[test]
    fn beside_threads_it_is_done_here() {
        // The test runner has some.
        assert_eq!(run(c"apart-test", SOON, std::process::id).unwrap(), std::process::id());
    }
}
