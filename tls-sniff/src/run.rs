//! From the command line to a run, and from its end to an exit code: 0 done, 1 failed, 2 wrong usage.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use tracing::Level;

use crate::{
    attach,
    attacher::{self, Fresh, Reload},
    check,
    cli::{Cli, Inner},
    config::{ConfigError, Invocation},
    daemon::{self, LiveOptions},
    error::Error,
    filter::{PacketFilter, explain::Explanation, expression::Expression},
    load::LoadOptions,
    log, manual,
    offline::{self, OfflineOptions},
    pipeline::{PipelineOptions, Sinks},
    sink::capture::CaptureOptions,
};

/// clap's exit code for it.
const WRONG_USAGE: u8 = 2;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let invocation = Invocation::new(env::args_os().collect());
    let (cli, text) = match invocation.read() {
        Ok(read) => read,
        // clap prints help and usage errors itself, and exits with 0 or 2.
        Err(ConfigError::Usage(error)) => error.exit(),
        Err(error) => {
            log::start(Level::INFO);
            return failed(&error.into());
        }
    };
    log::start(cli.log_level());
    match run(cli, invocation, text) {
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

/// `text`: of the file that the invocation names, if it names one.
fn run(cli: Cli, invocation: Invocation, text: Option<String>) -> Result<(), Error> {
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
        let options = OfflineOptions { capture_len: cli.payload_bytes, expression, pipeline };
        return runtime()?.block_on(offline::run(path, options, sinks));
    }
    let load = load_options(&cli, filter, expression);
    let selection = attacher::Selection::of(&cli.interface);
    let reload = text.map(|text| Reload { text, read: read_again(invocation) });
    // So far: of the pipeline nothing changes.
    let follow = reload.is_some().then(|| -> daemon::Follow { Box::new(|_, _| {}) });
    let its = attacher::Options { selection, attach, load, reload, connect: None };
    // Before there is a runtime: it forks.
    let attacher = attacher::start(its)?;
    let stats_interval = cli.stats_interval.map(Duration::from_secs);
    let options = LiveOptions { pipeline, stats_interval, follow };
    runtime()?.block_on(daemon::run(attacher, options, sinks))
}

fn load_options(cli: &Cli, filter: PacketFilter, expression: Option<Expression>) -> LoadOptions {
    let attach = cli.attach_options();
    LoadOptions {
        capture_len: cli.payload_bytes,
        snaplen: cli.capture.snaplen(),
        filter,
        expression,
        ring_len: cli.ring_bytes,
        xdp: attach.ingress == attach::IngressHook::Xdp,
        tap: attach.tap != attach::Tap::No,
        ..LoadOptions::default()
    }
}

/// How the attacher reads the configuration again.
fn read_again(invocation: Invocation) -> attacher::Read {
    Box::new(move |old| {
        let text = invocation.text()?.unwrap_or_default();
        let cli = invocation.reload(old, &text)?.cli;
        Ok(Fresh {
            selection: attacher::Selection::of(&cli.interface),
            attach: cli.attach_options(),
            load: load_options(&cli, cli.filter()?, cli.expression()?),
            text,
        })
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process { what: "start the runtime", source })
}
