//! Sniffers on an interface, each in turn: started, waited for, ended, and what they say came of it.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{net::if_::if_nametoindex, sys::signal::Signal};
use serde_json::Value;
use tls_sniff_tests::{bpf, measure::Measured, need::tool, poll, veth::End};

use crate::{generator, program};

const SOON: Duration = Duration::from_secs(30);

/// Who does nothing for so long has nothing to do.
const QUIET: Duration = Duration::from_millis(250);

/// What tcpdump is told to find handshakes.
pub(crate) const HANDSHAKES: &str = "tcp[((tcp[12] & 0xf0) >> 2)] = 0x16";

/// A sniffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sniffer {
    Nothing,
    /// A program that passes at once, at TC.
    TrivialTc,
    Tc,
    /// The same at XDP: what XDP itself costs a veth pair.
    TrivialXdp,
    Xdp,
    TcpdumpHandshakes,
    TcpdumpPort,
    Tshark,
}

impl Sniffer {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nobody",
            Self::TrivialTc => "a TC program that passes at once",
            Self::TrivialXdp => "an XDP program that passes at once",
            Self::Tc => "tls-sniff, TC",
            Self::Xdp => "tls-sniff, XDP",
            Self::TcpdumpHandshakes => "tcpdump, its 0x16 filter",
            Self::TcpdumpPort => "tcpdump 'port 443'",
            Self::Tshark => "tshark -Y tls.handshake.type==1",
        }
    }

    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Tc | Self::Xdp)
    }

    /// Whether there is a process, with output and losses.
    pub(crate) const fn is_process(self) -> bool {
        !matches!(self, Self::Nothing | Self::TrivialTc | Self::TrivialXdp)
    }

    /// The program that there is none of.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let program = match self {
            Self::TcpdumpHandshakes | Self::TcpdumpPort => "tcpdump",
            Self::Tshark => "tshark",
            _ => return None,
        };
        tool(program).is_none().then_some(program)
    }
}

/// One that runs.
pub(crate) struct Running {
    sniffer: Sniffer,
    process: Option<Measured>,
    _link: Option<OwnedFd>,
    folder: PathBuf,
    /// CPU time of the start.
    before: Duration,
}

/// What it came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// CPU time from when it was ready to when it had nothing more to do.
    pub(crate) cpu: Duration,
    /// Whether it came to that in time.
    pub(crate) caught_up: bool,
    /// ClientHellos in its output.
    pub(crate) hellos: u64,
    /// What it says that it lost.
    pub(crate) lost: u64,
    /// The `stats` event.
    pub(crate) stats: Option<Value>,
}

impl Running {
    /// Starts a sniffer at `end`, on the CPU beside the generator's, its files in `folder`.
    pub(crate) fn start(sniffer: Sniffer, end: &End, folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        if sniffer.is_process() {
            return Self::start_process(sniffer, end, folder);
        }
        let index = || if_nametoindex(end.interface.as_str());
        let attach = |xdp| end.namespace.enter(|| bpf::attach_trivial(xdp, index()?))?;
        let link = match sniffer {
            Sniffer::TrivialTc => Some(attach(false)?),
            Sniffer::TrivialXdp => Some(attach(true)?),
            _ => None,
        };
        Ok(Self { sniffer, process: None, _link: link, folder, before: Duration::ZERO })
    }

    fn start_process(sniffer: Sniffer, end: &End, folder: PathBuf) -> Result<Self> {
        let mut command = end.namespace.command("taskset");
        command.args(["-c", &(generator::CPU + 1).to_string()]);
        let interface = end.interface.as_str();
        let find = |name: &str| tool(name).with_context(|| format!("no {name}"));
        let word = match sniffer {
            Sniffer::Nothing | Sniffer::TrivialTc | Sniffer::TrivialXdp => bail!("no process"),
            Sniffer::Tc | Sniffer::Xdp => {
                let hook = if sniffer == Sniffer::Xdp { "xdp" } else { "tc" };
                command.arg(program()?).args(["-i", interface, "--hook", hook]);
                command.args(["--events", "client_hello", "--format", "json"]);
                "watching"
            }
            Sniffer::TcpdumpHandshakes | Sniffer::TcpdumpPort => {
                command.arg(find("tcpdump")?).args(["-i", interface, "-Z", "root", "-w"]);
                command.arg(folder.join("capture"));
                command.arg(if sniffer == Sniffer::TcpdumpPort { "port 443" } else { HANDSHAKES });
                "listening"
            }
            Sniffer::Tshark => {
                command.arg(find("tshark")?).args(["-n", "-i", interface, "-f", "tcp port 443"]);
                command.args(["-Y", "tls.handshake.type==1", "-T", "fields", "-e", "ip.src"]);
                "Capturing"
            }
        };
        let stderr = folder.join("stderr");
        let mut measured = Measured::spawn(command, &folder.join("stdout"), &stderr)?;
        measured.says(&stderr, word, SOON)?;
        if !sniffer.is_ours() {
            // What it says comes before its socket.
            let sockets = format!("/proc/{}/net/packet", measured.id());
            poll::until(SOON, "a packet socket", || {
                (fs::read_to_string(&sockets).ok()?.lines().count() > 1).then_some(())
            })?;
        }
        let (before, _) = measured.idle(QUIET, SOON)?;
        Ok(Self { sniffer, process: Some(measured), _link: None, folder, before })
    }

