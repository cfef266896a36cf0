//! Expressions in tcpdump's language: libpcap's own `bpf_filter`, the interpreter for files and the kernel
//! programs agree on every packet, whole, cut and damaged.

#[path = "expressions/alone.rs"]
mod alone;
#[path = "expressions/random.rs"]
pub(crate) mod random;

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use tls_sniff::{
    filter::{
        PacketFilter,
        expression::{Expression, LinkType, translate::Context},
    },
    load::{LoadError, LoadOptions},
    source::file::CaptureFile,
};
use tls_sniff_common::{
    config, counters::Counter, filter::Scope, headers::LinkLayer, packet::CapturedPacket,
};
use tls_sniff_tests::{
    frame::{Extension, Frame, flags},
    libpcap::PcapFilter,
    need::corpus,
};

use self::alone::Alone;
use super::{At, Bench, filters::all_rules, hello};

const DLT_EN10MB: i32 = 1;
const DLT_RAW: i32 = 12;

/// Of every kind that `man pcap-filter` has and that looks at bytes.
const EXPRESSIONS: &[&str] = &[
    "ip",
    "ip6",
    "tcp",
    "arp or udp",
    "not tcp",
    "host 10.77.1.1",
    "src host 10.77.1.2",
    "dst host 10.77.1.2",
    "host 10.77.1.1 and not port 8443",
    "host fd77:1::1",
    "src host fd77:1::2 or dst net 10.77.0.0/16",
    "net 10.77.0.0/16",
    "net 10.0.0.0 mask 255.0.255.0",
    "src net 192.0.2.0/24",
    "ip6 net fd77:1::/48",
    "not net fd00::/8 and not net 10.0.0.0/8",
    "port 443",
    "src port 443",
    "dst port 40000",
    "tcp port 443 or udp port 443",
    "portrange 440-450",
    "not src portrange 1024-65535",
    "port 443 or port 8443 or port 993 or port 465",
    "tcp dst port 443 and ip host 10.77.1.1",
    "ip proto 6",
    "ip proto \\udp",
    "ip6 proto 6",
    "ip6 proto 58 or ip proto \\icmp",
    "proto 47",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[tcpflags] = tcp-syn",
    "tcp[tcpflags] & tcp-ack = 0 or tcp[tcpflags] == (tcp-push|tcp-ack)",
    "tcp[13] & 2 != 0 and ip[8] > 5",
    "tcp[((tcp[12] & 0xf0) >> 2)] = 0x16",
    "tcp[((tcp[12:1] & 0xf0) >> 2):2] = 0x1603",
    "tcp[((tcp[12] & 0xf0) >> 2):4] & 0xffffff00 = 0x16030100",
    "port 443 and (tcp[((tcp[12:1] & 0xf0) >> 2):1] = 0x16)",
    "ip[8] < 5",
    "ip[0] & 0xf != 5",
    "ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) > 0",
    "ip[2:2] % 4 = 1",
    "ip[2:2] / 3 = 35",
    "len % ip[8] = 0",
    "1000 / tcp[13] > 50",
    "ip[2:2] * 2 - len = 60",
    "(ip[12:4] ^ ip[16:4]) = 3",
    "(ip[8] | 1) = 65",
    "len << (ip[8] - 60) > 1000",
    "len >> ip[8] = 0",
    "ip[9] << tcp[13] = 0",
    "-ip[8] = 0xffffffc0",
    "ip6[6] = 6 and ip6[40:2] > 1023",
    "ip6[4:2] > 60",
    "greater 200",
    "less 100",
    "len > 500",
    "len = 78 or len = 60",
    "ether host 02:00:00:00:00:01",
    "ether dst 02:00:00:00:00:02 and ether proto 0x86dd",
    "ether broadcast or ether multicast",
    "ether[12:2] > 1500 and ether[0] & 1 = 0",
    "vlan",
    "vlan 100 and port 443",
    "vlan 200 and vlan 100 and tcp",
    "not vlan and tcp",
    "mpls",
    "pppoes",
    "ether[6000:2] != 0",
    "ip[6:2] & 0x1fff != 0",
    "ip multicast or ip6 multicast",
    "ip[60000] = 1",
    "ip[2147483600:4] = 1",
    "tcp[40000] = 0 or udp[8:4] = 0x01010101",
    "(tcp port 443 or tcp port 8443) and not (src net 10.77.2.0/24 or dst host 192.0.2.7) and len < 400",
];

