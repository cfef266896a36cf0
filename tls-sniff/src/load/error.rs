//! Why the kernel programs are not loaded, with one hint for each.

use aya::{EbpfError, maps::MapError};
use tls_sniff_common::config;

use crate::filter::expression::ExpressionError;

/// Why the kernel programs are not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel has no BPF ring buffer.
    #[error("this kernel ({release}) has no BPF ring buffer, which came with 5.8")]
    NoRingBuffer {
        /// `uname -r`
        release: String,
    },
    /// The expression is none for a live capture.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
    /// The expression does not fit into the programs.
    #[error(
        "the expression is too long: {len} instructions in the kernel, of at most {}",
        config::expression::CAPACITY
    )]
    LongExpression {
        /// Its instructions.
        len: usize,
    },
    /// The object could not be read or its maps not be made.
    #[error("cannot set up the kernel maps: {}", chain(.0.as_ref()))]
    Object(Box<EbpfError>),
    /// The verifier refused a program, or the kernel could not load it.
    #[error("the kernel refused the program {program}: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The errno and the last line of the verifier's log.
        reason: String,
    },
    /// The object lacks a program or map of this build.
    #[error("the kernel object has no {0}: it belongs to another build")]
    Missing(&'static str),
    /// A map has another type or size than the running programs have.
    #[error("the kernel map {0} is not as the running programs have it")]
    OtherMap(&'static str),
    /// A map could not be used.
    #[error("cannot use the kernel map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
}

impl LoadError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRingBuffer { .. } => {
                "live capture needs Linux 5.10 or newer; -r FILE needs no kernel support"
            }
            Self::Expression(error) => error.hint(),
            Self::LongExpression { .. } => {
                "--net-file FILE takes networks by the thousand, --port lists and ranges"
            }
            Self::Object(error) if permission(error.as_ref()) => {
                "the capabilities must be those of the initial user namespace: not in a rootless container"
            }
            Self::Object(_) => {
                "a smaller --ring-bytes needs less memory; before 5.11 it counts against RLIMIT_MEMLOCK"
            }
            Self::Program { .. } => {
                "please report it with `uname -r` and the output of -v, which holds the verifier's log"
            }
            Self::OtherMap(_) => {
                "its size, --ring-bytes for one, is fixed while tls-sniff runs: restart it"
            }
            Self::Missing(_) => "rebuild it with `cargo xtask build-ebpf`",
            Self::Map { .. } => "please report it with `uname -r`",
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |mut line, cause| {
        let cause = cause.to_string();
        if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
        line
    })
}

/// Whether EPERM is at the bottom of it.
fn permission(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}
