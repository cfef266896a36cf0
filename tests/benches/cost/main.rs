//! What watching costs: the parts of `cargo xtask bench`, each of which prints Markdown tables on stdout, lines for
//! the targets ([`Reach`](tls_sniff_tests::figures::Reach)) among them, and what goes on on stderr.
//!
//! ```text
//!  cost --bench PART [--quick]
//!   kernel   root  each program against one that does nothing (BPF_PROG_TEST_RUN)
//!   filters  root  what filters add to that
//!   flood    root  more packets than anyone can read: tls-sniff, tcpdump and tshark by turns
//!   host     root  iperf3 and TLS handshakes with and without a sniffer
//!   ring           events to lines, in memory; as root also through the ring, and at rest
//!   offline        a capture of 200 MB: tls-sniff, tcpdump, tshark
//!   memory         hellos that never end
//! ```
//!
//! Times are compared inside one run, in rounds by turns.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};

mod filters;
mod flood;
mod generator;
mod host;
mod kernel;
mod live;
mod memory;
mod offline;
mod rig;
mod ring;

/// What the parts are told.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Few rounds and little data: to see that it works.
    quick: bool,
}

impl Settings {
    /// The first if there is time, else the second.
    pub(crate) const fn pick<T: Copy>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// The tls-sniff that is measured: `TLS_SNIFF_BIN`, or the release build beside this program.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TLS_SNIFF_BIN") {
        return Ok(path.into());
    }
    let me = std::env::current_exe()?;
    let beside = me.parent().and_then(|deps| deps.parent()).context("a folder")?.join("tls-sniff");
    if !beside.is_file() {
        bail!("no {}: cargo build --release -p tls-sniff", beside.display());
    }
    Ok(beside)
}

fn run(arguments: &[String]) -> Result<()> {
    let mut words = arguments.iter().map(String::as_str).filter(|word| *word != "--bench");
    let part = words.next().context("which part? see the top of benches/cost/main.rs")?;
    if part == "open" {
        // What `ring` starts to have a process of its own.
        let mut number = || words.next().context("a number");
        return ring::open_handshakes(number()?.parse()?, number()?.parse()?);
    }
    let settings = match words.next() {
        None => Settings { quick: false },
        Some("--quick") => Settings { quick: true },
        Some(other) => bail!("what is {other}?"),
    };
    match part {
        "kernel" => kernel::run(settings),
        "filters" => filters::run(settings),
        "flood" => flood::run(settings),
        "host" => host::run(settings),
        "ring" => ring::run(settings),
        "offline" => offline::run(settings),
        "memory" => memory::run(settings),
        other => bail!("no part {other}"),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // `cargo test --benches` only asks whether it runs.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
