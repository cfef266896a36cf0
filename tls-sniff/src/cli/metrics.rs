//! The flags of metrics.

use clap::Args;

use crate::metrics::{Address, MAX_SERVER_NAMES, MetricsOptions};

/// Where metrics are served, and which.
#[derive(Debug, Args)]
#[command(next_help_heading = "Metrics, for Prometheus")]
pub(crate) struct MetricsFlags {
    /// Serve /metrics and /healthz by HTTP at PORT, HOST:PORT or [IPV6]:PORT; without a host for this machine alone
    #[arg(long, value_name = "ADDR", conflicts_with = "read")]
    metrics: Option<Address>,

    /// Count the N most frequent server names by name
    #[arg(long, value_name = "N", requires = "metrics", conflicts_with = "read", value_parser = names())]
    metrics_sni: Option<u16>,
}

impl MetricsFlags {
    /// The metrics that are asked for.
    pub(crate) fn options(&self) -> Option<MetricsOptions> {
        let address = self.metrics.clone()?;
        Some(MetricsOptions { address, server_names: self.metrics_sni })
    }
}

fn names() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=i64::try_from(MAX_SERVER_NAMES).unwrap_or(i64::MAX))
}
