//! Metrics by interface and direction, against what was sent.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    frame::{Frame, client_hello},
    netns::Namespace,
    packet_socket::PacketSocket,
    poll,
    sniffer::Sniffer,
    veth::VethPair,
};

use crate::metrics::{METRICS, get};

const SOON: Duration = Duration::from_secs(10);
/// No event is held or in the ring for that long, and no figures are served again that are so old.
const SETTLED: Duration = Duration::from_millis(500);

/// The figures of a family by what is between its braces.
fn figures(namespace: &Namespace, family: &str) -> Result<BTreeMap<String, u64>> {
    let (text, _) = get(namespace, "/metrics", "text/plain")?;
    let start = format!("{family}{{");
    let samples = text.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("} "));
    samples.map(|(labels, value)| Ok((labels.to_owned(), value.parse()?))).collect()
}

fn by_interface(namespace: &Namespace) -> Result<BTreeMap<String, u64>> {
    figures(namespace, "tls_sniff_interface_events_total")
}

/// The labels of an interface and a direction.
fn at(interface: &str, direction: &str) -> String {
    format!("interface=\"{interface}\",direction=\"{direction}\"")
}

/// Sends hellos, each of a connection of its own.
struct Sender {
    socket: PacketSocket,
    ports: std::ops::RangeFrom<u16>,
}

impl Sender {
    fn new(namespace: &Namespace, interface: &str, first_port: u16) -> Result<Self> {
        Ok(Self { socket: PacketSocket::open(namespace, interface)?, ports: first_port.. })
    }

    fn send(&mut self, hellos: usize) -> Result<()> {
        for port in self.ports.by_ref().take(hellos) {
            // To nobody who would answer.
            let frame = Frame::ethernet().ipv4().addresses([192, 0, 2, 1], [192, 0, 2, 2]);
            self.socket.send(&frame.tcp(port, 443).payload(&client_hello()).build())?;
        }
        Ok(())
    }

    /// Until one has come to `label`: an interface that just came up drops frames for a while. Then the figures.
    fn send_until(&mut self, namespace: &Namespace, label: &str) -> Result<BTreeMap<String, u64>> {
        poll::try_until(SOON, &format!("a hello at {label}"), || {
            self.send(1)?;
            Ok(by_interface(namespace)?.get(label).filter(|count| **count > 0).map(|_| ()))
        })?;
        std::thread::sleep(SETTLED);
        by_interface(namespace)
    }
}

/// Waits until the figures are these and no others.
fn wait_for(namespace: &Namespace, expected: &BTreeMap<String, u64>) -> Result<()> {
    let mut last = BTreeMap::new();
    poll::try_until(SOON, "events by interface", || {
        last = by_interface(namespace)?;
        Ok((last == *expected).then_some(()))
    })
    .with_context(|| format!("{last:?}, expected {expected:?}"))
}

/// What is sent in each direction is counted, at both ends of a pair if both are watched; a name that is gone goes.
pub(crate) fn events() -> Result<()> {
    let pair = VethPair::new()?;
    let here = &pair.second.namespace;
    here.ip(&["link", "add", "one", "type", "veth", "peer", "name", "two"])?;
    for end in ["one", "two"] {
        here.ip(&["link", "set", "dev", end, "up"])?;
    }
    let watched = ["-i", "veth-b", "-i", "one", "-i", "two"];
    let mut sniffer = Sniffer::start(
        here,
        &[&watched, &["--format", "json", "--metrics", METRICS][..]].concat(),
    )?;
    sniffer.ready()?;
    let labels = |interface| [at(interface, "ingress"), at(interface, "egress")];
    let silent = ["one", "two", "veth-b"].iter().flat_map(|it| labels(it)).map(|label| (label, 0));
    wait_for(here, &silent.collect())?;

    let mut inside = Sender::new(here, "one", 10_000)?;
    let mut expected = inside.send_until(here, &at("two", "ingress"))?;
    Sender::new(&pair.first.namespace, "veth-a", 20_000)?.send(3)?;
    Sender::new(here, "veth-b", 30_000)?.send(2)?;
    inside.send(4)?;
    let sent = [("veth-b", "ingress", 3), ("veth-b", "egress", 2)];
    let seen_twice = [("one", "egress", 4), ("two", "ingress", 4)];
    for (interface, direction, count) in sent.into_iter().chain(seen_twice) {
        *expected.entry(at(interface, direction)).or_default() += count;
    }
    wait_for(here, &expected)?;
    let results = figures(here, "tls_sniff_events_total")?;
    let decodable = results.iter().filter(|(result, _)| *result != "result=\"undecodable\"");
    ensure!(
        decodable.map(|(_, count)| count).sum::<u64>() == expected.values().sum::<u64>(),
        "{results:?}, {expected:?}"
    );
    let duplicates = expected.get(&at("two", "ingress"));
    ensure!(results.get("result=\"duplicate\"") == duplicates, "{results:?}, {expected:?}");
    // In the words of the events.
    let told = sniffer.events();
    for (interface, direction, count) in sent {
        let hellos = told.iter().filter(|event| {
            event["event"] == "client_hello"
                && event["interface"] == interface
                && event["direction"] == direction
        });
        ensure!(hellos.count() as u64 == count, "{interface}, {direction}: {told:?}");
    }
    names_change(here, &mut inside, expected)
}

/// Another name begins anew, and what is gone is not told any more.
fn names_change(
    here: &Namespace,
    inside: &mut Sender,
    mut expected: BTreeMap<String, u64>,
) -> Result<()> {
    here.ip(&["link", "set", "dev", "two", "down"])?;
    here.ip(&["link", "set", "dev", "two", "name", "three"])?;
    here.ip(&["link", "set", "dev", "three", "up"])?;
    for direction in ["ingress", "egress"] {
        expected.remove(&at("two", direction));
        expected.insert(at("three", direction), 0);
    }
    wait_for(here, &expected)?;
    let now = inside.send_until(here, &at("three", "ingress"))?;
    let new = |label| now.get(&label).copied().unwrap_or(0);
    let before = expected.get(&at("one", "egress")).copied().unwrap_or(0);
    let sent = new(at("one", "egress")) - before;
    ensure!((1..=sent).contains(&new(at("three", "ingress"))), "{now:?}, {expected:?}");

    here.ip(&["link", "delete", "one"])?;
    expected.retain(|label, _| label.starts_with("interface=\"veth-b\""));
    wait_for(here, &expected)
}
