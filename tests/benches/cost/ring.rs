//! From the ring's bytes to lines, on one core; through the real ring; and what open handshakes need of memory.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tls_sniff::{
    clock::Timestamp,
    dedup::SeenOn,
    load::LoadOptions,
    observation::{EventKind, Seen},
    session::{Limits, Sessions},
    sink::{Formatter, json::Profile},
};
use tls_sniff_common::{counters::Counter, event::Event};
use tls_sniff_tests::{
    bpf,
    conversation::{Conversation, Speaker, padded},
    figures::{Reach, Spread, Table, progress},
    frame::Frame,
    measure::{pin, resident, thread_cpu},
    need::Need,
    replay::{Events, Story, stories},
};

use crate::{
    Settings,
    kernel::hello,
    rig::{At, Rig},
};

/// Connections whose events are made at once: more than the caches hold.
const BATCH: u32 = 2000;

/// Output that is thrown away when there is so much of it, as the real one is handed to its thread.
const OUTPUT: usize = 64 * 1024;

/// How far events go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Decoded,
    Observed,
    Handshakes,
    Default,
}

const STAGES: [(Stage, &str); 4] = [
    (Stage::Decoded, "decoded"),
    (Stage::Observed, "… to observations"),
    (Stage::Handshakes, "… to JSON, `--events handshake`"),
    (Stage::Default, "… to JSON, default events"),
];

/// What one stage did in one round.
struct Round {
    cpu: Duration,
    events: usize,
    handshakes: u32,
    bytes: usize,
}

/// Takes the events of so many connections through a stage.
fn through(stage: Stage, stories: &[Story], connections: u32) -> Result<Round> {
    let mut sessions = Sessions::new(Limits::default());
    let mut formatter = Formatter::Json(Profile::Native);
    let mut events = Events::default();
    let mut out = Vec::with_capacity(2 * OUTPUT);
    let mut round = Round { cpu: Duration::ZERO, events: 0, handshakes: 0, bytes: 0 };
    let mut clock = 1_700_000_000_000_000_000;
    for first in (0..connections).step_by(BATCH as usize) {
        events.clear();
        for number in first..(first + BATCH).min(connections) {
            stories[number as usize % stories.len()].copy(number, &mut clock, &mut events);
        }
        let before = thread_cpu();
        for bytes in events.iter() {
            let event = Event::decode(bytes).ok().context("an event")?;
            round.events += 1;
            if stage == Stage::Decoded {
                continue;
            }
            let seen = Seen::of(&event, Timestamp(event.header.timestamp.cast_signed()));
            sessions.event(&event, SeenOn::one(Some("eth0")), seen, &mut |observation| {
                let kind = observation.kind();
                round.handshakes += u32::from(kind == EventKind::Handshake);
                let wanted = match stage {
                    Stage::Decoded | Stage::Observed => false,
                    Stage::Handshakes => kind == EventKind::Handshake,
                    Stage::Default => EventKind::DEFAULT.contains(&kind),
                };
                if wanted {
                    formatter.observation(observation, &mut out);
                }
            });
            if out.len() > OUTPUT {
                round.bytes += out.len();
                out.clear();
            }
        }
        round.cpu += thread_cpu().saturating_sub(before);
    }
    sessions.finish(&mut |observation| {
        round.handshakes += u32::from(observation.kind() == EventKind::Handshake);
    });
    round.bytes += out.len();
    let complete = stage == Stage::Decoded || round.handshakes == connections;
    ensure!(complete, "{} handshakes of {connections} connections", round.handshakes);
    Ok(round)
}

