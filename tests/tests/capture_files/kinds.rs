//! Formats and compressions, and what is in a file besides packets.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Result, ensure};
use tls_sniff::sink::{
    capture::{Capture, CaptureFormat, CaptureOptions, Packet},
    output::WhenFull,
};
use tls_sniff_common::flow::Direction;
use tls_sniff_tests::{need::command, process::run};

use super::{
    make::{Noise, SOON, block_fields, count, finish, frame, options, packet, silent, write},
    same,
};

const KINDS: [&str; 8] =
    ["x.pcapng", "x.pcapng.gz", "x.pcapng.zst", "x.pcap", "x.pcap.gz", "x.pcap.zst", "x.cap", "x"];

pub(super) fn every_kind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in KINDS {
        for packets in [0, 1, 5000] {
            let path = folder.path().join(name);
            write(options(&path), packets)?;
            same(name, &count(&path)?, &packets)?;
        }
    }
    let types = run(command("capinfos").args(["-T", "-r", "-t"]).arg(folder.path().join("x.cap")))?;
    ensure!(types.contains("nsecpcap"), "{types}");
    Ok(())
}

pub(super) fn libpcap() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in ["x.pcapng", "x.pcap"] {
        let path = folder.path().join(name);
        write(options(&path), 10)?;
        let lines = run(command("tcpdump").arg("-r").arg(&path).args(["-n", "-tt", "--nano"]))?;
        same(name, &lines.lines().count(), &10)?;
        ensure!(lines.starts_with("1700000000.123456789 IP "), "{lines}");
    }
    Ok(())
}

pub(super) fn compressed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, tool) in [("x.gz", "gzip"), ("x.zst", "zstd")] {
        let path = folder.path().join(name);
        let counters = write(options(&path), 20_000)?;
        silent(command(tool).args(["-q", "-t"]).arg(&path))?;
        let len = path.metadata()?.len();
        same("bytes", &counters.bytes, &len)?;
        ensure!(len < 1_000_000, "{name}: {len} bytes for 5 MB");
        // More than a reader's buffers hold.
        let (mut capture, mut noise) =
            (Capture::start(options(&path), WhenFull::Wait)?, Noise::new());
        for _ in 0..20_000 {
            capture.packet(&packet(noise.next()));
        }
        finish(capture)?;
        same(name, &count(&path)?, &20_000)?;
        silent(command(tool).args(["-q", "-t"]).arg(&path))?;
    }
    Ok(())
}

pub(super) fn packets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.pcapng");
    let frame = frame();
    let (ip, giant) = (&frame[14..], vec![0x45; 300_000]);
    let comments = ["one".to_owned(), "zwei – 2".to_owned()];
    let mut capture = Capture::start(options(&path), WhenFull::Wait)?;
    let first = Packet { comments: &comments, wire_len: 9000, ..packet(&frame) };
    capture.packet(&first);
    capture.packet(&Packet { offloaded_vlan: Some((0x8100, 7)), comments: &[], ..first });
    let raw = Packet { link_type: 101, interface: None, direction: Direction::Egress, ..first };
    capture.packet(&Packet { interface_index: 9, comments: &comments[..1], bytes: ip, ..raw });
    let long = ["x".repeat(70_000)];
    let unknown = Direction::Unknown;
    capture.packet(&Packet { bytes: &giant, direction: unknown, comments: &long, ..raw });
    finish(capture)?;
    let fields = [
        "frame.comment",
        "frame.interface_name",
        "frame.interface_id",
        "frame.time_epoch",
        "frame.packet_flags_direction",
        "frame.encap_type",
        "frame.len",
        "frame.cap_len",
        "vlan.id",
        "tcp.dstport",
    ];
    let mut tshark = command("tshark");
    tshark.arg("-r").arg(&path).args(["-T", "fields"]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let rows = silent(&mut tshark)?;
    let rows: Vec<String> = rows.lines().map(|row| row.replace('\t', "|")).collect();
    let time = "1700000000.123456789";
    let expected = [
        format!("one,zwei – 2|eth7|0|{time}|0x00000001|1|9000|254||443"),
        format!("|eth7|0|{time}|0x00000001|1|9004|258|7|443"),
        format!("one|unknown|1|{time}|0x00000002|7|9000|240||443"),
        format!("{}|unknown|2|{time}||7|262144|262144||", &long[0][..65_535]),
    ];
    for (row, expected) in rows.iter().zip(&expected) {
        same("row", row, expected)?;
    }
    same("rows", &rows.len(), &expected.len())
}

