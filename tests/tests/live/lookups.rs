//! Names of hosts: what the DNS answers is parsed by processes that have no capability.
//!
//! ```text
//!  libpcap's expression, syslog+tcp:HOST ─► C library ─► resolv.conf ─► Dns, in this process
//!                                                                        │ who has the socket that the query is from?
//!                                                                        ▼
//!                                                               /proc/PID/status: name, capabilities
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    poll,
    process::children,
    sniffer::{self, Sniffer, Stopped},
    veth::VethPair,
};

use super::sandbox::{mask, status};

const SOON: Duration = Duration::from_secs(45);
pub(super) const READ: &str = "the configuration was read again";
pub(super) const STAYS: &str = "the configuration stays as it was";

/// What is said of a connector that has ended, and of nothing else.
const ENDED: &str = "; another one is started";

/// What a reload waits for an expression.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// About this one the server says nothing.
pub(super) const SILENT: &str = "silent.test";

/// Every other one has this address.
const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Who asked for a name.
#[derive(Clone, Debug)]
struct Asked {
    name: String,
    process: BTreeMap<String, String>,
}

/// A name server at 127.0.0.1 of a namespace, which looks at who asks.
pub(super) struct Dns {
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Dns {
    fn start(namespace: &Namespace) -> Result<Self> {
        let socket = namespace.enter(|| UdpSocket::bind((ADDRESS, 53)))??;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (asked, over) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (asked, over) = (Arc::clone(&asked), Arc::clone(&over));
            move || serve(&socket, &asked, &over)
        });
        Ok(Self { asked, over, thread: Some(thread) })
    }

    /// The processes that asked for `name`.
    pub(super) fn asked(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|it| it.name == name).map(|it| it.process.clone()).collect()
    }

    /// Waits until somebody has asked for `name`, and looks whether it was a process with this name and without
    /// capabilities each time.
    fn asked_without_capabilities(&self, name: &str, process: &str) -> Result<()> {
        poll::until(SOON, name, || (!self.asked(name).is_empty()).then_some(()))?;
        for who in self.asked(name) {
            ensure!(who["Name"] == process, "{who:#?}");
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                ensure!(mask(&who, set)? == 0, "{who:#?}");
            }
            ensure!(who["NoNewPrivs"] == "1", "{who:#?}");
        }
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a thread")?;
        thread.join().map_err(|_| anyhow::anyhow!("the name server panicked"))?
    }
}

fn serve(socket: &UdpSocket, asked: &Mutex<Vec<Asked>>, over: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 512];
    while !over.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let (name, answer) = answer(&buffer[..len]).context("a query")?;
        // Who has ended meanwhile, which a newer configuration may have done, needs no answer.
        let Some(process) = owner(from.port()) else { continue };
        let silent = name == SILENT;
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(Asked { name, process });
        if !silent {
            socket.send_to(&answer, from)?;
        }
    }
    Ok(())
}

/// The name that a query asks for, and the answer: one address, or none if it is not asked for one of IPv4 (RFC 1035,
/// section 4).
fn answer(query: &[u8]) -> Option<(String, Vec<u8>)> {
    const HEADER: usize = 12;
    let mut labels = Vec::new();
    let mut at = HEADER;
    while let len @ 1.. = usize::from(*query.get(at)?) {
        labels.push(std::str::from_utf8(query.get(at + 1..at + 1 + len)?).ok()?);
        at += 1 + len;
    }
    let question = query.get(HEADER..at + 5)?;
    let is_address = question.ends_with(&[0, 1, 0, 1]);
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        // The name of the question, A, IN, for a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ADDRESS.octets());
    }
    Some((labels.join("."), answer))
}

