//! From records to messages, for one direction.
//!
//! ```text
//!  records  | handshake: A A A A B B | handshake: B B B | change_cipher_spec | handshake: encrypted |
//!  messages   A, whole      B ─────────── B, whole
//! ```
//!
//! What a handshake record holds is plaintext from the first hello to ChangeCipherSpec. Where either was
//! not seen, its bytes must tell.

use tls_sniff_common::record::{ContentType, RecordHeader};

use super::unknown::ALLOCATION;
use crate::tls::{
    alert::{Alert, PLAINTEXT_LEN},
    handshake::{
        HandshakeType, MAX_MESSAGE_LEN, MESSAGE_HEADER_LEN, Protection, messages, protection,
    },
    message::{Message, Partial, Said},
    reader::ParseError,
};

/// A message and where it stood.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// The record in which it starts.
    pub(super) record: RecordHeader,
    /// Sequence number of that record's first byte.
    pub(super) sequence: u32,
    /// How many records it is in.
    pub(super) records: u16,
    pub(super) said: Said<'a>,
}

/// Takes what one direction says.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&Item<'_>);

/// The record in which a message starts.
#[derive(Clone, Copy, Debug)]
struct Start {
    record: RecordHeader,
    sequence: u32,
    records: u16,
}

/// The start of a message that goes on in the next record.
#[derive(Debug)]
struct Begun {
    message: Vec<u8>,
    start: Start,
}

/// The record layer of one direction.
#[derive(Debug, Default)]
pub(super) struct Records {
    begun: Option<Box<Begun>>,
    /// ChangeCipherSpec was seen.
    changed: bool,
    /// The negotiated version is TLS 1.2 or older, so ChangeCipherSpec begins encryption; if known.
    pub(super) legacy: Option<bool>,
    /// Bytes before this are missing.
    resynced: bool,
    /// The last record was application data.
    data: bool,
}

impl Records {
    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        let begun = self.begun.as_ref();
        begun.map_or(0, |begun| size_of::<Begun>() + 2 * ALLOCATION + begun.message.capacity())
    }

    /// Whether the last record was application data: only such ones follow, and encrypted alerts.
    pub(super) const fn in_data(&self) -> bool {
        self.data
    }

    /// The next record is the first after all.
    pub(super) fn restart(&mut self) {
        *self = Self { legacy: self.legacy, ..Self::default() };
    }

    /// Bytes before the next record are missing.
    pub(super) const fn resync(&mut self) {
        self.resynced = true;
    }

    /// A record that is whole.
    pub(super) fn record(
        &mut self,
        record: RecordHeader,
        fragment: &[u8],
        sequence: u32,
        sink: Sink<'_>,
    ) {
        let start = Start { record, sequence, records: 1 };
        self.data = record.content_type == ContentType::ApplicationData;
        if record.content_type == ContentType::Handshake {
            return self.handshake(start, fragment, sink);
        }
        if record.content_type == ContentType::ChangeCipherSpec {
            self.changed = true;
        }
        let encrypted = self.changed && self.legacy == Some(true);
        say(start, Said::new(other(record, fragment, encrypted), None), sink);
    }

    fn handshake(&mut self, start: Start, fragment: &[u8], sink: Sink<'_>) {
        let encrypted = self.changed && self.legacy == Some(true);
        if let Some(begun) = self.begun.take().filter(|_| !encrypted) {
            return self.go_on(*begun, fragment, sink);
        }
        match self.protection(fragment) {
            Protection::Plaintext => {
                let taken = report(fragment, start, sink);
                self.keep(fragment.get(taken..).unwrap_or_default(), start, sink);
            }
            Protection::Encrypted => {
                say(start, Said::new(Message::EncryptedHandshake, None), sink);
            }
            Protection::Unknown => {
                say(start, Said::new(Message::UnknownHandshake, Some(Partial::Lost)), sink);
            }
        }
    }

    /// Whether a whole handshake record can be read.
    fn protection(&self, fragment: &[u8]) -> Protection {
        match (self.changed, self.legacy, self.resynced) {
            (true, Some(true), _) => Protection::Encrypted,
            (false, _, false) => Protection::Plaintext,
            // Nobody has said yet that it would be encrypted: it goes on with a message that is missing.
            (false, _, true) => match protection(fragment, fragment.len()) {
                Protection::Plaintext => Protection::Plaintext,
                _ if self.legacy == Some(true) => Protection::Unknown,
                told => told,
            },
            _ => protection(fragment, fragment.len()),
        }
    }

    /// A record that goes on with a message.
    fn go_on(&mut self, begun: Begun, fragment: &[u8], sink: Sink<'_>) {
        let Begun { mut message, mut start } = begun;
        message.extend_from_slice(fragment);
        start.records = start.records.saturating_add(1);
        let taken = report(&message, start, sink);
        message.drain(..taken);
        self.keep_message(message, start, sink);
    }

    fn keep(&mut self, rest: &[u8], start: Start, sink: Sink<'_>) {
        if !rest.is_empty() {
            self.keep_message(rest.to_vec(), start, sink);
        }
    }

    /// Keeps the start of a message for the next record, unless its length cannot be believed.
    fn keep_message(&mut self, message: Vec<u8>, start: Start, sink: Sink<'_>) {
        let believed =
            messages(&message).next().is_none_or(|message| message.length <= MAX_MESSAGE_LEN);
        if believed {
            self.begun = (!message.is_empty()).then(|| Box::new(Begun { message, start }));
        } else {
            self.resynced = true;
            let malformed = Some(ParseError::Invalid("message length"));
            let said = Said { message: Message::UnknownHandshake, partial: None, malformed };
            say(start, said, sink);
        }
    }

    /// Reports what is there of a message, and of the record behind it, which will not become whole.
    pub(super) fn flush(
        &mut self,
        unread: Option<(RecordHeader, &[u8], u32)>,
        why: Partial,
        sink: Sink<'_>,
    ) {
        let resynced = std::mem::replace(&mut self.resynced, true);
        let begun = self.begun.take();
        match unread {
            Some((record, fragment, sequence)) if record.content_type == ContentType::Handshake => {
                let start = Start { record, sequence, records: 1 };
                match begun {
                    None => self.flush_handshake(start, fragment, why, resynced, sink),
                    Some(begun) => {
                        let whole = [begun.message.as_slice(), fragment].concat();
                        flush_messages(&whole, begun.start, why, sink);
                    }
                }
            }
            unread => {
                if let Some(begun) = begun {
                    flush_messages(&begun.message, begun.start, why, sink);
                }
                if let Some((record, fragment, sequence)) = unread {
                    let start = Start { record, sequence, records: 1 };
                    let message = other(record, fragment, false);
                    say(start, Said::new(message, Some(why)), sink);
                }
            }
        }
    }

    fn flush_handshake(
        &self,
        start: Start,
        fragment: &[u8],
        why: Partial,
        resynced: bool,
        sink: Sink<'_>,
    ) {
        let told = match (self.changed, self.legacy) {
            (true, Some(true)) => Protection::Encrypted,
            (false, _) if !resynced => Protection::Plaintext,
            _ => protection(fragment, start.record.length.into()),
        };
        match told {
            Protection::Plaintext => flush_messages(fragment, start, why, sink),
            Protection::Encrypted => {
                say(start, Said::new(Message::EncryptedHandshake, Some(why)), sink);
            }
            Protection::Unknown => {
                let first = fragment.first().copied().map(HandshakeType);
                let message = match first.filter(|first| first.is_known()) {
                    Some(first) => Message::Handshake(first),
                    None => Message::UnknownHandshake,
                };
                say(start, Said::new(message, Some(why)), sink);
            }
        }
    }
}

