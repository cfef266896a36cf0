//! Reading a capture file: the kernel's walk, gate and events on its frames, then the same pipeline.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tls_sniff_common::{
    counters::{COUNTERS, Counter, CounterBlock},
    flow::Hook,
};
use tokio::sync::oneshot;

use crate::{
    clock::Timestamp,
    ending::{FINISH_LIMIT, ended, stop_signal},
    error::Error,
    filter::expression::Expression,
    pipeline::{Pipeline, PipelineOptions, Sighting},
    sink::{Formatter, output::WhenFull},
    source::file::{CaptureFile, Examined, Examiner, Frame},
};

/// What an offline run is told.
#[derive(Clone, Debug)]
pub struct OfflineOptions {
    /// Payload bytes of each segment to look at, as for the kernel programs.
    pub capture_len: u32,
    /// An expression that frames must match, before all else.
    pub expression: Option<Expression>,
    /// Events.
    pub pipeline: PipelineOptions,
}

/// Reads `path`, or stdin if it is `-`, to its end or to a signal.
///
/// The reading is done on a thread of its own: it may block for as long as a pipe is silent, and a
/// signal only asks it to stop with the next frame. A pipe's writer is mostly stopped by the same Ctrl-C,
/// which ends the pipe; one that is not is waited for as long as the output is.
///
/// # Errors
///
/// If the file cannot be read, is no capture, or is damaged; all before the damage was read then.
pub async fn run(
    path: PathBuf,
    options: OfflineOptions,
    formatter: Formatter,
) -> Result<(), Error> {
    let from_pipe = path.as_os_str() == "-";
    let stop = stop_signal()?;
    let stopped = Arc::new(AtomicBool::new(false));
    let (done, mut outcome) = oneshot::channel();
    let asked = Arc::clone(&stopped);
    thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || {
            let _receiver_gone = done.send(read_all(&path, &options, formatter, &asked));
        })
        .map_err(|source| Error::Process { what: "start the reader thread", source })?;
    let seconds = FINISH_LIMIT.as_secs();
    let dead = |_| Err(Error::ReaderDied);
    tokio::select! {
        outcome = &mut outcome => return outcome.unwrap_or_else(dead),
        () = stop => stopped.store(true, Ordering::Relaxed),
    }
    match tokio::time::timeout(FINISH_LIMIT, outcome).await {
        Ok(outcome) => outcome.unwrap_or_else(dead),
        Err(_) if from_pipe => Err(Error::InputSilent { seconds }),
        // A file does not block: it is the output that does.
        Err(_) => Err(Error::OutputStalled { seconds }),
    }
}

fn read_all(
    path: &Path,
    options: &OfflineOptions,
    formatter: Formatter,
    stopped: &AtomicBool,
) -> Result<(), Error> {
    let from_pipe = path.as_os_str() == "-";
    let mut file: CaptureFile<Box<dyn io::Read>> = if from_pipe {
        CaptureFile::new(Box::new(io::stdin().lock()), "stdin".to_owned())
    } else {
        CaptureFile::open(path)?
    };
    let mut pipeline = Pipeline::to_stdout(options.pipeline.clone(), formatter, WhenFull::Wait)
        .map_err(|source| Error::Process { what: "start the output thread", source })?;
    let mut counters = [0; COUNTERS];
    let more = || !stopped.load(Ordering::Relaxed);
    let read = read(&mut file, from_pipe, options, &mut pipeline, &mut counters, more);
    if read.is_err() && counters == [0; COUNTERS] && file.skipped().next().is_none() {
        // Nothing was read: there is nothing to account for.
        return read;
    }
    for (link_type, name, frames) in file.skipped() {
        tracing::warn!(
            "{frames} frames of link type {link_type} ({}) were skipped: tls-sniff cannot walk them",
            name.unwrap_or("unknown")
        );
    }
    let skipped = file.skipped().map(|(link_type, _, frames)| (link_type, frames)).collect();
    let (_, written) = pipeline.finish(vec![(Hook::File, counters)], skipped, FINISH_LIMIT);
    ended(written)?;
    read
}

/// `live`: somebody may be waiting for what a pipe brings, so events do not wait for a full batch.
fn read(
    file: &mut CaptureFile<Box<dyn io::Read>>,
    live: bool,
    options: &OfflineOptions,
    pipeline: &mut Pipeline,
    counters: &mut CounterBlock,
    more: impl Fn() -> bool,
) -> Result<(), Error> {
    let examiner = Examiner::new(options.capture_len, options.pipeline.filter.rules())
        .with_expression(options.expression.clone());
    while more()
        && let Some(frame) = file.next()?
    {
        count(counters, Counter::Seen);
        let outcome = observe(&frame, &examiner, pipeline, counters);
        count(counters, outcome);
        if live && outcome == Counter::Emitted {
            pipeline.flush();
        }
        if pipeline.is_done() || pipeline.output().is_closed() {
            break;
        }
    }
    Ok(())
}

fn count(counters: &mut CounterBlock, counter: Counter) {
    if let Some(count) = counters.get_mut(counter.index()) {
        *count += 1;
    }
}

/// Takes a frame through the gate to the pipeline, and says what to count it as.
fn observe(
    frame: &Frame<'_>,
    examiner: &Examiner,
    pipeline: &mut Pipeline,
    counters: &mut CounterBlock,
) -> Counter {
    let Examined { event, evicted } = match examiner.examine(frame) {
        Ok(examined) => examined,
        Err(skipped) => return skipped,
    };
    if evicted {
        count(counters, Counter::FlowEvicted);
    }
    let sighting =
        Sighting { timestamp: Timestamp(frame.timestamp_ns), interface: frame.interface };
    pipeline.event(&event, sighting);
    Counter::Emitted
}
