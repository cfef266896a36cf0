//! tls-sniff: live TLS handshakes from the kernel to JSON lines.
//!
//! ```text
//!  cli, config   arguments and a file → options       manual  completions, man pages
//!  run           options → run → exit code            check   what a file selects
//!  daemon        a live run        offline     a capture file
//!  attacher      its other process: what needs capabilities
//!  sandbox       what is given up before the first byte is read
//!  apart         processes without capabilities, for those that have some
//!  doctor        what kernel, privileges and interfaces allow
//!   load, attach the kernel programs           interfaces  which interfaces there are, by netlink
//!   source       ring buffer | capture file ─► dedup ─► pipeline: session ─► observation ─► selection ─► sink
//!                                                         reassembly: bytes in order    recorder: packets
//!                                                         tls: what the bytes mean      metrics: handshakes
//! ```
//!
//! No stage imports a later one, and only `load`, `attach`, `source::ring` and `doctor` know aya.
//! docs/ARCHITECTURE.md tells the whole.

#![deny(unsafe_code)]

mod apart;
pub mod attach;
pub mod attacher;
mod check;
mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod dedup;
mod descriptors;
mod digits;
pub mod doctor;
pub mod ending;
pub mod error;
pub mod filter;
pub mod interfaces;
#[cfg(feature = "kernel-log")]
pub mod kernel_log;
pub mod load;
mod log;
mod manual;
pub mod metrics;
mod nearest;
pub mod netlink;
pub mod notify;
pub mod observation;
pub mod offline;
pub mod pipeline;
pub mod privilege;
mod progress;
pub mod reassembly;
pub mod recorder;
mod run;
pub mod sandbox;
pub mod selection;
pub mod session;
pub mod sink;
pub mod source;
pub mod tls;

pub use manual::{Shell, completions, man_pages};
pub use run::main;
