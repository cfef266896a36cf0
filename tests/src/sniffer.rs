//! The tls-sniff program in a namespace, its events and its log.
//!
//! The program is built once in a test process by the cargo that runs the tests, in the same target
//! folder; `TLS_SNIFF_BIN` names one that is already built, for machines without cargo.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::netns::Namespace;
use crate::poll;
use crate::process::{Process, only_child, run};
use crate::schema;
use crate::workspace_root;

/// How long loading and attaching may take: the verifier is slow on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// How long the program may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(10);

/// Lines of stdout that a failure shows.
const LAST_LINES: usize = 10;

/// The path of the tls-sniff program, built if need be.
///
/// # Errors
///
/// If it does not build; the message has the compiler's.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| match std::env::var_os("TLS_SNIFF_BIN") {
        Some(path) => Ok(path.into()),
        None => build("dev").map_err(|error| format!("{error:#}")),
    });
    built.clone().map_err(|error| anyhow!(error))
}

/// Builds the program with a profile of cargo and returns its path.
///
/// # Errors
///
/// If it does not build; the message has the compiler's.
pub fn build(profile: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let messages = run(Command::new(cargo)
        .args(["build", "--package", "tls-sniff", "--bin", "tls-sniff", "--profile", profile])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(workspace_root()))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "tls-sniff")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo build named no executable tls-sniff")
}

/// A running tls-sniff; killed on drop.
pub struct Sniffer {
    process: Process,
}

/// A tls-sniff that has ended.
#[derive(Debug)]
pub struct Stopped {
    /// The JSON objects of stdout, in order. Empty if stdout is text.
    pub events: Vec<Value>,
    /// All lines of stdout.
    pub stdout: Vec<String>,
    /// The log.
    pub stderr: Vec<String>,
    /// Exit code or signal.
    pub status: ExitStatus,
}

impl Stopped {
    /// The last event.
    ///
    /// # Errors
    ///
    /// If it is not `stats`.
    pub fn stats(&self) -> Result<&Value> {
        let last = self.events.last().context("no events")?;
        let is_last = last["event"] == "stats" && last["reason"] == "end";
        ensure!(is_last, "the last event is {last}");
        Ok(last)
    }

    /// Checks that nothing went uncounted: for each hook seen is the sum of all others, and each stage
    /// of user space took in what the one before gave. Returns how many packets there were, those of a
    /// link type that is not walked among them.
    ///
    /// # Errors
    ///
    /// If a sum is wrong.
    pub fn check_sums(&self) -> Result<u64> {
        let stats = self.stats()?;
        let count = |value: &Value| value.as_u64().context("a count");
        let (mut packets, mut emitted) = (0, 0);
        for (hook, counters) in stats["hooks"].as_object().context("hooks")? {
            let others = counters.as_object().context("counters")?;
            // `flow_evicted` counts something else than packets.
            let aside = ["seen", "flow_evicted"];
            let others = others.iter().filter(|(name, _)| !aside.contains(&name.as_str()));
            let sum: u64 = others.map(|(_, value)| count(value)).sum::<Result<u64>>()?;
            ensure!(count(&counters["seen"])? == sum, "{hook}: {counters}");
            packets += sum;
            emitted += count(&counters["emitted"])?;
        }
        let pipeline = &stats["pipeline"];
        ensure!(count(&pipeline["received"])? == emitted, "{stats}");
        let outputs = stats["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let sum = |names: &[&str]| -> Result<u64> {
            let counts = outputs.iter().flat_map(|it| names.iter().map(move |name| &it[*name]));
            counts.map(count).sum()
        };
        const LOST: [&str; 3] = ["lost_queue", "lost_connection", "lost_write"];
        ensure!(sum(&["events"])? == sum(&["written", "after_end"])? + sum(&LOST)?, "{stats}");
        let sums = [("written", sum(&["written"])?), ("dropped", sum(&LOST)?)];
        for (name, sum) in sums.into_iter().chain([("after_end", sum(&["after_end"])?)]) {
            ensure!(count(&pipeline[name])? == sum, "{name}: {stats}");
        }
        for output in outputs {
            let asked = count(&output["events"])?;
            let most = count(&pipeline["observations"])? - count(&pipeline["beyond_count"])?;
            ensure!(asked == most || (asked < most && outputs.len() > 1), "{stats}");
        }
        let stdout = outputs.iter().find(|output| output["name"] == "stdout");
        let written = stdout.map_or(Ok(0), |output| count(&output["written"]))?;
        let told = self.events.iter().filter(|event| event["event"] != "stats").count();
        ensure!(written == told as u64, "{stats}");
        let skipped = stats["skipped_link_types"].as_object().into_iter().flatten();
        let skipped: u64 = skipped.map(|(_, value)| count(value)).sum::<Result<u64>>()?;
        Ok(packets + skipped)
    }
}

