//! A capture of real handshakes, read by tls-sniff and by others; and how the cost grows.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use nix::unistd::geteuid;
use tls_sniff_tests::{
    conversation::{Conversation, Speaker},
    figures::{Reach, Spread, Table, progress},
    frame::Frame,
    measure::{Measured, Used},
    need::{command, tool},
    traffic::{PcapWriter, Template, readdress},
};

use crate::{Settings, kernel::application_data, live::HANDSHAKES, program};

const LONG: Duration = Duration::from_secs(120);

/// Bytes that each client fetches: the capture then has 400 bytes a packet, as a mixture has.
const PAGE: usize = 6000;

/// Connections that are open at once.
const OPEN: u32 = 1000;

/// tshark reads this part of the capture. What it takes beyond its start is counted so often.
const TSHARK_PART: u32 = 10;

/// A capture file.
struct Capture {
    path: PathBuf,
    packets: u64,
    bytes: u64,
    connections: u32,
}

impl Capture {
    fn new(path: PathBuf, templates: &[Template], connections: u32, open: u32) -> Result<Self> {
        let mut writer = PcapWriter::new(BufWriter::new(File::create(&path)?))?;
        writer.connections(templates, connections, open)?;
        let (packets, bytes) = (writer.packets, writer.bytes);
        Ok(Self { path, packets, bytes, connections })
    }

    /// Application data of so many flows, in turn.
    fn of_data(path: PathBuf, packets: u32, flows: u32) -> Result<Self> {
        let mut writer = PcapWriter::new(BufWriter::new(File::create(&path)?))?;
        let frame = Frame::ethernet().ipv4().addresses([10, 0, 0, 0], [192, 0, 2, 1]).tcp(0, 443);
        let mut frame = frame.payload(&application_data(400)).build();
        for number in 0..packets {
            readdress(&mut frame, Speaker::Client, number % flows);
            writer.write(&frame)?;
        }
        let (packets, bytes) = (writer.packets, writer.bytes);
        Ok(Self { path, packets, bytes, connections: 0 })
    }
}

/// The same, whole, in part, and without a packet.
struct Captures {
    whole: Capture,
    part: Capture,
    empty: Capture,
}

/// The command that reads a file; what it writes beside goes into a folder.
type Build = Box<dyn Fn(&Path, &Path) -> Result<Command>>;

/// Who reads.
struct Reader {
    name: String,
    command: Build,
    /// Reads only a part of the capture.
    part: bool,
    /// Is none of ours.
    is_other: bool,
}

fn tls_sniff(events: Option<&'static str>) -> Reader {
    let name = events.map_or_else(
        || "tls-sniff, default events".to_owned(),
        |events| format!("tls-sniff `--events {events}`"),
    );
    let command = move |file: &Path, _: &Path| {
        let mut command = Command::new(program()?);
        command.arg("-r").arg(file).args(["--format", "json"]);
        if let Some(events) = events {
            command.args(["--events", events]);
        }
        Ok(command)
    };
    Reader { name, command: Box::new(command), part: false, is_other: false }
}

fn other(
    name: &str,
    part: bool,
    program: &'static str,
    arguments: impl Fn(&mut Command, &Path, &Path) + 'static,
) -> Option<Reader> {
    tool(program)?;
    let build = move |file: &Path, folder: &Path| {
        let mut command = command(program);
        arguments(&mut command, file, folder);
        Ok(command)
    };
    Some(Reader { name: name.to_owned(), command: Box::new(build), part, is_other: true })
}

const HELLOS: usize = 0;
const TCPDUMP: &str = "tcpdump, its 0x16 filter";
const TSHARK: &str = "tshark `-Y tls.handshake.type==1`";

