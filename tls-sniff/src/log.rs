//! The log on stderr: lines that a person reads, and that the journal knows the priority of.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd,
    sync::OnceLock,
};

use nix::sys::stat::fstat;
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Registry, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use crate::progress;

/// Starts the log: messages of this program from `level` on, of libraries only what is wrong. To be called once.
pub(crate) fn start(level: Level) {
    let journal = goes_to_journal(&io::stderr());
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .without_time()
        .with_level(!journal)
        .with_ansi(io::stderr().is_terminal() && wants_colours())
        .with_writer(Stderr { journal });
    let (filter, handle) = reload::Layer::new(from(level));
    tracing_subscriber::registry().with(filter).with(lines).init();
    let _once = FILTER.set(handle);
}

/// Whether the terminal's user has not said otherwise (no-color.org), and it is one that can.
fn wants_colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
        && env::var_os("TERM").is_none_or(|it| it != "dumb")
}

/// From which level on messages are logged.
pub(crate) fn level() -> Level {
    [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN]
        .into_iter()
        .find(|level| LevelFilter::current() >= *level)
        .unwrap_or(Level::ERROR)
}

/// Has messages logged from another level on.
pub(crate) fn set_level(level: Level) {
    // It fails only if there is no log.
    let _nobody = FILTER.get().map(|filter| filter.reload(from(level)));
}

fn from(level: Level) -> Targets {
    Targets::new().with_target("tls_sniff", level).with_default(Level::WARN)
}

/// What is logged.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Whether `stream` is the one that systemd has connected to the journal, which `JOURNAL_STREAM` names by device and
/// inode (systemd.exec(5)). A child whose stderr goes elsewhere inherits the variable, too.
fn goes_to_journal(stream: &impl AsFd) -> bool {
    let Ok(about) = fstat(stream) else { return false };
    env::var("JOURNAL_STREAM")
        .is_ok_and(|named| named == format!("{}:{}", about.st_dev, about.st_ino))
}

/// Where messages go.
struct Stderr {
    /// Whether each line has its priority before it, as sd-daemon(3) has it.
    journal: bool,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Lines<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines { prefix: "", to: io::stderr() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let prefix = if self.journal { priority(*meta.level()) } else { "" };
        Lines { prefix, to: io::stderr() }
    }
}

/// The priority of syslog(3) in the journal's brackets.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// A writer that is given whole messages, which may have several lines.
struct Lines<W> {
    prefix: &'static str,
    to: W,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let mut lines = Vec::with_capacity(message.len() + self.prefix.len());
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            lines.extend_from_slice(self.prefix.as_bytes());
            lines.extend_from_slice(line);
        }
        // In one go: another process may write there, too.
        progress::aside(|| self.to.write_all(&lines)).map(|()| message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_the_priority() {
        let written = |level, message: &str| {
            let mut lines = Lines { prefix: priority(level), to: Vec::new() };
            lines.write_all(message.as_bytes()).unwrap();
            String::from_utf8(lines.to).unwrap()
        };
        assert_eq!(written(Level::ERROR, "a\nb\n"), "<3>a\n<3>b\n");
        assert_eq!(written(Level::WARN, "a\n"), "<4>a\n");
        assert_eq!(written(Level::INFO, "a"), "<6>a");
        assert_eq!(written(Level::DEBUG, ""), "");
    }

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        let file = tempfile::tempfile().unwrap();
        assert!(!goes_to_journal(&file));
    }
}
