//! What people filter with tcpdump, by tcpdump and by tls-sniff at the same time: every frame that tcpdump has
//! is in tls-sniff's file, and what tls-sniff has beyond is a match by tshark.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    capture::{Tcpdump, capinfos_count, packets, tshark_count},
    frame::{Frame, client_hello},
    packet_socket::PacketSocket,
    peer::{Certificate, Client, Mode, RunningServer, Server, Version},
    poll,
    process::run,
    sniffer::Sniffer,
    tshark,
    veth::{End, VethPair},
};

use crate::handshakes::NAME;

/// A filter in both languages, and in tshark's.
struct Recipe {
    name: &'static str,
    tcpdump: String,
    ours: &'static [&'static str],
    tshark: &'static str,
}

/// Where the payload starts in tcpdump's language.
const PAYLOAD: &str = "((tcp[12] & 0xf0) >> 2)";

/// The filters of the cookbook (docs/recipes.md), with the parentheses that they need.
fn recipes() -> Vec<Recipe> {
    // Of the payload's bytes, from the first: what each of them is.
    let bytes = |wanted: &[(u8, u8)]| {
        let tests = wanted.iter().map(|(at, value)| format!("tcp[{PAYLOAD}+{at}] = {value}"));
        tests.collect::<Vec<_>>().join(" and ")
    };
    let length = "(ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2))";
    vec![
        Recipe {
            name: "port",
            tcpdump: "tcp port 443".to_owned(),
            ours: &["-p", "443", "--payload-len", "0.."],
            tshark: "tcp.port == 443",
        },
        Recipe {
            name: "SYN and SYN-ACK of a port",
            tcpdump: "tcp port 8443 and tcp[tcpflags] & tcp-syn != 0".to_owned(),
            ours: &["-p", "8443", "--tcp", "syn,synack"],
            tshark: "tcp.port == 8443 && tcp.flags.syn == 1",
        },
        Recipe {
            name: "payload length",
            tcpdump: format!("tcp and {length} >= 100 and {length} <= 600"),
            ours: &["--payload-len", "100..600"],
            tshark: "tcp.len >= 100 && tcp.len <= 600",
        },
        Recipe {
            name: "hellos that say TLS 1.2",
            tcpdump: format!("tcp and {}", bytes(&[(0, 0x16), (9, 3), (10, 3)])),
            ours: &["--content", "handshake", "--hello-version", "1.2"],
            tshark: "tls.handshake.version == 0x0303",
        },
        Recipe {
            name: "hellos that say TLS 1.0",
            tcpdump: format!("tcp and {}", bytes(&[(0, 0x16), (9, 3), (10, 1)])),
            ours: &["--content", "handshake", "--hello-version", "1.0"],
            tshark: "tls.handshake.version == 0x0301",
        },
        Recipe {
            name: "application data of TLS 1.2",
            tcpdump: format!("tcp and {}", bytes(&[(0, 0x17), (1, 3), (2, 3)])),
            ours: &["--content", "appdata", "--record-version", "1.2"],
            tshark: "(tls.record.content_type == 23 || tls.record.opaque_type == 23) \
                     && tls.record.version == 0x0303",
        },
        Recipe {
            name: "alerts",
            tcpdump: format!("tcp and {}", bytes(&[(0, 0x15), (1, 3)])),
            ours: &["--content", "alert"],
            tshark: "tls.record.content_type == 21",
        },
    ]
}

/// Both programs with one filter.
struct Running {
    recipe: Recipe,
    tcpdump: Tcpdump,
    sniffer: Sniffer,
    files: [PathBuf; 2],
}

impl Running {
    fn start(recipe: Recipe, end: &End, dir: &Path, number: usize, hook: &str) -> Result<Self> {
        let name = |program: &str, kind: &str| dir.join(format!("{program}-{number}.{kind}"));
        let files = [name("tcpdump", "pcap"), name("tls-sniff", "pcapng")];
        let [theirs, ours] = &files;
        let tcpdump = Tcpdump::start(end, theirs, &recipe.tcpdump)?;
        let ours = ours.to_str().context("a path in UTF-8")?;
        let general = ["-i", &end.interface, "--hook", hook, "--format", "none", "-w", ours];
        let mut sniffer = Sniffer::start(&end.namespace, &[&general[..], recipe.ours].concat())?;
        sniffer.ready()?;
        Ok(Self { recipe, tcpdump, sniffer, files })
    }

