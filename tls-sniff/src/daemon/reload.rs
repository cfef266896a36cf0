//! SIGHUP: files of outputs are opened again, and a configuration takes effect that has changed.
//!
//! ```text
//!  SIGHUP ─► files ─► the attacher reads, checks, loads, swaps ─┬► its text ─► outputs, pipeline ─┬► in force
//!                                                               │                                 └► Undo ─┐
//!                                                               └► refused ─► all is as it was ◄───────────┘
//! ```
//!
//! One at a time. A signal that comes while the attacher reads has it begin again with the file as it is then (`Again`),
//! and both have one answer; one that comes too late for that is one more reload, behind the one that is going on.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::Level;

use super::Live;
use crate::{
    attacher::protocol::{Failure, Request},
    ending::{Hangup, hangup},
    error::Error,
    log,
    pipeline::PipelineOptions,
    sink::open::OutputOptions,
};

/// How long a reload may take before that is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a configuration asks of this process.
#[derive(Debug)]
pub struct Fresh {
    /// Events.
    pub pipeline: PipelineOptions,
    /// Where they go.
    pub outputs: Vec<OutputOptions>,
    /// How often statistics are told.
    pub stats_interval: Option<Duration>,
    /// Which messages are logged.
    pub log_level: Level,
    /// The keys that are not as they were.
    pub changed: Vec<String>,
}

/// A configuration that can be followed.
pub struct Follow {
    /// The text of what is in force.
    pub text: String,
    /// What is to be in force instead.
    pub read: Read,
}

/// Makes of the text in force and another one what that asks for.
pub type Read = Box<dyn Fn(&str, &str) -> Result<Fresh, Error>>;

/// Where a reload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Idle,
    /// The attacher is to swap the programs.
    Asked,
    /// The attacher is to swap them back.
    Undoing,
}

/// What SIGHUP is for.
pub(super) struct Reload {
    hangup: Hangup,
    follow: Option<Follow>,
    stage: Stage,
    /// How often the attacher is still to say that it reads the configuration from the start: if it has done so before
    /// the reload is over, no signal has come too late for that.
    unheard: u32,
    /// When it is to be said that the reload still waits.
    say_at: Option<Instant>,
    outputs_changed: bool,
}

impl Reload {
    /// `files`: whether an output is a file. Without any, and without a configuration, SIGHUP ends the program.
    pub(super) fn new(follow: Option<Follow>, files: bool) -> Result<Self, Error> {
        let hangup = hangup(files || follow.is_some())?;
        let (stage, outputs_changed) = (Stage::Idle, false);
        Ok(Self { hangup, follow, stage, unheard: 0, say_at: None, outputs_changed })
    }

    /// Resolves at the next SIGHUP, or behind a way back. Nothing is lost if this is dropped while it waits.
    pub(super) async fn hangup(&mut self) {
        match self.stage {
            Stage::Idle | Stage::Asked => self.hangup.next().await,
            Stage::Undoing => std::future::pending().await,
        }
    }

    /// When [`Live::say_what_waits`] has something to say.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.say_at
    }

    /// Whether there are other outputs since this was asked last.
    pub(super) const fn has_changed_outputs(&mut self) -> bool {
        std::mem::replace(&mut self.outputs_changed, false)
    }
}

impl Live {
    /// SIGHUP has come.
    pub(super) fn hung_up(&mut self) {
        self.manager.reloading();
        self.reader.pipeline.reopen();
        if self.reload.follow.is_some() {
            self.ask_for_reload();
        } else {
            self.over(false);
        }
    }

    fn ask_for_reload(&mut self) {
        let asked = std::mem::replace(&mut self.reload.stage, Stage::Asked);
        self.reload.unheard += 1;
        let request = if asked == Stage::Idle {
            self.reload.say_at = Some(Instant::now() + PATIENCE);
            Request::Reload
        } else {
            Request::Again
        };
        self.attacher.ask(request);
    }

    /// Says of a reload, once, that it still waits, and for what.
    pub(super) fn say_what_waits(&mut self) {
        if self.reload.say_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.reload.say_at = None;
        let id = self.attacher.id();
        let until = match self.reload.stage {
            Stage::Undoing => "the kernel has the new filters, and the rest is as it was",
            Stage::Idle | Stage::Asked => "all is as it was",
        };
        let why = if self.reload.stage == Stage::Asked && self.reload.unheard == 0 {
            format!("process {id} has names of hosts looked up, or loads programs")
        } else {
            format!("process {id}, which is to do it, does not answer: it is stopped or busy")
        };
        tracing::warn!("the reload still waits: {why}; until then {until}");
        self.manager.reload_waits();
    }

    /// The attacher reads the configuration from the start.
    pub(super) const fn reading(&mut self) {
        self.reload.unheard = self.reload.unheard.saturating_sub(1);
    }

    /// The kernel has the filters of the configuration with this text.
    pub(super) fn reloaded(&mut self, text: Option<&str>) {
        match self.reload.stage {
            Stage::Idle => {}
            Stage::Undoing => self.stays(),
            Stage::Asked => match self.follow(text) {
                Ok(changed) => {
                    let changed =
                        if changed.is_empty() { "nothing".into() } else { changed.join(", ") };
                    tracing::info!("the configuration was read again; changed: {changed}");
                    if let Some(scraping) = &mut self.scraping {
                        scraping.reloaded(true);
                    }
                    self.over(false);
                }
                Err(error) => {
                    say(&error.to_string(), error.hint());
                    self.reload.stage = Stage::Undoing;
                    self.attacher.ask(Request::Undo);
                }
            },
        }
    }

    /// Makes this process's part of a text.
    fn follow(&mut self, text: Option<&str>) -> Result<Vec<String>, Error> {
        let Some(follow) = &mut self.reload.follow else { return Ok(Vec::new()) };
        let text = text.ok_or_else(|| Error::Process {
            what: "be handed the new configuration",
            source: Errno::EMFILE.into(),
        })?;
        let fresh = (follow.read)(&follow.text, text)?;
        self.reader.pipeline.reload(fresh.pipeline, fresh.outputs)?;
        self.reload.outputs_changed = true;
        if fresh.changed.iter().any(|key| key == "stats-interval") {
            self.reader.tell_statistics_every(fresh.stats_interval);
        }
        log::set_level(fresh.log_level);
        text.clone_into(&mut follow.text);
        Ok(fresh.changed)
    }

    /// The attacher could not do what it was asked for.
    pub(super) fn refused(&mut self, failure: &Failure) {
        say(&failure.line, failure.hint.as_deref());
        if self.reload.stage == Stage::Undoing {
            tracing::error!(
                "the kernel keeps the new filters, the rest is as before: restart tls-sniff"
            );
        }
        self.stays();
    }

    fn stays(&mut self) {
        tracing::warn!("the configuration stays as it was");
        if let Some(scraping) = &mut self.scraping {
            scraping.reloaded(false);
        }
        self.over(true);
    }

    fn over(&mut self, refused: bool) {
        (self.reload.stage, self.reload.say_at) = (Stage::Idle, None);
        if std::mem::take(&mut self.reload.unheard) > 0 {
            self.ask_for_reload();
        } else {
            self.manager.reloaded(refused);
        }
    }
}

/// A line for each fault, and the hint.
fn say(lines: &str, hint: Option<&str>) {
    for line in lines.lines() {
        tracing::error!("{line}");
    }
    if let Some(hint) = hint {
        tracing::error!("hint: {hint}");
    }
}
