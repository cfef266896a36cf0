//! What the process that parses network bytes gives up before it reads the first of them.
//!
//! ```text
//!  all is open: outputs, capture files, listeners, sockets
//!    │ capabilities      all of them, in every set
//!    │ no_new_privs      execve would give none back
//!    │ Landlock          no file but beneath the directories of the plan (5.13)
//!    │ seccomp           no system call but those that reading, writing and waiting need
//!    ▼
//!  threads start, which inherit it; the first byte is read
//! ```
//!
//! All four are a thread's own, so there must be one thread when they are set. What the kernel lacks is said, and
//! the rest is set.

mod landlock;
mod seccomp;

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::AtFlags,
    sys::prctl,
    unistd::{AccessFlags, faccessat},
};

pub use self::landlock::{Landlock, available as landlock_available};
pub use self::seccomp::available as seccomp_available;
use crate::privilege::{self, StaysPrivileged};

/// What the process still has to do behind the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files may be made, read, written, renamed and removed beneath these.
    pub directories: Vec<PathBuf>,
    /// Files may be read beneath these: those of TLS secrets, which others write and replace. If there is none of
    /// either, no file can be opened.
    pub readable: Vec<PathBuf>,
    /// Threads may be started.
    pub threads: bool,
    /// Connections may be accepted from listening sockets that are open.
    pub accept: bool,
}

impl Plan {
    /// Takes note that files in `directory` will be renewed. Of one that strftime fills in, all that is beneath the
    /// part before the first `%`.
    pub fn writes_in(&mut self, directory: &Path) {
        let fixed = |part: &&Path| !part.as_os_str().as_encoded_bytes().contains(&b'%');
        add(&mut self.directories, directory.ancestors().find(fixed).unwrap_or(Path::new("")));
    }

    /// Takes note that a file of this name will be read again, also when another has taken its place. A symbolic link
    /// leads to where it leads now.
    pub fn reads_again(&mut self, file: &Path) {
        let target = file.canonicalize().ok();
        for file in [Some(file), target.as_deref()].into_iter().flatten() {
            add(&mut self.readable, file.parent().unwrap_or(file));
        }
    }
}

fn add(directories: &mut Vec<PathBuf>, directory: &Path) {
    let here = directory.as_os_str().is_empty();
    let directory = if here { Path::new(".") } else { directory };
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    if !directories.contains(&directory) {
        directories.push(directory);
    }
}

/// How much the operator insists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Capabilities are dropped, and nothing else is done.
    Off,
    /// What the kernel has.
    #[default]
    BestEffort,
    /// All of it, or an error.
    Required,
}

/// What is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Files are restricted.
    pub landlock: bool,
    /// System calls are restricted.
    pub seccomp: bool,
}

/// Why the sandbox was not entered.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Threads that run already would stay outside.
    #[error("the sandbox is entered too late: {threads} threads run already")]
    Threads {
        /// How many there are.
        threads: usize,
    },
    /// /proc does not tell of threads.
    #[error("cannot tell how many threads run: {0}")]
    Task(#[source] io::Error),
    /// A capability stays.
    #[error(transparent)]
    Capabilities(#[from] StaysPrivileged),
    /// `prctl(PR_SET_NO_NEW_PRIVS)`
    #[error("cannot set no_new_privs: {0}")]
    NoNewPrivs(#[source] io::Error),
    /// A file beneath it could not be renewed.
    #[error(
        "cannot write in {directory} without capabilities, so that no file there could be renewed: {source}"
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel has no such thing, and it was asked for.
    #[error("--require-sandbox: {0}")]
    Missing(String),
    /// The kernel refused it.
    #[error("cannot set up {part}: {reason}")]
    Refused {
        /// Landlock or seccomp.
        part: &'static str,
        /// What was said.
        reason: String,
    },
}

impl SandboxError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Threads { .. } => {
                "under an emulator that has threads of its own: --no-sandbox, as a user without capabilities; else please report it with `uname -r`"
            }
            Self::Refused { .. } => "please report it with `uname -r`; --no-sandbox does without",
            Self::Task(_) => "mount /proc",
            Self::Capabilities(_) | Self::NoNewPrivs(_) => "please report it with `uname -r`",
            Self::Directory { .. } => {
                "run tls-sniff as the directory's owner: root without capabilities is a user like any other"
            }
            Self::Missing(_) => {
                "`tls-sniff doctor` tells what this kernel has; without --require-sandbox the rest is used"
            }
        }
    }
}

