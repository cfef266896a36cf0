//! The counters of every stage, as [`Stats`] has them, each told once. Structs are taken apart by name without `..`:
//! a counter that is new does not compile until it is told here.

use std::fmt;

use tls_sniff_common::counters::{Counter, CounterKind};

use super::{exposition::Writer, families, interfaces::InterfaceEvents};
use crate::observation::{
    CaptureCounters, CaptureStats, OutputCounters, OutputStats, PipelineCounters, Stats,
};

pub(super) fn write(
    stats: &Stats,
    interface_events: &InterfaceEvents,
    writer: &mut Writer<'_, '_>,
) -> fmt::Result {
    let Stats {
        reason: _,
        timestamp: _,
        // As process_start_time_seconds.
        seconds: _,
        hooks: _,
        pipeline,
        outputs,
        capture,
        // Of capture files, which have no metrics.
        skipped_link_types: _,
    } = stats;
    packets(stats, writer)?;
    events(pipeline, interface_events, writer)?;
    written(outputs, writer)?;
    captured(capture.as_ref(), writer)
}

fn packets(Stats { hooks, .. }: &Stats, writer: &mut Writer<'_, '_>) -> fmt::Result {
    let mut packets = writer.family(&families::PACKETS)?;
    for (hook, block) in hooks {
        for (counter, count) in Counter::ALL.iter().zip(block) {
            if let Some(kind) = kind(*counter) {
                packets.counter(&[hook.as_str(), counter.as_str(), kind], *count)?;
            }
        }
    }
    let mut evicted = writer.family(&families::FLOWS_EVICTED)?;
    for (hook, block) in hooks {
        let count = block.get(Counter::FlowEvicted.index()).copied().unwrap_or(0);
        evicted.counter(&[hook.as_str()], count)?;
    }
    Ok(())
}

/// What a counter says of a packet; `None` of those that are the sum of others, or count something else.
pub(super) const fn kind(counter: Counter) -> Option<&'static str> {
    match counter.kind() {
        CounterKind::Emitted => Some("emitted"),
        CounterKind::Filtered => Some("filtered"),
        CounterKind::Skipped => Some("skipped"),
        CounterKind::Lost => Some("lost"),
        CounterKind::Total | CounterKind::Aside => None,
    }
}

fn events(
    pipeline: &PipelineCounters,
    by_interface: &InterfaceEvents,
    writer: &mut Writer<'_, '_>,
) -> fmt::Result {
    let PipelineCounters {
        received,
        undecodable,
        duplicates,
        unrelated,
        crowded_segments,
        connections,
        evicted,
        observations,
        // The sums of what outputs say themselves.
        written: _,
        dropped: _,
        after_end: _,
        beyond_count,
        unselected,
        given_up,
    } = *pipeline;
    let followed = received.saturating_sub(undecodable + duplicates + unrelated);
    let mut events = writer.family(&families::EVENTS)?;
    events.counter(&["followed"], followed)?;
    events.counter(&["unrelated"], unrelated)?;
    events.counter(&["duplicate"], duplicates)?;
    events.counter(&["undecodable"], undecodable)?;
    by_interface.write(writer)?;
    writer.counter(&families::CROWDED, crowded_segments)?;
    writer.counter(&families::CONNECTIONS, connections)?;
    writer.counter(&families::CONNECTIONS_EVICTED, evicted)?;
    let mut results = writer.family(&families::OBSERVATIONS)?;
    results.counter(&["taken"], observations.saturating_sub(beyond_count))?;
    results.counter(&["beyond_count"], beyond_count)?;
    results.counter(&["unselected"], unselected)?;
    results.counter(&["given_up"], given_up)
}

fn written(outputs: &[OutputStats], writer: &mut Writer<'_, '_>) -> fmt::Result {
    let mut series = writer.family(&families::OUTPUT_EVENTS)?;
    for OutputStats { name, counters } in outputs {
        let OutputCounters {
            // The sum of those below and what is on its way.
            events: _,
            written,
            lost_queue,
            lost_connection,
            lost_write,
            after_end,
        } = *counters;
        series.counter(&[name, "written"], written)?;
        series.counter(&[name, "lost_queue"], lost_queue)?;
        series.counter(&[name, "lost_connection"], lost_connection)?;
        series.counter(&[name, "lost_write"], lost_write)?;
        series.counter(&[name, "after_end"], after_end)?;
    }
    let mut pending = writer.family(&families::OUTPUT_PENDING)?;
    outputs.iter().try_for_each(|OutputStats { name, counters }| {
        pending.gauge(&[name], number(counters.on_their_way()))
    })
}

fn captured(capture: Option<&CaptureStats>, writer: &mut Writer<'_, '_>) -> fmt::Result {
    let mut packets = writer.family(&families::CAPTURE_PACKETS)?;
    let Some(CaptureStats { file, unselected, given_up }) = capture else {
        writer.family(&families::CAPTURE_PENDING)?;
        writer.family(&families::CAPTURE_FILES)?;
        writer.family(&families::CAPTURE_BYTES)?;
        return Ok(());
    };
    let CaptureCounters {
        // The sum of those below and what is on its way.
        taken: _,
        written,
        dropped_queue,
        dropped_disk,
        other_link_type,
        after_end,
        files,
        bytes,
    } = *file;
    packets.counter(&["written"], written)?;
    packets.counter(&["dropped_queue"], dropped_queue)?;
    packets.counter(&["dropped_disk"], dropped_disk)?;
    packets.counter(&["other_link_type"], other_link_type)?;
    packets.counter(&["after_end"], after_end)?;
    packets.counter(&["unselected"], *unselected)?;
    packets.counter(&["given_up"], *given_up)?;
    writer.gauge(&families::CAPTURE_PENDING, number(file.on_their_way()))?;
    writer.counter(&families::CAPTURE_FILES, files)?;
    writer.counter(&families::CAPTURE_BYTES, bytes)
}

/// A gauge's value.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats to Prometheus, exact up to 2^53")]
pub(super) const fn number(value: u64) -> f64 {
    value as f64
}
