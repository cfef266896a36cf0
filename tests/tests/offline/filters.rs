//! Filters for whole handshakes: what an unfiltered run tells of the connections that are wanted, and nothing
//! else, in the same order.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tls_sniff_tests::need::corpus;

use super::{handshakes, read_with};

/// Flags, and the same said of a `handshake` event.
type Wanted = (&'static [&'static str], fn(&Value) -> bool);

const FILTERS: [Wanted; 9] = [
    (&["--tls-version", "1.3"], is_tls_1_3),
    (&["--tls-version", "1.0,1.1,ssl3"], |it| {
        ["TLS 1.0", "TLS 1.1", "SSL 3.0"].contains(&text(it, "version"))
    }),
    (&["--sni", "*.com,server.example"], |it| {
        let name = text(it, "sni").to_ascii_lowercase();
        name.ends_with(".com") || name == "server.example"
    }),
    (&["--sni", "!*.com"], |it| {
        // Of a hello that was not seen nobody knows.
        let seen = text(it, "ssl_history").contains('C');
        seen && !text(it, "sni").to_ascii_lowercase().ends_with(".com")
    }),
    (&["--alpn", "h2"], |it| {
        let offered = it["offered_alpn"].as_array().map_or(&[][..], Vec::as_slice);
        let chosen = it["alpn"].as_str().map(|chosen| chosen == "h2");
        chosen.unwrap_or_else(|| is_tls_1_3(it) && offered.iter().any(|name| name == "h2"))
    }),
    (&["--cipher", "*_GCM_*", "--ja4", "t1*"], |it| {
        text(it, "cipher_suite").contains("_GCM_") && text(it, "ja4").starts_with("t1")
    }),
    (&["--outcome", "failed"], failed),
    (&["--weak"], |it| it.get("weaknesses").is_some()),
    (&["--weak", "--outcome", "completed", "--sni", "?*"], |it| {
        it.get("weaknesses").is_some()
            && it["outcome"] == "completed"
            && !text(it, "sni").is_empty()
    }),
];

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

fn is_tls_1_3(event: &Value) -> bool {
    text(event, "version").starts_with("TLS 1.3")
}

fn failed(event: &Value) -> bool {
    !["completed", "still_open", "partial"].contains(&text(event, "outcome"))
}

/// Runs each filter over a capture, and returns how many handshakes they took and left.
fn compare(path: &Path, filters: &[Wanted]) -> Result<(usize, usize)> {
    let all = read_with(path, &[])?.events;
    let handshakes = || all.iter().filter(|event| event["event"] == "handshake");
    let (mut taken, mut left) = (0, 0);
    for (flags, wants) in filters {
        let what = || format!("{} {flags:?}", path.display());
        let stopped = read_with(path, flags)?;
        stopped.check_sums().with_context(what)?;
        let filtered = stopped.events.iter().filter(|event| event["event"] != "stats");
        let filtered: Vec<&Value> = filtered.collect();
        let of_handshakes = filtered.iter().filter(|event| event["event"] == "handshake");
        let expected: Vec<&Value> = handshakes().filter(|event| wants(event)).collect();
        // One that was held came behind others.
        let by_time = |events: Vec<&Value>| -> BTreeSet<String> {
            events.into_iter().map(ToString::to_string).collect()
        };
        let found = by_time(of_handshakes.copied().collect());
        ensure!(found == by_time(expected.clone()), "{}: {found:#?}\n{expected:#?}", what());
        let ids: BTreeSet<&str> = expected.iter().map(|it| text(it, "community_id")).collect();
        let known = by_time(all.iter().collect());
        for event in filtered {
            ensure!(known.contains(&event.to_string()), "{}: {event}", what());
            ensure!(ids.contains(text(event, "community_id")), "{}: {event}", what());
        }
        taken += expected.len();
        left += handshakes().count() - expected.len();
    }
    Ok((taken, left))
}

pub(crate) fn bundled() -> Result<()> {
    let (taken, left) = compare(&handshakes(), &FILTERS)?;
    ensure!(taken >= 12 && left >= 12, "{taken} taken, {left} left");
    Ok(())
}

/// Half of the corpus, each file with a third of the filters.
pub(crate) fn of_corpus() -> Result<()> {
    let folder = corpus().context("the corpus")?.join("pcap");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let (mut taken, mut left) = (0, 0);
    for (number, path) in files.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        let filters: Vec<Wanted> =
            FILTERS.iter().copied().skip(number / 2 % 3).step_by(3).collect();
        let (of_this, not) = compare(path, &filters)?;
        taken += of_this;
        left += not;
    }
    println!("{taken} handshakes taken, {left} left");
    ensure!(taken > 100 && left > 100, "{taken} taken, {left} left");
    Ok(())
}
