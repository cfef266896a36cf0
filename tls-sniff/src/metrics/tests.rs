//! The exposition as a whole: bounds, completeness, documents; tests of the server are in their own file.

mod documents;
mod http;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Instant};

use tls_sniff_common::{
    counters::{COUNTERS, Counter},
    flow::{Direction, Hook},
};

use super::{
    exposition::{self, Format},
    families::{self, Family},
    snapshot::Scrape,
    *,
};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::{
        CaptureCounters, CaptureStats, HandshakeObservation, Outcome, OutputCounters, OutputStats,
        Party, PipelineCounters, Stats, StatsReason,
    },
    source::ring::RingFill,
    tls::{
        alert::Alert,
        facts::ServerFacts,
        message::Partial,
        names::{
            AlertDescription, AlertLevel, CipherSuite, CodePoint, NamedGroup, ProtocolVersion,
            is_grease,
        },
        server_hello::ServerHello,
    },
};

fn handshake(outcome: Outcome) -> HandshakeObservation<'static> {
    let end = |address: u8, port| SocketAddr::from(([192, 0, 2, address], port));
    HandshakeObservation::bare([end(1, 1), end(2, 443)], [Timestamp(0); 2], outcome)
}

fn handshakes(server_names: Option<u16>) -> Handshakes {
    Handshakes::new(&MetricsOptions { address: "0".parse().unwrap(), server_names })
}

fn server_hello(cipher_suite: u16) -> ServerFacts {
    let [high, low] = cipher_suite.to_be_bytes();
    let body = [&[3, 3][..], &[0; 32], &[0, high, low, 0]].concat();
    ServerFacts::of(&ServerHello::parse(&body, body.len()).unwrap().0, true)
}

fn stats() -> Stats {
    Stats {
        reason: StatsReason::Interval,
        timestamp: Timestamp(0),
        seconds: 0.0,
        hooks: Vec::new(),
        pipeline: PipelineCounters::default(),
        outputs: Vec::new(),
        capture: None,
        skipped_link_types: Vec::new(),
    }
}

fn snapshot(handshakes: &mut Handshakes, stats: Stats) -> Snapshot {
    let now = Instant::now();
    let handshakes = handshakes.counts(|name| !name.starts_with("gone"));
    let state = State { ring: Some(RingFill::default()), interfaces: 1, ..State::default() };
    let interface_events = InterfaceEvents::default();
    Snapshot { made: now, counters_read: now, handshakes, interface_events, stats, now: state }
}

fn text(snapshot: Snapshot, format: Format) -> String {
    let scrape = Scrape { snapshot: Arc::new(snapshot), process: Some(process::Usage::default()) };
    exposition::encode(Arc::new(scrape), format).unwrap()
}

