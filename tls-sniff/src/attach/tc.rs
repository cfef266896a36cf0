//! TC programs: TCX links (6.6), or filters on a clsact qdisc.

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};
use nix::libc;
use tls_sniff_common::flow::{Direction, Hook};

use super::{AttachError, Method, Order, clsact::OwnerHandle, errno};
use crate::interfaces::Interface;

pub(super) const fn attach_type(hook: Hook) -> TcAttachType {
    match hook.direction() {
        Direction::Egress => TcAttachType::Egress,
        Direction::Ingress | Direction::Unknown => TcAttachType::Ingress,
    }
}

/// Attaches by a TCX link. [`AttachError::Unsupported`] means that this kernel has no TCX.
pub(super) fn attach_tcx(
    program: &mut SchedClassifier,
    interface: &Interface,
    hook: Hook,
    order: Order,
) -> Result<SchedClassifierLink, AttachError> {
    let order = match order {
        Order::First => LinkOrder::first(),
        Order::Last => LinkOrder::last(),
    };
    program
        .attach_with_options(&interface.name, attach_type(hook), TcAttachOptions::TcxOrder(order))
        .and_then(|id| program.take_link(id))
        .map_err(|error| match errno(&error) {
            // Before 6.6 the attach type is unknown.
            Some(number @ libc::EINVAL) => AttachError::Unsupported {
                interface: interface.name.clone(),
                method: Method::Tcx,
                source: std::io::Error::from_raw_os_error(number),
            },
            _ => AttachError::Refused {
                interface: interface.name.clone(),
                method: Method::Tcx,
                source: Box::new(error),
            },
        })
}

/// The first priority of a clsact qdisc, and the last.
const FIRST: u16 = 1;
const LAST: u16 = u16::MAX;
/// Lets the kernel choose: before 49152, but behind those that somebody chose.
const ANY: u16 = 0;

/// Attaches a filter to the clsact qdisc, which is there already. The filter's handle is the owner's,
/// so that it can be told from the filters of others. Returns its priority.
pub(super) fn attach_clsact(
    program: &mut SchedClassifier,
    interface: &Interface,
    hook: Hook,
    order: Order,
    owner: OwnerHandle,
) -> Result<u16, AttachError> {
    let (major, minor) = owner.parts();
    let handle = TcHandle::new(major, minor);
    let mut attach = |priority| {
        let options = NlOptions { handle, priority, ..NlOptions::default() };
        program
            .attach_with_options(
                &interface.name,
                attach_type(hook),
                TcAttachOptions::Netlink(options),
            )
            .and_then(|id| program.take_link(id))
    };
    let priority = match order {
        Order::First => FIRST,
        Order::Last => LAST,
    };
    // A filter of another kind or protocol may hold that priority: then any will do.
    let attached = attach(priority).or_else(|error| {
        tracing::debug!("{}: no filter of priority {priority}: {error}", interface.name);
        attach(ANY)
    });
    let refused = |error| AttachError::Refused {
        interface: interface.name.clone(),
        method: Method::Clsact,
        source: Box::new(error),
    };
    let link = attached.map_err(refused)?;
    let priority = link.priority();
    // The guard takes the filter off, in whatever way this process ends: one path, always tried.
    std::mem::forget(link);
    priority.map_err(refused)
}
