//! A file that holds whole lines, is renamed when it is large or old enough, and can be opened by its name again.
//!
//! ```text
//!  events.json ─► events.json.0 ─► events.json.1 ─► events.json.2 ─► … ─► events.json.7 ─► removed
//!  └ written to     └ until .1 is free  └ as logrotate numbers them
//! ```
//!
//! Nothing that is kept moves before the file at hand could be renamed, and a step that fails is the first of the next
//! attempt: however often that is made, no file more goes. A lock (flock) keeps a second run from the file. Of a line that the disk does not take whole, nothing stays: the file is cut behind the last whole one.

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{Control, Destination, Ended, Lost, lines_in};
use crate::sink::{directory_of, spec::Rotation, trouble::Trouble};

/// Events tell who talks to whom: the group may read them, others not.
const MODE: u32 = 0o640;

/// Time between two attempts to open or rename what cannot be.
const RETRY: Duration = Duration::from_secs(10);

/// How often, and after what time, a file is tried that somebody has locked or moved at that moment: an output that a
/// reload took away may still have it.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A file of lines.
pub struct LogFile {
    path: PathBuf,
    open: Open,
    rotation: Rotation,
    /// The name is another file's by now, which is to be opened.
    moved: bool,
    /// No attempt to open or rename before.
    not_before: Option<Instant>,
    trouble: Trouble,
    /// The first error that cost lines.
    failed: Option<io::Error>,
}

/// The file at hand.
struct Open {
    file: File,
    /// Whether it can be cut and renamed; else it is a device.
    regular: bool,
    /// Bytes of whole lines, when it was last measured, and what was written since.
    len: u64,
    /// Since when it has some.
    begun: SystemTime,
    /// Bytes behind the last whole line, which could not be cut off.
    torn: u64,
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
        let file =
            Self { path, open, rotation, moved: false, not_before: None, trouble, failed: None };
        if file.open.regular
            && file.rotation.is_asked()
            && let Err(error) = file.finish_rotation()
        {
            let left = file.numbered(0);
            tracing::warn!("{} cannot be renamed: {error}; it stays", left.display());
        }
        Ok(file)
    }

    /// As many whole lines as may go into the file at hand, at least one, which may be another file then.
    fn fitting<'a>(&mut self, lines: &'a [u8]) -> &'a [u8] {
        if !self.rotation.is_asked() && !self.moved {
            return lines;
        }
        let first = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
        self.open.measure();
        if !self.moved
            && self.is_due(first)
            && self.is_time()
            && let Err(error) = self.rotate()
        {
            if self.moved {
                let left = self.numbered(0);
                tracing::warn!("{} cannot be renamed: {error}; it stays", left.display());
            } else {
                self.wait();
                tracing::warn!("{} cannot be renamed: {error}; it grows", self.path.display());
            }
        }
        if self.moved && self.is_time() {
            self.reopen();
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
            match self.open.append_lines(chunk) {
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

    /// Renames the files; the one at hand is still written to. If that is `moved` then, its name is free.
    fn rotate(&mut self) -> io::Result<()> {
        self.finish_rotation()?;
        // What somebody else has moved is not to be kept here.
        if self.is_in_place() {
            missing_is_fine(fs::rename(&self.path, self.numbered(0)))?;
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
            missing_is_fine(fs::rename(self.numbered(number), self.numbered(number + 1)))?;
        }
        missing_is_fine(fs::rename(left, first))
    }
}

/// Whether `path` is the name of `file`.
fn is_file_of(file: &File, path: &Path) -> bool {
    let identity = |about: fs::Metadata| (about.dev(), about.ino());
    let of_file = file.metadata().map(identity).ok();
    of_file.is_some() && fs::metadata(path).map(identity).ok() == of_file
}

/// Whether there is something of that name.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
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
        if self.is_in_place() {
            // It would find its own lock.
            (self.moved, self.not_before) = (false, None);
            return;
        }
        match Open::append(&self.path) {
            Ok(open) => {
                self.open = open;
                (self.moved, self.not_before) = (false, None);
            }
            Err(error) => {
                self.moved = true;
                self.wait();
                let path = self.path.display();
                tracing::warn!(
                    "{path} cannot be opened: {error}; events go on into the file before"
                );
            }
        }
    }

    fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    fn directory(&self) -> Option<&Path> {
        // Whether or not it rotates: logrotate has it opened again.
        self.open.regular.then(|| directory_of(&self.path))
    }
}

