//! `cargo xtask COMMAND`: arguments and exit code. Each command is one module of the library.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{baselines, bench, build_ebpf, demo, dist, lint, run, setup, soak, test};

/// The chores of tls-sniff.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what building the kernel object needs; what is there already is left alone
    Setup {
        /// Install the programs that the tests use, too
        #[arg(long)]
        tests: bool,
    },
    /// Build the kernel object from source and write it to tls-sniff/bpf/
    BuildEbpf {
        /// Write nothing; fail unless the committed object has the very same bytes
        #[arg(long, conflicts_with = "out")]
        check: bool,
        /// Write the object to FILE and leave the committed one alone
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show tls-sniff at work: on real handshakes as root, on a bundled capture otherwise
    Demo,
    /// Measure what watching costs, most of it as root, and write it into docs/BENCHMARKS.md
    Bench {
        /// Parts to run: offline, ring, memory, kernel, filters, flood, host [default: all]
        #[arg(value_name = "PART")]
        parts: Vec<String>,
        /// Few rounds and little data, to see that it works
        #[arg(long)]
        quick: bool,
    },
    /// Build the Debian package; installs cargo-deb below target/ if need be
    Dist(dist::Options),
    /// Check formatting, clippy and rustdoc; a warning is a failure
    Lint,
    /// Run everything that CI runs, installing what it needs
    Test,
    /// Run tls-sniff as a service under load while links flap, files move, readers stall and its configuration changes
    Soak {
        /// For how long
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
    },
    /// Accept what user space and verifier cost now: writes tests/baselines/, which tests compare with
    Baselines,
}

fn main() -> ExitCode {
    let outcome = match Args::parse().chore {
        Chore::Setup { tests } => setup::run(tests),
        Chore::BuildEbpf { check: true, .. } => build_ebpf::check(),
        Chore::BuildEbpf { out: Some(file), .. } => build_ebpf::build_to(&file),
        Chore::BuildEbpf { .. } => build_ebpf::build(),
        Chore::Demo => demo::run(),
        Chore::Bench { parts, quick } => bench::run(&parts, quick),
        Chore::Dist(options) => dist::run(&options),
        Chore::Lint => lint::run(),
        Chore::Test => test::run(),
        Chore::Soak { minutes } => soak::run(minutes),
        Chore::Baselines => baselines::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
