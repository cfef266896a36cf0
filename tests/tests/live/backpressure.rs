//! What happens when somebody does not keep up: the reader of stdout, the process itself, the disk. And what does
//! not happen while nobody says anything.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    packet_socket::PacketSocket,
    sniffer::{Sniffer, Stopped, binary},
    veth::VethPair,
};

use crate::segments::hello_of;

/// The bit of the TCP header.
const RST: u8 = 4;

const SOON: Duration = Duration::from_secs(10);

/// Losses are said within a second; the machine may be busy with other tests.
const SAID: Duration = Duration::from_millis(2500);

/// A ClientHello with so many cipher suites that its line has some 10 KiB.
pub(crate) fn long_hello() -> Vec<u8> {
    let suites: Vec<u8> = (0..600_u16).flat_map(|suite| (0x5000 + suite).to_be_bytes()).collect();
    hello_of(&suites, &[])
}

/// Sends `count` hellos of as many connections, one each `every`.
fn send(pair: &VethPair, hello: &[u8], count: u16, every: Duration) -> Result<()> {
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    for number in 0..count {
        socket.send(&Frame::ethernet().ipv4().tcp(10_000 + number, 443).payload(hello).build())?;
        thread::sleep(every);
    }
    Ok(())
}

fn count(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("{value} is no count"))
}

fn is_loss(event: &Value) -> bool {
    event["event"] == "stats" && event["reason"] == "loss"
}

/// A figure of a `status` file in /proc.
fn status(folder: &Path, field: &str) -> Result<u64> {
    let status = fs::read_to_string(folder.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let figure = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    Ok(figure.with_context(|| format!("no {field}"))?.parse()?)
}

/// How often the threads of a process and of its children have gone to sleep so far, to be woken later.
fn sleeps(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        sum += status(&task, "voluntary_ctxt_switches")?;
        for child in fs::read_to_string(task.join("children"))?.split_whitespace() {
            sum += sleeps(child.parse()?)?;
        }
    }
    Ok(sum)
}

/// The most memory that a process had so far, in MiB.
fn peak_memory(pid: u32) -> Result<u64> {
    Ok(status(Path::new(&format!("/proc/{pid}")), "VmHWM")? / 1024)
}

/// Clock ticks on a CPU so far.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("a command name")?;
    fields.split(' ').skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?)).sum()
}

/// Nothing happens, and the process sleeps: also with a handshake that waits for its answer.
pub(crate) fn idle() -> Result<()> {
    let pair = VethPair::new()?;
    // Metrics too are made when somebody asks.
    let arguments = ["-i", "veth-b", "--format", "json", "--metrics", "0"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    for open in [false, true] {
        if open {
            send(&pair, &client_hello(), 1, Duration::ZERO)?;
            sniffer.wait_for(SOON, |event| event["event"] == "client_hello")?;
        }
        // What was begun is done, and what was read was accounted for.
        thread::sleep(Duration::from_millis(2500));
        let pid = sniffer.id();
        let before = (sleeps(pid)?, cpu_ticks(pid)?);
        thread::sleep(Duration::from_secs(5));
        let wake_ups = sleeps(pid)? - before.0;
        let ticks = cpu_ticks(pid)? - before.1;
        println!("{wake_ups} wake-ups and {ticks} ticks of CPU in 5 s, a handshake open: {open}");
        ensure!(wake_ups <= 3, "{wake_ups} wake-ups in 5 s of silence, a handshake open: {open}");
        ensure!(ticks == 0, "{ticks} ticks of CPU in 5 s of silence");
    }
    sniffer.stop()?.check_sums().map(drop)
}

/// A client that takes its hello back, and silence: what came of it is told when it is settled, and then all is quiet.
pub(crate) fn reset_and_silence() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--format", "json", "--events", "handshake"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let hello = client_hello();
    let next = 1 + u32::try_from(hello.len())?;
    let frame = || Frame::ethernet().ipv4().tcp(10_000, 443);
    socket.send(&frame().seq(1).payload(&hello).build())?;
    socket.send(&frame().seq(next).flags(RST).build())?;
    let told = sniffer.wait_for(Duration::from_secs(3), |event| event["event"] == "handshake")?;
    ensure!(told["outcome"] == "reset", "{told}");
    thread::sleep(Duration::from_millis(2500));
    let before = sleeps(sniffer.id())?;
    thread::sleep(Duration::from_secs(4));
    let wake_ups = sleeps(sniffer.id())? - before;
    ensure!(wake_ups <= 2, "{wake_ups} wake-ups in 4 s of silence");
    sniffer.stop()?.check_sums().map(drop)
}

