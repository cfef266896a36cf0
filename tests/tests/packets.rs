//! The kernel programs on crafted packets, by BPF_PROG_TEST_RUN: verdict, counter and event for every
//! combination of headers, on each hook, and the same answer from the walk on the host.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use nix::sys::utsname::uname;
use tls_sniff::{filter::PacketFilter, load::LoadOptions};
use tls_sniff_common::{config, counters::Counter, event::Event, headers::LinkLayer};
use tls_sniff_tests::{
    baseline::Baseline,
    frame::{Extension, Frame, flags},
    need::Need,
    runner::{self, test},
};

#[path = "packets/bench.rs"]
mod bench;
#[path = "packets/expressions.rs"]
mod expressions;
#[path = "packets/filters.rs"]
mod filters;
#[path = "packets/gate.rs"]
mod gate;
#[path = "packets/host.rs"]
mod host;
#[path = "packets/tap.rs"]
mod tap;
#[path = "packets/tunnels.rs"]
mod tunnels;

use bench::{At, Bench};

const ROOT: &[Need] = &[Need::Root];

fn main() -> ExitCode {
    runner::main(vec![
        test("verifier_accepts_each_program", ROOT, verifier_accepts_each_program),
        test("hellos_behind_all_headers_become_events", ROOT, hellos_behind_all_headers),
        test("event_header_says_what_the_packet_said", ROOT, event_header),
        test("what_is_no_tls_is_counted_by_reason", ROOT, counted_by_reason),
        test("record_header_limits", ROOT, record_header_limits),
        test("application_data_is_evented_when_asked", ROOT, application_data),
        test("payload_is_copied_as_asked", ROOT, payload_is_copied_as_asked),
        test("full_ring_is_counted", ROOT, full_ring_is_counted),
        test("tap_drops_whatever_it_is", ROOT, tap::drops_whatever_it_is),
        test("cut_and_damaged_packets_as_on_the_host", ROOT, host::cut_and_damaged_packets),
        test("hellos_inside_tunnels_become_events", ROOT, tunnels::hellos_inside),
        test("damaged_tunnels_as_on_the_host", ROOT, tunnels::as_on_the_host),
        test("segments_of_a_handshake_pass_the_gate", ROOT, gate::segments_of_a_handshake),
        test("the_gate_closes", ROOT, gate::closes),
        test("the_gate_makes_room", ROOT, gate::makes_room),
        test("each_filter_takes_what_it_says", ROOT, filters::each_filter),
        test("filter_direction", ROOT, filters::direction),
        test("filter_vlan", ROOT, filters::vlan),
        test("filter_sample_takes_whole_connections", ROOT, filters::sample),
        test("filter_of_ten_thousand_networks", ROOT, filters::ten_thousand_networks),
        test("filter_follows_records", ROOT, filters::records_are_followed),
        test("filter_ends_records_at_a_loss", ROOT, filters::records_end_where_segments_are_lost),
        test("filter_keeps_connections", ROOT, filters::acknowledgements_free_nothing),
        test("scopes_add_context", ROOT, filters::scopes),
        test("whole_packets_are_copied", ROOT, filters::whole_packets),
        test("expressions_agree_with_libpcap", ROOT, expressions::agree_with_libpcap),
        test("random_programs_agree_with_libpcap", ROOT, expressions::random::programs),
        test("expressions_filter_at_each_hook", ROOT, expressions::filter_at_each_hook),
        test("expressions_on_cut_packets", &[], expressions::cut_by_a_snaplen),
        test("verifier_accepts_expressions", ROOT, expressions::verifier_accepts_with_all_rules),
        test("faults_of_expressions_are_told", ROOT, expressions::faults_are_told),
        test("verifier_accepts_all_rules", ROOT, filters::verifier_accepts_all_rules),
    ])
}

/// A ClientHello's record with `length` bytes of fragment.
pub(crate) fn hello(length: usize) -> Vec<u8> {
    let mut record = vec![0x16, 3, 1];
    record.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    record.extend_from_slice(&[1, 0, 0, u8::try_from(length.min(255)).unwrap(), 3, 3]);
    record.resize(5 + length, 0xa5);
    record
}

