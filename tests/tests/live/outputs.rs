//! Several outputs of one live run: they agree, one that stalls stops nobody, one that goes is connected again.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    packet_socket::PacketSocket,
    poll,
    sniffer::Sniffer,
    veth::VethPair,
};

use crate::backpressure::long_hello;

const SOON: Duration = Duration::from_secs(10);

/// Sends a hello from each of these ports to one where nobody listens: a handshake that is reset.
fn send(pair: &VethPair, ports: std::ops::Range<u16>, hello: &[u8]) -> Result<()> {
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    for port in ports {
        // To the address of the other end, which answers.
        let frame = Frame::ethernet().ipv4().addresses(pair.first.ipv4, pair.second.ipv4);
        socket.send(&frame.tcp(port, 443).payload(hello).build())?;
    }
    Ok(())
}

fn is_handshake_of(event: &Value, port: u16) -> bool {
    event["event"] == "handshake" && event["client_port"] == port
}

/// Reads lines of a socket, up to the handshake from a port; all, if that is `None`.
fn read(reader: &mut BufReader<UnixStream>, port: Option<u16>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).context("a line of the socket")? == 0 {
            ensure!(port.is_none(), "the socket ended after {lines:#?}");
            return Ok(lines);
        }
        ensure!(line.pop() == Some('\n'), "half a line: {line}");
        let event: Value = serde_json::from_str(&line)?;
        lines.push(line);
        if port.is_some_and(|port| is_handshake_of(&event, port)) {
            return Ok(lines);
        }
    }
}

fn accept(listener: &UnixListener) -> Result<BufReader<UnixStream>> {
    listener.set_nonblocking(true)?;
    let accepted = poll::until(SOON, "a connection", || listener.accept().ok())?;
    accepted.0.set_nonblocking(false)?;
    accepted.0.set_read_timeout(Some(SOON))?;
    Ok(BufReader::new(accepted.0))
}

/// Lines of a file that are no statistics, by the client's port.
fn ports(path: &Path) -> Result<Vec<u64>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut ports = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)?;
        ports.extend(event["id.orig_p"].as_u64());
    }
    Ok(ports)
}

