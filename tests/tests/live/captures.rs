//! Live captures: how much of a connection is written, what is said of its packets, secrets, and events beside.

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tls_sniff_tests::{
    capture::{Tcpdump, capinfos_count, packets, tshark_count},
    frame::{Frame, client_hello},
    middle::Middle,
    netns::Namespace,
    packet_socket::PacketSocket,
    peer::{Certificate, Client, Mode, Server, Version},
    poll,
    process::Process,
    sniffer::{Sniffer, Stopped, binary},
    tshark,
    veth::{End, VethPair},
};

use crate::{handshakes::NAME, tcpdump::settle};

const OTHER: &str = "other.example";

fn capture(end: &End, file: &Path, flags: &[&str]) -> Result<Sniffer> {
    let file = file.to_str().context("a path in UTF-8")?;
    let general = ["-i", &end.interface, "--format", "json", "-w", file];
    let mut sniffer = Sniffer::start(&end.namespace, &[&general[..], flags].concat())?;
    sniffer.ready()?;
    Ok(sniffer)
}

/// What was captured is what the counters say, in a file that the others read without a word.
fn check_file(stopped: &Stopped, file: &Path) -> Result<Vec<Vec<u8>>> {
    ensure!(stopped.status.success(), "{:?}", stopped.stderr);
    stopped.check_sums()?;
    let frames = packets(file)?;
    let counters = &stopped.stats()?["capture"];
    ensure!(counters["written"] == frames.len() && counters["packets"] == frames.len());
    ensure!(capinfos_count(file)? == frames.len() as u64, "capinfos' count");
    ensure!(tshark_count(file)? == frames.len(), "tshark's count");
    Ok(frames)
}

/// Frames of a reference capture that a display filter takes.
fn frames_of(file: &Path, filter: &str) -> Result<Vec<Vec<u8>>> {
    let all = packets(file)?;
    let rows = tshark::rows(file, filter, &["frame.number"])?;
    let numbers = rows.iter().flatten().map(|number| Ok(number.parse::<usize>()?));
    let frame = |number: Result<usize>| all.get(number? - 1).cloned().context("a frame");
    numbers.map(frame).collect()
}

/// One connection of two is wanted, by its server name, in each scope.
pub(crate) fn scopes(hook: &'static str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let address = |port| SocketAddr::new(pair.second.address(false), port);
    let server = |port| Server::new(&certificate, address(port)).mode(Mode::Rev);
    let _wanted = server(443).version(Version::Tls12).start(&pair.second.namespace)?;
    let _other = server(8443).version(Version::Tls12).start(&pair.second.namespace)?;
    let end = &pair.second;
    for scope in ["record", "handshake", "connection"] {
        let all = dir.path().join(format!("{scope}-all.pcap"));
        let file = dir.path().join(format!("{scope}.pcapng"));
        let reference = Tcpdump::start(end, &all, "tcp")?;
        let flags = ["--hook", hook, "--sni", NAME, "--write-scope", scope];
        let sniffer = capture(end, &file, &flags)?;
        for (port, name) in [(8443, OTHER), (443, NAME)] {
            let request = b"a line of application data\nCLOSE\n";
            let client = Client::new(address(port), name).version(Version::Tls12);
            client.request(request).run(&pair.first.namespace)?.established()?;
        }
        // No TLS: refused, and gone.
        let refused = pair.first.namespace.enter(|| TcpStream::connect(address(9)).is_err())?;
        ensure!(refused, "somebody listens on port 9");
        settle(&all)?;
        let stopped = sniffer.stop()?;
        reference.stop()?;
        let written = check_file(&stopped, &file)?;
        let connection = frames_of(&all, "tcp.port == 443")?;
        ensure!(connection.len() > 12, "{}", connection.len());
        // A file may be in another order than the packets came.
        let position = |frame: &Vec<u8>| connection.iter().position(|it| it == frame);
        let mut places: Vec<usize> = written
            .iter()
            .map(|frame| {
                position(frame).with_context(|| format!("{scope}: another's {frame:02x?}"))
            })
            .collect::<Result<_>>()?;
        places.sort_unstable();
        match scope {
            "record" => {
                let hello = frames_of(&all, "tcp.port == 443 && tls.handshake.type == 1")?;
                ensure!(places.first().copied() == position(&hello[0]), "{places:?}");
            }
            "handshake" => {
                let last = frames_of(&all, "tcp.port == 443 && tls.handshake.type == 4")?;
                let end = position(&last[0]).context("the end of the handshake")?;
                // From the first packet, and nothing is left out up to the end.
                let whole: Vec<usize> = (0..=end).collect();
                ensure!(places.starts_with(&whole), "to {end}: {places:?}");
            }
            _ => {
                let whole: Vec<usize> = (0..connection.len()).collect();
                ensure!(places == whole, "{} packets: {places:?}", connection.len());
            }
        }
        // The events are those of the one connection too.
        let other = stopped.events.iter().find(|event| event.to_string().contains(OTHER));
        ensure!(other.is_none(), "{other:?}");
    }
    Ok(())
}

