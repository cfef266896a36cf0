//! Each filter with packets that it takes and packets that it leaves.

use tls_sniff::filter::{
    PacketFilter,
    value::{Content, Handshake, TcpFlag, WireVersion},
};
use tls_sniff_tests::frame::{Frame, flags};

use crate::hello;

/// One filter with packets, and whether it takes each.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) filter: PacketFilter,
    pub(super) packets: Vec<(&'static str, Make, bool)>,
}

/// Makes a packet on top of a link layer, for one of the two families.
pub(super) type Make = Box<dyn Fn(Base) -> Frame>;

/// What a packet begins with.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) link: Frame,
    pub(super) v6: bool,
}

impl Base {
    fn ip(self) -> Frame {
        if self.v6 { self.link.ipv6() } else { self.link.ipv4() }
    }

    /// From ...1 to ...2 of a network that is its own for each number.
    pub(super) fn between(self, from: u8, to: u8) -> Frame {
        if self.v6 {
            let address = |host| [0xfd, 0x77, 0, host, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
            self.link.ipv6().addresses(address(from), address(to))
        } else {
            self.link.ipv4().addresses([10, 77, from, from], [10, 77, to, to])
        }
    }
}

fn make(make: impl Fn(Base) -> Frame + 'static) -> Make {
    Box::new(make)
}

/// A ClientHello from one port to another.
fn ports(from: u16, to: u16) -> Make {
    make(move |base| base.ip().tcp(from, to).payload(&hello(100)))
}

fn hosts(from: u8, to: u8) -> Make {
    make(move |base| base.between(from, to).tcp(1, 2).payload(&hello(100)))
}

fn payload(bytes: Vec<u8>) -> Make {
    make(move |base| base.ip().tcp(1, 2).payload(&bytes))
}

fn with_flags(set: u8) -> Make {
    make(move |base| base.ip().tcp(1, 2).flags(set))
}

pub(super) fn record(content: u8, version: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[content, 3, version], &length[..], body].concat()
}

/// A handshake message; `version` is where a hello has it.
fn message(kind: u8, version: u8) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 40, 3, version];
    message.resize(44, 0x5a);
    message
}

pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn cases(v6: bool) -> Vec<Case> {
    let mut cases = of_connections(v6);
    cases.extend(of_segments());
    cases.extend(of_records());
    cases
}

fn of_connections(v6: bool) -> Vec<Case> {
    let filter = PacketFilter::default;
    let net = |v4: &'static str, v6_text: &'static str| if v6 { v6_text } else { v4 };
    vec![
        Case {
            name: "--port 443,8443-8450",
            filter: PacketFilter { ports: parsed(&["443", "8443-8450"]), ..filter() },
            packets: vec![
                ("to it", ports(40000, 443), true),
                ("from it", ports(443, 40000), true),
                ("first of the range", ports(1, 8443), true),
                ("last of the range", ports(1, 8450), true),
                ("before the range", ports(1, 8442), false),
                ("behind the range", ports(1, 8451), false),
            ],
        },
        Case {
            name: "--port 'dst 443' --port 'not 1024-2000'",
            filter: PacketFilter { ports: parsed(&["dst 443", "not 1024-2000"]), ..filter() },
            packets: vec![
                ("to it", ports(40000, 443), true),
                ("from it", ports(443, 40000), false),
                ("excluded source", ports(2000, 443), false),
            ],
        },
        Case {
            name: "--port '!22'",
            filter: PacketFilter { ports: parsed(&["!22"]), ..filter() },
            packets: vec![("other", ports(1, 443), true), ("excluded", ports(1, 22), false)],
        },
        Case {
            name: "--net one --net 'not part of it'",
            filter: PacketFilter {
                networks: parsed(&[
                    net("10.77.4.0/22", "fd77:4::/30"),
                    net("not 10.77.6.6", "not fd77:6::/32"),
                ]),
                ..filter()
            },
            packets: vec![
                ("from it", hosts(4, 99), true),
                ("to it", hosts(99, 7), true),
                ("neither", hosts(3, 8), false),
                ("excluded", hosts(6, 4), false),
                ("to the excluded", hosts(4, 6), false),
            ],
        },
        Case {
            name: "--host 'src …'",
            filter: PacketFilter {
                networks: parsed(&[net("src 10.77.4.4", "src fd77:4::4")]),
                ..filter()
            },
            packets: vec![("from it", hosts(4, 5), true), ("to it", hosts(5, 4), false)],
        },
        Case {
            name: "--net of the other family",
            filter: PacketFilter { networks: parsed(&[net("::/0", "0.0.0.0/0")]), ..filter() },
            packets: vec![("any", hosts(4, 5), false)],
        },
        Case {
            name: "--net 'not' of the other family",
            filter: PacketFilter {
                networks: parsed(&[net("not ::/0", "not 0.0.0.0/0")]),
                ..filter()
            },
            packets: vec![("any", hosts(4, 5), true)],
        },
    ]
}

