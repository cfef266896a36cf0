//! A file that holds whole lines, is renamed when it is large or old enough, and can be opened by its name again.
//!
//! ```text
//!  events.json ─► events.json.1 ─► events.json.2 ─► … ─► events.json.7 ─► removed
//!  └ written to     as logrotate numbers them
//! ```
//!
//! Of a line that the disk does not take whole, nothing stays: the file is cut behind the last whole one.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::{Control, Destination, Ended, Lost, lines_in};
use crate::sink::{directory_of, spec::Rotation, trouble::Trouble};

/// Events tell who talks to whom: the group may read them, others not.
const MODE: u32 = 0o640;

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
    trouble: Trouble,
}

/// The file at hand.
struct Open {
    file: File,
    /// Whether it can be cut and renamed; else it is a device.
    regular: bool,
    /// Bytes of whole lines.
    len: u64,
    /// Since when it has some.
    begun: SystemTime,
    /// There is more behind `len`, and cutting it off failed.
    dirty: bool,
}

impl LogFile {
    /// Opens `path` for appending.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or is a named pipe: nobody may read that for long.
    pub fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let open = Open::append(&path)?;
        let trouble = Trouble::of("events", "writing");
        Ok(Self { path, open, rotation, moved: false, not_before: None, trouble })
    }

    /// As many whole lines as may go into the file at hand, at least one, which may be another file then.
    fn fitting<'a>(&mut self, lines: &'a [u8]) -> &'a [u8] {
        if !self.rotation.is_asked() && !self.moved {
            return lines;
        }
        let first = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
        if !self.moved && self.is_due(first) && self.is_time() {
            match self.rotate() {
                Ok(()) => self.moved = true,
                Err(error) => {
                    self.wait();
                    tracing::warn!("{} cannot be renamed: {error}; it grows", self.path.display());
                }
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

    /// Renames the files; the one at hand is still written to.
    fn rotate(&mut self) -> io::Result<()> {
        let keep = self.rotation.keep.unwrap_or(Rotation::KEEP);
        let numbered = |number: u32| {
            let mut name = OsString::from(&self.path);
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let missing_is_fine = |result: io::Result<()>| match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        };
        // What is behind the last number was kept when more were.
        missing_is_fine(fs::remove_file(numbered(keep)))?;
        for number in (1..keep).rev() {
            missing_is_fine(fs::rename(numbered(number), numbered(number + 1)))?;
        }
        fs::rename(&self.path, numbered(1))
    }
}

impl Destination for LogFile {
    fn write(&mut self, lines: &[u8], _control: &Control) -> Result<Lost, Ended> {
        let mut lost = Lost::default();
        let mut rest = lines;
        while !rest.is_empty() {
            let chunk = self.fitting(rest);
            rest = rest.get(chunk.len()..).unwrap_or_default();
            match self.open.append_lines(chunk) {
                Ok(()) => self.trouble.over(&self.path),
                Err((taken, error)) => {
                    let events = lines_in(chunk.get(taken..).unwrap_or_default());
                    self.trouble.lost(&self.path, &error, events);
                    lost.write += events;
                }
            }
        }
        Ok(lost)
    }

    fn reopen(&mut self) {
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
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        let metadata = file.metadata()?;
        let regular = metadata.is_file();
        let len = if regular { metadata.len() } else { 0 };
        let begun = metadata.created().or_else(|_| metadata.modified());
        let begun = begun.unwrap_or_else(|_| SystemTime::now());
        let mut open = Self { file, regular, len, begun, dirty: false };
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
        if self.dirty {
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
            // What the disk said first is what the operator has to know.
            let _still_dirty = self.cut();
        }
        Err((whole, error))
    }

    /// Cuts off what is behind the last whole line.
    fn cut(&mut self) -> io::Result<()> {
        self.dirty = true;
        self.file.set_len(self.len)?;
        self.dirty = false;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &mut LogFile, lines: &str) -> Lost {
        file.write(lines.as_bytes(), &Control::default()).unwrap()
    }

    /// What is in `path`, empty without it.
    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_large_file_is_renamed_and_no_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.json");
        let of = |number: u32| folder.path().join(format!("events.json.{number}"));
        // As after a crash.
        fs::write(&path, "half").unwrap();
        let rotation = Rotation { max_size: Some(10), max_age: None, keep: Some(2) };
        let mut file = LogFile::open(path.clone(), rotation).unwrap();
        assert_eq!(
            write(&mut file, "one\ntwo\nthree\nfour, which is too long\nfive\n"),
            Lost::default()
        );
        assert_eq!(read(&path), "five\n");
        assert_eq!(read(&of(1)), "four, which is too long\n");
        assert_eq!(read(&of(2)), "two\nthree\n");
        assert!(!of(3).exists());
        write(&mut file, "six\n");
        assert_eq!((read(&path).as_str(), read(&of(1)).len()), ("five\nsix\n", 24));
        // By age, after the first line of the file is old enough.
        file.set_rotation(Rotation { max_size: None, max_age: Some(60), keep: Some(2) });
        write(&mut file, "seven\n");
        file.open.begun -= Duration::from_secs(61);
        write(&mut file, "eight\n");
        assert_eq!(
            (read(&path).as_str(), read(&of(1)).as_str()),
            ("eight\n", "five\nsix\nseven\n")
        );
    }

    #[test]
    fn a_file_that_was_moved_gets_what_comes_until_it_is_opened_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("x"), folder.path().join("x-20261125"));
        let mut file = LogFile::open(path.clone(), Rotation::default()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & !0o640 & 0o7777, 0);
        write(&mut file, "one\n");
        fs::rename(&path, &moved).unwrap();
        write(&mut file, "two\n");
        file.reopen();
        write(&mut file, "three\n");
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("one\ntwo\n", "three\n"));
        // Its directory is gone: the file is still there.
        fs::rename(&path, folder.path().join("y")).unwrap();
        fs::create_dir(&path).unwrap();
        file.reopen();
        assert_eq!(write(&mut file, "four\n"), Lost::default());
        assert_eq!(read(&folder.path().join("y")), "three\nfour\n");
        fs::remove_dir(&path).unwrap();
        file.not_before = None;
        write(&mut file, "five\n");
        assert_eq!(read(&path), "five\n");
    }

    #[test]
    fn what_a_disk_refuses_is_counted_and_leaves_no_half_line() {
        let mut full = LogFile::open("/dev/full".into(), Rotation::default()).unwrap();
        assert_eq!(write(&mut full, "one\ntwo\n"), Lost { write: 2, ..Lost::default() });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut file = LogFile::open(path.clone(), Rotation::default()).unwrap();
        write(&mut file, "one\n");
        // As after a write that the disk took a part of, and would not have cut.
        file.open.file.write_all(b"tw").unwrap();
        file.open.dirty = true;
        write(&mut file, "two\n");
        assert_eq!(read(&path), "one\ntwo\n");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(LogFile::open(fifo, Rotation::default()).is_err());
    }
}
