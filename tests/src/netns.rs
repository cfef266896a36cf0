//! Network namespaces that go when their guard goes.
//!
//! A namespace is named `tsn-PID-N` after the process that made it, under /run/netns where
//! iproute2 keeps such names. A test process that is killed cannot drop its guards; [`sweep`]
//! removes the namespaces of processes that no longer run. The test runner calls it at its start.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::need::{command, tool};
use crate::process::run;

/// Where iproute2 keeps the names of namespaces.
const FOLDER: &str = "/run/netns";

/// Beginning of the names of our namespaces.
const PREFIX: &str = "tsn-";

/// A network namespace with its loopback interface up. Dropping it kills what still runs inside and
/// removes it with its interfaces.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace under a name that no other has.
    ///
    /// # Errors
    ///
    /// If `ip netns add` fails, for lack of privileges for example.
    pub fn new() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        run(command("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "dev", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// A command that runs `program` inside.
    ///
    /// `ip netns exec` also mounts a /sys that shows the namespace's interfaces, and replaces
    /// itself by the program: the child's process id is the program's.
    pub fn command(&self, program: &str) -> Command {
        let mut inside = command("ip");
        inside.args(["netns", "exec", &self.name]);
        inside.arg(tool(program).unwrap_or_else(|| PathBuf::from(program)));
        inside
    }

    /// Runs `ip` on the namespace and returns its output.
    ///
    /// # Errors
    ///
    /// If `ip` fails; the message has its stderr.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        run(command("ip").args(["-netns", &self.name]).args(arguments))
    }

    /// Runs `closure` inside, on a thread of its own: a thread's namespace is the namespace of the
    /// sockets and children that it makes, and a thread that has left its namespace should not
    /// serve others. Sockets stay in the namespace wherever they are used later. A panic passes
    /// through.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(self.path()).with_context(|| format!("open {}", self.name))?;
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(file, CloneFlags::CLONE_NEWNET)
                        .with_context(|| format!("enter {}", self.name))?;
                    Ok(closure())
                })
                .join()
                .unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("namespace {} is left over: {error:#}", self.name);
        }
    }
}

/// Kills what runs in a namespace and removes it.
fn remove(name: &str) -> Result<()> {
    let me = std::process::id().to_string();
    for pid in run(command("ip").args(["netns", "pids", name]))?.lines().filter(|pid| *pid != me) {
        // It may have ended since; what matters is that the namespace goes.
        let _ = kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL);
    }
    run(command("ip").args(["netns", "delete", name])).map(drop)
}

/// Removes the namespaces of test processes that no longer run, and returns their names.
///
/// # Errors
///
/// If one of them cannot be removed.
pub fn sweep() -> Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(FOLDER) else {
        return Ok(Vec::new()); // no namespace was ever named here
    };
    let mut removed = Vec::new();
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(owner) = owner(&name) else { continue };
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        let result = remove(&name);
        // Another process may sweep at the same time.
        if Path::new(FOLDER).join(&name).exists() {
            result?;
        }
        removed.push(name);
    }
    Ok(removed)
}

/// The process id in the name of one of our namespaces.
fn owner(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_our_names_have_an_owner() {
        assert_eq!(owner("tsn-4711-0"), Some(4711));
        for other in ["tsn-4711", "tsn-x-0", "tsn-4711-x", "blue", "xtsn-1-1", "tsn--1-1"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