/// Every stack of headers that leads to a TCP segment, each with a name.
pub(crate) fn stacks(raw: bool) -> Vec<(String, Frame)> {
    let bases: Vec<(String, Frame)> = if raw {
        vec![("raw".to_owned(), Frame::raw())]
    } else {
        let ethernet = Frame::ethernet();
        vec![
            ("ethernet".to_owned(), ethernet.clone()),
            ("802.1Q".to_owned(), ethernet.clone().vlan(0x8100, 100)),
            ("802.1ad".to_owned(), ethernet.clone().vlan(0x88a8, 200)),
            ("QinQ".to_owned(), ethernet.clone().vlan(0x88a8, 200).vlan(0x8100, 100)),
            ("old QinQ".to_owned(), ethernet.vlan(0x9100, 300).vlan(0x8100, 4094)),
        ]
    };
    let mut stacks = Vec::new();
    for (name, base) in bases {
        for options in (0..=40).step_by(4) {
            stacks.push((format!("{name} IPv4+{options}"), base.clone().ipv4().options(options)));
        }
        stacks.push((format!("{name} first fragment"), base.clone().ipv4().fragment(0, true)));
        stacks.push((format!("{name} IPv6"), base.clone().ipv6()));
        let extensions = [
            Extension::HopByHop(0),
            Extension::HopByHop(255),
            Extension::Routing(3),
            Extension::DestinationOptions(1),
            Extension::Fragment { offset: 0, more: true },
            Extension::Authentication(12),
        ];
        for extension in extensions {
            let frame = base.clone().ipv6().extension(extension);
            stacks.push((format!("{name} IPv6 {extension:?}"), frame));
        }
        let six = [
            Extension::HopByHop(1),
            Extension::DestinationOptions(0),
            Extension::Routing(2),
            Extension::Fragment { offset: 0, more: false },
            Extension::Authentication(16),
            Extension::DestinationOptions(2),
        ];
        let chain = six.into_iter().fold(base.ipv6(), Frame::extension);
        stacks.push((format!("{name} IPv6 with six extension headers"), chain));
    }
    stacks
}

fn application_data_too(application_data: bool) -> PacketFilter {
    PacketFilter { application_data, ..PacketFilter::default() }
}

fn verifier_accepts_each_program() -> Result<()> {
    let mut figures = BTreeMap::new();
    for application_data in [false, true] {
        for capture_len in [config::MIN_CAPTURE_LEN, 2048, config::MAX_CAPTURE_LEN] {
            let mut bench = Bench::load(LoadOptions {
                filter: application_data_too(application_data),
                capture_len,
                xdp: true,
                ..LoadOptions::default()
            })?;
            for at in At::ALL {
                let instructions = bench.verified_instructions(at)?;
                // The kernel's limit is a million; near it, another compiler is one too many.
                ensure!(
                    instructions.is_none_or(|count| count < 500_000),
                    "{at:?}: {instructions:?}"
                );
                let data = if application_data { ", application data" } else { "" };
                let name = format!("{at:?}, at most {capture_len} bytes{data}");
                figures.extend(instructions.map(|count| (name, count.into())));
            }
        }
    }
    // Kernels before 5.16 do not tell.
    if figures.is_empty() {
        return Ok(());
    }
    // Each release's verifier follows other paths.
    let kernel = uname()?;
    let release = kernel.release().to_string_lossy();
    let series: Vec<&str> = release.splitn(3, '.').take(2).collect();
    let baseline = Baseline {
        name: "verifier",
        of: "Instructions that the kernel's verifier followed",
        measured_with: &format!("Linux {}", series.join(".")),
        tolerance: 3,
        tolerance_elsewhere: None,
    };
    baseline.check(&figures)
}

