//! How a run ends: by a signal, and with its output.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{error::Error, pipeline::Finished, sink::output::Written};

/// What the reader of stdout is given to take the last events.
pub const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// Signals so soon behind the first belong to it: timeout(1) sends one to the process and one to its group.
const ANOTHER: Duration = Duration::from_millis(500);

/// SIGINT and SIGTERM, from now on. Must be called inside a tokio runtime.
///
/// # Errors
///
/// If the signals cannot be handled.
pub fn stop_signal() -> Result<Stop, Error> {
    let handler =
        |kind| signal(kind).map_err(|source| Error::Process { what: "handle signals", source });
    Ok(Stop {
        interrupt: handler(SignalKind::interrupt())?,
        terminate: handler(SignalKind::terminate())?,
    })
}

/// SIGINT and SIGTERM.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Resolves at the next one. Nothing is lost if this is dropped while it waits.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Resolves at the next one that comes later than `ANOTHER` from now.
    pub async fn another(&mut self) {
        let begun = Instant::now();
        loop {
            self.next().await;
            if begun.elapsed() >= ANOTHER {
                return;
            }
        }
    }
}

/// SIGHUP, if it is to be handled; else the end of its terminal ends the program. Must be called inside a tokio runtime.
///
/// # Errors
///
/// If the signal cannot be handled.
pub fn hangup(handled: bool) -> Result<Hangup, Error> {
    let handler = || signal(SignalKind::hangup());
    let handler = handled.then(handler).transpose();
    Ok(Hangup(handler.map_err(|source| Error::Process { what: "handle signals", source })?))
}

/// SIGHUP, if it is handled.
pub struct Hangup(Option<Signal>);

impl Hangup {
    /// Resolves at the next one. Nothing is lost if this is dropped while it waits.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// How a run ends by how its outputs ended.
///
/// # Errors
///
/// If one of them failed or stalled.
pub fn ended(finished: Finished) -> Result<(), Error> {
    let capture = finished.capture.map_err(Error::Write);
    match finished.written {
        Written::All | Written::ReaderGone => capture,
        Written::Failed { name, error } => Err(Error::OutputFailed { name, source: error }),
        Written::Stalled => Err(Error::OutputStalled { seconds: FINISH_LIMIT.as_secs() }),
    }
}
