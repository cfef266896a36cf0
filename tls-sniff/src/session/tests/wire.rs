//! TCP connections made by hand: IP packets out, what tls-sniff tells of them in.

use tls_sniff_common::{
    flow::{Direction, flags},
    headers::LinkLayer,
    packet::CapturedPacket,
};

use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    filter::PacketFilter,
    observation::{HandshakeObservation, Observation, Outcome, Party, Seen},
    session::{Limits, SessionCounters, Sessions},
    source::file::{Examiner, Frame},
};

const CLIENT: [u8; 4] = [192, 0, 2, 1];
const SERVER: [u8; 4] = [192, 0, 2, 2];
const MILLISECOND: i64 = 1_000_000;
pub(super) const SECOND: i64 = 1_000 * MILLISECOND;
const HEADERS: usize = 40;

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A message: who sent it and all that is known of it.
    Message(u16, String),
    Handshake(Box<Handshake>),
}

/// Of an observation of a handshake what does not depend on the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    pub(super) client_port: u16,
    pub(super) outcome: Outcome,
    pub(super) history: String,
    pub(super) partial: Option<&'static str>,
    pub(super) bytes: [u32; 2],
    pub(super) version: Option<u16>,
    pub(super) overlap: bool,
    pub(super) sni: Option<String>,
    /// Everything else that was offered and chosen.
    pub(super) facts: String,
}

impl Handshake {
    /// Outcome, by whom, Zeek's letters, what is missing.
    pub(super) fn summary(&self) -> (&'static str, Option<Party>, &str, Option<&'static str>) {
        (self.outcome.as_str(), self.outcome.by(), &self.history, self.partial)
    }
}

/// Packets in the order of the wire.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) packets: Vec<(i64, Vec<u8>)>,
    pub(super) now: i64,
}

/// A segment of a connection.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) from: Party,
    pub(super) port: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
}

impl Wire {
    /// A millisecond later, a segment.
    pub(super) fn segment(&mut self, segment: &Segment<'_>) {
        let Segment { from, port, sequence, acknowledgement, flags, payload } = *segment;
        self.now += MILLISECOND;
        let client = (CLIENT, port);
        let server = (SERVER, 443);
        let (source, destination) =
            if from == Party::Client { (client, server) } else { (server, client) };
        let length = u16::try_from(HEADERS + payload.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(source.0);
        packet.extend(destination.0);
        packet.extend(source.1.to_be_bytes());
        packet.extend(destination.1.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(acknowledgement.to_be_bytes());
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        self.packets.push((self.now, packet));
    }

    /// What is told of it. `snaplen`: bytes captured of each packet.
    pub(super) fn told(&self, limits: Limits, snaplen: usize) -> (Vec<Told>, SessionCounters) {
        let mut sessions = Sessions::new(limits);
        let mut told = Vec::new();
        self.feed(snaplen, &mut sessions, &mut |_, it| told.push(it));
        sessions.finish(&mut |it| told.push(tell(it)));
        assert_eq!((sessions.memory(), sessions.len()), (0, 0));
        (told, sessions.counters())
    }

    /// Gives the packets to `sessions`. `then`: takes what is told, and at which packet.
    pub(super) fn feed(
        &self,
        snaplen: usize,
        sessions: &mut Sessions,
        then: &mut dyn FnMut(usize, Told),
    ) {
        let examiner = Examiner::new(u32::MAX, PacketFilter::default().rules());
        for (place, (at, packet)) in self.packets.iter().enumerate() {
            let bytes = &packet[..snaplen.min(packet.len())];
            let frame = Frame {
                timestamp_ns: SECOND + at,
                link: LinkLayer::RawIp,
                link_type: 101,
                packet: CapturedPacket { bytes, wire_len: packet.len() },
                interface: None,
                interface_index: 0,
                several_interfaces: false,
                direction: Direction::Unknown,
                offset: 0,
            };
            let Ok(event) = examiner.examine(&frame) else { continue };
            let seen = Seen::of(&event, Timestamp(frame.timestamp_ns));
            sessions.event(&event, SeenOn::default(), seen, &mut |it| then(place, tell(it)));
        }
    }

    /// The observations of handshakes.
    pub(super) fn handshakes(&self) -> Vec<Handshake> {
        handshakes(&self.told(Limits::default(), usize::MAX).0)
    }
}

pub(super) fn handshakes(told: &[Told]) -> Vec<Handshake> {
    let of = |told: &Told| match told {
        Told::Handshake(handshake) => Some(handshake.as_ref().clone()),
        Told::Message(..) => None,
    };
    told.iter().filter_map(of).collect()
}

fn tell(observation: &Observation<'_>) -> Told {
    match observation {
        Observation::Message(it) => Told::Message(
            it.source.port(),
            format!("{} {} {:?} {:?} {:?}", it.sequence, it.records, it.record, it.said, it.facts),
        ),
        Observation::Handshake(it) => Told::Handshake(Box::new(of_handshake(it))),
        Observation::Segment(_) => panic!("sessions tell no segments"),
    }
}

fn of_handshake(it: &HandshakeObservation<'_>) -> Handshake {
    let sni = it.client_hello.and_then(|hello| hello.sni());
    let facts = (it.client_hello, it.server_hello, it.server_certificates, it.client_certificates);
    Handshake {
        client_port: it.client.port(),
        outcome: it.outcome,
        history: it.history.to_owned(),
        partial: it.partial.map(|partial| partial.as_str()),
        bytes: it.bytes,
        version: it.version,
        overlap: it.overlap,
        sni: sni.map(|name| String::from_utf8_lossy(name).into_owned()),
        facts: format!("{facts:?} {:?} {:?} {:?}", it.group, it.resumed, it.weaknesses),
    }
}

/// One connection, in order.
pub(super) struct Connection<'w> {
    pub(super) wire: &'w mut Wire,
    pub(super) port: u16,
    /// The next sequence number of client and server.
    pub(super) next: [u32; 2],
}

impl<'w> Connection<'w> {
    /// One whose TCP handshake was seen.
    pub(super) fn open(wire: &'w mut Wire, port: u16, initial: [u32; 2]) -> Self {
        let mut connection = Self { wire, port, next: initial };
        connection.put(Party::Client, flags::SYN, &[]);
        connection.next[0] = initial[0].wrapping_add(1);
        connection.put(Party::Server, flags::SYN | flags::ACK, &[]);
        connection.next[1] = initial[1].wrapping_add(1);
        connection.put(Party::Client, flags::ACK, &[]);
        connection
    }

