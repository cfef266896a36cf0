//! Outputs that are open, before their threads are started: a sandbox may lie between.

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    Form,
    destination::{
        Connect, Connected, Connector, Created, Destination, Framing, LogFile, Peer, Socket, Stream,
    },
    output::{Output, WhenFull},
    place::{is_renamed_to, is_same_place},
    spec::{LineFormat, OutputSpec, Rotation, Target},
    syslog::{AppName, Facility, Header},
};
use crate::{
    observation::{EventKind, EventKinds},
    sink::json::Profile,
};

/// How long somebody who listens may be too busy to accept, if a file is read.
const BUSY: Duration = Duration::from_secs(2);

/// An output, all said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// Where.
    pub target: Target,
    /// Which events.
    pub events: Vec<EventKind>,
    /// In what form.
    pub form: Form,
    /// Of a file.
    pub rotation: Rotation,
    /// Of syslog.
    pub facility: Facility,
    /// Of syslog.
    pub app_name: AppName,
}

/// An output that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refuses.
    #[error("cannot open the output {name}: {source}")]
    Open {
        /// Its target.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Two of them would mix their lines.
    #[error("two outputs are {0}")]
    Twice(String),
    /// Two of them would write one file.
    #[error("two outputs are one file: {0} and {1}")]
    SameFile(String, String),
    /// One would rename its file to that of another one.
    #[error("{rotated} is renamed to {other}, which is another output")]
    Renamed {
        /// The one that is renamed.
        rotated: String,
        /// The other one.
        other: String,
    },
    /// No thread to write.
    #[error("cannot start a thread that writes to {name}: {source}")]
    Thread {
        /// Its target.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl OutputError {
    /// Whether the options are at fault.
    pub(crate) const fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::Twice(_) | Self::SameFile(..) | Self::Renamed { .. })
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "its directory must exist, and of a socket its reader",
                io::ErrorKind::PermissionDenied => {
                    "choose a place where the user that runs tls-sniff may write; a file in a directory that had no output at the start needs a restart"
                }
                io::ErrorKind::ResourceBusy => {
                    "each run needs a file of its own: end the other one, or name another file"
                }
                io::ErrorKind::ConnectionRefused => "start the reader first",
                io::ErrorKind::InvalidInput => "`--output stdout > PIPE` writes into a named pipe",
                _ => "choose another output",
            },
            Self::Twice(_) | Self::SameFile(..) => {
                "leave out one of them, or give one `events` for both"
            }
            Self::Renamed { .. } => "choose another name for one of them",
            Self::Thread { .. } => "`ulimit -u` and the cgroup's pids.max limit threads",
        }
    }
}

impl OutputSpec {
    /// How its lines look, if `profile` and `format` are what the flags say for all outputs.
    #[must_use]
    pub fn form(&self, profile: Option<Profile>, format: LineFormat) -> Form {
        let format = match (self.format, self.profile) {
            (Some(format), _) => format,
            // Who asks for a profile asks for JSON.
            (None, Some(_)) => LineFormat::Json,
            (None, None) => format,
        };
        match format {
            LineFormat::Json => Form::Json(self.profile.or(profile).unwrap_or_default()),
            LineFormat::Text => Form::Text,
        }
    }

    /// With its form, and the events that are wanted unless it says so itself.
    #[must_use]
    pub fn options(&self, form: Form, events: Vec<EventKind>) -> OutputOptions {
        OutputOptions {
            target: self.target.clone(),
            events: self.events.clone().unwrap_or(events),
            form,
            rotation: self.rotation,
            facility: self.facility.unwrap_or_default(),
            app_name: self.app_name.clone().unwrap_or_default(),
        }
    }
}

impl OutputOptions {
    /// Lines of these events on stdout.
    #[must_use]
    pub fn stdout(form: Form, events: Vec<EventKind>) -> Self {
        Self {
            target: Target::Stdout,
            events,
            form,
            rotation: Rotation::default(),
            facility: Facility::default(),
            app_name: AppName::default(),
        }
    }

