//! A file that holds whole lines, is renamed when it is large or old enough, and can be opened by its name again.
//!
//! ```text
//!  events.json ─► events.json.0 ─► events.json.1 ─► events.json.2 ─► … ─► events.json.7 ─► removed
//!  └ written to     └ until .1 is free  └ as logrotate numbers them
//! ```
//!
//! Nothing that is kept moves before the file at hand could be renamed, and a step that fails is the first of the next
//! attempt: however often that is made, no file more goes. A file that was removed, which nobody can read any more, is
//! opened by its name again; while that cannot be done, events are lost rather than written into it. A lock (flock) keeps a second run from the file. Of a line that the disk does not take whole, nothing stays: the file is cut behind the last whole one.

mod open;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::open::{Open, is_file_of};
use super::{Control, Destination, Ended, Lost, lines_in};
use crate::sink::{directory_of, spec::Rotation, trouble::Trouble};

/// Time between two attempts to open or rename what cannot be.
const RETRY: Duration = Duration::from_secs(10);

/// A file of lines.
pub struct LogFile {
    path: PathBuf,
    open: Open,
    rotation: Rotation,
    /// The name is another file's by now, which is to be opened.
    moved: bool,
    /// No attempt to open or rename before.
    not_before: Option<Instant>,
    /// Why there is no file, while the one at hand was removed: the kind of the error, and words.
    refused: Option<(ErrorKind, String)>,
    trouble: Trouble,
    /// The first error that cost lines.
    failed: Option<io::Error>,
}

