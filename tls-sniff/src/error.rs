//! Every way to fail, with one hint for each.

use std::{fmt, io};

use crate::{
    attach::AttachError,
    attacher::protocol::Failure,
    config::ConfigError,
    filter::{expression::ExpressionError, value::ValueError},
    interfaces::InterfaceError,
    load::LoadError,
    metrics::MetricsError,
    privilege::MissingPrivilege,
    sandbox::SandboxError,
    source::file::CaptureError,
};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file is at fault, or cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name that no interface has.
    #[error("there is no interface {name}; there are: {}", list(available, "none"))]
    NoSuchInterface {
        /// What was asked for.
        name: String,
        /// What there is.
        available: Vec<String>,
    },
    /// `-i any`, and nothing could be watched.
    #[error("none of the interfaces can be watched: {}", list(reasons, "none is up"))]
    NothingToWatch {
        /// Why not, for each.
        reasons: Vec<String>,
    },
    /// Capabilities are missing.
    #[error(transparent)]
    Privilege(#[from] MissingPrivilege),
    /// The kernel programs are not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// They are not attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// What the attacher process failed with.
    #[error("{}", .0.line)]
    Attacher(Failure),
    /// It ended without a word.
    #[error("the process that holds the kernel programs was killed: nothing is watched any more")]
    AttacherDied,
    /// It does not answer at the end.
    #[error(
        "the process that holds the kernel programs, {id}, does not answer: what is attached stays until it ends"
    )]
    AttacherStalled {
        /// Its process ID.
        id: i32,
    },
    /// There is nothing to be read again.
    #[error("there is no configuration file to read again")]
    NoConfiguration,
    /// The configuration has changed where it cannot.
    #[error("cannot change while tls-sniff runs: {what}")]
    Fixed {
        /// The flags.
        what: &'static str,
    },
    /// The attacher could not read the counters.
    #[error("{0}")]
    Counters(String),
    /// The interfaces are not known.
    #[error(transparent)]
    Interfaces(#[from] InterfaceError),
    /// A capture file could not be read, or not to its end.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The expression cannot be used.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// The same of one that begins like the name of a command.
    #[error("{source}")]
    NoCommand {
        /// What is wrong with the expression.
        source: ExpressionError,
        /// The command, and what to do about an expression.
        hint: String,
    },
    /// The file of `--net-file` cannot be read.
    #[error("cannot read {file}: {source}")]
    NetworkFile {
        /// Its name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line of it is no network.
    #[error("{file}, line {number}: {source}")]
    NetworkLine {
        /// Its name.
        file: String,
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        source: ValueError,
    },
    /// What the configuration file is the reason for.
    #[error("{place}: {source}")]
    InFile {
        /// File, line and column.
        place: String,
        /// What is wrong.
        source: Box<Self>,
    },
    /// The capture file cannot be written.
    #[error(transparent)]
    Write(#[from] crate::sink::capture::SaveError),
    /// The sandbox was not entered.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// An output cannot be opened.
    #[error(transparent)]
    Sink(#[from] crate::sink::open::OutputError),
    /// Metrics cannot be served.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The process could not be set up.
    #[error("cannot {what}: {source}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that reads a file panicked.
    #[error("the reader ended without a result: this is a fault of tls-sniff")]
    ReaderDied,
    /// stdin stands still after a signal.
    #[error("stdin brought nothing within {seconds} s after the signal to stop: no stats")]
    InputSilent {
        /// How long it was given.
        seconds: u64,
    },
    /// stdout refuses.
    #[error("cannot write to stdout: {0}")]
    Output(#[source] io::Error),
    /// What an output writes to has refused lines, for a time or for good.
    #[error("cannot write to {name}: {source}")]
    OutputFailed {
        /// The output.
        name: String,
        /// The first reason.
        source: io::Error,
    },
    /// The reader of stdout stands still.
    #[error("the reader of stdout did not take the last events within {seconds} s: they are lost")]
    OutputStalled {
        /// How long it was given.
        seconds: u64,
    },
}

impl Error {
    /// With its place in the configuration file, if it is about the value of a key that has one.
    pub(crate) fn placed(self, place: impl FnOnce(&str) -> Option<String>) -> Self {
        let key = match &self {
            Self::Expression(_) => "expression",
            Self::NetworkFile { .. } | Self::NetworkLine { .. } => "net-file",
            _ => return self,
        };
        match place(key) {
            Some(place) => Self::InFile { place, source: Box::new(self) },
            None => self,
        }
    }

    /// Of an expression on the command line: with the name of the command that was probably meant.
    pub(crate) fn or_command(self, near: impl FnOnce() -> Option<String>) -> Self {
        let Self::Expression(source) = self else { return self };
        let Some(command) = near() else { return Self::Expression(source) };
        let hint = format!("did you mean the command `{command}`? If not: {}", source.hint());
        Self::NoCommand { source, hint }
    }

    /// Whether the command line is at fault, not the system.
    #[must_use]
    pub const fn is_wrong_usage(&self) -> bool {
        match self {
            Self::Attacher(failure) => failure.is_wrong_usage,
            Self::Config(error) => error.is_wrong_usage(),
            Self::InFile { source, .. } => source.is_wrong_usage(),
            Self::NetworkLine { .. } => true,
            Self::Write(error) => error.is_wrong_usage(),
            Self::Sink(error) => error.is_wrong_usage(),
            Self::Expression(error) | Self::NoCommand { source: error, .. } => {
                error.is_wrong_usage()
            }
            _ => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NoSuchInterface { .. } => {
                Some("-i any watches all, also those that appear later")
            }
            Self::NothingToWatch { .. } => Some("`ip link` shows the interfaces; bring one up"),
            Self::Config(error) => error.hint(),
            Self::InFile { source, .. } => source.hint(),
            Self::Privilege(error) => Some(error.hint()),
            Self::Load(error) => Some(error.hint()),
            Self::Attach(error) => Some(error.hint()),
            Self::Attacher(failure) => failure.hint.as_deref(),
            Self::NoConfiguration => Some("--config names one"),
            Self::Fixed { .. } => Some("change it back, or restart tls-sniff"),
            Self::AttacherDied => {
                Some("start tls-sniff again; `dmesg` says whether the kernel had no memory left")
            }
            Self::AttacherStalled { .. } => {
                Some("it may be stopped (SIGCONT) or wait for the kernel; SIGKILL ends it")
            }
            Self::Expression(error) => Some(error.hint()),
            Self::NoCommand { hint, .. } => Some(hint),
            Self::ReaderDied => Some("please report it with the file"),
            Self::InputSilent { .. } => Some("stop what writes into the pipe first"),
            Self::NetworkFile { .. } => {
                Some("a text file that the user of tls-sniff may read, one prefix a line")
            }
            Self::NetworkLine { .. } => {
                Some("one prefix a line, with `src`, `dst` or `not` before it; # begins a comment")
            }
            Self::Counters(_) | Self::Interfaces(_) | Self::Process { .. } | Self::Output(_) => {
                None
            }
            Self::OutputFailed { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make space, or write to another disk")
                }
                _ => None,
            },
            Self::Capture(error) => error.hint(),
            Self::Write(error) => Some(error.hint()),
            Self::Sandbox(error) => Some(error.hint()),
            Self::Sink(error) => Some(error.hint()),
            Self::Metrics(error) => error.hint(),
            Self::OutputStalled { .. } => Some("let it read faster, or write to a file"),
        }
    }
}

fn list(names: &[String], none: &str) -> impl fmt::Display {
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}
