//! Whether memory is flat: what both processes have, in the first half of the time and in the second.
//!
//! Samples for what they mostly have, and the kernel's high-water mark for the most: the attacher has twice as much for
//! the moment in which it loads programs, and a sample meets that or does not.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::process::children;

/// Memory that a process may take more in the second half than in the first: of the middle of the samples.
const FLAT: f64 = 1.05;

/// The same, of the most: it has another reload's share of chance.
const PEAK: f64 = 1.15;

/// Samples of which the middle says something: a short soak is always in a reload, or has just begun.
const MANY: usize = 40;

/// Of the time, the beginning, which is not looked at.
const BEGINNING: f64 = 0.1;

/// Which part of the time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Beginning,
    First,
    Second,
}

/// A process, KiB resident.
struct Process {
    name: &'static str,
    id: u32,
    samples: Vec<(Part, u64)>,
    most: Vec<u64>,
}

/// Resident memory of both processes.
pub(super) struct Memory {
    start: Instant,
    time: Duration,
    part: Part,
    processes: [Process; 2],
}

impl Memory {
    /// Of a daemon and its attacher, from now on for `time`.
    pub(super) fn of(daemon: u32, time: Duration) -> Result<Self> {
        let attacher = *children(daemon)?.first().context("no attacher")?;
        let process = |name, id| Process { name, id, samples: Vec::new(), most: Vec::new() };
        let processes = [process("daemon", daemon), process("attacher", attacher)];
        Ok(Self { start: Instant::now(), time, part: Part::Beginning, processes })
    }

    /// Looks how much it is now.
    pub(super) fn sample(&mut self) -> Result<()> {
        for process in &mut self.processes {
            process.samples.push((self.part, process.field("VmRSS")?));
        }
        Ok(())
    }

    /// Takes note of the most at the end of a part.
    pub(super) fn halves(&mut self) -> Result<()> {
        let share = self.start.elapsed().as_secs_f64() / self.time.as_secs_f64();
        let part = if share < BEGINNING {
            Part::Beginning
        } else if share < 0.5 {
            Part::First
        } else {
            Part::Second
        };
        if part != self.part {
            self.end()?;
            self.part = part;
        }
        Ok(())
    }

    /// The last part is over.
    pub(super) fn end(&mut self) -> Result<()> {
        for process in &mut self.processes {
            process.most.push(process.field("VmHWM")?);
            // Resets the mark: proc_pid_clear_refs(5).
            fs::write(format!("/proc/{}/clear_refs", process.id), "5")?;
        }
        Ok(())
    }

    /// Whether the second half has as much as the first.
    pub(super) fn is_flat(&self) -> Result<()> {
        for Process { name, samples, most, .. } in &self.processes {
            let every = (samples.len() / 10).max(1);
            let some: Vec<u64> = samples.iter().step_by(every).map(|(_, kib)| *kib).collect();
            let [_, most_early, most_late] = most[..] else { anyhow::bail!("{most:?}") };
            let middle = |of: Part| -> Result<u64> {
                let mut all: Vec<u64> =
                    samples.iter().filter(|(part, _)| *part == of).map(|(_, kib)| *kib).collect();
                all.sort_unstable();
                all.get(all.len() / 2).copied().context("samples")
            };
            let (early, late) = (middle(Part::First)?, middle(Part::Second)?);
            println!(
                "{name}: {early} KiB in the first half, at most {most_early}; {late} KiB in the second, at most \
                 {most_late}; samples {some:?}"
            );
            let is_flat = samples.len() < MANY || (late as f64) < (early as f64) * FLAT;
            ensure!(is_flat, "{name} grows");
            ensure!((most_late as f64) < (most_early as f64) * PEAK, "{name} grows");
        }
        Ok(())
    }
}

impl Process {
    /// A field of /proc/PID/status, in KiB.
    fn field(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find(|line| line.starts_with(name)).context("a field")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
    }
}
