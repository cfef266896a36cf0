//! Crafted frames as tshark reads them: each with the values that its description asks for, in
//! numbers written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tls_sniff_tests::frame::{Extension, Frame, flags};
use tls_sniff_tests::need::command;
use tls_sniff_tests::pcap::{link_type::ETHERNET, link_type::RAW_IP, pcap};
use tls_sniff_tests::process::run;

/// Faults that tshark finds by itself: present in a malformed packet, 0 for a bad checksum.
const MALFORMED: &str = "_ws.malformed";
const CHECKSUMS: [&str; 3] = ["ip.checksum.status", "tcp.checksum.status", "udp.checksum.status"];

/// A frame, and the tshark fields that it must have; an empty value is an absent field.
type Case = (Frame, &'static [(&'static str, &'static str)]);

pub(crate) fn agree_with_tshark() -> Result<()> {
    check(ETHERNET, &[ethernet_cases(), ipv6_cases()].concat())?;
    check(RAW_IP, &raw_cases())
}

fn ethernet_cases() -> Vec<Case> {
    let ethernet = Frame::ethernet;
    vec![
        (
            ethernet().ipv4().tcp(40000, 443).payload(&[7; 5]),
            &[
                ("frame.protocols", "eth:ethertype:ip:tcp:tls"),
                ("eth.src", "02:00:00:00:00:01"),
                ("eth.dst", "02:00:00:00:00:02"),
                ("ip.src", "10.77.1.1"),
                ("ip.dst", "10.77.1.2"),
                ("ip.hdr_len", "20"),
                ("ip.len", "45"),
                ("tcp.srcport", "40000"),
                ("tcp.dstport", "443"),
                ("tcp.hdr_len", "20"),
                ("tcp.len", "5"),
                ("tcp.flags", "0x0018"),
                ("vlan.id", ""),
            ],
        ),
        (
            ethernet()
                .vlan(0x8100, 100)
                .ipv4()
                .options(8)
                .tcp(1, 2)
                .seq(4_000_000_000)
                .ack(77)
                .tcp_options(12)
                .flags(flags::SYN | flags::FIN | flags::RST)
                .payload(&[7; 300]),
            &[
                ("vlan.id", "100"),
                ("ip.hdr_len", "28"),
                ("tcp.hdr_len", "32"),
                ("tcp.seq_raw", "4000000000"),
                ("tcp.ack_raw", "77"),
                ("tcp.flags", "0x0007"),
                ("tcp.len", "300"),
            ],
        ),
        (
            ethernet().vlan(0x88a8, 4094).vlan(0x8100, 1).vlan(0x8100, 2).ipv6().tcp(1, 2),
            &[
                (
                    "frame.protocols",
                    "eth:ethertype:ieee8021ad:ethertype:vlan:ethertype:vlan:ethertype:ipv6:tcp",
                ),
                ("ieee8021ad.id", "4094"),
                ("vlan.id", "1,2"),
                ("tcp.len", "0"),
            ],
        ),
        (
            ethernet()
                .ipv4()
                .options(40)
                .tcp(1, 2)
                .tcp_options(40)
                .payload(&[7])
                .trailer(&[22, 3, 1]),
            &[
                ("ip.hdr_len", "60"),
                ("tcp.hdr_len", "60"),
                ("tcp.len", "1"),
                ("eth.trailer", "160301"),
            ],
        ),
        (
            ethernet().ipv4().addresses([192, 0, 2, 1], [192, 0, 2, 2]).tcp(1, 2).pad_to(60),
            &[
                ("frame.len", "60"),
                ("tcp.len", "0"),
                ("eth.padding", "000000000000"),
                ("ip.dst", "192.0.2.2"),
            ],
        ),
        (
            ethernet().ipv4().fragment(0, true).tcp(1, 2).payload(&[7; 12]),
            &[
                ("ip.flags.mf", "1"),
                ("ip.flags.df", "0"),
                ("ip.frag_offset", "0"),
                ("tcp.dstport", "2"),
            ],
        ),
        (
            ethernet().ipv4().fragment(185, false).protocol(6).payload(&[7; 100]),
            &[
                ("ip.flags.mf", "0"),
                ("ip.frag_offset", "185"),
                ("ip.proto", "6"),
                ("ip.len", "120"),
                ("tcp.dstport", ""),
            ],
        ),
        (
            ethernet().ipv4().udp(1000, 2000).payload(&[7; 9]),
            &[
                ("udp.srcport", "1000"),
                ("udp.dstport", "2000"),
                ("udp.length", "17"),
                ("ip.proto", "17"),
            ],
        ),
        (
            ethernet().vlan(0x8100, 5).ether_type(0x0800).mac([2; 6], [4; 6]).ipv6().udp(1, 2),
            &[("eth.type", "0x8100"), ("vlan.etype", "0x86dd"), ("eth.src", "02:02:02:02:02:02")],
        ),
        (
            ethernet().ether_type(0x88b5).payload(&[7; 46]),
            &[("eth.type", "0x88b5"), ("ip.len", "")],
        ),
    ]
}

fn ipv6_cases() -> Vec<Case> {
    let ipv6 = || Frame::ethernet().ipv6();
    vec![
        (
            ipv6().tcp(40000, 443).payload(&[7; 5]),
            &[
                ("ipv6.src", "fd77:1::1"),
                ("ipv6.dst", "fd77:1::2"),
                ("ipv6.nxt", "6"),
                ("ipv6.plen", "25"),
                ("tcp.len", "5"),
            ],
        ),
        (
            ipv6()
                .extension(Extension::HopByHop(0))
                .extension(Extension::DestinationOptions(1))
                .extension(Extension::Routing(2))
                // A fragment that is the whole datagram (RFC 6946).
                .extension(Extension::Fragment { offset: 0, more: false })
                .extension(Extension::Authentication(12))
                .extension(Extension::DestinationOptions(40))
                .tcp(1, 2)
                .seq(9)
                .payload(&[7; 8]),
            &[
                ("ipv6.nxt", "0"),
                ("ipv6.hopopts.nxt", "60"),
                ("ipv6.hopopts.len_oct", "8"),
                ("ipv6.dstopts.nxt", "43,6"),
                ("ipv6.dstopts.len_oct", "16,328"),
                ("ipv6.routing.nxt", "44"),
                ("ipv6.routing.len_oct", "24"),
                ("ipv6.routing.segleft", "0"),
                ("ipv6.fraghdr.nxt", "51"),
                ("ipv6.fraghdr.more", "0"),
                ("ah.next_header", "60"),
                ("ah.icv", "a5a5a5a5a5a5a5a5a5a5a5a5"),
                ("tcp.seq_raw", "9"),
                ("tcp.len", "8"),
            ],
        ),
        (
            ipv6()
                .extension(Extension::Fragment { offset: 0, more: true })
                .tcp(1, 2)
                .payload(&[7; 20]),
            &[("ipv6.fraghdr.offset", "0"), ("ipv6.fraghdr.more", "1"), ("tcp.dstport", "2")],
        ),
        (
            ipv6()
                .extension(Extension::Fragment { offset: 181, more: false })
                .protocol(6)
                .payload(&[7; 16]),
            &[
                ("ipv6.nxt", "44"),
                ("ipv6.fraghdr.offset", "181"),
                ("ipv6.fraghdr.more", "0"),
                ("tcp.dstport", ""),
            ],
        ),
        (
            ipv6().extension(Extension::DestinationOptions(255)).udp(1, 2).payload(&[7; 4]),
            &[("ipv6.dstopts.len_oct", "2048"), ("udp.length", "12")],
        ),
    ]
}

fn raw_cases() -> Vec<Case> {
    vec![
        (
            Frame::raw().ipv4().options(4).tcp(1, 2).payload(&[7; 3]),
            &[("frame.protocols", "raw:ip:tcp:data"), ("ip.hdr_len", "24"), ("tcp.len", "3")],
        ),
        (
            Frame::raw().ipv6().extension(Extension::Routing(0)).tcp(1, 2).payload(&[7; 3]),
            &[("ipv6.nxt", "43"), ("ipv6.routing.nxt", "6"), ("tcp.len", "3")],
        ),
    ]
}

/// Writes the frames to a capture file and compares tshark's reading with the cases.
fn check(link_type: u32, cases: &[Case]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("frames.pcap");
    let frames = cases.iter().map(|(frame, _)| (Duration::ZERO, frame.build()));
    std::fs::write(&file, pcap(link_type, frames))?;
    let mut tshark = command("tshark");
    tshark.arg("-r").arg(&file).args([
        "-n",
        "-T",
        "fields",
        "-E",
        "occurrence=a",
        "-E",
        "aggregator=,",
    ]);
    // The preferences of the person who runs the tests stay out of it.
    tshark.env("WIRESHARK_CONFIG_DIR", dir.path());
    // Fragments are read one by one; bad checksums are looked for.
    for preference in [
        "ip.defragment:FALSE",
        "ipv6.defragment:FALSE",
        "ip.check_checksum:TRUE",
        "tcp.check_checksum:TRUE",
        "udp.check_checksum:TRUE",
        "tcp.analyze_sequence_numbers:FALSE",
    ] {
        tshark.args(["-o", preference]);
    }
    let asked = cases.iter().flat_map(|(_, expected)| expected.iter().map(|(field, _)| *field));
    let fields: BTreeSet<&str> = CHECKSUMS.into_iter().chain([MALFORMED]).chain(asked).collect();
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = run(&mut tshark)?;
    ensure!(output.lines().count() == cases.len(), "{output}");
    let mut wrong = Vec::new();
    for ((frame, expected), line) in cases.iter().zip(output.lines()) {
        let read: BTreeMap<&str, &str> = fields.iter().copied().zip(line.split('\t')).collect();
        for (field, value) in *expected {
            let actual = read.get(field).with_context(|| format!("no column {field}"))?;
            if actual != value {
                wrong.push(format!("{field} is {actual:?}, not {value:?}: {frame:?}"));
            }
        }
        if !read[MALFORMED].is_empty() {
            wrong.push(format!("malformed: {frame:?}"));
        }
        for field in CHECKSUMS.iter().filter(|field| read[*field] == "0") {
            wrong.push(format!("{field} is bad: {frame:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