/// The samples of a family, each its labels and its value.
fn samples<'a>(text: &'a str, family: &Family) -> Vec<(&'a str, &'a str)> {
    let sample = |line: &'a str| {
        let (series, value) = line.rsplit_once(' ')?;
        let labels = series.strip_prefix(family.name)?;
        let labels = labels
            .strip_prefix("_total")
            .or_else(|| labels.strip_prefix("_count"))
            .unwrap_or(labels);
        (labels.is_empty() || labels.starts_with('{')).then_some((labels, value))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn count(text: &str, family: &Family, labels: &str) -> u64 {
    let found = samples(text, family).into_iter().find(|(found, _)| *found == labels);
    found.unwrap_or_else(|| panic!("{}{labels} in {text}", family.name)).1.parse().unwrap()
}

/// All endings that there are, the alert of `number` among them.
fn endings(number: u8) -> Vec<Outcome> {
    let of = |by| {
        let alert = Alert { level: AlertLevel(number), description: AlertDescription(number) };
        [
            Outcome::Alert { by, alert: Some(alert) },
            Outcome::Alert { by, alert: None },
            Outcome::ProbableEncryptedAlert { by },
            Outcome::Reset { by },
            Outcome::Closed { by },
        ]
    };
    let by_nobody = [
        Outcome::Completed,
        Outcome::TimedOut,
        Outcome::NoAnswer,
        Outcome::NotTls,
        Outcome::StillOpen,
        Outcome::Partial,
    ];
    [&of(Party::Client)[..], &of(Party::Server), &by_nobody].concat()
}

#[test]
fn no_network_makes_more_series_than_the_bound() {
    let mut counted = handshakes(Some(1000));
    let mut events = InterfaceEvents::default();
    for number in 0..=u16::MAX {
        let hello = server_hello(number);
        let interface = format!("veth{}", number / 8);
        let direction = if number % 2 == 0 { Direction::Ingress } else { Direction::Egress };
        events.count(&interface, direction);
        let outcomes = endings(number.to_be_bytes()[1]);
        counted.count(&HandshakeObservation {
            version: Some(number),
            server_hello: Some(&hello),
            group: Some(number),
            on: SeenOn::one(Some(&interface)),
            duration: Some(i64::from(number)),
            partial: Some(Partial::Lost),
            ..handshake(outcomes[usize::from(number >> 8) % outcomes.len()])
        });
        // No version, no group, and each ending of each version.
        if number < 256 {
            let versions = [
                None,
                Some(2),
                Some(0x0300),
                Some(0x0301),
                Some(0x0302),
                Some(0x0303),
                Some(0x0304),
                Some(number << 8),
            ];
            for (version, outcome) in
                versions.iter().flat_map(|v| outcomes.iter().map(move |o| (v, o)))
            {
                let observation = handshake(*outcome);
                counted.count(&HandshakeObservation {
                    version: *version,
                    server_hello: Some(&hello),
                    ..observation
                });
            }
        }
    }
    let snapshot = Snapshot { interface_events: events, ..snapshot(&mut counted, stats()) };
    let text = text(snapshot, Format::OpenMetrics);
    let sets = |family: &Family| samples(&text, family).len();
    for family in families::ALL {
        assert!(
            sets(family) <= family.bound.most(),
            "{}: {} of {}",
            family.name,
            sets(family),
            family.bound.most()
        );
    }
    // What is bounded by a registry has all of it.
    let named = |name: &dyn Fn(u16) -> Option<&'static str>| {
        let numbers = (0..=u16::MAX).filter(|number| !is_grease(*number));
        numbers.filter_map(name).collect::<BTreeSet<_>>().len()
    };
    let suites = named(&|number| CipherSuite(number).name());
    assert_eq!(
        (sets(&families::CIPHER_SUITE), suites + 1),
        (families::CIPHER_SUITE.bound.most(), families::CIPHER_SUITE.bound.most())
    );
    let groups = named(&|number| NamedGroup(number).name());
    assert_eq!(
        (sets(&families::GROUP), groups + 2),
        (families::GROUP.bound.most(), families::GROUP.bound.most())
    );
    let alerts = (0..=u8::MAX).filter(|number| AlertDescription(*number).name().is_some()).count();
    assert_eq!(
        (sets(&families::ALERT), 2 * (alerts + 2)),
        (families::ALERT.bound.most(), families::ALERT.bound.most())
    );
    assert_eq!(named(&|number| ProtocolVersion(number).name()), 6);
    assert_eq!(sets(&families::HANDSHAKES), families::HANDSHAKES.bound.most());
    let sum = |family: &Family| {
        let samples = samples(&text, family).into_iter();
        samples.map(|(_, count)| count.parse::<u64>().unwrap()).sum::<u64>()
    };
    // 8,192 interfaces; those that are too many are `other`, and each handshake and each event is counted.
    for family in [&families::INTERFACE, &families::INTERFACE_EVENTS] {
        assert_eq!((sets(family), sum(family)), (family.bound.most(), 1 << 16), "{}", family.name);
    }
    assert_eq!(sum(&families::HANDSHAKES), (1 << 16) + 256 * 8 * 16);
    assert!(text.len() < 500_000, "{} bytes", text.len());
}

