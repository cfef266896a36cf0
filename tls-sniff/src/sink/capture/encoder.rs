//! One file at a time in either format, in chunks that are in the file or are not.

use super::{
    batch::Queued,
    keylog::KeyLog,
    options::CaptureFormat,
    pcap::Pcap,
    pcapng::{Description, PcapNg},
};

/// Whether the file at hand has its header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    Missing,
    /// It is in the chunk.
    Pending,
    Written,
}

enum Format {
    PcapNg(PcapNg),
    Pcap(Pcap),
}

/// Turns packets into bytes of the file at hand.
pub(super) struct Encoder {
    format: Format,
    header: Header,
    keylog: Option<KeyLog>,
}

impl Encoder {
    pub(super) fn new(
        format: CaptureFormat,
        description: Description,
        keylog: Option<KeyLog>,
    ) -> Self {
        let format = match format {
            CaptureFormat::PcapNg => Format::PcapNg(PcapNg::new(description)),
            CaptureFormat::Pcap => Format::Pcap(Pcap::new(description.snaplen)),
        };
        Self { format, header: Header::Missing, keylog }
    }

    /// Whether secrets are embedded.
    pub(super) const fn has_keylog(&self) -> bool {
        self.keylog.is_some()
    }

    /// Begins the next file.
    pub(super) fn restart(&mut self) {
        self.header = Header::Missing;
        if let Format::PcapNg(section) = &mut self.format {
            section.restart();
        }
        if let Some(keylog) = &mut self.keylog {
            keylog.restart();
        }
    }

    /// Writes what the file begins with as far as it is known, and secrets that are new. Whether there
    /// are more, to be written when these are in the file.
    pub(super) fn open(&mut self, out: &mut Vec<u8>) -> bool {
        match &self.format {
            Format::PcapNg(_) => self.header(out),
            Format::Pcap(pcap) if pcap.link_type().is_some() => self.header(out),
            Format::Pcap(_) => {}
        }
        let keylog = self.keylog.as_mut();
        keylog.is_some_and(|keylog| keylog.news(|lines| PcapNg::secrets(out, lines)))
    }

    fn header(&mut self, out: &mut Vec<u8>) {
        if self.header == Header::Missing {
            self.header = Header::Pending;
            match &self.format {
                Format::PcapNg(section) => section.header(out),
                Format::Pcap(pcap) => pcap.header(out),
            }
        }
    }

    /// Appends `packet`.
    ///
    /// # Errors
    ///
    /// [`OtherLinkType`].
    pub(super) fn packet(
        &mut self,
        packet: &Queued<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), OtherLinkType> {
        if let Format::Pcap(pcap) = &mut self.format
            && !pcap.takes(packet.link_type)
        {
            return Err(OtherLinkType { of_file: pcap.link_type(), of_packet: packet.link_type });
        }
        self.header(out);
        match &mut self.format {
            Format::PcapNg(section) => section.packet(packet, out),
            Format::Pcap(_) => Pcap::packet(packet, out),
        }
        Ok(())
    }

    /// Appends what the file ends with.
    pub(super) fn trailer(&mut self, lost: u64, now: i64, out: &mut Vec<u8>) {
        self.header(out);
        if let Format::PcapNg(section) = &self.format {
            section.trailer(lost, now, out);
        }
    }

    /// Whether the trailer can tell of losses.
    pub(super) fn tells_losses(&self) -> bool {
        match &self.format {
            Format::PcapNg(section) => section.tells_losses(),
            Format::Pcap(_) => false,
        }
    }

    /// The chunk is in the file.
    pub(super) fn committed(&mut self) {
        if self.header == Header::Pending {
            self.header = Header::Written;
        }
        if let Format::PcapNg(section) = &mut self.format {
            section.committed();
        }
        if let Some(keylog) = &mut self.keylog {
            keylog.committed();
        }
    }

    /// The chunk is not in the file.
    pub(super) fn cut_off(&mut self) {
        if self.header == Header::Pending {
            self.header = Header::Missing;
        }
        if let Format::PcapNg(section) = &mut self.format {
            section.cut_off();
        }
        if let Some(keylog) = &mut self.keylog {
            keylog.cut_off();
        }
    }
}

/// A packet that has no place in a pcap file.
pub(super) struct OtherLinkType {
    pub(super) of_file: Option<u32>,
    pub(super) of_packet: u32,
}
