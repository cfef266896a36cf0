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
    ffi::CStr,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tls_sniff_common::{headers::LinkLayer, packet::CapturedPacket};

use self::libpcap::Libpcap;
pub use self::{
    libpcap::LinkType,
    program::{Instruction, Program, ProgramError},
};
use crate::apart;

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
    /// libpcap does not find a host by its name, or the name servers do not answer.
    #[error("the expression `{text}` cannot be used: {reason}")]
    Host {
        /// The expression.
        text: String,
        /// What libpcap says.
        reason: String,
    },
    /// libpcap was not done in time.
    #[error("the expression `{text}` cannot be used: to compile it took more than {} s", patience.as_secs())]
    TooLong {
        /// The expression.
        text: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The process that was to compile it is none, or has failed.
    #[error("the expression `{text}` cannot be used: the process that compiles it: {reason}")]
    Process {
        /// The expression.
        text: String,
        /// What went wrong.
        reason: String,
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
            Self::Host { .. } => {
                "addresses in numbers need no name server; the systemd unit reaches only those that IPAddressAllow= names"
            }
            Self::TooLong { .. } => {
                "for long lists there are --net-file and --port; for names of hosts, name servers that answer"
            }
            Self::Process { .. } => {
                "`ulimit -u`, pids.max and memory.max of the cgroup limit processes"
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

    /// Whether the expression is at fault, and not the system or the network.
    pub(crate) const fn is_wrong_usage(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Program { .. } => true,
            Self::NoLibpcap(_)
            | Self::Host { .. }
            | Self::TooLong { .. }
            | Self::Process { .. } => false,
        }
    }
}

/// What libpcap makes of an expression: instructions, or what it says.
type Compiled = Result<Vec<Instruction>, String>;

/// The process that compiles: `ps` and /proc show it.
const COMPILER: &CStr = c"tls-expression";

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
        Self::open(text)?.check()
    }

    /// The same for a process that has capabilities: another one compiles it for `links` and has `patience` for them,
    /// since libpcap looks up the names of hosts and parses what the DNS answers.
    ///
    /// # Errors
    ///
    /// Also if that takes too long.
    pub(crate) fn apart(
        text: &str,
        links: &[LinkType],
        patience: Duration,
    ) -> Result<Self, ExpressionError> {
        let expression = Self::open(text)?;
        let compiled = apart::run(COMPILER, patience, || expression.compile(links));
        expression.with(links, compiled, patience)
    }

    /// The same while the reactor goes on with other things. It is given up if this is dropped while it waits.
    ///
    /// # Errors
    ///
    /// As [`Expression::apart`].
    pub(crate) async fn apart_meanwhile(
        text: &str,
        links: &[LinkType],
        patience: Duration,
    ) -> Result<Self, ExpressionError> {
        let expression = Self::open(text)?;
        let compile = || expression.compile(links);
        let compiled = apart::run_meanwhile(COMPILER, patience, compile).await;
        expression.with(links, compiled, patience)
    }

    fn open(text: &str) -> Result<Self, ExpressionError> {
        let libpcap = Libpcap::load().map_err(ExpressionError::NoLibpcap)?;
        let programs = Default::default();
        Ok(Self(Arc::new(Inner { text: text.to_owned(), libpcap, programs })))
    }

    /// Whether it is an expression for Ethernet; if it is none, for Linux cooked captures.
    fn check(self) -> Result<Self, ExpressionError> {
        if let Err(error) = self.program(LinkType::Ethernet)
            && self.program(LinkType::LinuxSll).is_err()
        {
            return Err(error.clone());
        }
        Ok(self)
    }

    /// For `links`, and for Linux cooked captures if it is none for Ethernet; as far as the first host that is not found.
    fn compile(&self, links: &[LinkType]) -> Vec<(LinkType, Compiled)> {
        let Inner { text, libpcap, .. } = &*self.0;
        let (mut all, mut is_for_ethernet) = (Vec::new(), false);
        for link in links.iter().copied().chain([LinkType::LinuxSll]) {
            if link == LinkType::LinuxSll && is_for_ethernet {
                break;
            }
            let compiled = libpcap.compile(text, link);
            let is_over = compiled.as_ref().is_err_and(|reason| is_of_host(reason));
            is_for_ethernet |=
                link == LinkType::Ethernet && checked(text, compiled.clone()).is_ok();
            all.push((link, compiled));
            if is_over {
                break;
            }
        }
        all
    }

    /// With what another process has `compiled`. What that has left out is not compiled here: it would have a capability.
    fn with(
        self,
        links: &[LinkType],
        compiled: io::Result<Vec<(LinkType, Compiled)>>,
        patience: Duration,
    ) -> Result<Self, ExpressionError> {
        let text = &self.0.text;
        let failed = |reason| ExpressionError::Process { text: text.clone(), reason };
        let compiled = compiled.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => ExpressionError::TooLong { text: text.clone(), patience },
            _ => failed(error.to_string()),
        })?;
        for (link, compiled) in compiled {
            let program = checked(text, compiled);
            if let Err(error @ ExpressionError::Host { .. }) = program {
                return Err(error);
            }
            // Nobody else has asked for it yet.
            let _first = self.slot(link).set(program);
        }
        for link in links.iter().copied().chain([LinkType::LinuxSll]) {
            let is_wanted = link != LinkType::LinuxSll || self.program(LinkType::Ethernet).is_err();
            if is_wanted && self.slot(link).get().is_none() {
                return Err(failed("it has left out a part".to_owned()));
            }
        }
        self.check()
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
        let Inner { text, libpcap, .. } = &*self.0;
        let compile = || checked(text, libpcap.compile(text, link));
        self.slot(link).get_or_init(compile).as_ref()
    }

    fn slot(&self, link: LinkType) -> &OnceLock<Result<Program, ExpressionError>> {
        let [ethernet, raw, sll, sll2] = &self.0.programs;
        match link {
            LinkType::Ethernet => ethernet,
            LinkType::RawIp => raw,
            LinkType::LinuxSll => sll,
            LinkType::LinuxSll2 => sll2,
        }
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

/// Whether libpcap speaks of a name that is in no answer of a name server, or has none.
fn is_of_host(reason: &str) -> bool {
    reason.starts_with("unknown host")
}

/// What libpcap made of an expression, as a program.
fn checked(text: &str, instructions: Compiled) -> Result<Program, ExpressionError> {
    let text = || text.to_owned();
    let instructions = instructions.map_err(|reason| {
        if is_of_host(&reason) {
            ExpressionError::Host { text: text(), reason }
        } else {
            ExpressionError::Refused { text: text(), reason }
        }
    })?;
    Program::new(&instructions).map_err(|source| ExpressionError::Program { text: text(), source })
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
    fn what_another_process_leaves_out_is_not_compiled_here() {
        const LINKS: [LinkType; 2] = [LinkType::Ethernet, LinkType::RawIp];
        for (text, needed) in [("tcp", 2), ("inbound", 3)] {
            let with = |compiled: &[(LinkType, Compiled)]| {
                let expression = Expression::open(text).unwrap();
                expression.with(&LINKS, Ok(compiled.to_vec()), Duration::ZERO)
            };
            let all = Expression::open(text).unwrap().compile(&LINKS);
            assert_eq!(all.len(), needed);
            with(&all).unwrap();
            for some in 0..needed {
                let error = with(&all[..some]).unwrap_err();
                assert!(matches!(error, ExpressionError::Process { .. }), "{error}");
            }
            let unknown = (LinkType::Ethernet, Err("unknown host 'a'".to_owned()));
            let error = with(&[unknown]).unwrap_err();
            assert!(matches!(error, ExpressionError::Host { .. }), "{error}");
        }
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
