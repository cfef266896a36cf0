//! Samples made by Wireshark's tools against what tshark says of them; `damage` has what goes wrong.

mod damage;

use std::io;

use super::*;

/// A sample and tshark's words for it: time, length, captured length, encapsulation, interface name,
/// direction; `-` for what tshark leaves out or calls unknown.
struct Sample {
    name: &'static str,
    bytes: &'static [u8],
    tshark: &'static str,
}

macro_rules! sample {
    ($name:literal, $tshark:expr) => {
        Sample {
            name: $name,
            bytes: include_bytes!(concat!("../../../../tests/captures/", $name)),
            tshark: $tshark,
        }
    };
}

const MICROSECONDS: &str = "1709210096.123456000 61 61 1 - -
                            1709210096.999999000 60 60 1 - -
                            2000000000.000000000 83 83 1 - -";
const NANOSECONDS: &str = "1709210096.123456789 61 61 1 - -
                           1709210096.999999999 60 60 1 - -
                           2000000000.000000001 83 83 1 - -";
const NAMED: &str = "1709210096.123456789 61 61 1 eth7 2
                     1709210096.999999999 60 60 1 eth7 1
                     2000000000.000000001 83 83 1 eth7 2";

/// In cooked captures the last column is from `sll.pkttype`: 4 is 2 here, 0 is 1. The two frames that
/// tshark has for the custom blocks of `sections.pcapng` and its three of link type 105 are left out;
/// it gives simple packets no time, which is 0 here.
const SAMPLES: [Sample; 14] = [
    sample!("us.pcap", MICROSECONDS),
    sample!("us-big-endian.pcap", MICROSECONDS),
    sample!("ns.pcap", NANOSECONDS),
    sample!("ns-big-endian.pcap", NANOSECONDS),
    sample!("modified.pcap", MICROSECONDS),
    sample!(
        "snaplen.pcap",
        "1709210096.123456000 61 60 1 - -
         1709210096.999999000 60 60 1 - -
         2000000000.000000000 83 60 1 - -"
    ),
    sample!(
        "raw.pcap",
        "1709210096.123456000 47 47 7 - -
         1709210096.999999000 46 46 7 - -
         2000000000.000000000 69 69 7 - -"
    ),
    sample!(
        "null.pcap",
        "1709210096.123456000 51 51 15 - -
         1709210096.999999000 50 50 15 - -
         2000000000.000000000 73 73 15 - -"
    ),
    sample!(
        "sll.pcap",
        "1709210096.123456789 63 63 25 - 2
         1709210096.999999999 62 62 25 - 1
         2000000000.000000001 85 85 25 - 2"
    ),
    sample!(
        "sll2.pcap",
        "1709210096.123456789 67 67 210 - 2
         1709210096.999999999 66 66 210 - 1
         2000000000.000000001 89 89 210 - 2"
    ),
    sample!("named.pcapng", NAMED),
    sample!("secrets.pcapng", NAMED),
    sample!(
        "interfaces.pcapng",
        "1709210096.123456789 61 61 1 eth7 2
         1709210096.999999999 60 60 1 eth7 1
         2000000000.000000001 83 83 1 eth7 2
         1709210096.123456789 67 67 210 - 2
         1709210096.999999999 66 66 210 - 1
         2000000000.000000001 89 89 210 - 2
         1709210096.123456000 47 47 7 - -
         1709210096.999999000 46 46 7 - -
         2000000000.000000000 69 69 7 - -"
    ),
    sample!(
        "sections.pcapng",
        "1700000000.500000000 61 61 1 wan 1
         1600000000.123456000 1060 60 1 - 2
         0.000000000 83 50 1 - -
         1699999995.123456789 61 61 1 wan 1
         1600000000.123456000 1060 60 1 - 2
         0.000000000 83 50 1 - -"
    ),
];

fn sample(name: &str) -> Vec<u8> {
    SAMPLES.iter().find(|sample| sample.name == name).unwrap().bytes.to_vec()
}

/// A pipe: few bytes at a time, and signals in between.
struct Trickle<'a> {
    data: &'a [u8],
    step: usize,
    interrupt: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let read = self.step.min(self.data.len()).min(space.len());
        space[..read].copy_from_slice(&self.data[..read]);
        self.data = &self.data[read..];
        Ok(read)
    }
}

