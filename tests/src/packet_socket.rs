//! Sending crafted frames out of an interface, below the kernel's IP stack (packet(7)).

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use nix::libc::{self, sockaddr_ll};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, send, socket,
};

use crate::netns::Namespace;

/// A raw packet socket bound to one interface; it sends and does not receive.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on `interface` of `namespace`.
    ///
    /// # Errors
    ///
    /// If there is no such interface, or for lack of CAP_NET_RAW.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace.enter(|| {
            let index = if_nametoindex(interface)
                .with_context(|| format!("no interface {interface} in {}", namespace.name()))?;
            // Protocol 0 receives nothing; for sending, the kernel reads it from the frame.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
                .context("open a packet socket")?;
            bind(socket.as_raw_fd(), &link_address(index)?)
                .with_context(|| format!("bind a packet socket to {interface}"))?;
            Ok(Self { socket })
        })?
    }

    /// Sends one frame: from the Ethernet header on, or from the IP header on if the interface has
    /// no link layer.
    ///
    /// # Errors
    ///
    /// If the kernel does not take it whole, for example because it is larger than the MTU.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .with_context(|| format!("send a frame of {} bytes", frame.len()))?;
        ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The address that stands for an interface.
fn link_address(index: libc::c_uint) -> Result<LinkAddr> {
    let address = sockaddr_ll {
        sll_family: libc::AF_PACKET.try_into()?,
        sll_protocol: 0,
        sll_ifindex: index.try_into()?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<sockaddr_ll>().try_into()?;
    // SAFETY: the pointer is to a whole, initialised sockaddr_ll, `length` is its size, and it is
    // only read during the call.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) }
        .context("an address of a link")
}
