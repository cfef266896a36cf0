//! Conversations as packets: handshake and end of TCP, segments of an MSS, acknowledgements; and as many copies of
//! each as are asked for, with other addresses, ports, randoms and times.

use std::io::{self, Write};

use crate::{
    conversation::{Conversation, Speaker},
    frame::{Frame, flags},
};

/// Payload of a segment at most.
const MSS: usize = 1448;

/// Where things are in a frame without options: Ethernet, IPv4, TCP.
const IP: usize = 14;
const TCP: usize = IP + 20;

/// Where the payload of a [`Packet`] starts.
pub const PAYLOAD: usize = TCP + 20;

/// Packets of the end of a connection.
const GOODBYE: usize = 3;

/// What a template has for the client's address and port.
const CLIENT: [u8; 4] = [10, 0, 0, 0];
const CLIENT_PORT: u16 = 0;
const SERVER: [u8; 4] = [192, 0, 2, 1];

/// A frame of a connection.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sends it.
    pub from: Speaker,
    /// From the Ethernet header on; without TCP options.
    pub frame: Vec<u8>,
    /// Whether it starts with the ClientHello.
    pub is_hello: bool,
}

/// The packets of one connection, of which copies are made.
#[derive(Clone, Debug)]
pub struct Template(Vec<Packet>);

impl Template {
    /// All packets of a conversation, from SYN to FIN.
    pub fn of(conversation: &Conversation) -> Self {
        let mut packets = Vec::new();
        // Sequence numbers of client and server: of the next byte.
        let mut next = [1_000_u32, 5_000_u32];
        let mut push = |from: Speaker, bits: u8, payload: &[u8], is_hello: bool| {
            let (mine, theirs) = if from == Speaker::Client { (0, 1) } else { (1, 0) };
            let frame = Frame::ethernet().ipv4();
            let frame = match from {
                Speaker::Client => frame.addresses(CLIENT, SERVER).tcp(CLIENT_PORT, 443),
                Speaker::Server => frame.addresses(SERVER, CLIENT).tcp(443, CLIENT_PORT),
            };
            let ack = if bits & flags::ACK == 0 { 0 } else { next[theirs] };
            let frame = frame.seq(next[mine]).ack(ack).flags(bits).payload(payload).build();
            let length = u32::try_from(payload.len()).expect("a segment");
            next[mine] += length + u32::from(bits & (flags::SYN | flags::FIN) != 0);
            packets.push(Packet { from, frame, is_hello });
        };
        let other = |speaker| match speaker {
            Speaker::Client => Speaker::Server,
            Speaker::Server => Speaker::Client,
        };
        push(Speaker::Client, flags::SYN, &[], false);
        push(Speaker::Server, flags::SYN | flags::ACK, &[], false);
        push(Speaker::Client, flags::ACK, &[], false);
        let mut is_hello = true;
        for (speaker, bytes) in &conversation.said {
            let segments = bytes.chunks(MSS).count();
            for (number, segment) in bytes.chunks(MSS).enumerate() {
                let last = number + 1 == segments;
                let bits = if last { flags::ACK | flags::PSH } else { flags::ACK };
                push(*speaker, bits, segment, std::mem::take(&mut is_hello));
                if number % 2 == 1 || last {
                    push(other(*speaker), flags::ACK, &[], false);
                }
            }
        }
        push(Speaker::Client, flags::FIN | flags::ACK, &[], false);
        push(Speaker::Server, flags::FIN | flags::ACK, &[], false);
        push(Speaker::Client, flags::ACK, &[], false);
        Self(packets)
    }

    /// The packets of a conversation that goes on: without the FINs.
    pub fn unfinished(conversation: &Conversation) -> Self {
        let Self(mut packets) = Self::of(conversation);
        packets.truncate(packets.len() - GOODBYE);
        Self(packets)
    }

    /// The packets.
    pub fn packets(&self) -> &[Packet] {
        &self.0
    }

    /// Gives `packet`, one of these, to connection `number`: another client, another random.
    pub fn copy(packet: &Packet, number: u32) -> Vec<u8> {
        let mut frame = packet.frame.clone();
        readdress(&mut frame, packet.from, number);
        if packet.is_hello {
            // Record and message header, version, random.
            replace(&mut frame, PAYLOAD + 11, &number.to_be_bytes(), &[TCP + 16]);
        }
        frame
    }
}

/// Writes the client of connection `number` over that of a template: 16,777,216 addresses, then another port.
pub fn readdress(frame: &mut [u8], from: Speaker, number: u32) {
    let [high, address @ ..] = number.to_be_bytes();
    let port = 40_000 + u16::from(high) * 16 + u16::from(address[2] & 15);
    let (address_at, port_at) = match from {
        Speaker::Client => (IP + 12, TCP),
        Speaker::Server => (IP + 16, TCP + 2),
    };
    let [a, b, c] = address;
    replace(frame, address_at, &[CLIENT[0], a, b, c], &[IP + 10, TCP + 16]);
    replace(frame, port_at, &port.to_be_bytes(), &[TCP + 16]);
}

