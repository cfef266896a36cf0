//! The configuration file: TOML below the command line.
//!
//! ```text
//!  file ─► document: keys and values as the words of flags, and where they stand ─┐
//!                  keys: which there are, by clap; what a reload may change       ├► invocation ─► clap ─► Cli
//!  command line: which flags it has ──────────────────────────────────────────────┘
//!    change: what differs between two texts of one file, and whether a reload can change that
//!    entries: every key with its help, for the man page and the example in packaging/
//! ```
//!
//! The keys are the names of clap's long flags, so a flag that is added has its key.

mod change;
mod document;
mod entries;
#[cfg(test)]
mod example;
mod fault;
mod invocation;
mod keys;
mod outputs;
#[cfg(test)]
mod tests;

pub use self::fault::{ConfigError, Fault, Flaw, Position};
pub(crate) use self::{
    entries::{Entry, entries},
    invocation::Invocation,
};
