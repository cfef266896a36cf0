//! From an event to observations: one for each handshake message and for each other record in the
//! captured part of a segment.
//!
//! ```text
//!  event ─► records in the captured payload ─► handshake: messages ─► hellos, parsed
//!                                            └ alert, change_cipher_spec, application_data
//! ```
//!
//! Each segment stands alone here: a message that goes on in the next segment is reported as far as it
//! goes, and as partial.

#![forbid(unsafe_code)]

use tls_sniff_common::{event::Event, record::ContentType};

use crate::{
    clock::Timestamp,
    observation::{Message, Observation, Partial},
    tls::{
        alert::{Alert, PLAINTEXT_LEN},
        client_hello::ClientHello,
        handshake::{self, HandshakeType, Protection, messages, protection},
        reader::ParseError,
        record::{Record, records},
        server_hello::ServerHello,
    },
};

/// Where and when a segment was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// When.
    pub timestamp: Timestamp,
    /// The interface by name.
    pub interface: Option<&'a str>,
}

/// Observations made of one segment: a flight of TLS 1.2 has six messages, a segment full of the smallest
/// messages could have thousands, at no cost to who sends it.
pub const MAX_OBSERVATIONS: usize = 32;

/// Gives each observation in `segment` to `observe`. Application data is left out unless asked for.
/// Returns whether there was more than [`MAX_OBSERVATIONS`].
pub fn decode<'a>(
    segment: &'a Event<'a>,
    sighting: Sighting<'a>,
    application_data: bool,
    mut observe: impl FnMut(&Observation<'a>),
) -> bool {
    let captured_whole = segment.payload.len() >= segment.header.payload_len as usize;
    let cut = if captured_whole { Partial::SegmentEnd } else { Partial::CaptureLimit };
    let mut made = 0;
    let mut report = |record: &Record<'a>, said: Said<'a>| {
        made += 1;
        if made > MAX_OBSERVATIONS {
            return false;
        }
        observe(&Observation {
            timestamp: sighting.timestamp,
            interface: sighting.interface,
            segment,
            record: record.header,
            message: said.message,
            partial: said.partial,
            malformed: said.malformed,
        });
        true
    };
    let mut goes_on = false;
    // The kernel saw the first record's first byte, also where nothing was captured.
    let mut first = (segment.header.has_handshake_type == 1)
        .then_some(HandshakeType(segment.header.handshake_type));
    let mut walked = records(segment.payload).peekable();
    if walked.peek().is_none() {
        // Too little was captured for a record header (--payload-bytes): the event has it.
        report_uncaptured(segment, cut, first, &mut report);
    }
    for record in walked {
        let more = match record.header.content_type {
            ContentType::Handshake if goes_on => {
                // How much of it belongs to the message only reassembly can tell.
                report(&record, Said::new(Message::UnknownHandshake, Some(Partial::RecordEnd)))
            }
            ContentType::Handshake => {
                report_messages(&record, cut, first.take(), &mut goes_on, &mut report)
            }
            ContentType::ApplicationData if !application_data => true,
            _ => report(&record, other_record(&record, cut)),
        };
        if !more {
            return true;
        }
    }
    false
}

/// What one observation says of its record.
struct Said<'a> {
    message: Message<'a>,
    partial: Option<Partial>,
    malformed: Option<ParseError>,
}

impl<'a> Said<'a> {
    const fn new(message: Message<'a>, partial: Option<Partial>) -> Self {
        Self { message, partial, malformed: None }
    }
}

/// A record of which only the kernel saw anything.
fn report_uncaptured<'a>(
    segment: &Event<'a>,
    cut: Partial,
    first: Option<HandshakeType>,
    report: &mut impl FnMut(&Record<'a>, Said<'a>) -> bool,
) {
    let record = Record { header: segment.record, fragment: &[] };
    let said = match first.filter(|first| first.is_known()) {
        Some(first) => Said::new(Message::Handshake(first), Some(cut)),
        None => other_record(&record, cut),
    };
    report(&record, said);
}

/// What a record says that is no handshake.
fn other_record<'a>(record: &Record<'a>, cut: Partial) -> Said<'a> {
    let message = match record.header.content_type {
        ContentType::Handshake => Message::UnknownHandshake,
        ContentType::ChangeCipherSpec => Message::ChangeCipherSpec,
        ContentType::ApplicationData => Message::ApplicationData,
        ContentType::Alert => match Alert::parse(record.fragment, record.header.length) {
            Some(alert) => Message::Alert(alert),
            None if record.header.length > PLAINTEXT_LEN => Message::EncryptedAlert,
            None => Message::UnknownAlert,
        },
    };
    Said::new(message, (!record.is_complete()).then_some(cut))
}

/// Returns `false` if no more observations are wanted. `goes_on` is set if the last message does not end
/// with its record.
fn report_messages<'a>(
    record: &Record<'a>,
    cut: Partial,
    first: Option<HandshakeType>,
    goes_on: &mut bool,
    report: &mut impl FnMut(&Record<'a>, Said<'a>) -> bool,
) -> bool {
    let cut_off = (!record.is_complete()).then_some(cut);
    match protection(record.fragment, record.header.length.into()) {
        Protection::Plaintext => {}
        Protection::Encrypted => {
            return report(record, Said::new(Message::EncryptedHandshake, cut_off));
        }
        Protection::Unknown => {
            // The kernel may have seen the first byte where the capture ends before it.
            let seen = record.fragment.first().copied().map(HandshakeType).or(first);
            let message = match seen {
                Some(seen) if seen.is_known() => Message::Handshake(seen),
                _ => Message::UnknownHandshake,
            };
            return report(record, Said::new(message, cut_off));
        }
    }
    let partial = cut_off.unwrap_or(Partial::RecordEnd);
    let mut any = false;
    for message in messages(record.fragment) {
        any = true;
        *goes_on = !message.is_complete() && record.is_complete();
        if !report(record, hello_or_other(&message, partial)) {
            return false;
        }
    }
    if let (false, Some(first)) = (any, record.fragment.first()) {
        // The message's own header is split.
        *goes_on = record.is_complete();
        let message = Message::Handshake(HandshakeType(*first));
        return report(record, Said::new(message, Some(partial)));
    }
    true
}

fn hello_or_other<'a>(message: &handshake::Message<'a>, partial: Partial) -> Said<'a> {
    let partial = (!message.is_complete()).then_some(partial);
    let other = Message::Handshake(message.handshake_type);
    let parsed = match message.handshake_type {
        HandshakeType::CLIENT_HELLO => ClientHello::parse(message.body, message.length)
            .map(|(hello, end)| (Message::ClientHello(hello), end)),
        HandshakeType::SERVER_HELLO => ServerHello::parse(message.body, message.length)
            .map(|(hello, end)| (Message::ServerHello(hello), end)),
        _ => return Said::new(other, partial),
    };
    let (message, end) = parsed.unwrap_or_else(|error| (other, Err(error)));
    // What is cut is partial, which is said already.
    let malformed = end.err().filter(|error| !error.is_cut());
    Said { message, partial, malformed }
}
