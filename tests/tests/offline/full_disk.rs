//! A capture onto a disk that is too small for it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    capture::{capinfos_count, packets, tshark_count},
    need::command,
    pcap::{link_type, pcap},
    sniffer::{Sniffer, binary},
};

use super::{SOON, handshakes};

/// A capture of 64 KiB for each of these times.
const TIMES: u64 = 60;

/// The same four handshakes again and again, each time half an hour later.
pub(crate) fn repeated(times: u64) -> Result<Vec<u8>> {
    let frames = packets(&handshakes())?;
    let at = |number: u64| Duration::from_micros(number * 100);
    let repeated = (0..times).flat_map(|time| {
        let later = Duration::from_secs(time * 1800);
        (0..).zip(&frames).map(move |(number, frame)| (later + at(number), frame.clone()))
    });
    Ok(pcap(link_type::ETHERNET, repeated))
}

/// What fits is in the file, in whole blocks; the rest is counted and said, and the events are as ever. The run has
/// failed.
pub(crate) fn full_disk() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let long = dir.path().join("long.pcap");
    fs::write(&long, repeated(TIMES)?)?;
    for name in ["x.pcapng", "x.pcap", "x.pcapng.gz"] {
        let (disk, kept) = (dir.path().join("disk"), dir.path().join(name));
        fs::create_dir_all(&disk)?;
        // The mount goes with the namespace, so the file is copied out of it.
        let script = format!(
            "mount -t tmpfs -o size=64k none {disk} && {binary} -r {long} --payload-len 0.. \
             --events handshake --format json -w {disk}/{name}; \
             code=$?; cp {disk}/{name} {kept}; exit $code",
            disk = disk.display(),
            binary = binary()?.display(),
            long = long.display(),
            kept = kept.display(),
        );
        let mut command = command("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let stopped = Sniffer::spawn(command)?.finish(SOON)?;
        stopped.check_sums().with_context(|| format!("{name}: {:?}", stopped.stderr))?;
        let log = stopped.stderr.join("\n");
        let capture = &stopped.stats()?["capture"];
        let count = |field: &str| capture[field].as_u64().context("a count");
        let (written, lost) = (count("written")?, count("dropped_disk")?);
        ensure!(written + lost == count("packets")?, "{name}: {capture}");
        ensure!(written > 100 && lost > 100, "{name}: {capture}");
        ensure!(log.contains("No space left on device"), "{name}: {log}");
        ensure!(stopped.status.code() == Some(1), "{name}: {:?} {log}", stopped.status);
        let totals = format!("not written: {lost} that the disk refused");
        ensure!(log.matches(&totals).count() == 1, "{name}: {log}");
        let failed =
            format!("cannot write to {}/{name}: No space left", dir.path().join("disk").display());
        ensure!(log.matches(&failed).count() == 1 && log.contains("hint: make space"), "{log}");
        ensure!(stopped.stderr.len() <= 6, "{name}: {log}");
        let in_file = tshark_count(&kept)?;
        ensure!(in_file as u64 == written, "{name}: {in_file}, counted {written}");
        ensure!(capinfos_count(&kept)? == written, "{name}");
        let told = stopped.events.iter().filter(|event| event["event"] == "handshake").count();
        ensure!(told as u64 == 4 * TIMES, "{name}: {told} handshakes told");
    }
    Ok(())
}
