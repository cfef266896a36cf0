//! pcapng, little-endian, one section a file.
//!
//! ```text
//!  block   0 type   4 length   8 contents   length - 4 length again
//!  option  0 code   2 length   4 value, padded to 4 bytes           (length: without the padding)
//!
//!  file    section header │ secrets? │ (interface │ packet │ secrets)* │ statistics of each interface
//! ```
//!
//! Not by pcap-parser's `serialize`: that makes two vectors and a copy for each block, and takes the
//! length of an option as the caller says it. Here lengths follow from what was written.
//!
//! Source: draft-ietf-opsawg-pcapng.

use tls_sniff_common::flow::Direction;

use super::batch::Queued;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 0x0a;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// "TLSK": lines as `SSLKEYLOGFILE` has them.
const SECRETS_OF_TLS: u32 = 0x544c_534b;
/// `if_filter`: what follows is a filter string of libpcap.
const FILTER_STRING: u8 = 0;
/// `if_tsresol`: 10^-9 s.
const NANOSECONDS: u8 = 9;

mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_HARDWARE: u16 = 2;
    pub(super) const SHB_OS: u16 = 3;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const IF_FILTER: u16 = 11;
    pub(super) const IF_OS: u16 = 12;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const ISB_STARTTIME: u16 = 2;
    pub(super) const ISB_ENDTIME: u16 = 3;
    pub(super) const ISB_IFRECV: u16 = 4;
    pub(super) const ISB_IFDROP: u16 = 5;
    pub(super) const ISB_FILTERACCEPT: u16 = 6;
    pub(super) const ISB_OSDROP: u16 = 7;
    pub(super) const ISB_USRDELIV: u16 = 8;
}

/// What section and interface descriptions tell, the same in each file.
#[derive(Clone, Debug, Default)]
pub(super) struct Description {
    pub(super) hardware: String,
    pub(super) os: String,
    pub(super) application: String,
    /// Left out if empty.
    pub(super) filter: String,
    /// Whether the packets are from interfaces of this machine, whose system `os` is.
    pub(super) own_interfaces: bool,
    pub(super) snaplen: u32,
}

/// An interface of the section, and what became of its packets.
struct Interface {
    index: u32,
    link_type: u32,
    name: Box<[u8]>,
    /// Its number in the file; none before its description is written, or after that was cut off.
    number: Option<u32>,
    /// Times of its first and last packet.
    times: (i64, i64),
    received: u64,
    written: u64,
    /// Packets whose bytes are not yet in the file.
    pending: u64,
}

impl Interface {
    fn is_of(&self, packet: &Queued<'_>) -> bool {
        self.index == packet.interface_index
            && self.link_type == packet.link_type
            && *self.name == *packet.name
    }
}

/// The section of the file at hand.
pub(super) struct PcapNg {
    description: Description,
    interfaces: Vec<Interface>,
    /// Where the last packet's interface is.
    last: usize,
    /// Descriptions written, and how many of them are in the file for good.
    described: u32,
    described_for_good: u32,
}

impl PcapNg {
    pub(super) fn new(description: Description) -> Self {
        Self { description, interfaces: Vec::new(), last: 0, described: 0, described_for_good: 0 }
    }

    /// Begins the next file.
    pub(super) fn restart(&mut self) {
        self.interfaces.clear();
        (self.described, self.described_for_good) = (0, 0);
    }

    pub(super) fn header(&self, out: &mut Vec<u8>) {
        block(out, SECTION_HEADER, |out| {
            u32(out, BYTE_ORDER_MAGIC);
            u16(out, 1);
            u16(out, 0);
            // The section's length is not known before its end.
            u64(out, u64::MAX);
            text_option(out, option::SHB_HARDWARE, &self.description.hardware);
            text_option(out, option::SHB_OS, &self.description.os);
            text_option(out, option::SHB_USERAPPL, &self.description.application);
            end_of_options(out);
        });
    }

    pub(super) fn secrets(out: &mut Vec<u8>, lines: &[u8]) {
        block(out, DECRYPTION_SECRETS, |out| {
            u32(out, SECRETS_OF_TLS);
            u32(out, length(lines));
            padded(out, lines);
        });
    }

    pub(super) fn packet(&mut self, packet: &Queued<'_>, out: &mut Vec<u8>) {
        let Some((interface, number)) = self.interface(packet, out) else { return };
        let (first, last) = interface.times;
        interface.times = (first.min(packet.timestamp), last.max(packet.timestamp));
        interface.received += 1;
        interface.pending += 1;
        block(out, ENHANCED_PACKET, |out| {
            u32(out, number);
            time(out, packet.timestamp);
            u32(out, length(packet.data));
            u32(out, packet.wire_len);
            padded(out, packet.data);
            let options = out.len();
            for comment in packet.comments() {
                any_option(out, option::COMMENT, comment);
            }
            match packet.direction {
                Direction::Unknown => {}
                Direction::Ingress => any_option(out, option::EPB_FLAGS, &1_u32.to_le_bytes()),
                Direction::Egress => any_option(out, option::EPB_FLAGS, &2_u32.to_le_bytes()),
            }
            if out.len() > options {
                end_of_options(out);
            }
        });
    }

