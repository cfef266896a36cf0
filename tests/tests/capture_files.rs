//! Capture files, as Wireshark's tools and libpcap read them: every kind, rotation under load, a full
//! disk, pipes.

use std::{env, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    need::Need,
    runner::{self, test},
};

#[path = "capture_files/disk.rs"]
mod disk;
#[path = "capture_files/kinds.rs"]
mod kinds;
#[path = "capture_files/make.rs"]
mod make;
#[path = "capture_files/rotation.rs"]
mod rotation;
#[path = "capture_files/stream.rs"]
mod stream;

const WIRESHARK: &[Need] = &[Need::Tool("tshark"), Need::Tool("capinfos")];
const COMPRESSORS: &[Need] =
    &[Need::Tool("tshark"), Need::Tool("capinfos"), Need::Tool("gzip"), Need::Tool("zstd")];
const FULL_DISK: &[Need] = &[
    Need::Tool("tshark"),
    Need::Tool("capinfos"),
    Need::Tool("zstd"),
    Need::Root,
    Need::Tool("mount"),
];

fn main() -> ExitCode {
    if env::var_os(stream::WRITES_STDOUT).is_some() {
        return stream::write_stdout();
    }
    runner::main(vec![
        test("every_kind_is_read_without_a_warning", WIRESHARK, kinds::every_kind),
        test("libpcap_reads_them", &[Need::Tool("tcpdump")], kinds::libpcap),
        test("compressed_files_are_whole", COMPRESSORS, kinds::compressed),
        test("packets_as_tshark_shows_them", WIRESHARK, kinds::packets),
        test("blocks_as_tshark_shows_them", WIRESHARK, kinds::blocks),
        test("secrets_come_before_their_packets", WIRESHARK, kinds::secrets),
        test("no_allocation_for_a_packet", &[], kinds::allocations),
        test("files_by_size_lose_nothing", WIRESHARK, rotation::by_size),
        test("a_ring_keeps_the_last_files", WIRESHARK, rotation::ring),
        test("files_by_time_lose_nothing", WIRESHARK, rotation::by_time),
        test("losses_stand_once_in_a_set_of_files", WIRESHARK, rotation::losses),
        test("a_full_disk_leaves_whole_files", FULL_DISK, disk::full),
        test("a_full_disk_and_rotation", FULL_DISK, disk::full_and_rotation),
        test("stdout_is_read_at_once", WIRESHARK, stream::at_once),
        test("a_reader_that_goes_away_is_no_error", &[], stream::reader_gone),
        test("a_named_pipe_is_a_stream", WIRESHARK, stream::named_pipe),
    ])
}

/// Fails unless the two are the same; both are shown.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, expected: &T) -> Result<()> {
    ensure!(seen == expected, "{what}: {seen:?}, not {expected:?}");
    Ok(())
}

/// The last word of `text` as a number.
fn last_number(text: &str) -> Result<u64> {
    text.split_whitespace()
        .last()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("a number at the end of {text:?}"))
}
