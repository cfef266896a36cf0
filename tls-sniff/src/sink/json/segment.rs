//! The events of TCP segments.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{List, SCHEMA, Shown, endpoint, seen_on, some, vlan};
use crate::observation::{EventKind, SegmentObservation};

pub(super) struct Line<'a, 'b>(pub(super) &'a SegmentObservation<'b>);

impl Serialize for Line<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let it = self.0;
        let header = &it.event.header;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Shown(it.seen.timestamp))?;
        map.serialize_entry("event", EventKind::Segment.as_str())?;
        map.serialize_entry("schema", &SCHEMA)?;
        seen_on(&mut map, it.on)?;
        some(&mut map, "direction", it.seen.direction())?;
        map.serialize_entry("hook", it.seen.hook())?;
        endpoint(&mut map, ["source_address", "source_port"], it.source())?;
        endpoint(&mut map, ["destination_address", "destination_port"], it.destination())?;
        vlan(&mut map, it.seen.vlan)?;
        map.serialize_entry("tcp_flags", &List(it.flags()))?;
        map.serialize_entry("tcp_sequence", &header.tcp_sequence)?;
        map.serialize_entry("tcp_acknowledgement", &header.tcp_acknowledgement)?;
        map.serialize_entry("payload_length", &header.payload_len)?;
        map.end()
    }
}
