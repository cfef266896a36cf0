//! From the command line to a run, and from its end to an exit code: 0 done, 1 failed, 2 wrong usage.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use tracing::Level;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    attach, attacher,
    cli::{Cli, Format, Inner},
    daemon::{self, LiveOptions},
    error::Error,
    filter::{explain::Explanation, expression::Expression},
    load::LoadOptions,
    offline::{self, OfflineOptions},
    pipeline::{PipelineOptions, Sinks},
    sink::{Formatter, capture::CaptureOptions, text::Columns},
};

/// clap's exit code for it.
const WRONG_USAGE: u8 = 2;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    // clap prints help and usage errors itself, and exits with 0 or 2.
    let cli = Cli::parse();
    cli.refuse_contradictions();
    start_log(&cli);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            if let Some(hint) = error.hint() {
                tracing::error!("hint: {hint}");
            }
            if error.is_wrong_usage() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    if let Some(Inner::ClsactGuard { owner }) = cli.inner {
        return attach::run_guard(owner)
            .map_err(|source| Error::Process { what: "remove clsact filters", source });
    }
    let formatter = match cli.format(io::stdout().is_terminal()) {
        Format::Text => Some(Formatter::Text(Columns::default())),
        Format::Json => Some(Formatter::Json(cli.json_profile.unwrap_or_default())),
        Format::None => None,
    };
    let attach = cli.attach_options();
    let filter = cli.filter()?;
    let handshakes = cli.handshakes();
    let events = cli.events();
    let expression = cli.expression()?;
    let explanation = Explanation {
        expression: expression.as_ref().map(Expression::text),
        filter: &filter,
        handshakes: &handshakes,
        events: if formatter.is_some() { &events } else { &[] },
    };
    if cli.explain {
        return write!(io::stdout(), "{explanation}").map_err(Error::Output);
    }
    let capture = cli.capture.options(explanation.in_one_line());
    capture.as_ref().map_or(Ok(()), CaptureOptions::check)?;
    let sinks = Sinks { formatter, capture };
    let pipeline = PipelineOptions {
        events,
        filter: filter.clone(),
        handshakes,
        count: cli.count,
        dedup: !cli.no_dedup,
        metrics: cli.metrics.options(),
    };
    if let Some(path) = cli.read {
        let options = OfflineOptions { capture_len: cli.payload_bytes, expression, pipeline };
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

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process { what: "start the runtime", source })
}

/// Log messages go to stderr, as lines that a person reads and journald stamps.
fn start_log(cli: &Cli) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => Level::WARN,
        (false, false) => Level::INFO,
        (false, true) => Level::DEBUG,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .without_time()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // Of the libraries only what is wrong.
    let filter = Targets::new().with_target("tls_sniff", level).with_default(Level::WARN);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
