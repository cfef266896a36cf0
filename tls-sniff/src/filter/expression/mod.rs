//! Expressions in tcpdump's language: `host 10.0.0.1 and not port 8443`.
//!
//! ```text
//!  text ─► libpcap    the user's libpcap compiles it to classic BPF, for one link layer
//!       ─► program    checked and decoded: forward jumps only, ends with a return
//!          ├─► translate   as eBPF, which `load` puts into the kernel programs
//!          └─► interpret   as it is, on the frames of a file
//! ```
//!
//! An expression sees the bytes that the hook sees. At TC ingress a VLAN tag is mostly not among them: the
//! interface or the kernel has taken it off, so `vlan` finds nothing there, and libpcap's own way around
//! that works on its own sockets only. The flag `--vlan` looks in both places.

mod interpret;
mod libpcap;
pub mod program;
pub mod translate;

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tls_sniff_common::{headers::LinkLayer, packet::CapturedPacket};

use self::libpcap::Libpcap;
pub use self::{
    libpcap::LinkType,
    program::{Instruction, Program, ProgramError},
};
use crate::apart::{self, LOOKUP};

/// The 4-byte address family before the IP header.
const LOOPBACK_HEADER: usize = 4;

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// libpcap is not installed, or this program cannot load it.
    #[error("an expression needs libpcap, which cannot be loaded: {0}")]
    NoLibpcap(String),
    /// libpcap does not take it.
    #[error("the expression `{text}` cannot be used: {reason}")]
    Refused {
        /// The expression.
        text: String,
        /// What libpcap says.
        reason: String,
    },
    /// The DNS says nothing.
    #[error(
        "the expression `{text}` cannot be used: in {} s no answer came about the names of its hosts",
        LOOKUP.as_secs()
    )]
    Lookup {
        /// The expression.
        text: String,
    },
    /// libpcap made something of it that is not run here.
    #[error("the expression `{text}` cannot be used: {source}")]
    Program {
        /// The expression.
        text: String,
        /// What it is.
        source: ProgramError,
    },
}

impl ExpressionError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoLibpcap(_) => {
                "install libpcap0.8 (libpcap on other systems than Debian), or use the flags: --port, --host, --net"
            }
            Self::Lookup { .. } => {
                "addresses in numbers need no name server; the systemd unit lets through those of IPAddressAllow= only"
            }
            Self::Refused { .. } => "`man pcap-filter` tells the language",
            Self::Program { source: ProgramError::NotInPacket { .. }, .. } => {
                "--direction in or out takes the place of inbound and outbound"
            }
            Self::Program { source: ProgramError::Jump { .. }, .. } => {
                "leave `protochain` out: it is a loop"
            }
            Self::Program { .. } => "please report it with the expression",
        }
    }
}

/// An expression that libpcap takes.
#[derive(Clone, Debug)]
pub struct Expression(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    text: String,
    libpcap: Libpcap,
    /// By [`LinkType`]; compiled when they are first asked for: it may look up the names of hosts.
    programs: [OnceLock<Result<Program, ExpressionError>>; LinkType::ALL.len()],
}

impl Expression {
    /// Compiles `text` for Ethernet; if it is for Linux cooked captures only, for those.
    ///
    /// # Errors
    ///
    /// If there is no libpcap, or `text` is no expression.
    pub fn new(text: &str) -> Result<Self, ExpressionError> {
        let libpcap = Libpcap::load().map_err(ExpressionError::NoLibpcap)?;
        let programs = Default::default();
        let expression = Self(Arc::new(Inner { text: text.to_owned(), libpcap, programs }));
        if let Err(error) = expression.program(LinkType::Ethernet)
            && expression.program(LinkType::LinuxSll).is_err()
        {
            return Err(error.clone());
        }
        Ok(expression)
    }

    /// The expression as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The program for packets of a link type.
    ///
    /// # Errors
    ///
    /// If the expression is none for that link type, as `ether host` without Ethernet.
    pub fn program(&self, link: LinkType) -> Result<&Program, &ExpressionError> {
        let Inner { text, libpcap, programs } = &*self.0;
        let [ethernet, raw, sll, sll2] = programs;
        let program = match link {
            LinkType::Ethernet => ethernet,
            LinkType::RawIp => raw,
            LinkType::LinuxSll => sll,
            LinkType::LinuxSll2 => sll2,
        };
        program.get_or_init(|| compile(libpcap, text, link)).as_ref()
    }

    /// Whether a frame of a file matches.
    ///
    /// # Errors
    ///
    /// If the expression is none for that link layer: nothing matches then.
    pub fn matches(
        &self,
        packet: &CapturedPacket<'_>,
        link: LinkLayer,
    ) -> Result<bool, &ExpressionError> {
        let link_type = match link {
            LinkLayer::Ethernet => LinkType::Ethernet,
            LinkLayer::RawIp | LinkLayer::BsdLoopback => LinkType::RawIp,
            LinkLayer::LinuxSll => LinkType::LinuxSll,
            LinkLayer::LinuxSll2 => LinkType::LinuxSll2,
        };
        // libpcap takes the header of BSD loopback only in the byte order and with the numbers of this
        // machine, and a capture has those of another: the IP header tells the same.
        let skipped = if link == LinkLayer::BsdLoopback { LOOPBACK_HEADER } else { 0 };
        let bytes = packet.bytes.get(skipped..).unwrap_or_default();
        let wire_len = u32::try_from(packet.wire_len).unwrap_or(u32::MAX);
        Ok(self.program(link_type)?.matches(bytes, wire_len))
    }
}

fn compile(libpcap: &Libpcap, text: &str, link: LinkType) -> Result<Program, ExpressionError> {
    let instructions = instructions(libpcap, text, link)?;
    Program::new(&instructions)
        .map_err(|source| ExpressionError::Program { text: text.to_owned(), source })
}

/// libpcap's part, which looks up the names of hosts: not by a process that has capabilities, since it parses what the
/// DNS answers.
fn instructions(
    libpcap: &Libpcap,
    text: &str,
    link: LinkType,
) -> Result<Vec<Instruction>, ExpressionError> {
    let refused = |reason| ExpressionError::Refused { text: text.to_owned(), reason };
    match apart::run(c"tls-expression", LOOKUP, || libpcap.compile(text, link)) {
        Ok(compiled) => compiled.map_err(refused),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(ExpressionError::Lookup { text: text.to_owned() })
        }
        Err(error) => Err(refused(format!("the process that compiles it: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_is_one_line() {
        let error = Expression::new("tcp prot 443").unwrap_err();
        let line = error.to_string();
        assert!(line.starts_with("the expression `tcp prot 443` cannot be used: "), "{line}");
        assert!(!line.contains('\n') && line.contains("syntax error"), "{line}");
    }

    #[test]
    fn a_loop_is_refused() {
        let error = Expression::new("ip6 protochain 6").unwrap_err();
        assert!(matches!(error, ExpressionError::Program { .. }), "{error}");
    }

    #[test]
    fn link_layers_have_programs_of_their_own() {
        let expression = Expression::new("ether host 02:00:00:00:00:01").unwrap();
        assert!(expression.program(LinkType::Ethernet).is_ok());
        assert!(expression.program(LinkType::RawIp).is_err());
        // Of Linux cooked captures only.
        let expression = Expression::new("inbound").unwrap();
        assert!(expression.program(LinkType::Ethernet).is_err());
    }
}