fn of_segments() -> Vec<Case> {
    let filter = PacketFilter::default;
    let with_tcp = |tcp: &[TcpFlag]| PacketFilter { tcp: tcp.to_vec(), ..filter() };
    vec![
        Case {
            name: "--tcp syn",
            filter: with_tcp(&[TcpFlag::Syn]),
            packets: vec![
                ("SYN", with_flags(flags::SYN), true),
                ("SYN-ACK", with_flags(flags::SYN | flags::ACK), false),
                ("ACK", with_flags(flags::ACK), false),
                ("hello", ports(1, 2), false),
            ],
        },
        Case {
            name: "--tcp synack,fin,rst",
            filter: with_tcp(&[TcpFlag::Synack, TcpFlag::Fin, TcpFlag::Rst]),
            packets: vec![
                ("SYN", with_flags(flags::SYN), false),
                ("SYN-ACK", with_flags(flags::SYN | flags::ACK), true),
                ("FIN", with_flags(flags::FIN | flags::ACK), true),
                ("RST", with_flags(flags::RST), true),
                ("ACK", with_flags(flags::ACK), false),
            ],
        },
        Case {
            name: "--payload-len 100..200",
            filter: PacketFilter { payload_len: Some("100..200".parse().unwrap()), ..filter() },
            packets: vec![
                ("99", payload(vec![1; 99]), false),
                ("100", payload(vec![1; 100]), true),
                ("200", payload(vec![1; 200]), true),
                ("201", payload(vec![1; 201]), false),
                ("hello of 105", payload(hello(100)), true),
                ("hello of 305", payload(hello(300)), false),
            ],
        },
        Case {
            name: "--payload-len 0..0",
            filter: PacketFilter { payload_len: Some("0".parse().unwrap()), ..filter() },
            packets: vec![
                ("ACK", with_flags(flags::ACK), true),
                ("SYN", with_flags(flags::SYN), true),
                ("hello", ports(1, 2), false),
            ],
        },
    ]
}

fn of_records() -> Vec<Case> {
    let filter = PacketFilter::default;
    let data = record(23, 3, &[9; 30]);
    let alert = record(21, 1, &[2, 40]);
    let ccs = record(20, 3, &[1]);
    let server_flight = [
        record(22, 3, &message(2, 3)),
        record(22, 3, &[message(11, 0x30), message(14, 0)].concat()),
    ]
    .concat();
    let behind = |first: &[u8], second: &[u8]| payload([first, second].concat());
    vec![
        Case {
            name: "--content appdata",
            filter: PacketFilter { content: vec![Content::Appdata], ..filter() },
            packets: vec![
                ("data", payload(data.clone()), true),
                ("alert", payload(alert.clone()), false),
                ("data behind an alert", behind(&alert, &data), true),
                ("hello", payload(hello(100)), false),
                ("no TLS", payload(b"GET / HTTP/1.1\r\n\r\n".to_vec()), false),
                ("no payload", with_flags(flags::FIN), false),
            ],
        },
        Case {
            name: "--content alert,ccs",
            filter: PacketFilter { content: vec![Content::Alert, Content::Ccs], ..filter() },
            packets: vec![
                ("alert", payload(alert.clone()), true),
                ("ChangeCipherSpec", payload(ccs.clone()), true),
                ("alert behind data", behind(&data, &alert), true),
                ("data", payload(data.clone()), false),
            ],
        },
        Case {
            name: "--content appdata --record-version 1.0",
            filter: PacketFilter {
                content: vec![Content::Appdata],
                record_versions: vec![WireVersion::Tls10],
                ..filter()
            },
            packets: vec![
                ("1.0", payload(record(23, 1, &[9; 30])), true),
                ("1.2", payload(data.clone()), false),
                ("alert of 1.0 behind data of 1.2", behind(&data, &alert), false),
            ],
        },
        Case {
            name: "--handshake server_hello_done",
            filter: PacketFilter { handshakes: vec![Handshake(14)], ..filter() },
            packets: vec![
                ("in its flight", payload(server_flight.clone()), true),
                ("alone", payload(record(22, 3, &[14, 0, 0, 0])), true),
                ("hello", payload(record(22, 3, &message(2, 3))), false),
                (
                    "encrypted, behind ChangeCipherSpec",
                    behind(&ccs, &record(22, 3, &[14; 40])),
                    false,
                ),
            ],
        },
        Case {
            name: "--handshake client_hello --hello-version 1.0,1.1",
            filter: PacketFilter {
                handshakes: vec![Handshake(1)],
                hello_versions: vec![WireVersion::Tls10, WireVersion::Tls11],
                ..filter()
            },
            packets: vec![
                ("1.0", payload(record(22, 1, &message(1, 1))), true),
                ("1.1", payload(record(22, 1, &message(1, 2))), true),
                ("1.2", payload(record(22, 1, &message(1, 3))), false),
                ("the server's", payload(record(22, 1, &message(2, 1))), false),
            ],
        },
        Case {
            name: "--hello-version 1.2 --payload-len 200..",
            filter: PacketFilter {
                hello_versions: vec![WireVersion::Tls12],
                payload_len: Some("200..".parse().unwrap()),
                ..filter()
            },
            packets: vec![
                ("long", payload(hello(200)), true),
                ("short", payload(hello(100)), false),
                (
                    "certificate",
                    payload(record(22, 3, &[&message(11, 3)[..], &[0xff; 200]].concat())),
                    false,
                ),
            ],
        },
    ]
}
