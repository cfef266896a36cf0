//! The shortcut says of no packet what the whole way would not, and different connections have different tags.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::cell::Cell;
use std::collections::BTreeSet;

use tls_sniff_common::{
    Flows, arrival,
    counters::Counter,
    filter::{FamilyAddress, NO_PAYLOAD_RULE, Rules, Scope, has_rules, records::Records},
    flow::{FlowId, FlowKey, flow_id},
    gate::{BUCKETS, Bucket, Emission, Glance, OPEN_LIMIT},
    headers::{self, LinkLayer},
    is_idle, judge,
    packet::{CapturedPacket, PacketBytes as _},
    shortcut,
};

/// One rule that is set, by its number; 0 for none.
#[derive(Default)]
struct Rule(u8);

impl Rule {
    fn is(&self, number: u8) -> u8 {
        u8::from(self.0 == number)
    }
}

impl Rules for Rule {
    fn direction(&self) -> u8 {
        self.is(1)
    }
    fn ports(&self) -> u8 {
        self.is(2)
    }
    fn port(&self, _: u16) -> u8 {
        0
    }
    fn networks(&self) -> u8 {
        self.is(3)
    }
    fn address(&self, _: &FamilyAddress) -> u8 {
        0
    }
    fn vlans(&self) -> u8 {
        self.is(4)
    }
    fn has_vlan(&self, _: u16) -> bool {
        false
    }
    fn sample(&self) -> u32 {
        2 * u32::from(self.is(5))
    }
    fn tcp_flags(&self) -> u8 {
        self.is(6)
    }
    fn payload_len(&self) -> (u32, u32) {
        if self.0 == 7 { (0, 9) } else { NO_PAYLOAD_RULE }
    }
    fn content_types(&self) -> u8 {
        self.is(8)
    }
    fn record_versions(&self) -> u8 {
        self.is(9)
    }
    fn hello_versions(&self) -> u8 {
        self.is(10)
    }
    fn handshake_types(&self) -> u32 {
        u32::from(self.is(11))
    }
    fn scope(&self) -> Scope {
        if self.0 == 12 { Scope::Handshake } else { Scope::Record }
    }
    fn application_data(&self) -> bool {
        self.0 == 13
    }
    fn follows_handshakes(&self) -> bool {
        self.0 == 14
    }
}

#[test]
fn each_rule_is_a_rule() {
    assert!(!has_rules(&Rule(0)));
    // What follows handshakes asks for nothing where nothing is left out.
    assert!((1..=13).all(|number| has_rules(&Rule(number))));
    assert!(!has_rules(&Rule(14)));
}

/// A gate, with the shortcut before it or without.
struct Gate {
    buckets: Vec<Bucket>,
    glances: Option<Vec<Glance>>,
    now: Cell<u64>,
    key: FlowKey,
}

impl Flows for Gate {
    fn bucket(&self, flow: FlowId) -> Option<&Bucket> {
        self.buckets.get(flow.bucket(BUCKETS))
    }
    fn glance(&self, flow: FlowId) -> Option<&Glance> {
        self.glances.as_ref()?.get(flow.bucket(BUCKETS))
    }
    fn evicts(&self) {}
    fn now(&self) -> u64 {
        self.now.get()
    }
}

impl Gate {
    fn new(shortcut: bool, key: FlowKey) -> Self {
        let glances = || std::iter::repeat_with(Glance::default).take(BUCKETS).collect();
        Self {
            buckets: std::iter::repeat_with(Bucket::default).take(BUCKETS).collect(),
            glances: shortcut.then(glances),
            now: Cell::new(1),
            key,
        }
    }

    fn take(&self, packet: &[u8]) -> Result<Emission, Counter> {
        let packet = CapturedPacket::from(packet);
        if self.glances.is_some() {
            let payload = |offset| packet.load(offset);
            let glance = |flow| self.glance(flow);
            let link = LinkLayer::Ethernet;
            if let Some(told) = shortcut::outcome(&packet, payload, link, || self.key, glance) {
                return Err(told);
            }
        }
        let mut segment = headers::walk(&packet, LinkLayer::Ethernet)?;
        if is_idle(&segment, &Rule(0)) {
            return Err(Counter::NoPayload);
        }
        let arrival = arrival(&packet, &mut segment, self.key, &Rule(0))?;
        judge(self, &arrival, &Records { rules: &Rule(0), packet, segment: &segment })
    }
}