    fn put(&mut self, from: Party, flags: u8, payload: &[u8]) {
        let [client, server] = self.next;
        let (sequence, acknowledgement) =
            if from == Party::Client { (client, server) } else { (server, client) };
        let port = self.port;
        self.wire.segment(&Segment { from, port, sequence, acknowledgement, flags, payload });
    }

    /// A segment that is next.
    pub(super) fn says(&mut self, from: Party, payload: &[u8]) -> &mut Self {
        self.put(from, flags::ACK, payload);
        self.lost(from, payload)
    }

    pub(super) fn client(&mut self, payload: &[u8]) -> &mut Self {
        self.says(Party::Client, payload)
    }

    pub(super) fn server(&mut self, payload: &[u8]) -> &mut Self {
        self.says(Party::Server, payload)
    }

    /// A segment that nobody captured.
    pub(super) fn lost(&mut self, from: Party, payload: &[u8]) -> &mut Self {
        let length = u32::try_from(payload.len()).unwrap();
        let next = &mut self.next[usize::from(from == Party::Server)];
        *next = next.wrapping_add(length);
        self
    }

    pub(super) fn fin(&mut self, from: Party) -> &mut Self {
        self.put(from, flags::FIN | flags::ACK, &[]);
        self.lost(from, &[0])
    }

    pub(super) fn rst(&mut self, from: Party) -> &mut Self {
        self.put(from, flags::RST | flags::ACK, &[]);
        self
    }

    pub(super) fn close(&mut self) {
        self.fin(Party::Client).fin(Party::Server);
    }

    pub(super) fn wait(&mut self, nanoseconds: i64) -> &mut Self {
        self.wire.now += nanoseconds;
        self
    }
}

/// What is told of the connections of a wire.
pub(super) fn of_wire(play: impl FnOnce(&mut Wire)) -> Vec<Handshake> {
    let mut wire = Wire::default();
    play(&mut wire);
    wire.handshakes()
}

/// What is told of one connection.
pub(super) fn of(play: impl FnOnce(&mut Connection<'_>)) -> Handshake {
    let mut told = of_wire(|wire| play(&mut Connection::open(wire, 40000, [1000, 5000])));
    assert_eq!(told.len(), 1, "{told:#?}");
    told.remove(0)
}