fn hellos_behind_all_headers() -> Result<()> {
    let mut bench = Bench::default()?;
    for at in At::ALL {
        for (name, stack) in stacks(at.is_raw()) {
            for tcp_options in [0, 4, 12, 40] {
                let payload = hello(300);
                let frame = stack.clone().tcp(40000, 443).tcp_options(tcp_options);
                let seen = bench.run(at, &frame.payload(&payload).build())?;
                let what = || format!("{name}, TCP options {tcp_options}, {at:?}");
                seen.check(at, Counter::Emitted).with_context(what)?;
                let event = seen.event().with_context(what)?;
                ensure!(event.payload == payload, "{}: other payload", what());
            }
        }
    }
    Ok(())
}

fn event_header() -> Result<()> {
    let mut bench = Bench::default()?;
    for at in At::ALL {
        for v6 in [false, true] {
            let base = if at.is_raw() {
                Frame::raw()
            } else {
                Frame::ethernet().vlan(0x88a8, 200).vlan(0x8100, 100)
            };
            let base = if v6 { base.ipv6() } else { base.ipv4() };
            let payload = hello(1000);
            let frame = base
                .tcp(0x1234, 0x01bb)
                .seq(0xdead_beef)
                .ack(0x0102_0304)
                .flags(flags::PSH | flags::ACK | flags::FIN)
                .payload(&payload)
                .trailer(&[0xee; 9]);
            let seen = bench.run(at, &frame.build())?;
            seen.check(at, Counter::Emitted)?;
            let event = seen.event()?;
            let header = event.header;
            let ports = (header.source_port, header.destination_port);
            ensure!(ports == (0x1234, 0x01bb), "ports {ports:x?}");
            ensure!(header.tcp_sequence == 0xdead_beef, "{:x}", header.tcp_sequence);
            ensure!(header.tcp_acknowledgement == 0x0102_0304);
            ensure!(header.tcp_flags == flags::PSH | flags::ACK | flags::FIN);
            // The trailer behind the IP length is not payload.
            ensure!(header.payload_len == 1005, "{}", header.payload_len);
            ensure!(header.captured_len == 1005 && event.payload == payload);
            ensure!(event.hook == at.hook() && event.direction == at.hook().direction());
            ensure!(header.timestamp > 0);
            let vlan = event.vlan();
            if at.is_raw() {
                ensure!(vlan.count == 0);
            } else {
                ensure!(vlan.count == 2 && vlan.tci == [200, 100], "{vlan:?}");
            }
            check_addresses(&event, v6)?;
        }
    }
    Ok(())
}

/// The addresses are `Frame`'s defaults.
fn check_addresses(event: &Event<'_>, v6: bool) -> Result<()> {
    let (source, destination) =
        if v6 { ("fd77:1::1", "fd77:1::2") } else { ("10.77.1.1", "10.77.1.2") };
    let shown = |address, port| {
        tls_sniff_common::flow::socket_addr(event.ip, address, port).ip().to_string()
    };
    ensure!(shown(event.header.source, 1) == source, "{:?}", event.header.source);
    ensure!(shown(event.header.destination, 1) == destination);
    Ok(())
}