pub(super) fn blocks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.pcapng");
    let frame = frame();
    let mut capture = Capture::start(options(&path), WhenFull::Drop)?;
    for (interface_index, name) in [(7, "eth7"), (7, "eth7"), (8, "eth8")] {
        capture.packet(&Packet { interface_index, interface: Some(name), ..packet(&frame) });
    }
    let (_, result) = capture.finish(17, SOON);
    result?;
    let system = run(command("uname").arg("-sr"))?;
    let system = system.trim();
    let fields = [
        ("options.option.data.user_application", "tls-sniff 0.1.0".to_owned()),
        ("options.option.data.os", system.to_owned()),
        ("options.option.data.interface.name", "eth7,eth8".to_owned()),
        ("options.option.data.interface.os", format!("{system},{system}")),
        ("options.option.data.interface.filter.type", "0,0".to_owned()),
        ("options.option.data.interface.filter.string", "tcp port 443,tcp port 443".to_owned()),
        ("options.option.data.interface.received", "2,1".to_owned()),
        ("options.option.data.interface.dropped", "0,0".to_owned()),
        ("options.option.data.interface.accepted_by_filter", "2,1".to_owned()),
        ("options.option.data.interface.dropped_by_os", "17,0".to_owned()),
        ("options.option.data.interface.delivered_to_user", "2,1".to_owned()),
    ];
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    for (seen, (name, expected)) in block_fields(&path, &names)?.iter().zip(&fields) {
        same(name, seen, expected)?;
    }
    let infos = silent(command("capinfos").arg(&path))?;
    ensure!(infos.contains("Filter string = tcp port 443"), "{infos}");
    Ok(())
}

/// A line of a key log whose random is this digit.
fn secret(digit: &str) -> String {
    format!("CLIENT_RANDOM {} {}\n", digit.repeat(64), "0a".repeat(48))
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What tshark knows of the embedded secrets.
fn embedded(path: &Path) -> Result<String> {
    Ok(block_fields(path, &["dsb.secrets_data"])?.concat())
}

pub(super) fn secrets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.pcapng");
    let keylog = folder.path().join("keys");
    let mut keys = fs::File::create(&keylog)?;
    let [first, second, third] = ["a", "b", "c"].map(secret);
    write!(keys, "# by a client\n{first}password: 1\n")?;
    let frame = frame();
    let options =
        CaptureOptions { keylog: Some(keylog), rotate_bytes: Some(100_000), ..options(&path) };
    let mut capture = Capture::start(options, WhenFull::Wait)?;
    let mut batch = |packets| {
        for _ in 0..packets {
            capture.packet(&packet(&frame));
        }
        capture.flush();
        let written =
            || Some(()).filter(|()| capture.counters().written == capture.counters().taken);
        tls_sniff_tests::poll::until(SOON, "the packets to be written", written)
    };
    batch(1)?;
    write!(keys, "{second}{}", &third[..50])?;
    batch(1)?;
    write!(keys, "{}", &third[50..])?;
    // Enough for a second file.
    batch(500)?;
    // What comes after the last packet is not left out.
    let last = secret("d");
    write!(keys, "{last}")?;
    finish(capture)?;
    let [one, two] = ["x_00001.pcapng", "x_00002.pcapng"].map(|name| folder.path().join(name));
    same("packets", &(count(&one)? + count(&two)?), &502)?;
    let separate = [&first, &second, &third].map(|line| hex(line)).join(",");
    same("first file", &embedded(&one)?, &separate)?;
    let together = hex(&[first, second, third].concat());
    same("second file", &embedded(&two)?, &format!("{together},{}", hex(&last)))
}

/// What a packet costs when buffers have their size.
pub(super) fn allocations() -> Result<()> {
    let frame = frame();
    let comments = ["a comment".to_owned()];
    let packet = Packet { comments: &comments, ..packet(&frame) };
    let null =
        CaptureOptions { format: Some(CaptureFormat::PcapNg), ..options("/dev/null".as_ref()) };
    let mut capture = Capture::start(null, WhenFull::Wait)?;
    let mut run = |packets: u64| {
        let measured = allocation_counter::measure(|| {
            for _ in 0..packets {
                capture.packet(&packet);
            }
        });
        measured.count_total
    };
    // At most the queue's buffers are made, each by a few allocations.
    run(100_000);
    let (packets, made) = (300_000, run(300_000));
    let counters = finish(capture)?;
    same("written", &counters.written, &counters.taken)?;
    ensure!(made < 3000, "{made} allocations for {packets} packets");
    Ok(())
}
