//! Frames whose TCP segment is inside a tunnel, or behind a shim between Ethernet and IP.
//!
//! What a tunnel's header has is written down here from its specification, see
//! `tls_sniff_common::headers::tunnel` for which; the tests ask tshark whether it reads them alike.

use crate::frame::Frame;

/// Source and destination inside each tunnel, and the port that tells the frames apart.
pub const INNER: [[u8; 4]; 2] = [[192, 0, 2, 77], [192, 0, 2, 78]];

/// A frame, and what it is.
pub struct Tunnelled {
    /// The headers from the outside in.
    pub name: &'static str,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// TCP source port of the segment inside.
    pub port: u16,
}

/// A frame of each kind, with `payload` inside.
pub fn frames(payload: &[u8]) -> Vec<Tunnelled> {
    let mut port = 10_000;
    let mut segment = |frame: Frame| {
        port += 1;
        let [from, to] = INNER;
        let bytes = frame.ipv4().addresses(from, to).tcp(port, 443).payload(payload).build();
        (port, bytes)
    };
    let mut frames = Vec::new();
    let mut add =
        |name, (port, bytes): (u16, Vec<u8>)| frames.push(Tunnelled { name, bytes, port });
    let within =
        |(port, inner): (u16, Vec<u8>), wrap: &dyn Fn(&[u8]) -> Vec<u8>| (port, wrap(&inner));
    for v6 in [false, true] {
        let name = |v4: &'static str, six: &'static str| if v6 { six } else { v4 };
        let ip = move || if v6 { Frame::ethernet().ipv6() } else { Frame::ethernet().ipv4() };
        let over_ip = |protocol: u8, header: Vec<u8>| {
            move |inner: &[u8]| ip().protocol(protocol).payload(&[&header, inner].concat()).build()
        };
        let over_udp = |to: u16, header: Vec<u8>| {
            move |inner: &[u8]| ip().udp(50_000, to).payload(&[&header, inner].concat()).build()
        };
        let raw = || Frame::raw();
        let ethernet = || Frame::ethernet();
        add(name("IPv4 in IPv4", "IPv4 in IPv6"), within(segment(raw()), &over_ip(4, vec![])));
        add(name("GRE", "GRE over IPv6"), within(segment(raw()), &over_ip(47, vec![0, 0, 8, 0])));
        let gre = [&[0xb0, 0, 0x08, 0][..], &[0; 12]].concat();
        add(
            name("GRE, all fields", "GRE over IPv6, all fields"),
            within(segment(raw()), &over_ip(47, gre)),
        );
        let teb = vec![0x20, 0, 0x65, 0x58, 0, 0, 0, 9];
        add(
            name("Ethernet in GRE", "Ethernet in GRE over IPv6"),
            within(segment(ethernet()), &over_ip(47, teb)),
        );
        let erspan = vec![0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 2, 0, 0, 0, 3];
        add(
            name("ERSPAN II", "ERSPAN II over IPv6"),
            within(segment(ethernet()), &over_ip(47, erspan)),
        );
        let vxlan = vec![8, 0, 0, 0, 0, 0, 7, 0];
        add(
            name("VXLAN", "VXLAN over IPv6"),
            within(segment(ethernet()), &over_udp(4789, vxlan.clone())),
        );
        let tagged = segment(ethernet().vlan(0x8100, 5));
        add(
            name("VLAN in VXLAN", "VLAN in VXLAN over IPv6"),
            within(tagged, &over_udp(4789, vxlan)),
        );
        let geneve = vec![1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 0, 0];
        add(
            name("GENEVE with an option", "GENEVE over IPv6"),
            within(segment(ethernet()), &over_udp(6081, geneve)),
        );
        let (port, inner) = segment(raw());
        let length = u16::try_from(inner.len()).expect("short").to_be_bytes();
        let gtp = [&[0x30, 255][..], &length, &[0, 0, 0, 1]].concat();
        add(name("GTP-U", "GTP-U over IPv6"), within((port, inner), &over_udp(2152, gtp)));
        let (port, inner) = segment(raw());
        let length = u16::try_from(inner.len() + 8).expect("short").to_be_bytes();
        let gtp = [&[0x34, 255][..], &length, &[0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0]].concat();
        add(
            name("GTP-U, extended", "GTP-U over IPv6, extended"),
            within((port, inner), &over_udp(2152, gtp)),
        );
        let inside = segment(raw());
        let gre = within(inside, &|inner| {
            let frame = Frame::raw().ipv4().protocol(47);
            frame.payload(&[&[0, 0, 8, 0], inner].concat()).build()
        });
        add(name("GRE in IPv4 in IPv4", "GRE in IPv4 in IPv6"), within(gre, &over_ip(4, vec![])));
    }
    let shim = |ether_type: u16, header: Vec<u8>| {
        move |inner: &[u8]| {
            let frame = Frame::ethernet().ether_type(ether_type);
            frame.payload(&[&header, inner].concat()).build()
        }
    };
    let (port, inner) = segment(Frame::raw());
    let length = u16::try_from(inner.len() + 2).expect("short").to_be_bytes();
    let pppoe = [&[0x11, 0, 0, 1][..], &length, &[0, 0x21]].concat();
    add("PPPoE", within((port, inner), &shim(0x8864, pppoe)));
    add("MPLS", within(segment(Frame::raw()), &shim(0x8847, vec![0, 1, 0x01, 64])));
    let labels = vec![0, 1, 0x00, 64, 0, 2, 0x01, 64];
    add("MPLS, two labels", within(segment(Frame::raw()), &shim(0x8847, labels)));
    add(
        "Cisco MetaData",
        within(segment(Frame::raw()), &shim(0x8909, vec![1, 1, 0, 1, 0, 5, 8, 0])),
    );
    frames
}