#[test]
fn a_handshake_is_counted_in_each_family() {
    let hello = server_hello(0x1301);
    let weaknesses = [crate::tls::weakness::Weakness::ExpiredCertificate];
    let mut counted = handshakes(None);
    counted.count(&HandshakeObservation {
        version: Some(0x0304),
        server_hello: Some(&hello),
        group: Some(0x11ec),
        resumed: Some(false),
        hello_retry_request: true,
        duration: Some(3_000_000),
        syn_to_syn_ack: Some(700_000),
        on: SeenOn::all(&["eth0", "br0"]),
        weaknesses: &weaknesses,
        partial: Some(Partial::Lost),
        ..handshake(Outcome::Completed)
    });
    let alert = Alert { level: AlertLevel(2), description: AlertDescription(48) };
    let failed = handshake(Outcome::Alert { by: Party::Client, alert: Some(alert) });
    counted.count(&HandshakeObservation { on: SeenOn::one(Some("gone0")), ..failed });
    let text = text(snapshot(&mut counted, stats()), Format::OpenMetrics);
    for (family, labels) in [
        (&families::HANDSHAKES, r#"{version="TLS 1.3",outcome="completed",by="none"}"#),
        (&families::HANDSHAKES, r#"{version="none",outcome="alert",by="client"}"#),
        (&families::CIPHER_SUITE, r#"{cipher_suite="TLS_AES_128_GCM_SHA256"}"#),
        (&families::GROUP, r#"{group="X25519MLKEM768"}"#),
        (&families::KEY_EXCHANGE, r#"{post_quantum="true"}"#),
        (&families::SESSION, r#"{resumed="false"}"#),
        (&families::ALERT, r#"{description="unknown_ca",by="client"}"#),
        (&families::WEAKNESS, r#"{weakness="expired_certificate"}"#),
        (&families::HELLO_RETRY, ""),
        (&families::PARTIAL, r#"{reason="lost"}"#),
        (&families::DURATION, r#"{version="TLS 1.3"}"#),
        (&families::SYN_ACK, ""),
        (&families::INTERFACE, r#"{interface="br0"}"#),
        (&families::INTERFACE, r#"{interface="eth0"}"#),
    ] {
        assert_eq!(count(&text, family, labels), 1, "{}{labels}", family.name);
    }
    let sum = "tls_sniff_handshake_duration_seconds_sum{version=\"TLS 1.3\"} 0.003\n";
    assert!(text.contains(sum), "{text}");
    assert!(text.contains("_bucket{le=\"0.0025\",version=\"TLS 1.3\"} 0\n"), "{text}");
    assert!(text.contains("_bucket{le=\"0.005\",version=\"TLS 1.3\"} 1\n"), "{text}");
    assert!(!text.contains("gone0"), "an interface that is gone: {text}");
}

/// Each counter of each stage has a number of its own here, and is told once.
#[test]
fn every_counter_of_every_stage_is_told_once() {
    let mut numbers = 1000..;
    let mut number = || numbers.next().unwrap();
    let mut block = [0; COUNTERS];
    block.iter_mut().for_each(|count| *count = number());
    let pipeline = PipelineCounters {
        received: 0,
        undecodable: number(),
        duplicates: number(),
        unrelated: number(),
        crowded_segments: number(),
        connections: number(),
        evicted: number(),
        observations: 0,
        written: 1,
        dropped: 2,
        after_end: 3,
        beyond_count: number(),
        unselected: number(),
        given_up: number(),
    };
    let output = OutputCounters {
        events: 0,
        written: number(),
        lost_queue: number(),
        lost_connection: number(),
        lost_write: number(),
        after_end: number(),
    };
    let events = output.written + output.lost() + output.after_end + 8;
    let output = OutputCounters { events, ..output };
    let received = pipeline.undecodable + pipeline.duplicates + pipeline.unrelated + 7;
    let observations = pipeline.beyond_count + 6;
    let file = CaptureCounters {
        taken: 0,
        written: number(),
        dropped_queue: number(),
        dropped_disk: number(),
        other_link_type: number(),
        after_end: number(),
        files: number(),
        bytes: number(),
    };
    let taken = file.written + file.lost() + file.after_end + 9;
    let capture = CaptureStats {
        file: CaptureCounters { taken, ..file },
        unselected: number(),
        given_up: number(),
    };
    let last = number();
    let stats = Stats {
        hooks: vec![(Hook::Xdp, block)],
        pipeline: PipelineCounters { received, observations, ..pipeline },
        outputs: vec![OutputStats { name: "file:/a \"b\"".to_owned(), counters: output }],
        capture: Some(capture),
        ..stats()
    };
    let text = text(snapshot(&mut handshakes(None), stats), Format::OpenMetrics);
    let values: Vec<&str> =
        text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.1)).collect();
    for number in 1000..last {
        let times = values.iter().filter(|value| **value == number.to_string()).count();
        // The kernel's sum of the others.
        let expected = usize::from(number != block[Counter::Seen.index()]);
        assert_eq!(times, expected, "{number} of {text}");
    }
    // What is left of sums.
    assert_eq!(count(&text, &families::EVENTS, r#"{result="followed"}"#), 7);
    assert_eq!(count(&text, &families::OBSERVATIONS, r#"{result="taken"}"#), 6);
    let pending = r#"tls_sniff_output_events_pending{output="file:/a \"b\""} 8.0"#;
    assert!(text.lines().any(|line| line == pending), "{text}");
    assert!(text.contains("tls_sniff_capture_packets_pending 9.0\n"), "{text}");
    assert_eq!(
        count(&text, &families::PACKETS, r#"{hook="xdp",outcome="ring_full",kind="lost"}"#),
        block[Counter::RingFull.index()]
    );
}

#[test]
fn both_formats_tell_the_same() {
    let stats = Stats { hooks: vec![(Hook::TcEgress, [5; COUNTERS])], ..stats() };
    let mut counted = handshakes(Some(1));
    counted.count(&handshake(Outcome::Completed));
    let open = text(snapshot(&mut counted, stats.clone()), Format::OpenMetrics);
    let old = text(snapshot(&mut counted, stats), Format::Prometheus);
    assert!(open.ends_with("\n# EOF\n"));
    let names = |text: &str| {
        let names = text.lines().filter(|line| !line.starts_with('#'));
        names.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<BTreeSet<_>>()
    };
    let (open, old) = (names(&open), names(&old));
    // Two ways to write one bound: 1.0 and 1.
    let names = |names: &BTreeSet<String>| {
        names.iter().filter(|name| !name.contains("le=")).cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&open), names(&old));
    assert_eq!(open.len(), old.len());
    assert_eq!(
        Format::accepted(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")),
        Format::OpenMetrics
    );
    assert_eq!(Format::accepted(Some("text/plain")), Format::Prometheus);
    assert_eq!(Format::accepted(None), Format::Prometheus);
}
