//! Every metric family: its name, type, labels, how many label sets it can have, and what it says.
//! docs/metrics.md is this table.

use prometheus_client::metrics::MetricType;

use super::{interfaces::MAX_INTERFACES, server_names::MAX_SERVER_NAMES};

/// How many values of its labels a family has at most, whatever the network sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// So many.
    Sets(usize),
    /// So many for each output, which the operator chooses.
    PerOutput(usize),
}

impl Bound {
    /// As a number.
    pub(super) const fn most(self) -> usize {
        match self {
            Self::Sets(sets) => sets,
            Self::PerOutput(_) => usize::MAX,
        }
    }
}

/// A family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Without the suffix that its type adds.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
    pub(super) bound: Bound,
    pub(super) help: &'static str,
}

/// Names and the rest, one family a line, and the list of all.
macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $bound:expr, $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family {
            name: $name,
            kind: MetricType::$kind,
            labels: &[$($label),*],
            bound: $bound,
            help: $help,
        };)*
        /// All of them, in the order of the exposition.
        pub(super) const ALL: &[&Family] = &[$(&$constant),*];
    };
}

/// SSL 2.0 to TLS 1.3, `other`, `none`.
const VERSIONS: usize = 8;
/// Four outcomes by client or server, six by neither.
const ENDINGS: usize = 14;
/// The registries' names without GREASE, as tls-parser and [`crate::tls::names`] have them, and `other`.
const CIPHER_SUITES: usize = 353;
/// Likewise, and `none`.
const GROUPS: usize = 60;
/// The names, `other` and `encrypted`, by client or server.
const ALERTS: usize = 2 * 39;
/// TC in both directions, XDP, a file.
const HOOKS: usize = 4;
const PACKET_OUTCOMES: usize = 13;

