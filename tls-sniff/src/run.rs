//! From the command line to a run, and from its end to an exit code: 0 done, 1 failed, 2 wrong usage.

mod again;

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};
use tracing::Level;

use crate::{
    attach,
    attacher::{self, Peers, Selection},
    check,
    cli::{Asked, Cli, DoctorFlags, DoctorFormat, Inner},
    config::{ConfigError, Invocation},
    daemon::{self, LiveOptions},
    doctor::{self, DoctorOptions},
    error::Error,
    filter::{PacketFilter, expression::Expression},
    load::LoadOptions,
    log, manual,
    notify::Notifier,
    offline::{self, OfflineOptions},
    pipeline::{PipelineOptions, Sinks},
    sink::{capture::CaptureOptions, open::OutputOptions, spec::Target},
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
        Ok(code) => code,
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
fn run(cli: Cli, invocation: Invocation, text: Option<String>) -> Result<ExitCode, Error> {
    match &cli.inner {
        Some(Inner::Doctor(flags)) => return examine(flags),
        Some(Inner::ClsactGuard { owner }) => attach::run_guard(*owner)
            .map_err(|source| Error::Process { what: "remove clsact filters", source }),
        Some(Inner::CheckConfig { file }) => check::config(file, &mut io::stdout()),
        Some(Inner::Completions { shell }) => {
            manual::completions(*shell, &mut io::stdout()).map_err(Error::Output)
        }
        None => watch(&cli, invocation, text),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// `tls-sniff doctor`
fn examine(flags: &DoctorFlags) -> Result<ExitCode, Error> {
    let options = DoctorOptions { selection: Selection::of(&flags.interface) };
    let report = runtime()?.block_on(doctor::examine(&options))?;
    match flags.format {
        DoctorFormat::Text => write!(io::stdout(), "{report}"),
        DoctorFormat::Json => report.write_json(io::stdout()),
    }
    .map_err(Error::Output)?;
    Ok(if report.capture_works() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn watch(cli: &Cli, invocation: Invocation, text: Option<String>) -> Result<(), Error> {
    let asked = Asked::of(cli, io::stdout().is_terminal())
        .map_err(|error| error.placed(|key| invocation.place(text.as_deref(), key)))
        .map_err(|error| error.or_command(|| cli.near_command()))?;
    if cli.explain {
        return asked.explain(&mut io::stdout(), |_| None).map_err(Error::Output);
    }
    let Asked { outputs, filter, expression, capture, .. } = asked;
    capture.as_ref().map_or(Ok(()), CaptureOptions::check)?;
    let attach = cli.attach_options();
    let sinks = Sinks { outputs, capture };
    let pipeline = pipeline_options(cli, filter.clone());
    let sandbox = cli.sandbox.strictness();
    if let Some(path) = cli.read.clone() {
        // Not on the terminal that events go to, and not with --quiet.
        let progress = io::stderr().is_terminal()
            && !(io::stdout().is_terminal() && sinks.outputs.iter().any(is_stdout))
            && tracing::enabled!(Level::INFO);
        let capture_len = cli.payload_bytes;
        let options = OfflineOptions { capture_len, expression, pipeline, progress, sandbox };
        return runtime()?.block_on(offline::run(path, options, sinks));
    }
    let notifier = Notifier::from_env();
    let peers = Peers::of(&sinks.outputs);
    let reload = text.clone().map(|text| again::for_attacher(invocation.clone(), text));
    let load = load_options(cli, filter, expression);
    let selection = Selection::of(&cli.interface);
    // Before there is a runtime: it forks.
    let its = attacher::Options { selection, attach, load, reload, peers };
    let attacher = attacher::start(its)?;
    let stats_interval = cli.stats_interval.map(Duration::from_secs);
    let follow = text.map(|text| again::for_daemon(invocation, text));
    let options = LiveOptions { pipeline, stats_interval, notifier, sandbox, follow };
    runtime()?.block_on(daemon::run(attacher, options, sinks))
}

fn pipeline_options(cli: &Cli, filter: PacketFilter) -> PipelineOptions {
    PipelineOptions {
        events: cli.events(),
        filter,
        handshakes: cli.handshakes(),
        count: cli.count,
        dedup: !cli.no_dedup,
        metrics: cli.metrics.options(),
    }
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

fn is_stdout(output: &OutputOptions) -> bool {
    output.target == Target::Stdout
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Process { what: "start the runtime", source })
}