/// Ethernet, IP and TCP.
fn segment(ends: [(&[u8], u16); 2], flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let [(source, from), (destination, to)] = ends;
    let len = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![2; 12];
    if source.len() == 4 {
        packet.extend([8, 0, 0x45, 0]);
        packet.extend((20 + len).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    } else {
        packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        packet.extend(len.to_be_bytes());
        packet.extend([6, 64]);
    }
    packet.extend([source, destination].concat());
    packet.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    packet.extend(payload);
    packet
}

const CLIENT: &[u8] = &[10, 0, 0, 1];
const SERVER: &[u8] = &[10, 0, 0, 2];
const ACK: u8 = 0x10;

fn to_server(payload: &[u8]) -> Vec<u8> {
    segment([(CLIENT, 40000), (SERVER, 443)], ACK, 1, payload)
}

fn to_client(payload: &[u8]) -> Vec<u8> {
    segment([(SERVER, 443), (CLIENT, 40000)], ACK, 1, payload)
}

/// The first half of a ClientHello.
fn hello() -> Vec<u8> {
    filled(&[0x16, 3, 1, 6, 0, 1, 0, 5, 0xfc, 3, 3], 1000)
}

fn data() -> Vec<u8> {
    filled(&[0x17, 3, 3, 5, 0], 1285)
}

fn filled(start: &[u8], len: usize) -> Vec<u8> {
    let mut payload = start.to_vec();
    payload.resize(len, 0x33);
    payload
}

/// The same for all runs.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % limit).unwrap()
    }
}

const STARTS: [&[u8]; 9] = [
    &[0x16, 3, 1, 6, 0, 1, 0, 5, 0xfc, 3, 3],
    &[0x16, 3, 3, 6, 0, 2, 0, 5, 0xfc, 3, 3],
    &[0x14, 3, 3, 0, 1, 1],
    &[0x15, 3, 3, 0, 2, 1, 0],
    &[0x17, 3, 3, 0, 99, 1, 0],
    &[0x17, 3, 3, 0, 99, 1, 0],
    &[0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16],
    &[0x16, 3, 3, 0, 40, 20, 0, 0, 12],
    &[0xab; 20],
];

/// A random segment of one of `flows` connections; a hello is one in `rare`, so that some come to their end.
fn random(numbers: &mut Numbers, flows: u64, rare: u64) -> Vec<u8> {
    let port = 40000 + u16::try_from(numbers.below(flows)).unwrap();
    let len = [0, 1, 5, 6, 10, 11, 12, 40, 600][numbers.below(9)];
    let hello = numbers.below(rare) == 0;
    let start = STARTS[if hello { numbers.below(2) } else { 2 + numbers.below(7) }];
    let mut payload = filled(start, start.len().max(len));
    payload.truncate(len);
    let flags = match numbers.below(20 * rare) {
        0 => 2,
        1 => 18,
        2 => 17,
        3 => 4,
        _ => ACK,
    };
    let sequence = 1000 + u32::try_from(numbers.below(5)).unwrap();
    let (client, server) = ((CLIENT, port), (SERVER, 443));
    let ends = if numbers.below(2) == 0 { [client, server] } else { [server, client] };
    let mut packet = segment(ends, flags, sequence, &payload);
    if numbers.below(50) == 0 {
        packet.truncate(packet.len() - numbers.below(24).min(packet.len()));
    }
    packet
}

#[test]
fn the_shortcut_agrees_with_the_whole_way() {
    for (step, flows, rare) in
        [(1, 4, 3), (3_000_000, 40, 60), (20_000_000, 40, 60), (100_000_000, 10, 20)]
    {
        let key = FlowKey::of(9);
        let (whole, shortcut) = (Gate::new(false, key), Gate::new(true, key));
        let mut numbers = Numbers(0x1234_5678_9abc);
        let (mut now, mut emitted, mut skipped) = (1, 0, 0);
        for number in 0..250_000 {
            now += u64::try_from(numbers.below(step)).unwrap();
            whole.now.set(now);
            shortcut.now.set(now);
            let packet = random(&mut numbers, flows, rare);
            let (expected, told) = (whole.take(&packet), shortcut.take(&packet));
            assert_eq!(expected, told, "packet {number}, {step} ns: {packet:02x?}");
            emitted += u32::from(told.is_ok());
            skipped += u32::from(told.is_err());
        }
        assert!(emitted > 10_000 && skipped > 10_000, "{emitted} {skipped}");
    }
}