/// What came of reading a file to its end.
struct Outcome {
    lines: Vec<String>,
    offsets: Vec<u64>,
    packets: Vec<Vec<u8>>,
    error: Option<CaptureError>,
    skipped: Vec<(u32, Option<&'static str>, u64)>,
    capacity: usize,
}

fn read_all<R: Read>(reader: R) -> Outcome {
    let mut file = CaptureFile::new(reader, "x.pcap".to_owned());
    let (mut lines, mut offsets, mut packets) = (Vec::new(), Vec::new(), Vec::new());
    let error = loop {
        match file.next() {
            Ok(Some(frame)) => {
                lines.push(line(&frame));
                offsets.push(frame.offset);
                packets.push(frame.packet.bytes.to_vec());
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(file.next(), Ok(None)), "after the end there is nothing");
    let skipped = file.skipped().collect();
    Outcome { lines, offsets, packets, error, skipped, capacity: file.input.capacity() }
}

fn line(frame: &Frame<'_>) -> String {
    let (seconds, ns) = (frame.timestamp_ns / 1_000_000_000, frame.timestamp_ns % 1_000_000_000);
    let encapsulation = match frame.link {
        LinkLayer::Ethernet => 1,
        LinkLayer::RawIp => 7,
        LinkLayer::BsdLoopback => 15,
        LinkLayer::LinuxSll => 25,
        LinkLayer::LinuxSll2 => 210,
    };
    let direction = match frame.direction {
        Direction::Unknown => "-",
        Direction::Ingress => "1",
        Direction::Egress => "2",
    };
    let (wire, captured) = (frame.packet.wire_len, frame.packet.bytes.len());
    let interface = frame.interface.unwrap_or("-");
    format!("{seconds}.{ns:09} {wire} {captured} {encapsulation} {interface} {direction}")
}

fn message(data: &[u8]) -> String {
    read_all(data).error.expect("an error").to_string()
}

/// `data` with the bytes at `offset` replaced.
fn patched(mut data: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
    data
}

#[test]
fn samples_are_read_as_tshark_reads_them() {
    for sample in SAMPLES {
        let expected: Vec<&str> = sample.tshark.lines().map(str::trim).collect();
        for step in [1, 7, usize::MAX] {
            let read = read_all(Trickle { data: sample.bytes, step, interrupt: false });
            assert!(read.error.is_none(), "{}: {:?}", sample.name, read.error);
            assert_eq!(read.lines, expected, "{} by {step}", sample.name);
        }
    }
}

#[test]
fn packets_are_the_same_in_all_formats() {
    let packets = read_all(sample("us.pcap").as_slice()).packets;
    for name in ["us-big-endian.pcap", "ns.pcap", "modified.pcap", "named.pcapng"] {
        assert_eq!(read_all(sample(name).as_slice()).packets, packets, "{name}");
    }
    let sections = read_all(sample("sections.pcapng").as_slice()).packets;
    let simple = packets[2][..50].to_vec();
    let expected = [packets[0].clone(), packets[1].clone(), simple];
    assert_eq!(sections, [expected.clone(), expected].concat());
}

#[test]
fn packets_of_other_link_types_are_counted() {
    let read = read_all(sample("interfaces.pcapng").as_slice());
    assert_eq!(read.skipped, [(105, Some("IEEE802_11"), 3)]);
}

#[test]
fn link_types_by_number() {
    let by_number = |field: u32| {
        let data = patched(sample("us.pcap"), 20, &field.to_le_bytes());
        let mut file = CaptureFile::new(data.as_slice(), String::new());
        let link = file.next().unwrap().map(|frame| frame.link);
        (link, file.skipped().collect::<Vec<_>>())
    };
    for raw in [12, 14, 101, 228, 229] {
        assert_eq!(by_number(raw), (Some(LinkLayer::RawIp), vec![]), "{raw}");
    }
    assert_eq!(by_number(108).0, Some(LinkLayer::BsdLoopback));
    // A frame check sequence of 4 bytes: the field's upper bits.
    assert_eq!(by_number(0x4400_0001).0, Some(LinkLayer::Ethernet));
    assert_eq!(by_number(150), (None, vec![(150, Some("USER"), 3)]));
    assert_eq!(by_number(9999), (None, vec![(9999, None, 3)]));
}

/// A pcapng section header and `interfaces` interface blocks with these options, little-endian.
fn section(interfaces: usize, options: &[u8]) -> Vec<u8> {
    let mut data = sample("sections.pcapng")[..28].to_vec();
    let len = u32::try_from(20 + options.len()).unwrap().to_le_bytes();
    for _ in 0..interfaces {
        data.extend([&[1, 0, 0, 0], &len[..], &[1, 0, 0, 0, 0, 0, 0, 0], options, &len].concat());
    }
    data
}

/// An enhanced packet of interface 0 without bytes.
fn packet_at(ticks: u64) -> Vec<u8> {
    let [high, low] = [(ticks >> 32) as u32, (ticks & 0xffff_ffff) as u32];
    [6, 32, 0, high, low, 0, 0, 32].into_iter().flat_map(u32::to_le_bytes).collect()
}

#[test]
fn times_out_of_range_are_the_nearest_in_range() {
    let time = |resolution: u8, offset: i64, ticks| {
        let options = [&[9, 0, 1, 0, resolution, 0, 0, 0, 14, 0, 8, 0], &offset.to_le_bytes()[..]];
        let data = [section(1, &options.concat()), packet_at(ticks)].concat();
        let mut file = CaptureFile::new(data.as_slice(), String::new());
        file.next().unwrap().unwrap().timestamp_ns
    };
    assert_eq!(time(0, 0, 5), 5_000_000_000);
    assert_eq!(time(0, 0, u64::MAX), i64::MAX);
    assert_eq!(time(9, i64::MIN, u64::MAX), i64::MIN);
    assert_eq!(time(9, -1, 999_999_999), -1);
    assert_eq!(time(0x80, 0, 3), 3_000_000_000);
    assert_eq!(time(0x81, 0, 3), 1_500_000_000);
    for beyond_all_ticks in [0x7f, 0xff, 39] {
        assert_eq!(time(beyond_all_ticks, 7, u64::MAX), 7_000_000_000);
    }
}

#[test]
fn interfaces_are_limited_in_number_and_name() {
    let read = read_all(section(MAX_INTERFACES, &[]).as_slice());
    assert!(read.error.is_none());
    let error = read_all(section(MAX_INTERFACES + 1, &[]).as_slice()).error.unwrap();
    assert_eq!(error.offset(), Some(28 + 20 * MAX_INTERFACES as u64));

    let name = [&[2, 0, 0x10, 0x27][..], &[b'a'; 10_000]].concat();
    let data = [section(1, &name), packet_at(0)].concat();
    let mut file = CaptureFile::new(data.as_slice(), String::new());
    assert_eq!(file.next().unwrap().unwrap().interface.map(str::len), Some(255));
}