/// Wireshark's view: interface, direction, filter, comments; and the events beside.
pub(crate) fn comments() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let address = SocketAddr::new(pair.second.address(true), 8443);
    let _server =
        Server::new(&certificate, address).version(Version::Tls12).start(&pair.second.namespace)?;
    let file = dir.path().join("handshake.pcapng");
    let mut sniffer = capture(&pair.second, &file, &["-p", "8443"])?;
    Client::new(address, NAME).run(&pair.first.namespace)?.established()?;
    sniffer.wait_for(Duration::from_secs(10), |event| event["event"] == "handshake")?;
    let stopped = sniffer.stop()?;
    check_file(&stopped, &file)?;
    let fields = ["frame.comment", "frame.interface_name", "frame.packet_flags_direction"];
    let rows = tshark::rows(&file, "frame.comment", &fields)?;
    let said = |begin: &str| rows.iter().find(|row| row[0].starts_with(begin));
    let hello = stopped.events.iter().find(|event| event["event"] == "client_hello");
    let ja4 = hello.context("a client_hello")?["ja4"].as_str().context("ja4")?;
    let client = said(&format!("ClientHello sni={NAME} ja4={ja4}")).context("ClientHello")?;
    ensure!(client[1] == "veth-b" && client[2] == "0x00000001", "{client:?}");
    let server = said("ServerHello TLS 1.2 TLS_").context("ServerHello")?;
    ensure!(server[0].contains("Certificate CN=") && server[2] == "0x00000002", "{server:?}");
    ensure!(rows.iter().any(|row| row[0].contains("TLS handshake completed in ")), "{rows:?}");
    let infos = tls_sniff_tests::capture::output("capinfos", &[file.to_str().context("UTF-8")?])?;
    ensure!(infos.contains("to or from port 8443"), "{infos}");
    ensure!(infos.contains("Name = veth-b") && infos.contains("tls-sniff"), "{infos}");
    Ok(())
}

/// With the secrets in the file, tshark shows what was encrypted.
pub(crate) fn secrets() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let address = SocketAddr::new(pair.second.address(false), 443);
    let _server = Server::new(&certificate, address).start(&pair.second.namespace)?;
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let (file, keys) = (path("secrets.pcapng"), path("keys.txt"));
    std::fs::write(&keys, "# made by a test\n")?;
    let keys = keys.to_str().context("UTF-8")?;
    let flags = ["--keylog", keys, "--write-scope", "connection"];
    let sniffer = capture(&pair.second, &file, &flags)?;
    let pages: Vec<String> = (0..8).map(|number| format!("/secret-page-{number}")).collect();
    for page in &pages {
        let client = Client::new(address, NAME).arguments(&["-keylogfile", keys]);
        let request = format!("GET {page} HTTP/1.0\r\n\r\n");
        client.request(request.as_bytes()).run(&pair.first.namespace)?.established()?;
    }
    let last = |events: Vec<Value>| {
        events.iter().filter(|event| event["event"] == "handshake").count() == pages.len()
    };
    poll::until(Duration::from_secs(10), "the handshakes", || {
        last(sniffer.events()).then_some(())
    })?;
    check_file(&sniffer.stop()?, &file)?;
    // In one pass: the secrets of a connection stand before what they decrypt.
    let file = file.to_str().context("UTF-8")?;
    let shown = ["-r", file, "-Y", "http.request", "-T", "fields", "-e", "http.request.uri"];
    let shown = tls_sniff_tests::capture::output("tshark", &shown)?;
    ensure!(shown.lines().eq(pages.iter().map(String::as_str)), "{shown}");
    Ok(())
}

/// On every interface of a bridge: each packet is in the file once, as tcpdump has it on one of them.
pub(crate) fn bridged_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let net = Middle::bridge()?;
    let address = SocketAddr::new(net.address, 443);
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let _server = Server::new(&certificate, address).start(&net.server)?;
    let path = |name: &str| dir.path().join(name);
    let (theirs, ours, each) = (path("left.pcap"), path("any.pcapng"), path("each.pcapng"));
    let reference = Tcpdump::on(&net.middle, "left", &theirs, "tcp")?;
    let start = |file: &Path, flags: &[&str]| {
        let file = file.to_str().context("a path in UTF-8")?;
        let general = ["-i", "any", "--format", "json", "--payload-len", "0..", "-w", file];
        let mut sniffer = Sniffer::start(&net.middle, &[&general[..], flags].concat())?;
        sniffer.ready()?;
        Ok::<_, anyhow::Error>(sniffer)
    };
    let sniffers = [start(&ours, &[])?, start(&each, &["--no-dedup"])?];
    Client::new(address, NAME).run(&net.client)?.established()?;
    settle(&theirs)?;
    let [once, twice] = sniffers.map(Sniffer::stop);
    reference.stop()?;
    let sorted = |mut frames: Vec<Vec<u8>>| {
        frames.sort();
        frames
    };
    let expected = sorted(packets(&theirs)?);
    ensure!(expected.len() > 8, "{}", expected.len());
    let once = sorted(check_file(&once?, &ours)?);
    ensure!(once == expected, "{} packets, tcpdump has {}", once.len(), expected.len());
    let twice = check_file(&twice?, &each)?.len();
    ensure!(twice == 2 * expected.len(), "{twice} packets on two ports");
    Ok(())
}

