//! What can be wrong with a configuration, and where.

use std::{fmt, io, path::Path};

use super::keys::Options;
use crate::nearest::did_you_mean;

/// A place in the file, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl Position {
    /// Of the byte at `offset` in `text`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// No TOML.
    #[error("{0}")]
    Syntax(String),
    /// No flag has this name.
    #[error("unknown key \"{key}\"{}", did_you_mean(near.as_deref()))]
    UnknownKey {
        /// As the file has it.
        key: String,
        /// The key that was probably meant.
        near: Option<String>,
    },
    /// An output has no such option.
    #[error("unknown key \"{key}\" in [[output]]{}", did_you_mean(near.as_deref()))]
    UnknownOption {
        /// As the file has it.
        key: String,
        /// The option that was probably meant.
        near: Option<String>,
    },
    /// A key of the file's head that stands below the head of an output.
    #[error("\"{key}\" is no option of an output: it goes above the first [[output]]")]
    BelowOutput {
        /// The key.
        key: String,
    },
    /// An output that goes nowhere.
    #[error("[[output]] without `to`")]
    OutputToNowhere,
    /// An output that asks for no events.
    #[error(
        "events is an empty list, and an output without events is none: leave it out for those of all outputs"
    )]
    OutputOfNothing,
    /// The flag is for the command line only.
    #[error("\"{key}\" does not go into a file: {reason}")]
    CommandLineOnly {
        /// The key.
        key: String,
        /// Why.
        reason: &'static str,
    },
    /// One key, spelled in two ways.
    #[error("\"{key}\" is set in line {} already", first.line)]
    Twice {
        /// The key.
        key: String,
        /// Where it is set.
        first: Position,
    },
    /// A value of the wrong type.
    #[error("{key} takes {takes}, not {found}")]
    Type {
        /// The key.
        key: String,
        /// What it takes.
        takes: &'static str,
        /// The type that it was given.
        found: &'static str,
    },
    /// A value that the flag does not take.
    #[error("{key}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// Why not.
        reason: String,
    },
    /// Keys that do not go together.
    #[error("{0}")]
    Contradiction(String),
    /// A change that a reload cannot make.
    #[error("{key} changes only with a restart")]
    NeedsRestart {
        /// The key.
        key: String,
    },
    /// The same, of a key that is no longer there.
    #[error("{key}, which was in line {line}, goes away only with a restart")]
    GoneNeedsRestart {
        /// The key.
        key: String,
        /// Where it was.
        line: usize,
    },
}

/// A flaw and its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {flaw}")]
pub struct Fault {
    /// Where.
    pub at: Position,
    /// What.
    #[source]
    pub flaw: Flaw,
}

/// Why options cannot be made of a file and a command line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line is at fault, or asks for help: clap has the words and the exit code.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{file} has more than {limit} bytes: that is no configuration")]
    TooLarge {
        /// Its name.
        file: String,
        /// The most that is read.
        limit: u64,
    },
    /// The file is at fault, at these places, in their order.
    #[error("{}", lines(file, faults))]
    Faults {
        /// Its name.
        file: String,
        /// At least one.
        faults: Vec<Fault>,
    },
}

impl ConfigError {
    pub(super) fn faults(file: &Path, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.at);
        Self::Faults { file: file.display().to_string(), faults }
    }

    /// Whether what the user wrote is at fault, not the system.
    #[must_use]
    pub const fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Faults { .. })
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Usage(_) => None,
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(
                    "it is read as the user that tls-sniff runs as, without capabilities once it watches, root too: chown it, or chmod it",
                )
            }
            Self::Unreadable { .. } | Self::TooLarge { .. } => {
                Some("a configuration is a text file that tls-sniff may read")
            }
            Self::Faults { faults, .. } => faults.first().map(|fault| fault.flaw.hint()),
        }
    }
}

impl Flaw {
    const fn hint(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "the file is TOML: key = value, text in quotes, lists in brackets",
            Self::UnknownKey { .. } | Self::CommandLineOnly { .. } | Self::Twice { .. } => {
                "the keys are the names of the long flags, which `tls-sniff --help` lists"
            }
            Self::UnknownOption { .. }
            | Self::BelowOutput { .. }
            | Self::OutputToNowhere
            | Self::OutputOfNothing => Options::HINT,
            Self::Type { .. } => {
                "switches are true or false, numbers stand without quotes, all else is text in quotes"
            }
            Self::Value { .. } => "values are those of the flag: see `tls-sniff --help`",
            Self::Contradiction(_) => {
                "add what it needs, or take out what does not go with the rest"
            }
            Self::NeedsRestart { .. } | Self::GoneNeedsRestart { .. } => {
                "restart tls-sniff, or put the old value back"
            }
        }
    }
}

/// One line for each fault, as compilers write them.
fn lines(file: &str, faults: &[Fault]) -> impl fmt::Display {
    let lines: Vec<String> = faults.iter().map(|fault| format!("{file}:{fault}")).collect();
    lines.join("\n")
}