/// Writes `new` over what is there, and corrects the checksums that cover it (RFC 1624).
fn replace(frame: &mut [u8], at: usize, new: &[u8], checksums: &[usize]) {
    // Words start at even offsets.
    let words = (at & !1)..(at + new.len()).next_multiple_of(2).min(frame.len());
    let before = sum(&frame[words.clone()]);
    let count = u32::try_from(words.len() / 2).expect("a few");
    frame[at..at + new.len()].copy_from_slice(new);
    let after = sum(&frame[words]);
    for &checksum in checksums {
        let old = sum(&frame[checksum..checksum + 2]);
        let mut sum = (0xffff - old) + (0xffff * count - before) + after;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let [.., high, low] = (!sum).to_be_bytes();
        (frame[checksum], frame[checksum + 1]) = (high, low);
    }
}

/// The sum of the 16-bit words, the last one filled up with zeros.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| (u32::from(pair[0]) << 8) | pair.get(1).copied().map_or(0, u32::from);
    bytes.chunks(2).map(word).sum()
}

/// A pcap file of Ethernet frames that is written as it goes.
pub struct PcapWriter<W> {
    out: W,
    /// Microseconds since the epoch.
    now: u64,
    /// Packets so far.
    pub packets: u64,
    /// Bytes so far.
    pub bytes: u64,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file's header.
    ///
    /// # Errors
    ///
    /// If `out` refuses.
    pub fn new(mut out: W) -> io::Result<Self> {
        let header = crate::pcap::pcap(crate::pcap::link_type::ETHERNET, []);
        out.write_all(&header)?;
        Ok(Self { out, now: 1_700_000_000_000_000, packets: 0, bytes: header.len() as u64 })
    }

    /// Appends a frame, ten microseconds after the one before.
    ///
    /// # Errors
    ///
    /// If `out` refuses.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.now += 10;
        let number = |value: u64| u32::try_from(value).expect("small").to_le_bytes();
        for value in
            [self.now / 1_000_000, self.now % 1_000_000, frame.len() as u64, frame.len() as u64]
        {
            self.out.write_all(&number(value))?;
        }
        self.out.write_all(frame)?;
        self.packets += 1;
        self.bytes += 16 + frame.len() as u64;
        Ok(())
    }

    /// Writes `connections` connections, by turns of each template, of which `open` are open at once: one packet
    /// of each in turn.
    ///
    /// # Errors
    ///
    /// If `out` refuses.
    pub fn connections(
        &mut self,
        templates: &[Template],
        connections: u32,
        open: u32,
    ) -> io::Result<()> {
        let template = |number: u32| &templates[number as usize % templates.len()];
        let mut next = open.min(connections);
        let mut running: Vec<(u32, usize)> = (0..next).map(|number| (number, 0)).collect();
        while !running.is_empty() {
            let mut over = false;
            for (number, at) in &mut running {
                let packets = template(*number).packets();
                self.write(&Template::copy(&packets[*at], *number))?;
                *at += 1;
                if *at == packets.len() {
                    if next < connections {
                        (*number, *at) = (next, 0);
                        next += 1;
                    } else {
                        (*number, over) = (u32::MAX, true);
                    }
                }
            }
            if over {
                running.retain(|(number, _)| *number != u32::MAX);
            }
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;
    use crate::peer::Version;

    /// Both checksums of a frame are what etherparse says they are to be.
    fn check(frame: &[u8]) {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
        let header = ip.header().to_header();
        let wanted = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()).unwrap();
        assert_eq!(tcp.checksum(), wanted);
    }

    #[test]
    fn copies_differ_and_have_their_checksums() {
        let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
        hello.resize(61, 0x5a);
        let said = vec![(Speaker::Client, hello), (Speaker::Server, vec![0x16; 3001])];
        let conversation = Conversation { version: Version::Tls13, said };
        let open = Template::unfinished(&conversation);
        assert!(open.packets().iter().all(|packet| packet.frame[TCP + 13] & flags::FIN == 0));
        let template = Template::of(&conversation);
        assert!(template.packets().iter().filter(|packet| packet.is_hello).count() == 1);
        let has_fin = |packet: &Packet| u32::from(packet.frame[TCP + 13] & flags::FIN);
        assert_eq!(template.packets().iter().map(has_fin).sum::<u32>(), 2);
        let mut seen = std::collections::BTreeSet::new();
        for number in [0, 1, 255, 256, 65_536, 0x0100_0000, 0x00ff_ffff] {
            for packet in template.packets() {
                let frame = Template::copy(packet, number);
                check(&frame);
                seen.insert(frame[IP + 12..PAYLOAD].to_vec());
            }
        }
        assert_eq!(seen.len(), 7 * template.packets().len(), "all different");
    }

    #[test]
    fn all_connections_are_written() {
        let said = vec![(Speaker::Client, vec![7; 100])];
        let template = Template::of(&Conversation { version: Version::Tls13, said });
        for open in [1, 3, 100] {
            let mut file = Vec::new();
            let mut writer = PcapWriter::new(&mut file).unwrap();
            writer.connections(std::slice::from_ref(&template), 10, open).unwrap();
            assert_eq!(writer.packets, 10 * template.packets().len() as u64);
            let bytes = writer.bytes;
            assert_eq!(bytes, file.len() as u64);
        }
    }
}
