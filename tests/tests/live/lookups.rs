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
    net::{Ipv4Addr, TcpListener, UdpSocket},
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
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    poll,
    sniffer::{self, Sniffer},
    veth::VethPair,
};

use super::sandbox::{children, mask, status};

const SOON: Duration = Duration::from_secs(45);
const READ: &str = "the configuration was read again";
const STAYS: &str = "the configuration stays as it was";

/// What a reload waits for an expression.
const GIVEN_UP: Duration = Duration::from_secs(15);

/// About this one the server says nothing.
const SILENT: &str = "silent.test";

/// Every other one has this address.
const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Who asked for a name.
#[derive(Clone, Debug)]
struct Asked {
    name: String,
    process: BTreeMap<String, String>,
}

/// A name server at 127.0.0.1 of a namespace, which looks at who asks.
struct Dns {
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
    fn asked(&self, name: &str) -> Vec<BTreeMap<String, String>> {
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
        let process = owner(from.port()).context("who asks")?;
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

pub(crate) fn without_capabilities() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.toml");
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    let dns = Dns::start(namespace)?;
    let logs = namespace.enter(|| TcpListener::bind((ADDRESS, 601)))??;
    logs.set_nonblocking(true)?;
    let connected = || poll::until(SOON, "a connection for the log", || logs.accept().ok());

    fs::write(&config, configuration("one.test", "logs.test"))?;
    let mut sniffer = start(namespace, folder.path())?;
    sniffer.ready()?;
    dns.asked_without_capabilities("one.test", "tls-expression")?;
    let _first = connected()?;
    dns.asked_without_capabilities("logs.test", "tls-connector")?;

    let mut reload = |text: &str, answer: &str| -> Result<Duration> {
        let count = |sniffer: &Sniffer| {
            sniffer.stderr().iter().filter(|line| line.contains(answer)).count()
        };
        let (before, asked) = (count(&sniffer), Instant::now());
        fs::write(&config, text)?;
        sniffer.signal(Signal::SIGHUP)?;
        poll::until(SOON, answer, || (count(&sniffer) > before).then_some(()))
            .with_context(|| sniffer.stderr().join("\n"))?;
        Ok(asked.elapsed())
    };
    reload(&configuration("two.test", "others.test"), READ)?;
    dns.asked_without_capabilities("two.test", "tls-expression")?;
    let second = connected()?;
    dns.asked_without_capabilities("others.test", "tls-connector")?;

    // One that nobody knows anything about is given up, and what was in force stays.
    let waited = reload(&configuration(SILENT, "others.test"), STAYS)?;
    ensure!(waited < 2 * GIVEN_UP, "{waited:?}");
    dns.asked_without_capabilities(SILENT, "tls-expression")?;
    let said = sniffer.stderr().join("\n");
    ensure!(said.contains("to compile it took more than 15 s"), "{said}");
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let told = |sniffer: &mut Sniffer, port: u16| -> Result<()> {
        let frame = Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello()).build();
        socket.send(&frame)?;
        sniffer.wait_for(SOON, |event| event["source_port"] == port).map(drop)
    };
    told(&mut sniffer, 1001)?;
    kill_connector(&sniffer)?;
    drop(second);
    // An output is connected again for something that it has to send.
    told(&mut sniffer, 1002)?;
    let ended = "the process that connects outputs has ended, so that none is connected again";
    poll::until(SOON, ended, || {
        sniffer.stderr().iter().any(|line| line.contains(ended)).then_some(())
    })
    .with_context(|| sniffer.stderr().join("\n"))?;
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    dns.end()
}

/// Kills the connector, a child of the attacher.
fn kill_connector(sniffer: &Sniffer) -> Result<()> {
    let [attacher] = children(sniffer.id())?[..] else { anyhow::bail!("one child") };
    let is_connector = |id: &u32| {
        fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name == "tls-connector\n")
    };
    let connector = children(attacher)?.into_iter().find(is_connector).context("a connector")?;
    Ok(kill(Pid::from_raw(connector.try_into()?), Signal::SIGKILL)?)
}
