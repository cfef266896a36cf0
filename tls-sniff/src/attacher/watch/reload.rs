//! A reload: what the daemon asks for, and what it is told.
//!
//! ```text
//!  Reload ──► Reading ──► the file, libpcap in another process ──┬► swapped ──► Reloaded ──► perhaps Undo
//!             ▲    meanwhile all else goes on                    └► as it was ──► Refused
//!  Again ─────┘    from the start: the newest configuration wins
//! ```

use std::os::fd::OwnedFd;

use super::{Watch, unheard};
use crate::{
    attacher::{
        protocol::{Failure, Report, Request},
        reload::{Fresh, Reloaded},
    },
    error::Error,
};

impl Watch<'_> {
    /// Does what the daemon asks of a reload.
    pub(super) async fn reload(&mut self, request: Request) -> Result<(), Error> {
        match request {
            Request::Undo => {
                let undone = self.reloader.undo(&mut self.attacher);
                self.tell_reloaded(undone).await
            }
            // It has not heard yet that the reload is over, and will.
            Request::Again if !self.reloader.is_reading() => Ok(()),
            _ => {
                self.reloader.begin();
                self.tell(&Report::Reading).await
            }
        }
    }

    /// Puts a configuration that was read in the place of the one in force.
    pub(super) async fn follow(&mut self, fresh: Result<Fresh, Error>) -> Result<(), Error> {
        let followed = fresh.and_then(|fresh| self.reloader.follow(fresh, &mut self.attacher));
        let reloaded = match followed {
            Ok(Reloaded { text, peers }) => match self.serve_outputs(&peers) {
                Ok(()) => Ok(text),
                Err(error) => self.reloader.undo(&mut self.attacher).and(Err(error)),
            },
            Err(error) => Err(error),
        };
        self.tell_reloaded(reloaded).await
    }

    async fn tell_reloaded(&self, reloaded: Result<OwnedFd, Error>) -> Result<(), Error> {
        match reloaded {
            Ok(text) => {
                let report = Report::Reloaded(None);
                self.daemon.send(&report, Some(&text)).await.map_err(unheard)
            }
            Err(error) => self.tell(&Report::Refused(Failure::of(&error))).await,
        }
    }
}
