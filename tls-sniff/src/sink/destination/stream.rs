//! stdout, whatever it is: a pipe, a terminal, a file that the shell opened.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use super::{Control, Destination, Ended, Lost, lines_in};

/// How long a pipe that is set not to block is left alone.
const PAUSE: Duration = Duration::from_millis(5);

/// Writes until that fails, then never again.
#[derive(Debug)]
pub struct Stream<W> {
    writer: W,
}

impl<W: Write + Send> Stream<W> {
    /// Writes to `writer`.
    pub const fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl Stream<File> {
    /// Writes to stdout.
    ///
    /// # Errors
    ///
    /// If it is closed.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl<W: Write + Send> Destination for Stream<W> {
    fn write(&mut self, lines: &[u8], control: &Control) -> Result<Lost, Ended> {
        let mut rest = lines;
        while !rest.is_empty() {
            match self.writer.write(rest) {
                Ok(0) => return Err(ended(rest, ErrorKind::WriteZero.into())),
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if control.is_abandoned() {
                        return Ok(Lost { queue: lines_in(rest), ..Lost::default() });
                    }
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(ended(rest, error)),
            }
        }
        self.writer.flush().map_err(|error| ended(&[], error))?;
        Ok(Lost::default())
    }
}

fn ended(rest: &[u8], error: io::Error) -> Ended {
    Ended { events: lines_in(rest), error }
}
