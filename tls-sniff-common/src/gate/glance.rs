//! What a glance tells of the gate: enough to know of nearly all packets that their flow is not in it.
//!
//! ```text
//!  bucket   4 places × { tag (8) | flow (64) }   288 bytes, 9.4 MB in all: not in a processor's cache
//!  glance   2 sides × 4 places × short (2)        16 bytes, 512 KiB in all: mostly there
//! ```
//!
//! A side that has sent all of its tail is taken out before its flow is: a long download is over for the gate
//! although the client, which only acknowledges, has segments left.

use core::cell::Cell;

use super::{WAYS, flow::Flow};
use crate::flow::FlowId;

/// Of each side and each place of a [`Bucket`](super::Bucket): [`FlowId::short`] of the flow whose segments of that
/// side are looked at; 0 for none.
#[repr(C, align(16))]
#[derive(Debug, Default)]
pub struct Glance([[Cell<u16>; WAYS]; 2]);

impl Glance {
    /// Of an empty bucket.
    #[must_use]
    pub const fn empty() -> Self {
        Self([const { [const { Cell::new(0) }; WAYS] }; 2])
    }

    /// Whether segments of the sender are looked at; one in some ten thousand others passes for one.
    #[inline(always)]
    #[must_use]
    pub fn may_have(&self, flow: FlowId) -> bool {
        flow.of_side(&self.0).iter().any(|short| short.get() == flow.short())
    }

    /// Both sides of a place.
    #[inline(always)]
    pub(super) fn of_place(&self, way: usize) -> Option<[&Cell<u16>; 2]> {
        let [one, other] = &self.0;
        Some([one.get(way)?, other.get(way)?])
    }
}

/// Where a flow is, or may be entered.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) tag: &'a Cell<u64>,
    pub(super) glance: Option<[&'a Cell<u16>; 2]>,
    pub(super) flow: &'a Flow,
}

impl Place<'_> {
    /// The flow has the place, and both sides are looked at.
    #[inline(always)]
    pub(super) fn take(&self, flow: FlowId) {
        self.tag.set(flow.tag);
        self.show(flow.short());
    }

    /// Nobody has the place.
    #[inline(always)]
    pub(super) fn free(&self) {
        // In this order: a free place may be taken by another CPU at once.
        self.show(0);
        self.tag.set(0);
    }

    #[inline(always)]
    fn show(&self, short: u16) {
        if let Some([one, other]) = self.glance {
            one.set(short);
            other.set(short);
        }
    }

    /// The sender says no more that matters.
    #[inline(always)]
    pub(super) fn ignore_sender(&self, flow: FlowId) {
        if let Some(sides) = self.glance {
            flow.of_side(&sides).set(0);
        }
    }
}
