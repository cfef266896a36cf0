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

mod capabilities;
mod landlock;
mod seccomp;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::AtFlags,
    sys::prctl,
    unistd::{AccessFlags, faccessat},
};

pub use self::landlock::{Landlock, available as landlock_available};
pub use self::seccomp::available as seccomp_available;

/// What the process still has to do behind the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Files may be made, written, renamed and removed beneath these. If there is none, no file can be opened.
    pub directories: Vec<PathBuf>,
    /// Files may be read beneath these: those of TLS secrets, which others write and replace.
    pub readable: Vec<PathBuf>,
    /// Threads may be started.
    pub threads: bool,
    /// Connections may be accepted from listening sockets that are open.
    pub accept: bool,
}

impl Plan {
    /// Takes note that a file of this name will be opened again, or others beside it: its directory is one to write
    /// in, and if the file is a symbolic link, that of the file it leads to. Of a directory that strftime fills in,
    /// all that is beneath the part before the first `%`.
    pub fn writes_beside(&mut self, file: &Path) {
        add_directories(&mut self.directories, file);
    }

    /// Takes note that a file of this name will be read again, also when another has taken its place.
    pub fn reads_again(&mut self, file: &Path) {
        add_directories(&mut self.readable, file);
    }
}

fn add_directories(directories: &mut Vec<PathBuf>, file: &Path) {
    let target = file.canonicalize().ok();
    for file in [Some(file), target.as_deref()].into_iter().flatten() {
        let directory = directory(file);
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
}

/// The directory that `file` lies in, or will.
fn directory(file: &Path) -> PathBuf {
    let fixed = |directory: &&Path| !directory.as_os_str().as_encoded_bytes().contains(&b'%');
    let directory = file.ancestors().skip(1).find(fixed).unwrap_or(Path::new(""));
    let here = directory.as_os_str().is_empty();
    let directory = if here { Path::new(".") } else { directory };
    directory.canonicalize().unwrap_or_else(|_| directory.to_owned())
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
    #[error("cannot drop the capabilities: {0}")]
    Capabilities(String),
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
            Self::Threads { .. } | Self::Refused { .. } => {
                "please report it with `uname -r`; --no-sandbox does without"
            }
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
/// If threads run, a capability stays, a directory of the plan cannot be written in, or something is missing that is
/// required.
pub fn enter(plan: &Plan, strictness: Strictness) -> Result<Entered, SandboxError> {
    let threads = fs::read_dir("/proc/self/task").map_err(SandboxError::Task)?.count();
    if threads != 1 {
        return Err(SandboxError::Threads { threads });
    }
    capabilities::drop_all()?;
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
    use super::*;

    #[test]
    fn directories_are_those_that_files_come_to_lie_in() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (one, two) = (folder.join("one"), folder.join("two"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        fs::write(two.join("target"), "").unwrap();
        std::os::unix::fs::symlink(two.join("target"), one.join("link")).unwrap();
        let directories = |file: &Path| {
            let mut plan = Plan::default();
            plan.writes_beside(file);
            plan.directories
        };
        let one_alone = std::slice::from_ref(&one);
        assert_eq!(directories(&one.join("new")), one_alone);
        assert_eq!(directories(&one.join("%Y/%m.pcap")), one_alone);
        assert_eq!(directories(&one.join("%H.pcap")), one_alone);
        assert_eq!(directories(&one.join("link")), [one, two.clone()]);
        assert_eq!(directories(Path::new("x")), [std::env::current_dir().unwrap()]);
        let mut plan = Plan::default();
        plan.writes_beside(&two.join("a"));
        plan.writes_beside(&two.join("b"));
        assert_eq!(plan.directories, [two]);
    }

    #[test]
    fn threads_that_run_already_are_an_error() {
        // The test runner has some.
        let error = enter(&Plan::default(), Strictness::Required).unwrap_err();
        assert!(matches!(error, SandboxError::Threads { threads: 2.. }), "{error}");
    }
}
