//! From segments to connections: who they belong to, what their two sides said, how it ended.
//!
//! ```text
//!  event ─► key: which connection, which side
//!         ─► table: look up, make, make room
//!           ─► connection ─► side: reassembly ─► records ─► messages ─► observations, one for each message
//!                          ├ story: what was offered and chosen
//!                          └ progress: completed? an alert? closed?  ─► observation of the handshake
//!
//!  table     new ──► in its handshake ──► over (stays a little, to know late segments) ──► gone
//! ```
//!
//! A hello makes a connection; what belongs to none says at most something by itself (an alert), and is
//! otherwise counted. Memory is bounded for each direction, each connection and the whole table; what has to
//! go is reported with what is known of it, and counted. Time is that of the packets, so that a file gives
//! what the live capture gave.

#![forbid(unsafe_code)]

mod arrival;
mod connection;
mod history;
mod index;
mod interfaces;
mod key;
mod progress;
mod records;
mod side;
mod story;
mod table;
#[cfg(test)]
mod tests;
mod turns;
mod unit;
mod unknown;

pub use table::{Limits, SessionCounters, Sessions};
