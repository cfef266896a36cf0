//! A filter in words: what it selects, and where each test runs.

use std::fmt::{self, Display};

use clap::ValueEnum;
use tls_sniff_common::{filter::Scope, flow::Direction};

use super::{PacketFilter, end::EndRule, glob::Glob, handshake::HandshakeFilter, value::Vlan};
use crate::observation::EventKind;

/// Shows what the given flags select.
#[derive(Debug)]
pub struct Explanation<'a> {
    /// The expression that comes first.
    pub expression: Option<&'a str>,
    /// Tests of packets.
    pub filter: &'a PacketFilter,
    /// Tests of handshakes.
    pub handshakes: &'a HandshakeFilter,
    /// Events that are written.
    pub events: &'a [EventKind],
}

impl Explanation<'_> {
    /// The tests alone, for the head of a capture.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let mut tests: Vec<String> = self.expression.into_iter().map(str::to_owned).collect();
        tests.extend(connection(self.filter));
        tests.extend(segment(self.filter));
        tests.extend(handshake(self.handshakes));
        if !self.filter.narrows_segments() {
            tests.push("packets of TLS handshakes".to_owned());
        }
        tests.join("; ")
    }
}

impl Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = self.filter;
        let connection = connection(filter);
        let segment = segment(filter);
        writeln!(f, "In the kernel, before anything is copied (with -r: here, the same tests):")?;
        if let Some(expression) = self.expression {
            writeln!(f, "  packets that match the expression `{expression}`, and of those:")?;
        }
        if connection.is_empty() {
            writeln!(f, "  packets of all connections")?;
        }
        for test in connection.iter().chain(&segment) {
            writeln!(f, "  {test}")?;
        }
        if segment.is_empty() {
            let data = if filter.application_data {
                "application data"
            } else {
                "but no application data"
            };
            writeln!(f, "  packets of TLS handshakes, other TLS records, {data}")?;
        } else if filter.narrows_records() {
            writeln!(
                f,
                "  records behind the first of a packet count too, and the rest of a handshake"
            )?;
            writeln!(f, "  record in the packets that follow")?;
        } else {
            writeln!(f, "  of any TCP connection, TLS or not")?;
        }
        if !segment.is_empty() && filter.follows_handshakes {
            writeln!(f, "  and whole handshakes beside, for what is told of connections")?;
        }
        if filter.direction.is_some() && filter.follows_handshakes {
            writeln!(f, "  of handshakes one side alone: how they ended may not be seen")?;
        }
        match filter.scope {
            Scope::Record => {}
            Scope::Handshake => {
                writeln!(
                    f,
                    "  and all packets from SYN to the end of a handshake, for --write-scope"
                )?;
            }
            Scope::Connection => {
                writeln!(
                    f,
                    "  and all packets of a connection with a handshake, for --write-scope"
                )?;
            }
        }
        let events: Vec<_> = self.events.iter().map(|event| event.as_str()).collect();
        writeln!(f, "Here, on what the kernel hands over:")?;
        for test in handshake(self.handshakes) {
            writeln!(f, "  {test}")?;
        }
        if events.is_empty() {
            return writeln!(f, "  no events");
        }
        writeln!(f, "  events: {}", events.join(", "))
    }
}

/// Tests of what was understood of a handshake.
fn handshake(filter: &HandshakeFilter) -> Vec<String> {
    let mut tests = Vec::new();
    globs(&mut tests, "server name", &filter.sni);
    globs(&mut tests, "JA4", &filter.ja4);
    if !filter.versions.is_empty() {
        let versions = either(filter.versions.iter().map(ToString::to_string));
        tests.push(format!("handshakes that negotiate {versions}"));
    }
    globs(&mut tests, "cipher suite", &filter.ciphers);
    globs(&mut tests, "ALPN", &filter.alpn);
    if !filter.outcomes.is_empty() {
        tests.push(format!("handshakes whose outcome is {}", either(names(&filter.outcomes))));
    }
    if filter.weak {
        tests.push("handshakes with a weakness".to_owned());
    }
    tests
}

fn globs(tests: &mut Vec<String>, what: &str, globs: &[Glob]) {
    for (excluded, words) in [(false, ""), (true, "not ")] {
        let shown = globs.iter().filter(|glob| glob.excluded == excluded).map(Glob::to_string);
        let shown = either(shown);
        if !shown.is_empty() {
            tests.push(format!("handshakes {words}with the {what} {shown}"));
        }
    }
}

/// Tests that all packets of a connection pass or none.
fn connection(filter: &PacketFilter) -> Vec<String> {
    let mut tests = Vec::new();
    match filter.direction {
        Some(Direction::Ingress) => tests.push("packets into this host".to_owned()),
        Some(Direction::Egress) => tests.push("packets out of this host".to_owned()),
        Some(Direction::Unknown) | None => {}
    }
    ends(&mut tests, "port", &filter.ports);
    ends(&mut tests, "address", &filter.networks);
    if !filter.vlans.is_empty() {
        tests.push(format!("with {}", either(filter.vlans.iter().map(Vlan::to_string))));
    }
    if let Some(n @ 2..) = filter.sample {
        tests.push(format!("of one connection in {n}, whole connections"));
    }
    tests
}

fn ends<T: Display>(tests: &mut Vec<String>, what: &str, rules: &[EndRule<T>]) {
    const SHOWN: usize = 8;
    for (excluded, words) in [(false, "to or from"), (true, "not to or from")] {
        let rules: Vec<_> = rules.iter().filter(|rule| rule.excluded == excluded).collect();
        if rules.is_empty() {
            continue;
        }
        let shown = rules.iter().take(SHOWN).map(ToString::to_string);
        let more = rules.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("{more} more"));
        tests.push(format!("{words} {what} {}", either(shown.chain(more))));
    }
}

/// Tests of single packets.
fn segment(filter: &PacketFilter) -> Vec<String> {
    let mut tests = Vec::new();
    if !filter.tcp.is_empty() {
        tests.push(format!("with the TCP flags {}", either(names(&filter.tcp))));
    }
    if let Some(lengths) = filter.payload_len {
        tests.push(format!("with {lengths} of TCP payload"));
    }
    if !filter.narrows_records() {
        return tests;
    }
    let mut record = "in which a TLS record begins".to_owned();
    if !filter.content.is_empty() {
        record += &format!(", of content type {}", either(names(&filter.content)));
    }
    if !filter.record_versions.is_empty() {
        record += &format!(", with the version bytes of {}", versions(&filter.record_versions));
    }
    if !filter.handshakes.is_empty() {
        let kinds = filter.handshakes.iter().map(ToString::to_string);
        record += &format!(", with the handshake message {}", either(kinds));
    }
    if !filter.hello_versions.is_empty() {
        record += &format!(", with a hello of version bytes {}", versions(&filter.hello_versions));
    }
    tests.push(record);
    tests
}

fn versions(versions: &[super::value::WireVersion]) -> String {
    either(
        versions
            .iter()
            .zip(names(versions))
            .map(|(version, name)| format!("{name} ({:#06x})", version.wire())),
    )
}

/// The names of values as flags have them.
fn names<T: ValueEnum>(values: &[T]) -> impl Iterator<Item = String> {
    values.iter().filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned()))
}

/// `a`, `a or b`, `a, b or c`.
fn either(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    match (items.pop(), items.is_empty()) {
        (None, _) => String::new(),
        (Some(last), true) => last,
        (Some(last), false) => format!("{} or {last}", items.join(", ")),
    }
}
