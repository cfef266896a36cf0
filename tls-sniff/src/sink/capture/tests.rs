//! What goes in comes out of our own reader; queue, end and errors. What Wireshark's tools make of the
//! files is tested with the tools.

use std::{fs, io::Read, path::Path};

use proptest::prelude::*;
use tls_sniff_common::headers::LinkLayer;

use super::{queue::QUEUE_LEN, *};
use crate::source::file::CaptureFile;

const SOON: Duration = Duration::from_secs(20);

/// Between two looks at a thread.
const PAUSE: Duration = Duration::from_millis(5);

fn options(path: &Path) -> CaptureOptions {
    CaptureOptions {
        path: path.to_owned(),
        application: "tls-sniff test".to_owned(),
        ..CaptureOptions::default()
    }
}

pub(super) fn packet(bytes: &[u8]) -> Packet<'_> {
    Packet {
        timestamp: Timestamp(1_700_000_000_123_456_789),
        interface_index: 2,
        interface: Some("eth7"),
        link_type: 1,
        direction: Direction::Ingress,
        offloaded_vlan: None,
        bytes,
        wire_len: u32::try_from(bytes.len()).unwrap(),
        comments: &[],
    }
}

/// The counters of a capture that ended without an error.
fn finish(capture: Capture) -> CaptureCounters {
    let (counters, result) = capture.finish(0, SOON);
    result.unwrap();
    assert_eq!(counters.on_their_way(), 0, "{counters:?}");
    counters
}

fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let mut plain = Vec::new();
    match path.extension().and_then(|end| end.to_str()) {
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        }
        Some("zst") => zstd::stream::copy_decode(bytes.as_slice(), &mut plain).unwrap(),
        _ => plain = bytes,
    }
    plain
}

/// A packet as both sides know it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    time: i64,
    link_type: u32,
    interface: Option<String>,
    direction: Direction,
    wire_len: u32,
    bytes: Vec<u8>,
}

fn read(path: &Path) -> Vec<Seen> {
    let plain = unpacked(path);
    let mut file = CaptureFile::new(plain.as_slice(), path.display().to_string());
    let mut seen = Vec::new();
    while let Some(frame) = file.next().unwrap() {
        seen.push(Seen {
            time: frame.timestamp_ns,
            link_type: if frame.link == LinkLayer::Ethernet { 1 } else { 101 },
            interface: frame.interface.map(str::to_owned),
            direction: frame.direction,
            wire_len: u32::try_from(frame.packet.wire_len).unwrap(),
            bytes: frame.packet.bytes.to_vec(),
        });
    }
    seen
}

