//! From observations to the outputs that ask for them.
//!
//! ```text
//!  observation ─┬► form: JSON, native ─┬► stdout
//!               │   formatted once     └► unix:/run/vector.sock
//!               └► form: JSON, Zeek ───► file:/var/log/ssl.log
//! ```

use std::time::{Duration, Instant};

use crate::{
    observation::{EventKind, EventKinds, Observation, OutputCounters, OutputStats, Stats},
    selection::Waiting,
    sink::{
        Form, Formatter,
        destination::Connector,
        open::{
            Connectors, OpenOutput, OutputError, OutputOptions, check_targets, open_all, start_all,
        },
        output::{Output, WhenFull, Written},
        spec::Target,
    },
};

/// Which output, for as long as it is one.
type Id = u32;

/// All outputs.
pub(super) struct Lines {
    groups: Vec<Group>,
    /// Outputs that are no longer asked for, until they have written what they have.
    leaving: Vec<Leaving>,
    /// Those that have, by their last counters.
    left: Vec<OutputStats>,
    kinds: EventKinds,
    when_full: WhenFull,
    connector: Box<Connector>,
    next: Id,
}

/// Outputs of one form.
struct Group {
    form: Form,
    formatter: Formatter,
    kinds: EventKinds,
    outputs: Vec<Live>,
    /// A line that several of them get.
    line: Vec<u8>,
}

struct Live {
    id: Id,
    /// Its place among those that were asked for.
    place: usize,
    kinds: EventKinds,
    options: OutputOptions,
    output: Output,
}

struct Leaving {
    output: Output,
    /// When its time is over.
    deadline: Instant,
}

/// A line that waits: for each output that asks for it, in its form.
#[derive(Debug)]
pub(super) struct WaitingLine {
    first: (Id, Vec<u8>),
    /// Of all outputs but one.
    others: Vec<(Id, Vec<u8>)>,
}

impl WaitingLine {
    fn copies(&self) -> impl Iterator<Item = &(Id, Vec<u8>)> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Waiting for WaitingLine {
    fn memory(&self) -> usize {
        self.copies().map(|(_, line)| line.capacity()).sum::<usize>()
            + self.others.capacity() * size_of::<(Id, Vec<u8>)>()
    }
}

impl Group {
    fn new(form: Form) -> Self {
        Self {
            form,
            formatter: Formatter::new(form),
            kinds: EventKinds::of(&[]),
            outputs: Vec::new(),
            line: Vec::new(),
        }
    }

    fn observation(&mut self, kind: EventKind, observation: &Observation<'_>) {
        let Self { formatter, outputs, line, .. } = self;
        if let [only] = &mut outputs[..] {
            return only.output.event(|batch| formatter.observation(observation, batch));
        }
        line.clear();
        formatter.observation(observation, line);
        for live in outputs.iter_mut().filter(|live| live.kinds.contains(kind)) {
            live.output.event(|batch| batch.extend_from_slice(line));
        }
    }
}

impl Lines {
    /// Starts the threads of `outputs`.
    ///
    /// # Errors
    ///
    /// If there is none for one of them.
    pub(super) fn start(
        outputs: Vec<OpenOutput>,
        connector: Box<Connector>,
        when_full: WhenFull,
    ) -> Result<Self, OutputError> {
        let mut lines = Self {
            groups: Vec::new(),
            leaving: Vec::new(),
            left: Vec::new(),
            kinds: EventKinds::of(&[]),
            when_full,
            connector,
            next: 0,
        };
        for (place, (options, output)) in start_all(outputs, when_full)?.into_iter().enumerate() {
            let id = lines.next_id();
            lines.put(Live { id, place, kinds: options.kinds(), options, output });
        }
        Ok(lines)
    }

