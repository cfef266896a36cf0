//! Disks without space: a tmpfs of 256 KiB in a mount namespace of the test's own.

use std::{fs, path::Path, thread};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use tls_sniff::sink::{
    capture::{Capture, CaptureCounters, CaptureOptions},
    output::WhenFull,
};
use tls_sniff_tests::{need::command, poll, process::run};

use super::{
    make::{Noise, SOON, check_sum, count, finish_with_losses, options, packet, silent},
    same,
};

/// Runs `test` in a small file system that goes away with its thread.
fn on_small_disk(test: impl FnOnce(&Path) -> Result<()> + Send) -> Result<()> {
    let folder = tempfile::tempdir()?;
    thread::scope(|scope| {
        let in_namespace = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS)?;
            run(command("mount").args(["--make-rprivate", "/"]))?;
            run(command("mount")
                .args(["-t", "tmpfs", "-o", "size=256k", "tls-sniff-test"])
                .arg(folder.path()))?;
            test(folder.path())
        });
        in_namespace.join().expect("the test does not panic")
    })
}

/// Hands over packets in batches of `packets`, each when the one before is settled, until `enough`.
fn capture_until(
    capture: &mut Capture,
    packets: u32,
    enough: impl Fn(&CaptureCounters) -> bool,
) -> Result<()> {
    let mut noise = Noise::new();
    for _ in 0..10_000 {
        if enough(&capture.counters()) {
            return Ok(());
        }
        for _ in 0..packets {
            capture.packet(&packet(noise.next()));
        }
        capture.flush();
    }
    let counters = capture.counters();
    anyhow::bail!("not enough: {counters:?}")
}

fn settled(capture: &Capture) -> Result<CaptureCounters> {
    poll::until(SOON, "all packets to be written or lost", || {
        let counters = capture.counters();
        check_sum(&counters).ok().map(|()| counters)
    })
}

pub(super) fn full() -> Result<()> {
    for name in ["x.pcapng", "x.pcap", "x.pcapng.gz", "x.pcapng.zst"] {
        on_small_disk(|disk| full_once(disk, name)).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn full_once(disk: &Path, name: &str) -> Result<()> {
    let path = disk.join(name);
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![0; 128 * 1024])?;
    let mut capture = Capture::start(options(&path), WhenFull::Wait)?;
    capture_until(&mut capture, 10, |counters| counters.dropped_disk > 1000)?;
    // Nobody writes while it is read.
    let full = settled(&capture)?;
    ensure!(full.written > 200, "{full:?}");
    let (len, readable) = (path.metadata()?.len(), count(&path)?);
    same("packets in the full file", &readable, &full.written)?;
    fs::remove_file(&ballast)?;
    capture_until(&mut capture, 10, |counters| counters.written > full.written + 100)?;
    let counters = finish_with_losses(capture)?;
    ensure!(path.metadata()?.len() > len, "the same file goes on");
    let packets = if name.ends_with("zst") {
        // What follows a loss is a frame of its own, in which Wireshark 4.0 may lose its way.
        let plain = tempfile::NamedTempFile::new()?;
        silent(command("zstd").args(["-q", "-d", "-f"]).arg(&path).arg("-o").arg(plain.path()))?;
        count(plain.path())?
    } else {
        count(&path)?
    };
    same("packets in the file", &packets, &counters.written)?;
    ensure!(counters.dropped_disk > 0 && counters.dropped_queue == 0, "{counters:?}");
    Ok(())
}

/// The disk is full when the next file begins, header and all.
pub(super) fn full_and_rotation() -> Result<()> {
    on_small_disk(|disk| {
        let ballast = disk.join("ballast");
        let options =
            CaptureOptions { rotate_bytes: Some(60_000), ..options(&disk.join("x.pcapng")) };
        let mut capture = Capture::start(options, WhenFull::Wait)?;
        capture_until(&mut capture, 10, |counters| counters.dropped_disk > 1000)?;
        fs::write(&ballast, vec![0; 1024]).err().context("a full disk")?;
        let full = settled(&capture)?;
        // The first file is copied away.
        fs::remove_file(disk.join("x_00001.pcapng"))?;
        capture_until(&mut capture, 10, |counters| counters.written > full.written + 50)?;
        let counters = finish_with_losses(capture)?;
        let mut readable = 0;
        for entry in fs::read_dir(disk)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "pcapng") {
                readable += count(&path)?;
            }
        }
        let in_first = counters.written - readable;
        ensure!(in_first > 100 && in_first < 300, "{in_first} packets were in the first file");
        ensure!(counters.files > 3, "{counters:?}");
        silent(command("capinfos").arg(disk.join("x_00002.pcapng")))?;
        Ok(())
    })
}
