//! Processes without capabilities, for what a process that has some is not to do itself: parse what others send.
//!
//! ```text
//!  this process, one thread ─ fork ─► no capability, no_new_privs, no file but `kept`, helper's sandbox ─► work ─► _exit
//!         ▲                                                                                                 │
//!         └──────────────────────────── JSON, through a pipe ◄──────────────────────────────────────────────┘  ([`run`], [`run_meanwhile`])
//! ```
//!
//! A fork and no exec: the work is a closure, and has what it needs in memory.

use std::{
    ffi::CStr,
    io,
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
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pipe2, read, write},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, time::timeout};

use crate::{descriptors::close_others, privilege, sandbox};

/// The longest answer that is read, in bytes: that of libpcap for a list of some ten thousand networks.
const MAX_ANSWER: usize = 4 << 20;

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
    if is_for_another() { ask(name, patience, work) } else { Ok(work()) }
}

/// The same while the reactor goes on with other things. The process is ended if this is dropped while it waits. Must run
/// inside a tokio runtime.
///
/// # Errors
///
/// As [`run`].
pub(crate) async fn run_meanwhile<T: Serialize + DeserializeOwned>(
    name: &'static CStr,
    patience: Duration,
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    if is_for_another() { ask_meanwhile(name, patience, work).await } else { Ok(work()) }
}

fn is_for_another() -> bool {
    // If /proc does not tell, it is to be as in a run.
    let alone = privilege::threads().map_or(true, |threads| threads == 1);
    privilege::has_any() && alone
}

/// Starts a process with this name (of which the kernel keeps 15 bytes) that does `work`, has `kept` and stdin, stdout
/// and stderr open, and ends when `work` returns. `work` is told whether all else was given up, and must not do what it
/// is for if not. Somebody has to wait for the end of the process.
///
/// # Errors
///
/// If there is no process to be had.
#[expect(unsafe_code, reason = "fork, and what the child does instead of returning")]
pub(crate) fn start(
    name: &'static CStr,
    kept: &[BorrowedFd<'_>],
    work: impl FnOnce(io::Result<()>) -> io::Result<()>,
) -> io::Result<Pid> {
    // SAFETY: of threads there is one, or none holds a lock that `work` needs: that of the allocator is the C library's
    // to see to.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        return Ok(child);
    }
    let lived = catch_unwind(AssertUnwindSafe(|| work(confine(name, kept))));
    let code = match lived {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            tracing::error!("the process {}: {error}", name.to_string_lossy());
            1
        }
        // It has said so itself.
        Err(_panic) => 1,
    };
    // SAFETY: nothing is left to do; what `exit` would run is the parent's.
    unsafe { libc::_exit(code) }
}

#[expect(unsafe_code, reason = "it closes what the parent has open")]
fn confine(name: &'static CStr, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    prctl::set_name(name)?;
    privilege::drop_all().map_err(io::Error::other)?;
    prctl::set_no_new_privs()?;
    // SAFETY: their owners are in frames that the child never comes back to.
    unsafe { close_others(kept) }?;
    sandbox::enter_helper();
    Ok(())
}

fn ask<T: Serialize + DeserializeOwned>(
    name: &'static CStr,
    patience: Duration,
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    let deadline = Instant::now() + patience;
    let (child, answer) = begin(name, work)?;
    let answered = read_until(&answer, deadline);
    understand(child.end()?, &answered?)
}

