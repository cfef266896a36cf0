//! Aligned lines for people: time of day in UTC, interface, direction, who to whom, what.

use std::io::Write as _;

use tls_sniff_common::counters::{Counter, CounterKind};

use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    digits,
    observation::{
        Facts, HandshakeObservation, MessageObservation, Observation, Outcome, OutputCounters,
        OutputStats, Seen, Stats,
    },
    tls::{
        message::Message,
        names::{CipherSuite, NamedGroup, Printable, ProtocolVersion},
    },
};

/// Column widths, which grow with what was shown so far.
#[derive(Debug, Default)]
pub struct Columns {
    interface: usize,
    source: usize,
    destination: usize,
}

/// What every line starts with.
struct Head<'a> {
    timestamp: Timestamp,
    interface: Option<&'a str>,
    direction: Option<&'static str>,
    source: std::net::SocketAddr,
    destination: std::net::SocketAddr,
}

impl Columns {
    /// Appends an observation as one line.
    pub fn observation(&mut self, observation: &Observation<'_>, out: &mut Vec<u8>) {
        match observation {
            Observation::Message(it) => {
                let Seen { timestamp, .. } = it.seen;
                let (interface, direction) = (it.on.interface, it.seen.direction());
                let (source, destination) = (it.source, it.destination);
                self.head(&Head { timestamp, interface, direction, source, destination }, out);
                message(it, out);
                if let Some(partial) = it.said.partial {
                    write(out, format_args!("  (partial: {})", partial.as_str()));
                }
                if let Some(malformed) = it.said.malformed {
                    write(out, format_args!("  (malformed: {malformed})"));
                }
                others(it.on, out);
            }
            Observation::Segment(it) => {
                let Seen { timestamp, .. } = it.seen;
                let (interface, direction) = (it.on.interface, it.seen.direction());
                let (source, destination) = (it.source(), it.destination());
                self.head(&Head { timestamp, interface, direction, source, destination }, out);
                write(out, format_args!("segment  "));
                list(out, it.flags());
                write(out, format_args!("  length={}", it.event.header.payload_len));
                others(it.on, out);
            }
            Observation::Handshake(it) => {
                let (interface, direction) = (it.on.interface, None);
                let (source, destination) = (it.client, it.server);
                let timestamp = it.timestamp;
                self.head(&Head { timestamp, interface, direction, source, destination }, out);
                handshake(it, out);
                others(it.on, out);
            }
        }
        out.push(b'\n');
    }

    fn head(&mut self, head: &Head<'_>, out: &mut Vec<u8>) {
        // A capture file may call its interfaces anything.
        let interface = Printable(head.interface.unwrap_or_default().as_bytes()).to_string();
        let direction = match head.direction {
            Some("ingress") => "in",
            Some(_) => "out",
            None => "",
        };
        let source = head.source.to_string();
        let destination = head.destination.to_string();
        self.interface = self.interface.max(interface.len());
        self.source = self.source.max(source.len());
        self.destination = self.destination.max(destination.len());
        let timestamp = digits::rfc_3339(head.timestamp);
        // "2026-01-02T03:04:05.678901234Z": the time of day, to the microsecond.
        let time = timestamp.get(11..26).and_then(|time| str::from_utf8(time).ok());
        let time = time.unwrap_or_default();
        let Self {
            interface: interface_width,
            source: source_width,
            destination: destination_width,
        } = *self;
        write(
            out,
            format_args!(
                "{time}  {interface:interface_width$} {direction:3}  {source:source_width$} > {destination:destination_width$}  "
            ),
        );
    }
}

/// Writing to memory does not fail.
fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _infallible = out.write_fmt(text);
}

fn message(it: &MessageObservation<'_>, out: &mut Vec<u8>) {
    let record_version = ProtocolVersion(it.record.version);
    match &it.said.message {
        Message::ClientHello(hello) => {
            write(out, format_args!("client_hello  "));
            list(out, hello.offered_versions().map(ProtocolVersion));
            if let Some(name) = hello.sni() {
                write(out, format_args!("  sni={}", Printable(name)));
            }
            if let Some(protocols) = hello.alpn() {
                write(out, format_args!("  alpn="));
                list(out, protocols.map(Printable));
            }
            if let Facts::Client(facts) = it.facts
                && let Some(prints) = &facts.fingerprints
            {
                write(out, format_args!("  ja4={}", prints.ja4()));
            }
        }
        Message::Ssl2ClientHello(_) => write(out, format_args!("client_hello  (SSLv2 form)")),
        Message::Ssl2ServerHello(_) => write(out, format_args!("server_hello  SSL 2.0")),
        Message::ServerHello(hello) => {
            let name =
                if hello.is_hello_retry_request() { "hello_retry_request" } else { "server_hello" };
            write(out, format_args!("{name}  "));
            if let Some(version) = hello.selected_version() {
                write(out, format_args!("{}  ", ProtocolVersion(version)));
            }
            write(out, format_args!("{}", CipherSuite(hello.cipher_suite)));
            if let Some(protocol) = hello.alpn().and_then(|mut protocols| protocols.next()) {
                write(out, format_args!("  alpn={}", Printable(protocol)));
            }
        }
        Message::Certificate(_) => certificate(it, out),
        Message::ServerKeyExchange(_) => write(out, format_args!("server_key_exchange")),
        Message::Handshake(handshake_type) => write(out, format_args!("{handshake_type}")),
        Message::EncryptedHandshake => write(out, format_args!("handshake (encrypted)")),
        Message::Alert(alert) => {
            write(out, format_args!("alert  {} {}", alert.level, alert.description));
        }
        Message::UnknownHandshake => write(out, format_args!("handshake")),
        Message::EncryptedAlert => write(out, format_args!("alert (encrypted)")),
        Message::UnknownAlert => write(out, format_args!("alert")),
        Message::ChangeCipherSpec => {
            write(out, format_args!("change_cipher_spec  {record_version}"));
        }
        Message::ApplicationData => write(
            out,
            format_args!("application_data  {record_version}  {} bytes", it.record.length),
        ),
    }
}

