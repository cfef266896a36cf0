//! A file that holds whole lines, is renamed when it is large or old enough, and can be opened by its name again.
//!
//! ```text
//!  events.json ─► events.json.0 ─► events.json.1 ─► events.json.2 ─► … ─► events.json.7 ─► removed
//!  └ written to     └ until .1 is free  └ as logrotate numbers them
//! ```
//!
//! Nothing that is kept moves before the file at hand could be renamed, and a step that fails is the first of the next
//! attempt: however often that is made, no file more goes. A lock (flock) keeps a second run from the file. Of a line that the disk does not take whole, nothing stays: the file is cut behind the last whole one.

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
    /// If it cannot be opened, another process writes it ([`ErrorKind::ResourceBusy`]), or it is a named pipe: nobody
    /// may read that for long.
    pub fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let open = Open::append(&path)?;
        // What is renamed is the file, not a link to it, and in its own directory.
        let is_link = open.regular && path.symlink_metadata()?.file_type().is_symlink();
        let path = if is_link { path.canonicalize()? } else { path };
        let trouble = Trouble::of("events", "writing");
        let file = Self { path, open, rotation, moved: false, not_before: None, trouble };
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

    /// Files of three lines, of which two are kept, beside the one at hand.
    fn rotating(folder: &Path) -> (LogFile, PathBuf, impl Fn(u32) -> PathBuf) {
        let path = folder.join("x");
        let of = {
            let folder = folder.to_owned();
            move |number: u32| folder.join(format!("x.{number}"))
        };
        fs::write(of(1), "newer\n").unwrap();
        fs::write(of(2), "older\n").unwrap();
        let rotation = Rotation { max_size: Some(4), max_age: None, keep: Some(2) };
        (LogFile::open(path.clone(), rotation).unwrap(), path, of)
    }

    #[test]
    fn a_name_that_somebody_else_took_moves_nothing_that_is_kept() {
        for replaced in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (mut file, path, of) = rotating(folder.path());
            write(&mut file, "one\n");
            fs::remove_file(&path).unwrap();
            if replaced {
                fs::write(&path, "theirs\n").unwrap();
            }
            write(&mut file, "two\n");
            let expected = if replaced { "theirs\ntwo\n" } else { "two\n" };
            assert_eq!(read(&path), expected);
            assert_eq!((read(&of(1)).as_str(), read(&of(2)).as_str()), ("newer\n", "older\n"));
        }
    }

    #[test]
    fn a_rename_that_keeps_failing_costs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, path, of) = rotating(folder.path());
        // The first step fails: nothing is renamed to a directory with something in it.
        fs::create_dir(of(0)).unwrap();
        fs::write(of(0).join("y"), "").unwrap();
        fs::rename(of(2), folder.path().join("kept")).unwrap();
        fs::create_dir(of(2)).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            file.not_before = None;
            write(&mut file, line);
            assert_eq!(read(&of(1)), "newer\n");
        }
        assert_eq!(read(&path), "one\ntwo\nthree\n");
        // A later step fails: what is on its way stays, and what comes goes on.
        fs::remove_dir_all(of(0)).unwrap();
        for line in ["four\n", "five\n", "six\n"] {
            file.not_before = None;
            write(&mut file, line);
            assert_eq!(read(&of(1)), "newer\n");
            assert_eq!(read(&of(0)), "one\ntwo\nthree\n");
        }
        assert_eq!(read(&path), "four\nfive\nsix\n");
        fs::remove_dir(of(2)).unwrap();
        file.not_before = None;
        write(&mut file, "seven\n");
        let all = [&path, &of(1), &of(2)].map(|path| read(path));
        assert_eq!(all, ["seven\n", "four\nfive\nsix\n", "one\ntwo\nthree\n"]);
        assert!(!of(0).exists());
    }

    #[test]
    fn what_a_crash_left_is_kept_and_a_link_is_no_file() {
        let (folder, links) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_, path, of) = rotating(folder.path());
        fs::write(of(0), "left\n").unwrap();
        let link = links.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let rotation = Rotation { max_size: Some(4), max_age: None, keep: Some(2) };
        let mut file = LogFile::open(link.clone(), rotation).unwrap();
        assert_eq!((read(&of(1)).as_str(), read(&of(2)).as_str()), ("left\n", "newer\n"));
        assert_eq!(file.directory().unwrap(), folder.path().canonicalize().unwrap());
        write(&mut file, "one\ntwo\n");
        assert_eq!((read(&link).as_str(), read(&of(1)).as_str()), ("two\n", "one\n"));
        assert!(link.is_symlink());
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
    fn one_process_writes_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut file = LogFile::open(path.clone(), Rotation::default()).unwrap();
        let refused = || LogFile::open(path.clone(), Rotation::default()).err().unwrap();
        assert_eq!(refused().to_string(), format!("another process writes {}", path.display()));
        assert_eq!(refused().kind(), ErrorKind::ResourceBusy);
        // Its own lock is no reason not to go on.
        file.reopen();
        write(&mut file, "one\n");
        assert!(!file.moved);
        fs::rename(&path, folder.path().join("moved")).unwrap();
        file.reopen();
        write(&mut file, "two\n");
        assert_eq!((read(&path).as_str(), refused().kind()), ("two\n", ErrorKind::ResourceBusy));
        drop(file);
        LogFile::open(path, Rotation::default()).unwrap();
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
