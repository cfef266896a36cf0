//! The soak itself: start, disturb, stop, account.

use std::{
    fs,
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

/// Memory that a process may take more in the second half than in the first.
const FLAT: f64 = 1.05;

/// Samples of which the middle says something.
const MANY: usize = 40;

/// Of the most memory that was seen: a sample meets a reload or does not, at one moment of it or at another.
const PEAK: f64 = 1.15;

/// Resident memory of both processes, KiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    at: Duration,
    daemon: u64,
    attacher: u64,
}

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
    let (start, mut memory, mut scraped) = (Instant::now(), Vec::new(), 0_u32);
    let every = (time / 60).max(Duration::from_secs(1));
    while start.elapsed() < time {
        service.process.check_alive()?;
        disturber.step(&mut service)?;
        if start.elapsed() >= every * (scraped + 1) {
            scraped += 1;
            memory.push(resident(service.process.id(), start)?);
            let metrics = scrape(namespace)?;
            ensure!(metrics.contains("tls_sniff_handshakes_total"), "{metrics}");
        }
        std::thread::sleep(STEP);
    }
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
    is_flat(&memory)
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

/// Memory of the first half of the time, without its beginning, and of the second: the middle of the samples, since the
/// attacher has twice as much for the moment in which it loads programs.
fn is_flat(memory: &[Memory]) -> Result<()> {
    for sample in memory.iter().step_by((memory.len() / 10).max(1)) {
        let Memory { at, daemon, attacher } = sample;
        println!(
            "memory: {:>6.1} s  daemon {daemon} KiB, attacher {attacher} KiB",
            at.as_secs_f64()
        );
    }
    let (first, last) = memory.split_at(memory.len() / 2);
    let first = first.get(memory.len() / 10..).unwrap_or_default();
    for (name, of) in
        [("daemon", (|m| m.daemon) as fn(&Memory) -> u64), ("attacher", |m| m.attacher)]
    {
        let of_half = |half: &[Memory]| -> Result<(u64, u64)> {
            let mut all: Vec<_> = half.iter().map(of).collect();
            all.sort_unstable();
            Ok((*all.get(all.len() / 2).context("samples")?, *all.last().context("samples")?))
        };
        let ((early, most_early), (late, most_late)) = (of_half(first)?, of_half(last)?);
        println!(
            "{name}: {early} KiB in the first half, at most {most_early}; {late} KiB in the second, at most {most_late}"
        );
        // A short soak is always in a reload, or has just begun.
        let is_flat = memory.len() < MANY || (late as f64) < (early as f64) * FLAT;
        ensure!(is_flat, "{name} grows");
        ensure!((most_late as f64) < (most_early as f64) * PEAK, "{name} grows");
    }
    Ok(())
}

/// What both processes have in memory.
fn resident(daemon: u32, start: Instant) -> Result<Memory> {
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children"))?;
    let attacher = children.split_whitespace().next().context("no attacher")?.parse()?;
    let of = |pid: u32| -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?.parse()?)
    };
    Ok(Memory { at: start.elapsed(), daemon: of(daemon)?, attacher: of(attacher)? })
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
