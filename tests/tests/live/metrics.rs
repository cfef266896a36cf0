//! What Prometheus makes of the metrics: a real one scrapes a live run, promtool checks what it is given.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tls_sniff_tests::{
    need::command,
    netns::Namespace,
    peer::{Certificate, Client, Server, Version},
    poll,
    process::{Process, run},
    sniffer::Sniffer,
    veth::VethPair,
    workspace_root,
};

use crate::handshakes::NAME;

const SOON: Duration = Duration::from_secs(20);
const PORT: u16 = 443;
pub(crate) const METRICS: &str = "127.0.0.1:9921";
const PROMETHEUS: &str = "127.0.0.1:9090";

/// What curl gets of a path: the body and the status.
pub(crate) fn get(namespace: &Namespace, path: &str, accept: &str) -> Result<(String, u16)> {
    let accept = format!("Accept: {accept}");
    let got = run(namespace.command("curl").args([
        "--silent",
        "--max-time",
        "5",
        "--write-out",
        "\n%{http_code}",
        "--header",
        &accept,
        &format!("http://{METRICS}{path}"),
    ]))?;
    let (body, status) = got.rsplit_once('\n').context("a status")?;
    Ok((body.to_owned(), status.parse()?))
}

/// Starts Prometheus, which scrapes every second and has our alerts.
fn prometheus(namespace: &Namespace, folder: &Path) -> Result<Process> {
    let configuration = folder.join("prometheus.yml");
    let rules = workspace_root().join("packaging/prometheus/alerts.yml");
    let text = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{"job_name": "tls-sniff", "static_configs": [{"targets": [METRICS]}]}],
    });
    // JSON is YAML.
    fs::write(&configuration, text.to_string())?;
    let mut command = namespace.command("prometheus");
    command.arg(format!("--config.file={}", configuration.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.args([&format!("--web.listen-address={PROMETHEUS}"), "--log.level=warn"]);
    Process::spawn(command, None)
}

/// The samples that an expression gives, each its labels without the target's, and its value.
fn query(namespace: &Namespace, expression: &str) -> Result<Vec<(Value, f64)>> {
    let url = format!("http://{PROMETHEUS}/api/v1/query");
    let answer = run(namespace
        .command("curl")
        .args(["--silent", "--max-time", "5", "--data-urlencode"])
        .args([&format!("query={expression}"), &url]));
    // Until it listens.
    let Ok(answer) = answer else { return Ok(Vec::new()) };
    let Ok(answer) = serde_json::from_str::<Value>(&answer) else { return Ok(Vec::new()) };
    let samples = answer["data"]["result"].as_array().into_iter().flatten();
    let sample = |sample: &Value| {
        let value = sample["value"][1].as_str().context("a value")?.parse()?;
        Ok((sample["metric"].clone(), value))
    };
    samples.map(sample).collect()
}

/// Waits until an expression gives these samples.
fn wait_for(namespace: &Namespace, expression: &str, expected: &[(Value, f64)]) -> Result<()> {
    let mut last = Vec::new();
    let same = || {
        last = query(namespace, expression)?;
        let all = expected.iter().all(|sample| last.contains(sample));
        Ok((all && last.len() == expected.len()).then_some(()))
    };
    poll::try_until(SOON, expression, same)
        .with_context(|| format!("{last:?}, expected {expected:?}"))
}

/// Connections that say nothing, and some that begin and do not go on.
fn hostile(namespace: &Namespace) -> Result<Vec<TcpStream>> {
    let connect = || {
        let mut open = Vec::new();
        for number in 0..100 {
            let mut stream = TcpStream::connect(METRICS)?;
            if number % 2 == 0 {
                std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\n")?;
            }
            open.push(stream);
        }
        Ok(open)
    };
    namespace.enter(connect)?
}

/// A real Prometheus tells how many handshakes OpenSSL made, while hostile scrapers do what they can.
pub(crate) fn scraped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(folder.path(), NAME)?;
    let pair = VethPair::new()?;
    let here = &pair.second.namespace;
    let configuration = folder.path().join("config.toml");
    fs::write(&configuration, "interface = [\"veth-b\"]\nformat = \"json\"\n")?;
    let file = configuration.to_str().context("a path in UTF-8")?;
    let arguments = ["--config", file, "--metrics", METRICS, "--metrics-sni", "2"];
    let mut sniffer = Sniffer::start(here, &arguments)?;
    let prometheus = prometheus(here, folder.path())?;
    sniffer.ready()?;
    ensure!(get(here, "/healthz", "*/*")? == ("ok\n".to_owned(), 200));
    address_is_taken(here)?;
    let silent = hostile(here)?;
    let address = SocketAddr::new(pair.second.address(false), PORT);
    let server = Server::new(&certificate, address).start(here)?;
    let client = |arguments: &[&str]| Client::new(address, NAME).arguments(arguments);
    for (version, times) in [(Version::Tls13, 3), (Version::Tls12, 2)] {
        for _ in 0..times {
            client(&[]).version(version).run(&pair.first.namespace)?.established()?;
        }
    }
    let refused = client(&["-verify_return_error"]).version(Version::Tls13);
    let outcome = refused.run(&pair.first.namespace)?;
    ensure!(outcome.output.contains("certificate verify failed"), "{}", outcome.output);
    let told = |sniffer: &Sniffer| {
        sniffer.events().iter().filter(|event| event["event"] == "handshake").count()
    };
    poll::until(SOON, "six handshakes to be told", || (told(&sniffer) == 6).then_some(()))?;

    let by = |version: &str, outcome: &str, by: &str, count: f64| {
        (json!({"version": version, "outcome": outcome, "by": by}), count)
    };
    wait_for(
        here,
        "sum by (version, outcome, by) (tls_sniff_handshakes_total)",
        &[
            by("TLS 1.3", "completed", "none", 3.0),
            by("TLS 1.2", "completed", "none", 2.0),
            by("TLS 1.3", "alert", "client", 1.0),
        ],
    )?;
    for (expression, count) in [
        ("sum(tls_sniff_handshake_cipher_suites_total{cipher_suite=~\"TLS_.+\"})", 6.0),
        ("sum(tls_sniff_handshake_groups_total{group=~\"x25519|X25519MLKEM768\"})", 6.0),
        ("sum(tls_sniff_handshake_sessions_total{resumed=\"false\"})", 6.0),
        ("sum(tls_sniff_handshake_alerts_total{description=\"unknown_ca\",by=\"client\"})", 1.0),
        ("sum(tls_sniff_handshake_duration_seconds_count)", 5.0),
        ("sum(tls_sniff_interface_handshakes_total{interface=\"veth-b\"})", 6.0),
        ("count(tls_sniff_interface_events_total{interface=\"veth-b\"} > 0)", 2.0),
        (
            "sum(tls_sniff_interface_events_total) \
             - sum(tls_sniff_events_total{result!=\"undecodable\"})",
            0.0,
        ),
        ("sum(tls_sniff_server_name_handshakes_total{server_name!=\"other\"})", 6.0),
        ("sum(up{job=\"tls-sniff\"})", 1.0),
        ("count(tls_sniff_build_info)", 1.0),
        ("sum(tls_sniff_interfaces_watched)", 1.0),
        ("count(process_resident_memory_bytes > 1000000)", 1.0),
        ("count(tls_sniff_ring_used_max_bytes <= tls_sniff_ring_size_bytes)", 1.0),
    ] {
        wait_for(here, expression, &[(json!({}), count)])?;
    }
    drop((server, silent));
    reloads_are_told(here, &mut sniffer, &configuration)?;
    as_promtool_wants(here, folder.path())?;
    as_the_last_statistics(here, sniffer)?;
    wait_for(here, "sum(up{job=\"tls-sniff\"})", &[(json!({}), 0.0)])?;
    ensure!(prometheus.stderr().is_empty(), "{:?}", prometheus.stderr());
    Ok(())
}

