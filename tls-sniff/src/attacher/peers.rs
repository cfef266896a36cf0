//! The outputs that are sockets: what the daemon may ask the connector for, and how.
//!
//! ```text
//!  configuration ─► attacher ── Peer ──► connector ◄── digest ── daemon
//! ```

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    sync::Arc,
};

use super::{Connector, protocol::Message};
use crate::sink::{
    destination::{self, Connected, Peer},
    open::OutputOptions,
};

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

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.iter()
    }

    pub(super) fn contains(&self, peer: &Peer) -> bool {
        self.0.contains(peer)
    }

    pub(super) fn add(&mut self, peer: Peer) {
        if !self.contains(&peer) {
            self.0.push(peer);
        }
    }

    pub(super) fn with_digest(&self, wanted: u64) -> Option<&Peer> {
        self.0.iter().find(|peer| digest(peer) == wanted)
    }
}

/// For the daemon: how outputs are connected by the connector.
#[must_use]
pub fn connecting(connector: Arc<Connector>) -> Box<destination::Connector> {
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
pub(super) fn digest(peer: &Peer) -> u64 {
    let mut hasher = DefaultHasher::new();
    peer.hash(&mut hasher);
    hasher.finish()
}