    /// Ends both and compares. `truth`: the frames that tshark finds, as bytes.
    fn compare(self, truth: &Truth) -> Result<()> {
        let Self { recipe, tcpdump, sniffer, files: [theirs, ours] } = self;
        let stopped = sniffer.stop()?;
        tcpdump.stop()?;
        ensure!(stopped.status.success(), "{}: {:?}", recipe.name, stopped.stderr);
        let (theirs, own) = (packets(&theirs)?, packets(&ours)?);
        ensure!(tshark_count(&ours)? == own.len(), "{}: tshark's count", recipe.name);
        ensure!(capinfos_count(&ours)? == own.len() as u64, "{}: capinfos' count", recipe.name);
        ensure!(!theirs.is_empty(), "{}: tcpdump has nothing", recipe.name);
        let mut extra = counted(&own);
        for frame in &theirs {
            let count = extra.get_mut(frame).filter(|count| **count > 0);
            *count.with_context(|| format!("{}: lacks {frame:02x?}", recipe.name))? -= 1;
        }
        let matching = truth.matching(recipe.tshark)?;
        let extra = extra.into_iter().filter(|(_, count)| *count > 0);
        for (frame, _) in extra {
            ensure!(matching.contains(&frame), "{}: {frame:02x?} is no match", recipe.name);
        }
        // Nothing that tshark knows is missing either.
        let known = counted(&own);
        let missing = truth.direct(recipe.tshark)?.into_iter().find(|it| !known.contains_key(it));
        ensure!(missing.is_none(), "{}: lacks tshark's {missing:02x?}", recipe.name);
        println!("{}: tcpdump {}, tls-sniff {}", recipe.name, theirs.len(), own.len());
        Ok(())
    }
}

fn counted(frames: &[Vec<u8>]) -> BTreeMap<Vec<u8>, usize> {
    let mut counted = BTreeMap::new();
    for frame in frames {
        *counted.entry(frame.clone()).or_default() += 1;
    }
    counted
}

/// All frames, for tshark.
struct Truth {
    file: PathBuf,
    frames: Vec<Vec<u8>>,
}

impl Truth {
    fn new(file: PathBuf) -> Result<Self> {
        let frames = packets(&file)?;
        Ok(Self { file, frames })
    }

    /// Frames that a display filter takes, and with `parts` those whose segments it put together for that.
    fn frames(&self, filter: &str, parts: bool) -> Result<BTreeSet<Vec<u8>>> {
        let rows = tshark::rows(&self.file, filter, &["frame.number", "tcp.segment"])?;
        let mut found = BTreeSet::new();
        for row in rows {
            let numbers = row.iter().take(if parts { 2 } else { 1 });
            for number in numbers.flat_map(|list| list.split(',')).filter(|it| !it.is_empty()) {
                let number: usize = number.parse()?;
                found.insert(self.frames.get(number - 1).context("a frame")?.clone());
            }
        }
        Ok(found)
    }

    /// Those that match, by what tshark put together for it, and what was sent again, into which it does not look.
    fn matching(&self, filter: &str) -> Result<BTreeSet<Vec<u8>>> {
        let again = "tcp.analysis.retransmission || tcp.analysis.out_of_order";
        Ok(&self.frames(filter, true)? | &self.frames(again, false)?)
    }

    fn direct(&self, filter: &str) -> Result<BTreeSet<Vec<u8>>> {
        self.frames(filter, false)
    }
}

/// Servers of several versions, each with its port.
const PORTS: [(u16, Version); 3] =
    [(443, Version::Tls13), (8443, Version::Tls12), (9443, Version::Tls10)];

fn servers(pair: &VethPair, dir: &Path, v6: bool) -> Result<Vec<RunningServer>> {
    let certificate = Certificate::self_signed(dir, NAME)?;
    let servers = PORTS.iter().map(|(port, version)| {
        let address = SocketAddr::new(pair.second.address(v6), *port);
        let server = Server::new(&certificate, address).version(*version).mode(Mode::Rev);
        server.start(&pair.second.namespace)
    });
    servers.collect()
}

/// Handshakes that succeed, with data; one refused by the server, one by the client, each with an alert.
fn traffic(pair: &VethPair, v6: bool) -> Result<()> {
    let address = |port| SocketAddr::new(pair.second.address(v6), port);
    let namespace = &pair.first.namespace;
    for (port, version) in PORTS {
        let client = Client::new(address(port), NAME).version(version);
        // s_server -rev ends the connection after this line.
        client.request(b"a line of application data\nCLOSE\n").run(namespace)?.established()?;
    }
    Client::new(address(443), NAME).version(Version::Tls12).run(namespace)?;
    let distrust = ["-verify_return_error", "-CAfile", "/dev/null", "-verify", "1"];
    Client::new(address(8443), NAME).version(Version::Tls12).arguments(&distrust).run(namespace)?;
    Ok(())
}

/// Each filter over IPv4, where tcpdump can look into the payload: all at once, on the same packets.
pub(crate) fn same_filters_at_tc() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let _servers = servers(&pair, dir.path(), false)?;
    side_by_side(&pair, dir.path(), recipes(), "tc")
}