impl LogFile {
    /// Opens `path` for appending.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, another process writes it ([`ErrorKind::ResourceBusy`]), or it is a named pipe: nobody
    /// may read that for long.
    pub fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let open = Open::append(&path)?;
        // What is renamed is the file, not a link to it, and in its own directory.
        let is_link = open.regular && path.symlink_metadata()?.file_type().is_symlink();
        let path = if is_link { path.canonicalize()? } else { path };
        let trouble = Trouble::of("events", "writing");
        let file = Self {
            path,
            open,
            rotation,
            moved: false,
            not_before: None,
            refused: None,
            trouble,
            failed: None,
        };
        if file.open.regular
            && file.rotation.is_asked()
            && let Err(error) = file.finish_rotation()
        {
            tracing::warn!("{error}; {} stays", file.numbered(0).display());
        }
        Ok(file)
    }

    /// As many whole lines as may go into the file at hand, at least one, which may be another file then.
    fn fitting<'a>(&mut self, lines: &'a [u8]) -> &'a [u8] {
        self.open.measure();
        if self.open.removed && self.refused.is_none() {
            // As if somebody had said that it is to be opened again.
            (self.moved, self.not_before) = (true, None);
        }
        if !self.rotation.is_asked() && !self.moved {
            return lines;
        }
        let first = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
        if !self.moved
            && self.is_due(first)
            && self.is_time()
            && let Err(error) = self.rotate()
        {
            if self.moved {
                tracing::warn!("{error}; {} stays", self.numbered(0).display());
            } else {
                self.wait();
                tracing::warn!("{error}; {} grows", self.path.display());
            }
        }
        if self.moved && self.is_time() {
            self.open_again(false);
        }
        let Some(max) = self.rotation.max_size.filter(|_| self.open.regular && !self.moved) else {
            return lines;
        };
        let room = usize::try_from(max.saturating_sub(self.open.len)).unwrap_or(usize::MAX);
        let within = lines.get(..room).unwrap_or(lines);
        let whole = within.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        lines.get(..whole.max(first)).unwrap_or(lines)
    }

    /// Writes lines of which as many as `events_in` says are events. Says how many of those were lost.
    fn put(&mut self, lines: &[u8], events_in: fn(&[u8]) -> u64) -> u64 {
        let mut lost = 0;
        let mut rest = lines;
        while !rest.is_empty() {
            let chunk = self.fitting(rest);
            rest = rest.get(chunk.len()..).unwrap_or_default();
            let written = match &self.refused {
                Some((kind, words)) if self.open.removed => {
                    Err((0, io::Error::new(*kind, words.clone())))
                }
                _ => self.open.append_lines(chunk),
            };
            match written {
                Ok(()) => self.trouble.over(&self.path),
                Err((taken, error)) => {
                    let events = events_in(chunk.get(taken..).unwrap_or_default());
                    if events > 0 {
                        self.trouble.lost(&self.path, &error, events);
                    }
                    lost += events;
                    self.failed.get_or_insert(error);
                }
            }
        }
        lost
    }

    /// Whether a line of `len` bytes belongs into the next file.
    fn is_due(&self, len: usize) -> bool {
        let Open { regular: true, len: filled @ 1.., begun, .. } = self.open else { return false };
        let Rotation { max_size, max_age, .. } = self.rotation;
        let is_old = |age| begun.elapsed().is_ok_and(|it| it >= Duration::from_secs(age));
        max_size.is_some_and(|max| filled + len as u64 > max) || max_age.is_some_and(is_old)
    }

    /// Whether something that failed may be tried again.
    fn is_time(&self) -> bool {
        self.not_before.is_none_or(|time| Instant::now() >= time)
    }

    fn wait(&mut self) {
        self.not_before = Some(Instant::now() + RETRY);
    }

    /// The file beside it that has this number.
    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    /// Whether the name is that of the file at hand.
    fn is_in_place(&self) -> bool {
        is_file_of(&self.open.file, &self.path)
    }

    /// Opens the file by its name, if that is not the name of the one at hand. `asked`: by somebody, who is told if that
    /// cannot be; otherwise it is said with what it costs.
    fn open_again(&mut self, asked: bool) {
        self.open.measure();
        if self.is_in_place() {
            // It would find its own lock.
            self.open.has_name();
            (self.moved, self.not_before, self.refused) = (false, None, None);
            return;
        }
        let path = self.path.display();
        match Open::append(&self.path) {
            Ok(open) => {
                if self.open.removed && !asked {
                    tracing::warn!("{path} was removed: events go on into a new file of that name");
                }
                self.open = open;
                (self.moved, self.not_before, self.refused) = (false, None, None);
            }
            Err(error) => {
                if self.open.removed {
                    let restart = restart_hint(&error);
                    let words =
                        format!("it was removed and cannot be opened again: {error}{restart}");
                    if asked {
                        tracing::warn!("{path}: {words}; events are lost until it can be");
                    }
                    self.refused = Some((error.kind(), words));
                } else {
                    tracing::warn!(
                        "{path} cannot be opened: {error}{}; events go on into the file before",
                        restart_hint(&error)
                    );
                }
                self.moved = true;
                self.wait();
            }
        }
    }

    /// Renames the files; the one at hand is still written to. If that is `moved` then, its name is free.
    fn rotate(&mut self) -> io::Result<()> {
        self.finish_rotation()?;
        // What somebody else has moved is not to be kept here.
        if self.is_in_place() {
            rename(&self.path, &self.numbered(0))?;
        }
        self.moved = true;
        self.finish_rotation()
    }

    /// Makes what is on its way the first of the files that are kept.
    fn finish_rotation(&self) -> io::Result<()> {
        let (left, first) = (self.numbered(0), self.numbered(1));
        if !left.symlink_metadata().is_ok_and(|it| it.is_file()) {
            return Ok(());
        }
        let keep = self.rotation.keep.unwrap_or(Rotation::KEEP);
        // Up to the first number that is free: if a rename failed the last time, it is the one behind that, and none
        // is overwritten again.
        let free = (1..keep).find(|number| !exists(&self.numbered(*number))).unwrap_or(keep);
        for number in (1..free).rev() {
            rename(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename(&left, &first)
    }
}

/// What to do if a file cannot be opened for the want of rights that it had at the start.
fn restart_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            " (if its directory is a new one, restart tls-sniff: the sandbox knows that of the start)"
        }
        _ => "",
    }
}

/// Whether there is something of that name.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Renames a file; one that is not there needs none. The error names both: a directory may be in the way, of a number
/// that nobody has in mind.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let (from, to) = (from.display(), to.display());
            Err(io::Error::new(error.kind(), format!("{from} cannot be renamed to {to}: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Destination for LogFile {
    fn write(&mut self, lines: &[u8], _control: &Control) -> Result<Lost, Ended> {
        Ok(Lost { write: self.put(lines, lines_in), ..Lost::default() })
    }

    fn report(&mut self, lines: &[u8], _control: &Control) -> Result<(), Ended> {
        self.put(lines, |_| 0);
        Ok(())
    }

    fn end(&mut self) -> Option<io::Error> {
        self.trouble.end(&self.path);
        self.failed.take()
    }

    fn reopen(&mut self) {
        self.open_again(true);
    }

    fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    fn directory(&self) -> Option<&Path> {
        // Whether or not it rotates: logrotate has it opened again.
        self.open.regular.then(|| directory_of(&self.path))
    }
}
