//! What is counted of handshakes, when each is over.
//!
//! One family for each question: all of them as labels of one would multiply. What a hostile server may choose at will,
//! 65,536 cipher suites among it, folds into `other` unless it has a name in IANA's registries.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    MetricsOptions,
    counts::{Counts, Histogram, OTHER},
    exposition::Writer,
    families,
    interfaces::ByInterface,
    server_names::ServerNames,
};
use crate::{
    observation::{HandshakeObservation, Outcome, Party},
    tls::{
        alert::Alert,
        names::{AlertDescription, CipherSuite, CodePoint, NamedGroup, ProtocolVersion, is_grease},
    },
};

/// Counts handshakes.
#[derive(Debug)]
pub struct Handshakes {
    counts: HandshakeCounts,
    server_names: Option<ServerNames>,
}

/// The counters of all handshakes so far.
#[derive(Clone, Debug, Default)]
pub struct HandshakeCounts {
    outcomes: Counts<3>,
    cipher_suites: Counts<1>,
    groups: Counts<1>,
    key_exchanges: Counts<1>,
    sessions: Counts<1>,
    alerts: Counts<2>,
    weaknesses: Counts<1>,
    hello_retries: u64,
    partial: Counts<1>,
    durations: BTreeMap<&'static str, Histogram>,
    syn_ack: Histogram,
    interfaces: ByInterface<1>,
    server_names: Vec<(Arc<str>, u64)>,
}

impl Handshakes {
    /// None so far.
    #[must_use]
    pub fn new(options: &MetricsOptions) -> Self {
        let server_names = options.server_names.map(|names| ServerNames::new(names.into()));
        Self { counts: HandshakeCounts::default(), server_names }
    }

    /// Counts one.
    pub fn count(&mut self, handshake: &HandshakeObservation<'_>) {
        self.counts.count(handshake);
        if let Some(names) = &mut self.server_names {
            names.count(handshake.client_hello.and_then(|hello| hello.sni()));
        }
    }

    /// The counters so far. Interfaces that are not there any more are forgotten.
    pub fn counts(&mut self, is_there: impl Fn(&str) -> bool) -> HandshakeCounts {
        self.counts.interfaces.keep(|name, _| is_there(name));
        let server_names = self.server_names.as_ref().map(ServerNames::counts).unwrap_or_default();
        HandshakeCounts { server_names, ..self.counts.clone() }
    }
}

impl HandshakeCounts {
    fn count(&mut self, handshake: &HandshakeObservation<'_>) {
        let version = version(handshake.version);
        let by = handshake.outcome.by().map_or("none", Party::as_str);
        self.outcomes.add([version, handshake.outcome.as_str(), by]);
        if let Some(hello) = handshake.server_hello {
            self.answered(handshake, hello.cipher_suite);
        }
        if let Some(description) = ending_alert(handshake.outcome) {
            self.alerts.add([description, by]);
        }
        for weakness in handshake.weaknesses {
            self.weaknesses.add([weakness.as_str()]);
        }
        self.hello_retries += u64::from(handshake.hello_retry_request);
        if let Some(partial) = handshake.partial {
            self.partial.add([partial.as_str()]);
        }
        if let Some(duration) = handshake.duration {
            self.durations.entry(version).or_default().observe(duration);
        }
        if let Some(time) = handshake.syn_to_syn_ack {
            self.syn_ack.observe(time);
        }
        for name in handshake.on.names() {
            if let Some([count]) = self.interfaces.of(name) {
                *count += 1;
            }
        }
    }

    fn answered(&mut self, handshake: &HandshakeObservation<'_>, cipher_suite: u16) {
        self.cipher_suites.add([named(cipher_suite, CipherSuite(cipher_suite))]);
        self.groups.add([handshake.group.map_or("none", |group| named(group, NamedGroup(group)))]);
        self.key_exchanges.add([if handshake.is_post_quantum() { "true" } else { "false" }]);
        self.sessions.add([match handshake.resumed {
            Some(true) => "true",
            Some(false) => "false",
            None => "unknown",
        }]);
    }

    pub(super) fn write(&self, writer: &mut Writer<'_, '_>) -> fmt::Result {
        write(writer, &families::HANDSHAKES, &self.outcomes)?;
        write(writer, &families::CIPHER_SUITE, &self.cipher_suites)?;
        write(writer, &families::GROUP, &self.groups)?;
        write(writer, &families::KEY_EXCHANGE, &self.key_exchanges)?;
        write(writer, &families::SESSION, &self.sessions)?;
        write(writer, &families::ALERT, &self.alerts)?;
        write(writer, &families::WEAKNESS, &self.weaknesses)?;
        writer.counter(&families::HELLO_RETRY, self.hello_retries)?;
        write(writer, &families::PARTIAL, &self.partial)?;
        let mut durations = writer.family(&families::DURATION)?;
        for (version, histogram) in &self.durations {
            durations.histogram(&[version], histogram)?;
        }
        writer.family(&families::SYN_ACK)?.histogram(&[], &self.syn_ack)?;
        let mut interfaces = writer.family(&families::INTERFACE)?;
        for (name, [count]) in self.interfaces.iter() {
            interfaces.counter(&[name], *count)?;
        }
        let mut names = writer.family(&families::SERVER_NAME)?;
        for (name, count) in &self.server_names {
            names.counter(&[name], *count)?;
        }
        Ok(())
    }
}

fn write<const N: usize>(
    writer: &mut Writer<'_, '_>,
    family: &families::Family,
    counts: &Counts<N>,
) -> fmt::Result {
    let mut series = writer.family(family)?;
    counts.iter().try_for_each(|(values, count)| series.counter(values, count))
}

fn version(version: Option<u16>) -> &'static str {
    version.map_or("none", |version| named(version, ProtocolVersion(version)))
}

/// The name of a code point; `other` if it has none, or is GREASE, which no server may choose.
fn named(number: u16, point: impl CodePoint) -> &'static str {
    point.name().filter(|_| !is_grease(number)).unwrap_or(OTHER)
}

/// The alert that ended a handshake.
fn ending_alert(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Alert { alert: Some(Alert { description, .. }), .. } => {
            Some(AlertDescription::name(description).unwrap_or(OTHER))
        }
        Outcome::Alert { alert: None, .. } | Outcome::ProbableEncryptedAlert { .. } => {
            Some("encrypted")
        }
        Outcome::Completed
        | Outcome::Reset { .. }
        | Outcome::Closed { .. }
        | Outcome::TimedOut
        | Outcome::NoAnswer
        | Outcome::NotTls
        | Outcome::StillOpen
        | Outcome::Partial => None,
    }
}
