//! Whose a filter is: a random handle, and a socket that shows that its owner lives.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    str::FromStr,
};

/// The filter handle of one tls-sniff process: random, never 0, which the kernel would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerHandle(pub(super) u32);

impl OwnerHandle {
    pub(super) fn random() -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        Self(u32::try_from(random & 0x7fff_ffff).unwrap_or(1).max(1))
    }

    /// The two halves, as a TC handle is written.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    pub(in crate::attach) const fn parts(self) -> (u16, u16) {
        ((self.0 >> 16) as u16, self.0 as u16)
    }

    /// Takes the owner's name among the abstract sockets of this network namespace.
    pub(super) fn listen(self) -> io::Result<UnixListener> {
        self.address().and_then(|address| UnixListener::bind_addr(&address))
    }

    fn socket_name(self) -> String {
        format!("tls-sniff/clsact/{self}")
    }

    fn address(self) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(self.socket_name())
    }

    /// Whether a process holds the owner's socket, asked by trying to take its name: connecting would
    /// fill the queue of a socket that nobody accepts from, and then block.
    pub(super) fn is_alive(self) -> bool {
        self.listen().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }
}

impl fmt::Display for OwnerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for OwnerHandle {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u32::from_str_radix(text, 16).map(Self)
    }
}
