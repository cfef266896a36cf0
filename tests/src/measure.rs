//! What a process costs: CPU time by the kernel's own clock of it, peak memory, context switches; and which CPU
//! something runs on.

use std::{
    fs::{self, File},
    io,
    mem::MaybeUninit,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    libc,
    sched::{CpuSet, sched_setaffinity},
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::{Pid, SysconfVar, sysconf},
};

use crate::poll;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Less CPU time than this in one look is idle.
const IDLE: Duration = Duration::from_millis(1);

/// What a process used from its start to its end, its reaped children included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// User and system time.
    pub cpu: Duration,
    /// Peak resident memory, bytes, as often as it was looked at.
    pub peak: u64,
}

/// A process that is measured, its output in files; killed on drop.
pub struct Measured {
    what: String,
    child: Child,
    reaped: bool,
}

impl Measured {
    /// Starts `command` with stdout and stderr in those files.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn(mut command: Command, stdout: &Path, stderr: &Path) -> Result<Self> {
        let what = format!("{command:?}");
        let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command.stdout(create(stdout)?).stderr(create(stderr)?);
        let child = command.spawn().with_context(|| format!("start {what}"))?;
        Ok(Self { what, child, reaped: false })
    }

    fn pid(&self) -> Result<libc::pid_t> {
        Ok(self.child.id().try_into()?)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the file of its stderr says `word`.
    ///
    /// # Errors
    ///
    /// If it ends, or does not say so in time.
    pub fn says(&mut self, stderr: &Path, word: &str, limit: Duration) -> Result<()> {
        let what = format!("{} to say {word:?}", self.what);
        poll::try_until(limit, &what, || {
            let said = fs::read_to_string(stderr).unwrap_or_default();
            if said.contains(word) {
                return Ok(Some(()));
            }
            if let Some(status) = self.child.try_wait()? {
                self.reaped = true;
                bail!("it ended, {status}: {said}");
            }
            Ok(None)
        })
    }

    /// CPU time so far of it and its children.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        let mut open = vec![self.pid()?];
        while let Some(pid) = open.pop() {
            // A child may have ended; its time is then its parent's affair at the end.
            match cpu_of(pid) {
                Ok(time) => sum += time,
                Err(error) if pid == self.pid()? => return Err(error),
                Err(_) => {}
            }
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            open.extend(
                children.unwrap_or_default().split(' ').filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
        Ok(sum)
    }

    /// Waits until it has had nothing to do for `quiet`, and returns the CPU time until then and whether it came to
    /// that within `limit`.
    ///
    /// # Errors
    ///
    /// If it ends.
    pub fn idle(&self, quiet: Duration, limit: Duration) -> Result<(Duration, bool)> {
        let start = Instant::now();
        let (mut before, mut busy) = (self.cpu()?, start);
        loop {
            thread::sleep(LOOK);
            let now = self.cpu()?;
            if now.saturating_sub(before) >= IDLE {
                busy = Instant::now();
            }
            before = now;
            let is_idle = busy.elapsed() > quiet;
            if is_idle || start.elapsed() > limit {
                return Ok((now, is_idle));
            }
        }
    }

    /// Sends `signal`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()?), signal).with_context(|| self.what.clone())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If it still runs after `limit`, or fails.
    pub fn wait(mut self, limit: Duration) -> Result<Used> {
        let what = format!("the end of {}", self.what);
        let pid = self.pid()?;
        // `ru_maxrss` starts with what this process had when it started the other.
        let mut peak = 0;
        let (status, cpu) = poll::try_until(limit, &what, || {
            peak = peak_of(pid).unwrap_or(0).max(peak);
            reap(pid)
        })?;
        let used = Used { cpu, peak };
        self.reaped = true;
        let ended = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        ensure!(ended, "{}: wait status {status:#x}", self.what);
        Ok(used)
    }

    /// Runs `command` to its end, its output thrown away.
    ///
    /// # Errors
    ///
    /// If it cannot be started, fails, or takes too long.
    pub fn run(command: Command, limit: Duration) -> Result<Used> {
        let null = Path::new("/dev/null");
        Self::spawn(command, null, null)?.wait(limit)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if !self.reaped {
            // Errors mean that it has already ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The status and the CPU time, once the process has ended.
fn reap(pid: libc::pid_t) -> Result<Option<(i32, Duration)>> {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to memory of the right type that lives through the call.
    let ended = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    if ended < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: numbers only, for which zeros are as good as what the kernel wrote.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    Ok((ended == pid).then_some((status, cpu)))
}

/// Peak resident memory of a process that runs, bytes.
fn peak_of(pid: libc::pid_t) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kibibytes.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// CPU time of all threads of a process, those that ended too.
fn cpu_of(pid: libc::pid_t) -> Result<Duration> {
    Ok(clock_gettime(nix::time::clock_getcpuclockid(Pid::from_raw(pid))?)?.into())
}

/// CPU time of the kernel's thread for softirqs on a CPU; none if it cannot be told.
pub fn softirq_cpu(cpu: usize) -> Duration {
    let name = format!("ksoftirqd/{cpu}");
    let is_it = |pid: &i32| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_it).and_then(|pid| cpu_of(pid).ok()).unwrap_or_default()
}

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a thread has a clock").into()
}

/// Keeps this thread on one CPU, and what it starts; on a machine of one there is no choice.
///
/// # Errors
///
/// If the kernel refuses.
pub fn pin(cpu: usize) -> Result<()> {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(cpu.min(count.max(2) - 1))?;
    match sched_setaffinity(Pid::from_raw(0), &set) {
        Err(nix::errno::Errno::EINVAL) if count == 1 => Ok(()),
        result => Ok(result?),
    }
}

/// Resident memory of this process, bytes.
pub fn resident() -> usize {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let page = page.and_then(|page| usize::try_from(page).ok()).unwrap_or(4096);
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|field| field.parse::<usize>().ok());
    pages.unwrap_or(0) * page
}

/// Voluntary context switches of all threads of a process.
///
/// # Errors
///
/// If it has ended.
pub fn switches(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.context("voluntary_ctxt_switches")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]);
        let used = Measured::run(command, Duration::from_secs(20)).unwrap();
        assert!(used.cpu > Duration::from_millis(1), "{used:?}");
        assert!((100_000..1 << 30).contains(&used.peak), "{used:?}");
        assert!(Measured::run(Command::new("false"), Duration::from_secs(20)).is_err());
    }

    #[test]
    fn idle_is_told_from_busy() {
        let null = Path::new("/dev/null");
        let mut sleeper = Command::new("sleep");
        sleeper.arg("60");
        let sleeper = Measured::spawn(sleeper, null, null).unwrap();
        assert!(sleeper.idle(4 * LOOK, Duration::from_secs(5)).unwrap().1);
        let mut busy = Command::new("sh");
        busy.args(["-c", "while :; do :; done"]);
        let busy = Measured::spawn(busy, null, null).unwrap();
        // On a full machine it may get nothing for some 100 ms.
        let (cpu, idle) = busy.idle(30 * LOOK, Duration::from_secs(2)).unwrap();
        assert!(!idle && cpu > Duration::ZERO);
        assert!(switches(busy.id()).is_ok());
    }
}
