//! What happens to a service in half a year, in half an hour.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tls_sniff_tests::poll;

use super::{
    reader::Reader,
    rig::{Rig, ip},
    service::{Files, Service},
};

/// Filters that all select [`super::rig::PORT`].
const FILTERS: [&str; 3] = ["", "port = [\"443\"]", "expression = \"tcp port 443 or port 8443\""];

/// How often each thing happens, of a soak of half an hour.
const RELOAD: f64 = 7.0;
const MOVE: f64 = 31.0;
const LINK_DOWN: f64 = 23.0;
const PAIR: f64 = 17.0;
const BROKEN: f64 = 53.0;
const STALL: f64 = 150.0;
const STALLED: f64 = 90.0;

/// How long a link is down.
const DOWN: Duration = Duration::from_millis(300);

/// What is wrong with a configuration that is broken, and what is said of it.
pub(crate) const BROKEN_KEY: &str = "intreface";

/// How long the service may take to refuse it.
const REFUSED: Duration = Duration::from_secs(60);

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) reloads: u32,
    pub(crate) invalid: u32,
    pub(crate) moves: u32,
    pub(crate) links: u32,
    pub(crate) pairs: u32,
    pub(crate) stalls: u32,
}

/// Something that comes again and again.
struct Every {
    period: Duration,
    next: Instant,
}

impl Every {
    fn new(seconds: f64) -> Self {
        let period = Duration::from_secs_f64(seconds);
        Self { period, next: Instant::now() + period }
    }

    fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.next;
        if due {
            self.next += self.period;
        }
        due
    }
}

/// Disturbs.
pub(crate) struct Disturber<'a> {
    rig: &'a Rig,
    files: &'a Files,
    reader: &'a Reader,
    reload: Every,
    broken: Every,
    moved: Every,
    link: Every,
    pair: Every,
    stall: Every,
    stalled: Option<Instant>,
    stall_time: Duration,
    has_pair: bool,
    pub(crate) done: Done,
}

impl<'a> Disturber<'a> {
    /// `pace`: 1 as above, less is faster.
    pub(crate) fn new(rig: &'a Rig, files: &'a Files, reader: &'a Reader, pace: f64) -> Self {
        let every = |seconds: f64| Every::new(seconds * pace);
        Self {
            rig,
            files,
            reader,
            reload: every(RELOAD),
            broken: every(BROKEN),
            moved: every(MOVE),
            link: every(LINK_DOWN),
            pair: every(PAIR),
            stall: every(STALL),
            stalled: None,
            stall_time: Duration::from_secs_f64(STALLED * pace),
            has_pair: false,
            done: Done::default(),
        }
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, service: &mut Service) -> Result<()> {
        if self.reload.is_due() {
            let filter = FILTERS[self.done.reloads as usize % FILTERS.len()];
            self.files.configure(filter)?;
            service.process.signal(Signal::SIGHUP)?;
            self.done.reloads += 1;
        }
        if self.broken.is_due() {
            self.break_configuration(service)?;
        }
        if self.moved.is_due() {
            let path = self.files.moved();
            let old = path.with_extension(format!("json.{}", self.done.moves));
            fs::rename(&path, old).context("the file of the second output")?;
            service.process.signal(Signal::SIGHUP)?;
            self.done.moves += 1;
        }
        if self.link.is_due() {
            let end = &self.rig.pair.second;
            ip(&end.namespace, &["link", "set", &end.interface, "down"])?;
            std::thread::sleep(DOWN);
            ip(&end.namespace, &["link", "set", &end.interface, "up"])?;
            self.done.links += 1;
        }
        if self.pair.is_due() {
            self.come_or_go()?;
        }
        self.stall()
    }

    /// Waits until it was refused: a service that is slow to read it would read the next one instead.
    fn break_configuration(&mut self, service: &mut Service) -> Result<()> {
        let before = service.process.stderr().len();
        self.files.configure(&format!("{BROKEN_KEY} = [\"eth0\"]"))?;
        service.process.signal(Signal::SIGHUP)?;
        self.done.invalid += 1;
        poll::try_until(REFUSED, "a configuration to be refused", || {
            service.process.check_alive()?;
            let lines = service.process.stderr_from(before);
            Ok(lines.iter().any(|line| line.contains(BROKEN_KEY)).then_some(()))
        })
    }

    /// An interface of its own appears, or disappears.
    fn come_or_go(&mut self) -> Result<()> {
        let namespace = &self.rig.pair.second.namespace;
        self.has_pair = !self.has_pair;
        if !self.has_pair {
            ip(namespace, &["link", "delete", "soak-a"])?;
        } else {
            let add = ["link", "add", "soak-a", "type", "veth", "peer", "name", "soak-b"];
            ip(namespace, &add)?;
            ip(namespace, &["link", "set", "soak-a", "up"])?;
            ip(namespace, &["link", "set", "soak-b", "up"])?;
            self.done.pairs += 1;
        }
        Ok(())
    }

    fn stall(&mut self) -> Result<()> {
        if self.stalled.is_some_and(|since| since.elapsed() > self.stall_time) {
            self.stalled = None;
            self.reader.stall(false);
        }
        if self.stall.is_due() && self.stalled.is_none() {
            self.stalled = Some(Instant::now());
            self.reader.stall(true);
            self.done.stalls += 1;
        }
        Ok(())
    }

    /// Lets everything go on as it was.
    pub(crate) fn calm(&mut self, service: &mut Service) -> Result<()> {
        self.reader.stall(false);
        self.files.configure("")?;
        service.process.signal(Signal::SIGHUP)
    }
}