impl Sniffer {
    /// Starts tls-sniff with `arguments` in `namespace`. Does not wait: see [`Sniffer::ready`].
    ///
    /// # Errors
    ///
    /// If it does not build or start.
    pub fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        let binary = binary()?;
        let mut command = namespace.command(binary.to_str().context("a path in UTF-8")?);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts `command`, which must behave as tls-sniff does.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn spawn(mut command: Command) -> Result<Self> {
        // The log level of the person who runs the tests must not hide what `ready` waits for.
        command.env_remove("RUST_LOG");
        Ok(Self { process: Process::spawn(command, None)? })
    }

    /// Waits until the programs are attached, which the log says by `watching INTERFACES`.
    ///
    /// # Errors
    ///
    /// If tls-sniff ends (the message has its log), or does not say so in time.
    pub fn ready(&mut self) -> Result<()> {
        poll::try_until(READY, "tls-sniff to log what it is watching", || {
            if self.stderr().iter().any(|line| line.contains("watching")) {
                return Ok(Some(()));
            }
            self.process.check_alive().map(|()| None)
        })
        .with_context(|| format!("log: {}", self.stderr().join(" | ")))
    }

    /// Waits until an event is there, now or earlier, that `wanted` takes, and returns the first.
    ///
    /// # Errors
    ///
    /// If tls-sniff ends or the time is over without one; the message has the events that came.
    pub fn wait_for(
        &mut self,
        timeout: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        // A flood has many lines: each is read once.
        let mut looked_at = 0;
        poll::try_until(timeout, "an event", || {
            // Looked at before the events: what it wrote before its end is then there.
            let alive = self.process.check_alive();
            let lines = self.process.stdout_from(looked_at);
            looked_at += lines.len();
            let mut events = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
            match events.find(|event| wanted(event)) {
                Some(event) => Ok(Some(event)),
                None => alive.map(|()| None),
            }
        })
        .with_context(|| {
            let lines = self.process.stdout();
            let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
            let log = self.stderr().join(" | ");
            format!("{} lines, the last of them {last:#?}, log: {log}", lines.len())
        })
    }

    /// The JSON objects so far.
    pub fn events(&self) -> Vec<Value> {
        self.process.stdout().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The lines of the log so far.
    pub fn stderr(&self) -> Vec<String> {
        self.process.stderr()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process id of the attacher of a live run.
    ///
    /// # Errors
    ///
    /// If it has none, or has ended.
    pub fn attacher(&self) -> Result<u32> {
        only_child(self.id())
    }

    /// Sends `signal`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends tls-sniff by SIGTERM and returns all that it wrote.
    ///
    /// # Errors
    ///
    /// See [`Sniffer::finish`].
    pub fn stop(mut self) -> Result<Stopped> {
        self.process.signal(Signal::SIGTERM)?;
        self.finish(STOP)
    }

    /// Waits until tls-sniff ends by itself.
    ///
    /// # Errors
    ///
    /// If it does not end in time (it is killed), if stdout is a mixture of lines that are JSON and
    /// lines that are not, or if an event is not as docs/events.schema.json has it.
    pub fn finish(self, timeout: Duration) -> Result<Stopped> {
        let finished = self.process.finish(timeout)?;
        let (mut events, mut text) = (Vec::new(), Vec::new());
        for line in &finished.stdout {
            match serde_json::from_str::<Value>(line) {
                Ok(event) => {
                    // The other profiles have no such field.
                    if event.get("event").is_some_and(Value::is_string) {
                        schema::check(&event)?;
                    }
                    events.push(event);
                }
                Err(_) => text.push(line),
            }
        }
        if let (false, Some(line)) = (events.is_empty(), text.first()) {
            bail!("a line of stdout among JSON events is no JSON: {line:?}");
        }
        let (status, stderr) = (finished.status, finished.stderr);
        Ok(Stopped { events, stdout: finished.stdout, stderr, status })
    }
}
