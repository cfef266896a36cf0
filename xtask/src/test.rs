//! `cargo xtask test`: everything that CI runs, in CI's order, with what each step took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use tls_sniff_tests::need::in_ci;

use crate::run::{cargo, run as run_command, say, workspace_root};
use crate::{build_ebpf, lint, setup};

/// A name to announce and what it does.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 5] = [
    ("setup", setup::bpf_toolchain),
    ("setup --tests", test_tools),
    ("lint", lint::run),
    ("build-ebpf --check", build_ebpf::check),
    ("cargo test", cargo_test),
];

/// Runs the steps; the first that fails ends it.
///
/// # Errors
///
/// The failed step's own, with the step's name.
pub fn run() -> Result<()> {
    let mut table = Vec::new();
    for (name, step) in STEPS {
        say(&format!("==== {name}"));
        let start = Instant::now();
        let outcome = step();
        table.push(row(name, start.elapsed(), outcome.is_ok()));
        if let Err(error) = outcome {
            show(&table);
            return Err(error).with_context(|| format!("the step `{name}` failed"));
        }
    }
    show(&table);
    Ok(())
}

/// Where the tests' programs cannot be installed, the tests that want them say so themselves: as
/// ignored on a person's machine. In CI they fail, and so does this.
fn test_tools() -> Result<()> {
    match setup::test_tools() {
        Err(error) if !in_ci() => {
            say(&format!("warning: {error:#}; tests that need them are reported as ignored"));
            Ok(())
        }
        outcome => outcome,
    }
}

fn cargo_test() -> Result<()> {
    run_command(cargo(&workspace_root()).arg("test")).context("a test failed")
}

fn row(name: &str, time: Duration, passed: bool) -> String {
    let outcome = if passed { "ok" } else { "FAILED" };
    format!("{name:<20} {:>7.1} s  {outcome}", time.as_secs_f64())
}

fn show(table: &[String]) {
    say("====");
    table.iter().for_each(|row| say(row));
}