fn seen() -> impl Strategy<Value = Seen> {
    let direction =
        prop_oneof![Just(Direction::Unknown), Just(Direction::Ingress), Just(Direction::Egress)];
    let name = prop_oneof![Just(None), "[a-z]{1,15}".prop_map(Some)];
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    (0..i64::MAX, prop_oneof![Just(1), Just(101)], name, direction, 0..3000_u32, bytes).prop_map(
        |(time, link_type, interface, direction, wire_len, bytes)| {
            let wire_len = wire_len.max(u32::try_from(bytes.len()).unwrap());
            Seen { time, link_type, interface, direction, wire_len, bytes }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read(
        packets in prop::collection::vec((seen(), any::<bool>()), 0..50),
        snaplen in prop_oneof![Just(0), 1..200_u32],
        comments in prop::collection::vec(".{0,20}", 0..3),
        ending in prop_oneof![Just("pcapng"), Just("pcapng.gz"), Just("pcapng.zst")],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x").with_extension(ending);
        let options = CaptureOptions { snaplen, ..options(&path) };
        let kept = options.snaplen() as usize;
        let mut capture = Capture::start(options, WhenFull::Wait).unwrap();
        for (seen, flush) in &packets {
            capture.packet(&Packet {
                timestamp: Timestamp(seen.time),
                interface: seen.interface.as_deref(),
                link_type: seen.link_type,
                direction: seen.direction,
                wire_len: seen.wire_len,
                comments: &comments,
                ..packet(&seen.bytes)
            });
            if *flush {
                capture.flush();
            }
        }
        let counters = finish(capture);
        prop_assert_eq!(counters.written, packets.len() as u64);
        prop_assert_eq!(counters.bytes, fs::metadata(&path).unwrap().len());
        let expected: Vec<Seen> = packets
            .into_iter()
            .map(|(mut seen, _)| {
                seen.bytes.truncate(kept);
                seen
            })
            .collect();
        prop_assert_eq!(read(&path), expected);
    }
}

#[test]
fn offloaded_tags_are_put_back_and_then_the_packet_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcapng");
    let frame: Vec<u8> = (0..60).collect();
    let options = CaptureOptions { snaplen: 20, ..options(&path) };
    let mut capture = Capture::start(options, WhenFull::Wait).unwrap();
    let tagged = Packet { offloaded_vlan: Some((0x88a8, 0x6007)), ..packet(&frame) };
    capture.packet(&tagged);
    capture.packet(&Packet { link_type: 101, ..tagged });
    capture.packet(&Packet { bytes: &frame[..11], ..tagged });
    finish(capture);
    let read = read(&path);
    let expected = [&frame[..12], &[0x88, 0xa8, 0x60, 0x07], &frame[12..16]].concat();
    assert_eq!((&read[0].bytes, read[0].wire_len), (&expected, 64));
    assert_eq!((&read[1].bytes[..], read[1].wire_len), (&frame[..20], 60));
    assert_eq!((&read[2].bytes[..], read[2].wire_len), (&frame[..11], 60));
}

#[test]
fn a_pcap_file_has_one_link_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcap");
    let mut capture = Capture::start(options(&path), WhenFull::Wait).unwrap();
    for link_type in [101, 1, 101] {
        capture.packet(&Packet { link_type, ..packet(&[0x45; 20]) });
    }
    let counters = finish(capture);
    assert_eq!((counters.taken, counters.written, counters.other_link_type), (3, 2, 1));
    let read = read(&path);
    assert_eq!(read.iter().map(|seen| seen.link_type).collect::<Vec<_>>(), [101, 101]);
    assert_eq!(read[0].time, 1_700_000_000_123_456_789);
}

#[test]
fn files_that_cannot_be_written_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let start = |path: &Path| Capture::start(options(path), WhenFull::Wait).err().unwrap();
    let missing = start(&folder.path().join("no/x.pcapng"));
    assert_eq!(missing.hint(), "its directory must exist: mkdir -p makes it");
    let directory = start(folder.path());
    assert_eq!(directory.hint(), "name a file in that directory");
    let full = start(Path::new("/dev/full"));
    assert_eq!(
        full.to_string(),
        "cannot write to /dev/full: No space left on device (os error 28)"
    );
    let keylog = Some(folder.path().join("keys"));
    let options = CaptureOptions { keylog, ..options(&folder.path().join("x.pcapng")) };
    let no_keys = Capture::start(options, WhenFull::Wait).err().unwrap();
    assert!(no_keys.to_string().starts_with("cannot read the key log"), "{no_keys}");
}

