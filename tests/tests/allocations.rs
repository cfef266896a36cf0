//! A packet that carries no handshake costs no allocation in user space, and a connection that waits little memory.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use tls_sniff::{
    clock::Timestamp,
    dedup::{Dedup, HOLD, SeenOn, Taken},
    filter::PacketFilter,
    metrics::InterfaceEvents,
    observation::Seen,
    session::{Limits, Sessions},
    source::file::{Examiner, Frame as FileFrame},
};
use tls_sniff_common::{
    ABI_VERSION,
    event::{Event, EventHeader},
    flow::Direction,
    headers::LinkLayer,
};
use tls_sniff_tests::{
    frame::{Frame, client_hello, flags},
    runner::{self, test},
};

fn main() -> ExitCode {
    runner::main(vec![
        test("no_allocation_without_a_handshake", &[], without_a_handshake),
        test("no_allocation_behind_a_handshake", &[], behind_a_handshake),
        test("no_allocation_for_duplicates", &[], duplicates),
        test("no_allocation_for_metrics_of_an_interface", &[], interface_events),
        test("a_connection_that_waits_is_small", &[], waiting),
    ])
}

/// Gate and sessions, and how much they have told.
struct Run {
    examiner: Examiner,
    sessions: Sessions,
    told: u64,
    now: i64,
}

impl Run {
    fn new() -> Self {
        let examiner = Examiner::new(u32::MAX, PacketFilter::default().rules());
        Self { examiner, sessions: Sessions::new(Limits::default()), told: 0, now: 0 }
    }

    /// Returns whether the frame became an event.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.now += 1000;
        let frame = FileFrame {
            timestamp_ns: self.now,
            link: LinkLayer::Ethernet,
            link_type: 1,
            packet: bytes.into(),
            interface: None,
            interface_index: 0,
            several_interfaces: false,
            direction: Direction::Unknown,
            offset: 0,
        };
        let Ok(event) = self.examiner.examine(&frame) else { return false };
        let seen = Seen::of(&event, Timestamp(self.now));
        let told = &mut self.told;
        self.sessions.event(&event, SeenOn::default(), seen, &mut |_| *told += 1);
        true
    }
}

fn client(port: u16, at: u32, payload: &[u8]) -> Vec<u8> {
    Frame::ethernet().ipv4().tcp(port, 443).seq(at).flags(flags::ACK).payload(payload).build()
}

fn without_a_handshake() -> Result<()> {
    let middle = [0xab; 1400];
    let frames = [
        Frame::ethernet().ipv4().tcp(1, 443).flags(flags::SYN).build(),
        Frame::ethernet().ipv4().tcp(1, 443).flags(flags::FIN | flags::ACK).build(),
        client(2, 1, &[]),
        client(3, 1, b"GET / HTTP/1.1\r\n\r\n"),
        client(4, 1, &middle),
        Frame::ethernet().ipv6().tcp(5, 443).payload(&middle).build(),
        Frame::ethernet().ipv4().udp(6, 53).payload(&[0; 32]).build(),
    ];
    let mut run = Run::new();
    let measured = allocation_counter::measure(|| {
        for _ in 0..1000 {
            for frame in &frames {
                run.take(frame);
            }
        }
    });
    ensure!(measured.count_total == 0, "{measured:?}");
    ensure!(run.told == 0, "{} observations", run.told);
    Ok(())
}

