//! From the command line to a run, and from its end to an exit code: 0 done, 1 failed, 2 wrong usage.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use tracing::Level;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    attach, attacher, check,
    cli::{Cli, Inner},
    config::{ConfigError, Invocation},
    daemon::{self, LiveOptions},
    error::Error,
    filter::{explain::Explanation, expression::Expression},
    load::LoadOptions,
    manual,
    offline::{self, OfflineOptions},
    pipeline::{PipelineOptions, Sinks},
    progress,
    sink::{capture::CaptureOptions, open::OutputOptions, spec::Target},
};

/// clap's exit code for it.
const WRONG_USAGE: u8 = 2;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let invocation = Invocation::new(env::args_os().collect());
    let cli = match invocation.read() {
        Ok((cli, _)) => cli,
        // clap prints help and usage errors itself, and exits with 0 or 2.
        Err(ConfigError::Usage(error)) => error.exit(),
        Err(error) => {
            start_log(Level::INFO);
            return failed(&error.into());
        }
    };
    start_log(cli.log_level());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> ExitCode {
    for line in error.to_string().lines() {
        tracing::error!("{line}");
    }
    if let Some(hint) = error.hint() {
        tracing::error!("hint: {hint}");
    }
    if error.is_wrong_usage() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
}

fn run(cli: Cli) -> Result<(), Error> {
    match cli.inner {
        None => {}
        Some(Inner::ClsactGuard { owner }) => {
            return attach::run_guard(owner)
                .map_err(|source| Error::Process { what: "remove clsact filters", source });
        }
        Some(Inner::CheckConfig { file }) => return check::config(&file, &mut io::stdout()),
        Some(Inner::Completions { shell }) => {
            return manual::completions(shell, &mut io::stdout()).map_err(Error::Output);
        }
    }
    let outputs = cli.outputs(io::stdout().is_terminal());
    let attach = cli.attach_options();
    let filter = cli.filter()?;
    let handshakes = cli.handshakes();
    let events = cli.events();
    let expression = cli.expression()?;
    let explanation = Explanation {
        expression: expression.as_ref().map(Expression::text),
        filter: &filter,
        handshakes: &handshakes,
        events: if outputs.is_empty() { &[] } else { &events },
    };
    if cli.explain {
        return write!(io::stdout(), "{explanation}").map_err(Error::Output);
    }
    let capture = cli.capture.options(explanation.in_one_line());
    capture.as_ref().map_or(Ok(()), CaptureOptions::check)?;
    let sinks = Sinks { outputs, capture };
    let pipeline = PipelineOptions {
        events,
        filter: filter.clone(),
        handshakes,
        count: cli.count,
        dedup: !cli.no_dedup,
    };
    if let Some(path) = cli.read {
        // Not on the terminal that events go to, and not with --quiet.
        let progress = io::stderr().is_terminal()
            && !(io::stdout().is_terminal() && sinks.outputs.iter().any(is_stdout))
            && tracing::enabled!(Level::INFO);
        let capture_len = cli.payload_bytes;
        let options = OfflineOptions { capture_len, expression, pipeline, progress };
        return runtime()?.block_on(offline::run(path, options, sinks));
    }
    let load = LoadOptions {
        capture_len: cli.payload_bytes,
        snaplen: cli.capture.snaplen(),
        filter,
        expression,
        ring_len: cli.ring_bytes,
        xdp: attach.ingress == attach::IngressHook::Xdp,
        tap: attach.tap != attach::Tap::No,
        ..LoadOptions::default()
    };
    let selection = attacher::Selection::of(&cli.interface);
    // Before there is a runtime: it forks.
    let attacher = attacher::start(attacher::Options { selection, attach, load, connect: None })?;
    let stats_interval = cli.stats_interval.map(Duration::from_secs);
    let options = LiveOptions { pipeline, stats_interval };
    runtime()?.block_on(daemon::run(attacher, options, sinks))
}

fn is_stdout(output: &OutputOptions) -> bool {
    output.target == Target::Stdout
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process { what: "start the runtime", source })
}

/// Log messages go to stderr, as lines that a person reads and journald stamps.
fn start_log(level: Level) {
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .without_time()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| Stderr);
    // Of the libraries only what is wrong.
    let filter = Targets::new().with_target("tls_sniff", level).with_default(Level::WARN);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// stderr, without the progress bar.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::aside(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
