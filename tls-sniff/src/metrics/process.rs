//! What the process costs, from /proc/self/stat (proc_pid_stat(5)).
//!
//! The file is opened before the sandbox is entered, which lets nothing be opened, and read anew for each scrape.

use std::{fmt, fs::File, io, os::unix::fs::FileExt as _, time::Duration};

use nix::{
    time::{ClockId, clock_gettime},
    unistd::{SysconfVar, sysconf},
};

use super::{
    exposition::{Writer, seconds},
    families,
    stages::number,
};
use crate::clock::Timestamp;

/// Where the figures are read.
#[derive(Debug)]
pub(super) struct Process {
    stat: File,
    ticks_per_second: f64,
    page: u64,
    /// Seconds of the Unix epoch.
    started: f64,
}

/// The figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    cpu_seconds: f64,
    resident: u64,
    virtual_size: u64,
    threads: u64,
    started: f64,
}

/// Fields of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    /// Ticks in user and kernel mode.
    ticks: u64,
    threads: u64,
    /// Ticks after boot.
    started: u64,
    /// Bytes.
    virtual_size: u64,
    /// Pages.
    resident: u64,
}

impl Process {
    pub(super) fn open() -> io::Result<Self> {
        let stat = File::open("/proc/self/stat")?;
        let setting = |name| {
            let value = sysconf(name).ok().flatten();
            value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
        };
        let ticks_per_second = number(setting(SysconfVar::CLK_TCK).unwrap_or(100));
        let page = setting(SysconfVar::PAGE_SIZE).unwrap_or(4096);
        let fields = read(&stat).ok_or(io::ErrorKind::InvalidData)?;
        let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?).as_secs_f64();
        let age = since_boot - number(fields.started) / ticks_per_second;
        let started = seconds(u64::try_from(Timestamp::now().0).unwrap_or(0)) - age;
        Ok(Self { stat, ticks_per_second, page, started })
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        let Fields { ticks, threads, started: _, virtual_size, resident } = read(&self.stat)?;
        Some(Usage {
            cpu_seconds: number(ticks) / self.ticks_per_second,
            resident: resident.saturating_mul(self.page),
            virtual_size,
            threads,
            started: self.started,
        })
    }
}

fn read(stat: &File) -> Option<Fields> {
    let mut text = [0; 1024];
    let length = stat.read_at(&mut text, 0).ok()?;
    fields(str::from_utf8(text.get(..length)?).ok()?)
}

/// Behind the name, which is in parentheses and may have any in it, fields are numbered from 3.
fn fields(stat: &str) -> Option<Fields> {
    let (_, behind) = stat.rsplit_once(')')?;
    let field =
        |number: usize| behind.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
    Some(Fields {
        ticks: field(14)? + field(15)?,
        threads: field(20)?,
        started: field(22)?,
        virtual_size: field(23)?,
        resident: field(24)?,
    })
}

impl Usage {
    pub(super) fn write(usage: Option<&Self>, writer: &mut Writer<'_, '_>) -> fmt::Result {
        let mut cpu = writer.family(&families::CPU)?;
        if let Some(usage) = usage {
            cpu.seconds(usage.cpu_seconds)?;
        }
        let gauges = [
            (&families::RESIDENT, usage.map(|usage| number(usage.resident))),
            (&families::VIRTUAL, usage.map(|usage| number(usage.virtual_size))),
            (&families::THREADS, usage.map(|usage| number(usage.threads))),
            (&families::START, usage.map(|usage| usage.started)),
        ];
        for (family, value) in gauges {
            let mut series = writer.family(family)?;
            if let Some(value) = value {
                series.gauge(&[], value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_the_process_is_skipped() {
        let stat = "1234 (a) b (c) 1) S 1 1234 1234 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 3 0 8900 1048576 256 18446744073709551615";
        let expected =
            Fields { ticks: 12, threads: 3, started: 8900, virtual_size: 1 << 20, resident: 256 };
        assert_eq!(fields(stat), Some(expected));
        assert_eq!(fields("1234 (cut) S 1 1234"), None);
        assert_eq!(fields(""), None);
    }

    #[test]
    fn the_figures_are_those_of_this_process() {
        let usage = Process::open().unwrap().usage().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")?.trim().parse().ok())
            .unwrap();
        // Counted lazily, each in its way.
        assert!((number(usage.resident) / (kib * 1024.0) - 1.0).abs() < 0.5, "{usage:?} {kib}");
        let now = seconds(u64::try_from(Timestamp::now().0).unwrap());
        assert!(usage.started <= now + 1.0 && usage.started > now - 3600.0, "{usage:?} {now}");
    }
}