#[test]
fn files_follow_one_another_by_size_and_by_the_time_of_packets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x-%s.pcapng");
    let options = CaptureOptions { rotate_seconds: Some(10), files: Some(3), ..options(&path) };
    let mut capture = Capture::start(options, WhenFull::Wait).unwrap();
    for second in [1000, 1009, 1010, 1005, 1035, 1039, 1040, 1041] {
        let timestamp = Timestamp(second * 1_000_000_000);
        capture.packet(&Packet { timestamp, ..packet(&[0; 60]) });
    }
    let counters = finish(capture);
    assert_eq!((counters.taken, counters.written, counters.after_end), (8, 6, 2));
    assert_eq!(counters.files, 3);
    let times = |name: &str| -> Vec<i64> {
        let read = read(&folder.path().join(name));
        read.iter().map(|seen| seen.time / 1_000_000_000).collect()
    };
    assert_eq!(times("x-1000.pcapng"), [1000, 1009]);
    assert_eq!(times("x-1010.pcapng"), [1010, 1005]);
    assert_eq!(times("x-1030.pcapng"), [1035, 1039]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_file_that_cannot_be_opened_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let options = CaptureOptions { rotate_bytes: Some(1), ..options(&inner.join("x.pcapng")) };
    let mut capture = Capture::start(options, WhenFull::Wait).unwrap();
    let mut one = |seconds: i64| {
        capture.packet(&Packet { timestamp: Timestamp(seconds), ..packet(&[0; 60]) });
        capture.flush();
        let deadline = Instant::now() + SOON;
        while capture.counters().on_their_way() > 0 {
            assert!(Instant::now() < deadline, "{:?}", capture.counters());
            thread::sleep(PAUSE);
        }
        let CaptureCounters { written, dropped_disk, files, .. } = capture.counters();
        (written, dropped_disk, files)
    };
    assert_eq!(one(1), (1, 0, 1));
    fs::remove_dir_all(&inner).unwrap();
    assert_eq!(one(2), (1, 1, 1));
    assert_eq!(one(3), (1, 2, 1));
    fs::create_dir(&inner).unwrap();
    assert_eq!(one(4), (2, 2, 2));
    assert_eq!(read(&inner.join("x_00002.pcapng"))[0].time, 4);
    // It goes on, but packets are missing.
    let (counters, result) = capture.finish(0, SOON);
    assert_eq!(counters.dropped_disk, 2);
    assert!(matches!(result, Err(SaveError::Open { .. })), "{result:?}");
}

#[test]
fn time_ends_a_live_file_without_packets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcapng");
    let options = CaptureOptions { rotate_seconds: Some(1), files: Some(2), ..options(&path) };
    let mut capture = Capture::start(options, WhenFull::Drop).unwrap();
    let deadline = Instant::now() + SOON;
    while !capture.is_closed() {
        assert!(Instant::now() < deadline, "two files of a second");
        thread::sleep(PAUSE);
    }
    capture.packet(&packet(&[0; 60]));
    let counters = finish(capture);
    assert_eq!((counters.files, counters.after_end), (2, 1));
    for name in ["x_00001.pcapng", "x_00002.pcapng"] {
        assert_eq!(read(&folder.path().join(name)), []);
    }
}

#[test]
fn a_reader_that_stands_still_costs_counted_packets_and_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Linux opens a pipe for both at once.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // It is sixteen pages long, whatever a page is, so that elsewhere than on x86 more packets would fit.
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 16)).unwrap();
    let mut capture = Capture::start(options(&path), WhenFull::Drop).unwrap();
    let bytes = vec![0; 60_000];
    let room = (QUEUE_LEN / bytes.len()) as u64;
    for _ in 0..2 * room {
        capture.packet(&packet(&bytes));
        capture.flush();
    }
    let dropped = capture.counters().dropped_queue;
    assert!((room - 8..=room + 1).contains(&dropped), "{dropped}");
    let (counters, result) = capture.finish(0, Duration::from_millis(50));
    assert!(matches!(result, Err(SaveError::Stalled { .. })), "{result:?}");
    assert_eq!(counters.on_their_way(), 0);
    drop(reader);
}

#[test]
fn a_thread_that_died_is_no_good_end() {
    let (finished, done) = mpsc::sync_channel(1);
    let (queue, thread) = queue();
    let mut capture = Capture {
        path: "x.pcapng".into(),
        snaplen: 100,
        when_full: WhenFull::Drop,
        queue,
        batch: Batch::new(),
        taken: 0,
        shared: Arc::default(),
        done,
    };
    capture.packet(&packet(&[0; 60]));
    drop((thread, finished));
    let (counters, result) = capture.finish(0, SOON);
    assert!(result.unwrap_err().to_string().contains("has died"));
    assert_eq!((counters.taken, counters.dropped_queue), (1, 1));
}
