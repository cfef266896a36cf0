//! Sets of files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tls_sniff::{
    clock::Timestamp,
    sink::{
        capture::{Capture, CaptureOptions, Packet},
        output::WhenFull,
    },
    source::file::CaptureFile,
};

use super::{
    make::{block_fields, counted, finish, frame, options, packet, write},
    same,
};

const PACKETS: u64 = 300_000;

/// The files of a folder by name, and their packets.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.into_iter().map(|path| counted(&path).map(|packets| (path, packets))).collect()
}

fn sum(files: &[(PathBuf, u64)]) -> u64 {
    files.iter().map(|(_, packets)| packets).sum()
}

pub(super) fn by_size() -> Result<()> {
    for (name, limit) in [("x.pcapng", 10_000_000), ("x.pcap", 10_000_000), ("x.pcapng.zst", 3_000)]
    {
        let folder = tempfile::tempdir()?;
        let rotate_bytes = Some(limit);
        let options = CaptureOptions { rotate_bytes, ..options(&folder.path().join(name)) };
        let counters = write(options, PACKETS)?;
        let files = files(folder.path())?;
        same("written", &counters.written, &PACKETS)?;
        same("packets in files", &sum(&files), &PACKETS)?;
        same("files", &counters.files, &(files.len() as u64))?;
        ensure!(files.len() > 2, "{files:?}");
        for (path, _) in &files[..files.len() - 1] {
            let len = path.metadata()?.len();
            ensure!(len > limit && len < limit + limit / 2, "{}: {len}", path.display());
        }
    }
    Ok(())
}

pub(super) fn ring() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = CaptureOptions {
        rotate_bytes: Some(5_000_000),
        files: Some(11),
        ..options(&folder.path().join("x.pcapng"))
    };
    let frame = frame();
    let mut capture = Capture::start(options, WhenFull::Wait)?;
    for number in 0..PACKETS {
        let timestamp = Timestamp(i64::try_from(number)?);
        capture.packet(&Packet { timestamp, ..packet(&frame) });
    }
    let counters = finish(capture)?;
    same("written", &counters.written, &PACKETS)?;
    let files = files(folder.path())?;
    let name = |number: usize| folder.path().join(format!("x_{number:02}.pcapng"));
    same(
        "names",
        &files.iter().map(|(path, _)| path.clone()).collect(),
        &(0..11).map(name).collect::<Vec<_>>(),
    )?;
    ensure!(counters.files > 11, "{counters:?}");
    // What is there is the end of the capture, without a gap.
    let mut times = Vec::new();
    for (path, _) in &files {
        let mut file = CaptureFile::open(path)?;
        while let Some(frame) = file.next()? {
            times.push(u64::try_from(frame.timestamp_ns)?);
        }
    }
    same("packets by capinfos", &sum(&files), &(times.len() as u64))?;
    times.sort_unstable();
    let begin = PACKETS - times.len() as u64;
    ensure!(times.len() as u64 > PACKETS / 2, "{}", times.len());
    ensure!(times.iter().copied().eq(begin..PACKETS), "a gap or something twice");
    Ok(())
}

pub(super) fn by_time() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = CaptureOptions {
        rotate_seconds: Some(1),
        ..options(&folder.path().join("x-%Y-%s.pcapng.gz"))
    };
    let frame = frame();
    let mut capture = Capture::start(options, WhenFull::Drop)?;
    let begin = Instant::now();
    let mut packets = 0;
    while begin.elapsed() < Duration::from_millis(3500) {
        for _ in 0..10 {
            capture.packet(&Packet { timestamp: Timestamp::now(), ..packet(&frame) });
        }
        packets += 10;
        capture.flush();
        std::thread::sleep(Duration::from_millis(1));
    }
    let counters = finish(capture)?;
    let files = files(folder.path())?;
    same("taken", &counters.taken, &packets)?;
    same("packets in files", &sum(&files), &(packets - counters.dropped_queue))?;
    ensure!(files.len() >= 4 && files[..4].iter().all(|(_, packets)| *packets > 0), "{files:?}");
    Ok(())
}

/// What the kernel lost stands in the file that was at hand then; over all files it is the sum.
pub(super) fn losses() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options =
        CaptureOptions { rotate_bytes: Some(1), ..options(&folder.path().join("x.pcapng")) };
    let frame = frame();
    let mut capture = Capture::start(options, WhenFull::Wait)?;
    for drops in [3, 3, 10] {
        capture.packet(&packet(&frame));
        capture.flush();
        let written = || (capture.counters().written == capture.counters().taken).then_some(());
        tls_sniff_tests::poll::until(super::make::SOON, "the packet to be written", written)?;
        capture.kernel_drops(drops);
    }
    let (_, result) = capture.finish(12, super::make::SOON);
    result?;
    let mut told = Vec::new();
    for (path, _) in files(folder.path())? {
        told.extend(block_fields(&path, &["options.option.data.interface.dropped_by_os"])?);
    }
    same("losses", &told, &["3", "0", "9"].map(str::to_owned).to_vec())
}
