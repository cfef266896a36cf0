//! A child process whose output is collected while it runs, and which does not outlive its guard.
//!
//! Two threads read stdout and stderr, so that a child that writes much never blocks on a full pipe
//! and a test can look at the lines at any time.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::poll;

/// How long the pipes may stay open after the child has ended. Only a descendant that inherited
/// them keeps them open.
const PIPES_CLOSE: Duration = Duration::from_secs(2);

/// Lines that a reader thread appends to; bytes that are not UTF-8 are replaced.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn snapshot(&self) -> Vec<String> {
        self.snapshot_from(0)
    }

    fn snapshot_from(&self, number: usize) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(number..).unwrap_or_default().to_vec()
    }

    fn read_from(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })
    }
}

/// A running child; killed and reaped on drop.
pub struct Process {
    /// Program and arguments, for messages.
    what: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// A child that has ended, with all that it wrote.
#[derive(Debug)]
pub struct Finished {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Lines of stdout, without their line ends.
    pub stdout: Vec<String>,
    /// Lines of stderr, without their line ends.
    pub stderr: Vec<String>,
}

impl Process {
    /// Starts `command` with `input` as its stdin (none: /dev/null) and its output collected.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn spawn(mut command: Command, input: Option<&[u8]>) -> Result<Self> {
        let what = format!("{command:?}");
        let mut child = command
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {what}"))?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            stdout.read_from(child.stdout.take().expect("stdout is piped")),
            stderr.read_from(child.stderr.take().expect("stderr is piped")),
        ];
        let mut process = Self { what, child, stdout, stderr, readers };
        if let Some(input) = input {
            let mut stdin = process.child.stdin.take().expect("stdin is piped");
            match stdin.write_all(input) {
                // A child that ended without reading tells why by its status and output.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => (),
                result => result.with_context(|| format!("input of {}", process.what))?,
            }
        }
        Ok(process)
    }

    /// The lines of stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.snapshot()
    }

    /// The lines of stdout so far, without the first `number`.
    pub fn stdout_from(&self, number: usize) -> Vec<String> {
        self.stdout.snapshot_from(number)
    }

    /// The lines of stderr so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.snapshot()
    }

    /// The lines of stderr so far, without the first `number`.
    pub fn stderr_from(&self, number: usize) -> Vec<String> {
        self.stderr.snapshot_from(number)
    }

    /// The process id. `ip netns exec` replaces itself by the program, so this is the program's.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status if the child has ended.
    ///
    /// # Errors
    ///
    /// If the kernel does not know the child.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Fails, with the end of stderr, if the child has ended: for those who wait for its output.
    ///
    /// # Errors
    ///
    /// If the child has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => {
                self.drain()?;
                anyhow::bail!("{} ended with {status}: {}", self.what, self.stderr().join(" | "))
            }
        }
    }

    /// Sends `signal` to the child, unless it has ended and been reaped.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Not after a reaping wait: the number could be another process's by then.
        if self.try_wait()?.is_none() {
            let pid = Pid::from_raw(i32::try_from(self.id())?);
            kill(pid, signal).with_context(|| format!("{signal} to {}", self.what))?;
        }
        Ok(())
    }

    /// Waits until the child has ended and all that it wrote is read.
    ///
    /// # Errors
    ///
    /// If it still runs after `timeout` (it is killed), or a descendant keeps its output open.
    pub fn finish(mut self, timeout: Duration) -> Result<Finished> {
        let waiting = format!("the end of {}", self.what);
        let status = poll::try_until(timeout, &waiting, || self.try_wait())
            .with_context(|| format!("stderr so far: {}", self.stderr().join(" | ")))?;
        self.drain()?;
        Ok(Finished { status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Waits for the readers to see the end of both pipes.
    fn drain(&self) -> Result<()> {
        let waiting = format!("the output of {} to be closed", self.what);
        poll::until(PIPES_CLOSE, &waiting, || {
            self.readers.iter().all(JoinHandle::is_finished).then_some(())
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end and returns its stdout.
///
/// # Errors
///
/// If it cannot be started or fails; the message has its stderr.
pub fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The children of the first thread of a process.
///
/// # Errors
///
/// If there is no such process.
pub fn children(process: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    children.split_whitespace().map(|child| Ok(child.parse()?)).collect()
}

/// The one child of a process.
///
/// # Errors
///
/// If there is no such process, or it has none or more.
pub fn only_child(process: u32) -> Result<u32> {
    let children = children(process)?;
    let [child] = children[..] else { anyhow::bail!("children of {process}: {children:?}") };
    Ok(child)
}

/// A process that is stopped, until this is dropped: a test that fails leaves none behind.
#[derive(Debug)]
pub struct Paused(Pid);

impl Paused {
    /// Stops a process.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn new(process: u32) -> Result<Self> {
        let process = Pid::from_raw(process.try_into()?);
        kill(process, Signal::SIGSTOP)?;
        Ok(Self(process))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have been killed.
        let _gone = kill(self.0, Signal::SIGCONT);
    }
}