fn counted_by_reason() -> Result<()> {
    let ethernet = Frame::ethernet;
    let tcp = |frame: Frame| frame.tcp(1, 2).payload(&hello(50));
    let bytes = |frame: Frame| frame.build();
    let changed = |frame: Frame, place: usize, value: u8| {
        let mut bytes = frame.build();
        bytes[place] = value;
        bytes
    };
    let seven = (0..7)
        .fold(ethernet().ipv6(), |frame, _| frame.extension(Extension::DestinationOptions(0)));
    let three_tags = ethernet().vlan(0x88a8, 1).vlan(0x8100, 2).vlan(0x8100, 3);
    let later = Extension::Fragment { offset: 100, more: true };
    let cases = [
        (Counter::NotIp, "ARP", bytes(ethernet().ether_type(0x0806).payload(&[0; 46]))),
        (Counter::NotIp, "tagged ARP", {
            let mut arp = ethernet().vlan(0x8100, 7).ipv4().protocol(6).build();
            arp[16..18].copy_from_slice(&[0x08, 0x06]);
            arp
        }),
        (Counter::NotTcp, "UDP", bytes(ethernet().ipv4().udp(443, 443).payload(&hello(50)))),
        (
            Counter::NotTcp,
            "UDP over IPv6",
            bytes(ethernet().ipv6().udp(443, 443).payload(&[1; 60])),
        ),
        (Counter::NotTcp, "ICMP", bytes(ethernet().ipv4().protocol(1).payload(&[8; 64]))),
        (Counter::NotTcp, "IPv6 without next header", bytes(ethernet().ipv6().protocol(59))),
        (
            Counter::LaterFragment,
            "IPv4 later fragment",
            bytes(ethernet().ipv4().fragment(185, false).protocol(6).payload(&hello(50))),
        ),
        (
            Counter::LaterFragment,
            "IPv6 later fragment",
            bytes(ethernet().ipv6().extension(later).protocol(6).payload(&hello(50))),
        ),
        (Counter::TooManyHeaders, "three tags", bytes(tcp(three_tags.ipv4()))),
        (Counter::TooManyHeaders, "seven extension headers", bytes(tcp(seven))),
        (Counter::NoPayload, "SYN", bytes(ethernet().ipv4().tcp(1, 2).flags(flags::SYN))),
        (Counter::NoPayload, "padded ACK", bytes(ethernet().ipv4().tcp(1, 2).pad_to(60))),
        (
            Counter::NoPayload,
            "padding that looks like a record",
            bytes(ethernet().ipv4().tcp(1, 2).trailer(&hello(50))),
        ),
        (Counter::NoRecord, "HTTP", bytes(ethernet().ipv4().tcp(1, 80).payload(b"GET / HTTP/1.1"))),
        (
            Counter::NoRecord,
            "four bytes of no record",
            bytes(ethernet().ipv4().tcp(1, 2).payload(&[0x16, 2, 1, 0])),
        ),
        (Counter::Malformed, "IHL 4", changed(tcp(ethernet().ipv4()), 14, 0x44)),
        (Counter::Malformed, "IP version 5", changed(tcp(ethernet().ipv4()), 14, 0x55)),
        (Counter::Malformed, "IPv6 version 4", changed(tcp(ethernet().ipv6()), 14, 0x40)),
        (Counter::Malformed, "data offset 4", changed(tcp(ethernet().ipv4()), 14 + 20 + 12, 0x40)),
        (Counter::Malformed, "total length 30", {
            let mut short = tcp(ethernet().ipv4()).build();
            short[16..18].copy_from_slice(&[0, 30]);
            short
        }),
        (Counter::ApplicationData, "application data", {
            bytes(ethernet().ipv4().tcp(1, 2).payload(&[0x17, 3, 3, 0, 40, 9, 9, 9, 9]))
        }),
    ];
    let mut bench = Bench::default()?;
    for (counter, name, frame) in cases {
        for at in [At::Xdp, At::In, At::Out] {
            let seen = bench.run(at, &frame)?;
            seen.check(at, counter).with_context(|| format!("{name}, {at:?}"))?;
            ensure!(seen.events.is_empty(), "{name}: an event");
        }
    }
    Ok(())
}

fn record_header_limits() -> Result<()> {
    let emitted = Counter::Emitted;
    let none = Counter::NoRecord;
    let cases: &[(Counter, [u8; 5])] = &[
        (emitted, [0x14, 3, 3, 0, 1]),
        (none, [0x14, 3, 3, 0, 0]),
        (emitted, [0x15, 3, 0, 0, 2]),
        (none, [0x15, 3, 1, 0, 1]),
        (none, [0x15, 3, 1, 0x10, 0]),
        (emitted, [0x16, 3, 4, 0x48, 0]),
        (none, [0x16, 3, 4, 0x48, 1]),
        (none, [0x16, 3, 1, 0, 0]),
        (none, [0x16, 3, 5, 0, 10]),
        (none, [0x16, 2, 0, 0, 10]),
        (none, [0x16, 4, 1, 0, 10]),
        (Counter::ApplicationData, [0x17, 3, 3, 0, 0]),
        (Counter::ApplicationData, [0x17, 3, 3, 0x48, 0]),
        (none, [0x17, 3, 3, 0x48, 1]),
        (none, [0x13, 3, 3, 0, 10]),
        (none, [0x18, 3, 3, 0, 10]),
        (none, [0, 0, 0, 0, 0]),
    ];
    let mut bench = Bench::default()?;
    for (port, (counter, record)) in (1000..).zip(cases) {
        for at in [At::Xdp, At::Out] {
            // Only the header: its first fragment byte comes in a later segment. A flow for each, since a
            // handshake's header opens its flow.
            let frame = Frame::ethernet().ipv6().tcp(port, 2).payload(record).build();
            let seen = bench.run(at, &frame)?;
            seen.check(at, *counter).with_context(|| format!("{record:x?}, {at:?}"))?;
            if *counter == emitted {
                ensure!(seen.event()?.payload == record);
            }
        }
    }
    Ok(())
}