/// A configuration that is refused shows until another one is in force.
fn reloads_are_told(here: &Namespace, sniffer: &mut Sniffer, file: &Path) -> Result<()> {
    let good = fs::read_to_string(file)?;
    let state = "sum(tls_sniff_config_last_reload_successful)";
    for (text, current) in [("formta = 1", 0.0), (&good, 1.0)] {
        fs::write(file, text)?;
        sniffer.signal(Signal::SIGHUP)?;
        wait_for(here, state, &[(json!({}), current)])?;
    }
    let age = "count(time() - tls_sniff_config_last_reload_success_timestamp_seconds < 10)";
    wait_for(here, age, &[(json!({}), 1.0)])
}

/// A second run at the same address says so and ends.
fn address_is_taken(namespace: &Namespace) -> Result<()> {
    let stopped =
        Sniffer::start(namespace, &["-i", "veth-b", "--metrics", METRICS])?.finish(SOON)?;
    ensure!(stopped.status.code() == Some(1), "{stopped:?}");
    let said = format!("cannot serve metrics at {METRICS}: Address already in use");
    ensure!(stopped.stderr.iter().any(|line| line.contains(&said)), "{:?}", stopped.stderr);
    Ok(())
}

/// Names, types and help are as Prometheus' own linter wants them.
fn as_promtool_wants(namespace: &Namespace, folder: &Path) -> Result<()> {
    let (text, status) = get(namespace, "/metrics", "text/plain")?;
    ensure!(status == 200, "{status}: {text}");
    let path = folder.join("metrics.txt");
    fs::write(&path, &text)?;
    run(command("promtool").args(["check", "metrics"]).stdin(fs::File::open(&path)?))?;
    let (open, _) = get(namespace, "/metrics", "application/openmetrics-text; version=1.0.0")?;
    ensure!(open.ends_with("\n# EOF\n"), "{open}");
    Ok(())
}

