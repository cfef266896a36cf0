//! From the ring's bytes to the pipeline, and what is said of losses meanwhile.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tls_sniff_common::{
    counters::CounterBlock,
    event::{Event, marks},
    flow::Hook,
};

use super::TICK;
use crate::{
    clock::{self, KernelClock, Timestamp},
    dedup::{Dedup, SeenOn, Taken},
    load::KernelCounters,
    observation,
    pipeline::{Pipeline, Sighting},
    source::file::{LINKTYPE_ETHERNET, LINKTYPE_RAW},
};

/// How often a growing loss is looked for while events arrive.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// What turns the ring's bytes into output.
pub(super) struct Reader {
    pub(super) dedup: Dedup,
    pub(super) pipeline: Pipeline,
    pub(super) clock: KernelClock,
    pub(super) names: BTreeMap<u32, String>,
    pub(super) counters: KernelCounters,
    pub(super) checked: Instant,
    pub(super) lost: u64,
    pub(super) dropped: u64,
    pub(super) dropped_packets: u64,
}

impl Reader {
    /// One item of the ring.
    pub(super) fn event(&mut self, bytes: &[u8]) {
        let event = match Event::decode(bytes) {
            Ok(event) => event,
            Err(error) => {
                if self.pipeline.undecodable() == 1 {
                    tracing::error!("{error}: the kernel programs are of another build");
                }
                return;
            }
        };
        let timestamp = self.clock.wall(event.header.timestamp);
        let Self { dedup, pipeline, names, .. } = self;
        let taken = dedup.event(&event, timestamp, &mut |event, timestamp, interfaces| {
            hand_on(pipeline, names, event, timestamp, interfaces);
        });
        if taken == Taken::Duplicate {
            pipeline.duplicate();
        }
    }

    /// What is held has waited for long enough.
    pub(super) fn release_due(&mut self) {
        let Self { dedup, pipeline, names, .. } = self;
        dedup.release_due(clock::kernel_now(), &mut |event, timestamp, interfaces| {
            hand_on(pipeline, names, event, timestamp, interfaces);
        });
        self.flush();
    }

    /// Nothing more is waited for.
    pub(super) fn release_all(&mut self) {
        let Self { dedup, pipeline, names, .. } = self;
        dedup.release_all(&mut |event, timestamp, interfaces| {
            hand_on(pipeline, names, event, timestamp, interfaces);
        });
    }

    /// A second has passed. What is still in the ring is older than now: a little patience lets it speak first.
    pub(super) fn tick(&mut self) {
        let patience = i64::try_from(TICK.as_nanos()).unwrap_or(i64::MAX);
        self.pipeline.tick(Timestamp(Timestamp::now().0.saturating_sub(patience)));
        self.flush();
    }

    /// Ends a batch.
    pub(super) fn flush(&mut self) {
        self.pipeline.flush();
        if self.checked.elapsed() >= LOSS_CHECK {
            self.checked = Instant::now();
            if let Ok(hooks) = self.counters.read() {
                self.warn_of_loss(&hooks);
            }
            let dropped = self.pipeline.dropped();
            if dropped > self.dropped {
                tracing::warn!(
                    "the reader of stdout is too slow: {} events were dropped ({dropped} in all)",
                    dropped - self.dropped
                );
                self.dropped = dropped;
            }
            let packets = self.pipeline.dropped_packets();
            if packets > self.dropped_packets {
                tracing::warn!(
                    "writing the capture is too slow: {} packets were dropped ({packets} in all)",
                    packets - self.dropped_packets
                );
                self.dropped_packets = packets;
            }
        }
    }

    /// Says how many records were lost since this was last said.
    pub(super) fn warn_of_loss(&mut self, hooks: &[(Hook, CounterBlock)]) {
        let lost = observation::lost(hooks);
        if lost > self.lost {
            tracing::warn!(
                "{} segments were lost in the kernel ({lost} in all): --ring-bytes makes more room",
                lost - self.lost
            );
            self.lost = lost;
        }
    }
}

/// What an event's packet starts with.
const fn link_type(event: &Event<'_>) -> u32 {
    if event.header.marks & marks::RAW_IP != 0 { LINKTYPE_RAW } else { LINKTYPE_ETHERNET }
}

/// Hands a packet that was seen on `interfaces` to the pipeline.
fn hand_on(
    pipeline: &mut Pipeline,
    names: &BTreeMap<u32, String>,
    event: &Event<'_>,
    timestamp: Timestamp,
    interfaces: &[u32],
) {
    let name = |index: u32| names.get(&index).map(String::as_str);
    SeenOn::of(interfaces, name, |on| {
        pipeline.event(event, Sighting { timestamp, on, link_type: link_type(event) });
    });
}
