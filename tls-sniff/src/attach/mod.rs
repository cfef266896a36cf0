//! Puts the kernel programs on interfaces and takes them off.
//!
//! ```text
//!             ingress                    egress
//!  tc         TCX | clsact               TCX | clsact
//!  xdp        XDP native | generic       TCX | clsact
//!             (TC where a packet has no Ethernet header)
//!  tap        XDP, which drops            nothing
//! ```
//!
//! TCX and XDP links live as long as this process's file descriptors: they are gone when it ends, by
//! SIGKILL too. Filters on a clsact qdisc outlive it; `clsact` says what is done about that.

mod attachment;
mod clsact;
mod error;
mod tap;
mod tc;
mod xdp;

use attachment::Attachment;
pub use clsact::{OwnerHandle, run_guard};
pub use error::AttachError;
use error::errno;
pub use tap::Use;

use std::{collections::BTreeMap, fmt};

use tls_sniff_common::{flow::Hook, headers::LinkLayer};

use crate::{interfaces::Interface, load::Programs, netlink::Netlink};

/// Which hook sees ingress; egress is always TC's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IngressHook {
    /// TC: after GRO, few large packets.
    #[default]
    Tc,
    /// XDP: before the stack, and before anything there can drop the packet.
    Xdp,
}

/// How TC programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcAttach {
    /// TCX if the kernel has it, else clsact.
    #[default]
    Auto,
    /// TCX (6.6).
    Tcx,
    /// A filter on a clsact qdisc.
    Clsact,
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpAttach {
    /// Native if the driver can, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the stack, on any driver.
    Generic,
}

/// Where among other TC programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Before all others: sees what they may drop or redirect.
    #[default]
    First,
    /// After all others: sees what they let through.
    Last,
}

/// Whether the interfaces get copies of other hosts' packets, to be dropped behind the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tap {
    /// They do not: each packet passes.
    #[default]
    No,
    /// They do, and are used for nothing else, or else are refused.
    Unused,
    /// They do, whatever else they are used for.
    Forced,
}

/// What the user wants of attaching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Hook for ingress.
    pub ingress: IngressHook,
    /// TC's way.
    pub tc: TcAttach,
    /// XDP's way.
    pub xdp: XdpAttach,
    /// Place among TC programs.
    pub order: Order,
    /// Whether all that comes in is dropped, by XDP: the programs must have been loaded for that.
    pub tap: Tap,
}

/// The way in which one direction of an interface is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A TCX link.
    Tcx,
    /// A filter on the clsact qdisc.
    Clsact,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack.
    XdpGeneric,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "TCX",
            Self::Clsact => "TC clsact",
            Self::XdpNative => "native XDP",
            Self::XdpGeneric => "generic XDP",
        })
    }
}

/// One watched interface.
struct Watched {
    interface: Interface,
    attachments: Vec<Attachment>,
}

/// The programs and what they are attached to.
pub struct Attacher {
    programs: Programs,
    options: AttachOptions,
    watched: BTreeMap<u32, Watched>,
    guard: Option<clsact::Guard>,
}

impl Attacher {
    /// Nothing is attached yet.
    #[must_use]
    pub const fn new(programs: Programs, options: AttachOptions) -> Self {
        Self { programs, options, watched: BTreeMap::new(), guard: None }
    }

