//! What stands at the start of the unread bytes of one direction: a TLS record, or an SSLv2 one.

use tls_sniff_common::record::{ContentType, RECORD_HEADER_LEN, RecordHeader};

use super::records::Item;
use crate::tls::message::{Message, Said};

/// Bytes in front of an SSLv2 record.
pub(super) const SSL2_HEADER_LEN: usize = 2;

/// The version of SSL 2.0.
pub(super) const SSL_2_0: u16 = 0x0002;

// Message types of SSL 2.0: draft-hickman-netscape-ssl-00 section 5.
const ERROR: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 4;

/// What stands at the start of unread bytes.
pub(super) enum Unit<'a> {
    /// A record header, and what is there behind it.
    Record(RecordHeader, &'a [u8]),
    /// An SSLv2 record that is whole, behind its length.
    Ssl2(&'a [u8]),
    NeedMore,
    /// No TLS.
    Alien,
}

pub(super) fn next_unit(bytes: &[u8], first: bool, ssl2: bool) -> Unit<'_> {
    let [high, low, kind, ..] = bytes else {
        return match bytes {
            [kind, ..] if !(20..=23).contains(kind) && kind & 0x80 == 0 => Unit::Alien,
            _ => Unit::NeedMore,
        };
    };
    if let Some((head, fragment)) = bytes.split_first_chunk::<RECORD_HEADER_LEN>()
        && let Some(header) = RecordHeader::recognise(*head)
    {
        return Unit::Record(header, fragment);
    }
    let tls = matches!(bytes, [20..=23, 3, ..]) && bytes.len() < RECORD_HEADER_LEN;
    // What follows an SSLv2 handshake's first messages nobody reads.
    if first && !ssl2 && high & 0x80 != 0 && matches!(*kind, ERROR | CLIENT_HELLO | SERVER_HELLO) {
        let length = usize::from(high & 0x7f) << 8 | usize::from(*low);
        return match bytes.get(SSL2_HEADER_LEN..SSL2_HEADER_LEN + length) {
            Some(record) => Unit::Ssl2(record),
            None => Unit::NeedMore,
        };
    }
    if tls { Unit::NeedMore } else { Unit::Alien }
}

/// An SSLv2 hello has no TLS record; it is told as a handshake of version 0x0002.
pub(super) fn ssl2_item(record: &[u8], sequence: u32) -> Item<'_> {
    let length = u16::try_from(record.len()).unwrap_or(u16::MAX);
    let message = match record {
        [CLIENT_HELLO, ..] => Message::Ssl2ClientHello(record),
        [SERVER_HELLO, ..] => Message::Ssl2ServerHello(record),
        _ => Message::UnknownAlert,
    };
    let content_type = if message.is_alert() { ContentType::Alert } else { ContentType::Handshake };
    let header = RecordHeader { content_type, version: SSL_2_0, length };
    Item { record: header, sequence, records: 1, said: Said::new(message, None) }
}
