//! The outputs that are sockets, by their numbers: what the daemon may ask the attacher to connect.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Connect, Connector};
use crate::sink::{
    destination::{self, Connected, Peer},
    open::OutputOptions,
};

/// A list that both processes have. Both add to it what a reload brings, in the same order, and nothing is taken out of
/// it: a number means the same peer in both, whenever the other one gets to it.
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

    /// Those of `outputs` as well: after a reload, in both processes before the outputs are opened.
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
        Some(Box::new(move |number| {
            let peer = peers.list().get(number).cloned();
            let unknown = || io::Error::other("the configuration has no such output");
            destination::Connect::connect(&peer.ok_or_else(unknown)?).map(Connected::into_fd)
        }))
    }

    /// For the daemon: how outputs are connected by the attacher.
    #[must_use]
    pub fn asking(&self, attacher: Connector) -> Box<destination::Connector> {
        let (peers, attacher) = (self.clone(), Arc::new(attacher));
        Box::new(move |peer| {
            let (peers, attacher, peer) = (peers.clone(), Arc::clone(&attacher), peer.clone());
            Box::new(ByAttacher { peers, attacher, peer })
        })
    }
}

/// Has one peer connected.
struct ByAttacher {
    peers: Peers,
    attacher: Arc<Connector>,
    peer: Peer,
}

impl destination::Connect for ByAttacher {
    fn connect(&self) -> io::Result<Connected> {
        let number = self.peers.list().iter().position(|peer| *peer == self.peer);
        let unknown = || io::Error::other("the configuration has no such output");
        let fd = self.attacher.connect(number.ok_or_else(unknown)?)?;
        Ok(Connected::from_fd(&self.peer, fd))
    }
}
