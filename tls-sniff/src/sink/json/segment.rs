//! The events of TCP segments.

use super::{
    SCHEMA, endpoint, seen_on, vlan,
    writer::{List, Object},
};
use crate::observation::{EventKind, SegmentObservation};

pub(super) fn fields(line: &mut Object<'_>, it: &SegmentObservation<'_>) {
    let header = &it.event.header;
    line.field("timestamp", it.seen.timestamp);
    line.field("event", EventKind::Segment.as_str());
    line.field("schema", SCHEMA);
    seen_on(line, it.on);
    line.some("direction", it.seen.direction());
    line.field("hook", it.seen.hook());
    endpoint(line, ["source_address", "source_port"], it.source());
    endpoint(line, ["destination_address", "destination_port"], it.destination());
    vlan(line, it.seen.vlan);
    line.field("tcp_flags", List(it.flags()));
    line.field("tcp_sequence", header.tcp_sequence);
    line.field("tcp_acknowledgement", header.tcp_acknowledgement);
    line.field("payload_length", header.payload_len);
}