/// A ring without room for the largest event is not taken: what would be lost then, nobody would see.
pub(crate) fn tiny_ring() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments =
        ["-i", "veth-b", "--ring-bytes", "4096", "--format", "json", "--events", "client_hello"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let log = sniffer.stderr().join("\n");
    ensure!(log.contains("--ring-bytes 4096 has no room"), "{log}");
    sniffer.stop()?.check_sums().map(drop)
}

/// A tls-sniff whose stdout nobody reads for now. Killed on drop.
struct Unread {
    child: Child,
    log: Receiver<(Instant, String)>,
}

impl Unread {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stderr = BufReader::new(child.stderr.take().context("stderr")?);
        let (lines, log) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _nobody_waits = lines.send((Instant::now(), line));
            }
        });
        let unread = Self { child, log };
        unread.wait_for("watching")?;
        Ok(unread)
    }

    fn wait_for(&self, text: &str) -> Result<(Instant, String)> {
        loop {
            let (at, line) =
                self.log.recv_timeout(SOON).with_context(|| format!("nothing of {text}"))?;
            if line.contains(text) {
                return Ok((at, line));
            }
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Errors mean that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nobody reads stdout for a while: what finds no room is counted and said, memory stays as it is, and the reader
/// gets the sums before all that has waited for it.
pub(crate) fn slow_reader() -> Result<()> {
    const HELLOS: u16 = 2500;
    let pair = VethPair::new()?;
    let mut command = pair.second.namespace.command(binary()?.to_str().context("a path")?);
    command.args(["-i", "veth-b", "--events", "client_hello", "--format", "json"]);
    let mut unread = Unread::start(command)?;
    let pid = unread.child.id();
    let started = Instant::now();
    send(&pair, &long_hello(), HELLOS, Duration::from_millis(1))?;
    let sent = Instant::now();
    let (said, line) = unread.wait_for("the reader of stdout is too slow")?;
    ensure!(said < sent + SAID, "said {:?} after the last hello: {line}", said - sent);
    println!("sent for {:?}, said after {:?}: {line}", sent - started, said - started);
    let resident = peak_memory(pid)?;
    println!("{resident} MiB");
    ensure!(resident < 80, "{resident} MiB");

    let stdout = BufReader::new(unread.child.stdout.take().context("stdout")?);
    let reader = thread::spawn(move || stdout.lines().collect::<std::io::Result<Vec<_>>>());
    // Once a hello comes through, there is room.
    thread::sleep(Duration::from_millis(500));
    send(&pair, &long_hello(), 10, Duration::from_millis(1))?;
    thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    let lines = reader.join().expect("the reader does not panic")?;
    let status = unread.child.wait()?;
    let events = lines.iter().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
    let stopped = Stopped { events, stdout: lines, stderr: Vec::new(), status };
    stopped.check_sums()?;
    let loss = stopped.events.iter().position(is_loss).context("no stats event of the loss")?;
    let waited = stopped.events.len() - loss;
    // What is in the pipe, and in the buffer that the thread stood in, comes before it; behind it 4 MiB that waited,
    // though each batch was small.
    ensure!(loss < 100 && waited > 300, "{loss} events before it, {waited} behind");
    let stats = stopped.stats()?;
    let (pipeline, hook) = (&stats["pipeline"], &stats["hooks"]["tc_ingress"]);
    ensure!(count(&pipeline["dropped"])? >= count(&stopped.events[loss]["pipeline"]["dropped"])?);
    ensure!(count(&pipeline["dropped"])? > 100, "{stats}");
    ensure!(count(&hook["emitted"])? == u64::from(HELLOS) + 10, "{stats}");
    Ok(())
}

/// A process that is stopped: the ring runs full, the peers do not notice, and the loss is told when it goes on.
pub(crate) fn stopped_process() -> Result<()> {
    const HELLOS: u16 = 1000;
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--ring-bytes", "65536", "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let listener =
        pair.second.namespace.enter(|| TcpListener::bind((pair.second.ipv4, 7000)))??;
    sniffer.signal(Signal::SIGSTOP)?;
    send(&pair, &client_hello(), HELLOS, Duration::from_millis(2))?;
    let asked = Instant::now();
    let mut client =
        pair.first.namespace.enter(|| TcpStream::connect((pair.second.ipv4, 7000)))??;
    let (mut server, _) = listener.accept()?;
    for _ in 0..100 {
        let mut answer = [0; 4];
        client.write_all(b"ping")?;
        server.read_exact(&mut answer)?;
        server.write_all(b"pong")?;
        client.read_exact(&mut answer)?;
        ensure!(&answer == b"pong");
    }
    ensure!(asked.elapsed() < SOON / 2, "the peers took {:?}", asked.elapsed());

    sniffer.signal(Signal::SIGCONT)?;
    let told = sniffer.wait_for(SAID, is_loss)?;
    ensure!(count(&told["hooks"]["tc_ingress"]["ring_full"])? > 0, "{told}");
    let log = sniffer.stderr().join("\n");
    ensure!(log.contains("were lost in the kernel"), "{log}");
    let stopped = sniffer.stop()?;
    stopped.check_sums()?;
    let hook = &stopped.stats()?["hooks"]["tc_ingress"];
    let (emitted, full) = (count(&hook["emitted"])?, count(&hook["ring_full"])?);
    ensure!(emitted + full == u64::from(HELLOS) && full > 100, "{hook}");
    let hellos = stopped.events.iter().filter(|event| event["event"] == "client_hello").count();
    ensure!(hellos as u64 == emitted, "{hellos} hellos told, {emitted} emitted");
    Ok(())
}

/// More than it can read, without an end: it tells of the loss meanwhile, and hears the signal to stop.
pub(crate) fn endless_flood() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--ring-bytes", "65536", "--format", "json"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    let over = AtomicBool::new(false);
    let (stopped, took) = thread::scope(|scope| {
        let flood = scope.spawn(|| -> Result<()> {
            let started = Instant::now();
            while !over.load(Ordering::Relaxed) && started.elapsed() < 2 * SOON {
                send(&pair, &client_hello(), 1000, Duration::ZERO)?;
            }
            Ok(())
        });
        let told = sniffer.wait_for(SOON, is_loss);
        let asked = Instant::now();
        let stopped = sniffer.stop();
        let took = asked.elapsed();
        over.store(true, Ordering::Relaxed);
        flood.join().expect("no panic")?;
        told?;
        Ok::<_, anyhow::Error>((stopped?, took))
    })?;
    ensure!(took < SOON / 2, "it ended {took:?} after the signal");
    stopped.check_sums()?;
    ensure!(count(&stopped.stats()?["hooks"]["tc_ingress"]["ring_full"])? > 0);
    Ok(())
}

/// A disk without space: told while the run goes on, which fails then.
pub(crate) fn full_disk() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let mut command = pair.second.namespace.command("unshare");
    let script = format!(
        "mount -t tmpfs -o size=64k none {disk} && exec {binary} -i veth-b -w {disk}/x.pcapng --format json",
        disk = dir.path().display(),
        binary = binary()?.display(),
    );
    command.args(["--mount", "sh", "-c", &script]);
    let mut sniffer = Sniffer::spawn(command)?;
    sniffer.ready()?;
    send(&pair, &long_hello(), 200, Duration::from_millis(1))?;
    let told = sniffer.wait_for(SAID, is_loss)?;
    ensure!(count(&told["capture"]["dropped_disk"])? > 0, "{told}");
    let log = sniffer.stderr().join("\n");
    ensure!(log.contains("No space left on device"), "{log}");
    let stopped = sniffer.stop()?;
    stopped.check_sums()?;
    let capture = &stopped.stats()?["capture"];
    let (written, lost) = (count(&capture["written"])?, count(&capture["dropped_disk"])?);
    ensure!(written > 10 && lost > 100, "{capture}");
    ensure!(written + lost == count(&capture["packets"])?, "{capture}");
    ensure!(stopped.status.code() == Some(1), "{:?}", stopped.stderr);
    Ok(())
}

/// `--stats-interval`, whatever happens or does not.
pub(crate) fn periodic() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments = ["-i", "veth-b", "--format", "json", "--stats-interval", "1"];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments)?;
    sniffer.ready()?;
    send(&pair, &client_hello(), 5, Duration::ZERO)?;
    sniffer.wait_for(SOON, |event| {
        event["reason"] == "interval" && event["pipeline"]["connections"] == 5
    })?;
    let told = |event: &Value| event["reason"] == "interval";
    let so_far = sniffer.events().iter().filter(|event| told(event)).count();
    let since = Instant::now();
    thread::sleep(Duration::from_millis(3500));
    let stopped = sniffer.stop()?;
    let most = since.elapsed().as_secs() + 1;
    stopped.check_sums()?;
    let more = stopped.events.iter().filter(|event| told(event)).count() - so_far;
    ensure!((2..=most).contains(&(more as u64)), "{more} in {most} s at most");
    ensure!(stopped.stats()?["reason"] == "end");
    Ok(())
}