/// The status of the process that has the UDP socket with this port, among those of any namespace.
fn owner(port: u16) -> Option<BTreeMap<String, String>> {
    let numbered = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(numbered);
    processes.map(|id| PathBuf::from(format!("/proc/{id}"))).find_map(|folder| {
        let sockets = fs::read_to_string(folder.join("net/udp")).ok()?;
        let wanted = format!(":{port:04X}");
        let inode = sockets.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.get(1)?.ends_with(&wanted).then(|| fields.get(9).copied())?
        })?;
        let target = PathBuf::from(format!("socket:[{inode}]"));
        let mut files = fs::read_dir(folder.join("fd")).ok()?.flatten();
        files.any(|file| fs::read_link(file.path()).ok() == Some(target.clone())).then_some(())?;
        status(&folder).ok()
    })
}

/// A configuration with the name of a host in its expression, and one in an output.
fn configuration(host: &str, logs: &str) -> String {
    format!(
        "interface = [\"veth-b\"]\nexpression = \"tcp port 443 or host {host}\"\n\
         [[output]]\nto = \"stdout\"\n[[output]]\nto = \"syslog+tcp:{logs}:601\"\n"
    )
}

/// Starts it where 127.0.0.1 is the name server.
fn start(namespace: &Namespace, folder: &Path) -> Result<Sniffer> {
    // Longer than tls-sniff waits.
    fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:30\n")?;
    let mut command = namespace.command("sh");
    command.args(["-c", r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#]);
    command.arg(folder.join("resolv.conf")).arg(sniffer::binary()?);
    command.arg("--config").arg(folder.join("config.toml"));
    Sniffer::spawn(command)
}

/// What all of it happens to.
pub(super) struct Run {
    pub(super) config: PathBuf,
    _folder: TempDir,
    pub(super) pair: VethPair,
    pub(super) dns: Dns,
    /// Where the output's events go to.
    logs: TcpListener,
    pub(super) sniffer: Sniffer,
}

impl Run {
    pub(super) fn start(text: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config.toml");
        let pair = VethPair::new()?;
        let namespace = &pair.second.namespace;
        let dns = Dns::start(namespace)?;
        let listener = namespace.enter(|| TcpListener::bind((ADDRESS, 601)))??;
        listener.set_nonblocking(true)?;
        fs::write(&config, text)?;
        let mut sniffer = start(namespace, folder.path())?;
        sniffer.ready()?;
        Ok(Self { config, _folder: folder, pair, dns, logs: listener, sniffer })
    }

    fn connected(&self) -> Result<TcpStream> {
        let connection = poll::until(SOON, "a connection", || self.logs.accept().ok());
        Ok(connection.with_context(|| self.sniffer.stderr().join("\n"))?.0)
    }

    /// How many lines of its log have these words.
    pub(super) fn said(&self, words: &str) -> usize {
        self.sniffer.stderr().iter().filter(|line| line.contains(words)).count()
    }

    /// Has another configuration read, and waits for `answer`.
    fn reload(&mut self, text: &str, answer: &str) -> Result<Duration> {
        let (before, asked) = (self.said(answer), Instant::now());
        fs::write(&self.config, text)?;
        self.sniffer.signal(Signal::SIGHUP)?;
        poll::until(SOON, answer, || (self.said(answer) > before).then_some(()))
            .with_context(|| self.sniffer.stderr().join("\n"))?;
        Ok(asked.elapsed())
    }

    /// Has a hello from this port told.
    fn tell(&mut self, port: u16) -> Result<()> {
        let socket = PacketSocket::open(&self.pair.first.namespace, "veth-a")?;
        let frame = Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello()).build();
        socket.send(&frame)?;
        self.sniffer.wait_for(SOON, |event| event["source_port"] == port).map(drop)
    }

    pub(super) fn attacher(&self) -> Result<u32> {
        self.sniffer.attacher()
    }

    fn kill_connector(&self) -> Result<u32> {
        let is_connector = |id: &u32| {
            fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|it| it == "tls-connector\n")
        };
        let mut children = children(self.attacher()?)?.into_iter();
        let connector = children.find(is_connector).context("a connector")?;
        kill(Pid::from_raw(connector.try_into()?), Signal::SIGKILL)?;
        Ok(connector)
    }

    pub(super) fn end(self) -> Result<Stopped> {
        let stopped = self.sniffer.stop()?;
        ensure!(stopped.status.success(), "{stopped:#?}");
        self.dns.end()?;
        Ok(stopped)
    }
}

