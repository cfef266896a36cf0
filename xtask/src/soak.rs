//! `cargo xtask soak`: the test `soak` for as long as asked, with tls-sniff as released.

use anyhow::{Context, Result};
use tls_sniff_tests::sniffer;

use crate::run::{cargo, run as run_command, workspace_root};

/// Runs it for so many minutes.
///
/// # Errors
///
/// If something does not build, or the soak finds something; the message has what.
pub fn run(minutes: f64) -> Result<()> {
    let binary = sniffer::build("release").context("tls-sniff as released")?;
    run_command(
        cargo(&workspace_root())
            .args(["test", "--package", "tls-sniff-tests", "--test", "soak"])
            .args(["--", "--nocapture"])
            .env("TLS_SNIFF_BIN", binary)
            .env("TLS_SNIFF_SOAK_MINUTES", minutes.to_string())
            // What is missing is no reason to say that all is well.
            .env("CI", "true"),
    )
    .context("the soak")
}
