//! A file that is whole after each chunk, whatever the disk says.
//!
//! ```text
//!  | chunk | chunk | chunk, begun
//!                  └ end of what is whole: after an error the file is cut here, and the next chunk is tried
//!
//!  | chunk | chunk | end |     a compression's end, which the next chunk is written over
//! ```
//!
//! Pipes and devices cannot be cut. One that refuses a chunk before its first byte may take the next; one
//! that stops inside a chunk ends the capture.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Seek as _, SeekFrom, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::Path,
    thread,
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
};

/// Captures hold what others sent: the group may read them, others not.
const MODE: u32 = 0o640;

/// How long a pipe that is set not to block is left alone.
const PIPE_PAUSE: Duration = Duration::from_millis(5);

/// Why a chunk was not written.
#[derive(Debug)]
pub(super) enum Refused {
    /// None of it is in the file; the next chunk may be taken.
    Whole(io::Error),
    /// The reader of a pipe went away.
    ReaderGone,
    /// The stream ends inside of it.
    Broken(io::Error),
}

/// A file, a pipe, a device or stdout.
pub(super) struct Disk {
    file: File,
    /// Whether it can be cut.
    regular: bool,
    /// Bytes that are whole, and what stands behind them to end the file.
    len: u64,
    end: &'static [u8],
    /// Where they begin: not at 0 if stdout was redirected to the end of a file.
    base: u64,
    /// There is more behind `len` than that, and cutting it off failed.
    dirty: bool,
}

impl Disk {
    /// Opens `path` for writing, empty. Waits for the reader of a named pipe.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
        let regular = file.metadata()?.is_file();
        Ok(Self { file, regular, len: 0, end: &[], base: 0, dirty: false })
    }

    /// stdout, which may be a file.
    pub(super) fn stdout() -> io::Result<Self> {
        let mut file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let metadata = file.metadata()?;
        let regular = metadata.is_file();
        let append =
            OFlag::from_bits_truncate(fcntl(&file, FcntlArg::F_GETFL)?).contains(OFlag::O_APPEND);
        let base = match (regular, append) {
            (false, _) => 0,
            (true, true) => metadata.len(),
            (true, false) => file.stream_position()?,
        };
        Ok(Self { file, regular, len: 0, end: &[], base, dirty: false })
    }

    /// Bytes written.
    pub(super) fn len(&self) -> u64 {
        self.len + self.end.len() as u64
    }

    /// The next chunk is written behind the end that is there.
    pub(super) fn keep_end(&mut self) {
        self.len = self.len();
        self.end = &[];
    }

    /// Whether the file may be renamed: it is one.
    pub(super) fn is_regular(&self) -> bool {
        self.regular
    }

    /// Appends `chunk` and ends the file with `end`: both or nothing.
    pub(super) fn append(&mut self, chunk: &[u8], end: &'static [u8]) -> Result<(), Refused> {
        if self.dirty {
            self.cut().map_err(Refused::Whole)?;
        }
        let begun = self.write(chunk, end);
        let (error, begun) = match begun {
            Ok(()) => {
                self.len += chunk.len() as u64;
                self.end = end;
                if !self.regular {
                    self.keep_end();
                }
                return Ok(());
            }
            Err(failed) => failed,
        };
        if self.regular {
            // What the disk said first is what the operator has to know.
            let _still_dirty = self.cut();
            Err(Refused::Whole(error))
        } else if error.kind() == ErrorKind::BrokenPipe {
            Err(Refused::ReaderGone)
        } else if begun {
            Err(Refused::Broken(error))
        } else {
            Err(Refused::Whole(error))
        }
    }

    /// # Errors
    ///
    /// What the system said, and whether some bytes were written.
    fn write(&mut self, chunk: &[u8], end: &[u8]) -> Result<(), (io::Error, bool)> {
        if !self.end.is_empty() {
            self.file
                .seek(SeekFrom::Start(self.base + self.len))
                .map_err(|error| (error, false))?;
        }
        let mut begun = false;
        for part in [chunk, end] {
            let mut rest = part;
            while !rest.is_empty() {
                match self.file.write(rest) {
                    Ok(0) => return Err((ErrorKind::WriteZero.into(), begun)),
                    Ok(written) => {
                        begun = true;
                        rest = rest.get(written..).unwrap_or_default();
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(PIPE_PAUSE);
                    }
                    Err(error) => return Err((error, begun)),
                }
            }
        }
        Ok(())
    }

    /// Cuts off what is behind the last whole chunk, and ends the file as it was.
    fn cut(&mut self) -> io::Result<()> {
        self.dirty = true;
        let whole = self.base + self.len;
        self.file.set_len(whole)?;
        self.file.seek(SeekFrom::Start(whole))?;
        self.file.write_all(self.end)?;
        self.dirty = false;
        Ok(())
    }

    /// Cuts the file if that is still to be done, and has the disk keep it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.regular {
            return Ok(());
        }
        if self.dirty {
            self.cut()?;
        }
        match self.file.sync_all() {
            // File systems that have nothing to sync say so.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }
}

/// Whether `path` is there and is no file: a pipe or a device, which rotation would not renew.
pub(super) fn is_stream(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_char_device() || kind.is_socket()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::trouble::is_full;

    #[test]
    fn a_device_that_refuses_the_first_byte_may_take_the_next_chunk() {
        let mut full = Disk::create(Path::new("/dev/full")).unwrap();
        for _ in 0..2 {
            let refused = full.append(b"chunk", &[]).unwrap_err();
            assert!(matches!(&refused, Refused::Whole(error) if is_full(error)), "{refused:?}");
        }
        assert_eq!(full.len(), 0);
        full.finish().unwrap();
        let mut null = Disk::create(Path::new("/dev/null")).unwrap();
        null.append(b"chunk", &[]).unwrap();
        null.finish().unwrap();
    }

    #[test]
    fn the_next_chunk_is_written_over_the_end_unless_that_is_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut disk = Disk::create(file.path()).unwrap();
        let there = || std::fs::read_to_string(file.path()).unwrap();
        disk.append(b"one,", b"end").unwrap();
        assert_eq!((there().as_str(), disk.len()), ("one,end", 7));
        disk.append(b"two,", b"end").unwrap();
        assert_eq!((there().as_str(), disk.len()), ("one,two,end", 11));
        // As after a chunk that was begun.
        disk.file.write_all(b"thr").unwrap();
        disk.cut().unwrap();
        assert_eq!(there(), "one,two,end");
        disk.keep_end();
        disk.append(b"4", &[]).unwrap();
        disk.finish().unwrap();
        assert_eq!(there(), "one,two,end4");
    }

    #[test]
    fn files_are_for_the_owner_and_his_group() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        Disk::create(&path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & !0o640 & 0o7777, 0, "{mode:o}");
        assert_eq!(mode & 0o600, 0o600);
    }
}
