//! Whether everything that happened was told, or counted as lost.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{rig, service::Files};

/// What the clients know: outcomes by the client's port, of connections to one port of the server.
pub(crate) type Truth = BTreeMap<u16, Vec<String>>;

/// Reads the lines of load.py.
pub(crate) fn truth(lines: &[String], server_port: u16) -> Result<Truth> {
    let mut truth = Truth::new();
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        let [port, client, outcome, _] = words[..] else { anyhow::bail!("{line:?}") };
        if port.parse::<u16>()? == server_port {
            truth.entry(client.parse()?).or_default().push(outcome.to_owned());
        }
    }
    Ok(truth)
}

/// The JSON objects of all generations of a file. A line that is none, or half a one, is an error.
pub(crate) fn events(path: &Path) -> Result<(Vec<Value>, usize)> {
    let mut generations: Vec<PathBuf> = Files::generations(path)?;
    generations.sort();
    let mut events = Vec::new();
    for file in &generations {
        let text = fs::read_to_string(file)?;
        ensure!(text.is_empty() || text.ends_with('\n'), "{} ends in a line", file.display());
        for line in text.lines() {
            let event = serde_json::from_str(line);
            events.push(event.with_context(|| format!("{}: {line}", file.display()))?);
        }
    }
    Ok((events, generations.len()))
}

/// The events of one kind.
pub(crate) fn of_kind<'a>(
    events: &'a [Value],
    kind: &'a str,
) -> impl Iterator<Item = &'a Value> + 'a {
    events.iter().filter(move |event| event["event"] == kind)
}

/// What was told of the connections of `truth`, in comparison with it.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Connections.
    pub(crate) made: usize,
    /// Told once, with the outcome that the client saw.
    pub(crate) agreed: usize,
    /// Not told at all.
    pub(crate) missing: Vec<u16>,
    /// Told though no client knows of it.
    pub(crate) extra: Vec<u16>,
    /// Told with another outcome.
    pub(crate) otherwise: Vec<String>,
}

/// Compares the handshakes of a file with what the clients know.
pub(crate) fn compare(truth: &Truth, events: &[Value]) -> Result<Compared> {
    let mut told: BTreeMap<u16, Vec<&Value>> = BTreeMap::new();
    for event in of_kind(events, "handshake") {
        if event["server_port"] == rig::PORT {
            let port = event["client_port"].as_u64().context("client_port")?;
            told.entry(u16::try_from(port)?).or_default().push(event);
        }
    }
    let mut compared = Compared { made: truth.values().map(Vec::len).sum(), ..Compared::default() };
    for (port, outcomes) in truth {
        let events = told.remove(port).unwrap_or_default();
        let fewer = outcomes.len().saturating_sub(events.len());
        let more = events.len().saturating_sub(outcomes.len());
        compared.missing.extend(std::iter::repeat_n(*port, fewer));
        compared.extra.extend(std::iter::repeat_n(*port, more));
        // A port comes again, and the lines of the clients are in the order of their ends.
        let mut left: Vec<&str> =
            events.iter().filter_map(|event| event["outcome"].as_str()).collect();
        let mut unmatched = Vec::new();
        for outcome in outcomes {
            match left.iter().position(|told| *told == wanted(outcome)) {
                Some(at) => drop(left.swap_remove(at)),
                // A client whose connection broke cannot tell how far it came.
                None if outcome == "broken" => {}
                None => unmatched.push(outcome),
            }
        }
        compared.agreed += outcomes.len() - fewer - unmatched.len().saturating_sub(fewer);
        if unmatched.len() > fewer {
            compared.otherwise.push(format!("{port}: {unmatched:?}, told {events:?}"));
        }
    }
    compared.extra.extend(told.into_iter().flat_map(|(port, events)| vec![port; events.len()]));
    Ok(compared)
}

/// What tls-sniff calls what a client saw.
fn wanted(outcome: &str) -> &str {
    if outcome == "refused" { "alert" } else { outcome }
}

/// The kernel's sums of a `stats` event: packets seen, events emitted, segments for which the ring had no room.
pub(crate) fn kernel(stats: &Value) -> Result<(u64, u64, u64)> {
    let count = |value: &Value| value.as_u64().context("a count");
    let (mut seen, mut emitted, mut full) = (0, 0, 0);
    for (hook, counters) in stats["hooks"].as_object().context("hooks")? {
        let all = counters.as_object().context("counters")?;
        let others = all.iter().filter(|(name, _)| !["seen", "flow_evicted"].contains(&&***name));
        let sum: u64 = others.map(|(_, value)| count(value)).sum::<Result<u64>>()?;
        ensure!(count(&counters["seen"])? == sum, "{hook}: {counters}");
        seen += sum;
        emitted += count(&counters["emitted"])?;
        full += count(&counters["ring_full"])?;
    }
    Ok((seen, emitted, full))
}
