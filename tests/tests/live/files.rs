//! Outputs into files that refuse what comes.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    packet_socket::PacketSocket,
    poll,
    sniffer::Sniffer,
    veth::VethPair,
};

const SOON: Duration = Duration::from_secs(20);

/// Sends a hello from each of these ports, one after the other.
fn send(
    pair: &VethPair,
    sniffer: &mut Sniffer,
    ports: std::ops::RangeInclusive<u16>,
) -> Result<()> {
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    for port in ports {
        let frame = Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello());
        socket.send(&frame.build())?;
        sniffer.wait_for(SOON, |event| event["source_port"] == port)?;
    }
    Ok(())
}

/// How many lines of the log have these words.
fn count(log: &[String], words: &str) -> usize {
    log.iter().filter(|line| line.contains(words)).count()
}

/// An output that loses all: the first loss is said, and how many it were when a reload takes the output away, and at
/// the end, which is not well.
pub(crate) fn losses_are_summed_up() -> Result<()> {
    const READ: &str = "the configuration was read again";
    let pair = VethPair::new()?;
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("config.toml");
    let link = dir.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &link)?;
    let link = link.display();
    let stays = format!(
        "events = [\"client_hello\"]\n[[output]]\nto = \"stdout\"\n[[output]]\nto = \"file:{link}\"\n"
    );
    fs::write(&config, format!("{stays}[[output]]\nto = \"file:/dev/full\"\n"))?;
    let arguments = ["-i", "veth-b", "--format", "json", "--config", &config.to_string_lossy()];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    send(&pair, &mut sniffer, 1..=3)?;
    fs::write(&config, &stays)?;
    sniffer.signal(Signal::SIGHUP)?;
    for words in ["WARN /dev/full: 3 events were lost in all", READ] {
        poll::until(SOON, words, || (count(&sniffer.stderr(), words) == 1).then_some(()))
            .with_context(|| sniffer.stderr().join("\n"))?;
    }
    send(&pair, &mut sniffer, 4..=5)?;
    let stopped = sniffer.stop()?;
    stopped.check_sums()?;
    let log = &stopped.stderr;
    ensure!(stopped.status.code() == Some(1), "{log:#?}");
    ensure!(count(log, "events were lost in all") == 2, "{log:#?}");
    for words in [
        format!("{link}: 5 events were lost in all"),
        format!("cannot write to file:{link}: No space left"),
    ] {
        ensure!(count(log, &words) == 1, "{words}: {log:#?}");
    }
    Ok(())
}

/// Whoever removes a file, or its directory with it, has no file any more to which events could go on: behind the
/// sandbox the file can be made again, and a directory that is new not be written.
pub(crate) fn removed() -> Result<()> {
    let pair = VethPair::new()?;
    let dir = tempfile::tempdir()?;
    let (directory, file) = (dir.path().join("d"), dir.path().join("d/e.json"));
    fs::create_dir(&directory)?;
    let output = format!("file:{},max-size=1G", file.display());
    let arguments = [
        &["-i", "veth-b", "--format", "json", "--events", "client_hello"][..],
        &["--output", "stdout", "--output", &output],
    ];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments.concat())?;
    sniffer.ready()?;
    send(&pair, &mut sniffer, 1..=2)?;
    let lines = |expected: usize| {
        poll::until(SOON, "lines in the file", || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            (text.lines().count() == expected).then_some(())
        })
    };
    lines(2)?;
    fs::remove_file(&file)?;
    send(&pair, &mut sniffer, 3..=3)?;
    lines(1)?;
    ensure!(count(&sniffer.stderr(), "e.json was removed: events go on into a new file") == 1);
    fs::remove_dir_all(&directory)?;
    fs::create_dir(&directory)?;
    sniffer.signal(Signal::SIGHUP)?;
    let asked =
        "e.json: it was removed and cannot be opened again: Permission denied (os error 13)";
    let said = |sniffer: &Sniffer, words: &str| {
        poll::until(SOON, words, || (count(&sniffer.stderr(), words) == 1).then_some(()))
            .with_context(|| sniffer.stderr().join("\n"))
    };
    said(&sniffer, asked)?;
    send(&pair, &mut sniffer, 4..=6)?;
    let stopped = sniffer.stop()?;
    stopped.check_sums()?;
    let log = &stopped.stderr;
    ensure!(stopped.status.code() == Some(1), "{log:#?}");
    ensure!(count(log, "restart tls-sniff") == 3, "{log:#?}");
    ensure!(count(log, "e.json: 3 events were lost in all") == 1, "{log:#?}");
    let outputs = stopped.stats()?["outputs"].as_array().context("outputs")?;
    let of_file = outputs.last().context("a file")?;
    ensure!(of_file["written"] == 3 && of_file["lost_write"] == 3, "{of_file}");
    ensure!(!file.exists());
    Ok(())
}
