//! The outputs that are sockets: what the daemon may ask the attacher to connect.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Connect, Connector};
use crate::sink::{
    destination::{self, Connected, Peer},
    open::OutputOptions,
};

/// Those of the configuration and of those that it was before: outputs that are no longer asked for may have something
/// to write still.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Mutex<Vec<Peer>>>);

impl Peers {
    /// Those of `outputs`.
    #[must_use]
    pub fn of(outputs: &[OutputOptions]) -> Self {
        let peers = Self::default();
        peers.add(outputs);
        peers
    }

    /// Those of `outputs` as well: after a reload, before the daemon hears of it.
    pub fn add(&self, outputs: &[OutputOptions]) {
        let mut list = self.list();
        for peer in outputs.iter().filter_map(OutputOptions::peer) {
            if !list.contains(&peer) {
                list.push(peer);
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the attacher: how it connects. `None` if no output is a socket.
    #[must_use]
    pub fn serving(&self) -> Option<Connect> {
        if self.list().is_empty() {
            return None;
        }
        let peers = self.clone();
        Some(Box::new(move |wanted| {
            let peer = peers.list().iter().find(|peer| digest(peer) == wanted).cloned();
            let unknown = || io::Error::other("the configuration has no such output");
            destination::Connect::connect(&peer.ok_or_else(unknown)?).map(Connected::into_fd)
        }))
    }
}

/// For the daemon: how outputs are connected by the attacher.
#[must_use]
pub fn connecting(attacher: Connector) -> Box<destination::Connector> {
    let attacher = Arc::new(attacher);
    Box::new(move |peer| {
        Box::new(ByAttacher { attacher: Arc::clone(&attacher), peer: peer.clone() })
    })
}

/// Has one peer connected.
struct ByAttacher {
    attacher: Arc<Connector>,
    peer: Peer,
}

impl destination::Connect for ByAttacher {
    fn connect(&self) -> io::Result<Connected> {
        let fd = self.attacher.connect(digest(&self.peer))?;
        Ok(Connected::from_fd(&self.peer, fd))
    }
}

/// Who is meant, in both processes, which are one program. Not a place in a list: those of the two could differ, and
/// events would go to somebody else.
fn digest(peer: &Peer) -> u64 {
    let mut hasher = DefaultHasher::new();
    peer.hash(&mut hasher);
    hasher.finish()
}
