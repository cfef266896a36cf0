//! The recipe for logrotate, with logrotate itself.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    need::command,
    packet_socket::PacketSocket,
    poll,
    process::run,
    sniffer::Sniffer,
    veth::VethPair,
    workspace_root,
};

const SOON: Duration = Duration::from_secs(20);

/// Bytes of some events.
const SOME: u64 = 10_000;

/// More than are kept uncompressed.
const ROTATIONS: u16 = 5;

/// The recipe's configuration, for the files of `folder` and the process `id`.
fn recipe(folder: &Path, id: u32) -> Result<String> {
    let text = fs::read_to_string(workspace_root().join("docs/recipes.md"))?;
    let mut blocks = text.split("```").skip(1).step_by(2);
    let recipe = blocks.find(|block| block.contains("postrotate")).context("a recipe")?;
    let mut recipe = recipe.to_owned();
    for (theirs, ours) in [
        ("/var/log/tls-sniff/*.json", format!("{}/*.json", folder.display())),
        ("systemctl reload tls-sniff", format!("kill -HUP {id}")),
    ] {
        ensure!(recipe.contains(theirs), "{recipe}");
        recipe = recipe.replace(theirs, &ours);
    }
    Ok(recipe)
}

/// The ports of the hellos in all files, the oldest file first.
fn ports(file: &Path) -> Result<Vec<u64>> {
    let mut text = String::new();
    for generation in (2..=ROTATIONS).rev() {
        text +=
            &run(command("gzip").arg("-dc").arg(format!("{}.{generation}.gz", file.display())))?;
    }
    // Not compressed yet.
    text += &fs::read_to_string(file.with_extension("json.1"))?;
    text += &fs::read_to_string(file)?;
    let mut ports = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        // The last one is of statistics.
        ports.extend(event["source_port"].as_u64());
    }
    Ok(ports)
}

/// Hellos all the time, and logrotate again and again: each is in one of the files, whole and in its order.
pub(crate) fn renames() -> Result<()> {
    let pair = VethPair::new()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("events.json");
    let output = format!("file:{},events=client_hello", file.display());
    let arguments = ["-i", "veth-b", "--output", &output];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let config = dir.path().join("logrotate.conf");
    fs::write(&config, recipe(dir.path(), sniffer.id())?)?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let over = AtomicBool::new(false);
    let sent = thread::scope(|scope| -> Result<u16> {
        let sender = scope.spawn(|| -> Result<u16> {
            let mut port = 1000;
            while !over.load(Ordering::Relaxed) {
                port += 1;
                let frame = Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello());
                socket.send(&frame.build())?;
                thread::sleep(Duration::from_millis(2));
            }
            Ok(port)
        });
        let rotated = (|| {
            for _ in 0..ROTATIONS {
                poll::until(SOON, "events in the file", || {
                    fs::metadata(&file).is_ok_and(|file| file.len() > SOME).then_some(())
                })?;
                run(command("logrotate")
                    .arg("--force")
                    .arg("--state")
                    .arg(dir.path().join("state"))
                    .arg(&config))?;
            }
            Ok(())
        })();
        over.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("it does not panic");
        rotated.and(sent)
    })?;
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    let told = ports(&file)?;
    let all: Vec<u64> = (1001..=u64::from(sent)).collect();
    ensure!(told == all, "{} sent, {} told: {told:?}", all.len(), told.len());
    Ok(())
}