/// Handshakes as fast as OpenSSL makes them, into files of 64 KiB: what the counter says is in the files.
pub(crate) fn rotation_under_load() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let pair = VethPair::new()?;
    let address = SocketAddr::new(pair.second.address(false), 443);
    let _server = Server::new(&certificate, address).start(&pair.second.namespace)?;
    let folder = dir.path().join("files");
    std::fs::create_dir(&folder)?;
    let file = folder.join("load.pcapng");
    let sniffer = capture(&pair.second, &file, &["-C", "64K", "--write-scope", "handshake"])?;
    let mut load = pair.first.namespace.command("openssl");
    load.args(["s_time", "-connect", &address.to_string(), "-new", "-time", "3"]);
    Process::spawn(load, None)?.finish(Duration::from_secs(20))?;
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{:?}", stopped.stderr);
    stopped.check_sums()?;
    let counters = &stopped.stats()?["capture"];
    let count = |name: &str| counters[name].as_u64().context("a count");
    ensure!(count("written")? == count("packets")?, "{counters}");
    let files: Vec<_> = std::fs::read_dir(&folder)?.collect::<std::io::Result<_>>()?;
    ensure!(files.len() > 5 && files.len() as u64 == count("files")?, "{counters}");
    let mut sum = 0;
    for file in &files {
        sum += capinfos_count(&file.path())?;
        // One packet may be over the limit, and what a file ends with.
        ensure!(file.metadata()?.len() < (64 + 8) << 10, "{:?}", file.path());
    }
    ensure!(sum == count("written")?, "{sum} in {} files, {counters}", files.len());
    println!("{sum} packets in {} files", files.len());
    Ok(())
}

/// Events and capture are independent: nobody reads the events any more, and the capture goes on.
pub(crate) fn without_readers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let file = dir.path().join("x.pcapng");
    let mut command = pair.second.namespace.command(binary()?.to_str().context("a path")?);
    command.args(["-i", "veth-b", "--format", "json", "-w"]).arg(&file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut log = BufReader::new(child.stderr.take().context("stderr")?).lines();
    while !log.next().context("the log ended")??.contains("watching") {}
    let mut out = BufReader::new(child.stdout.take().context("stdout")?);
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let hello = |port| Frame::ethernet().ipv4().tcp(port, 443).payload(&client_hello()).build();
    socket.send(&hello(1))?;
    let mut line = String::new();
    out.read_line(&mut line)?;
    ensure!(line.contains("client_hello"), "{line}");
    drop(out);
    for port in 2..=4 {
        socket.send(&hello(port))?;
        poll::until(Duration::from_secs(10), "the hello in the file", || {
            let there = packets(&file).unwrap_or_default();
            there.contains(&hello(port)).then_some(())
        })?;
    }
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    let status =
        poll::until(Duration::from_secs(10), "the end", || child.try_wait().ok().flatten());
    if status.is_err() {
        child.kill()?;
    }
    ensure!(status?.success());
    // And what the kernel answers to them.
    let (written, count) = (packets(&file)?, capinfos_count(&file)?);
    ensure!((1..=4).all(|port| written.contains(&hello(port))), "{count} packets");
    ensure!(count == written.len() as u64, "{count} packets");
    let said: Vec<String> = log.collect::<std::io::Result<_>>()?;
    let said_of = |text: &str| said.iter().filter(|line| line.contains(text)).count();
    let (gone, slow) = (said_of("the reader of stdout is gone"), said_of("too slow"));
    ensure!((gone, slow) == (1, 0), "{said:?}");
    Ok(())
}

/// On loopback each packet goes out and comes in, and is in the file once.
pub(crate) fn loopback_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(dir.path(), NAME)?;
    let namespace = Namespace::new()?;
    let address: SocketAddr = "127.0.0.1:8443".parse()?;
    let _server = Server::new(&certificate, address).version(Version::Tls12).start(&namespace)?;
    let (all, file) = (dir.path().join("all.pcap"), dir.path().join("lo.pcapng"));
    let reference = Tcpdump::on(&namespace, "lo", &all, "tcp")?;
    let path = file.to_str().context("a path in UTF-8")?;
    let flags = ["-i", "lo", "--format", "json", "-w", path, "--write-scope", "connection"];
    let mut sniffer = Sniffer::start(&namespace, &flags)?;
    sniffer.ready()?;
    for _ in 0..8 {
        let client = Client::new(address, NAME).version(Version::Tls12);
        client.request(b"GET / HTTP/1.0\r\n\r\n").run(&namespace)?.established()?;
    }
    settle(&all)?;
    let stopped = sniffer.stop()?;
    reference.stop()?;
    let mut once = check_file(&stopped, &file)?;
    once.sort();
    let mut expected = packets(&all)?;
    expected.sort();
    // Of both sightings tcpdump shows one for each way.
    expected.dedup();
    ensure!(once == expected, "{} packets, on the wire {}", once.len(), expected.len());
    Ok(())
}
