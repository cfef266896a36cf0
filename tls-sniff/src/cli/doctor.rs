//! The flags of `tls-sniff doctor`.

use clap::{Args, ValueEnum};

/// What to look at, and how to tell.
#[derive(Debug, Args)]
pub(crate) struct DoctorFlags {
    /// Interface to look at (repeatable), or `any`: all that are up
    #[arg(short, long = "interface", value_name = "IFACE", default_value = "any")]
    pub(crate) interface: Vec<String>,

    /// Lines for people, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: DoctorFormat,
}

/// How to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorFormat {
    Text,
    Json,
}