fn readers() -> Vec<Reader> {
    let mut readers = vec![
        tls_sniff(Some("client_hello,server_hello")),
        tls_sniff(Some("handshake")),
        tls_sniff(None),
    ];
    let others = [
        other(TCPDUMP, false, "tcpdump", |command, file, _| {
            command.arg("-r").arg(file).args([HANDSHAKES, "-w", "/dev/null"]);
            if geteuid().is_root() {
                command.args(["-Z", "root"]);
            }
        }),
        other(TSHARK, true, "tshark", |command, file, _| {
            command.arg("-n").arg("-r").arg(file);
            command.args(["-Y", "tls.handshake.type==1", "-T", "fields", "-e", "ip.src"]);
        }),
        other("mercury", false, "mercury", |command, file, _| {
            command.arg("-r").arg(file).args(["--select=tls", "-f", "/dev/null"]);
        }),
        other("zeek", false, "zeek", |command, file, folder| {
            command.current_dir(folder).arg("-C").arg("-r").arg(file);
        }),
        other("suricata", false, "suricata", |command, file, folder| {
            command.arg("-r").arg(file).arg("-l").arg(folder);
        }),
    ];
    readers.extend(others.into_iter().flatten());
    readers
}

/// All rounds of one reader.
#[derive(Default)]
struct Row {
    cpu: Vec<f64>,
    peak: Spread,
}

