//! Capture files made by tests.

use std::time::Duration;

/// Link types of a pcap file (tcpdump.org/linktypes.html).
pub mod link_type {
    /// `LINKTYPE_ETHERNET`
    pub const ETHERNET: u32 = 1;
    /// `LINKTYPE_RAW`: IPv4 or IPv6.
    pub const RAW_IP: u32 = 101;
}

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const VERSION_2_4: u32 = 0x0004_0002;
const SNAPLEN: u32 = 1 << 18;

/// A pcap file: the header, then each frame with its time since the epoch, to the microsecond.
pub fn pcap(link_type: u32, frames: impl IntoIterator<Item = (Duration, Vec<u8>)>) -> Vec<u8> {
    let header = [MAGIC_MICROSECONDS, VERSION_2_4, 0, 0, SNAPLEN, link_type];
    let mut file: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (at, bytes) in frames {
        let seconds = u32::try_from(at.as_secs()).expect("before 2106");
        let length = u32::try_from(bytes.len()).expect("a frame is small");
        let record = [seconds, at.subsec_micros(), length, length];
        file.extend(record.iter().flat_map(|word| word.to_le_bytes()));
        file.extend(bytes);
    }
    file
}
