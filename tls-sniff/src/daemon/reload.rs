//! SIGHUP: what the pipeline does with a configuration that the attacher has read and the kernel has.

use crate::{attacher::Peers, ending::Hangup, error::Error, pipeline::Pipeline};

/// Makes a pipeline follow a configuration, by its text, with no file but what the sandbox leaves. The list takes its
/// outputs' peers.
pub type Follow = Box<dyn FnMut(&str, &mut Pipeline, &Peers) -> Result<(), Error>>;

/// The signal, and what is on its way.
pub(super) struct Reload {
    pub(super) hangup: Hangup,
    /// The attacher is at it. Signals that come meanwhile are one more.
    pub(super) asked: bool,
    /// `None` without a configuration file.
    pub(super) follow: Option<Follow>,
    pub(super) peers: Peers,
}

impl Reload {
    /// Resolves at the next signal; not while the last one is worked on.
    pub(super) async fn wanted(&mut self) {
        if self.asked {
            std::future::pending::<()>().await;
        }
        self.hangup.next().await;
    }

    /// Whether there is a configuration to be read again: then it is asked for.
    pub(super) const fn begin(&mut self) -> bool {
        self.asked = self.follow.is_some();
        self.asked
    }

    pub(super) const fn end(&mut self) {
        self.asked = false;
    }

    pub(super) fn follow(&mut self, text: &str, pipeline: &mut Pipeline) -> Result<(), Error> {
        self.follow.as_mut().map_or(Ok(()), |follow| follow(text, pipeline, &self.peers))
    }
}
