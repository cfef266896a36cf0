//! Whether an interface may be a tap: a port that gets copies of what others send each other, all of which are
//! dropped behind the XDP program. What this host itself receives there would be dropped as well, so an interface
//! that is in use is none.

use std::{fmt, net::IpAddr};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::{
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use crate::{
    interfaces::{Interface, InterfaceError},
    netlink::Netlink,
};

/// What an interface is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// This host talks to itself over it.
    Loopback,
    /// This host has an address there. Link-local addresses of IPv6, which the kernel gives to any interface
    /// that is up, do not count.
    Address(IpAddr),
    /// It is a port of this bridge or bond.
    Port(String),
    /// This interface (VLAN, MACVLAN, ...) gets its packets from it.
    Below(String),
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("it is loopback"),
            Self::Address(address) => write!(f, "it has the address {address}"),
            Self::Port(other) => write!(f, "it is a port of {other}"),
            Self::Below(other) => write!(f, "{other} is on top of it"),
        }
    }
}

/// What `interface` is used for, if it is. Says so if it may not get what is for others.
///
/// # Errors
///
/// If the kernel does not tell.
pub(super) async fn in_use(
    interface: &Interface,
    netlink: &Netlink,
) -> Result<Option<Use>, InterfaceError> {
    let refused = |error| InterfaceError::List(Box::new(error));
    let links: Vec<LinkMessage> = netlink
        .answer(netlink.handle().link().get().execute().try_collect())
        .await
        .map_err(refused)?;
    let used = links.iter().find_map(|link| use_by_link(interface.index, link, &links));
    let of_interface = netlink.handle().address().get().set_link_index_filter(interface.index);
    let addresses: Vec<AddressMessage> =
        netlink.answer(of_interface.execute().try_collect()).await.map_err(refused)?;
    let is_promiscuous = links.iter().any(|link| {
        link.header.index == interface.index
            && link.attributes.iter().any(|it| matches!(it, LinkAttribute::Promiscuity(1..)))
    });
    if !is_promiscuous {
        tracing::warn!(
            "{name} is not promiscuous, so its card may leave out what is for others: ip link set {name} promisc on",
            name = interface.name
        );
    }
    Ok(used.or_else(|| addresses.iter().filter_map(address).find(is_own).map(Use::Address)))
}

/// What one of all `links` tells of the use of the interface with `index`.
fn use_by_link(index: u32, link: &LinkMessage, links: &[LinkMessage]) -> Option<Use> {
    if link.header.index != index {
        return is_on_top(index, link).then(|| Use::Below(name(link)));
    }
    if link.header.flags.contains(LinkFlags::Loopback) {
        return Some(Use::Loopback);
    }
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(controller) => {
            let named = links.iter().find(|link| link.header.index == *controller);
            Some(Use::Port(named.map_or_else(|| format!("interface {controller}"), name)))
        }
        _ => None,
    })
}

/// Whether `link` names the interface with `index` as the one below it. A pair names each other so.
fn is_on_top(index: u32, link: &LinkMessage) -> bool {
    let has = |wanted: &dyn Fn(&LinkAttribute) -> bool| link.attributes.iter().any(wanted);
    let is_pair =
        |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Veth | InfoKind::Netkit));
    has(&|it| matches!(it, LinkAttribute::Link(below) if *below == index))
        // Numbers of another namespace.
        && !has(&|it| matches!(it, LinkAttribute::LinkNetNsId(_)))
        && !has(&|it| matches!(it, LinkAttribute::LinkInfo(infos) if infos.iter().any(is_pair)))
}

fn name(link: &LinkMessage) -> String {
    let named = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    named.unwrap_or_else(|| format!("interface {}", link.header.index))
}

fn address(message: &AddressMessage) -> Option<IpAddr> {
    // Of a pair, `Address` is the other end.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

const fn is_own(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}
