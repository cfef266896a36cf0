//! A reload that waits, for a name server or for the attacher: all else goes on, and the newest configuration wins.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    poll,
    process::{Paused, children},
    sniffer::Sniffer,
    veth::VethPair,
};

use super::{
    interfaces::add,
    lookups::{READ, Run, SILENT, STAYS},
    reload::attached,
};

const SOON: Duration = Duration::from_secs(45);

/// What is said of a name server that was waited for in vain.
const GIVEN_UP: &str = "to compile it took more than";

/// The hellos to one port, on whatever interface; for an expression, the name of a host is looked up.
fn configuration(host: &str, port: u16) -> String {
    format!("interface = [\"any\"]\nport = {port}\nexpression = \"tcp or host {host}\"\n")
}

impl Run {
    /// Writes another configuration, and says so.
    fn change(&mut self, text: &str) -> Result<()> {
        let beside = self.config.with_extension("new");
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.config)?;
        self.sniffer.signal(Signal::SIGHUP)
    }

    /// Writes a configuration with a name that nobody knows, and waits until it is being looked up.
    fn change_in_vain(&mut self, port: u16) -> Result<()> {
        let before = self.dns.asked(SILENT).len();
        self.change(&configuration(SILENT, port))?;
        let asked = || (self.dns.asked(SILENT).len() > before).then_some(());
        poll::until(SOON, "the name to be asked for", asked)
            .with_context(|| self.sniffer.stderr().join("\n"))
    }

    fn wait_for(&self, words: &str) -> Result<()> {
        poll::until(SOON, words, || (self.said(words) > 0).then_some(()))
            .with_context(|| self.sniffer.stderr().join("\n"))
    }

    /// Sends hellos to `port`, from as many ports as it takes, until one was told: an interface that has just come up
    /// drops some. Before each of them goes one to `other`, which is not to be told.
    fn tells(&self, (at, on): (&Namespace, &str), from: u16, port: u16, other: u16) -> Result<()> {
        let socket = PacketSocket::open(at, on)?;
        let hello = |from: u16, to: u16| {
            let frame = Frame::ethernet().ipv4().tcp(from, to).payload(&client_hello());
            socket.send(&frame.build())
        };
        let mut froms = from..;
        poll::try_until(SOON, "a hello to be told", || {
            let [one, two] = [(); 2].map(|()| froms.next().unwrap_or_default());
            hello(one, other)?;
            hello(two, port)?;
            let is_told = |event: &Value| {
                event["source_port"].as_u64() >= Some(from.into())
                    && event["destination_port"] == port
            };
            Ok(self.sniffer.events().iter().any(is_told).then_some(()))
        })
        .with_context(|| self.sniffer.stderr().join("\n"))
    }
}

pub(crate) fn holds_nothing_up() -> Result<()> {
    let mut run = Run::start(&configuration("one.test", 443))?;
    run.change_in_vain(8443)?;
    // An interface that appears meanwhile is watched, with the programs in force.
    let late = ["late-a", "late-b"];
    add(&run.pair.second.namespace, late[0], late[1])?;
    for name in late {
        run.wait_for(&format!("attached to {name}"))?;
    }
    run.tells((&run.pair.second.namespace, late[0]), 10_000, 443, 9443)?;
    let over = run.said(GIVEN_UP) + run.said(STAYS) + run.said(READ);
    ensure!(over == 0, "too late: {:#?}", run.sniffer.stderr());

    // The newest configuration wins, without a wait; also on that interface.
    run.change(&configuration("two.test", 9443))?;
    run.wait_for(READ)?;
    let log = run.sniffer.stderr();
    ensure!(run.said("changed: expression, port") == 1, "{log:#?}");
    for child in children(run.attacher()?)? {
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        ensure!(name != "tls-expression\n", "{child} still compiles");
    }
    run.tells((&run.pair.second.namespace, late[0]), 20_000, 9443, 443)?;
    run.tells((&run.pair.first.namespace, "veth-a"), 30_000, 9443, 443)?;

    // So does the end.
    run.change_in_vain(8443)?;
    let stopped = run.end()?;
    stopped.check_sums()?;
    let said = |words: &str| stopped.stderr.iter().filter(|line| line.contains(words)).count();
    ensure!((said(READ), said(STAYS), said(GIVEN_UP)) == (1, 0, 0), "{:#?}", stopped.stderr);
    let hellos = || stopped.events.iter().filter(|event| event["event"] == "client_hello");
    for (from, wanted) in [(10_000, 443), (20_000, 9443), (30_000, 9443)] {
        let sent = |event: &&Value| {
            event["source_port"].as_u64().is_some_and(|it| (from..from + 10_000).contains(&it))
        };
        let other = hellos().filter(sent).find(|event| event["destination_port"] != wanted);
        ensure!(other.is_none(), "{other:?}");
    }
    Ok(())
}

/// A signal comes when the attacher is done with the reload and the daemon has not heard of that: the file of then is read
/// by another one behind it.
pub(crate) fn too_late() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.toml");
    let pair = VethPair::new()?;
    let namespace = &pair.second.namespace;
    fs::write(&config, "port = 443\n")?;
    let path = config.to_str().context("UTF-8")?;
    let mut sniffer =
        Sniffer::start(namespace, &["--config", path, "-i", "veth-b", "--format", "json"])?;
    sniffer.ready()?;
    let attacher = sniffer.attacher()?;
    let said = |sniffer: &Sniffer, words: &str| {
        let count = || sniffer.stderr().iter().filter(|line| line.contains(words)).count();
        poll::until(SOON, words, || (count() > 0).then_some(()))
            .with_context(|| sniffer.stderr().join("\n"))
    };

    // The daemon has asked, and hears of no answer.
    let attacher = Paused::new(attacher)?;
    fs::write(&config, "port = 8443\n")?;
    sniffer.signal(Signal::SIGHUP)?;
    said(&sniffer, "the reload still waits: ")?;
    let daemon = Paused::new(sniffer.id())?;
    let before = attached(namespace)?;
    drop(attacher);
    poll::until(SOON, "other programs", || {
        attached(namespace).is_ok_and(|now| now != before).then_some(())
    })?;
    fs::write(&config, "port = 8443\nsample = \"1/2\"\n")?;
    sniffer.signal(Signal::SIGHUP)?;
    drop(daemon);
    said(&sniffer, "was read again; changed: port")?;
    said(&sniffer, "was read again; changed: sample")?;
    ensure!(sniffer.stop()?.status.success());
    Ok(())
}