    const fn next_id(&mut self) -> Id {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn put(&mut self, live: Live) {
        self.kinds = self.kinds.or(live.kinds);
        let form = live.options.form;
        let group = match self.groups.iter_mut().find(|group| group.form == form) {
            Some(group) => group,
            None => self.groups.push_mut(Group::new(form)),
        };
        group.kinds = group.kinds.or(live.kinds);
        group.outputs.push(live);
    }

    fn live(&self) -> impl Iterator<Item = &Live> {
        self.groups.iter().flat_map(|group| &group.outputs)
    }

    fn live_mut(&mut self) -> impl Iterator<Item = &mut Live> {
        self.groups.iter_mut().flat_map(|group| &mut group.outputs)
    }

    /// Whether there is no output.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether an output asks for events of this kind.
    pub(super) const fn wants(&self, kind: EventKind) -> bool {
        self.kinds.contains(kind)
    }

    /// Writes an observation to the outputs that ask for it.
    pub(super) fn observation(&mut self, observation: &Observation<'_>) {
        let kind = observation.kind();
        for group in self.groups.iter_mut().filter(|group| group.kinds.contains(kind)) {
            group.observation(kind, observation);
        }
    }

    /// The lines of an observation that has to wait; `None` if no output asks for it.
    pub(super) fn waiting(&mut self, observation: &Observation<'_>) -> Option<WaitingLine> {
        let kind = observation.kind();
        let (mut first, mut others) = (None, Vec::new());
        for group in self.groups.iter_mut().filter(|group| group.kinds.contains(kind)) {
            let Group { formatter, outputs, line, .. } = group;
            line.clear();
            formatter.observation(observation, line);
            for live in outputs.iter().filter(|live| live.kinds.contains(kind)) {
                let copy = (live.id, line.clone());
                match first {
                    None => first = Some(copy),
                    Some(_) => others.push(copy),
                }
            }
        }
        Some(WaitingLine { first: first?, others })
    }

    /// Writes a line that had to wait, to the outputs that asked for it when it was seen.
    pub(super) fn release(&mut self, waiting: &WaitingLine) {
        for (id, line) in waiting.copies() {
            // One that is no longer asked for gets nothing more.
            if let Some(live) = self.live_mut().find(|live| live.id == *id) {
                live.output.event(|batch| batch.extend_from_slice(line));
            }
        }
    }

    /// Lets the outputs have what there is. `others`: whether something else goes on without them.
    pub(super) fn flush(&mut self, others: bool) {
        let several = self.live().nth(1).is_some();
        for live in self.live_mut() {
            live.output.flush();
            if (others || several) && live.output.has_just_closed() {
                let go_on = if several { "the other outputs go on" } else { "the capture goes on" };
                tracing::info!("the reader of {} is gone; {go_on}", live.output.name());
            }
        }
        self.say_goodbye();
    }

    /// Keeps the counters of outputs that are no longer asked for and have written what they had, or have had their time.
    fn say_goodbye(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let now = Instant::now();
        let over = |leaving: &mut Leaving| leaving.output.has_ended() || now >= leaving.deadline;
        for mut leaving in self.leaving.extract_if(.., over) {
            leaving.output.drain(now);
            keep(&mut self.left, &leaving.output);
        }
    }

    /// The one output with which a run ends, if that is so: stdout alone.
    pub(super) fn decisive(&self) -> Option<&Output> {
        let mut live = self.live();
        match (live.next(), live.next()) {
            (Some(only), None) if only.options.target == Target::Stdout => Some(&only.output),
            _ => None,
        }
    }

    /// What became of the events, for each output in the order in which they were asked for.
    pub(super) fn stats(&self) -> Vec<OutputStats> {
        let mut live: Vec<&Live> = self.live().collect();
        live.sort_by_key(|live| live.place);
        let mut all = Vec::with_capacity(live.len());
        for output in live.into_iter().map(|live| &live.output) {
            keep(&mut all, output);
        }
        for leaving in &self.leaving {
            keep(&mut all, &leaving.output);
        }
        for left in &self.left {
            merge(&mut all, left.clone());
        }
        all
    }

    /// Tells `stats` before the end to all who read.
    pub(super) fn report(&mut self, stats: &Stats) {
        for Group { formatter, outputs, .. } in &mut self.groups {
            let mut told = Vec::new();
            formatter.stats(stats, &mut told);
            for live in outputs.iter().filter(|_| !told.is_empty()) {
                live.output.report(told.clone());
            }
        }
    }

    /// Has files opened by their names again.
    pub(super) fn reopen(&self) {
        self.live().for_each(|live| live.output.reopen());
    }

    /// Makes `outputs` what is asked for: those whose target stays keep queue, thread and counters; the others get what
    /// they have, at most for `limit`.
    ///
    /// # Errors
    ///
    /// If one that is new cannot be opened: then all stays as it was.
    pub(super) fn reload(
        &mut self,
        outputs: Vec<OutputOptions>,
        limit: Duration,
    ) -> Result<(), OutputError> {
        check_targets(&outputs)?;
        let is_known = |options: &OutputOptions| {
            self.live().any(|live| live.options.is_same_destination(options))
        };
        let (known, new): (Vec<_>, Vec<_>) =
            outputs.into_iter().enumerate().partition(|(_, options)| is_known(options));
        let (places, new): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        // On this thread nobody is waited for.
        let connectors = Connectors { first: None, later: &*self.connector };
        let new = open_all(new, connectors, self.when_full)?;
        let started = start_all(new, self.when_full)?;
        // Nothing can fail from here on.
        self.flush(true);
        let mut before: Vec<Live> = self.groups.drain(..).flat_map(|group| group.outputs).collect();
        self.kinds = EventKinds::of(&[]);
        for (place, options) in known {
            let same = before.iter().position(|live| live.options.is_same_destination(&options));
            let Some(mut live) = same.map(|at| before.swap_remove(at)) else { continue };
            if live.options.rotation != options.rotation {
                live.output.set_rotation(options.rotation);
            }
            (live.place, live.kinds, live.options) = (place, options.kinds(), options);
            self.put(live);
        }
        for (place, (options, output)) in places.into_iter().zip(started) {
            let id = self.next_id();
            self.put(Live { id, place, kinds: options.kinds(), options, output });
        }
        let deadline = Instant::now() + limit;
        for Live { output, .. } in before {
            output.close();
            self.leaving.push(Leaving { output, deadline });
        }
        Ok(())
    }

    /// Has the outputs write what they have, at most until `deadline`: then it is known what was lost.
    pub(super) fn drain(&mut self, deadline: Instant) {
        self.live_mut().for_each(|live| live.output.end());
        self.live_mut().for_each(|live| live.output.drain(deadline));
        let Self { leaving, left, .. } = self;
        for mut leaving in leaving.drain(..) {
            leaving.output.drain(deadline);
            keep(left, &leaving.output);
            // It may have something to say itself; how it ended does not count, nobody asks for it any more.
            let _ended = leaving.output.finish(&[], deadline);
        }
    }

    /// Writes `stats` as the last line of each output, and ends them. How they ended: the one on stdout, if that is not
    /// well, else the first that has lost lines to a disk.
    pub(super) fn finish(self, stats: &Stats, deadline: Instant) -> Written {
        let (mut of_stdout, mut failed) = (Written::All, None);
        // Live, somebody else tells what readers cost.
        let says_losses = self.when_full == WhenFull::Wait;
        for Group { mut formatter, outputs, .. } in self.groups {
            let mut last = Vec::new();
            formatter.stats(stats, &mut last);
            for Live { options, output, .. } in outputs {
                let name = output.name().to_owned();
                let OutputCounters { lost_queue, lost_connection, .. } = output.counters();
                if says_losses && lost_queue + lost_connection > 0 {
                    tracing::warn!(
                        "{name}: {} events were lost in all: nobody read there, or not in time",
                        lost_queue + lost_connection
                    );
                }
                let written = output.finish(&last, deadline);
                match (&options.target, written) {
                    (Target::Stdout, written) => of_stdout = written,
                    (_, Written::All | Written::ReaderGone) => {}
                    (_, written @ Written::Failed { .. }) => {
                        failed.get_or_insert(written);
                    }
                    (_, Written::Stalled) => {
                        tracing::warn!("{name} did not take the last events in time: they are lost")
                    }
                }
            }
        }
        match (of_stdout, failed) {
            (Written::All | Written::ReaderGone, Some(failed)) => failed,
            (of_stdout, _) => of_stdout,
        }
    }
}

/// Adds the counters of `output` to those under its name.
fn keep(all: &mut Vec<OutputStats>, output: &Output) {
    merge(all, OutputStats { name: output.name().to_owned(), counters: output.counters() });
}

/// One that was taken away and asked for again has been there before.
fn merge(all: &mut Vec<OutputStats>, stats: OutputStats) {
    match all.iter_mut().find(|it| it.name == stats.name) {
        Some(known) => known.counters = known.counters.plus(stats.counters),
        None => all.push(stats),
    }
}
