//! Metrics for Prometheus, and whether the run is healthy.
//!
//! ```text
//!  observation of a handshake ─► handshakes ┐
//!  event of the ring ──────────► interfaces │
//!  Stats of every stage ───────► stages     ├─► snapshot ─► exposition (OpenMetrics) ─► server ─► scraper
//!  ring, sessions, interfaces ─► state      ┘               families: names, types, labels, bounds
//! ```
//!
//! **Names** follow Prometheus' practice: base units, `_total`, one family for each question, with few labels. All
//! are in `families`; docs/metrics.md lists them.
//!
//! **Cardinality is bounded** whatever the network sends: values of labels are words of this program. Those that are
//! names of code points come from IANA's registries, and what has no name there is `other`. No address and no server
//! name is a label, except for the N most frequent names with `--metrics-sni N`, which must be names that a host can have.
//!
//! **What is counted**: all handshakes of the packets that the kernel's filters let through. Filters for whole
//! handshakes (`--sni`, `--outcome`, ...) and `--events` choose what is written, not what is counted.
//!
//! **What it costs**: a dozen additions for each handshake, some 0.3 µs; one for an event, 15 ns in a run of one
//! interface and 70 ns if 64 take turns; a copy of the counters for a scrape.

mod address;
mod counts;
mod error;
mod exposition;
mod families;
mod handshakes;
mod interfaces;
mod process;
mod server;
mod server_names;
mod snapshot;
mod stages;
#[cfg(test)]
mod tests;

pub use self::{
    address::{Address, AddressError},
    error::MetricsError,
    handshakes::{HandshakeCounts, Handshakes},
    interfaces::InterfaceEvents,
    server::{Listening, Scrapes, Waiting},
    server_names::MAX_SERVER_NAMES,
    snapshot::{Configuration, Snapshot, State},
};

/// Where metrics are served, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Where.
    pub address: Address,
    /// How many server names are counted by name; `None` for none.
    pub server_names: Option<u16>,
}