fn behind_a_handshake() -> Result<()> {
    let mut run = Run::new();
    let hello = client_hello();
    ensure!(run.take(&client(1, 1000, &hello)));
    let end = 1000 + u32::try_from(hello.len())?;
    // A fatal alert of the client ends the handshake.
    ensure!(run.take(&client(1, end, &[0x15, 3, 3, 0, 2, 2, 40])));
    ensure!(run.told == 3, "hello, alert, handshake: {}", run.told);
    // Application data, of which the gate lets a little pass, and what is in the middle of a record.
    let data = [&[0x17, 3, 3, 0x10, 0][..], &[0xab; 1200]].concat();
    let middle = [0xab; 1400];
    let (mut emitted, mut at) = (0, end + 7);
    let frames: Vec<Vec<u8>> = (0..1000)
        .map(|number| {
            let payload = if number % 2 == 0 { &data[..] } else { &middle };
            at += u32::try_from(payload.len()).unwrap_or_default();
            client(1, at, payload)
        })
        .collect();
    let before = run.told;
    let measured = allocation_counter::measure(|| {
        for frame in &frames {
            emitted += u32::from(run.take(frame));
        }
    });
    // What sessions still know of the connection swallows it.
    ensure!(emitted > 4 && run.told == before, "{emitted} events, {} told", run.told - before);
    ensure!(measured.count_total == 0, "{emitted} events: {measured:?}");
    Ok(())
}

/// Connections of which only the ClientHello was seen: what they take, and what they are accounted for.
fn waiting() -> Result<()> {
    const CONNECTIONS: u16 = 10_000;
    let hello = client_hello();
    let mut run = Run::new();
    // What is worked out once, and shared.
    run.take(&client(1, 1000, &hello));
    let frames: Vec<Vec<u8>> =
        (2..CONNECTIONS + 2).map(|port| client(port, 1000, &hello)).collect();
    let accounted = run.sessions.memory();
    let measured = allocation_counter::measure(|| {
        for frame in &frames {
            run.take(frame);
        }
    });
    ensure!(run.sessions.len() == usize::from(CONNECTIONS) + 1, "{}", run.sessions.len());
    let accounted = (run.sessions.memory() - accounted) / usize::from(CONNECTIONS);
    let taken = usize::try_from(measured.bytes_current)? / usize::from(CONNECTIONS);
    ensure!(taken < 550, "{taken} bytes");
    ensure!(accounted.abs_diff(taken) < taken / 5, "{accounted} bytes accounted, {taken} taken");
    Ok(())
}

/// Packets that are seen on two interfaces, after a while: tables and buffers have grown by then.
fn duplicates() -> Result<()> {
    let mut dedup = Dedup::new(HOLD);
    let payload = [0xab; 64];
    let (mut packets, mut again) = (0_u32, 0_u32);
    let mut see = |numbers: std::ops::Range<u32>| -> Result<()> {
        for number in numbers {
            for interface in [1, 2] {
                let header = EventHeader {
                    timestamp: u64::from(number) * 100_000,
                    interface,
                    tcp_sequence: number,
                    captured_len: 64,
                    payload_len: 64,
                    ip_version: 4,
                    direction: Direction::Ingress as u8,
                    abi_version: ABI_VERSION,
                    ..EventHeader::default()
                };
                let event = Event::new(header, &payload, None)?;
                let taken = dedup.event(&event, Timestamp(0), &mut |_, _, _| packets += 1);
                again += u32::from(taken == Taken::Duplicate);
            }
        }
        Ok(())
    };
    see(0..60_000)?;
    let mut seen = Ok(());
    let measured = allocation_counter::measure(|| seen = see(60_000..100_000));
    seen?;
    ensure!(measured.count_total == 0, "{measured:?}");
    ensure!(again == 100_000 && packets > 99_000, "{packets} packets, {again} again");
    Ok(())
}

/// Events of interfaces that are known: a run of one, and two that take turns.
fn interface_events() -> Result<()> {
    let mut events = InterfaceEvents::default();
    let names = ["eth0", "br0", "veth1a2b3c4"];
    let mut count = |times: u32| {
        for name in names.into_iter().chain(["eth0", "br0"]) {
            for _ in 0..times {
                events.count(name, Direction::Ingress);
                events.count(name, Direction::Egress);
            }
        }
    };
    count(1);
    let measured = allocation_counter::measure(|| count(1000));
    ensure!(measured.count_total == 0, "{measured:?}");
    ensure!(format!("{events:?}").contains("[2002, 2002]"), "{events:?}");
    Ok(())
}