    /// Whether another one's thread writes to the same, in the same way.
    pub(crate) fn is_same_destination(&self, other: &Self) -> bool {
        let syslog = |it: &Self| (it.facility, it.app_name.clone());
        self.is_same_target(other) && syslog(self) == syslog(other)
    }

    /// Whether both write to one place, whatever way leads there.
    fn is_same_target(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Target::File(one), Target::File(other)) => is_same_place(one, other),
            (one, other) => one == other,
        }
    }

    /// Whether its file is one day to have the name of the other one's.
    fn is_renamed_to(&self, other: &Self) -> bool {
        let (Target::File(path), Target::File(other)) = (&self.target, &other.target) else {
            return false;
        };
        is_renamed_to(path, other)
    }

    /// The kinds of events that it writes.
    pub(crate) fn kinds(&self) -> EventKinds {
        match self.form {
            // Other profiles have a place for nothing else.
            Form::Json(profile) if profile != Profile::Native => {
                let wanted = |kind: &&EventKind| **kind == EventKind::Handshake;
                let kinds: Vec<_> = self.events.iter().filter(wanted).copied().collect();
                EventKinds::of(&kinds)
            }
            Form::Json(_) | Form::Text => EventKinds::of(&self.events),
        }
    }

    /// Who reads it, if it is a socket.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        match &self.target {
            Target::Stdout | Target::File(_) => None,
            Target::UnixStream(path) => Some(Peer::UnixStream(path.clone())),
            Target::UnixDatagram(path) | Target::Syslog(path) => {
                Some(Peer::UnixDatagram(path.clone()))
            }
            Target::SyslogTcp { host, port } => Some(Peer::Tcp { host: host.clone(), port: *port }),
        }
    }

    fn framing(&self) -> Framing {
        let header = || Header::new(self.facility, self.app_name.clone());
        match &self.target {
            Target::Stdout | Target::File(_) | Target::UnixStream(_) => Framing::Lines,
            Target::UnixDatagram(_) => Framing::Datagrams,
            Target::Syslog(_) => Framing::Syslog(header()),
            Target::SyslogTcp { .. } => Framing::Counted(header()),
        }
    }

    /// Opens it.
    fn open(
        self,
        connectors: Connectors<'_>,
        when_full: WhenFull,
    ) -> Result<OpenOutput, OutputError> {
        let name = self.target.to_string();
        let mut created = None;
        let opened: io::Result<Box<dyn Destination>> = match (&self.target, self.peer()) {
            (Target::File(path), _) => match LogFile::open(path.clone(), self.rotation) {
                Ok(mut file) => {
                    created = file.created();
                    Ok(Box::new(file))
                }
                Err(error) => Err(error),
            },
            (_, Some(peer)) => match connectors.first(&peer, when_full) {
                Some(Err(error)) if when_full == WhenFull::Wait => Err(error),
                first => {
                    let connect = (connectors.later)(&peer);
                    Ok(Box::new(Socket::new(name.clone(), first, connect, self.framing())))
                }
            },
            (_, None) => match Stream::stdout() {
                Ok(stdout) => Ok(Box::new(stdout)),
                Err(error) => Err(error),
            },
        };
        match opened {
            Ok(destination) => Ok(OpenOutput { options: self, destination, created }),
            Err(source) => Err(OutputError::Open { name, source }),
        }
    }
}

/// Who makes connections.
#[derive(Clone, Copy)]
pub(crate) struct Connectors<'a> {
    /// When outputs are opened; `None`: their threads do.
    pub(crate) first: Option<&'a Connector>,
    /// Later, on their threads.
    pub(crate) later: &'a Connector,
}