    /// Watches `interface` in both directions, or not at all.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub async fn attach(
        &mut self,
        interface: &Interface,
        netlink: &Netlink,
    ) -> Result<(), AttachError> {
        let link = interface.link.map_err(|hardware| AttachError::LinkLayer {
            interface: interface.name.clone(),
            hardware,
        })?;
        let attached = if self.options.tap == Tap::No {
            let by_xdp = self.options.ingress == IngressHook::Xdp && link == LinkLayer::Ethernet;
            self.attach_both(interface, link, by_xdp, netlink).await
        } else {
            self.attach_tap(interface, link, netlink).await
        };
        // Attaching goes by name, and a name can pass to another interface at any time.
        let renamed = nix::net::if_::if_nametoindex(interface.name.as_str())
            .is_ok_and(|now| now != interface.index);
        let attached = match attached {
            Ok(attached) if !renamed => attached,
            undone => {
                if let Some(guard) = &mut self.guard {
                    guard.undo(interface.index, netlink).await;
                }
                undone?;
                return Err(AttachError::Renamed { interface: interface.name.clone() });
            }
        };
        let (attachments, methods): (Vec<_>, Vec<_>) = attached.into_iter().unzip();
        let name = &interface.name;
        match methods.as_slice() {
            [ingress, egress] => {
                tracing::info!("attached to {name}: ingress by {ingress}, egress by {egress}");
            }
            [ingress, ..] => tracing::info!("attached to {name}, a tap: {ingress}, drops all"),
            [] => {}
        }
        let interface = interface.clone();
        self.watched.insert(interface.index, Watched { interface, attachments });
        Ok(())
    }

    /// Ingress alone: nothing is sent from a tap.
    async fn attach_tap(
        &mut self,
        interface: &Interface,
        link: LinkLayer,
        netlink: &Netlink,
    ) -> Result<Vec<(Attachment, Method)>, AttachError> {
        let named = || interface.name.clone();
        if link != LinkLayer::Ethernet {
            return Err(AttachError::TapLinkLayer { interface: named() });
        }
        let used = tap::in_use(interface, netlink).await?;
        if let Some(used) = used.filter(|_| self.options.tap != Tap::Forced) {
            return Err(AttachError::TapInUse { interface: named(), used });
        }
        Ok(vec![self.attach_xdp(interface)?])
    }

    async fn attach_both(
        &mut self,
        interface: &Interface,
        link: LinkLayer,
        by_xdp: bool,
        netlink: &Netlink,
    ) -> Result<Vec<(Attachment, Method)>, AttachError> {
        let ingress = if by_xdp {
            self.attach_xdp(interface)?
        } else {
            self.attach_tc(interface, link, Hook::TcIngress, netlink).await?
        };
        let egress = self.attach_tc(interface, link, Hook::TcEgress, netlink).await?;
        Ok(vec![ingress, egress])
    }

    fn attach_xdp(&mut self, interface: &Interface) -> Result<(Attachment, Method), AttachError> {
        let program = self.programs.xdp()?;
        let (link, method) = xdp::attach(program, interface, self.options.xdp)?;
        Ok((Attachment::Xdp(Some(link)), method))
    }

    async fn attach_tc(
        &mut self,
        interface: &Interface,
        link: LinkLayer,
        hook: Hook,
        netlink: &Netlink,
    ) -> Result<(Attachment, Method), AttachError> {
        if self.options.tc != TcAttach::Clsact {
            let program = self.programs.tc(link, hook)?;
            match tc::attach_tcx(program, interface, hook, self.options.order) {
                Ok(tcx) => return Ok((Attachment::Tcx(link, hook, Some(tcx)), Method::Tcx)),
                Err(AttachError::Unsupported { .. }) if self.options.tc == TcAttach::Auto => {}
                Err(error) => return Err(error),
            }
        }
        let guard = match &mut self.guard {
            Some(guard) => guard,
            none => none.insert(clsact::Guard::start()?),
        };
        guard.prepare(interface, netlink).await?;
        let program = self.programs.tc(link, hook)?;
        let order = self.options.order;
        let priority = tc::attach_clsact(program, interface, hook, order, guard.owner())?;
        Ok((Attachment::Clsact { layer: link, hook, priority }, Method::Clsact))
    }

    /// Puts other programs in the place of those that run, on every interface, so that each packet is seen by one of
    /// the two; those that run are dropped. Interfaces that appear later get the new ones.
    ///
    /// # Errors
    ///
    /// If an interface refuses one: then all have the programs again that they had.
    pub fn swap(&mut self, mut programs: Programs) -> Result<(), AttachError> {
        match self.follow(&mut programs) {
            Ok(()) => {
                self.programs = programs;
                Ok(())
            }
            Err(error) => {
                std::mem::swap(&mut self.programs, &mut programs);
                // On those that were not reached yet this changes nothing.
                let back = self.follow(&mut programs);
                self.programs = programs;
                if let Err(error) = back {
                    tracing::error!(
                        "the programs before the reload are not back everywhere: {error}"
                    );
                }
                Err(error)
            }
        }
    }

    /// Puts `programs` on every interface; one that is gone is left out.
    fn follow(&mut self, programs: &mut Programs) -> Result<(), AttachError> {
        let owner = self.guard.as_ref().map(clsact::Guard::owner);
        for (index, Watched { interface, attachments }) in &mut self.watched {
            for attachment in attachments {
                let followed = attachment.follow(programs, interface, &self.options, owner);
                let there = nix::net::if_::if_nametoindex(interface.name.as_str()) == Ok(*index);
                if there {
                    followed?;
                }
            }
        }
        Ok(())
    }

    /// Forgets an interface that is gone or no longer wanted.
    pub fn detach(&mut self, index: u32) -> Option<String> {
        if let Some(guard) = &mut self.guard {
            guard.forget(index);
        }
        self.watched.remove(&index).map(|watched| watched.interface.name)
    }

    /// Looks at every link, which takes a system call each; whether somebody else detached one.
    pub fn has_lost_links(&mut self) -> bool {
        for attachment in self.watched.values_mut().flat_map(|watched| &mut watched.attachments) {
            if let Err(error) = attachment.look(&mut self.programs) {
                tracing::debug!("{error}");
            }
        }
        self.watched.values().flat_map(|watched| &watched.attachments).any(Attachment::is_lost)
    }

    /// Lets go of interfaces from which somebody else took a link, as far as [`Self::has_lost_links`] has seen, or a filter
    /// on clsact, and returns their indices.
    pub async fn let_go_of_lost(&mut self, netlink: &Netlink) -> Vec<u32> {
        let mut lost = Vec::new();
        for (index, watched) in &self.watched {
            let clsact = |attachment: &&Attachment| matches!(attachment, Attachment::Clsact { .. });
            let expected = watched.attachments.iter().filter(clsact).count();
            let mut is_lost = watched.attachments.iter().any(Attachment::is_lost);
            if expected > 0
                && let Some(guard) = &mut self.guard
            {
                let count = guard.count(*index, netlink).await;
                is_lost |= count.is_some_and(|count| count < expected);
                if is_lost {
                    // What is left of a pair goes as well.
                    guard.undo(*index, netlink).await;
                    guard.lose(*index);
                }
            }
            if is_lost {
                lost.push(*index);
            }
        }
        self.watched.retain(|index, _| !lost.contains(index));
        lost
    }

    /// Takes everything off, and waits for the guard if there is one.
    pub fn detach_all(&mut self) {
        self.watched.clear();
        if let Some(guard) = self.guard.take() {
            guard.finish();
        }
    }

    /// Whether the interface with this index is watched.
    #[must_use]
    pub fn watches(&self, index: u32) -> bool {
        self.watched.contains_key(&index)
    }

    /// Indices of what is watched.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.watched.keys().copied()
    }

    /// The watched interfaces by name, for people.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.watched.values().map(|watched| watched.interface.name.as_str()).collect()
    }

    /// Takes note that a watched interface has another name now.
    pub fn rename(&mut self, interface: &Interface) {
        if let Some(watched) = self.watched.get_mut(&interface.index)
            && watched.interface.name != interface.name
        {
            tracing::info!("{} is called {} now", watched.interface.name, interface.name);
            watched.interface.name.clone_from(&interface.name);
        }
    }
}