/// Packets that the expressions tell apart.
fn packets(raw: bool) -> Vec<Vec<u8>> {
    let bases = if raw {
        vec![Frame::raw()]
    } else {
        let ethernet = Frame::ethernet();
        vec![
            ethernet.clone(),
            ethernet.clone().vlan(0x8100, 100),
            ethernet.vlan(0x88a8, 200).vlan(0x8100, 100),
        ]
    };
    let mut packets = Vec::new();
    for base in bases {
        for (from, to) in [(40000, 443), (443, 40000), (8443, 50), (445, 447), (1, 2)] {
            packets.push(base.clone().ipv4().tcp(from, to).payload(&hello(60)).build());
            packets.push(base.clone().ipv6().tcp(from, to).payload(&hello(60)).build());
            packets.push(base.clone().ipv4().udp(from, to).payload(&[1; 30]).build());
            packets.push(base.clone().ipv6().udp(from, to).payload(&[1; 30]).build());
        }
        for set in [flags::SYN, flags::SYN | flags::ACK, flags::FIN | flags::ACK, flags::RST, 0] {
            packets.push(base.clone().ipv4().options(8).tcp(1, 443).flags(set).build());
            packets.push(base.clone().ipv6().tcp(1, 443).tcp_options(12).flags(set).build());
        }
        let ends = [([10, 77, 2, 9], [192, 0, 2, 7]), ([10, 9, 0, 9], [224, 0, 0, 1])];
        for (from, to) in ends {
            let frame = base.clone().ipv4().addresses(from, to).tcp(2, 8443);
            packets.push(frame.tcp_options(40).payload(&hello(400)).build());
        }
        let fragment = base.clone().ipv4().fragment(185, false).protocol(6);
        packets.push(fragment.payload(&hello(50)).build());
        packets.push(base.clone().ipv4().protocol(1).payload(&[8; 64]).build());
        packets.push(base.clone().ipv6().protocol(58).payload(&[128; 64]).build());
        packets.push(base.clone().ipv4().protocol(47).payload(&[0; 64]).build());
        let extended = base.clone().ipv6().extension(Extension::HopByHop(0));
        packets.push(extended.tcp(1, 443).payload(&hello(9)).build());
        packets.push(base.ipv4().tcp(3, 443).payload(&hello(2500)).build());
    }
    if !raw {
        let arp = Frame::ethernet().mac([2; 6], [0xff; 6]).ether_type(0x0806);
        packets.push(arp.payload(&[1; 46]).build());
        packets.push(Frame::ethernet().ether_type(0x8847).payload(&[0x45; 60]).build());
    }
    let small: Vec<_> = packets.iter().filter(|packet| packet.len() < 200).cloned().collect();
    for packet in small.iter().step_by(2) {
        // Cut short, as far down as test runs go, and with bytes that headers are sensitive to.
        packets.extend((15..packet.len()).step_by(3).map(|length| packet[..length].to_vec()));
        let ip = if raw { 0 } else { 14 };
        for (place, value) in
            [(0, 0x4f), (0, 0x46), (6, 0x1f), (8, 0), (9, 17), (32, 0xf0), (33, 0)]
        {
            let mut damaged = packet.clone();
            damaged[ip + place] = value;
            packets.push(damaged);
        }
    }
    packets
}

/// Frames of the corpus's captures, a few of each; none without it.
fn captured() -> Result<Vec<Vec<u8>>> {
    let Some(corpus) = corpus() else { return Ok(Vec::new()) };
    let mut frames = Vec::new();
    for entry in fs::read_dir(corpus.join("pcap"))? {
        let Ok(mut file) = CaptureFile::open(&entry?.path()) else { continue };
        let mut taken = 0;
        while let Ok(Some(frame)) = file.next() {
            let bytes = frame.packet.bytes;
            if frame.link == LinkLayer::Ethernet && (54..3000).contains(&bytes.len()) && taken < 3 {
                frames.push(bytes.to_vec());
                taken += 1;
            }
        }
    }
    Ok(frames)
}

