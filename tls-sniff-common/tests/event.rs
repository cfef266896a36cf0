//! The event layout and the counters, as user space reads them.

use std::mem::{offset_of, size_of};

use tls_sniff_common::{
    ABI_VERSION,
    counters::{COUNTERS, Counter},
    event::{EVENT_HEADER_LEN, Event, EventError, EventHeader},
    flow::{Direction, Hook},
};

#[expect(clippy::indexing_slicing, reason = "a test's own bytes")]
fn copy(bytes: &mut [u8], offset: usize, field: &[u8]) {
    bytes[offset..offset + field.len()].copy_from_slice(field);
}

/// The bytes that the kernel would write for this header: each field where `repr(C)` has it.
fn bytes(header: &EventHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; EVENT_HEADER_LEN];
    let mut put = |offset: usize, field: &[u8]| copy(&mut bytes, offset, field);
    macro_rules! put {
        ($($field:ident),*) => {
            $(put(offset_of!(EventHeader, $field), &header.$field.to_ne_bytes());)*
        };
    }
    put(offset_of!(EventHeader, source), &header.source);
    put(offset_of!(EventHeader, destination), &header.destination);
    let [outer, inner] = header.vlan_tci.map(u16::to_ne_bytes);
    put(offset_of!(EventHeader, vlan_tci), &[outer, inner].concat());
    put!(
        timestamp,
        syn_time,
        syn_ack_time,
        interface,
        tcp_sequence,
        tcp_acknowledgement,
        payload_len,
        packet_len,
        packet_captured,
        captured_len,
        payload_offset,
        offloaded_tpid
    );
    put!(source_port, destination_port, vlan_count, ip_version, tcp_flags, direction, hook);
    put!(marks, abi_version);
    bytes.extend_from_slice(payload);
    bytes
}

/// Every field with a value that no other field has.
fn header() -> EventHeader {
    EventHeader {
        timestamp: 0x0102_0304_0506_0708,
        syn_time: 0x1112_1314_1516_1718,
        syn_ack_time: 0x2122_2324_2526_2728,
        source: [0x11; 16],
        destination: [0x22; 16],
        interface: 0x3333_3331,
        tcp_sequence: 0x4444_4441,
        tcp_acknowledgement: 0x5555_5551,
        payload_len: 0x0066_6661,
        packet_len: 0x0099_9991,
        packet_captured: 0,
        captured_len: 3,
        payload_offset: 0xaaa1,
        offloaded_tpid: 0xbbb1,
        marks: 0xc1,
        zero: [0; 3],
        source_port: 0x7771,
        destination_port: 0x8881,
        vlan_tci: [0xaaa1, 0xbbb1],
        vlan_count: 2,
        ip_version: 6,
        tcp_flags: 0x18,
        direction: 1,
        hook: 0,
        abi_version: ABI_VERSION,
    }
}

#[test]
fn every_field_is_read_where_it_was_written() {
    assert_eq!(size_of::<EventHeader>(), EVENT_HEADER_LEN);
    let written = bytes(&header(), &[7, 8, 9]);
    let event = Event::decode(&written).unwrap();
    assert_eq!(event.header, header());
    assert_eq!(event.payload, [7, 8, 9]);
    assert_eq!((event.direction, event.hook), (Direction::Ingress, Hook::Xdp));
}

#[test]
fn short_events_are_refused_at_every_length() {
    let written = bytes(&header(), &[7, 8, 9]);
    for length in 0..written.len() {
        let refused = Event::decode(&written[..length]);
        assert!(
            matches!(refused, Err(EventError::Length { got, .. }) if got == length),
            "{length}"
        );
    }
    assert!(Event::decode(&[written, vec![0; 5]].concat()).is_ok());
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    let refused = |change: fn(&mut EventHeader)| {
        let mut header = header();
        change(&mut header);
        Event::decode(&bytes(&header, &[0; 3])).unwrap_err().to_string()
    };
    assert!(refused(|header| header.abi_version = 200).contains("ABI version 200"));
    assert_eq!(refused(|header| header.ip_version = 5), "event with ip_version 5");
    assert_eq!(refused(|header| header.direction = 3), "event with direction 3");
    assert_eq!(refused(|header| header.hook = 9), "event with hook 9");
}

#[test]
fn counters_have_one_place_and_one_name_each() {
    assert_eq!(Counter::ALL.len(), COUNTERS);
    for (place, counter) in Counter::ALL.into_iter().enumerate() {
        assert_eq!(counter.index(), place);
        let same = Counter::ALL.into_iter().filter(|other| other.as_str() == counter.as_str());
        assert_eq!(same.count(), 1);
    }
}