/// Gives up all that `plan` does not ask for, and says once what the kernel lacks for it.
///
/// # Errors
///
/// If threads run (without a sandbox: that have capabilities), a capability stays, a directory of the plan cannot be written in, or something is missing that is
/// required.
pub fn enter(plan: &Plan, strictness: Strictness) -> Result<Entered, SandboxError> {
    let threads = privilege::threads().map_err(SandboxError::Task)?;
    // What is dropped is this thread's: others would keep theirs, and root's would get some by execve. qemu-user has one
    // that is not this program's.
    let harmless = strictness == Strictness::Off
        && !nix::unistd::geteuid().is_root()
        && !privilege::any_thread_has_any();
    if threads != 1 && !harmless {
        return Err(SandboxError::Threads { threads });
    }
    privilege::drop_all()?;
    prctl::set_no_new_privs().map_err(|errno| SandboxError::NoNewPrivs(errno.into()))?;
    for directory in &plan.directories {
        check_writable(directory)?;
    }
    if strictness == Strictness::Off {
        tracing::warn!("--no-sandbox: what parses network bytes may open files and sockets");
        return Ok(Entered { landlock: false, seccomp: false });
    }
    let landlock = has(landlock::restrict(plan)?, strictness)?;
    let seccomp = has(seccomp::restrict(plan)?, strictness)?;
    tracing::debug!(landlock, seccomp, "in the sandbox, without capabilities");
    Ok(Entered { landlock, seccomp })
}

/// Has a process that looks up names, and does nothing else, change no file, start no program, and signal and trace no
/// other process, as far as the kernel can do that. What a libc reads for it, and whom it asks, is for its modules to
/// say (nsswitch.conf).
pub(crate) fn enter_helper() {
    for (part, entered) in
        [("Landlock", landlock::restrict_helper()), ("seccomp", seccomp::restrict_helper())]
    {
        if let Err(reason) = entered {
            tracing::debug!("a process that looks up names is without {part}: {reason}");
        }
    }
}

/// What one part of the sandbox came to.
enum Part {
    InForce,
    /// What the kernel lacks, and what that means.
    Lacking(String),
}

/// Whether it is in force; what is not is said, or an error.
fn has(part: Part, strictness: Strictness) -> Result<bool, SandboxError> {
    match part {
        Part::InForce => Ok(true),
        Part::Lacking(what) if strictness == Strictness::Required => {
            Err(SandboxError::Missing(what))
        }
        Part::Lacking(what) => {
            tracing::info!("{what}");
            Ok(false)
        }
    }
}

/// A file that cannot be renewed is better told at the start than at midnight.
fn check_writable(directory: &Path) -> Result<(), SandboxError> {
    let access = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(nix::fcntl::AT_FDCWD, directory, access, AtFlags::AT_EACCESS).map_err(|errno| {
        SandboxError::Directory { directory: directory.to_owned(), source: errno.into() }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn directories_are_those_that_files_are_or_will_be_in() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (one, two) = (folder.join("one"), folder.join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        fs::write(two.join("target"), "").unwrap();
        std::os::unix::fs::symlink(two.join("target"), one.join("link")).unwrap();
        let mut plan = Plan::default();
        for directory in [&two, &one.join("%Y/%m"), &one, &two.join("../one"), &one.join("x%H")] {
            plan.writes_in(directory);
        }
        assert_eq!(plan.directories, [two.clone(), one.clone()]);
        for file in [Path::new("x"), &one.join("new"), &one.join("link")] {
            plan.reads_again(file);
        }
        assert_eq!(plan.readable, [std::env::current_dir().unwrap(), one, two]);
    }

    #[test]
    fn threads_that_run_already_are_an_error() {
        // The test runner has some.
        let error = enter(&Plan::default(), Strictness::Required).unwrap_err();
        assert!(matches!(error, SandboxError::Threads { threads: 2.. }), "{error}");
    }

    #[test]
    fn without_a_sandbox_only_threads_that_have_capabilities_are_an_error() {
        // The test runner's have them if this thread has; it drops its own, and they keep theirs.
        let privileged = privilege::has_any();
        let entered = std::thread::spawn(|| {
            privilege::drop_all().unwrap();
            enter(&Plan::default(), Strictness::Off)
        });
        match entered.join().unwrap() {
            Ok(entered) => assert_eq!((privileged, entered.seccomp), (false, false)),
            Err(error) => assert!(privileged, "{error}"),
        }
    }
}
