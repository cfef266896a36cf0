//! What a driver can do of XDP, by the kernel's own word: the generic netlink family `netdev` (6.3).

use std::io;

use rtnetlink::{
    packet_core::NlasIterator,
    sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC},
};

/// `NETDEV_XDP_ACT_BASIC` and `NETDEV_XDP_ACT_RX_SG` of linux/netdev.h.
const BASIC: u64 = 1;
const FRAGMENTS: u64 = 1 << 5;

/// linux/genetlink.h
const CTRL: u16 = 16;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;

/// linux/netdev.h
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;

/// Netlink's message header, and the generic one behind it.
const HEADER_LEN: usize = 16;
const GENERIC_LEN: usize = 4;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;

/// What a driver can do of XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpFeatures {
    /// Programs run in the driver.
    pub(super) native: bool,
    /// Also on packets that lie in several pieces, as of jumbo frames.
    pub(super) fragments: bool,
}

/// Those of the interface with this index; `None` before 6.3.
pub(super) fn xdp_features(index: u32) -> Option<XdpFeatures> {
    let socket = Socket::new(NETLINK_GENERIC).ok()?;
    socket.connect(&SocketAddr::new(0, 0)).ok()?;
    let name = attribute(CTRL_FAMILY_NAME, b"netdev\0");
    let answer = ask(&socket, CTRL, CTRL_GETFAMILY, &name).ok()?;
    let family = u16::from_ne_bytes(find(&answer, CTRL_FAMILY_ID)?);
    let index = attribute(DEV_IFINDEX, &index.to_ne_bytes());
    let answer = ask(&socket, family, DEV_GET, &index).ok()?;
    let bits = u64::from_ne_bytes(find(&answer, DEV_XDP_FEATURES)?);
    Some(XdpFeatures { native: bits & BASIC != 0, fragments: bits & FRAGMENTS != 0 })
}

/// The attributes of the answer to a request.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let len = HEADER_LEN + GENERIC_LEN + attributes.len();
    let len = u32::try_from(len).map_err(io::Error::other)?;
    let mut message = Vec::new();
    message.extend(len.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence number, port.
    message.extend([0; 8]);
    // Command, version, nothing.
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    socket.send(&message, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    match answer.get(HEADER_LEN + GENERIC_LEN..) {
        Some(attributes) if kind != Some(ERROR) => Ok(attributes.to_vec()),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// An attribute, padded to words.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut attribute = Vec::new();
    attribute.extend(len.to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn find<const LEN: usize>(attributes: &[u8], kind: u16) -> Option<[u8; LEN]> {
    let mut all = NlasIterator::new(attributes).filter_map(Result::ok);
    all.find(|attribute| attribute.kind() == kind)?.value().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_tells_nothing() {
        assert_eq!(xdp_features(u32::MAX), None);
        // The controller of families is in every kernel.
        let socket = Socket::new(NETLINK_GENERIC).unwrap();
        socket.connect(&SocketAddr::new(0, 0)).unwrap();
        let name = attribute(CTRL_FAMILY_NAME, b"nlctrl\0");
        let answer = ask(&socket, CTRL, CTRL_GETFAMILY, &name).unwrap();
        assert_eq!(find(&answer, CTRL_FAMILY_ID).map(u16::from_ne_bytes), Some(CTRL));
        assert!(ask(&socket, CTRL, CTRL_GETFAMILY, &attribute(CTRL_FAMILY_NAME, b"x\0")).is_err());
    }
}
