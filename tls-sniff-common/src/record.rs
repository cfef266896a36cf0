//! The TLS record header, and the test that tells it from other payload.
//!
//! ```text
//!  0              1             3            5                 6              9
//!  +--------------+-------------+------------+-----------------+--------------+------------+
//!  | content type |   version   |   length   | handshake type  | message len  | hello ver. |
//!  |  0x14..0x17  | 0x03 0x00.. | ≤ 2^14+2048| (handshake only)|   3 bytes    | (hellos)   |
//!  +--------------+-------------+------------+-----------------+--------------+------------+
//! ```
//!
//! Sources: RFC 8446 section 5.1, RFC 5246 section 6.2.1. Of random payload about one segment in three
//! million passes: 4 of 256 content types, 5 of 65,536 versions, a quarter of the lengths.

/// Bytes of a record header.
pub const RECORD_HEADER_LEN: usize = 5;

/// The longest fragment that a record may carry: TLSCiphertext, RFC 5246 section 6.2.3.
pub const MAX_FRAGMENT_LEN: u16 = (1 << 14) + MAX_EXPANSION;

/// What encryption may add to a fragment: RFC 5246 section 6.2.3.
const MAX_EXPANSION: u16 = 2048;

/// TLS content types, IANA "TLS ContentType"; each also tells the tcpdump filter byte.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// 0x14
    ChangeCipherSpec = 20,
    /// 0x15
    Alert = 21,
    /// 0x16
    Handshake = 22,
    /// 0x17
    ApplicationData = 23,
}

impl ContentType {
    /// The content type of a wire byte, if it is one that tls-sniff looks for.
    #[inline(always)]
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }

    /// The IANA name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChangeCipherSpec => "change_cipher_spec",
            Self::Alert => "alert",
            Self::Handshake => "handshake",
            Self::ApplicationData => "application_data",
        }
    }

    /// Fragment lengths that the content type allows, encrypted or not.
    #[inline(always)]
    const fn allows(self, length: u16) -> bool {
        match self {
            // One byte, or what encryption makes of it when a session is renegotiated.
            Self::ChangeCipherSpec => length >= 1 && length <= 1 + MAX_EXPANSION,
            // Level and description, or what encryption makes of them.
            Self::Alert => length >= 2 && length <= 2 + MAX_EXPANSION,
            // A handshake message may be split anywhere, but not into empty records.
            Self::Handshake => length >= 1 && length <= MAX_FRAGMENT_LEN,
            // The only type that may be empty (RFC 8446 section 5.1).
            Self::ApplicationData => length <= MAX_FRAGMENT_LEN,
        }
    }
}

/// A record header that passed [`RecordHeader::recognise`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the fragment holds.
    pub content_type: ContentType,
    /// `legacy_record_version`, 0x0300..=0x0304, host byte order. TLS 1.3 says 0x0303 or 0x0301 here.
    pub version: u16,
    /// Length of the fragment behind the header, in bytes.
    pub length: u16,
}

impl RecordHeader {
    /// Reads a record header, or `None` if these bytes are no plausible one.
    #[inline(always)]
    #[must_use]
    pub const fn recognise(bytes: [u8; RECORD_HEADER_LEN]) -> Option<Self> {
        let [content_type, major, minor, length_high, length_low] = bytes;
        let Some(content_type) = ContentType::from_wire(content_type) else { return None };
        let length = u16::from_be_bytes([length_high, length_low]);
        if major == 3 && minor <= 4 && content_type.allows(length) {
            Some(Self { content_type, version: u16::from_be_bytes([major, minor]), length })
        } else {
            None
        }
    }
}
