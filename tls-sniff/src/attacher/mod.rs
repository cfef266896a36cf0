//! The process that keeps the capabilities: it loads, attaches and counts, and never sees a byte of the network.
//!
//! ```text
//!  main, one thread ── fork ──┬──────────────────────────────────────────────────────────┐
//!                             │ daemon                                                   │ attacher
//!   bytes of the network ──►  │ ring ─► dedup ─► pipeline ─► outputs                     │ programs, links, rtnetlink
//!                             │ Handle         ◄── SEQPACKET ──►                         │
//!                             │       Counters, Reload, Again, Undo, Detach ──►          │ CAP_BPF, CAP_PERFMON,
//!                             │          ◄── Loaded + the ring's fd, Names, Watching,    │ CAP_NET_ADMIN
//!                             │              Gone, Connector + its socket, Counters,     │
//!                             │              Reading, Reloaded + a text, Refused,        │
//!                             │              Detached, Failed                            │
//!                             └──────────────┐                                           │ one thread
//!                                            │                                           │
//!                               Connector ◄──┴── SEQPACKET ──► connector, a child of it ─┤ no capability
//!                               (outputs to sockets)         clsact guard, another child ┘ CAP_NET_ADMIN
//! ```
//!
//! **Trust.** Whoever has taken the daemon over by what it reads can ask for the counters, for the end, for the
//! configuration to be read again, and for a connection to an output that it names, by a digest. Nothing else is
//! understood, nothing that the daemon sends is run, opened or used as a name, and sizes have bounds ([`protocol`]).
//! The daemon believes the attacher, which hears nobody but the kernel, the configuration and the daemon. Names of hosts
//! are looked up by others: those of outputs by the connector, those of an expression by a process that lives for
//! nothing else (`apart.rs`), and the attacher gets a program in classic BPF from it, which it checks.
//!
//! **Ends.** Each side's socket ends with the other process, by SIGKILL too, and then it ends as well. Links are the
//! attacher's file descriptors, so with it all is detached. The daemon waits for it: when that has ended, nothing is
//! attached. A connector that ends takes nobody with it: the attacher starts another one, and the daemon gets its socket.
//!
//! It comes into being by a fork, not by exec, so that it has the parsed options; before any thread, because of
//! threads only the one that forks is there in the child.

mod connecting;
mod connector;
mod handle;
mod peers;
mod process;
pub mod protocol;
mod reload;
mod selection;
mod watch;

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use nix::{
    sys::signal::SigSet,
    unistd::{ForkResult, fork},
};

pub use self::{
    connector::{Connect, Connector},
    handle::{Forked, Handle, PATIENCE},
    peers::{Peers, connecting},
    reload::{Fresh, Read, Reading, Reload},
    selection::Selection,
};
use crate::{attach::AttachOptions, descriptors::close_others, error::Error, load::LoadOptions};

/// What the attacher is told.
pub struct Options {
    /// Interfaces.
    pub selection: Selection,
    /// Hooks.
    pub attach: AttachOptions,
    /// Kernel programs.
    pub load: LoadOptions,
    /// Reads the configuration again; `None` if there is none.
    pub reload: Option<Reload>,
    /// The outputs that are sockets: its connector connects them anew.
    pub peers: Peers,
}

/// Starts the attacher. Only while this process has one thread, and no file open that another process must not have.
///
/// # Errors
///
/// If there are no sockets or no process to be had.
pub fn start(options: Options) -> Result<Forked, Error> {
    fork_attacher(options)
        .map_err(|source| Error::Process { what: "start the attacher process", source })
}

#[expect(unsafe_code, reason = "fork")]
fn fork_attacher(options: Options) -> io::Result<Forked> {
    let (socket, its_socket) = protocol::pair()?;
    let (connector, its_connector) = protocol::pair()?;
    // A signal that comes before the child ignores it waits until it does.
    let before = process::ignored().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    // SAFETY: this process has one thread, so no lock is held by a thread that the child does not have.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            drop((socket, connector));
            become_attacher(&before, its_socket, its_connector, options)
        }
        Ok(ForkResult::Parent { child }) => {
            before.thread_set_mask()?;
            Ok(Forked::new(socket, connector, child))
        }
        Err(error) => {
            before.thread_set_mask()?;
            Err(error.into())
        }
    }
}

/// The attacher's life.
#[expect(unsafe_code, reason = "it closes what the daemon and the caller have open")]
fn become_attacher(before: &SigSet, socket: OwnedFd, connector: OwnedFd, options: Options) -> ! {
    // SAFETY: whatever owns them is the daemon's: it is behind the fork, where this process never comes.
    let closed = unsafe { close_others(&[socket.as_fd(), connector.as_fd()]) };
    if let Err(error) = closed {
        tracing::debug!("the attacher process has what the daemon has open: {error}");
    }
    let lived = process::become_attacher(before).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(watch::run(socket, connector, options))
    });
    match lived {
        Ok(()) => std::process::exit(0),
        // The daemon learns of it by the end of the socket.
        Err(error) => {
            tracing::error!("the attacher process: {error}");
            std::process::exit(1)
        }
    }
}
