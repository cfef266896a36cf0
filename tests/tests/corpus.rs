//! Whole hellos of the corpus against its ground truth, which tshark made: names, versions, suites and
//! fingerprints. What tls-sniff cannot see whole yet (segments, tunnels) only lowers the number of hellos
//! that are compared, which has a floor.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tls_sniff_tests::{
    need::{Need, corpus},
    runner::{self, test},
    sniffer::{Sniffer, binary},
};

fn main() -> ExitCode {
    runner::main(vec![test("whole_hellos_agree_with_tshark", &[Need::Corpus], whole_hellos)])
}

/// Kind, sender and receiver.
type Key = (String, [String; 4]);

fn key(row: &Value, kind: &str, names: [&str; 4]) -> Key {
    let text = |name: &str| row[name].to_string().trim_matches('"').to_owned();
    (row[kind].as_str().unwrap_or_default().to_owned(), names.map(text))
}

/// The hellos of a capture that were seen whole, by kind, sender and receiver.
fn hellos(capture: &Path) -> Result<HashMap<Key, Vec<Value>>> {
    let mut command = Command::new(binary()?);
    command.args(["--format", "json", "--payload-bytes", "16384", "-r"]).arg(capture);
    let stopped = Sniffer::spawn(command)?.finish(Duration::from_secs(60))?;
    let mut hellos: HashMap<Key, Vec<Value>> = HashMap::new();
    let names = ["source_address", "source_port", "destination_address", "destination_port"];
    for event in stopped.events {
        let whole = event.get("partial").is_none() && event.get("malformed").is_none();
        if whole && event["event"].as_str().is_some_and(|kind| kind.ends_with("_hello")) {
            hellos.entry(key(&event, "event", names)).or_default().push(event);
        }
    }
    Ok(hellos)
}

fn whole_hellos() -> Result<()> {
    let folder = corpus().context("the corpus")?;
    let mut compared: HashMap<&str, usize> = HashMap::new();
    for entry in fs::read_dir(folder.join("truth"))? {
        let truth = entry?.path();
        let name = truth.file_stem().context("a name")?;
        let hellos = hellos(&folder.join("pcap").join(name))?;
        for row in fs::read_to_string(&truth)?.lines() {
            let row: Value = serde_json::from_str(row)?;
            let Some(ours) = hellos.get(&key(&row, "kind", ["src", "sport", "dst", "dport"]))
            else {
                continue;
            };
            for field in ["sni", "ja3", "ja4", "ja3s"] {
                if row[field].is_null() {
                    continue;
                }
                let agrees = ours.iter().any(|hello| hello[field] == row[field]);
                ensure!(agrees, "{}: {field} is {}, not {ours:#?}", name.display(), row[field]);
                *compared.entry(field).or_default() += 1;
            }
        }
    }
    // Of 929 ClientHellos and 843 ServerHellos.
    for (field, floor) in [("sni", 750), ("ja3", 810), ("ja4", 810), ("ja3s", 830)] {
        let count = compared.get(field).copied().unwrap_or_default();
        ensure!(count >= floor, "only {count} hellos with {field}");
    }
    Ok(())
}
