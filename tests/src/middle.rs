//! A client and a server with a namespace between them, which bridges or routes.
//!
//! ```text
//!   client              middle                      server
//!  ┌──────────┐   ┌────────────────────────┐   ┌──────────┐
//!  │ eth0     ├───┤ left ── br0 ───  right ├───┤ eth0     │   bridge: 10.78.0.1, .2; br0 has .3
//!  │          │   │      └ or forwarding ┘ │   │          │   router: 10.78.1.1, 10.78.2.2; left and right have .3
//!  └──────────┘   └────────────────────────┘   └──────────┘
//! ```

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use crate::netns::Namespace;
use crate::process::run;

/// Three namespaces in a row; all go on drop.
#[derive(Debug)]
pub struct Middle {
    /// Where the client runs.
    pub client: Namespace,
    /// What its packets pass, by `left` and `right`.
    pub middle: Namespace,
    /// Where the server runs.
    pub server: Namespace,
    /// The server's address.
    pub address: IpAddr,
    /// The middle's own, on the bridge, or on the router's left.
    pub own_address: IpAddr,
}

impl Middle {
    /// A bridge `br0` with two ports.
    ///
    /// # Errors
    ///
    /// If something of it cannot be made.
    pub fn bridge() -> Result<Self> {
        let made = Self::joined([10, 78, 0, 2], [10, 78, 0, 3])?;
        let middle = &made.middle;
        middle.ip(&["link", "add", "br0", "type", "bridge"])?;
        for port in ["left", "right"] {
            middle.ip(&["link", "set", "dev", port, "master", "br0"])?;
        }
        middle.ip(&["address", "add", "10.78.0.3/24", "dev", "br0"])?;
        middle.ip(&["link", "set", "dev", "br0", "up"])?;
        made.client.ip(&["address", "add", "10.78.0.1/24", "dev", "eth0"])?;
        made.server.ip(&["address", "add", "10.78.0.2/24", "dev", "eth0"])?;
        Ok(made)
    }

    /// A router between two networks.
    ///
    /// # Errors
    ///
    /// If something of it cannot be made.
    pub fn router() -> Result<Self> {
        let made = Self::joined([10, 78, 2, 2], [10, 78, 1, 3])?;
        let middle = &made.middle;
        middle.ip(&["address", "add", "10.78.1.3/24", "dev", "left"])?;
        middle.ip(&["address", "add", "10.78.2.3/24", "dev", "right"])?;
        run(middle.command("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))?;
        for (end, own, gateway) in [
            (&made.client, "10.78.1.1/24", "10.78.1.3"),
            (&made.server, "10.78.2.2/24", "10.78.2.3"),
        ] {
            end.ip(&["address", "add", own, "dev", "eth0"])?;
            end.ip(&["route", "add", "default", "via", gateway])?;
        }
        Ok(made)
    }

    /// Both pairs of interfaces, up.
    fn joined(address: [u8; 4], own_address: [u8; 4]) -> Result<Self> {
        let made = Self {
            client: Namespace::new()?,
            middle: Namespace::new()?,
            server: Namespace::new()?,
            address: Ipv4Addr::from(address).into(),
            own_address: Ipv4Addr::from(own_address).into(),
        };
        for (end, port) in [(&made.client, "left"), (&made.server, "right")] {
            let peer = ["peer", "name", "eth0", "netns", end.name()];
            made.middle.ip(&[&["link", "add", port, "type", "veth"][..], &peer].concat())?;
            for (namespace, interface) in [(&made.middle, port), (end, "eth0")] {
                // No packets that no test sent.
                namespace.ip(&["link", "set", "dev", interface, "addrgenmode", "none"])?;
                namespace.ip(&["link", "set", "dev", interface, "up"])?;
            }
        }
        Ok(made)
    }
}