/// The same at XDP, which has room for one program: one after the other. What arrives there is not put
/// together yet, so nothing else may do that either.
pub(crate) fn same_filters_at_xdp() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let end = &pair.second;
    let mut offloads = end.namespace.command("ethtool");
    run(offloads.args(["-K", &end.interface, "gro", "off"]))?;
    let _servers = servers(&pair, dir.path(), false)?;
    recipes().into_iter().try_for_each(|recipe| {
        let dir = tempfile::tempdir()?;
        side_by_side(&pair, dir.path(), vec![recipe], "xdp")
    })
}

fn side_by_side(pair: &VethPair, dir: &Path, recipes: Vec<Recipe>, hook: &str) -> Result<()> {
    let end = &pair.second;
    let all = dir.join("all.pcap");
    let reference = Tcpdump::start(end, &all, "tcp")?;
    let running =
        (0..).zip(recipes).map(|(number, recipe)| Running::start(recipe, end, dir, number, hook));
    let running: Vec<Running> = running.collect::<Result<_>>()?;
    traffic(pair, false)?;
    settle(&all)?;
    reference.stop()?;
    let truth = Truth::new(all)?;
    running.into_iter().try_for_each(|running| running.compare(&truth))
}

/// Waits until nothing more is written to a file.
pub(crate) fn settle(file: &Path) -> Result<()> {
    let mut last = (0, 0);
    poll::try_until(Duration::from_secs(20), "the last packets", || {
        let length = std::fs::metadata(file)?.len();
        last = if length == last.0 { (length, last.1 + 1) } else { (length, 0) };
        Ok((last.1 >= 20).then_some(()))
    })
}

/// Over IPv6 tcpdump's filters for bytes of the payload see nothing; ours see the same as over IPv4.
pub(crate) fn over_ipv6() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let _servers = servers(&pair, dir.path(), true)?;
    let end = &pair.second;
    let all = dir.path().join("all.pcap");
    let reference = Tcpdump::start(end, &all, "tcp")?;
    let mut running = Vec::new();
    for (number, recipe) in (0..).zip(recipes()).filter(|(_, it)| it.tcpdump.contains("+")) {
        running.push(Running::start(recipe, end, dir.path(), number, "tc")?);
    }
    ensure!(running.len() == 4, "{} filters look at bytes", running.len());
    traffic(&pair, true)?;
    settle(&all)?;
    reference.stop()?;
    let truth = Truth::new(all)?;
    for Running { recipe, tcpdump, sniffer, files: [theirs, ours] } in running {
        sniffer.stop()?;
        tcpdump.stop()?;
        let (theirs, own) = (packets(&theirs)?, packets(&ours)?);
        ensure!(theirs.is_empty(), "{}: tcpdump has {}", recipe.name, theirs.len());
        let own: BTreeSet<_> = own.into_iter().collect();
        let direct = truth.direct(recipe.tshark)?;
        ensure!(!direct.is_empty() && direct.is_subset(&own), "{}", recipe.name);
        let matching = truth.matching(recipe.tshark)?;
        let extra = own.difference(&matching).next();
        ensure!(extra.is_none(), "{}: {extra:02x?} is no match", recipe.name);
    }
    Ok(())
}

/// An alert that begins in the middle of a segment, behind the rest of another record: tcpdump, which looks at
/// the first byte, misses it.
pub(crate) fn in_mid_segment(hook: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = VethPair::new()?;
    let alerts = recipes().into_iter().find(|it| it.name == "alerts").context("the recipe")?;
    let running = Running::start(alerts, &pair.second, dir.path(), 0, hook)?;
    let socket = PacketSocket::open(&pair.first.namespace, "veth-a")?;
    let record = |kind: u8, body: &[u8]| {
        [&[kind, 3, 3][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    };
    let hello = client_hello();
    let data = record(23, &[0x5a; 1000]);
    let (first, rest) = data.split_at(700);
    let with_alert = [rest, &record(21, &[1, 0])].concat();
    let mut sequence = 1;
    let mut expected = Vec::new();
    for payload in [&hello[..], first, &with_alert, &record(23, &[1; 40])] {
        let frame = Frame::ethernet().ipv4().tcp(40000, 443).seq(sequence).payload(payload).build();
        socket.send(&frame)?;
        sequence += u32::try_from(payload.len())?;
        if payload == with_alert {
            expected.push(frame);
        }
    }
    let Running { tcpdump, sniffer, files: [theirs, ours], .. } = running;
    poll::try_until(Duration::from_secs(10), "the alert", || {
        Ok((packets(&ours).unwrap_or_default() == expected).then_some(()))
    })?;
    sniffer.stop()?;
    tcpdump.stop()?;
    let (theirs, own) = (packets(&theirs)?, packets(&ours)?);
    ensure!(theirs.is_empty() && own == expected, "{} and {}", theirs.len(), own.len());
    Ok(())
}
