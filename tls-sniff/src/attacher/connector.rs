//! Connections to outputs, which the sandboxed daemon cannot make itself: over a pair of sockets of their own, so
//! that a thread of an output can wait for one and nobody else does.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    thread,
};

use serde::{Deserialize, Serialize};

use super::protocol::{self, Message};

/// Connects the output with this number, in the order of the configuration. Must not take for ever: outputs are
/// connected one after the other.
pub type Connect = Box<dyn Fn(usize) -> io::Result<OwnedFd> + Send>;

/// The number of an output.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Wanted(usize);

/// That it is connected, or the errno if there is one, and the words.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome(Result<(), (Option<i32>, String)>);

impl Message for Wanted {
    const MAX: usize = 32;
    const BRINGS_FD: bool = false;
}

impl Message for Outcome {
    const MAX: usize = 4096;
    const BRINGS_FD: bool = true;
}

/// The daemon's end.
pub struct Connector(Mutex<OwnedFd>);

impl Connector {
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self(Mutex::new(socket))
    }

    /// Has the output with this number connected, and waits for it.
    ///
    /// # Errors
    ///
    /// If it cannot be connected, or the attacher has ended.
    pub fn connect(&self, output: usize) -> io::Result<OwnedFd> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        protocol::send(&socket, &Wanted(output), None)?;
        let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the attacher has ended");
        let (Outcome(outcome), fd) = protocol::receive(&socket)?.ok_or_else(ended)?;
        match outcome {
            Ok(()) => fd.ok_or_else(|| io::ErrorKind::InvalidData.into()),
            Err((Some(number), _)) => Err(io::Error::from_raw_os_error(number)),
            Err((None, words)) => Err(io::Error::other(words)),
        }
    }
}

/// The attacher's end: a thread that ends when the daemon's end is closed.
pub(super) fn serve(socket: OwnedFd, connect: Connect) -> io::Result<()> {
    let serve = move || {
        while let Ok(Some((Wanted(output), _))) = protocol::receive(&socket) {
            let (outcome, fd) = match connect(output) {
                Ok(fd) => (Ok(()), Some(fd)),
                Err(error) => (Err((error.raw_os_error(), error.to_string())), None),
            };
            if protocol::send(&socket, &Outcome(outcome), fd.as_ref()).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("connect".to_owned()).spawn(serve).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_connected_by_its_number() {
        let (one, other) = protocol::pair().unwrap();
        let connect = |output| match output {
            0 => Ok(std::fs::File::open("/dev/null")?.into()),
            1 => Err(io::Error::from_raw_os_error(nix::libc::ECONNREFUSED)),
            _ => Err(io::Error::other("there is no such output")),
        };
        serve(other, Box::new(connect)).unwrap();
        let connector = Connector::new(one);
        connector.connect(0).unwrap();
        let refused = connector.connect(1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connector.connect(2).unwrap_err().to_string().contains("no such output"));
        connector.connect(0).unwrap();
    }
}
