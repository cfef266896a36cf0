//! One program on one interface, and how another one takes its place.

use std::mem;

use aya::programs::{
    ProgramError, SchedClassifier, Xdp,
    tc::{SchedClassifierLink, TcHandle},
    xdp::XdpLink,
};
use tls_sniff_common::{flow::Hook, headers::LinkLayer};

use super::{AttachError, AttachOptions, Method, OwnerHandle, tc, xdp};
use crate::{interfaces::Interface, load::Programs};

/// What holds a program on an interface; dropping it takes the program off. `None`: the kernel has taken it back when
/// another program was refused there, or somebody has detached it.
pub(super) enum Attachment {
    Xdp(Option<XdpLink>),
    Tcx(LinkLayer, Hook, Option<SchedClassifierLink>),
    /// Taken off by the guard.
    Clsact {
        layer: LinkLayer,
        hook: Hook,
        priority: u16,
    },
}

impl Attachment {
    /// Looks whether a link still is one: its own program is put in the place of itself, which changes nothing, and is
    /// refused (ENOLINK) if somebody has detached it (BPF_LINK_DETACH), of which the kernel tells nobody.
    pub(super) fn look(&mut self, programs: &mut Programs) -> Result<(), AttachError> {
        match self {
            Self::Xdp(held) => {
                let program = programs.xdp()?;
                *held = held.take().and_then(|link| put_xdp(program, link).ok());
            }
            Self::Tcx(layer, hook, held) => {
                let program = programs.tc(*layer, *hook)?;
                *held = held.take().and_then(|link| put_tc(program, link).ok());
            }
            Self::Clsact { .. } => {}
        }
        Ok(())
    }

    /// Whether it is a link that is there no more.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self, Self::Xdp(None) | Self::Tcx(.., None))
    }

    /// Puts the program of `programs` in the place of the one that is there, so that each packet is seen by one of the
    /// two. Where nothing is any more, it is attached anew.
    pub(super) fn follow(
        &mut self,
        programs: &mut Programs,
        interface: &Interface,
        options: &AttachOptions,
        owner: Option<OwnerHandle>,
    ) -> Result<(), AttachError> {
        let refused = |method| {
            move |source| AttachError::Refused {
                interface: interface.name.clone(),
                method,
                source: Box::new(source),
            }
        };
        match self {
            Self::Xdp(link) => {
                let program = programs.xdp()?;
                *link = Some(match link.take() {
                    Some(link) => put_xdp(program, link).map_err(refused(Method::XdpNative))?,
                    None => xdp::attach(program, interface, options.xdp)?.0,
                });
            }
            Self::Tcx(layer, hook, link) => {
                let program = programs.tc(*layer, *hook)?;
                *link = Some(match link.take() {
                    Some(link) => put_tc(program, link).map_err(refused(Method::Tcx))?,
                    None => tc::attach_tcx(program, interface, *hook, options.order)?,
                });
            }
            Self::Clsact { layer, hook, priority } => {
                let Some(owner) = owner else { return Ok(()) };
                let (major, minor) = owner.parts();
                let handle = TcHandle::new(major, minor);
                let program = programs.tc(*layer, *hook)?;
                // Never dropped: that would take the filter off, which is the guard's to do.
                let filter = SchedClassifierLink::attached(
                    &interface.name,
                    tc::attach_type(*hook),
                    *priority,
                    handle,
                    None,
                );
                filter
                    .map_err(ProgramError::IOError)
                    .and_then(|filter| put_tc(program, filter))
                    .map(mem::forget)
                    .map_err(refused(Method::Clsact))?;
            }
        }
        Ok(())
    }
}

/// Puts a program in the place of that of a link, or itself.
fn put_xdp(program: &mut Xdp, link: XdpLink) -> Result<XdpLink, ProgramError> {
    let id = program.attach_to_link(link)?;
    program.take_link(id)
}

/// The same of a link or a filter.
fn put_tc(
    program: &mut SchedClassifier,
    link: SchedClassifierLink,
) -> Result<SchedClassifierLink, ProgramError> {
    let id = program.attach_to_link(link)?;
    program.take_link(id)
}