/// What a record says that is no handshake.
fn other<'a>(record: RecordHeader, fragment: &'a [u8], encrypted: bool) -> Message<'a> {
    match record.content_type {
        ContentType::Handshake => Message::UnknownHandshake,
        ContentType::ChangeCipherSpec => Message::ChangeCipherSpec,
        ContentType::ApplicationData => Message::ApplicationData,
        ContentType::Alert if encrypted => Message::EncryptedAlert,
        ContentType::Alert => match Alert::parse(fragment, record.length) {
            Some(alert) => Message::Alert(alert),
            None if record.length > PLAINTEXT_LEN => Message::EncryptedAlert,
            None => Message::UnknownAlert,
        },
    }
}

fn say(start: Start, said: Said<'_>, sink: Sink<'_>) {
    let Start { record, sequence, records } = start;
    sink(&Item { record, sequence, records, said });
}

/// Reports the whole messages at the start of `bytes` and returns how many bytes they are.
fn report(bytes: &[u8], start: Start, sink: Sink<'_>) -> usize {
    let mut taken = 0;
    for message in messages(bytes).take_while(|message| message.is_complete()) {
        taken += MESSAGE_HEADER_LEN + message.length;
        let said = Said::handshake(message.handshake_type, message.body, message.length, None);
        say(start, said, sink);
    }
    taken
}

/// Reports all messages, the last of which is not whole.
fn flush_messages(bytes: &[u8], start: Start, why: Partial, sink: Sink<'_>) {
    let mut any = false;
    for message in messages(bytes) {
        any = true;
        let partial = (!message.is_complete()).then_some(why);
        let said = Said::handshake(message.handshake_type, message.body, message.length, partial);
        say(start, said, sink);
    }
    if let (false, Some(first)) = (any, bytes.first()) {
        // The message's own header is cut.
        let message = Message::Handshake(HandshakeType(*first));
        say(start, Said::new(message, Some(why)), sink);
    }
}