/// Once nothing happens any more, the metrics are those of the last statistics; then nothing is watched.
fn as_the_last_statistics(namespace: &Namespace, sniffer: Sniffer) -> Result<()> {
    let (text, _) = get(namespace, "/metrics", "text/plain")?;
    namespace.ip(&["link", "delete", "veth-b"])?;
    poll::try_until(SOON, "/healthz to say that nothing is watched", || {
        let (why, status) = get(namespace, "/healthz", "*/*")?;
        Ok((status == 503 && why.starts_with("no interface is watched")).then_some(()))
    })?;
    let stopped = sniffer.stop()?;
    let stats = stopped.stats()?;
    let mut compared = 0;
    for (hook, counters) in stats["hooks"].as_object().context("hooks")? {
        for (outcome, count) in counters.as_object().context("counters")? {
            if ["seen", "flow_evicted"].contains(&outcome.as_str()) {
                continue;
            }
            let series = format!("{{hook=\"{hook}\",outcome=\"{outcome}\",");
            let line = text.lines().find(|line| line.contains(&series));
            let Some(line) = line else { bail!("no {series} in {text}") };
            // A frame of the kernel's own may have come since.
            let scraped: u64 = line.rsplit_once(' ').context("a value")?.1.parse()?;
            let count = count.as_u64().context("a count")?;
            let own = if ["not_ip", "not_tcp"].contains(&outcome.as_str()) { 10 } else { 0 };
            ensure!(count - scraped <= own, "{line}, {count} at the end");
            compared += 1;
        }
    }
    ensure!(compared >= 26, "{stats}");
    let written = format!("tls_sniff_connections_total {}", stats["pipeline"]["connections"]);
    ensure!(text.lines().any(|line| line == written), "{written}: {text}");
    Ok(())
}

/// Alerts are rules that fire for what they say, and each expression of the dashboard is one.
pub(crate) fn packaged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let packaging = workspace_root().join("packaging");
    let rules = packaging.join("prometheus");
    run(command("promtool").args(["check", "rules"]).arg(rules.join("alerts.yml")))?;
    let mut test = command("promtool");
    run(test.args(["test", "rules", "alerts_test.yml"]).current_dir(&rules))?;

    let dashboard = fs::read_to_string(packaging.join("grafana/dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let mut expressions = Vec::new();
    collect(&dashboard, &mut expressions);
    ensure!(expressions.len() >= 30, "{expressions:?}");
    let rules: Vec<Value> = expressions
        .iter()
        .zip(0..)
        .map(|(expression, number)| {
            // What Grafana puts in.
            let expression = expression.replace("$__rate_interval", "1m");
            json!({"record": format!("dashboard:{number}"), "expr": expression})
        })
        .collect();
    let path = folder.path().join("dashboard.yml");
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(&path, file.to_string())?;
    run(command("promtool").args(["check", "rules"]).arg(&path))?;
    Ok(())
}

/// All values of `expr`.
fn collect(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            expressions.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, expressions));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, expressions)),
        _ => {}
    }
}
