//! Every filter on crafted packets: what it takes and what it leaves, both families, each hook, and the same
//! answer from the rules on the host.

#[path = "filters/cases.rs"]
mod cases;

use anyhow::{Context as _, Result, ensure};
use tls_sniff::{
    filter::{
        PacketFilter,
        value::{Content, Handshake, Sample, TcpFlag, WireVersion},
    },
    load::LoadOptions,
};
use tls_sniff_common::{config, counters::Counter, filter::Scope, flow::Direction};
use tls_sniff_tests::frame::{Frame, flags};

use self::cases::{Base, cases, parsed, record};
use super::{At, Bench, hello, host};

pub(crate) fn each_filter() -> Result<()> {
    let mut tried = 0;
    for v6 in [false, true] {
        for case in cases(v6) {
            let mut bench = bench(case.filter.clone())?;
            for at in At::ALL {
                let link = if at.is_raw() { Frame::raw() } else { Frame::ethernet() };
                // A flow of an earlier packet does not lend its state to the next.
                for (number, (name, make, taken)) in (1_u8..).zip(&case.packets) {
                    let what = || format!("{}, {name}, {at:?}, IPv6: {v6}", case.name);
                    let base = Base { link: link.clone(), v6 };
                    let packet = make(base).build();
                    let table = host::Table::with(case.filter.rules());
                    bench.forget_flow(at, &packet)?;
                    let same = host::compare(&mut bench, &table, at, &packet);
                    ensure!(same.with_context(what)?, "{}: not run", what());
                    bench.forget_flow(at, &packet)?;
                    let seen = bench.run(at, &packet)?;
                    let outcome = seen.outcome().with_context(what)?;
                    ensure!((outcome == Counter::Emitted) == *taken, "{}: {outcome:?}", what());
                    if *taken {
                        ensure!(seen.event()?.is_selected(), "{}: not selected", what());
                    }
                    tried += usize::from(number > 0);
                }
            }
        }
    }
    ensure!(tried > 500, "{tried} packets");
    Ok(())
}

fn bench(filter: PacketFilter) -> Result<Bench> {
    Bench::load(LoadOptions {
        filter,
        xdp: true,
        flow_key: super::bench::KEY,
        ..LoadOptions::default()
    })
}

pub(crate) fn direction() -> Result<()> {
    for wanted in [Direction::Ingress, Direction::Egress] {
        let filter = PacketFilter { direction: Some(wanted), ..PacketFilter::default() };
        let mut bench = bench(filter)?;
        for at in At::ALL {
            let link = if at.is_raw() { Frame::raw() } else { Frame::ethernet() };
            let packet = link.ipv6().tcp(1, 2).payload(&hello(100)).build();
            let taken = at.hook().direction() == wanted;
            let counter = if taken { Counter::Emitted } else { Counter::Filtered };
            bench.run(at, &packet)?.check(at, counter).with_context(|| format!("{at:?}"))?;
        }
    }
    Ok(())
}

