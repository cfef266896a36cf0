//! `cargo xtask lint`: formatting, clippy and rustdoc, with every warning a failure.
//!
//! Of the kernel crate clippy reads the library as the host compiles it. Its entry points, and what
//! only exists for BPF, it cannot read: Debian's compiler for BPF comes without clippy.

use anyhow::{Context, Result};

use crate::run::{cargo, run as run_command, workspace_root};

/// Runs all of them; the first that fails ends it.
///
/// # Errors
///
/// If one of them finds something, or is not installed.
pub fn run() -> Result<()> {
    let root = workspace_root();
    run_command(cargo(&root).args(["fmt", "--all", "--check"]))
        .context("the formatting differs: run `cargo fmt --all`")?;
    run_command(cargo(&root).args(["clippy", "--all-targets", "--", "-D", "warnings"]))
        .context("clippy found something")?;
    run_command(cargo(&root).args([
        "clippy",
        "-p",
        "tls-sniff-ebpf",
        "--lib",
        "--",
        "-D",
        "warnings",
    ]))
    .context("clippy found something in the kernel crate")?;
    run_command(cargo(&root).env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--no-deps"]))
        .context("rustdoc found something")
}