    /// The packet's interface, described to the file if it was not yet, and its number.
    fn interface(
        &mut self,
        packet: &Queued<'_>,
        out: &mut Vec<u8>,
    ) -> Option<(&mut Interface, u32)> {
        if !self.interfaces.get(self.last).is_some_and(|interface| interface.is_of(packet)) {
            let found = self.interfaces.iter().position(|interface| interface.is_of(packet));
            self.last = found.unwrap_or(self.interfaces.len());
        }
        if self.last == self.interfaces.len() {
            self.interfaces.push(Interface {
                index: packet.interface_index,
                link_type: packet.link_type,
                name: packet.name.into(),
                number: None,
                times: (packet.timestamp, packet.timestamp),
                received: 0,
                written: 0,
                pending: 0,
            });
        }
        let interface = self.interfaces.get_mut(self.last)?;
        let number = *interface.number.get_or_insert_with(|| {
            describe(&self.description, packet, out);
            self.described += 1;
            self.described - 1
        });
        Some((interface, number))
    }

    /// What was encoded since the last call is in the file.
    pub(super) fn committed(&mut self) {
        self.described_for_good = self.described;
        for interface in &mut self.interfaces {
            interface.written += std::mem::take(&mut interface.pending);
        }
    }

    /// What was encoded since then is not in the file, and never will be.
    pub(super) fn cut_off(&mut self) {
        self.described = self.described_for_good;
        for interface in &mut self.interfaces {
            interface.pending = 0;
            interface.number = interface.number.filter(|number| *number < self.described);
        }
    }

    /// Statistics of each interface. `lost` packets were lost before they came here, it is not known at
    /// which interface: they stand at the first.
    pub(super) fn trailer(&self, lost: u64, now: i64, out: &mut Vec<u8>) {
        for interface in &self.interfaces {
            let Some(number) = interface.number else { continue };
            let written = interface.written + interface.pending;
            let (first, last) = interface.times;
            block(out, INTERFACE_STATISTICS, |out| {
                u32(out, number);
                time(out, now);
                time_option(out, option::ISB_STARTTIME, first);
                time_option(out, option::ISB_ENDTIME, last);
                let lost = if number == 0 { lost } else { 0 };
                for (code, count) in [
                    (option::ISB_IFRECV, interface.received),
                    (option::ISB_IFDROP, interface.received.saturating_sub(written)),
                    (option::ISB_FILTERACCEPT, interface.received),
                    (option::ISB_OSDROP, lost),
                    (option::ISB_USRDELIV, written),
                ] {
                    any_option(out, code, &count.to_le_bytes());
                }
                end_of_options(out);
            });
        }
    }

    /// Whether there is an interface whose statistics can tell of losses.
    pub(super) fn tells_losses(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.number == Some(0))
    }
}

fn describe(description: &Description, packet: &Queued<'_>, out: &mut Vec<u8>) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        // Link types of the registry have 16 bits.
        u16(out, u16::try_from(packet.link_type).unwrap_or(u16::MAX));
        u16(out, 0);
        u32(out, description.snaplen);
        if !packet.name.is_empty() {
            any_option(out, option::IF_NAME, packet.name);
        }
        any_option(out, option::IF_TSRESOL, &[NANOSECONDS]);
        if !description.filter.is_empty() {
            let mut value = vec![FILTER_STRING];
            value.extend_from_slice(description.filter.as_bytes());
            any_option(out, option::IF_FILTER, &value);
        }
        if description.own_interfaces {
            text_option(out, option::IF_OS, &description.os);
        }
        end_of_options(out);
    });
}

/// Writes a block whose contents `write` appends, a multiple of 4 bytes.
fn block(out: &mut Vec<u8>, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    u32(out, kind);
    u32(out, 0);
    write(out);
    let len = u32::try_from(out.len() - start + 4).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&len);
    if let Some(field) = out.get_mut(start + 4..start + 8) {
        field.copy_from_slice(&len);
    }
}

fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// A length of what is limited far below 4 GiB: snaplen, a chunk of the key log.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Times before the epoch are not for this format: they stand as the epoch.
fn halves(nanoseconds: i64) -> (u32, u32) {
    let bytes = u64::try_from(nanoseconds).unwrap_or(0).to_be_bytes();
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

fn time(out: &mut Vec<u8>, nanoseconds: i64) {
    let (high, low) = halves(nanoseconds);
    u32(out, high);
    u32(out, low);
}

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len() + bytes.len().next_multiple_of(4) - bytes.len(), 0);
}

/// An option's value is cut where its length field ends.
fn any_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    u16(out, code);
    u16(out, u16::try_from(value.len()).unwrap_or(u16::MAX));
    padded(out, value);
}

fn text_option(out: &mut Vec<u8>, code: u16, text: &str) {
    if !text.is_empty() {
        any_option(out, code, text.as_bytes());
    }
}

fn time_option(out: &mut Vec<u8>, code: u16, nanoseconds: i64) {
    let (high, low) = halves(nanoseconds);
    u16(out, code);
    u16(out, 8);
    u32(out, high);
    u32(out, low);
}

fn end_of_options(out: &mut Vec<u8>) {
    u16(out, option::END);
    u16(out, 0);
}
