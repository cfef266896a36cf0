//! What the XDP program says of each packet on a tap.

use anyhow::{Result, ensure};
use tls_sniff::{filter::PacketFilter, load::LoadOptions};
use tls_sniff_common::counters::Counter;
use tls_sniff_tests::frame::{Frame, flags};

use crate::{
    bench::{At, Bench},
    hello,
};

/// On a tap nothing passes, what the filters leave out as little as what is emitted.
pub(crate) fn drops_whatever_it_is() -> Result<()> {
    const XDP_DROP: u32 = 1;
    let filter = PacketFilter { ports: vec!["!8443".parse()?], ..PacketFilter::default() };
    let options = LoadOptions { filter, xdp: true, tap: true, ..LoadOptions::default() };
    let mut bench = Bench::load(options)?;
    let tcp = |port| Frame::ethernet().ipv4().tcp(1, port);
    let cases = [
        (tcp(443).payload(&hello(500)), Counter::Emitted),
        (tcp(8443).payload(&hello(500)), Counter::Filtered),
        (tcp(443).flags(flags::ACK), Counter::NoPayload),
        (tcp(444).payload(b"not TLS at all"), Counter::NoRecord),
        (Frame::ethernet().ipv6().udp(1, 53).payload(&[0; 32]), Counter::NotTcp),
        (Frame::ethernet().ether_type(0x0806).payload(&[0; 46]), Counter::NotIp),
    ];
    for (frame, counter) in cases {
        let seen = bench.run(At::Xdp, &frame.build())?;
        ensure!(seen.verdict == XDP_DROP, "{counter:?}: verdict {}", seen.verdict);
        ensure!(seen.moved == [(Counter::Seen, 1), (counter, 1)], "{:?}", seen.moved);
    }
    Ok(())
}
