//! What filters cost a packet in the kernel.

use anyhow::Result;
use tls_sniff::{
    filter::{PacketFilter, expression::Expression},
    load::LoadOptions,
};
use tls_sniff_tests::{
    figures::{Spread, Table, progress},
    frame::{Frame, client_hello},
};

use crate::{
    Settings,
    rig::{At, Rig},
};

/// As many hellos as the ring has room for.
const REPEAT: u32 = 10_000;

/// A prefix for each number, all different; IPv4 and IPv6 in turn.
pub(crate) fn prefixes(count: u32) -> Vec<String> {
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

fn rig(filter: PacketFilter, expression: Option<&str>) -> Result<Rig> {
    let expression = expression.map(Expression::new).transpose()?;
    Rig::load(LoadOptions { filter, expression, ..LoadOptions::default() })
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    let host = "10.77.1.1";
    let all = |count| prefixes(count).into_iter().chain([host.to_owned()]);
    let flags = PacketFilter { ports: vec!["!8443".parse()?], ..networks([host.to_owned()])? };
    let mut filters = [
        ("none", rig(PacketFilter::default(), None)?),
        ("--host, 1 prefix", rig(networks(all(0))?, None)?),
        ("--net, 10,001 prefixes", rig(networks(all(10_000))?, None)?),
        ("--host X -p '!8443'", rig(flags, None)?),
        ("'host X and not port 8443'", {
            let expression = format!("host {host} and not port 8443");
            rig(PacketFilter::default(), Some(&expression))?
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
    let rounds = settings.pick(15, 2);
    println!(
        "Times no filter, {rounds} rounds by turns, median (min…max); in brackets CPU ns a packet.\n"
    );
    for at in [At::In, At::Xdp] {
        progress(&format!("filters: {}", at.name()));
        let mut times = vec![vec![Vec::new(); packets.len()]; filters.len()];
        for _ in 0..rounds {
            for (row, (_, rig)) in times.iter_mut().zip(&mut filters) {
                for (cell, (_, packet)) in row.iter_mut().zip(&packets) {
                    let time = rig.test_run(at, &packet.build(), REPEAT)?;
                    rig.drain();
                    cell.push(time.as_secs_f64() * 1e9 / f64::from(REPEAT));
                }
            }
        }
        let heads = [at.name()].into_iter().chain(packets.iter().map(|(what, _)| *what));
        let mut table = Table::new(&heads.collect::<Vec<_>>());
        for ((name, _), row) in filters.iter().zip(&times) {
            let mut cells = vec![(*name).to_owned()];
            for (cell, none) in row.iter().zip(&times[0]) {
                let own: Spread = cell.iter().copied().collect();
                cells.push(format!("{} [{:.0}]", Spread::ratios(cell, none).show(2), own.median()));
            }
            table.row(&cells);
        }
        println!("{table}");
    }
    Ok(())
}
