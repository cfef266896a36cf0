//! A segment as the sessions take it.

use tls_sniff_common::{
    event::Event,
    flow::{Direction, Hook},
    headers::{Segment, VlanTags},
    packet::CapturedPacket,
    start::{Start, payload_start},
};

use crate::{clock::Timestamp, dedup::SeenOn, observation::Seen};

/// A segment, and how it was seen.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) event: &'a Event<'a>,
    /// Which end sent it.
    pub(super) side: usize,
    pub(super) start: Start,
    pub(super) on: SeenOn<'a>,
    pub(super) seen: Seen,
}

impl<'a> Arrival<'a> {
    /// Its payload, from `sequence` on.
    pub(super) const fn piece(&self, sequence: u32) -> Piece<'a> {
        let Self { event, start, seen, .. } = *self;
        let Event { header, payload, .. } = event;
        Piece { at: seen.timestamp, sequence, bytes: payload, length: header.payload_len, start }
    }
}

/// What one direction gets of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) at: Timestamp,
    pub(super) sequence: u32,
    /// Captured payload.
    pub(super) bytes: &'a [u8],
    /// Payload on the wire.
    pub(super) length: u32,
    pub(super) start: Start,
}

/// How a segment was seen; when is kept apart, so that neither leaves room between.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    vlan: VlanTags,
    direction: Direction,
    hook: Hook,
    selected: bool,
}

impl How {
    pub(super) const fn of(seen: Seen) -> Self {
        let Seen { direction, hook, vlan, selected, .. } = seen;
        Self { vlan, direction, hook, selected }
    }

    pub(super) const fn at(self, timestamp: Timestamp) -> Seen {
        let Self { vlan, direction, hook, selected } = self;
        Seen { timestamp, direction, hook, vlan, selected }
    }
}

/// What a payload starts with, by the kernel's own test.
pub(super) fn start_of(bytes: &[u8], length: u32) -> Start {
    let segment = Segment {
        ip_offset: 0,
        tcp_offset: 0,
        payload_offset: 0,
        payload_len: length as usize,
        tcp_flags: 0,
    };
    if length == 0 {
        return Start::Empty;
    }
    payload_start(&CapturedPacket::from(bytes), &segment).unwrap_or(Start::Other)
}
