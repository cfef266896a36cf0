//! Files that are cut off, damaged, no captures, or anything at all.

use proptest::prelude::*;

use super::*;

/// Where the parts of a sample start, and its end.
fn boundaries(data: &[u8]) -> Vec<usize> {
    let word = |at: usize, little: bool| {
        let bytes = data[at..at + 4].try_into().unwrap();
        (if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }) as usize
    };
    let pcapng = data[0] == 0x0a;
    let mut little = data[1] != 0xb2;
    let record_header = if data[0] == 0x34 { 24 } else { 16 };
    let (mut at, mut found) = (0, vec![0]);
    while at < data.len() {
        if data[at..].starts_with(b"\n\r\r\n") {
            little = data[at + 8] == 0x4d;
        }
        at += match (pcapng, at) {
            (true, _) => word(at + 4, little),
            (false, 0) => 24,
            (false, _) => record_header + word(at + 8, little),
        };
        found.push(at);
    }
    found
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_packets_and_the_place() {
    for sample in SAMPLES {
        let (whole, boundaries) = (read_all(sample.bytes), boundaries(sample.bytes));
        assert_eq!(boundaries.last(), Some(&sample.bytes.len()));
        for cut in 0..sample.bytes.len() {
            let read = read_all(&sample.bytes[..cut]);
            let start = *boundaries.iter().rfind(|start| **start <= cut).unwrap();
            let complete = whole.offsets.iter().filter(|offset| **offset < start as u64).count();
            assert_eq!(read.lines, whole.lines[..complete], "{} cut at {cut}", sample.name);
            match read.error.map(|error| error.fault) {
                Some(Fault::Empty) => assert_eq!(cut, 0),
                Some(Fault::Unknown { .. }) => assert!((1..4).contains(&cut)),
                Some(Fault::CutOff { offset, there, expected, .. }) => {
                    assert_eq!((offset, there), (start as u64, cut - start), "{}", sample.name);
                    assert!(there < expected);
                }
                None => assert!(cut == start && cut > 0, "{} cut at {cut}", sample.name),
                Some(other) => panic!("{} cut at {cut}: {other}", sample.name),
            }
        }
    }
}

#[test]
fn a_cut_file_is_described_in_one_line() {
    let (pcap, pcapng) = (sample("us.pcap"), sample("named.pcapng"));
    for (data, expected) in [
        (&pcap[..20], "of the file header at byte 0 only 20 of 24 bytes are there"),
        (&pcap[..110], "of the packet record's header at byte 101 only 9 of 16 bytes are there"),
        (&pcap[..150], "of the packet record at byte 101 only 49 of 76 bytes are there"),
        (&pcapng[..250], "of the block's header at byte 244 only 6 of 12 bytes are there"),
        (
            &pcapng[..300],
            "of the block of type 0x00000006 at byte 244 only 56 of 108 bytes are there",
        ),
    ] {
        let cut = data.len();
        let expected =
            format!("x.pcap: cut off at byte {cut}: {expected}; what stands before it was read");
        assert_eq!(message(data), expected);
    }
}

#[test]
fn damage_is_described_with_its_place() {
    let (pcap, pcapng) = (sample("us.pcap"), sample("named.pcapng"));
    let sections = sample("sections.pcapng");
    let damaged = |offset, what: &str| {
        format!("x.pcap: damaged at byte {offset}: {what}; what stands before it was read")
    };
    let max = "more than the 16777216 that a packet or block may have";
    for (data, expected) in [
        (
            patched(pcap.clone(), 109, &[0xff; 4]),
            damaged(101, &format!("a length of 4294967311 bytes, {max}")),
        ),
        (patched(pcap.clone(), 4, &[1]), damaged(0, "pcap version 1.4 is not supported")),
        (
            patched(pcap, 0, &[0xa1, 0xb2, 0xcd, 0x34]),
            damaged(
                0,
                "modified pcap (magic a1b2cd34) is only supported in little-endian byte order",
            ),
        ),
        (
            patched(pcapng.clone(), 248, &[8, 0, 0, 0]),
            damaged(244, "a block length of 8, which is below 12 or no multiple of 4"),
        ),
        (
            patched(pcapng.clone(), 248, &[109, 0, 0, 0]),
            damaged(244, "a block length of 109, which is below 12 or no multiple of 4"),
        ),
        (
            patched(pcapng.clone(), 248, &[0, 0, 0, 0x10]),
            damaged(244, &format!("a length of 268435456 bytes, {max}")),
        ),
        (
            patched(pcapng.clone(), 348, &[107]),
            damaged(244, "the block starts with a length of 108 and ends with a length of 107"),
        ),
        (
            patched(pcapng.clone(), 264, &[200]),
            damaged(244, "the block of type 0x00000006 is too short for what it says it holds"),
        ),
        (
            patched(pcapng.clone(), 252, &[1]),
            damaged(244, "a packet of interface 1, but the section describes 1"),
        ),
        (
            patched(pcapng.clone(), 8, &[0; 4]),
            damaged(0, "a section header without byte-order magic"),
        ),
        (patched(pcapng, 12, &[2]), damaged(0, "pcapng version 2.0 is not supported")),
        (
            patched(sections.clone(), 292, &[0xff; 4]),
            damaged(272, "the block of type 0x00000002 is too short for what it says it holds"),
        ),
        (
            [&sections[..28], &sections[400..468]].concat(),
            damaged(28, "a packet of interface 0, but the section describes 0"),
        ),
    ] {
        assert_eq!(message(&data), expected);
    }
}

