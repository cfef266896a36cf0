//! The XDP program: native if the driver can, generic otherwise.

use std::io;

use aya::programs::{ProgramError, Xdp, XdpMode, loaded_programs, xdp::XdpLink};
use nix::libc;

use super::{AttachError, Method, XdpAttach, errno};
use crate::interfaces::Interface;

/// Attaches to the interface's receive path.
pub(super) fn attach(
    program: &mut Xdp,
    interface: &Interface,
    mode: XdpAttach,
) -> Result<(XdpLink, Method), AttachError> {
    let native = |program: &mut Xdp| link(program, interface, XdpMode::Driver);
    let generic = |program: &mut Xdp| link(program, interface, XdpMode::Skb);
    let (attached, method) = match mode {
        XdpAttach::Native => (native(program), Method::XdpNative),
        XdpAttach::Generic => (generic(program), Method::XdpGeneric),
        XdpAttach::Auto => match native(program) {
            Err(error) if !occupied(&error) => {
                tracing::debug!("{}: no native XDP: {error}", interface.name);
                (generic(program), Method::XdpGeneric)
            }
            attached => (attached, Method::XdpNative),
        },
    };
    match attached {
        Ok(link) => Ok((link, method)),
        Err(error) => Err(explain(error, interface, method)),
    }
}

fn link(program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<XdpLink, ProgramError> {
    let id = program.attach_to_if_index(interface.index, mode)?;
    program.take_link(id)
}

/// A program of the same mode is there (EBUSY), or one of another mode (EEXIST).
fn occupied(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::EBUSY | libc::EEXIST))
}

fn explain(error: ProgramError, interface: &Interface, method: Method) -> AttachError {
    if occupied(&error)
        && let Some(id) = interface.xdp_program
    {
        let program =
            program_name(id).unwrap_or_else(|| "whose name only CAP_SYS_ADMIN may see".to_owned());
        return AttachError::XdpOccupied { interface: interface.name.clone(), program, id };
    }
    match errno(&error) {
        Some(number @ (libc::EOPNOTSUPP | libc::ERANGE | libc::EINVAL)) => {
            AttachError::Unsupported {
                interface: interface.name.clone(),
                method,
                source: io::Error::from_raw_os_error(number),
            }
        }
        _ => AttachError::Refused {
            interface: interface.name.clone(),
            method,
            source: Box::new(error),
        },
    }
}

fn program_name(id: u32) -> Option<String> {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
}
