//! Two namespaces joined by a veth pair, addressed and ready for traffic.
//!
//! ```text
//!   first                                        second
//!  ┌───────────────────────────┐   ┌───────────────────────────┐
//!  │ veth-a  02:00:00:00:00:01 ├───┤ veth-b  02:00:00:00:00:02 │
//!  │ 10.77.N.1/24              │   │ 10.77.N.2/24              │
//!  │ fd77:N::1/64              │   │ fd77:N::2/64              │
//!  └───────────────────────────┘   └───────────────────────────┘
//! ```
//!
//! The hardware addresses are those of [`crate::frame::Frame`]'s defaults, so that a crafted frame
//! sent out of `veth-a` is for the second end. N differs between the pairs of a process; pairs of
//! different processes may have the same, they are in different namespaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::frame::{MAC_DESTINATION, MAC_SOURCE};
use crate::netns::Namespace;
use crate::poll;

/// How long carrier and addresses may take.
const READY: Duration = Duration::from_secs(10);

/// What may differ from one pair to another.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Name of the interface in the first namespace.
    pub first: &'a str,
    /// Name of the interface in the second namespace.
    pub second: &'a str,
    /// MTU of both ends in bytes; at least 1280, or IPv6 is off.
    pub mtu: u16,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { first: "veth-a", second: "veth-b", mtu: 1500 }
    }
}

/// One end of a [`VethPair`].
#[derive(Debug)]
pub struct End {
    /// The namespace that the interface is in.
    pub namespace: Namespace,
    /// Name of the interface.
    pub interface: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Address with a /24 prefix.
    pub ipv4: Ipv4Addr,
    /// Address with a /64 prefix.
    pub ipv6: Ipv6Addr,
}

/// Two namespaces joined by a veth pair; both go on drop.
#[derive(Debug)]
pub struct VethPair {
    /// The end with address 1, by convention the client's.
    pub first: End,
    /// The end with address 2, by convention the server's.
    pub second: End,
}

impl VethPair {
    /// A pair with the default names and MTU.
    ///
    /// # Errors
    ///
    /// See [`VethPair::with`].
    pub fn new() -> Result<Self> {
        Self::with(Options::default())
    }

    /// A pair with other names or another MTU.
    ///
    /// # Errors
    ///
    /// If a namespace or the pair cannot be made, or does not come up in time.
    pub fn with(options: Options<'_>) -> Result<Self> {
        static COUNTER: AtomicU8 = AtomicU8::new(1);
        let net = COUNTER.fetch_add(1, Ordering::Relaxed);
        let first = End::new(options.first, MAC_SOURCE, net, 1)?;
        let second = End::new(options.second, MAC_DESTINATION, net, 2)?;
        let mtu = options.mtu.to_string();
        let (first_mac, second_mac) = (mac_text(first.mac), mac_text(second.mac));
        first.namespace.ip(&[
            &["link", "add", options.first, "address", &first_mac, "mtu", &mtu, "type", "veth"][..],
            &["peer", "name", options.second, "netns", second.namespace.name()],
            &["address", &second_mac, "mtu", &mtu],
        ]
        .concat())?;
        let pair = Self { first, second };
        for end in [&pair.first, &pair.second] {
            end.configure()?;
        }
        for end in [&pair.first, &pair.second] {
            let what = format!("{} to be up with usable addresses", end.interface);
            poll::try_until(READY, &what, || Ok(end.is_ready()?.then_some(())))?;
        }
        Ok(pair)
    }
}

impl End {
    fn new(interface: &str, mac: [u8; 6], net: u8, host: u8) -> Result<Self> {
        Ok(Self {
            namespace: Namespace::new()?,
            interface: interface.to_owned(),
            mac,
            ipv4: Ipv4Addr::new(10, 77, net, host),
            ipv6: Ipv6Addr::new(0xfd77, net.into(), 0, 0, 0, 0, 0, host.into()),
        })
    }

    /// The address of the family that `v6` chooses.
    pub fn address(&self, v6: bool) -> IpAddr {
        if v6 { self.ipv6.into() } else { self.ipv4.into() }
    }

    fn configure(&self) -> Result<()> {
        let (v4, v6) = (format!("{}/24", self.ipv4), format!("{}/64", self.ipv6));
        // No link-local address: it would bring router solicitations and duplicate address
        // detection, packets that no test sent.
        self.namespace.ip(&["link", "set", "dev", &self.interface, "addrgenmode", "none"])?;
        self.namespace.ip(&["address", "add", &v4, "dev", &self.interface])?;
        self.namespace.ip(&["address", "add", &v6, "dev", &self.interface, "nodad"])?;
        self.namespace.ip(&["link", "set", "dev", &self.interface, "up"]).map(drop)
    }

    /// Whether the link has carrier and each address may be used.
    fn is_ready(&self) -> Result<bool> {
        let shown = self.namespace.ip(&["-json", "address", "show", "dev", &self.interface])?;
        let shown: Value = serde_json::from_str(&shown)?;
        let addresses = shown[0]["addr_info"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(shown[0]["operstate"] == "UP"
            && addresses.len() == 2
            && addresses.iter().all(|address| address["tentative"] != true))
    }
}

/// A hardware address as `ip` writes it.
fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
