//! What each profile of `--json-profile` writes of a bundled capture, to the byte.
//!
//! When a change is wanted: `TLS_SNIFF_GOLDEN=write cargo test -p tls-sniff-tests --test profiles`, and look at
//! the difference.

use std::{fs, process::Command, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tls_sniff_tests::{
    runner::{self, test},
    schema,
    sniffer::{Sniffer, binary},
    workspace_root,
};

const SOON: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    runner::main(vec![
        test("native_lines", &[], || golden("native")),
        test("zeek_lines", &[], || golden("zeek")),
        test("eve_lines", &[], || golden("eve")),
        test("ecs_lines", &[], || golden("ecs")),
        test("other_profiles_have_one_line_for_each_handshake", &[], one_for_each_handshake),
        test("schema_refuses_what_is_no_event", &[], schema_refuses),
    ])
}

/// The lines but the last, which has the statistics of this run.
fn lines(profile: &str) -> Result<Vec<String>> {
    let capture = workspace_root().join("tests/captures/handshakes.pcap");
    let mut command = Command::new(binary()?);
    command.arg("-r").arg(capture).args(["--format", "json", "--json-profile", profile]);
    let stopped = Sniffer::spawn(command)?.finish(SOON)?;
    ensure!(stopped.status.success(), "{:?}", stopped.stderr);
    let mut lines = stopped.stdout;
    let last = lines.pop().context("statistics")?;
    ensure!(last.contains("duration_seconds"), "{last}");
    Ok(lines)
}

fn golden(profile: &str) -> Result<()> {
    let path = workspace_root().join("tests/golden").join(format!("{profile}.jsonl"));
    let mut got = lines(profile)?.join("\n");
    got.push('\n');
    if std::env::var_os("TLS_SNIFF_GOLDEN").is_some() {
        return fs::write(&path, got).with_context(|| path.display().to_string());
    }
    let expected = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (got, expected) in got.lines().zip(expected.lines()) {
        ensure!(got == expected, "got\n{got}\nexpected\n{expected}");
    }
    ensure!(
        got == expected,
        "{} lines, expected {}",
        got.lines().count(),
        expected.lines().count()
    );
    Ok(())
}

fn one_for_each_handshake() -> Result<()> {
    let native = lines("native")?;
    let handshakes = native.iter().filter(|line| line.contains(r#""event":"handshake""#)).count();
    for profile in ["zeek", "eve", "ecs"] {
        let lines = lines(profile)?;
        ensure!(lines.len() == handshakes && handshakes == 4, "{profile}: {lines:#?}");
    }
    Ok(())
}

/// A check that cannot fail checks nothing.
fn schema_refuses() -> Result<()> {
    for line in lines("native")? {
        let event: Value = serde_json::from_str(&line)?;
        schema::check(&event)?;
        let fields = event.as_object().context("an object")?;
        let mut renamed = fields.clone();
        renamed.insert("no_such_field".to_owned(), Value::Bool(true));
        ensure!(schema::check(&renamed.into()).is_err(), "another field: {line}");
        for name in ["timestamp", "event", "schema", "hook", "community_id"] {
            let mut fewer = fields.clone();
            fewer.remove(name);
            ensure!(schema::check(&fewer.into()).is_err(), "no {name}: {line}");
        }
        for name in fields.keys() {
            let mut null = fields.clone();
            null.insert(name.clone(), Value::Null);
            ensure!(schema::check(&null.into()).is_err(), "{name} is null: {line}");
        }
    }
    Ok(())
}
