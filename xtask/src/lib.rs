//! The chores of tls-sniff, run as `cargo xtask COMMAND`.
//!
//! ```text
//!  main        arguments, exit code
//!   setup      the BPF toolchain and the programs that tests need, installed
//!   build_ebpf the kernel object, reproducibly, from source
//!   demo       tls-sniff at work
//!   bench      what watching costs, into docs/BENCHMARKS.md
//!   dist       the Debian package
//!    licences  what of others is in the package
//!   lint       rustfmt, clippy, rustdoc
//!   test       all of the above and `cargo test`: what CI runs
//!   soak       tls-sniff as a service for half an hour, disturbed
//!   baselines  what tests compare with, measured anew
//!    digest    whether the committed object belongs to the sources
//!    toolchain which compiler, linker and binary tools build the object
//!    run       commands: echo, run, say what failed
//! ```
//!
//! No chore changes anything outside the workspace but `setup`, which the others call and which only installs what
//! is missing.

#![forbid(unsafe_code)]

pub mod baselines;
pub mod bench;
pub mod build_ebpf;
pub mod demo;
pub mod digest;
pub mod dist;
pub mod licences;
pub mod lint;
pub mod run;
pub mod setup;
pub mod soak;
pub mod test;
pub mod toolchain;
