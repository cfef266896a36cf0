//! What documents and files of Prometheus and Grafana say of the families.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use super::{families::Bound, *};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The suffixes of its samples, as its type has them.
fn names(family: &Family) -> Vec<String> {
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        _ => &[""],
    };
    suffixes.iter().map(|suffix| format!("{}{suffix}", family.name)).collect()
}

fn table() -> String {
    let mut table =
        "| metric | type | labels | at most | what it says |\n|---|---|---|---|---|\n".to_owned();
    for family in families::ALL {
        let Family { name, kind, labels, bound, help } = family;
        let name = match kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => (*name).to_owned(),
        };
        let (kind, labels) = (kind.as_str(), labels.join(", "));
        let bound = match bound {
            Bound::Sets(sets) => sets.to_string(),
            Bound::PerOutput(sets) => format!("{sets} for each output"),
        };
        writeln!(table, "| `{name}` | {kind} | {labels} | {bound} | {help} |").unwrap();
    }
    table
}

#[test]
fn the_document_has_the_table_of_all_families() {
    let document = read("docs/metrics.md");
    let table = table();
    if !document.contains(&table) {
        panic!("docs/metrics.md is to have this table:\n\n{table}");
    }
}

/// Each `tls_sniff_…` and `process_…` in a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("tls_sniff_") || word.starts_with("process_")).collect()
}

#[test]
fn dashboard_alerts_and_documents_name_what_is_scraped() {
    let known: BTreeSet<String> = families::ALL.iter().flat_map(|family| names(family)).collect();
    for name in [
        "packaging/grafana/dashboard.json",
        "packaging/prometheus/alerts.yml",
        "packaging/prometheus/alerts_test.yml",
    ] {
        let text = read(name);
        let used = metrics_in(&text);
        assert!(!used.is_empty(), "{name} uses none");
        for metric in used {
            assert!(known.contains(metric), "{name}: no metric {metric}");
        }
    }
}

#[test]
fn names_are_as_prometheus_has_them() {
    let mut all = BTreeSet::new();
    for family in families::ALL {
        let Family { name, labels, help, .. } = family;
        assert!(all.insert(*name), "{name} twice");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        );
        for suffix in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
            assert!(!name.ends_with(suffix), "{name}: its type adds the suffix");
        }
        assert!(
            labels.iter().all(|label| !["le", "job", "instance"].contains(label)),
            "{labels:?}"
        );
        assert!(help.ends_with('.') && !help.contains('|'), "{help}");
    }
}
