//! Reading a capture file: the kernel's walk, gate and events on its frames, then the same pipeline.

use std::{
    collections::BTreeMap,
    fs::File,
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
    event::Event,
    flow::Hook,
};
use tokio::sync::oneshot;

use crate::{
    clock::Timestamp,
    dedup::{Dedup, HOLD_IN_FILE, SeenOn, Taken},
    ending::{FINISH_LIMIT, ended, stop_signal},
    error::Error,
    filter::expression::Expression,
    pipeline::{OpenSinks, Pipeline, PipelineOptions, Sighting, Sinks},
    progress::{self, Progress},
    sandbox::{self, Strictness},
    sink::output::WhenFull,
    source::file::{CaptureError, CaptureFile, Examiner, Fault, Frame},
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
    /// Whether stderr is a terminal on which a long file may have a progress bar.
    pub progress: bool,
    /// How much of the sandbox must be there.
    pub sandbox: Strictness,
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
pub async fn run(path: PathBuf, options: OfflineOptions, sinks: Sinks) -> Result<(), Error> {
    let file = open(&path)?;
    let from_pipe = file.is_none();
    let mut progress = file.as_ref().filter(|_| options.progress).and_then(Progress::of);
    // Before signals are handled, so that they end a wait for the reader of a named pipe.
    let sinks = sinks.open(WhenFull::Wait)?;
    let mut stop = stop_signal()?;
    // All is open, and no thread has been started.
    sandbox::enter(&sinks.plan(), options.sandbox)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let (done, mut outcome) = oneshot::channel();
    let asked = Arc::clone(&stopped);
    thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || {
            let _receiver_gone = done.send(read_all(file, &path, &options, sinks, &asked));
        })
        .map_err(|source| Error::Process { what: "start the reader thread", source })?;
    let seconds = FINISH_LIMIT.as_secs();
    let dead = |_| Err(Error::ReaderDied);
    let mut steps = tokio::time::interval(progress::STEP);
    loop {
        tokio::select! {
            outcome = &mut outcome => return outcome.unwrap_or_else(dead),
            () = stop.next() => break stopped.store(true, Ordering::Relaxed),
            _ = steps.tick(), if progress.is_some() => progress.iter_mut().for_each(Progress::step),
        }
    }
    drop(progress);
    match tokio::time::timeout(FINISH_LIMIT, outcome).await {
        Ok(outcome) => outcome.unwrap_or_else(dead),
        Err(_) if from_pipe => Err(Error::InputSilent { seconds }),
        // A file does not block: it is the output that does.
        Err(_) => Err(Error::OutputStalled { seconds }),
    }
}

/// `None` for stdin.
fn open(path: &Path) -> Result<Option<File>, Error> {
    if path.as_os_str() == "-" {
        return Ok(None);
    }
    let refused =
        |error| CaptureError { file: path.display().to_string(), fault: Fault::Open(error) };
    Ok(Some(File::open(path).map_err(refused)?))
}

fn read_all(
    file: Option<File>,
    path: &Path,
    options: &OfflineOptions,
    sinks: OpenSinks,
    stopped: &AtomicBool,
) -> Result<(), Error> {
    let from_pipe = file.is_none();
    let mut file: CaptureFile<Box<dyn io::Read>> = match file {
        None => CaptureFile::new(Box::new(io::stdin().lock()), "stdin".to_owned()),
        Some(file) => CaptureFile::new(Box::new(file), path.display().to_string()),
    };
    let pipeline = Pipeline::start(options.pipeline.clone(), sinks)?;
    let mut reader = Reader::new(pipeline, options.pipeline.dedup);
    let mut counters = [0; COUNTERS];
    let more = || !stopped.load(Ordering::Relaxed);
    let read = read(&mut file, from_pipe, options, &mut reader, &mut counters, more);
    reader.release_all();
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
    ended(reader.pipeline.finish(vec![(Hook::File, counters)], skipped, FINISH_LIMIT))?;
    read
}

/// What turns events into output.
struct Reader {
    pipeline: Pipeline,
    dedup: Dedup,
    wants_dedup: bool,
    /// Those of the section at hand, by index.
    interfaces: Interfaces,
}

