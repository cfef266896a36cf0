//! Aligned lines for people: time of day in UTC, interface, direction, who to whom, what.

use std::io::Write as _;

use tls_sniff_common::counters::{Counter, CounterKind};

use crate::{
    observation::{Message, Observation, Stats},
    tls::names::{CipherSuite, Printable, ProtocolVersion},
};

/// Column widths, which grow with what was shown so far.
#[derive(Debug, Default)]
pub struct Columns {
    interface: usize,
    source: usize,
    destination: usize,
}

impl Columns {
    /// Appends an observation as one line.
    pub fn observation(&mut self, observation: &Observation<'_>, out: &mut Vec<u8>) {
        // A capture file may call its interfaces anything.
        let interface = Printable(observation.interface.unwrap_or_default().as_bytes()).to_string();
        let direction = match observation.direction() {
            Some("ingress") => "in",
            Some(_) => "out",
            None => "",
        };
        let source = observation.source().to_string();
        let destination = observation.destination().to_string();
        self.interface = self.interface.max(interface.len());
        self.source = self.source.max(source.len());
        self.destination = self.destination.max(destination.len());
        let timestamp = observation.timestamp.to_string();
        // "2026-01-02T03:04:05.678901234Z": the time of day, to the microsecond.
        let time = timestamp.get(11..26).unwrap_or(&timestamp);
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
        message(observation, out);
        if let Some(partial) = observation.partial {
            write(out, format_args!("  (partial: {})", partial.as_str()));
        }
        if let Some(malformed) = observation.malformed {
            write(out, format_args!("  (malformed: {malformed})"));
        }
        out.push(b'\n');
    }
}

/// Writing to memory does not fail.
fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _infallible = out.write_fmt(text);
}

fn message(observation: &Observation<'_>, out: &mut Vec<u8>) {
    let record_version = ProtocolVersion(observation.record.version);
    match &observation.message {
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
        }
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
            format_args!("application_data  {record_version}  {} bytes", observation.record.length),
        ),
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
            "{} events in {:.1} s ({} dropped by a slow output, {} records lost in the kernel)\n",
            pipeline.observations,
            stats.seconds,
            pipeline.dropped,
            stats.lost()
        ),
    );
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
