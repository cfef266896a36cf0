//! The flags that select packets.

use std::{fs, path::PathBuf};

use clap::{Args, ValueEnum};
use tls_sniff_common::flow::Direction;

use crate::{
    error::Error,
    filter::{
        PacketFilter,
        end::EndRule,
        networks::Network,
        value::{
            Content, Handshake, Lengths, PortRange, Sample, TcpFlag, ValueError, Vlan, WireVersion,
        },
    },
    observation::EventKind,
};

/// Which packets are looked at. Values of one flag are alternatives, flags add up; the kernel tests them
/// before it copies anything.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters (values of one flag are alternatives, flags add up)")]
pub(crate) struct FilterFlags {
    /// Expression in tcpdump's language that packets must match as well; needs libpcap. It sees the bytes
    /// that the hook sees: for VLAN tags use --vlan
    #[arg(value_name = "EXPRESSION")]
    expression: Vec<String>,

    /// Port or range of either end; before it `src`, `dst`, `not`: -p 443,8443-8450 -p 'not src 8444'
    #[arg(short, long, value_name = "PORT", value_delimiter = ',')]
    port: Vec<EndRule<PortRange>>,

    /// Address of either end; before it `src`, `dst`, `not`
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    host: Vec<EndRule<Network>>,

    /// Network of either end, IPv4 or IPv6; before it `src`, `dst`, `not`: --net 'not 10.0.0.0/8'
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    net: Vec<EndRule<Network>>,

    /// File with such networks, one a line; # begins a comment
    #[arg(long, value_name = "FILE")]
    net_file: Option<PathBuf>,

    /// Direction, as the host sees it
    #[arg(short = 'Q', long, value_name = "WHICH", default_value = "inout")]
    direction: Which,

    /// VLAN id in one of the tags, `any` for what has a tag, `none` for what has none
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    vlan: Vec<Vlan>,

    /// Content types of TLS records that begin in a packet
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    content: Vec<Content>,

    /// Handshake messages that begin in a packet, such as client_hello, certificate
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    handshake: Vec<Handshake>,

    /// Version bytes of the record; TLS 1.3 writes 1.2 (or 1.0) there
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    record_version: Vec<WireVersion>,

    /// Version bytes of a ClientHello or ServerHello; TLS 1.3 writes 1.2 there
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    hello_version: Vec<WireVersion>,

    /// Bytes of TCP payload of a packet, TLS or not: MIN..MAX, both included
    #[arg(long, value_name = "RANGE")]
    payload_len: Option<Lengths>,

    /// Packets that begin or end a TCP connection, with TLS or without
    #[arg(long, value_name = "FLAGS", value_delimiter = ',')]
    tcp: Vec<TcpFlag>,

    /// One connection in N, all of its packets
    #[arg(long, value_name = "1/N")]
    sample: Option<Sample>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    In,
    Out,
    Inout,
}

impl FilterFlags {
    /// Whose packets are wanted.
    ///
    /// # Errors
    ///
    /// If the file of networks cannot be read, or has a line that is no network.
    pub(crate) fn networks(&self) -> Result<Vec<EndRule<Network>>, Error> {
        let mut networks = [&self.host[..], &self.net[..]].concat();
        if let Some(path) = &self.net_file {
            networks.extend(networks_of(path)?);
        }
        Ok(networks)
    }

    /// The filter of the flags but for the networks.
    pub(crate) fn filter_of_records(&self, events: &[EventKind]) -> PacketFilter {
        PacketFilter {
            direction: match self.direction {
                Which::In => Some(Direction::Ingress),
                Which::Out => Some(Direction::Egress),
                Which::Inout => None,
            },
            ports: self.port.clone(),
            vlans: self.vlan.clone(),
            sample: self.sample.map(|Sample(n)| n),
            tcp: self.tcp.clone(),
            payload_len: self.payload_len,
            content: self.content.clone(),
            record_versions: self.record_version.clone(),
            hello_versions: self.hello_version.clone(),
            handshakes: self.handshake.clone(),
            follows_handshakes: events.contains(&EventKind::Handshake),
            application_data: events.contains(&EventKind::ApplicationData),
            ..PacketFilter::default()
        }
    }

    /// The words of the expression as one text, empty without any.
    pub(crate) fn expression(&self) -> String {
        self.expression.join(" ").trim().to_owned()
    }

    /// Whether handshake messages are asked for in records that have none.
    pub(crate) fn asks_messages_of_other_records(&self) -> bool {
        let messages = !self.handshake.is_empty() || !self.hello_version.is_empty();
        messages && !self.content.is_empty() && !self.content.contains(&Content::Handshake)
    }

    /// The events that show what these flags select, unless others are asked for.
    pub(crate) fn default_events(&self) -> Vec<EventKind> {
        let messages = !self.handshake.is_empty() || !self.hello_version.is_empty();
        if !self.content.is_empty() {
            self.content.iter().flat_map(|content| events_of(*content)).copied().collect()
        } else if messages {
            events_of(Content::Handshake).to_vec()
        } else if !self.record_version.is_empty() {
            let all = Content::value_variants().iter();
            all.flat_map(|content| events_of(*content)).copied().collect()
        } else if !self.tcp.is_empty() || self.payload_len.is_some() {
            vec![EventKind::Segment]
        } else {
            EventKind::DEFAULT.to_vec()
        }
    }
}

/// The events that a record of this content type can be.
const fn events_of(content: Content) -> &'static [EventKind] {
    match content {
        Content::Handshake => &[
            EventKind::ClientHello,
            EventKind::ServerHello,
            EventKind::Certificate,
            EventKind::HandshakeMessage,
        ],
        Content::Alert => &[EventKind::Alert],
        Content::Ccs => &[EventKind::ChangeCipherSpec],
        Content::Appdata => &[EventKind::ApplicationData],
    }
}

fn networks_of(path: &PathBuf) -> Result<Vec<EndRule<Network>>, Error> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|source| Error::NetworkFile { file: file.clone(), source })?;
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let rule = line.split('#').next().unwrap_or_default().trim();
        if !rule.is_empty() {
            let refused =
                |source: ValueError| Error::NetworkLine { file: file.clone(), number, source };
            rules.push(rule.parse().map_err(refused)?);
        }
    }
    Ok(rules)
}