impl Open {
    fn append(path: &Path) -> io::Result<Self> {
        if path.metadata().is_ok_and(|it| it.file_type().is_fifo()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is a named pipe"));
        }
        let file = open_alone(path)?;
        let metadata = file.metadata()?;
        let regular = metadata.is_file();
        let len = if regular { metadata.len() } else { 0 };
        let begun = metadata.created().or_else(|_| metadata.modified());
        let begun = begun.unwrap_or_else(|_| SystemTime::now());
        let mut open = Self { file, regular, len, begun, torn: 0 };
        if len > 0 && !ends_with_line(path) {
            open.file.write_all(b"\n")?;
            open.len += 1;
        }
        Ok(open)
    }

    /// Appends whole lines.
    ///
    /// # Errors
    ///
    /// How many bytes are in the file for good, whole lines, and what the system said.
    fn append_lines(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn > 0 {
            self.cut().map_err(|error| (0, error))?;
        }
        self.measure();
        if self.len == 0 {
            self.begun = SystemTime::now();
        }
        let mut taken = 0;
        let error = loop {
            let rest = lines.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break None;
            }
            match self.file.write(rest) {
                Ok(0) => break Some(ErrorKind::WriteZero.into()),
                Ok(more) => taken += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        let begun = lines.get(..taken).unwrap_or(lines);
        let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.len += if self.regular { whole as u64 } else { 0 };
        let Some(error) = error else { return Ok(()) };
        if self.regular && whole < taken {
            self.torn = (taken - whole) as u64;
            // What the disk said first is what the operator has to know.
            let _still_torn = self.cut();
        }
        Err((whole, error))
    }

    /// Looks how long the file is: whoever copies and truncates it (logrotate's copytruncate) tells nobody.
    fn measure(&mut self) {
        if let Ok(about) = self.file.metadata()
            && self.regular
        {
            let whole = about.len().saturating_sub(self.torn);
            self.len = if self.torn > 0 { whole.min(self.len) } else { whole };
        }
    }

    /// Cuts off what is behind the last whole line. Never makes the file longer: that would fill it with NUL.
    fn cut(&mut self) -> io::Result<()> {
        self.measure();
        if self.file.metadata()?.len() > self.len {
            self.file.set_len(self.len)?;
        }
        self.torn = 0;
        Ok(())
    }
}

/// Opens a file for appending, which nobody else writes.
fn open_alone(path: &Path) -> io::Result<File> {
    for attempt in 1.. {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(file);
        }
        let locked = match file.try_lock() {
            // Whoever wrote it may have renamed it in between.
            Ok(()) => is_file_of(&file, path),
            Err(TryLockError::WouldBlock) => false,
            // Some file systems have no locks.
            Err(TryLockError::Error(error)) => {
                tracing::debug!("{} cannot be locked: {error}", path.display());
                true
            }
        };
        if locked {
            return Ok(file);
        }
        if attempt == LOCK_ATTEMPTS {
            break;
        }
        thread::sleep(LOCK_PAUSE);
    }
    let said = format!("another process writes {}", path.display());
    Err(io::Error::new(ErrorKind::ResourceBusy, said))
}

/// Whether the last line of a file is whole: whoever wrote it may have been stopped in the middle. Behind the sandbox,
/// which lets nobody read, it is taken for granted: what was renamed into place is whole.
fn ends_with_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        let [byte] = byte;
        Ok(byte)
    };
    last().map_or(true, |byte| byte == b'\n')
}