fn certificate(it: &MessageObservation<'_>, out: &mut Vec<u8>) {
    write(out, format_args!("certificate"));
    let Facts::Chain(chain) = it.facts else { return };
    match chain.leaf().map(|leaf| &leaf.x509) {
        Some(Ok(x509)) => {
            let days = x509.days_left(chain.seen);
            write(out, format_args!("  {}  {days} days left", x509.subject));
        }
        Some(Err(error)) => write(out, format_args!("  undecodable: {error}")),
        None => write(out, format_args!("  none")),
    }
    if chain.length > 1 {
        write(out, format_args!("  chain of {}", chain.length));
    }
}

/// What an operator wants to know first: how it ended, then between whom and with what.
fn handshake(it: &HandshakeObservation<'_>, out: &mut Vec<u8>) {
    write(out, format_args!("handshake  {}", it.outcome.as_str()));
    if let Outcome::Alert { alert: Some(alert), .. } = it.outcome {
        write(out, format_args!(" {}", alert.description));
    }
    if let Some(by) = it.outcome.by() {
        write(out, format_args!(" by {}", by.as_str()));
    }
    if let Some(duration) = it.duration {
        #[expect(clippy::cast_precision_loss, reason = "a time for people")]
        let milliseconds = duration as f64 / 1e6;
        write(out, format_args!("  {milliseconds:.1} ms"));
    }
    if let Some(version) = it.version {
        write(out, format_args!("  {}", ProtocolVersion(version)));
    }
    if let Some(hello) = it.server_hello {
        write(out, format_args!("  {}", CipherSuite(hello.cipher_suite)));
    }
    if let Some(group) = it.group {
        write(out, format_args!("  {}", NamedGroup(group)));
    }
    if let Some(name) = it.client_hello.and_then(|hello| hello.sni()) {
        write(out, format_args!("  sni={}", Printable(name)));
    }
    if it.resumed == Some(true) {
        write(out, format_args!("  resumed"));
    }
    if !it.weaknesses.is_empty() {
        write(out, format_args!("  weak="));
        list(out, it.weaknesses.iter().map(|weakness| weakness.as_str()));
    }
    if let Some(partial) = it.partial {
        write(out, format_args!("  (partial: {})", partial.as_str()));
    }
}

/// The interfaces beside the one in front.
fn others(on: SeenOn<'_>, out: &mut Vec<u8>) {
    if !on.others.is_empty() {
        write(out, format_args!("  (also "));
        list(out, on.others.iter().map(|name| Printable(name.as_bytes())));
        write(out, format_args!(")"));
    }
}

fn list(out: &mut Vec<u8>, items: impl Iterator<Item: std::fmt::Display>) {
    for (place, item) in items.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write(out, format_args!("{comma}{item}"));
    }
}

/// Appends the statistics: one line for each hook, without the counters that are zero.
pub fn stats(stats: &Stats, out: &mut Vec<u8>) {
    let pipeline = stats.pipeline;
    write(
        out,
        format_args!(
            "{} events in {:.1} s ({} lost by outputs, {} segments lost in the kernel)\n",
            pipeline.observations,
            stats.seconds,
            pipeline.dropped,
            stats.lost()
        ),
    );
    if let [_, _, ..] = stats.outputs[..] {
        for OutputStats { name, counters } in &stats.outputs {
            let OutputCounters { events, written, after_end, .. } = counters;
            let lost = counters.lost();
            // A path may be anything.
            let name = Printable(name.as_bytes());
            let counts = format_args!("events={events} written={written} lost={lost}");
            write(out, format_args!("{name}: {counts} after_end={after_end}\n"));
        }
    }
    for (hook, block) in &stats.hooks {
        write(out, format_args!("{}:", hook.as_str()));
        for (counter, count) in Counter::ALL.iter().zip(block) {
            if *count > 0 || counter.kind() == CounterKind::Total {
                write(out, format_args!(" {}={count}", counter.as_str()));
            }
        }
        out.push(b'\n');
    }
}
