//! The file at hand: opened and locked, measured, and cut behind the last whole line.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use super::Created;

/// Events tell who talks to whom: the group may read them, others not.
const MODE: u32 = 0o640;

/// How often, and after what time, a file is tried that somebody has locked or moved at that moment: an output that a
/// reload took away may still have it.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The file at hand.
pub(super) struct Open {
    pub(super) file: File,
    /// If it was not there before.
    pub(super) created: Option<Created>,
    /// Whether it can be cut and renamed; else it is a device.
    pub(super) regular: bool,
    /// It had no name any more when it was last measured: nobody can read it.
    pub(super) removed: bool,
    /// Whether its file system counts the names of a file.
    counts_names: bool,
    /// Bytes of whole lines, when it was last measured, and what was written since.
    pub(super) len: u64,
    /// Since when it has some.
    pub(super) begun: SystemTime,
    /// Bytes behind the last whole line, which could not be cut off.
    pub(super) torn: u64,
}

impl Open {
    pub(super) fn append(path: &Path) -> io::Result<Self> {
        if path.metadata().is_ok_and(|it| it.file_type().is_fifo()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is a named pipe"));
        }
        let (file, created) = open_alone(path)?;
        let metadata = file.metadata()?;
        let regular = metadata.is_file();
        let len = if regular { metadata.len() } else { 0 };
        let begun = metadata.created().or_else(|_| metadata.modified());
        let begun = begun.unwrap_or_else(|_| SystemTime::now());
        let (removed, counts_names, torn) = (false, true, 0);
        let mut open = Self { file, created, regular, removed, counts_names, len, begun, torn };
        if len > 0 && !ends_with_line(path) {
            open.file.write_all(b"\n")?;
            open.len += 1;
        }
        Ok(open)
    }

    /// Appends whole lines, after it was measured.
    ///
    /// # Errors
    ///
    /// How many bytes are in the file for good, whole lines, and what the system said.
    pub(super) fn append_lines(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn > 0 {
            self.cut().map_err(|error| (0, error))?;
        }
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

    /// Looks how long the file is, since whoever copies and truncates it (logrotate's copytruncate) tells nobody, and
    /// whether it has a name.
    pub(super) fn measure(&mut self) {
        if self.regular
            && let Ok(about) = self.file.metadata()
        {
            let whole = about.len().saturating_sub(self.torn);
            self.len = if self.torn > 0 { whole.min(self.len) } else { whole };
            self.removed = self.counts_names && about.nlink() == 0;
        }
    }

    /// It has a name, whatever its file system says: some do not count them.
    pub(super) const fn has_name(&mut self) {
        self.counts_names &= !self.removed;
        self.removed = false;
    }

    /// Cuts off what is behind the last whole line. Never makes the file longer: that would fill it with NUL.
    pub(super) fn cut(&mut self) -> io::Result<()> {
        self.measure();
        if self.file.metadata()?.len() > self.len {
            self.file.set_len(self.len)?;
        }
        self.torn = 0;
        Ok(())
    }
}

/// Opens a file for appending, which nobody else writes.
fn open_alone(path: &Path) -> io::Result<(File, Option<Created>)> {
    for attempt in 1.. {
        let (file, created) = open_or_create(path)?;
        if !file.metadata()?.is_file() {
            return Ok((file, created));
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
            return Ok((file, created));
        }
        if attempt == LOCK_ATTEMPTS {
            break;
        }
        thread::sleep(LOCK_PAUSE);
    }
    let said = format!("another process writes {}", path.display());
    Err(io::Error::new(ErrorKind::ResourceBusy, said))
}

/// Opens a file for appending; also whether it is a new one.
fn open_or_create(path: &Path) -> io::Result<(File, Option<Created>)> {
    let mut options = OpenOptions::new();
    options.append(true).mode(MODE);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            let created = Created::new(path, &file)?;
            Ok((file, Some(created)))
        }
        // Or a link.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok((options.create(true).open(path)?, None))
        }
        Err(error) => Err(error),
    }
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

/// Whether `path` is the name of `file`.
pub(super) fn is_file_of(file: &File, path: &Path) -> bool {
    let identity = |about: fs::Metadata| (about.dev(), about.ino());
    let of_file = file.metadata().map(identity).ok();
    of_file.is_some() && fs::metadata(path).map(identity).ok() == of_file
}
