//! Tunnels and shims, against tshark.

use std::fs;

use anyhow::{Result, ensure};
use tls_sniff_tests::tunnel;

use super::{read, tshark};

/// Innermost addresses and ports of hellos in tunnels.
pub(crate) fn as_tshark() -> Result<()> {
    // The body of a hello of TLS 1.2 without extensions.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([0x5a; 32]);
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    let frames = tunnel::frames(&hello);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tunnels.pcap");
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 1 << 18, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in &frames {
        let length = u32::try_from(frame.bytes.len())?;
        for word in [0, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&frame.bytes);
    }
    fs::write(&path, file)?;
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
    let rows = tshark(&path, "tls.handshake.type == 1", &["ip.src", "tcp.srcport"])?;
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
