//! Targets for what reads bytes from the network, the ring or a file.

use std::net::{Ipv4Addr, SocketAddr};

use tls_sniff::{
    clock::Timestamp,
    dedup::SeenOn,
    filter::PacketFilter,
    observation::{Facts, MessageObservation, Observation, Seen},
    session::{Limits, Sessions},
    source::file::{CaptureFile, Examiner},
    tls::{
        certificate::Chain,
        facts::{ClientFacts, ServerFacts},
        handshake::{self, HandshakeType},
        message::{Message, Partial, Said},
        ssl2::{CipherSpec, Ssl2ClientHello, Ssl2ServerHello},
    },
};
use tls_sniff_common::{
    event::Event,
    flow::{Direction, Hook},
    headers::VlanTags,
    record::{ContentType, RecordHeader},
};

use super::write;

/// Where and when all of it was seen.
const SEEN: Seen = Seen {
    timestamp: Timestamp(1_795_458_485_000_000_000),
    direction: Direction::Unknown,
    hook: Hook::File,
    vlan: VlanTags { tci: [0; 2], count: 0 },
    selected: true,
};

/// Writes a message with all that is made of it.
fn tell(said: &Said<'_>) {
    let client = ClientFacts::of(said);
    let (mut server, mut chain) = (None, None);
    match &said.message {
        Message::ServerHello(hello) => server = Some(ServerFacts::of(hello, said.is_whole())),
        Message::Certificate(body) => chain = Some(Chain::parse(body, 1_795_458_485)),
        _ => {}
    }
    let facts = match (&client, &server, &chain) {
        (Some(client), ..) => Facts::Client(client),
        (_, Some(server), _) => Facts::Server(server),
        (.., Some(chain)) => Facts::Chain(chain),
        _ => Facts::None,
    };
    let end = SocketAddr::from((Ipv4Addr::LOCALHOST, 443));
    write(
        &Observation::Message(MessageObservation {
            seen: SEEN,
            on: SeenOn::one(Some("eth0")),
            source: end,
            destination: end,
            community_id: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            sequence: 0,
            record: RecordHeader {
                content_type: ContentType::Handshake,
                version: 0x0301,
                length: 1,
            },
            records: 1,
            said,
            facts,
        }),
        &mut Vec::new(),
    );
}

/// A message of this type, whole and cut in the middle.
fn message(handshake_type: HandshakeType, body: &[u8]) {
    tell(&Said::handshake(handshake_type, body, body.len(), None));
    let cut = &body[..body.len() / 2];
    tell(&Said::handshake(handshake_type, cut, body.len(), Some(Partial::Lost)));
}

/// The body of a ClientHello.
pub fn client_hello(bytes: &[u8]) {
    message(HandshakeType::CLIENT_HELLO, bytes);
}

/// The body of a ServerHello.
pub fn server_hello(bytes: &[u8]) {
    message(HandshakeType::SERVER_HELLO, bytes);
}

/// The body of a Certificate message.
pub fn certificate(bytes: &[u8]) {
    message(HandshakeType::CERTIFICATE, bytes);
}

/// The fragment of a handshake record, and how much longer it was.
pub fn handshake_messages(bytes: &[u8]) {
    let Some((longer, fragment)) = bytes.split_first() else { return };
    let _told = handshake::protection(fragment, fragment.len() + usize::from(*longer));
    let mut covered = 0;
    for message in handshake::messages(fragment) {
        covered += handshake::MESSAGE_HEADER_LEN + message.body.len();
        let partial = (!message.is_complete()).then_some(Partial::End);
        tell(&Said::handshake(message.handshake_type, message.body, message.length, partial));
    }
    assert!(covered <= fragment.len());
}

/// An SSLv2 record behind its length.
pub fn ssl2(bytes: &[u8]) {
    if let Ok(hello) = Ssl2ClientHello::parse(bytes) {
        let names: Vec<_> = hello.cipher_specs().map(|spec| CipherSpec(spec).to_string()).collect();
        assert!(names.len() <= bytes.len() / 3);
    }
    if let Ok(hello) = Ssl2ServerHello::parse(bytes) {
        assert!(hello.cipher_specs().count() <= bytes.len() / 3);
    }
    tell(&Said::new(Message::Ssl2ClientHello(bytes), None));
    tell(&Said::new(Message::Ssl2ServerHello(bytes), None));
}

/// An item of the ring.
pub fn event(bytes: &[u8]) {
    let Ok(event) = Event::decode(bytes) else { return };
    assert_eq!(usize::from(event.header.captured_len), event.payload.len());
    let mut sessions = Sessions::new(Limits::default());
    let mut out = Vec::new();
    let seen = Seen::of(&event, SEEN.timestamp);
    sessions.event(&event, SeenOn::one(Some("eth0")), seen, &mut |told| write(told, &mut out));
    sessions.finish(&mut |told| write(told, &mut out));
}

/// A capture file, through the walk, the gate and the sessions to lines.
pub fn capture_file(bytes: &[u8]) {
    let mut file = CaptureFile::new(bytes, "fuzz".to_owned());
    let examiner = Examiner::new(
        u32::MAX,
        PacketFilter { application_data: true, ..PacketFilter::default() }.rules(),
    );
    let mut sessions = Sessions::new(Limits::default());
    let mut out = Vec::new();
    while let Ok(Some(frame)) = file.next() {
        let Ok(event) = examiner.examine(&frame) else { continue };
        let seen = Seen::of(&event, Timestamp(frame.timestamp_ns));
        sessions
            .event(&event, SeenOn::one(frame.interface), seen, &mut |told| write(told, &mut out));
    }
    sessions.finish(&mut |told| write(told, &mut out));
    assert_eq!((sessions.len(), sessions.memory()), (0, 0));
}
