//! The interfaces of this network namespace, by rtnetlink: which there are, and when that changes.
//!
//! A change is only a reason to look again: the list is asked for anew and compared with what is
//! attached, so that a notification that was lost, or came in another order, does no harm. A connection that ends is
//! opened again.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use rtnetlink::{
    MulticastGroup,
    packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp},
};
use tls_sniff_common::headers::LinkLayer;
use tokio::time::{Instant, sleep_until};

use crate::netlink::Netlink;

/// How long a connection lives at least: to open one that ends at once is not to be all that is done.
const LIFETIME: Duration = Duration::from_secs(5);

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index, unique within the namespace.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Administratively up.
    pub up: bool,
    /// What its packets start with, or the ARP hardware type if tls-sniff does not know it.
    pub link: Result<LinkLayer, u16>,
    /// The id of an XDP program that is attached to it.
    pub xdp_program: Option<u32>,
}

/// Why the interfaces are not known.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] std::io::Error),
    /// The list was refused.
    #[error("cannot list the interfaces: {0}")]
    List(#[source] Box<rtnetlink::Error>),
}

/// A netlink connection that lists interfaces and tells when one changed.
pub struct Interfaces {
    netlink: Netlink,
    changes: BoxStream<'static, ()>,
    opened: Instant,
}

impl Interfaces {
    /// Opens the connection and subscribes to notifications of links, and of qdiscs and filters, which
    /// others may remove. Must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If there is no netlink socket to be had.
    pub fn open() -> Result<Self, InterfaceError> {
        let (netlink, changes) = Netlink::open(&[MulticastGroup::Link, MulticastGroup::Tc])
            .map_err(InterfaceError::Socket)?;
        Ok(Self { netlink, changes, opened: Instant::now() })
    }

    /// All interfaces, in the order of their indices.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the list.
    pub async fn list(&self) -> Result<Vec<Interface>, InterfaceError> {
        let request = self.netlink.handle().link().get().execute();
        let links: Vec<LinkMessage> = self
            .netlink
            .answer(request.try_collect())
            .await
            .map_err(|error| InterfaceError::List(Box::new(error)))?;
        let mut interfaces: Vec<_> = links.iter().filter_map(interface).collect();
        interfaces.sort_by_key(|interface| interface.index);
        Ok(interfaces)
    }

    /// Waits until something about links or filters changed, or may have while there was no connection, and takes in all
    /// notices that are there. Nothing is lost if this is dropped while it waits.
    pub async fn changed(&mut self) {
        while self.changes.next().await.is_none() {
            sleep_until(self.opened + LIFETIME).await;
            match Self::open() {
                Ok(again) => {
                    tracing::warn!("the netlink connection had ended; there is another one");
                    *self = again;
                    return;
                }
                Err(error) => {
                    tracing::warn!("{error}; trying again in {} s", LIFETIME.as_secs());
                    self.opened = Instant::now();
                }
            }
        }
        while let Some(Some(_)) = futures_util::FutureExt::now_or_never(self.changes.next()) {}
    }

    /// The connection, for requests of other modules.
    #[must_use]
    pub const fn netlink(&self) -> &Netlink {
        &self.netlink
    }
}

fn interface(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    Some(Interface {
        index: link.header.index,
        name,
        up: link.header.flags.contains(LinkFlags::Up),
        link: link_layer(link.header.link_layer_type),
        xdp_program: link.attributes.iter().find_map(xdp_program),
    })
}

fn xdp_program(attribute: &LinkAttribute) -> Option<u32> {
    let LinkAttribute::Xdp(details) = attribute else { return None };
    details.iter().find_map(|detail| match detail {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    })
}

/// What packets start with at TC, by ARP hardware type (linux/if_arp.h).
fn link_layer(hardware: LinkLayerType) -> Result<LinkLayer, u16> {
    match hardware {
        LinkLayerType::Ether | LinkLayerType::Loopback => Ok(LinkLayer::Ethernet),
        // tun and WireGuard say NONE; PPP, IP-in-IP, SIT and modems show TC the IP header as well.
        LinkLayerType::None
        | LinkLayerType::Rawip
        | LinkLayerType::Ppp
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre => Ok(LinkLayer::RawIp),
        other => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_ends_is_opened_again() {
        let mut interfaces = Interfaces::open().unwrap();
        interfaces.netlink.end();
        let ended = interfaces.list().await.unwrap_err();
        assert!(matches!(ended, InterfaceError::List(_)), "{ended}");
        // As the attacher waits: it hears the daemon in between.
        while tokio::time::timeout(LIFETIME / 4, interfaces.changed()).await.is_err() {}
        let found = interfaces.list().await.unwrap();
        assert!(found.iter().any(|interface| interface.name == "lo"), "{found:?}");
    }
}
