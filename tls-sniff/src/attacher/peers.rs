//! The outputs that are sockets: what the daemon may ask the connector for, and the attacher's way to tell that of them.
//!
//! ```text
//!  configuration ─► attacher ── Peer ──► connector ◄── digest ── daemon
//! ```

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Connector, connector,
    protocol::{self, Message},
};
use crate::{
    apart,
    sink::{
        destination::{self, Connected, Peer},
        open::OutputOptions,
    },
};

/// What `ps` and /proc show of the connector; the kernel cuts names after 15 bytes.
const NAME: &std::ffi::CStr = c"tls-connector";

impl Message for Peer {
    const MAX: usize = 4096;
    const BRINGS_FD: bool = false;
}

/// Peers of outputs.
#[derive(Clone, Debug, Default)]
pub struct Peers(Vec<Peer>);

impl Peers {
    /// Those of `outputs`.
    #[must_use]
    pub fn of(outputs: &[OutputOptions]) -> Self {
        let mut peers = Self::default();
        outputs.iter().filter_map(OutputOptions::peer).for_each(|peer| peers.add(peer));
        peers
    }

    fn add(&mut self, peer: Peer) {
        if !self.0.contains(&peer) {
            self.0.push(peer);
        }
    }

    fn with_digest(&self, wanted: u64) -> Option<&Peer> {
        self.0.iter().find(|peer| digest(peer) == wanted)
    }
}

/// The attacher's side of the connector, which is there if it ever had anything to connect.
pub(super) enum Connecting {
    /// There was no output to connect. The socket is the connector's, should there be one.
    NotYet(OwnedFd),
    /// It runs.
    By {
        /// It is told of outputs here.
        connector: OwnedFd,
        /// Those that it knows: of the configuration, and of those that it was before, since outputs that are no longer
        /// asked for may have something to write still.
        known: Peers,
    },
}

impl Connecting {
    /// Has `peers` connected from now on, when the daemon asks for it.
    ///
    /// # Errors
    ///
    /// If there is no process to be had, or it has ended.
    pub(super) fn serve(&mut self, peers: &Peers) -> io::Result<()> {
        match self {
            Self::NotYet(_) if peers.0.is_empty() => {}
            Self::NotYet(socket) => {
                let connector = start(socket, peers)?;
                // The daemon is to see the end of the connector: nobody else has its socket now.
                *self = Self::By { connector, known: peers.clone() };
            }
            Self::By { connector, known } => {
                for peer in &peers.0 {
                    if !known.0.contains(peer) {
                        protocol::send(connector, peer, None).map_err(|error| {
                            let ended = error.kind() == io::ErrorKind::BrokenPipe;
                            if ended { io::Error::other(connector::ENDED) } else { error }
                        })?;
                        known.add(peer.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Starts the connector. Nobody waits for its end: it ends behind the attacher.
fn start(socket: &OwnedFd, peers: &Peers) -> io::Result<OwnedFd> {
    let (more, its_more) = protocol::pair()?;
    protocol::set_nonblocking(&more)?;
    protocol::set_nonblocking(&its_more)?;
    apart::start(NAME, &[socket.as_fd(), its_more.as_fd()], |confined| {
        confined?;
        // What the two own is closed by the end of the process.
        let socket = socket.try_clone()?;
        let served = Mutex::new(Served { peers: peers.clone(), more: its_more.try_clone()? });
        connector::serve(socket, Box::new(move |wanted| connect(&served, wanted)))
    })?;
    Ok(more)
}

/// What the connector knows.
struct Served {
    peers: Peers,
    /// Where the attacher tells of others, always before the daemon hears of them.
    more: OwnedFd,
}

fn connect(served: &Mutex<Served>, wanted: u64) -> io::Result<OwnedFd> {
    let peer = {
        let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((peer, _)) = next(&served.more) {
            served.peers.add(peer);
        }
        served.peers.with_digest(wanted).cloned()
    };
    let unknown = || io::Error::other("the configuration has no such output");
    destination::Connect::connect(&peer.ok_or_else(unknown)?).map(Connected::into_fd)
}

/// The next one, if it is there already.
fn next(more: &OwnedFd) -> Option<(Peer, Option<OwnedFd>)> {
    loop {
        match protocol::receive(more) {
            Ok(next) => return next,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // One that is too long for a message is no peer either: those behind it are.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(_) => return None,
        }
    }
}

/// For the daemon: how outputs are connected by the connector.
#[must_use]
pub fn connecting(connector: Connector) -> Box<destination::Connector> {
    let connector = Arc::new(connector);
    Box::new(move |peer| {
        Box::new(ByConnector { connector: Arc::clone(&connector), peer: peer.clone() })
    })
}

/// Has one peer connected.
struct ByConnector {
    connector: Arc<Connector>,
    peer: Peer,
}

impl destination::Connect for ByConnector {
    fn connect(&self) -> io::Result<Connected> {
        let fd = self.connector.connect(digest(&self.peer))?;
        Ok(Connected::from_fd(&self.peer, fd))
    }
}

/// Who is meant, in all processes, which are one program. Not a place in a list: those of the two could differ, and
/// events would go to somebody else.
fn digest(peer: &Peer) -> u64 {
    let mut hasher = DefaultHasher::new();
    peer.hash(&mut hasher);
    hasher.finish()
}
