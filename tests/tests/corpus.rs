//! The corpus of real captures against its ground truth, which tshark made: what tls-sniff finds, field by
//! field, by the corpus's own scorer. tests/corpus-differences.md explains each difference that is left.

use std::{
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

#[path = "corpus/differences.rs"]
mod differences;
#[path = "corpus/neutral.rs"]
mod neutral;

use neutral::Numbers;

fn main() -> ExitCode {
    runner::main(vec![test("scored_against_tshark", &[Need::Corpus], scored_against_tshark)])
}

/// The rows of a capture.
fn rows(numbers: &Numbers, capture: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new(binary()?);
    command.args(["--quiet", "--format", "json", "--read"]).arg(capture);
    let stopped = Sniffer::spawn(command)?.finish(Duration::from_secs(60))?;
    // A capture that ends inside a packet is reported by exit code 1, after its rows.
    let rows = stopped.events.iter().filter_map(|event| numbers.row(event).transpose());
    rows.collect::<Result<_>>().with_context(|| capture.display().to_string())
}

fn scored_against_tshark() -> Result<()> {
    let folder = corpus().context("the corpus")?;
    let scratch = tempfile::tempdir()?;
    let [truth, candidate] = ["truth", "candidate"].map(|name| scratch.path().join(name));
    fs::create_dir(&truth)?;
    fs::create_dir(&candidate)?;
    let numbers = Numbers::new();
    let mut rows_wanted = 0;
    for entry in fs::read_dir(folder.join("truth"))? {
        let wanted = entry?.path();
        let name = wanted.file_name().context("a name")?;
        let capture = folder.join("pcap").join(wanted.file_stem().context("a stem")?);
        let text = fs::read_to_string(&wanted)?;
        let mut wanted: Vec<Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mut found = rows(&numbers, &capture)?;
        let file = capture.file_name().context("a name")?.to_string_lossy();
        rows_wanted += wanted.len();
        differences::take_out(&file, &mut wanted, &mut found)?;
        write(&truth.join(name), &wanted)?;
        write(&candidate.join(name), &found)?;
    }
    // A list that grows until everything agrees would say nothing.
    ensure!(differences::COUNT * 50 < rows_wanted, "{} differences", differences::COUNT);
    let score = Command::new("python3")
        .arg(folder.join("score.py"))
        .args([&truth, &candidate])
        .arg("--list")
        .output()?;
    let told = String::from_utf8_lossy(&score.stdout);
    ensure!(score.status.success(), "{told}");
    eprintln!("{told}");
    Ok(())
}

fn write(path: &Path, rows: &[Value]) -> Result<()> {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(path, lines).with_context(|| path.display().to_string())
}
