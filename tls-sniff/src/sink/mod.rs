//! How observations leave the program.

#![forbid(unsafe_code)]

pub mod capture;
pub mod comment;
pub mod json;
pub mod output;
pub mod text;

use crate::observation::{Observation, Stats, StatsReason};

/// Writes events as bytes.
#[derive(Debug)]
pub enum Formatter {
    /// One JSON object a line.
    Json(json::Profile),
    /// Aligned text for people.
    Text(text::Columns),
}

impl Formatter {
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
