//! `cargo xtask baselines`: measures what tests compare with tests/baselines/, and writes it there.

use anyhow::{Context, Result};

use crate::run::{cargo, run as run_command, workspace_root};

/// The tests that compare, by target and name.
const TESTS: [(&str, &str); 2] = [
    ("instructions", "instructions_for_a_connection"),
    // Only as root: else it is ignored, and its file left.
    ("packets", "verifier_accepts_each_program"),
];

/// Writes the baselines.
///
/// # Errors
///
/// If something cannot be measured.
pub fn run() -> Result<()> {
    for (target, test) in TESTS {
        run_command(
            cargo(&workspace_root())
                .args(["test", "--package", "tls-sniff-tests", "--test", target, "--", test])
                .env("TLS_SNIFF_BASELINES", "write"),
        )
        .with_context(|| format!("no figures of {test}"))?;
    }
    Ok(())
}