async fn ask_meanwhile<T: Serialize + DeserializeOwned>(
    name: &'static CStr,
    patience: Duration,
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    let (child, answer) = begin(name, work)?;
    let answered = timeout(patience, read_meanwhile(answer)).await;
    understand(child.end()?, &answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
}

/// Has another process do `work`: its answer comes through the pipe.
fn begin<T: Serialize>(
    name: &'static CStr,
    work: impl FnOnce() -> T,
) -> io::Result<(Child, OwnedFd)> {
    let (answer, its_answer) = pipe2(OFlag::O_CLOEXEC)?;
    let id = start(name, &[its_answer.as_fd()], |confined| {
        // Nobody waits for it any more.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let answer = confined.map(|()| work()).map_err(|error| error.to_string());
        write_all(&its_answer, &serde_json::to_vec(&answer)?)
    })?;
    Ok((Child { id, ended: false }, answer))
}

/// A process that ends with this, and nothing is left of it.
struct Child {
    id: Pid,
    ended: bool,
}

impl Child {
    /// How it ended: it has, is about to, or is to. It is not waited for that it likes to.
    fn end(mut self) -> io::Result<WaitStatus> {
        self.reap()
    }

    fn reap(&mut self) -> io::Result<WaitStatus> {
        self.ended = true;
        let _ended = kill(self.id, Signal::SIGKILL);
        loop {
            match waitpid(self.id, None) {
                Err(Errno::EINTR) => {}
                ended => return Ok(ended?),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.reap()
        {
            tracing::debug!("the end of the process {}: {error}", self.id);
        }
    }
}

/// What a process that has `ended` so has answered.
fn understand<T: DeserializeOwned>(ended: WaitStatus, answered: &[u8]) -> io::Result<T> {
    if answered.is_empty() {
        return Err(io::Error::other(without_answer(ended)));
    }
    serde_json::from_slice::<Result<T, String>>(answered)?.map_err(io::Error::other)
}

/// How it ended, in words.
fn without_answer(ended: WaitStatus) -> String {
    match ended {
        WaitStatus::Signaled(_, signal, _) => format!("it was ended by {signal}"),
        _ => "it ended without an answer".to_owned(),
    }
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
        check_length(&answer)?;
    }
}

/// All that comes, until the end.
async fn read_meanwhile(from: OwnedFd) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let from = pipe::Receiver::from_owned_fd(from)?;
    from.take(MAX_ANSWER as u64 + 1).read_to_end(&mut answer).await?;
    check_length(&answer)?;
    Ok(answer)
}

fn check_length(answer: &[u8]) -> io::Result<()> {
    if answer.len() > MAX_ANSWER {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn the_other_process_has_no_capabilities_and_no_files() {
        let file = std::fs::File::open("/dev/zero").unwrap();
        let (process, status, files) = ask(c"apart-test", SOON, || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let is_zero = |fd: std::fs::DirEntry| {
                std::fs::read_link(fd.path()).is_ok_and(|path| path.ends_with("zero"))
            };
            let files = std::fs::read_dir("/proc/self/fd")
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

    #[tokio::test]
    async fn meanwhile_others_have_their_turn_and_one_that_is_given_up_is_ended() {
        let id = || std::process::id();
        assert_ne!(ask_meanwhile(c"apart-test", SOON, id).await.unwrap(), std::process::id());
        let long = ask_meanwhile(c"apart-test", SOON, || "x".repeat(MAX_ANSWER));
        long.await.unwrap_err();
        let late = ask_meanwhile(c"apart-test", Duration::from_millis(50), || {
            std::thread::sleep(2 * SOON);
        });
        assert_eq!(late.await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap();
        {
            let works = ask_meanwhile(c"apart-test", SOON, || std::thread::sleep(2 * SOON));
            tokio::pin!(works);
            timeout(Duration::from_millis(50), &mut works).await.unwrap_err();
            assert_ne!(children(), "");
        }
        assert_eq!(children(), "");
    }

    #[test]
    fn one_that_panics_is_an_error() {
        let error = ask(c"apart-test", SOON, || -> u32 { panic!("the test's own panic") });
        let error = error.unwrap_err().to_string();
        // As seen at the end of the pipe, before it has come to its own end.
        assert!(error.starts_with("it ended without") || error.ends_with("SIGKILL"), "{error}");
    }

    #[test]
    fn one_that_stays_is_ended_when_it_has_answered() {
        let asked = Instant::now();
        let stays = || {
            std::thread::spawn(|| std::thread::sleep(2 * SOON));
            "an answer".to_owned()
        };
        assert_eq!(ask(c"apart-test", SOON, stays).unwrap(), "an answer");
        assert!(asked.elapsed() < SOON);
    }

    #[test]
    fn it_changes_no_file_and_starts_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "before").unwrap();
        let (read, wrote, started, signalled) = ask(c"apart-test", SOON, || {
            let read = std::fs::read_to_string(&file).unwrap();
            let started = std::process::Command::new("true").status().is_ok();
            let signalled = kill(Pid::parent(), None).is_ok();
            (read, std::fs::write(&file, "behind").is_ok(), started, signalled)
        })
        .unwrap();
        assert_eq!((read.as_str(), started, signalled), ("before", false, false));
        // Landlock is not in every kernel.
        let restricted = matches!(sandbox::landlock_available(), sandbox::Landlock::Abi(_));
        assert_eq!(wrote, !restricted);
    }

    #[test]
    fn a_long_answer_comes_whole_and_a_longer_one_does_not() {
        let long = ask(c"apart-test", SOON, || "x".repeat(MAX_ANSWER - 16)).unwrap();
        assert_eq!(long.len(), MAX_ANSWER - 16);
        ask(c"apart-test", SOON, || "x".repeat(MAX_ANSWER)).unwrap_err();
    }

    #[test]
    fn beside_threads_it_is_done_here() {
        // The test runner has some.
        assert_eq!(run(c"apart-test", SOON, std::process::id).unwrap(), std::process::id());
    }
}
