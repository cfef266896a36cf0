//! Why attaching fails, with one hint for each.

use std::io;

use aya::programs::{ProgramError, tc::TcError, xdp::XdpError};

use super::{Method, tap::Use};
use crate::{interfaces::InterfaceError, load::LoadError};

/// Why an interface is not watched.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Packets of a link layer that tls-sniff cannot walk.
    #[error(
        "cannot watch {interface}: its link layer (ARP hardware type {hardware}) is neither Ethernet nor IP"
    )]
    LinkLayer {
        /// The interface.
        interface: String,
        /// `/sys/class/net/INTERFACE/type`
        hardware: u16,
    },
    /// XDP has room for one program.
    #[error(
        "cannot attach XDP to {interface}: the XDP program {program} (id {id}) is there already"
    )]
    XdpOccupied {
        /// The interface.
        interface: String,
        /// The other program's name.
        program: String,
        /// The other program's id.
        id: u32,
    },
    /// The user asked for a way that this kernel or driver does not have.
    #[error("cannot attach to {interface} by {method}: {source}")]
    Unsupported {
        /// The interface.
        interface: String,
        /// The way.
        method: Method,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused for another reason.
    #[error("cannot attach to {interface} by {method}: {source}")]
    Refused {
        /// The interface.
        interface: String,
        /// The way.
        method: Method,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// The process that removes clsact filters could not be started or told.
    #[error(
        "cannot run the clsact guard, without which a killed tls-sniff would leave filters behind: {0}"
    )]
    Guard(#[source] io::Error),
    /// The filters of an interface could not be listed.
    #[error("cannot list the TC filters of {interface}: {source}")]
    Filters {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: Box<rtnetlink::Error>,
    },
    /// There is an ingress qdisc where clsact would be.
    #[error("cannot attach to {interface} by TC clsact: its {kind} qdisc has no egress side")]
    OtherQdisc {
        /// The interface.
        interface: String,
        /// The qdisc's kind.
        kind: String,
    },
    /// The interface got another name, or the name another interface, while it was being attached.
    #[error("{interface} was renamed while it was being attached")]
    Renamed {
        /// The name.
        interface: String,
    },
    /// The interface is not for copies alone.
    #[error("{interface} is no tap: {used}, and all that comes in would be dropped")]
    TapInUse {
        /// The interface.
        interface: String,
        /// What it is used for.
        used: Use,
    },
    /// XDP sees no packets there.
    #[error("{interface} is no tap: its packets have no Ethernet header")]
    TapLinkLayer {
        /// The interface.
        interface: String,
    },
    /// A program is missing.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The interfaces are not known.
    #[error(transparent)]
    Interfaces(#[from] InterfaceError),
}

impl AttachError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::LinkLayer { .. } => "watch the interface that carries its IP packets instead",
            Self::XdpOccupied { .. } => {
                "use --hook tc, which shares an interface, or stop the program that holds it: `bpftool net`"
            }
            Self::Unsupported { method: Method::Tcx, .. } => {
                "TCX came with Linux 6.6: leave --tc-attach at auto"
            }
            Self::Unsupported { .. } => "leave --xdp-mode at auto, which falls back to generic XDP",
            Self::Refused { .. } => "`bpftool net` shows what is attached; -v says more",
            Self::Guard(_) => {
                "use a kernel with TCX (6.6), where no guard is needed, or --hook with --tc-attach tcx"
            }
            Self::Filters { .. } => "`tc filter show dev IFACE ingress` shows them",
            Self::OtherQdisc { .. } => {
                "replace it, if its filters allow: tc qdisc del dev IFACE ingress; tc qdisc add dev IFACE clsact"
            }
            Self::Renamed { .. } => "try again",
            Self::TapInUse { .. } => {
                "without --tap its packets are watched and pass; --tap-force drops them all the same"
            }
            Self::TapLinkLayer { .. } => "without --tap its packets are watched and pass",
            Self::Load(error) => error.hint(),
            Self::Interfaces(_) => "the process needs AF_NETLINK sockets",
        }
    }
}

/// The errno behind an aya error, if there is one.
pub(super) fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::TcError(TcError::NetlinkError(error))
        | ProgramError::XdpError(XdpError::NetlinkError(error))
        | ProgramError::NetlinkError(error) => error.raw_os_error(),
        _ => None,
    }
}