type Interfaces = BTreeMap<u32, Interface>;

/// An interface of a file.
struct Interface {
    name: Option<String>,
    link_type: u32,
}

impl Reader {
    fn new(pipeline: Pipeline, wants_dedup: bool) -> Self {
        Self { pipeline, dedup: Dedup::new(HOLD_IN_FILE), wants_dedup, interfaces: BTreeMap::new() }
    }

    fn event(&mut self, frame: &Frame<'_>, event: &Event<'_>) {
        let timestamp = Timestamp(frame.timestamp_ns);
        if !(self.wants_dedup && frame.several_interfaces) {
            // Here, a repetition is a retransmission.
            self.release_all();
            let Frame { interface, link_type, .. } = *frame;
            let on = SeenOn::one(interface);
            return self.pipeline.event(event, Sighting { timestamp, on, link_type });
        }
        self.know(frame);
        let Self { pipeline, dedup, interfaces, .. } = self;
        let taken = dedup.event(event, timestamp, &mut |event, timestamp, seen_on| {
            hand_on(pipeline, interfaces, event, timestamp, seen_on);
        });
        if taken == Taken::Duplicate {
            pipeline.duplicate();
        }
    }

    /// Keeps what is known of a frame's interface for when its packet goes on. A new section numbers anew.
    fn know(&mut self, frame: &Frame<'_>) {
        let Frame { interface_index, interface, link_type, .. } = *frame;
        match self.interfaces.get(&interface_index) {
            Some(it) if it.name.as_deref() == interface && it.link_type == link_type => return,
            Some(_) => self.release_all(),
            None => {}
        }
        let interface = Interface { name: interface.map(str::to_owned), link_type };
        self.interfaces.insert(interface_index, interface);
    }

    /// Time passes with every frame.
    fn release_due(&mut self, frame: &Frame<'_>) {
        let Self { pipeline, dedup, interfaces, .. } = self;
        let now = u64::try_from(frame.timestamp_ns).unwrap_or(0);
        dedup.release_due(now, &mut |event, timestamp, seen_on| {
            hand_on(pipeline, interfaces, event, timestamp, seen_on);
        });
    }

    fn release_all(&mut self) {
        let Self { pipeline, dedup, interfaces, .. } = self;
        dedup.release_all(&mut |event, timestamp, seen_on| {
            hand_on(pipeline, interfaces, event, timestamp, seen_on);
        });
    }
}

/// Hands a packet that was seen on interfaces with these indices to the pipeline.
fn hand_on(
    pipeline: &mut Pipeline,
    interfaces: &Interfaces,
    event: &Event<'_>,
    timestamp: Timestamp,
    seen_on: &[u32],
) {
    let link_type = interfaces.get(&event.header.interface).map_or(0, |it| it.link_type);
    let name = |index: u32| interfaces.get(&index)?.name.as_deref();
    SeenOn::of(seen_on, name, |on| {
        pipeline.event(event, Sighting { timestamp, on, link_type });
    });
}

/// `live`: somebody may be waiting for what a pipe brings, so events do not wait for a full batch.
fn read(
    file: &mut CaptureFile<Box<dyn io::Read>>,
    live: bool,
    options: &OfflineOptions,
    reader: &mut Reader,
    counters: &mut CounterBlock,
    more: impl Fn() -> bool,
) -> Result<(), Error> {
    let examiner = Examiner::new(options.capture_len, options.pipeline.filter.rules())
        .with_expression(options.expression.clone());
    while more()
        && let Some(frame) = file.next()?
    {
        count(counters, Counter::Seen);
        let outcome = observe(&frame, &examiner, reader);
        count(counters, outcome);
        if let Some(evicted) = counters.get_mut(Counter::FlowEvicted.index()) {
            *evicted = examiner.evicted();
        }
        if live {
            reader.pipeline.flush();
        }
        if reader.pipeline.is_done() || reader.pipeline.is_closed() {
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
fn observe(frame: &Frame<'_>, examiner: &Examiner, reader: &mut Reader) -> Counter {
    reader.release_due(frame);
    match examiner.examine(frame) {
        Ok(event) => {
            reader.event(frame, &event);
            Counter::Emitted
        }
        Err(skipped) => skipped,
    }
}
