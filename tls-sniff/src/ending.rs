//! How a run ends: by a signal, and with its output.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::{error::Error, pipeline::Finished, sink::output::Written};

/// What the reader of stdout is given to take the last events.
pub const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// Resolves at the first SIGINT or SIGTERM. Must be called inside a tokio runtime.
///
/// # Errors
///
/// If the signals cannot be handled.
pub fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let handler =
        |kind| signal(kind).map_err(|source| Error::Process { what: "handle signals", source });
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
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
        Written::Failed(error) => Err(Error::Output(error)),
        Written::Stalled => Err(Error::OutputStalled { seconds: FINISH_LIMIT.as_secs() }),
    }
}
