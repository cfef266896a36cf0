//! What the host itself gets done beside a sniffer: a stream of TCP, and TLS handshakes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tls_sniff_tests::{
    figures::{Reach, Spread, Table, progress},
    measure::switches,
    need::tool,
    peer::{Certificate, Key},
    poll,
    process::{Process, run as run_command},
    veth::{End, VethPair},
};

use crate::{
    Settings,
    live::{Running, Sniffer},
};

const SOON: Duration = Duration::from_secs(10);
const PORT: &str = "4433";

const SNIFFERS: [Sniffer; 5] =
    [Sniffer::Nothing, Sniffer::Tc, Sniffer::TrivialXdp, Sniffer::Xdp, Sniffer::TcpdumpHandshakes];

/// The servers that all rounds use.
struct Servers {
    iperf3: Option<Process>,
    _tls: Process,
    _folder: tempfile::TempDir,
}

impl Servers {
    fn start(end: &End) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::with_key(folder.path(), "server.example", Key::P256)?;
        let mut tls = end.namespace.command("openssl");
        tls.env("OPENSSL_CONF", "/dev/null").args(["s_server", "-accept", PORT, "-www"]);
        tls.arg("-cert").arg(certificate.certificate).arg("-key").arg(certificate.key);
        let mut tls = Process::spawn(tls, None)?;
        poll::try_until(SOON, "openssl s_server to listen", || {
            tls.check_alive()?;
            Ok(tls.stdout().iter().any(|line| line.contains("ACCEPT")).then_some(()))
        })?;
        let iperf3 = tool("iperf3").is_some().then(|| {
            let mut server = end.namespace.command("iperf3");
            server.args(["--server", "--forceflush"]);
            let mut server = Process::spawn(server, None)?;
            poll::try_until(SOON, "iperf3 to listen", || {
                server.check_alive()?;
                Ok(server.stdout().iter().any(|line| line.contains("listening")).then_some(()))
            })?;
            anyhow::Ok(server)
        });
        Ok(Self { iperf3: iperf3.transpose()?, _tls: tls, _folder: folder })
    }
}

/// Bits a second that arrive.
fn iperf3(client: &End, server: &End, seconds: u32) -> Result<f64> {
    let mut command = client.namespace.command("iperf3");
    let address = server.ipv4.to_string();
    command.args(["--json", "--time", &seconds.to_string(), "--client", &address]);
    let report: Value = serde_json::from_str(&run_command(&mut command)?)?;
    report["end"]["sum_received"]["bits_per_second"].as_f64().context("bits_per_second")
}

/// TLS handshakes a second. By our clock: s_time looks at whole seconds, and may go on for almost one more.
fn handshakes(client: &End, server: &End, seconds: u32) -> Result<f64> {
    let mut command: Command = client.namespace.command("openssl");
    command.env("OPENSSL_CONF", "/dev/null").args(["s_time", "-new"]);
    command.args(["-time", &seconds.to_string()]);
    command.args(["-connect", &format!("{}:{PORT}", server.ipv4)]);
    let start = Instant::now();
    let said = run_command(&mut command)?;
    let time = start.elapsed();
    // 1234 connections in 3 real seconds, 0 bytes read per connection
    let line = said.lines().find(|line| line.contains("real seconds")).context("real seconds")?;
    let count: f64 = line.split_whitespace().next().context("a count")?.parse()?;
    Ok(count / time.as_secs_f64())
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    let pair = VethPair::new()?;
    let servers = Servers::start(&pair.second)?;
    let rounds = settings.pick(5, 1);
    let mut streams = vec![Vec::new(); SNIFFERS.len()];
    let mut rates = vec![Vec::new(); SNIFFERS.len()];
    for round in 0..rounds {
        progress(&format!("host: round {} of {rounds}", round + 1));
        for (at, sniffer) in SNIFFERS.into_iter().enumerate() {
            if sniffer.missing().is_some() {
                continue;
            }
            let folder = tempfile::tempdir()?;
            let running = Running::start(sniffer, &pair.second, folder.path())?;
            if servers.iperf3.is_some() {
                streams[at].push(iperf3(&pair.first, &pair.second, settings.pick(2, 1))?);
            }
            rates[at].push(handshakes(&pair.first, &pair.second, 1)?);
            running.stop(SOON)?;
        }
    }
    let mut table = Table::new(&[
        "watched by",
        "iperf3, Gbit/s",
        "of nobody's",
        "TLS handshakes/s",
        "of nobody's",
    ]);
    for (at, sniffer) in SNIFFERS.into_iter().enumerate() {
        let stream: Spread = streams[at].iter().map(|bits| bits / 1e9).collect();
        let rate: Spread = rates[at].iter().copied().collect();
        table.row(&[
            sniffer.name().to_owned(),
            if servers.iperf3.is_some() { stream.show(1) } else { "no iperf3".to_owned() },
            Spread::ratios(&streams[at], &streams[0]).show(3),
            rate.show(0),
            Spread::ratios(&rates[at], &rates[0]).show(3),
        ]);
    }
    println!(
        "Two namespaces joined by a veth pair; `iperf3`, and `openssl s_time -new` with `s_server` (P-256), on two CPUs \
         that the sniffer shares. {rounds} rounds by turns, median (min…max) of the ratios of each round. XDP takes \
         segmentation offload from a veth pair, whatever its program: compare tls-sniff's with the row above it.\n\n{table}"
    );
    let percent = |these: &[f64], others: &[f64]| Spread::ratios(these, others).median() * 100.0;
    let (nobody, tc, none, xdp) = (0, 1, 2, 3);
    for (what, these, other, limit) in [
        ("iperf3, watched at TC: of unwatched", &streams[tc], &streams[nobody], 97.0),
        (
            "iperf3, watched at XDP: of an XDP program that passes",
            &streams[xdp],
            &streams[none],
            97.0,
        ),
        ("TLS handshakes/s, watched at TC: of unwatched", &rates[tc], &rates[nobody], 98.0),
        (
            "TLS handshakes/s, watched at XDP: of an XDP program that passes",
            &rates[xdp],
            &rates[none],
            98.0,
        ),
    ] {
        println!("{}", Reach::at_least(what, percent(these, other), limit, 1, " %").line());
    }
    idle(settings, &pair)
}

/// What it costs to watch an interface where nothing happens.
fn idle(settings: Settings, pair: &VethPair) -> Result<()> {
    let seconds = settings.pick(5, 2);
    progress(&format!("host: {seconds} s of nothing"));
    let folder = tempfile::tempdir()?;
    let running = Running::start(Sniffer::Tc, &pair.second, folder.path())?;
    let id = running.id().context("a process")?;
    let ticks = || -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("stat")?;
        // utime and stime, fields 14 and 15 of proc(5).
        let fields = fields.split(' ').skip(11).take(2);
        Ok(fields.map(str::parse::<u64>).sum::<Result<_, _>>()?)
    };
    let before = (ticks()?, switches(id)?);
    std::thread::sleep(Duration::from_secs(seconds));
    let (ticks, switches) = (ticks()? - before.0, switches(id)? - before.1);
    println!(
        "At rest for {seconds} s: {ticks} ticks of CPU time, {switches} voluntary context switches.\n"
    );
    let reach = Reach {
        what: format!("idle for {seconds} s: CPU ticks, context switches"),
        wanted: "0, at most one a second".to_owned(),
        figure: format!("{ticks}, {switches}"),
        reached: Some(ticks == 0 && switches <= seconds),
    };
    println!("{}", reach.line());
    running.stop(SOON).map(drop)
}
