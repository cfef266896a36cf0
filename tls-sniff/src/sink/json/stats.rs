//! The statistics of a run.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tls_sniff_common::{
    counters::{Counter, CounterBlock},
    flow::Hook,
};

use super::SCHEMA;
use crate::{
    clock::Timestamp,
    observation::{CaptureStats, OutputStats, PipelineCounters, Stats, StatsReason},
};

#[derive(Serialize)]
pub(super) struct Line<'a> {
    #[serde(serialize_with = "time")]
    pub(super) timestamp: Timestamp,
    event: &'static str,
    schema: u32,
    reason: StatsReason,
    duration_seconds: f64,
    hooks: BTreeMap<&'static str, Counts<'a>>,
    pipeline: PipelineCounters,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    outputs: &'a [OutputStats],
    #[serde(skip_serializing_if = "Option::is_none")]
    capture: Option<CaptureStats>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    skipped_link_types: BTreeMap<u32, u64>,
}

impl<'a> From<&'a Stats> for Line<'a> {
    fn from(stats: &'a Stats) -> Self {
        let name = |(hook, block): &'a (Hook, CounterBlock)| (hook.as_str(), Counts(block));
        Self {
            timestamp: stats.timestamp,
            event: "stats",
            schema: SCHEMA,
            reason: stats.reason,
            duration_seconds: (stats.seconds * 1000.0).round() / 1000.0,
            hooks: stats.hooks.iter().map(name).collect(),
            pipeline: stats.pipeline,
            outputs: &stats.outputs,
            capture: stats.capture,
            skipped_link_types: stats.skipped_link_types.iter().copied().collect(),
        }
    }
}

/// A block with its names.
struct Counts<'a>(&'a CounterBlock);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Counter::ALL.iter().map(|counter| counter.as_str()).zip(self.0))
    }
}

/// By `Display`.
pub(super) fn time<S: Serializer>(timestamp: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(timestamp)
}