fn bench(expression: &str, filter: PacketFilter) -> Result<Bench> {
    let expression = Some(Expression::new(expression)?);
    Bench::load(LoadOptions { filter, expression, xdp: true, ..LoadOptions::default() })
}

/// A link layer as each side knows it, and packets on it.
type Link = (LinkType, LinkLayer, i32, Vec<Vec<u8>>);

fn links() -> Result<[Link; 2]> {
    let (mut ethernet, raw) = (packets(false), packets(true));
    ethernet.extend(captured()?);
    // In fragments at XDP.
    let jumbo = Frame::ethernet().ipv4().tcp(40000, 443).payload(&hello(8000));
    ethernet.push(jumbo.build());
    Ok([
        (LinkType::Ethernet, LinkLayer::Ethernet, DLT_EN10MB, ethernet),
        (LinkType::RawIp, LinkLayer::RawIp, DLT_RAW, raw),
    ])
}

/// Every expression on every packet, translated for each context.
pub(crate) fn agree_with_libpcap() -> Result<()> {
    let load_bytes = is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes)?;
    let links = links()?;
    let (mut compared, mut matched, mut fragments) = (0_usize, 0_usize, 0_usize);
    for text in EXPRESSIONS {
        let expression = Expression::new(text)?;
        for (link_type, link, dlt, packets) in &links {
            let Ok(reference) = PcapFilter::new(text, *dlt) else {
                ensure!(expression.program(*link_type).is_err(), "{text}");
                continue;
            };
            let program = expression.program(*link_type).map_err(Clone::clone)?;
            let mut contexts = vec![Context::Skb];
            if *link == LinkLayer::Ethernet {
                contexts.push(Context::Xdp { load_bytes: false });
                contexts.extend(load_bytes.then_some(Context::Xdp { load_bytes: true }));
            }
            let mut alone = Vec::new();
            for context in contexts {
                let loaded = Alone::load(program, context);
                alone.push((context, loaded.with_context(|| format!("{text}, {context:?}"))?));
            }
            for packet in packets {
                let expected = reference.matches(packet, u32::try_from(packet.len())?)?;
                let start = packet.get(..100).unwrap_or(packet);
                let what = || format!("{text:?}, {expected}, {}: {start:02x?}", packet.len());
                let here = expression.matches(&CapturedPacket::from(&packet[..]), *link);
                ensure!(here == Ok(expected), "interpreter: {}", what());
                matched += usize::from(expected);
                for (context, alone) in &alone {
                    // Without the helper fragments are not there, and no kernel without it has them.
                    if *context == (Context::Xdp { load_bytes: false }) && packet.len() > 3000 {
                        continue;
                    }
                    let Some((kernel, _)) = alone.run(packet, 1)? else { continue };
                    ensure!(kernel == expected, "{context:?}: {}", what());
                    compared += 1;
                    fragments += usize::from(packet.len() > 4096);
                }
            }
        }
    }
    // What never or always matches would agree as well.
    ensure!(compared > 100_000 && matched > 5_000, "{compared} compared, {matched} matched");
    ensure!(!load_bytes || fragments > 0, "no packet in fragments was run");
    Ok(())
}

/// In the programs themselves, at each hook: what does not match is counted as filtered.
pub(crate) fn filter_at_each_hook() -> Result<()> {
    let links = links()?;
    for text in ["port 443 and (tcp[((tcp[12:1] & 0xf0) >> 2):1] = 0x16)", "greater 200 or ip6"] {
        let expression = Expression::new(text)?;
        let mut bench = bench(text, PacketFilter::default())?;
        let (mut wanted, mut compared) = (0_usize, 0_usize);
        for at in At::ALL {
            let [ethernet, raw] = &links;
            let (_, link, _, packets) = if at.is_raw() { raw } else { ethernet };
            for packet in packets.iter().filter(|packet| packet.len() >= 54) {
                let Some(seen) = bench.run_if_it_fits(at, packet)? else { continue };
                let captured = CapturedPacket::from(&packet[..]);
                let expected = expression.matches(&captured, *link).map_err(Clone::clone)?;
                let outcome = seen.outcome()?;
                ensure!(
                    (outcome != Counter::Filtered) == expected,
                    "{at:?}: {:02x?}",
                    &packet[..54]
                );
                wanted += usize::from(expected);
                compared += 1;
            }
        }
        ensure!(wanted > 50 && compared > 2 * wanted, "{text}: {wanted} of {compared}");
    }
    Ok(())
}