fn conversations() -> Result<Vec<Conversation>> {
    let folder = tempfile::tempdir()?;
    Conversation::of_each_kind(folder.path(), 1000)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn in_memory(settings: Settings, conversations: &[Conversation]) -> Result<()> {
    let stories = stories(conversations)?;
    let connections = settings.pick(100_000, 10_000);
    let rounds = settings.pick(3, 2);
    let mut rates = vec![(Spread::default(), Spread::default(), Spread::default()); STAGES.len()];
    for round in 0..rounds {
        progress(&format!("ring: in memory, round {} of {rounds}", round + 1));
        for ((stage, _), (events, handshakes, bytes)) in STAGES.into_iter().zip(&mut rates) {
            let done = through(stage, &stories, connections)?;
            let seconds = done.cpu.as_secs_f64();
            events.push(done.events as f64 / seconds);
            handshakes.push(f64::from(connections) / seconds);
            bytes.push(done.bytes as f64 / seconds / 1e6);
        }
    }
    let mut table = Table::new(&["", "events/s", "handshakes/s", "JSON, MB/s"]);
    for ((stage, name), (events, handshakes, bytes)) in STAGES.into_iter().zip(&rates) {
        let json = matches!(stage, Stage::Handshakes | Stage::Default);
        let bytes = if json { bytes.show(0) } else { "–".to_owned() };
        table.row(&[name.to_owned(), events.show(0), handshakes.show(0), bytes]);
    }
    println!(
        "One thread, its own CPU time: {connections} connections by OpenSSL (TLS 1.3 and 1.2, RSA and P-256 certificates), \
         all events that the kernel hands over of each, {rounds} rounds by turns.\n\n{table}"
    );
    for (at, what) in [(2, "`--events handshake`"), (3, "default events")] {
        let what = format!("complete handshakes to JSON on one core, {what}");
        let (_, handshakes, _) = &rates[at];
        println!("{}", Reach::at_least(&what, handshakes.median(), 200_000.0, 0, "/s").line());
    }
    Ok(())
}

/// A ClientHello of so many bytes, and the server's flight; nothing more.
fn open_handshake(conversation: &Conversation, len: usize) -> Result<Story> {
    let mut said = conversation.said.clone();
    let server = said.iter().position(|(speaker, _)| *speaker == Speaker::Server);
    said.truncate(server.context("an answer")? + 1);
    said[0].1 = padded(conversation.client_hello(), len)?;
    Story::unfinished(&Conversation { version: conversation.version, said })
}

/// Prints what `connections` open handshakes took of this process's memory, and how many are still known.
pub(crate) fn open_handshakes(len: usize, connections: u32) -> Result<()> {
    let conversations = conversations()?;
    let stories: Vec<_> =
        conversations.iter().map(|one| open_handshake(one, len)).collect::<Result<_>>()?;
    let mut events = Events::default();
    let mut sessions = Sessions::new(Limits::default());
    let mut clock = 1_700_000_000_000_000_000;
    for number in 0..connections {
        events.clear();
        stories[number as usize % stories.len()].copy(number, &mut clock, &mut events);
        for bytes in events.iter() {
            let event = Event::decode(bytes).ok().context("an event")?;
            let seen = Seen::of(&event, Timestamp(event.header.timestamp.cast_signed()));
            sessions.event(&event, SeenOn::one(Some("eth0")), seen, &mut |_| {});
        }
    }
    println!("{} {} {}", resident(), sessions.len(), sessions.memory());
    Ok(())
}

fn open(settings: Settings) -> Result<()> {
    const MEBIBYTE: f64 = 1_048_576.0;
    let connections = settings.pick(100_000_u32, 20_000);
    let mut table = Table::new(&["ClientHello", "resident, MiB", "accounted, MiB", "still known"]);
    let mut worst = 0.0_f64;
    let mut all = true;
    for len in [517_usize, 1700] {
        progress(&format!("ring: {connections} open handshakes, hellos of {len} bytes"));
        let mut child = Command::new(std::env::current_exe()?);
        let child = child.args(["--bench", "open", &len.to_string(), &connections.to_string()]);
        let said = tls_sniff_tests::process::run(child)?;
        let numbers: Vec<f64> =
            said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [resident, known, accounted] = numbers.as_slice() else { anyhow::bail!("{said}") };
        worst = worst.max(resident / MEBIBYTE);
        all &= *known >= f64::from(connections);
        table.row(&[
            format!("{len} B"),
            format!("{:.0}", resident / MEBIBYTE),
            format!("{:.0}", accounted / MEBIBYTE),
            format!("{known}"),
        ]);
    }
    println!(
        "{connections} handshakes at once, of each the ClientHello and the server's flight: resident memory of a process \
         that has nothing else.\n\n{table}"
    );
    let mut reach =
        Reach::at_most("resident memory at 100,000 concurrent handshakes", worst, 64.0, 0, " MiB");
    if !all {
        reach.reached = Some(false);
        reach.figure.push_str(", not all of them known");
    }
    println!("{}", reach.line());
    Ok(())
}

/// What the reader of the ring did.
#[derive(Default)]
struct Read {
    events: u64,
    wakeups: u64,
    cpu: Duration,
    time: Duration,
}

/// Reads the ring with epoll until `done`, on the CPU that is not the producer's.
fn consume(rig: &mut Rig, done: &AtomicBool) -> Result<Read> {
    pin(1)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut read = Read::default();
    let ring = rig.ring();
    // SAFETY: the ring outlives the descriptor that is borrowed of it here.
    let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
    let (start, before) = (Instant::now(), thread_cpu());
    loop {
        let over = done.load(Ordering::Acquire);
        let mut ready = [EpollEvent::empty()];
        read.wakeups += epoll.wait(&mut ready, EpollTimeout::from(20_u8))? as u64;
        while let Some(item) = ring.next() {
            ensure!(Event::decode(&item).is_ok(), "no event");
            read.events += 1;
        }
        if over {
            break;
        }
    }
    (read.cpu, read.time) = (thread_cpu().saturating_sub(before), start.elapsed());
    Ok(read)
}

/// Through the real ring: a producer in the kernel on one CPU, a reader on the other.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn through_the_ring(settings: Settings) -> Result<()> {
    let mut table = Table::new(&[
        "ClientHellos of 512 B",
        "read, events/s",
        "lost",
        "wake-ups for each event",
        "reader's CPU, ns an event",
    ]);
    let packet = Frame::ethernet().ipv4().tcp(40_000, 443).payload(&hello(512)).build();
    let time = Duration::from_secs(settings.pick(2, 1));
    // Events of one test run, and how long from the start of one to that of the next.
    for (name, burst, every) in [
        ("as many as there can be", 10_000, Duration::ZERO),
        ("1 each 20 µs", 1, Duration::from_micros(20)),
        ("10 each ms", 10, Duration::from_millis(1)),
    ] {
        progress(&format!("ring: {name}"));
        let mut rig = Rig::load(LoadOptions::default())?;
        let program = rig.program(At::In)?;
        let done = AtomicBool::new(false);
        let read = thread::scope(|scope| {
            let reader = scope.spawn(|| consume(&mut rig, &done));
            let producer = scope.spawn(|| {
                let outcome = produce(program.as_fd(), &packet, burst, every, time);
                done.store(true, Ordering::Release);
                outcome
            });
            producer.join().expect("the producer does not panic")?;
            reader.join().expect("the reader does not panic")
        })?;
        let (emitted, full) =
            (rig.count(At::In, Counter::Emitted)?, rig.count(At::In, Counter::RingFull)?);
        ensure!(emitted == read.events, "{emitted} emitted, {} read", read.events);
        let events = read.events as f64;
        table.row(&[
            name.to_owned(),
            format!("{:.0}", events / read.time.as_secs_f64()),
            format!("{:.1} %", 100.0 * full as f64 / (emitted + full) as f64),
            format!("{:.4}", read.wakeups as f64 / events),
            format!("{:.0}", read.cpu.as_secs_f64() * 1e9 / events),
        ]);
    }
    println!(
        "Through the real ring: BPF_PROG_TEST_RUN on one CPU, a reader with epoll on the other, which decodes each event.\n\n\
         {table}"
    );
    Ok(())
}

fn produce(
    program: BorrowedFd<'_>,
    packet: &[u8],
    burst: u32,
    every: Duration,
    time: Duration,
) -> Result<()> {
    pin(0)?;
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < time {
        bpf::test_run(program, packet, burst)?;
        next += every;
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
    Ok(())
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    let conversations = conversations()?;
    in_memory(settings, &conversations)?;
    open(settings)?;
    match Need::Root.missing() {
        None => through_the_ring(settings),
        Some(reason) => {
            println!("Through the real ring: not measured, {reason}.");
            Ok(())
        }
    }
}
