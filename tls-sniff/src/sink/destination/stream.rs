//! stdout, whatever it is: a pipe, a terminal, a file that the shell opened.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal as _, Seek as _, SeekFrom, Write},
    os::fd::AsFd as _,
    path::Path,
    thread,
    time::Duration,
};

use nix::errno::Errno;

use super::{Control, Destination, Ended, Lost, lines_in};
use crate::sink::trouble::Trouble;

/// How long a pipe that is set not to block is left alone.
const PAUSE: Duration = Duration::from_millis(5);

/// Writes until nobody reads any more. What a disk refuses is lost and counted, as of a file.
pub struct Stream<W> {
    writer: W,
    /// Takes so many bytes away again that were written last. Whether it could.
    take_back: fn(&mut W, u64) -> bool,
    /// An input/output error is the end of a terminal.
    terminal: bool,
    /// It ends in a part of a line.
    torn: bool,
    trouble: Trouble,
    /// The first error that cost lines.
    failed: Option<io::Error>,
}

impl<W: Write + Send> Stream<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        let trouble = Trouble::of("events", "writing");
        let take_back = |_: &mut W, _| false;
        Self { writer, take_back, terminal: false, torn: false, trouble, failed: None }
    }

    /// Writes all of `lines`.
    ///
    /// # Errors
    ///
    /// How many bytes were taken, and what the system said; WouldBlock if nobody waits any more.
    fn write_all(&mut self, lines: &[u8], control: &Control) -> Result<(), (usize, io::Error)> {
        let mut taken = 0;
        while let Some(rest @ [_, ..]) = lines.get(taken..) {
            match self.writer.write(rest) {
                Ok(0) => return Err((taken, ErrorKind::WriteZero.into())),
                Ok(more) => taken += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if control.is_abandoned() {
                        return Err((taken, error));
                    }
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err((taken, error)),
            }
        }
        self.writer.flush().map_err(|error| (taken, error))
    }

    /// Whether nothing can be written after `error`, whatever happens.
    fn is_end(&self, error: &io::Error) -> bool {
        let ends = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::WriteZero];
        let is = |errno: Errno| error.raw_os_error() == Some(errno as i32);
        ends.contains(&error.kind()) || is(Errno::EBADF) || (self.terminal && is(Errno::EIO))
    }

    /// Takes note of a line of which `bytes` were written, or takes them back.
    fn tear(&mut self, bytes: usize) {
        self.torn = bytes > 0 && !(self.take_back)(&mut self.writer, bytes as u64);
    }
}

impl Stream<File> {
    /// Writes to stdout.
    ///
    /// # Errors
    ///
    /// If it is closed.
    pub fn stdout() -> io::Result<Self> {
        let stdout = io::stdout();
        let file = File::from(stdout.as_fd().try_clone_to_owned()?);
        Ok(Self { take_back, terminal: stdout.is_terminal(), ..Self::new(file) })
    }
}

impl<W: Write + Send> Stream<W> {
    /// Writes lines of which as many as `events_in` says are events.
    fn put(
        &mut self,
        lines: &[u8],
        events_in: fn(&[u8]) -> u64,
        control: &Control,
    ) -> Result<Lost, Ended> {
        let ended = if self.torn { self.write_all(b"\n", control) } else { Ok(()) };
        let written = match ended {
            Ok(()) => {
                self.torn = false;
                self.write_all(lines, control)
            }
            Err((_, error)) => Err((0, error)),
        };
        let Err((taken, error)) = written else {
            self.trouble.over(Path::new("stdout"));
            return Ok(Lost::default());
        };
        let events = events_in(lines.get(taken..).unwrap_or_default());
        if error.kind() == ErrorKind::WouldBlock {
            return Ok(Lost { queue: events, ..Lost::default() });
        }
        if self.is_end(&error) {
            return Err(Ended { events, error });
        }
        let written = lines.get(..taken).unwrap_or(lines);
        if taken > 0 {
            self.tear(written.iter().rev().take_while(|byte| **byte != b'\n').count());
        }
        if events > 0 {
            self.trouble.lost(Path::new("stdout"), &error, events);
        }
        self.failed.get_or_insert(error);
        Ok(Lost { write: events, ..Lost::default() })
    }
}

impl<W: Write + Send> Destination for Stream<W> {
    fn write(&mut self, lines: &[u8], control: &Control) -> Result<Lost, Ended> {
        self.put(lines, lines_in, control)
    }

    fn report(&mut self, lines: &[u8], control: &Control) -> Result<(), Ended> {
        self.put(lines, |_| 0, control).map(drop)
    }

    fn end(&mut self) -> Option<io::Error> {
        self.trouble.end(Path::new("stdout"));
        self.failed.take()
    }
}

/// Of a file that nobody else has made longer meanwhile.
fn take_back(file: &mut File, bytes: u64) -> bool {
    let mut cut = || -> io::Result<bool> {
        let (about, at) = (file.metadata()?, file.stream_position()?);
        if !about.is_file() || about.len() != at {
            return Ok(false);
        }
        let whole = at.saturating_sub(bytes);
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        Ok(true)
    };
    cut().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then refuses.
    struct Disk {
        file: File,
        room: usize,
        errno: Errno,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.get(..self.room.min(bytes.len())).unwrap();
            if some.is_empty() {
                return Err(self.errno.into());
            }
            self.room -= some.len();
            self.file.write(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_counted_events_until_there_is_space() {
        for cuts in [true, false] {
            let mut file = tempfile::tempfile().unwrap();
            let disk = Disk { file: file.try_clone().unwrap(), room: 6, errno: Errno::ENOSPC };
            let mut stream = Stream::new(disk);
            if cuts {
                stream.take_back = |disk, bytes| take_back(&mut disk.file, bytes);
            }
            let write = |stream: &mut Stream<Disk>, lines: &str| {
                stream.write(lines.as_bytes(), &Control::default()).unwrap().write
            };
            assert_eq!(write(&mut stream, "one\ntwo\nthree\n"), 2);
            assert_eq!(write(&mut stream, "four\n"), 1);
            stream.writer.room = 100;
            assert_eq!(write(&mut stream, "five\n"), 0);
            file.rewind().unwrap();
            let expected = if cuts { "one\nfive\n" } else { "one\ntw\nfive\n" };
            assert_eq!(io::read_to_string(file).unwrap(), expected);
            // A run that has lost events by it does not end well.
            assert_eq!(stream.end().unwrap().raw_os_error(), Some(28));
        }
    }

    #[test]
    fn who_reads_no_more_is_the_end() {
        for (errno, terminal, ends) in [
            (Errno::EPIPE, false, true),
            (Errno::ECONNRESET, false, true),
            (Errno::EIO, true, true),
            (Errno::EIO, false, false),
            (Errno::EDQUOT, false, false),
        ] {
            let mut stream =
                Stream::new(Disk { file: tempfile::tempfile().unwrap(), room: 0, errno });
            stream.terminal = terminal;
            let result = stream.write(b"one\n", &Control::default());
            assert_eq!(result.is_err(), ends, "{errno}");
        }
    }
}