    /// The process, if there is one.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Measured::id)
    }

    /// Lets it work off what it has, at most for so long, and ends it.
    pub(crate) fn stop(self, limit: Duration) -> Result<Outcome> {
        let Some(process) = self.process else {
            return Ok(Outcome { caught_up: true, ..Outcome::default() });
        };
        // The kernel hands a block that is not full to libpcap after a second.
        let quiet = if self.sniffer.is_ours() { QUIET } else { 6 * QUIET };
        let (cpu, caught_up) = process.idle(quiet, limit)?;
        process.signal(Signal::SIGINT)?;
        process.wait(Duration::from_secs(60))?;
        let mut outcome =
            Outcome { cpu: cpu.saturating_sub(self.before), caught_up, ..Outcome::default() };
        let said = fs::read_to_string(self.folder.join("stderr"))?;
        match self.sniffer {
            Sniffer::Nothing | Sniffer::TrivialTc | Sniffer::TrivialXdp => {}
            Sniffer::Tc | Sniffer::Xdp => read_events(&self.folder.join("stdout"), &mut outcome)?,
            Sniffer::TcpdumpHandshakes | Sniffer::TcpdumpPort => {
                outcome.hellos = hellos_in(&self.folder.join("capture"))?;
                outcome.lost = number_before(&said, " packets dropped by kernel").unwrap_or(0)
                    + number_before(&said, " packets dropped by interface").unwrap_or(0);
            }
            Sniffer::Tshark => {
                let lines = BufReader::new(File::open(self.folder.join("stdout"))?).lines();
                outcome.hellos = lines.count() as u64;
                outcome.lost = number_before(&said, " packets dropped").unwrap_or(0);
            }
        }
        Ok(outcome)
    }
}

/// The number in front of some words.
fn number_before(text: &str, words: &str) -> Option<u64> {
    let (before, _) = text.split_once(words)?;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Counts what tls-sniff reported, and reads what it says of losses.
fn read_events(path: &Path, outcome: &mut Outcome) -> Result<()> {
    let mut last = String::new();
    for line in BufReader::with_capacity(1 << 20, File::open(path)?).lines() {
        let line = line?;
        if line.contains("\"event\":\"client_hello\"") {
            outcome.hellos += 1;
        } else {
            last = line;
        }
    }
    let stats: Value = serde_json::from_str(&last).context("the stats event")?;
    ensure!(stats["event"] == "stats", "the last event is {last}");
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    for hook in stats["hooks"].as_object().context("hooks")?.values() {
        outcome.lost += count(&hook["ring_full"]) + count(&hook["read_failed"]);
    }
    outcome.lost += count(&stats["pipeline"]["dropped"]);
    outcome.stats = Some(stats);
    Ok(())
}

/// ClientHellos in a pcap file of frames of Ethernet, IPv4 and TCP without options. The last record may be cut.
fn hellos_in(path: &Path) -> Result<u64> {
    const CONTENT: usize = tls_sniff_tests::traffic::PAYLOAD;
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut header = [0; 24];
    file.read_exact(&mut header)?;
    let (mut record, mut frame, mut hellos) = ([0; 16], Vec::new(), 0);
    while file.read_exact(&mut record).is_ok() {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
        frame.resize(usize::try_from(length)?, 0);
        if file.read_exact(&mut frame).is_err() {
            break;
        }
        let is_hello = frame.get(CONTENT) == Some(&22) && frame.get(CONTENT + 5) == Some(&1);
        hellos += u64::from(is_hello);
    }
    Ok(hellos)
}
