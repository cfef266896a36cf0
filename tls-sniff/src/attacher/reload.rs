//! A configuration that changed: programs with its filters in the place of those that run.

use std::{
    fs::File,
    future,
    io::{self, Seek as _, Write as _},
    os::fd::OwnedFd,
    pin::Pin,
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use tracing::Level;

use super::{Peers, Selection};
use crate::{
    attach::{AttachOptions, Attacher},
    error::Error,
    load::{self, LoadOptions, Programs, SharedMaps},
    log,
    sink::open::OutputOptions,
};

/// Reads the configuration, if what it was (its text) can become that while tls-sniff runs.
pub type Read = Box<dyn Fn(&str) -> Reading>;

/// A configuration that is being read, from when this is first waited for; given up when it is dropped.
pub type Reading = Pin<Box<dyn Future<Output = Result<Fresh, Error>>>>;

/// A configuration that can be read again.
pub struct Reload {
    /// The text of what runs.
    pub text: String,
    /// The way to what is to run instead.
    pub read: Read,
}

/// A configuration as it is now.
pub struct Fresh {
    /// What the daemon makes its own part of.
    pub text: String,
    /// Interfaces.
    pub selection: Selection,
    /// Hooks.
    pub attach: AttachOptions,
    /// Kernel programs; their flow key is not asked for.
    pub load: LoadOptions,
    /// Outputs.
    pub outputs: Vec<OutputOptions>,
    /// Which messages are logged.
    pub log_level: Level,
}

/// What ran before the last reload. To go back to it nothing is read: a list of networks or a name may be another one
/// by now.
struct Before {
    text: String,
    load: LoadOptions,
    log_level: Level,
}

/// What runs, and how to come by what is to run instead.
pub(super) struct Reloader {
    reload: Option<Reload>,
    /// What is being read.
    reading: Option<Reading>,
    /// What the last reload took the place of.
    before: Option<Before>,
    selection: Selection,
    attach: AttachOptions,
    /// As asked for, which may be less than there is.
    asked_ring_len: u32,
    load: LoadOptions,
    maps: SharedMaps,
}

/// What a reload came to.
pub(super) struct Reloaded {
    /// The configuration's text, as a file.
    pub(super) text: OwnedFd,
    /// Its outputs that are sockets.
    pub(super) peers: Peers,
}

impl Reloader {
    /// `load`: as the programs were loaded; `maps`: theirs.
    pub(super) const fn new(
        reload: Option<Reload>,
        selection: Selection,
        attach: AttachOptions,
        asked_ring_len: u32,
        load: LoadOptions,
        maps: SharedMaps,
    ) -> Self {
        let (reading, before) = (None, None);
        Self { reload, reading, before, selection, attach, asked_ring_len, load, maps }
    }

    /// Has the configuration read; if it is being read already, from the start, as it is now.
    pub(super) fn begin(&mut self) {
        self.reading = Some(match &self.reload {
            Some(Reload { text, read }) => read(text),
            None => Box::pin(future::ready(Err(Error::NoConfiguration))),
        });
    }

    /// Whether the configuration is being read.
    pub(super) const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Waits until the configuration is read; for ever if it is not being read. Nothing is lost if this is dropped while it
    /// waits.
    pub(super) async fn read(&mut self) -> Result<Fresh, Error> {
        let Some(reading) = &mut self.reading else { return future::pending().await };
        let fresh = reading.await;
        self.reading = None;
        fresh
    }

    /// Swaps the programs for those of a configuration; all stays as it was if anything is wrong with it.
    pub(super) fn follow(
        &mut self,
        fresh: Fresh,
        attacher: &mut Attacher,
    ) -> Result<Reloaded, Error> {
        let load = self.loadable(&fresh)?;
        // What can fail comes before the swap.
        let told = file_of(&fresh.text)?;
        attacher.swap(load_beside(&load, &self.maps)?)?;
        let load = std::mem::replace(&mut self.load, load);
        let log_level = log::level();
        log::set_level(fresh.log_level);
        if let Some(reload) = &mut self.reload {
            let text = std::mem::replace(&mut reload.text, fresh.text);
            self.before = Some(Before { text, load, log_level });
        }
        Ok(Reloaded { text: told, peers: Peers::of(&fresh.outputs) })
    }

    /// Goes back to the configuration of before the last reload. Returns its text, as a file. One that is being read is
    /// given up.
    pub(super) fn undo(&mut self, attacher: &mut Attacher) -> Result<OwnedFd, Error> {
        self.reading = None;
        let Before { text, load, log_level } = self.before.take().ok_or(Error::NoConfiguration)?;
        let told = file_of(&text)?;
        attacher.swap(load_beside(&load, &self.maps)?)?;
        self.load = load;
        log::set_level(log_level);
        if let Some(reload) = &mut self.reload {
            reload.text = text;
        }
        Ok(told)
    }

    /// How the programs are to be loaded, if nothing has changed that is fixed.
    fn loadable(&self, fresh: &Fresh) -> Result<LoadOptions, Error> {
        let fixed = |what| Err(Error::Fixed { what });
        if fresh.selection != self.selection {
            return fixed("--interface");
        }
        if fresh.attach != self.attach {
            return fixed("--hook, --tc-attach, --tc-order, --xdp-mode or --tap");
        }
        let mut load = fresh.load.clone();
        if load.ring_len != self.asked_ring_len {
            return fixed("--ring-bytes");
        }
        load.ring_len = self.load.ring_len;
        if load.least_ring_len() > load.ring_len {
            return fixed(
                "--ring-bytes, which the new --payload-bytes or --snaplen need to be larger",
            );
        }
        load.flow_key = self.load.flow_key;
        Ok(load)
    }
}

fn load_beside(options: &LoadOptions, maps: &SharedMaps) -> Result<Programs, Error> {
    #[cfg_attr(not(feature = "kernel-log"), expect(unused_mut, reason = "for the feature"))]
    let mut programs = load::load_beside(options, maps)?;
    #[cfg(feature = "kernel-log")]
    crate::kernel_log::forward(&mut programs);
    Ok(programs)
}

/// A text as a file without a name, to be read from its start.
fn file_of(text: &str) -> Result<OwnedFd, Error> {
    let make = || -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create(c"configuration", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file.into())
    };
    make().map_err(|source| Error::Process { what: "hand over the configuration", source })
}