/// stdout, a file in another form, and a socket tell the same. logrotate renames the file meanwhile, and the reader of the
/// socket comes late, goes, and comes back: behind the sandbox, where the connector connects.
pub(crate) fn agree() -> Result<()> {
    let pair = VethPair::new()?;
    let dir = tempfile::tempdir()?;
    let (file, moved, socket) =
        (dir.path().join("ssl.log"), dir.path().join("ssl.log.1"), dir.path().join("socket"));
    let to_file = format!("file:{},events=handshake,profile=zeek", file.display());
    let to_socket = format!("unix:{}", socket.display());
    let arguments = [
        &["-i", "veth-b", "--format", "json", "--output", "stdout"][..],
        &["--output", &to_file, "--output", &to_socket],
    ];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments.concat())?;
    sniffer.ready()?;
    ensure!(sniffer.stderr().iter().any(|line| line.contains(&to_socket)), "nothing said");
    // Nobody listens yet: what comes waits.
    send(&pair, 1..6, &client_hello())?;
    sniffer.wait_for(SOON, |event| is_handshake_of(event, 5))?;
    let listener = UnixListener::bind(&socket)?;
    let mut reader = accept(&listener)?;
    let mut told = read(&mut reader, Some(5))?;
    fs::rename(&file, &moved)?;
    sniffer.signal(Signal::SIGHUP)?;
    poll::until(SOON, "the file to be there again", || file.exists().then_some(()))?;
    drop(reader);
    send(&pair, 6..11, &client_hello())?;
    let mut reader = accept(&listener)?;
    told.extend(read(&mut reader, Some(10))?);
    sniffer.wait_for(SOON, |event| is_handshake_of(event, 10))?;
    let stopped = sniffer.stop()?;
    told.extend(read(&mut reader, None)?);
    stopped.check_sums()?;
    // Statistics of losses while nobody listened, if there are any, come where there is room.
    let events = |lines: &[String]| -> Vec<String> {
        lines.iter().filter(|line| !line.contains(r#""event":"stats""#)).cloned().collect()
    };
    ensure!(events(&told) == events(&stopped.stdout), "{told:#?}\n{:#?}", stopped.stdout);
    ensure!(told.last() == stopped.stdout.last(), "{:?}", told.last());
    let all = [ports(&moved)?, ports(&file)?].concat();
    ensure!(all == (1..=10).collect::<Vec<_>>(), "{all:?}");
    ensure!(ports(&moved)?.len() == 5, "{:?}", ports(&moved)?);
    let outputs = &stopped.stats()?["outputs"];
    ensure!(outputs.as_array().is_some_and(|outputs| outputs.len() == 3), "{outputs}");
    ensure!(stopped.stats()?["pipeline"]["dropped"] == 0, "{outputs}");
    Ok(())
}

/// A reader that stands still: it costs its own output events, which are counted on it and said; the file has all, and
/// when it reads again it gets what waited and what comes then.
pub(crate) fn stalled() -> Result<()> {
    const HELLOS: u16 = 1500;
    let pair = VethPair::new()?;
    let dir = tempfile::tempdir()?;
    let (file, socket) = (dir.path().join("events.json"), dir.path().join("socket"));
    let (to_file, to_socket) =
        (format!("file:{}", file.display()), format!("unix:{}", socket.display()));
    let listener = UnixListener::bind(&socket)?;
    let arguments = [
        &["-i", "veth-b", "--format", "json", "--output", "stdout,events=certificate"][..],
        &["--events", "client_hello", "--output", &to_file, "--output", &to_socket],
    ];
    let mut sniffer = Sniffer::start(&pair.second.namespace, &arguments.concat())?;
    sniffer.ready()?;
    let mut reader = accept(&listener)?;
    let hello = long_hello();
    for first in (1..HELLOS).step_by(50) {
        send(&pair, first..first + 50, &hello)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = format!("the reader of {to_socket} is too slow");
    poll::until(SOON, "it to be said", || {
        sniffer.stderr().iter().any(|line| line.contains(&said)).then_some(())
    })?;
    let reading = std::thread::spawn(move || read(&mut reader, None));
    // Once a hello comes through, there is room.
    std::thread::sleep(Duration::from_millis(500));
    send(&pair, 30_000..30_010, &hello)?;
    std::thread::sleep(Duration::from_millis(500));
    let stopped = sniffer.stop()?;
    let lines = reading.join().expect("the reader does not panic")?;
    stopped.check_sums()?;
    let outputs = stopped.stats()?["outputs"].as_array().context("outputs")?;
    let of = |name: &str| {
        outputs.iter().find(|output| output["name"] == name).with_context(|| format!("no {name}"))
    };
    let (of_file, of_socket) = (of(&to_file)?, of(&to_socket)?);
    ensure!(of_file["written"] == of_file["events"], "{of_file}");
    let is_hello = |line: &&str| line.contains(r#""event":"client_hello""#);
    let in_file = fs::read_to_string(&file)?.lines().filter(is_hello).count();
    ensure!(of_file["written"] == in_file && in_file > usize::from(HELLOS), "{of_file}");
    let hellos: Vec<&str> = lines.iter().map(String::as_str).filter(is_hello).collect();
    ensure!(of_socket["written"] == hellos.len(), "{} lines: {of_socket}", hellos.len());
    ensure!(of_socket["lost_queue"].as_u64() > Some(100), "{of_socket}");
    ensure!(of_socket["events"] == of_file["events"], "{of_socket} {of_file}");
    ensure!(hellos.last().is_some_and(|line| line.contains(r#""source_port":30009"#)));
    Ok(())
}
