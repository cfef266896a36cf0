//! The soak itself: start, disturb, stop, account.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tls_sniff_tests::netns::Namespace;

use super::{
    account::{self, Compared},
    disturb::{BROKEN_KEY, Disturber},
    memory::Memory,
    reader::Reader,
    rig::{PORT, Rig},
    service::{Files, Said, Service, WATCHDOG},
};

/// Handshakes a second.
const RATE: u32 = 60;

/// Between two steps.
const STEP: Duration = Duration::from_millis(100);

/// What a soak of half an hour takes for each period, one of half a minute takes an eighth of.
const SHORT: f64 = 8.0;

/// Time for the last handshakes to be told, and for the reader that stalled to read.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the service and the clients may take to end.
const END: Duration = Duration::from_secs(60);

/// Runs the service for `time` and accounts for what happened.
pub(crate) fn soak(time: Duration) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = Files::make(folder.path())?;
    let rig = Rig::start(folder.path())?;
    let reader = Reader::start(&files.socket())?;
    files.configure("")?;
    let namespace = &rig.pair.second.namespace;
    let mut service = Service::start(namespace, &files)?;
    let load = rig.load(RATE, time)?;
    let pace = (time.as_secs_f64() / 1800.0).clamp(1.0 / SHORT, 1.0);
    let mut disturber = Disturber::new(&rig, &files, &reader, pace);
    let (start, mut scraped) = (Instant::now(), 0_u32);
    let mut memory = Memory::of(service.process.id(), time)?;
    let every = (time / 60).max(Duration::from_secs(1));
    while start.elapsed() < time {
        service.process.check_alive()?;
        disturber.step(&mut service)?;
        if start.elapsed() >= every * (scraped + 1) {
            scraped += 1;
            memory.sample()?;
            let metrics = scrape(namespace)?;
            ensure!(metrics.contains("tls_sniff_handshakes_total"), "{metrics}");
        }
        memory.halves()?;
        std::thread::sleep(STEP);
    }
    memory.end()?;
    let clients = load.finish(END)?;
    ensure!(clients.status.success(), "{:?}", clients.stderr);
    disturber.calm(&mut service)?;
    std::thread::sleep(SETTLE);
    let done = disturber.done;
    let metrics = scrape(namespace)?;
    service.process.signal(Signal::SIGTERM)?;
    let said = service.said();
    let log = service.process.stderr();
    let ended = service.end(END)?;
    ensure!(ended.success(), "{ended}: {log:#?}");
    let lines = reader.finish();

    println!("{:.1} min, {done:?}, {scraped} scrapes", time.as_secs_f64() / 60.0);
    let truth = account::truth(&clients.stdout, PORT)?;
    let others = clients.stdout.len() - truth.values().map(Vec::len).sum::<usize>();
    println!("clients: {} connections to {PORT}, {others} others", clients.stdout.len() - others);
    let told = files_agree(&files, &truth)?;
    let is_last = |event: &&Value| event["reason"] == "end";
    let stats = account::of_kind(&told, "stats").find(is_last).context("no last stats")?;
    sums(stats, &told, &lines)?;
    metrics_agree(&metrics, &told)?;
    told_of_reloads(&log, done.invalid)?;
    watchdog_was_fed(&said)?;
    memory.is_flat()
}

/// Both files have all handshakes, once.
fn files_agree(files: &Files, truth: &account::Truth) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for path in [files.rotated(), files.moved()] {
        let (events, generations) = account::events(&path)?;
        let compared = account::compare(truth, &events)?;
        let Compared { made, agreed, missing, extra, otherwise } = &compared;
        println!(
            "{}: {} events in {generations} files; {agreed} of {made} handshakes told as the client saw them, \
             {} missing, {} extra, {} otherwise",
            path.display(),
            events.len(),
            missing.len(),
            extra.len(),
            otherwise.len()
        );
        ensure!(missing.is_empty() && extra.is_empty() && otherwise.is_empty(), "{compared:?}");
        ensure!(generations > 2, "{generations} files");
        all = events;
    }
    Ok(all)
}

/// Each stage took what the one before gave, or counted what it lost.
fn sums(stats: &Value, told: &[Value], lines: &[String]) -> Result<()> {
    let (seen, emitted, full) = account::kernel(stats)?;
    println!("kernel: {seen} packets seen, {emitted} emitted, {full} without room in the ring");
    ensure!(stats["pipeline"]["received"] == emitted, "{stats}");
    let handshakes = account::of_kind(told, "handshake").count() as u64;
    let outputs = stats["outputs"].as_array().context("outputs")?;
    ensure!(outputs.len() == 3, "{stats}");
    for output in outputs {
        println!("output: {output}");
        let counters = output.as_object().context("an output")?;
        let count = |name: &str| counters.get(name).and_then(Value::as_u64).unwrap_or(0);
        let lost: u64 = counters
            .iter()
            .filter(|(name, _)| !["events", "written"].contains(&name.as_str()))
            .filter_map(|(_, value)| value.as_u64())
            .sum();
        ensure!(count("written") + lost == handshakes, "{handshakes} handshakes: {output}");
        let is_socket = output["name"].as_str().is_some_and(|name| name.starts_with("unix:"));
        ensure!(is_socket || lost == 0, "{output}");
        if is_socket {
            let read = lines.iter().filter(|line| line.contains("\"event\":\"handshake\"")).count();
            println!("the reader of the socket has {read} of them");
            ensure!(count("written") == read as u64, "{read} read: {output}");
        }
    }
    Ok(())
}

/// The counter of handshakes is the number of those told.
fn metrics_agree(metrics: &str, told: &[Value]) -> Result<()> {
    let counted: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("tls_sniff_handshakes_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    // Those that went on were told at the end, after the last scrape.
    let is_over = |event: &&Value| event["outcome"] != "still_open";
    let handshakes: Vec<_> = account::of_kind(told, "handshake").filter(is_over).collect();
    println!("metrics: {counted} handshakes");
    let last = &handshakes[handshakes.len().saturating_sub(3)..];
    let agree = counted.to_bits() == (handshakes.len() as f64).to_bits();
    ensure!(agree, "{} told, the last of them {last:#?}", handshakes.len());
    Ok(())
}

/// Each invalid configuration was refused, in words, and nothing else was.
fn told_of_reloads(log: &[String], invalid: u32) -> Result<()> {
    let with = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    let (refused, stayed) = (with(BROKEN_KEY), with("the configuration stays as it was"));
    println!("log: {} lines, {refused} about an unknown key, {stayed} refusals", log.len());
    for line in log.iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).take(20) {
        println!("  {line}");
    }
    // Another SIGHUP may come while one is in place.
    let as_done = refused >= invalid as usize && stayed == refused;
    ensure!(as_done, "{invalid} configurations were invalid: {log:#?}");
    Ok(())
}

/// A busy service is a live one.
fn watchdog_was_fed(said: &Said) -> Result<()> {
    let fed = said.times("WATCHDOG=1");
    let longest = fed.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    println!("watchdog: fed {} times, at most {longest:.1?} apart", fed.len());
    ensure!(fed.len() >= 2 && longest < WATCHDOG, "{longest:?}");
    ensure!(said.times("RELOADING=1").len() >= 2, "{said:?}");
    Ok(())
}

/// What Prometheus would get.
fn scrape(namespace: &Namespace) -> Result<String> {
    namespace.enter(|| -> Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9443")?;
        stream.set_read_timeout(Some(END))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(answer)
    })?
}