/// What reading the capture takes, and the CPU seconds that it would take if all of it were read.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn read(reader: &Reader, captures: &Captures, folder: &Path) -> Result<(Used, f64)> {
    let run = |file: &Capture| Measured::run((reader.command)(&file.path, folder)?, LONG);
    if !reader.part {
        let used = run(&captures.whole)?;
        return Ok((used, used.cpu.as_secs_f64()));
    }
    let start = run(&captures.empty)?.cpu.as_secs_f64();
    let used = run(&captures.part)?;
    let times = captures.whole.bytes as f64 / captures.part.bytes as f64;
    Ok((used, start + (used.cpu.as_secs_f64() - start) * times))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn compare(settings: Settings, captures: &Captures, folder: &Path) -> Result<()> {
    let capture = &captures.whole;
    let readers = readers();
    let rounds = settings.pick(5, 1);
    let mut rows: Vec<Row> = readers.iter().map(|_| Row::default()).collect();
    for round in 0..rounds {
        progress(&format!("offline: round {} of {rounds}", round + 1));
        for (reader, row) in readers.iter().zip(&mut rows) {
            let (used, cpu) = match read(reader, captures, folder) {
                Ok(read) => read,
                // What another program cannot do is no fault of ours.
                Err(error) if reader.is_other => {
                    progress(&format!("offline: {error:#}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            row.cpu.push(cpu);
            row.peak.push(used.peak as f64 / 1_048_576.0);
        }
    }
    let tcpdump = readers.iter().position(|reader| reader.name == TCPDUMP);
    let tshark = readers.iter().position(|reader| reader.name == TSHARK);
    let times = |row: &Row, other: Option<usize>| {
        other.map_or_else(Spread::default, |other| Spread::ratios(&row.cpu, &rows[other].cpu))
    };
    let mut table =
        Table::new(&["", "CPU s", "times tcpdump's", "MB/s", "connections/s", "peak memory, MiB"]);
    for (reader, row) in readers.iter().zip(&rows) {
        let cpu: Spread = row.cpu.iter().copied().collect();
        let a_second = |count: f64| match count / cpu.median() {
            rate if rate.is_finite() => format!("{rate:.0}"),
            _ => "failed".to_owned(),
        };
        table.row(&[
            reader.name.clone(),
            cpu.show(2),
            times(row, tcpdump).show(2),
            a_second(capture.bytes as f64 / 1e6),
            a_second(f64::from(capture.connections)),
            row.peak.show(0),
        ]);
    }
    for missing in ["tcpdump", "tshark"].into_iter().filter(|name| tool(name).is_none()) {
        table.row(&[&format!("no {missing} here"), "–", "–", "–", "–", "–"]);
    }
    println!(
        "A capture made on the spot: {} packets, {:.0} MB, {} connections between OpenSSL's client and server (TLS 1.3 and \
         1.2, RSA and P-256 certificates, a page of {PAGE} bytes each), recorded once of each kind and copied with other \
         addresses, ports, randoms and times; {OPEN} are open at once. User and system time of the process, {rounds} rounds by \
         turns, median (min…max). tshark reads one part of {TSHARK_PART}; what it takes beyond its start is counted so often.\n\n{table}",
        capture.packets,
        capture.bytes as f64 / 1e6,
        capture.connections
    );
    let hellos = &rows[HELLOS];
    let what = "offline, hellos of 200 MB to JSON: times tcpdump's CPU";
    println!("{}", Reach::at_most(what, times(hellos, tcpdump).median(), 2.5, 2, "×").line());
    let part = tshark
        .map_or(f64::NAN, |tshark| 1.0 / Spread::ratios(&hellos.cpu, &rows[tshark].cpu).median());
    println!(
        "{}",
        Reach::at_least("the same: tshark's CPU, times ours", part, 50.0, 0, "×").line()
    );
    Ok(())
}

/// Every hello of the capture is told.
fn check(capture: &Capture, folder: &Path) -> Result<()> {
    progress("offline: is every hello told?");
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let reader = tls_sniff(Some("client_hello,server_hello"));
    Measured::spawn((reader.command)(&capture.path, folder)?, &out, &err)?.wait(LONG)?;
    let mut told = [0_u32; 2];
    for line in BufReader::with_capacity(1 << 20, File::open(&out)?).lines() {
        let line = line?;
        told[0] += u32::from(line.contains("\"event\":\"client_hello\""));
        told[1] += u32::from(line.contains("\"event\":\"server_hello\""));
    }
    ensure!(
        told == [capture.connections; 2],
        "{told:?} hellos of {} connections",
        capture.connections
    );
    Ok(())
}

/// Rows of a table of how the cost grows: each file read in turn, several rounds.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn growth(settings: Settings, what: &str, files: &[(String, Capture)]) -> Result<()> {
    let rounds = settings.pick(3, 1);
    let mut rows: Vec<Row> = files.iter().map(|_| Row::default()).collect();
    progress(&format!("offline: {what}"));
    for _ in 0..rounds {
        for ((_, file), row) in files.iter().zip(&mut rows) {
            let reader = tls_sniff(None);
            let used = Measured::run((reader.command)(&file.path, Path::new("/"))?, LONG)?;
            row.cpu.push(used.cpu.as_secs_f64() * 1e9 / file.packets as f64);
            row.peak.push(used.peak as f64 / 1_048_576.0);
        }
    }
    let mut table =
        Table::new(&[what, "packets", "CPU, ns a packet", "times the first", "peak memory, MiB"]);
    for ((name, file), row) in files.iter().zip(&rows) {
        let cpu: Spread = row.cpu.iter().copied().collect();
        table.row(&[
            name.clone(),
            file.packets.to_string(),
            cpu.show(0),
            Spread::ratios(&row.cpu, &rows[0].cpu).show(2),
            row.peak.show(0),
        ]);
    }
    println!("{table}");
    Ok(())
}

pub(crate) fn run(settings: Settings) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let conversations = Conversation::of_each_kind(folder.path(), PAGE)?;
    let templates: Vec<_> = conversations.iter().map(Template::of).collect();
    let connections = settings.pick(22_000, 2200);
    progress(&format!("offline: a capture of {connections} connections"));
    let new = |name: &str, connections, open| {
        Capture::new(folder.path().join(name), &templates, connections, open)
    };
    let captures = Captures {
        whole: new("capture", connections, OPEN)?,
        part: new("part", connections / TSHARK_PART, OPEN)?,
        empty: new("empty", 0, OPEN)?,
    };
    check(&captures.whole, folder.path())?;
    compare(settings, &captures, folder.path())?;
    println!(
        "How it grows (tls-sniff, default events; {} rounds by turns):\n",
        settings.pick(3, 1)
    );
    let quarter = connections / 4;
    let open = [1, 10, 100, 1000, quarter].into_iter().filter(|open| *open <= quarter);
    let open =
        open.map(|open| Ok((open.to_string(), new(&format!("open-{open}"), quarter, open)?)));
    growth(settings, "handshakes open at once", &open.collect::<Result<Vec<_>>>()?)?;
    let packets = settings.pick(200_000, 20_000);
    let flows = [1, 10, 100, 1000, 10_000, packets].into_iter().map(|flows| {
        let path = folder.path().join(format!("flows-{flows}"));
        Ok((flows.to_string(), Capture::of_data(path, packets, flows)?))
    });
    growth(settings, "connections, application data alone", &flows.collect::<Result<Vec<_>>>()?)?;
    let lengths = [1, 2, 4].into_iter().map(|times| {
        let file = new(&format!("times-{times}"), quarter * times, OPEN)?;
        Ok((format!("{times} ×"), file))
    });
    growth(settings, "the same capture, longer", &lengths.collect::<Result<Vec<_>>>()?)
}