#[test]
fn what_is_no_capture_is_said_so() {
    let unknown = "not a capture file that tls-sniff knows: it starts with";
    let known = "known are pcap and pcapng";
    let convert = Some("editcap FILE NEW.pcapng converts other formats");
    let empty = "the file is empty; a capture without packets has at least a header".to_owned();
    for (data, expected, hint) in [
        (&b""[..], empty, None),
        (b"Hello, world", format!("{unknown} 48 65 6c 6c 6f 2c 20 77; {known}"), convert),
        (b"\n", format!("{unknown} 0a; {known}"), convert),
    ] {
        let error = read_all(data).error.unwrap();
        assert_eq!((error.to_string(), error.hint()), (format!("x.pcap: {expected}"), hint));
    }
}

#[test]
fn compressed_captures_are_recognised() {
    for (data, format, tool) in [
        (&[0x1f, 0x8b, 8, 0][..], "gzip", "zcat"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 4], "zstd", "zstdcat"),
        (b"\xfd7zXZ\0", "xz", "xzcat"),
        (&[4, 0x22, 0x4d, 0x18, 0], "lz4", "lz4cat"),
        (b"BZh9", "bzip2", "bzcat"),
    ] {
        let error = read_all(data).error.unwrap();
        assert_eq!(error.to_string(), format!("x.pcap: compressed with {format}"));
        let hint = format!("decompress it first: {tool} FILE | tls-sniff -r -");
        assert_eq!(error.hint(), Some(hint.as_str()));
    }
}

#[test]
fn files_that_cannot_be_opened_or_read() {
    let error = CaptureFile::open(Path::new("/nonexistent/x.pcap")).err().unwrap().to_string();
    assert!(
        error.starts_with("/nonexistent/x.pcap: cannot open the file: No such file"),
        "{error}"
    );
    let error = CaptureFile::open(Path::new("/")).unwrap().next().unwrap_err().to_string();
    assert!(error.starts_with("/: cannot read at byte 0: Is a directory"), "{error}");
}

#[test]
fn a_read_that_fails_is_reported_after_the_packets_before_it() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let data = sample("us.pcap");
    let read = read_all(data[..180].chain(Fails));
    assert_eq!(read.lines.len(), 2);
    let error = read.error.unwrap();
    assert_eq!(error.offset(), Some(180));
    assert_eq!(error.to_string(), "x.pcap: cannot read at byte 180: the disk is gone");
}

#[test]
fn memory_follows_what_is_there_not_what_is_claimed() {
    // A packet of nearly 16 MiB, of which 60 bytes are there.
    let claimed = patched(sample("us.pcap"), 109, &[0, 0, 0xff, 0]);
    let read = read_all(claimed.as_slice());
    assert!(matches!(read.error.unwrap().fault, Fault::CutOff { expected: 0xff_0010, .. }));
    assert_eq!(read.capacity, 65_536);

    let sample = sample("us.pcap");
    let many = [sample[..24].to_vec(), sample[24..].repeat(10_000)].concat();
    let read = read_all(Trickle { data: &many, step: 4_093, interrupt: false });
    assert_eq!((read.lines.len(), read.error.is_none(), read.capacity), (30_000, true, 65_536));
}

#[test]
fn a_packet_longer_than_the_first_buffer_is_read() {
    let sample = sample("us.pcap");
    let packet: Vec<u8> = (0..1_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let header = patched(sample[..40].to_vec(), 32, &1_000_000_u32.to_le_bytes());
    let data = [header, packet.clone(), sample[24..].to_vec()].concat();
    let read = read_all(Trickle { data: &data, step: 10_007, interrupt: false });
    assert_eq!((read.packets.len(), &read.packets[0]), (4, &packet));
}

fn check_any(data: &[u8], step: usize) {
    let read = read_all(Trickle { data, step, interrupt: false });
    // No record is shorter than 12 bytes, and no more is kept than there was, or one chunk.
    assert!(read.lines.len() <= data.len() / 12);
    assert!(read.capacity <= (2 * data.len()).max(65_536));
    if let Some(error) = read.error {
        assert!(error.offset().unwrap_or(0) <= data.len() as u64);
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

proptest! {
    #[test]
    fn any_bytes_behind_any_header(
        index in 0..SAMPLES.len(),
        keep in 0_usize..64,
        tail in prop::collection::vec(any::<u8>(), 0..512),
        step in 1_usize..64,
    ) {
        let header = &SAMPLES[index].bytes[..keep];
        check_any(&[header, &tail].concat(), step);
    }

    #[test]
    fn mutated_samples(
        index in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        step in 1_usize..512,
    ) {
        let mut data = SAMPLES[index].bytes.to_vec();
        for (place, value) in changes {
            let place = place.index(data.len());
            data[place] = value;
        }
        check_any(&data, step);
    }
}