families! {
    HANDSHAKES: Counter "tls_sniff_handshakes" ["version", "outcome", "by"] Bound::Sets(VERSIONS * ENDINGS),
        "Handshakes that are over, by negotiated version, how they ended and who ended them (client, server, none).";
    CIPHER_SUITE: Counter "tls_sniff_handshake_cipher_suites" ["cipher_suite"] Bound::Sets(CIPHER_SUITES),
        "Handshakes that a server answered, by the cipher suite that it chose.";
    GROUP: Counter "tls_sniff_handshake_groups" ["group"] Bound::Sets(GROUPS),
        "Handshakes that a server answered, by the named group of the key exchange; none without one.";
    KEY_EXCHANGE: Counter "tls_sniff_handshake_key_exchanges" ["post_quantum"] Bound::Sets(2),
        "Handshakes that a server answered, by whether the key exchange is post-quantum.";
    SESSION: Counter "tls_sniff_handshake_sessions" ["resumed"] Bound::Sets(3),
        "Handshakes that a server answered, by whether a session is resumed: true, false, unknown.";
    ALERT: Counter "tls_sniff_handshake_alerts" ["description", "by"] Bound::Sets(ALERTS),
        "Handshakes that an alert ended, by its description and sender; encrypted if it cannot be read.";
    WEAKNESS: Counter "tls_sniff_handshake_weaknesses" ["weakness"] Bound::Sets(14),
        "Handshakes in which something is weak; one may have several weaknesses.";
    HELLO_RETRY: Counter "tls_sniff_handshake_hello_retries" [] Bound::Sets(1),
        "Handshakes with a HelloRetryRequest: a round trip more.";
    PARTIAL: Counter "tls_sniff_handshake_partial" ["reason"] Bound::Sets(4),
        "Handshakes of which messages are missing, by the reason.";
    DURATION: Histogram "tls_sniff_handshake_duration_seconds" ["version"] Bound::Sets(VERSIONS),
        "Time from the first segment of a completed handshake to its completion, as seen at the interface.";
    SYN_ACK: Histogram "tls_sniff_tcp_syn_ack_seconds" [] Bound::Sets(1),
        "Time from SYN to SYN-ACK of connections whose handshake is over, as seen at the interface.";
    INTERFACE: Counter "tls_sniff_interface_handshakes" ["interface"] Bound::Sets(MAX_INTERFACES + 1),
        "Handshakes by interface; one that crosses several interfaces counts at each. Gone with its interface.";
    SERVER_NAME: Counter "tls_sniff_server_name_handshakes" ["server_name"] Bound::Sets(MAX_SERVER_NAMES + 1),
        "Handshakes of the most frequent server names since each is among them (--metrics-sni), and of all others.";
    PACKETS: Counter "tls_sniff_packets" ["hook", "outcome", "kind"] Bound::Sets(HOOKS * PACKET_OUTCOMES),
        "Packets that a kernel program ran on, by what each came to; kind is emitted, filtered, skipped or lost.";
    FLOWS_EVICTED: Counter "tls_sniff_flows_evicted" ["hook"] Bound::Sets(HOOKS),
        "Flows in their handshake that made room for others in the kernel: what they send next may be missing.";
    EVENTS: Counter "tls_sniff_events" ["result"] Bound::Sets(4),
        "Events read from the ring: followed, unrelated to a handshake, duplicate (seen on another interface), undecodable.";
    INTERFACE_EVENTS: Counter "tls_sniff_interface_events" ["interface", "direction"] Bound::Sets(2 * (MAX_INTERFACES + 1)),
        "Events read from the ring by interface and direction (ingress, egress): all but undecodable ones. Gone with its interface.";
    CROWDED: Counter "tls_sniff_crowded_segments" [] Bound::Sets(1),
        "Segments with more messages than are taken of one.";
    CONNECTIONS: Counter "tls_sniff_connections" [] Bound::Sets(1),
        "Connections whose handshake was followed.";
    CONNECTIONS_EVICTED: Counter "tls_sniff_connections_evicted" [] Bound::Sets(1),
        "Connections given up to keep memory bounded.";
    OBSERVATIONS: Counter "tls_sniff_observations" ["result"] Bound::Sets(4),
        "Observations that an output asks for: taken, beyond_count (behind the last of -c), unselected (by filters for handshakes), given_up (memory).";
    OUTPUT_EVENTS: Counter "tls_sniff_output_events" ["output", "result"] Bound::PerOutput(5),
        "Events for an output: written, lost_queue (it is too slow), lost_connection, lost_write (refused), after_end (its reader has gone).";
    OUTPUT_PENDING: Gauge "tls_sniff_output_events_pending" ["output"] Bound::PerOutput(1),
        "Events on their way to an output.";
    CAPTURE_PACKETS: Counter "tls_sniff_capture_packets" ["result"] Bound::Sets(7),
        "Packets for the capture file (-w): written, dropped_queue, dropped_disk, other_link_type, after_end, unselected, given_up.";
    CAPTURE_PENDING: Gauge "tls_sniff_capture_packets_pending" [] Bound::Sets(1),
        "Packets on their way to the capture file.";
    CAPTURE_FILES: Counter "tls_sniff_capture_files" [] Bound::Sets(1),
        "Capture files opened.";
    CAPTURE_BYTES: Counter "tls_sniff_capture_bytes" [] Bound::Sets(1),
        "Bytes in capture files, as compressed.";
    CONNECTIONS_OPEN: Gauge "tls_sniff_connections_open" [] Bound::Sets(1),
        "Connections whose handshake is being followed, those included that have been over for some seconds.";
    CONNECTIONS_MEMORY: Gauge "tls_sniff_connections_memory_bytes" [] Bound::Sets(1),
        "Memory of these connections.";
    INTERFACES: Gauge "tls_sniff_interfaces_watched" [] Bound::Sets(1),
        "Interfaces that are watched now.";
    RING_SIZE: Gauge "tls_sniff_ring_size_bytes" [] Bound::Sets(1),
        "Size of the ring buffer between kernel and tls-sniff.";
    RING_USED: Gauge "tls_sniff_ring_used_bytes" [] Bound::Sets(1),
        "Bytes in the ring buffer that are not read yet.";
    RING_USED_MAX: Gauge "tls_sniff_ring_used_max_bytes" [] Bound::Sets(1),
        "The most that the reader found in the ring buffer since it was last asked for this figure.";
    AGE: Gauge "tls_sniff_metrics_age_seconds" ["source"] Bound::Sets(2),
        "How old these figures are: those of the kernel's counters, and all others (pipeline).";
    RELOAD_SUCCESSFUL: Gauge "tls_sniff_config_last_reload_successful" [] Bound::Sets(1),
        "1 if the configuration in force is the one that was last asked for, 0 if that was refused.";
    RELOAD_TIME: Gauge "tls_sniff_config_last_reload_success_timestamp_seconds" [] Bound::Sets(1),
        "When the configuration in force was read, seconds of the Unix epoch.";
    BUILD: Info "tls_sniff_build" ["version"] Bound::Sets(1),
        "The version of tls-sniff.";
    CPU: Counter "process_cpu_seconds" [] Bound::Sets(1),
        "User and system CPU time of the process that parses and writes.";
    RESIDENT: Gauge "process_resident_memory_bytes" [] Bound::Sets(1),
        "Resident memory of that process.";
    VIRTUAL: Gauge "process_virtual_memory_bytes" [] Bound::Sets(1),
        "Virtual memory of that process.";
    THREADS: Gauge "process_threads" [] Bound::Sets(1),
        "Threads of that process.";
    START: Gauge "process_start_time_seconds" [] Bound::Sets(1),
        "When that process started, seconds of the Unix epoch.";
}