pub(crate) fn without_capabilities() -> Result<()> {
    let mut run = Run::start(&configuration("one.test", "logs.test"))?;
    run.dns.asked_without_capabilities("one.test", "tls-expression")?;
    let _first = run.connected()?;
    run.dns.asked_without_capabilities("logs.test", "tls-connector")?;

    run.reload(&configuration("two.test", "others.test"), READ)?;
    run.dns.asked_without_capabilities("two.test", "tls-expression")?;
    let _second = run.connected()?;
    run.dns.asked_without_capabilities("others.test", "tls-connector")?;

    // One that nobody knows anything about is given up, and what was in force stays.
    let waited = run.reload(&configuration(SILENT, "others.test"), STAYS)?;
    ensure!(waited < 2 * GIVEN_UP, "{waited:?}");
    run.dns.asked_without_capabilities(SILENT, "tls-expression")?;
    ensure!(run.said("to compile it took more than 15 s") == 1, "{:#?}", run.sniffer.stderr());
    ensure!(run.said("has names of hosts looked up") > 0, "{:#?}", run.sniffer.stderr());
    run.tell(1001)?;
    let stopped = run.end()?;
    ensure!(!stopped.stderr.iter().any(|line| line.contains(ENDED)), "{stopped:#?}");
    Ok(())
}

/// A connector that is killed has a successor, which connects outputs again and knows those of a reload. Nothing is left
/// of the old one.
pub(crate) fn connector_killed() -> Result<()> {
    let mut run = Run::start(&configuration("one.test", "logs.test"))?;
    let first = run.connected()?;
    let killed = run.kill_connector()?;
    drop(first);
    // An output is connected again for something that it has to send.
    run.tell(1001)?;
    let mut second = run.connected()?;
    arrives(&mut second, 1001)?;
    run.dns.asked_without_capabilities("logs.test", "tls-connector")?;
    ensure!(run.dns.asked("logs.test").len() > 1);

    // During a reload, too.
    let killed_too = run.kill_connector()?;
    ensure!(killed_too != killed);
    run.reload(&configuration("one.test", "others.test"), READ)?;
    run.tell(1002)?;
    let mut third = run.connected()?;
    arrives(&mut third, 1002)?;
    run.dns.asked_without_capabilities("others.test", "tls-connector")?;
    // Told while it runs.
    run.reload(&configuration("one.test", "fourth.test"), READ)?;
    run.tell(1003)?;
    let mut fourth = run.connected()?;
    arrives(&mut fourth, 1003)?;

    for child in children(run.attacher()?)? {
        let child = status(Path::new(&format!("/proc/{child}")))?;
        ensure!(!child["State"].starts_with('Z'), "{child:#?}");
    }
    for killed in [killed, killed_too] {
        ensure!(!Path::new(&format!("/proc/{killed}")).exists());
    }
    let stopped = run.end()?;
    let said: Vec<_> = stopped.stderr.iter().filter(|line| line.contains(ENDED)).collect();
    let [one, two] = said[..] else { anyhow::bail!("{stopped:#?}") };
    for (line, killed) in [(one, killed), (two, killed_too)] {
        ensure!(line.contains("WARN") && line.contains(&killed.to_string()), "{line}");
        ensure!(line.contains("was ended by SIGKILL"), "{line}");
    }
    Ok(())
}

/// Waits until the hello from this port has come.
fn arrives(connection: &mut TcpStream, port: u16) -> Result<()> {
    connection.set_read_timeout(Some(SOON))?;
    let (mut arrived, mut buffer) = (Vec::new(), [0; 4096]);
    let wanted = format!(r#""source_port":{port},"#);
    while !String::from_utf8_lossy(&arrived).contains(&wanted) {
        let len = connection.read(&mut buffer).context(wanted.clone())?;
        ensure!(len > 0, "the connection ended before {wanted}");
        arrived.extend(&buffer[..len]);
    }
    Ok(())
}