fn application_data() -> Result<()> {
    let options =
        LoadOptions { filter: application_data_too(true), xdp: true, ..LoadOptions::default() };
    let mut bench = Bench::load(options)?;
    let payload = [0x17, 3, 3, 0, 4, 9, 9, 9, 9];
    for at in [At::Xdp, At::In, At::Out] {
        let frame = Frame::ethernet().ipv4().tcp(1, 2).payload(&payload).build();
        let seen = bench.run(at, &frame)?;
        seen.check(at, Counter::Emitted)?;
        ensure!(seen.event()?.payload == payload);
    }
    Ok(())
}

fn payload_is_copied_as_asked() -> Result<()> {
    let mut beyond_a_page = Vec::new();
    let fragments = is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes)?;
    for capture_len in [config::MIN_CAPTURE_LEN, 100, 2048, config::MAX_CAPTURE_LEN] {
        let mut bench =
            Bench::load(LoadOptions { capture_len, xdp: true, ..LoadOptions::default() })?;
        for length in [1, 2, 3, 8, 100, 1400, 2043, 2044, 3000, 9000] {
            for at in At::ALL {
                let payload = hello(length);
                let base = if at.is_raw() { Frame::raw() } else { Frame::ethernet() };
                let frame = base.ipv4().tcp(1, 2).payload(&payload).build();
                let Some(seen) = bench.run_if_it_fits(at, &frame)? else { continue };
                if frame.len() > 4096 {
                    beyond_a_page.push(at);
                }
                let what = || format!("{length} bytes, {capture_len} asked for, {at:?}");
                seen.check(at, Counter::Emitted).with_context(what)?;
                let event = seen.event()?;
                // Without the helper XDP copies step by step, and not so much.
                let most = if fragments { u32::MAX } else { config::MAX_DIRECT_CAPTURE_LEN };
                let expected = payload.len().min(capture_len.min(most) as usize);
                ensure!(event.payload == &payload[..expected], "{}: other bytes", what());
                ensure!(event.header.payload_len as usize == payload.len(), "{}", what());
            }
        }
    }
    // A jumbo frame reaches XDP in fragments, from 5.18 on.
    ensure!(!fragments || beyond_a_page.contains(&At::Xdp), "no packet in fragments was run");
    Ok(())
}

fn full_ring_is_counted() -> Result<()> {
    let options = LoadOptions { ring_len: 4096, xdp: true, ..LoadOptions::default() };
    let mut bench = Bench::load(options)?;
    let frame = Frame::ethernet().ipv4().tcp(1, 2).payload(&hello(500)).build();
    let runs = 100;
    let before = bench.counters(At::Xdp)?;
    for _ in 0..runs {
        bench.program_run(At::Xdp, &frame)?;
    }
    let after = bench.counters(At::Xdp)?;
    let difference = |counter: Counter| after[counter.index()] - before[counter.index()];
    let events = bench.take_events().len() as u64;
    ensure!(difference(Counter::Seen) == runs);
    ensure!(events > 0 && difference(Counter::Emitted) == events, "{events} events");
    ensure!(difference(Counter::Emitted) + difference(Counter::RingFull) == runs);
    Ok(())
}

/// The link layer that a program expects.
pub(crate) const fn link(at: At) -> LinkLayer {
    if at.is_raw() { LinkLayer::RawIp } else { LinkLayer::Ethernet }
}
