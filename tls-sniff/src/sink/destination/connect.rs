//! Connections to those who listen, by this process or by one that may.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::net::{UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
    },
};
use serde::{Deserialize, Serialize};

use crate::apart;

/// How long each address of a TCP peer may take to accept.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long its name may take to be looked up by another process: resolv.conf(5) has 5 seconds for each of two attempts,
/// for each of three servers.
const LOOKUP: Duration = Duration::from_secs(30);

/// A write that takes longer returns, so that its thread can look whether anybody still waits.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

/// Milliseconds after which a peer that takes nothing counts as gone (TCP_USER_TIMEOUT). That is also one that
/// acknowledges, but reads nothing: it may stand still for a while.
const SILENCE: u32 = 300_000;

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// A stream socket.
    UnixStream(PathBuf),
    /// A datagram socket.
    UnixDatagram(PathBuf),
    /// A TCP port.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A connection.
#[derive(Debug)]
pub enum Connected {
    /// To a stream socket.
    UnixStream(UnixStream),
    /// To a datagram socket.
    UnixDatagram(UnixDatagram),
    /// To a TCP port.
    Tcp(TcpStream),
}

/// Connects to one peer, again and again.
pub trait Connect: Send {
    /// Connects, with the timeouts that [`Peer::connect`] sets. A TCP peer may take seconds, and the lookup of its name too.
    ///
    /// # Errors
    ///
    /// If nobody is there.
    fn connect(&self) -> io::Result<Connected>;
}

/// Who connects to a peer.
pub type Connector = dyn Fn(&Peer) -> Box<dyn Connect> + Send;

/// A [`Connector`]: this process connects by itself.
#[must_use]
pub fn directly(peer: &Peer) -> Box<dyn Connect> {
    Box::new(peer.clone())
}

impl Peer {
    /// Whether an attempt to connect takes no time, whatever the peer does.
    pub(crate) const fn answers_at_once(&self) -> bool {
        match self {
            Self::UnixStream(_) | Self::UnixDatagram(_) => true,
            Self::Tcp { .. } => false,
        }
    }
}

impl Connect for Peer {
    fn connect(&self) -> io::Result<Connected> {
        match self {
            Self::UnixStream(path) => {
                let stream = unix_stream(path)?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Ok(Connected::UnixStream(stream))
            }
            Self::UnixDatagram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Ok(Connected::UnixDatagram(socket))
            }
            Self::Tcp { host, port } => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in addresses(host, *port)? {
                    match TcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                            setsockopt(&stream, sockopt::KeepAlive, &true)?;
                            setsockopt(&stream, sockopt::TcpUserTimeout, &SILENCE)?;
                            return Ok(Connected::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// Those of a host; looked up by a process without capabilities.
fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let look_up = || match (host, port).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        // What crosses over is words.
        Err(error) => Err(error.to_string()),
    };
    match apart::run(c"tls-lookup", LOOKUP, look_up) {
        Ok(addresses) => addresses.map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let waited = LOOKUP.as_secs();
            let words = format!("in {waited} s no answer came about the name {host}");
            Err(io::Error::new(io::ErrorKind::TimedOut, words))
        }
        Err(error) => Err(error),
    }
}

/// Connects without waiting: otherwise it would take for ever if somebody listens, but accepts nobody any more.
fn unix_stream(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(stream.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => {}
        Err(Errno::EAGAIN) => {
            let full = "who listens there accepts nobody at the moment";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, full));
        }
        Err(error) => return Err(error.into()),
    }
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

impl Connected {
    /// What was connected to `peer` elsewhere.
    #[must_use]
    pub fn from_fd(peer: &Peer, fd: OwnedFd) -> Self {
        match peer {
            Peer::UnixStream(_) => Self::UnixStream(fd.into()),
            Peer::UnixDatagram(_) => Self::UnixDatagram(fd.into()),
            Peer::Tcp { .. } => Self::Tcp(fd.into()),
        }
    }

    /// For another process.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        match self {
            Self::UnixStream(stream) => stream.into(),
            Self::UnixDatagram(socket) => socket.into(),
            Self::Tcp(stream) => stream.into(),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::UnixStream(stream) => stream.as_fd(),
            Self::UnixDatagram(socket) => socket.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }

    /// Sends some of `bytes`, or all of a datagram.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        use io::Write as _;
        match self {
            Self::UnixStream(stream) => (&mut &*stream).write(bytes),
            Self::UnixDatagram(socket) => socket.send(bytes),
            Self::Tcp(stream) => (&mut &*stream).write(bytes),
        }
    }

    /// Whether the peer of a stream has closed its side. What it sends is nobody's; a write would tell of the end only
    /// after it has lost what was written.
    pub(super) fn is_closed(&self) -> bool {
        use nix::{
            errno::Errno,
            sys::socket::{MsgFlags, recv},
        };
        if matches!(self, Self::UnixDatagram(_)) {
            return false;
        }
        let mut nowhere = [0; 1024];
        loop {
            match recv(self.as_fd().as_raw_fd(), &mut nowhere, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return true,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                Err(_) => return true,
            }
        }
    }
}
