//! How observations leave the program.

#![forbid(unsafe_code)]

pub mod capture;
pub mod comment;
pub mod destination;
pub mod json;
pub mod open;
pub mod output;
pub(crate) mod place;
pub mod spec;
pub mod syslog;
pub mod text;
mod trouble;

use std::path::Path;

use crate::observation::{Observation, Stats, StatsReason};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line.
    Json(json::Profile),
    /// Aligned text for people.
    Text,
}

/// Writes events as bytes.
#[derive(Debug)]
pub enum Formatter {
    /// One JSON object a line.
    Json(json::Profile),
    /// Aligned text for people.
    Text(text::Columns),
}

impl Formatter {
    /// Writes in `form`.
    #[must_use]
    pub fn new(form: Form) -> Self {
        match form {
            Form::Json(profile) => Self::Json(profile),
            Form::Text => Self::Text(text::Columns::default()),
        }
    }

    /// Appends one observation, its line end included.
    pub fn observation(&mut self, observation: &Observation<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json(profile) => json::observation(*profile, observation, out),
            Self::Text(columns) => columns.observation(observation, out),
        }
    }

    /// Appends the statistics, their line end included. People are told of losses in the log.
    pub fn stats(&mut self, stats: &Stats, out: &mut Vec<u8>) {
        match self {
            Self::Json(profile) => json::stats(*profile, stats, out),
            Self::Text(_) if stats.reason == StatsReason::Loss => {}
            Self::Text(_) => text::stats(stats, out),
        }
    }
}

/// The directory of a file.
fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