pub(crate) fn vlan() -> Result<()> {
    let plain = || Frame::ethernet();
    let frames = [
        ("none", plain(), None, None),
        ("100", plain().vlan(0x8100, 100), Some(100), None),
        ("200", plain().vlan(0x8100, 200), Some(200), None),
        ("200 in 100", plain().vlan(0x88a8, 100).vlan(0x8100, 200), Some(100), Some(200)),
    ];
    for (rule, takes) in [
        ("100", [false, true, false, true]),
        ("200", [false, false, true, true]),
        ("any", [false, true, true, true]),
        ("none", [true, false, false, false]),
    ] {
        let filter = PacketFilter { vlans: parsed(&[rule]), ..PacketFilter::default() };
        let mut bench = bench(filter)?;
        for at in [At::Xdp, At::In, At::Out] {
            for v6 in [false, true] {
                for ((name, link, ..), taken) in frames.iter().zip(takes) {
                    let ip = if v6 { link.clone().ipv6() } else { link.clone().ipv4() };
                    let packet = ip.tcp(1, 2).payload(&hello(100)).build();
                    let counter = if taken { Counter::Emitted } else { Counter::Filtered };
                    let seen = bench.run(at, &packet)?;
                    seen.check(at, counter)
                        .with_context(|| format!("--vlan {rule}: {name}, {at:?}, IPv6: {v6}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Both directions of a connection are in the sample, on each hook, or neither.
pub(crate) fn sample() -> Result<()> {
    let Sample(one_in) = "1/4".parse()?;
    let filter = PacketFilter { sample: Some(one_in), ..PacketFilter::default() };
    let mut bench = bench(filter)?;
    for v6 in [false, true] {
        let mut taken = 0;
        let ports = 20_000..20_400;
        let count = ports.len();
        for port in ports {
            let mut answers = Vec::new();
            for (at, from, to) in [(At::Xdp, port, 443), (At::Out, 443, port), (At::In, port, 443)]
            {
                let base = Base { link: Frame::ethernet(), v6 };
                let ends = if from == 443 { base.between(2, 1) } else { base.between(1, 2) };
                let packet = ends.tcp(from, to).payload(&hello(50)).build();
                answers.push(bench.run(at, &packet)?.outcome()? == Counter::Emitted);
            }
            ensure!(answers.iter().all(|answer| *answer == answers[0]), "half of port {port}");
            taken += usize::from(answers[0]);
        }
        ensure!((count / 8..count / 2).contains(&taken), "{taken} of {count}");
    }
    Ok(())
}

/// Sets of ten thousand prefixes load, and the longest prefix is found among them.
pub(crate) fn ten_thousand_networks() -> Result<()> {
    let numbers = 0_u16..10_000;
    let mut networks = Vec::new();
    for number in numbers.clone() {
        let [high, low] = number.to_be_bytes();
        let network = if number % 2 == 0 {
            format!("10.{high}.{low}.0/24")
        } else {
            format!("fd77:{number:x}::/32")
        };
        networks.push(network.parse()?);
    }
    let filter = PacketFilter { networks, ..PacketFilter::default() };
    let mut bench = bench(filter)?;
    for number in numbers.step_by(97) {
        let [high, low] = number.to_be_bytes();
        for at in [At::Xdp, At::In, At::Out] {
            let (four, six) =
                ([10, high, low, 9], format!("fd77:{number:x}::9").parse::<std::net::Ipv6Addr>()?);
            let v4 = Frame::ethernet().ipv4().addresses(four, [192, 0, 2, 1]);
            let v6 = Frame::ethernet().ipv6().addresses(six, std::net::Ipv6Addr::LOCALHOST);
            for (frame, taken) in [(v4, number % 2 == 0), (v6, number % 2 == 1)] {
                let packet = frame.tcp(1, 2).payload(&hello(50)).build();
                let counter = if taken { Counter::Emitted } else { Counter::Filtered };
                bench.run(at, &packet)?.check(at, counter).with_context(|| format!("{number}"))?;
            }
        }
    }
    Ok(())
}

/// A record that begins in the middle of a segment whose start is the rest of another one.
pub(crate) fn records_are_followed() -> Result<()> {
    let filter = PacketFilter { content: vec![Content::Alert], ..PacketFilter::default() };
    let mut bench = bench(filter)?;
    for (port, at) in (4000..).zip([At::Xdp, At::In, At::Out]) {
        let segment = |sequence: u32, payload: &[u8]| {
            let frame = Frame::ethernet().ipv6().tcp(port, 443).seq(sequence);
            frame.payload(payload).build()
        };
        let data = record(23, 3, &[0xd; 1000]);
        let (first, rest) = data.split_at(600);
        let steps = [
            ("hello", segment(1, &hello(100)), false),
            ("data begins", segment(106, first), false),
            (
                "data ends, an alert begins",
                segment(706, &[rest, &record(21, 3, &[1, 0])].concat()),
                true,
            ),
            ("the same again", segment(706, &[rest, &record(21, 3, &[1, 0])].concat()), false),
            ("data", segment(1118, &record(23, 3, &[1; 10])), false),
        ];
        for (name, packet, taken) in steps {
            let seen = bench.run(at, &packet)?;
            let emitted = seen.outcome()? == Counter::Emitted;
            // A repeated middle is not looked into: its first sending was.
            ensure!(emitted == taken, "{name}, {at:?}: {:?}", seen.moved);
        }
    }
    Ok(())
}

/// Behind a segment that was lost nothing is taken for the rest of a record that was wanted.
pub(crate) fn records_end_where_segments_are_lost() -> Result<()> {
    let filter = PacketFilter { content: vec![Content::Handshake], ..PacketFilter::default() };
    let mut bench = bench(filter)?;
    for (port, at) in (4500..).zip([At::Xdp, At::In, At::Out]) {
        let segment = |sequence: u32, payload: &[u8]| {
            let frame = Frame::ethernet().ipv4().tcp(port, 443).seq(sequence);
            frame.payload(payload).build()
        };
        // A hello of 105 bytes, of which the last 45 are never seen; then data in the middle of records.
        let hello = hello(100);
        let steps = [
            ("hello begins", segment(1, &hello[..40]), true),
            ("hello goes on", segment(41, &hello[40..60]), true),
            ("data far behind", segment(3000, &[0x5a; 500]), false),
            ("more data", segment(3500, &[0x5a; 500]), false),
        ];
        for (name, packet, taken) in steps {
            let selected = bench.run(at, &packet)?;
            let selected = selected.event().is_ok_and(|event| event.is_selected());
            ensure!(selected == taken, "{name}, {at:?}");
        }
    }
    Ok(())
}

/// Filters that take acknowledgements leave the gate what it knows of the connection.
pub(crate) fn acknowledgements_free_nothing() -> Result<()> {
    let filter = PacketFilter { payload_len: Some("0..".parse()?), ..PacketFilter::default() };
    let mut bench = bench(filter)?;
    for (port, at) in (4600..).zip([At::Xdp, At::In, At::Out]) {
        let frame = |set: u8, payload: &[u8]| {
            Frame::ethernet().ipv6().tcp(port, 443).flags(set).payload(payload).build()
        };
        for set in [flags::SYN, flags::ACK] {
            bench.run(at, &frame(set, &[]))?.check(at, Counter::Emitted)?;
        }
        let seen = bench.run(at, &frame(flags::ACK, &hello(100)))?;
        ensure!(seen.event()?.header.syn_time > 0, "{at:?}: the SYN is forgotten");
    }
    Ok(())
}

/// A wider scope adds what connects, acknowledges and ends, marked as context.
pub(crate) fn scopes() -> Result<()> {
    for (scope, port) in [(Scope::Handshake, 5000), (Scope::Connection, 6000)] {
        let filter = PacketFilter { scope, ..PacketFilter::default() };
        let mut bench = bench(filter)?;
        for (port, at) in (port..).zip([At::Xdp, At::In, At::Out]) {
            let client = |set: u8, payload: &[u8]| {
                Frame::ethernet().ipv4().tcp(port, 443).flags(set).payload(payload).build()
            };
            let stranger = Frame::ethernet().ipv4().tcp(port + 9, 443).flags(flags::ACK).build();
            let steps = [
                ("SYN", client(flags::SYN, &[]), Some(false)),
                ("ACK", client(flags::ACK, &[]), Some(false)),
                ("hello", client(flags::ACK, &hello(100)), Some(true)),
                ("ACK in the handshake", client(flags::ACK, &[]), Some(false)),
                ("FIN", client(flags::FIN | flags::ACK, &[]), Some(true)),
                ("a stranger's", stranger, None),
            ];
            for (name, packet, emitted) in steps {
                let seen = bench.run(at, &packet)?;
                let selected = match seen.outcome()? {
                    Counter::Emitted => Some(seen.event()?.is_selected()),
                    _ => None,
                };
                ensure!(selected == emitted, "{scope:?}, {name}, {at:?}: {:?}", seen.moved);
            }
        }
    }
    Ok(())
}

/// Whole packets, as long as asked for and as long as the payload needs.
pub(crate) fn whole_packets() -> Result<()> {
    for snaplen in [64, 200, config::MAX_SNAPLEN] {
        let options =
            LoadOptions { snaplen, capture_len: 100, xdp: true, ..LoadOptions::default() };
        let mut bench = Bench::load(options)?;
        for at in At::ALL {
            for length in [20, 150, 1400] {
                let link = if at.is_raw() { Frame::raw() } else { Frame::ethernet() };
                let packet = link.ipv6().tcp(1, 2).payload(&hello(length)).build();
                let seen = bench.run(at, &packet)?;
                let event = seen.event()?;
                let captured = event.packet.context("a packet")?;
                let payload_at = usize::from(event.header.payload_offset);
                let wanted = (snaplen as usize).max(payload_at + 100).min(packet.len());
                ensure!(captured == &packet[..wanted], "{snaplen}, {at:?}: {}", captured.len());
                ensure!(event.payload == &hello(length)[..(length + 5).min(100)]);
                ensure!(event.header.packet_len as usize == packet.len());
            }
        }
    }
    Ok(())
}

/// The verifier accepts everything at once.
pub(crate) fn verifier_accepts_all_rules() -> Result<()> {
    for scope in [Scope::Record, Scope::Handshake, Scope::Connection] {
        for snaplen in [0, config::MAX_SNAPLEN] {
            let filter = all_rules(scope);
            let options = LoadOptions { filter, snaplen, xdp: true, ..LoadOptions::default() };
            let mut bench = Bench::load(options)?;
            for at in At::ALL {
                let count = bench.verified_instructions(at)?;
                ensure!(count.is_none_or(|count| count < 600_000), "{at:?}: {count:?}");
            }
        }
    }
    Ok(())
}

/// A filter with a rule of every kind.
pub(crate) fn all_rules(scope: Scope) -> PacketFilter {
    let [lengths] = parsed(&["1.."])[..] else { panic!("one range") };
    PacketFilter {
        ports: parsed(&["443"]),
        networks: parsed(&["10.0.0.0/8"]),
        vlans: parsed(&["any"]),
        sample: Some(2),
        tcp: vec![TcpFlag::Fin],
        payload_len: Some(lengths),
        content: vec![Content::Handshake],
        record_versions: vec![WireVersion::Tls12],
        hello_versions: vec![WireVersion::Tls12],
        handshakes: vec![Handshake(1)],
        scope,
        ..PacketFilter::default()
    }
}
