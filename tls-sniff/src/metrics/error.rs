//! Why metrics cannot be served.

use std::io;

use super::Address;

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address is taken, is none of this host's, or its port is privileged.
    #[error("cannot serve metrics at {address}: {source}")]
    Listen {
        /// What was asked for.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The process could not be set up.
    #[error("cannot {what} for metrics: {source}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl MetricsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Listen { source, .. } => Some(match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "`ss -ltnp` shows who listens there; choose another port"
                }
                io::ErrorKind::PermissionDenied => "choose a port from 1024",
                io::ErrorKind::AddrNotAvailable => "`ip address` shows the addresses of this host",
                _ => "--metrics takes PORT, HOST:PORT or [IPV6]:PORT",
            }),
            Self::Process { .. } => None,
        }
    }
}