/// Captured shorter than it was: the bytes are not there, the length is.
pub(crate) fn cut_by_a_snaplen() -> Result<()> {
    for text in ["len > 500", "greater 200 and tcp", "ip[40] = 1", "less 100"] {
        let reference = PcapFilter::new(text, DLT_EN10MB)?;
        let expression = Expression::new(text)?;
        for packet in packets(false) {
            for captured in [0, 14, 40, packet.len()] {
                let bytes = &packet[..captured.min(packet.len())];
                let captured = CapturedPacket { bytes, wire_len: packet.len() };
                let expected = reference.matches(bytes, u32::try_from(packet.len())?)?;
                ensure!(
                    expression.matches(&captured, LinkLayer::Ethernet) == Ok(expected),
                    "{text}, {} of {}",
                    bytes.len(),
                    packet.len()
                );
            }
        }
    }
    Ok(())
}

/// The verifier accepts expressions with everything else on, and needs little more for them.
pub(crate) fn verifier_accepts_with_all_rules() -> Result<()> {
    // Some of all, and one that is nearly as long as may be.
    let many = bytes(180);
    let some = EXPRESSIONS.iter().copied().step_by(12);
    let texts: Vec<_> = some.chain(EXPRESSIONS.last().copied()).chain([&*many]).collect();
    for scope in [Scope::Connection] {
        let mut without = Bench::load(LoadOptions {
            filter: all_rules(scope),
            snaplen: config::MAX_SNAPLEN,
            xdp: true,
            ..LoadOptions::default()
        })?;
        for text in &texts {
            let mut bench = Bench::load(LoadOptions {
                filter: all_rules(scope),
                expression: Some(Expression::new(text)?),
                snaplen: config::MAX_SNAPLEN,
                xdp: true,
                ..LoadOptions::default()
            })
            .with_context(|| (*text).to_owned())?;
            for at in At::ALL {
                let counts = (without.verified_instructions(at)?, bench.verified_instructions(at)?);
                let (Some(before), Some(after)) = counts else { continue };
                if std::env::var_os("TLS_SNIFF_FIGURES").is_some() {
                    println!("{at:?} {scope:?} {before} {after} {text:.60}");
                }
                ensure!(after < before + 30_000, "{text}, {at:?}: {before} -> {after}");
            }
        }
    }
    Ok(())
}

/// So many loads, none of which libpcap can save. It takes longer over lists of ports than is right for a test.
fn bytes(count: usize) -> String {
    (1..=count).map(|at| format!("tcp[{at}] = {}", at % 256)).collect::<Vec<_>>().join(" or ")
}

pub(crate) fn faults_are_told() -> Result<()> {
    let long = bytes(400);
    match bench(&long, PacketFilter::default()) {
        Err(error) => match error.downcast_ref() {
            Some(error @ LoadError::LongExpression { len }) => {
                ensure!(*len > config::expression::CAPACITY);
                ensure!(error.to_string().contains(&len.to_string()), "{error}");
                ensure!(error.hint().contains("--net-file"));
            }
            _ => bail!("{error:#}"),
        },
        Ok(_) => bail!("400 loads fit"),
    }
    // Nothing matches where an expression says nothing.
    let expression = Expression::new("ether host 02:00:00:00:00:01")?;
    ensure!(expression.program(LinkType::RawIp).is_err());
    let mut bench = bench(expression.text(), PacketFilter::default())?;
    let packet = |base: Frame| base.ipv4().tcp(1, 443).payload(&hello(50)).build();
    bench.run(At::In, &packet(Frame::ethernet()))?.check(At::In, Counter::Emitted)?;
    bench.run(At::L3In, &packet(Frame::raw()))?.check(At::L3In, Counter::Filtered)
}
