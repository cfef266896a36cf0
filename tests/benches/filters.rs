//! What filters cost a packet in the kernel, through BPF_PROG_TEST_RUN: `cargo bench -p tls-sniff-tests --bench filters`, as root.
//!
//! Rows are to be compared with each other, not with another machine: all of them run in turn, several rounds, and the
//! least of each is shown.

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions};
use tls_sniff::{
    filter::{PacketFilter, expression::Expression},
    load::{LoadOptions, Programs, load},
};
use tls_sniff_common::{flow::Hook, headers::LinkLayer};
use tls_sniff_tests::frame::{Frame, client_hello};

const ROUNDS: usize = 15;
const REPEAT: u32 = 20_000;

/// A prefix for each number, all different; IPv4 and IPv6 in turn.
fn prefixes(count: u32) -> Vec<String> {
    let prefix = |number: u32| match number % 2 {
        0 => format!("172.{}.{}.0/24", 16 + (number >> 9), (number >> 1) & 255),
        _ => format!("fd77:{number:x}::/32"),
    };
    (0..count).map(prefix).collect()
}

fn networks(rules: impl IntoIterator<Item = String>) -> Result<PacketFilter> {
    let networks = rules.into_iter().map(|rule| Ok(rule.parse()?)).collect::<Result<_>>()?;
    Ok(PacketFilter { networks, ..PacketFilter::default() })
}

fn programs(filter: PacketFilter, expression: Option<&str>) -> Result<Programs> {
    let expression = expression.map(Expression::new).transpose()?;
    Ok(load(&LoadOptions { filter, expression, xdp: true, ..LoadOptions::default() })?)
}

fn nanoseconds(programs: &mut Programs, xdp: bool, packet: &[u8]) -> Result<u128> {
    let options =
        || TestRunOptions { data_in: Some(packet), repeat: REPEAT, ..TestRunOptions::default() };
    let run = if xdp {
        programs.xdp()?.test_run(options())?
    } else {
        programs.tc(LinkLayer::Ethernet, Hook::TcIngress)?.test_run(options())?
    };
    Ok(run.duration.as_nanos())
}

fn main() -> Result<()> {
    // `cargo test --benches` only asks whether it runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let host = "10.77.1.1";
    let all = |count| prefixes(count).into_iter().chain([host.to_owned()]);
    let flags = PacketFilter { ports: vec!["!8443".parse()?], ..networks([host.to_owned()])? };
    let mut filters = [
        ("none", programs(PacketFilter::default(), None)?),
        ("--host, 1 prefix", programs(networks(all(0))?, None)?),
        ("--net, 10,001 prefixes", programs(networks(all(10_000))?, None)?),
        ("--host X -p '!8443'", programs(flags, None)?),
        ("'host X and not port 8443'", {
            let expression = format!("host {host} and not port 8443");
            programs(PacketFilter::default(), Some(&expression))?
        }),
    ];
    let tcp = |from, to| Frame::ethernet().ipv4().tcp(from, to);
    let bulk = [0x5a; 1400];
    let packets = [
        ("bulk", tcp(40000, 443).payload(&bulk)),
        (
            "bulk of another host",
            tcp(1, 2).addresses([192, 0, 2, 1], [192, 0, 2, 2]).payload(&bulk),
        ),
        ("hello of another host", {
            tcp(1, 2).addresses([192, 0, 2, 1], [192, 0, 2, 2]).payload(&client_hello())
        }),
        ("UDP", Frame::ethernet().ipv4().udp(1, 443).payload(&[1; 30])),
    ];
    print!("{:28}", "ns a packet (ratio to none)");
    packets.iter().for_each(|(what, _)| print!("  {what:>22}"));
    println!();
    for xdp in [false, true] {
        println!("{}", if xdp { "XDP" } else { "TC" });
        let mut least = vec![vec![u128::MAX; packets.len()]; filters.len()];
        for _ in 0..ROUNDS {
            for (row, (_, programs)) in least.iter_mut().zip(&mut filters) {
                for (cell, (_, packet)) in row.iter_mut().zip(&packets) {
                    *cell = nanoseconds(programs, xdp, &packet.build())?.min(*cell);
                }
            }
        }
        let none = least.first().context("a row")?.clone();
        for ((name, _), row) in filters.iter().zip(&least) {
            print!("  {name:26}");
            for (cell, none) in row.iter().zip(&none) {
                let hundredths = cell * 100 / none.max(&1);
                print!("  {cell:>13} ({}.{:02})   ", hundredths / 100, hundredths % 100);
            }
            println!();
        }
    }
    Ok(())
}
