//! What the stages of user space cost: `cargo bench -p tls-sniff-tests --bench stages`. Figures stand in
//! docs/BENCHMARKS.md.

use std::{fs, hint::black_box};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tls_sniff::{
    clock::Timestamp,
    dedup::SeenOn,
    filter::PacketFilter,
    observation::{EventKind, Observation, Seen},
    reassembly::Stream,
    session::{Limits, Sessions},
    sink::{Formatter, json::Profile},
    source::file::{CaptureFile, Examiner, Frame},
    tls::{
        certificate::Chain,
        client_hello::ClientHello,
        facts::{self, ClientFacts},
        fingerprint,
        message::{Message, Said},
    },
};
use tls_sniff_common::event::{EVENT_HEADER_LEN, Event};
use tls_sniff_tests::{
    replay::{Events, events_of},
    workspace_root,
};

/// Four handshakes by OpenSSL: TLS 1.3, 1.2, one that an alert ends, 1.0.
fn capture() -> Vec<u8> {
    let path = workspace_root().join("tests/captures/handshakes.pcap");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A frame that outlives its file.
struct Owned {
    bytes: Vec<u8>,
    at: i64,
    link: tls_sniff_common::headers::LinkLayer,
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        Frame {
            timestamp_ns: self.at,
            link: self.link,
            link_type: 1,
            packet: self.bytes.as_slice().into(),
            interface: None,
            interface_index: 0,
            several_interfaces: false,
            direction: tls_sniff_common::flow::Direction::Unknown,
            offset: 0,
        }
    }
}

fn frames() -> Vec<Owned> {
    let capture = capture();
    let mut file = CaptureFile::new(capture.as_slice(), "bench".to_owned());
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = file.next() {
        let bytes = frame.packet.bytes.to_vec();
        frames.push(Owned { bytes, at: frame.timestamp_ns, link: frame.link });
    }
    frames
}

/// The events of the capture, as the ring has them.
fn ring() -> Vec<Vec<u8>> {
    let mut events = Events::default();
    for (header, payload) in events_of(&capture()).unwrap_or_default() {
        events.push(&header, &payload);
    }
    events.iter().map(<[u8]>::to_vec).collect()
}

fn seen(event: &Event<'_>) -> Seen {
    Seen::of(event, Timestamp(event.header.timestamp.cast_signed()))
}

/// From the ring's bytes to observations, and to JSON lines.
fn decode(criterion: &mut Criterion) {
    let frames = frames();
    let events = ring();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("walk and gate, packets", |bencher| {
        let examiner = Examiner::new(u32::MAX, PacketFilter::default().rules());
        bencher.iter(|| {
            frames.iter().filter(|frame| examiner.examine(&frame.frame()).is_ok()).count()
        });
    });
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("event header, events", |bencher| {
        bencher
            .iter(|| events.iter().filter(|bytes| Event::decode(black_box(bytes)).is_ok()).count());
    });
    let mut run = |name: &str, formatter: Option<Profile>| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || (Sessions::new(Limits::default()), Vec::with_capacity(1 << 16)),
                |(sessions, out)| {
                    let mut formatter = formatter.map(Formatter::Json);
                    let mut take = |observation: &Observation<'_>| {
                        if let Some(formatter) = &mut formatter
                            && EventKind::DEFAULT.contains(&observation.kind())
                        {
                            formatter.observation(observation, out);
                        }
                    };
                    for bytes in &events {
                        let Ok(event) = Event::decode(bytes) else { continue };
                        sessions.event(&event, SeenOn::default(), seen(&event), &mut take);
                    }
                    sessions.finish(&mut take);
                },
                BatchSize::SmallInput,
            );
        });
    };
    run("four handshakes to observations, events", None);
    run("four handshakes to JSON lines, events", Some(Profile::Native));
    group.finish();
}

/// 1.9 kB in segments, in and out of order.
fn reassembly(criterion: &mut Criterion) {
    let bytes: Vec<u8> = (0..1900_u32).map(|at| at.to_le_bytes()[0]).collect();
    let mut group = criterion.benchmark_group("reassembly");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for (name, size) in [("two segments", 1400), ("four segments", 524), ("38 segments", 50)] {
        let pieces: Vec<(u32, &[u8])> = (0..).step_by(size).zip(bytes.chunks(size)).collect();
        let insert = |pieces: &mut dyn Iterator<Item = &(u32, &[u8])>| {
            let mut stream = Stream::new(0);
            for (sequence, piece) in pieces {
                let length = u32::try_from(piece.len()).unwrap_or_default();
                black_box(stream.insert(*sequence, piece, length));
            }
            assert_eq!(stream.bytes().len(), 1900);
        };
        group.bench_function(format!("{name}, in order"), |bencher| {
            bencher.iter(|| insert(&mut pieces.iter()));
        });
        group.bench_function(format!("{name}, backwards"), |bencher| {
            bencher.iter(|| insert(&mut pieces.iter().rev()));
        });
    }
    group.finish();
}

fn hello(criterion: &mut Criterion) {
    let events = ring();
    // Behind the record's and the message's header.
    let body = events[0].get(EVENT_HEADER_LEN + 9..).unwrap_or_default().to_vec();
    let mut group = criterion.benchmark_group("hello");
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| ClientHello::parse(black_box(&body), body.len()).is_ok());
    });
    let Ok((hello, _)) = ClientHello::parse(&body, body.len()) else { panic!("a ClientHello") };
    group.bench_function("every field", |bencher| {
        bencher.iter(|| {
            let hello = black_box(&hello);
            let lists = hello.cipher_suites.iter().count()
                + hello.extensions.iter().count()
                + hello.supported_groups().iter().count()
                + hello.signature_algorithms().iter().count()
                + hello.offered_versions().count()
                + hello.alpn().into_iter().flatten().count();
            (lists, hello.sni(), hello.post_quantum(), hello.ech())
        });
    });
    group.bench_function("ja3, ja4 and ja4_r", |bencher| {
        bencher.iter(|| fingerprint::client(black_box(&hello)));
    });
    let said = Said { message: Message::ClientHello(hello), partial: None, malformed: None };
    group.bench_function("what is kept of it, fingerprints remembered", |bencher| {
        bencher.iter(|| ClientFacts::of(black_box(&said)));
    });
    group.finish();
}

/// The certificates of a message, read and remembered.
fn certificates(criterion: &mut Criterion) {
    // The SERVER HELLO, then the Certificate message, in one record each.
    let events = ring();
    let find = |bytes: &Vec<u8>| {
        let payload = bytes.get(EVENT_HEADER_LEN..)?;
        let length = |at: usize| {
            Some(usize::from(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?])))
        };
        let second = 5 + length(3)?;
        let body = payload.get(second + 9..second + 5 + length(second + 3)?)?;
        (payload.first() == Some(&22) && payload.get(second + 5) == Some(&11))
            .then(|| body.to_vec())
    };
    let Some(body) = events.iter().find_map(find) else { panic!("a Certificate message") };
    let mut group = criterion.benchmark_group("certificates");
    group.throughput(Throughput::Elements(1));
    group.bench_function("read", |bencher| {
        bencher.iter(|| Chain::parse(black_box(&body), 0).length);
    });
    group.bench_function("remembered", |bencher| {
        bencher.iter(|| facts::chain(black_box(&body), 0).length);
    });
    group.finish();
}

criterion_group!(stages, decode, reassembly, hello, certificates);
criterion_main!(stages);