impl Connectors<'_> {
    /// The first connection. Live, nobody can wait for one: what might take its time is left to the output's thread.
    fn first(&self, peer: &Peer, when_full: WhenFull) -> Option<io::Result<Connected>> {
        let connect = (self.first?)(peer);
        match when_full {
            WhenFull::Drop => peer.answers_at_once().then(|| connect.connect()),
            WhenFull::Wait => Some(patiently(&*connect)),
        }
    }
}

/// Connects, and tries for some seconds if somebody is there who is busy.
fn patiently(peer: &dyn Connect) -> io::Result<Connected> {
    let start = Instant::now();
    loop {
        match peer.connect() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && start.elapsed() < BUSY => {
                thread::sleep(BUSY / 40);
            }
            outcome => return outcome,
        }
    }
}

/// An output that is open.
pub struct OpenOutput {
    pub(crate) options: OutputOptions,
    destination: Box<dyn Destination>,
    /// Its file, if that was not there before.
    created: Option<Created>,
}

impl OpenOutput {
    /// Starts its thread.
    fn start(self, when_full: WhenFull) -> Result<(OutputOptions, Output), OutputError> {
        let name = self.options.target.to_string();
        match Output::start(name.clone(), self.destination, when_full) {
            Ok(output) => Ok((self.options, output)),
            Err(source) => Err(OutputError::Thread { name, source }),
        }
    }

    /// The directory in which it makes and renames files later.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        self.destination.directory().map(Into::into)
    }
}

/// Opens all of `outputs`, or none: then files that were made for it, and are empty still, are removed.
///
/// # Errors
///
/// If two have one target, or one is a file that cannot be written; from a file also if one is a socket that nobody
/// reads. Live, somebody may come later, as when the machine starts.
pub(crate) fn open_all(
    outputs: Vec<OutputOptions>,
    connectors: Connectors<'_>,
    when_full: WhenFull,
) -> Result<Vec<OpenOutput>, OutputError> {
    check_targets(&outputs)?;
    let mut all: Vec<OpenOutput> = Vec::with_capacity(outputs.len());
    for output in outputs {
        match output.open(connectors, when_full) {
            Ok(open) => all.push(open),
            Err(error) => {
                all.iter().filter_map(|open| open.created.as_ref()).for_each(Created::take_back);
                return Err(error);
            }
        }
    }
    Ok(all)
}

/// Starts the threads of all of `outputs`, or of none, as [`open_all`].
///
/// # Errors
///
/// If there is no thread for one of them.
pub(crate) fn start_all(
    mut outputs: Vec<OpenOutput>,
    when_full: WhenFull,
) -> Result<Vec<(OutputOptions, Output)>, OutputError> {
    let created: Vec<_> = outputs.iter_mut().filter_map(|open| open.created.take()).collect();
    let mut started = Vec::with_capacity(outputs.len());
    for open in outputs {
        match open.start(when_full) {
            Ok(output) => started.push(output),
            Err(error) => {
                created.iter().for_each(Created::take_back);
                return Err(error);
            }
        }
    }
    Ok(started)
}

/// Each target once, and none in the way of another one's rotation.
///
/// # Errors
///
/// If one is there twice or in the way.
pub(crate) fn check_targets(outputs: &[OutputOptions]) -> Result<(), OutputError> {
    for (at, output) in outputs.iter().enumerate() {
        let before = outputs.iter().take(at).find(|before| before.is_same_target(output));
        match before.map(|before| [before, output].map(|it| it.target.to_string())) {
            Some([before, output]) if before == output => return Err(OutputError::Twice(output)),
            Some([before, output]) => return Err(OutputError::SameFile(before, output)),
            None => {}
        }
    }
    for rotated in outputs.iter().filter(|output| output.rotation.is_asked()) {
        if let Some(other) = outputs.iter().find(|other| rotated.is_renamed_to(other)) {
            let [rotated, other] = [rotated, other].map(|output| output.target.to_string());
            return Err(OutputError::Renamed { rotated, other });
        }
    }
    Ok(())
}
