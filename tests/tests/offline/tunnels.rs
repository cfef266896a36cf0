//! Tunnels and shims, against tshark.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use tls_sniff_tests::{
    frame::client_hello,
    pcap::{link_type::ETHERNET, pcap},
    tshark, tunnel,
};

use super::read;

/// Innermost addresses and ports of hellos in tunnels.
pub(crate) fn as_tshark() -> Result<()> {
    let frames = tunnel::frames(&client_hello());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tunnels.pcap");
    let timed = frames.iter().map(|frame| (Duration::ZERO, frame.bytes.clone()));
    fs::write(&path, pcap(ETHERNET, timed))?;
    let stopped = read(&path)?;
    let hellos: Vec<(String, u64)> = stopped
        .events
        .iter()
        .filter(|event| event["event"] == "client_hello")
        .map(|event| {
            let address = event["source_address"].as_str().unwrap_or_default();
            (address.to_owned(), event["source_port"].as_u64().unwrap_or_default())
        })
        .collect();
    let rows = tshark::rows(&path, "tls.handshake.type == 1", &["ip.src", "tcp.srcport"])?;
    let last = |list: &str| list.rsplit(',').next().unwrap_or_default().to_owned();
    let expected: Vec<(String, u64)> = rows
        .iter()
        .map(|row| Ok((last(&row[0]), last(&row[1]).parse()?)))
        .collect::<Result<_>>()?;
    let names: Vec<_> = frames.iter().map(|frame| (frame.name, frame.port)).collect();
    ensure!(hellos == expected, "{hellos:?}\ntshark: {expected:?}\n{names:?}");
    ensure!(hellos.len() == frames.len(), "{hellos:?} of {names:?}");
    Ok(())
}