/// What one side sends behind its tail does not end what the other one may still say.
#[test]
fn an_upload_leaves_the_answer_its_tail() {
    for shortcut in [false, true] {
        let gate = Gate::new(shortcut, FlowKey::of(3));
        let emitted =
            |packet: &[u8], times| (0..times).filter(|_| gate.take(packet).is_ok()).count();
        assert_eq!(emitted(&to_server(&hello()), 1) + emitted(&to_client(&data()), 1), 2);
        assert_eq!(emitted(&to_server(&data()), 1000), 8);
        assert_eq!(emitted(&to_client(&data()), 20), 8);
    }
}

/// A hello on a connection whose handshake is long over is another handshake, with a time of its own.
#[test]
fn a_late_hello_begins_anew() {
    for shortcut in [false, true] {
        let gate = Gate::new(shortcut, FlowKey::of(3));
        let syn = segment([(CLIENT, 40000), (SERVER, 443)], 2, 0, &[]);
        assert_eq!(gate.take(&syn), Err(Counter::NoPayload));
        let first = gate.take(&to_server(&hello())).unwrap();
        assert_ne!(first.syn_time, 0);
        assert!(gate.take(&to_server(&data())).is_ok());
        for _ in 0..500 {
            let _bulk = gate.take(&to_client(&data()));
        }
        gate.now.set(2 * OPEN_LIMIT);
        let second = gate.take(&to_server(&hello())).unwrap();
        assert_eq!((second.syn_time, second.time), (0, 2 * OPEN_LIMIT));
        assert!(gate.take(&to_server(&filled(&[0xa5], 540))).is_ok(), "its second half");
    }
}

fn tag(ends: [(&[u8], u16); 2], key: FlowKey) -> u64 {
    let packet = segment(ends, ACK, 1, &[1; 20]);
    let packet = CapturedPacket::from(&packet[..]);
    let segment = headers::walk(&packet, LinkLayer::Ethernet).unwrap();
    flow_id(&packet, &segment, key).unwrap().0.tag
}

/// Ends with something in common, of which a product may not tell the rest.
#[test]
fn different_connections_have_different_tags() {
    let v6 = |last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let [localhost, mut localhost_6] = [[127, 0, 0, 1].as_slice(), &v6(0)[..]].map(<[u8]>::to_vec);
    localhost_6.fill(0);
    localhost_6[15] = 1;
    for seed in 0..200_u64 {
        let key = FlowKey::of(seed.wrapping_mul(0x0123_4567_89ab));
        let mut connections = Vec::new();
        for host in [&localhost, &localhost_6] {
            for server in [8442, 8443, 443] {
                connections
                    .extend((40000..40150).map(|port| [(&host[..], port), (&host[..], server)]));
            }
        }
        let servers: Vec<_> = [0x10, 0x90, 0x25].map(v6).to_vec();
        let client = v6(1);
        for server in &servers {
            connections.extend(
                (40000..40600).step_by(2).map(|port| [(&client[..], port), (&server[..], 443)]),
            );
        }
        let mut tags: BTreeSet<u64> = connections.iter().map(|ends| tag(*ends, key)).collect();
        let mut count = connections.len();
        // The same numbers on another interface.
        for interface in 1..9 {
            let net = |first: u8| [first, 0, 0, 1];
            for first in 8..16 {
                let ends = [net(first), [first, 0, 0, 2]];
                let [one, other] = &ends;
                tags.insert(tag([(one, 40000), (other, 443)], key.on(interface)));
                count += 1;
            }
        }
        assert_eq!(tags.len(), count, "seed {seed}");
        let back = connections.iter().map(|[one, other]| tag([*other, *one], key));
        assert!(back.zip(&connections).all(|(tag_back, ends)| tag_back == tag(*ends, key)));
    }
}
