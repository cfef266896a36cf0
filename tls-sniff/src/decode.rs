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
        alert::Alert,
        client_hello::ClientHello,
        handshake::{self, HandshakeType, looks_plaintext, messages},
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

/// Gives each observation in `segment` to `observe`. Application data is left out unless asked for.
pub fn decode<'a>(
    segment: &'a Event<'a>,
    sighting: Sighting<'a>,
    application_data: bool,
    mut observe: impl FnMut(&Observation<'a>),
) {
    let captured_whole = segment.payload.len() >= segment.header.payload_len as usize;
    let cut = if captured_whole { Partial::SegmentEnd } else { Partial::CaptureLimit };
    let mut report = |record: &Record<'a>, said: Said<'a>| {
        observe(&Observation {
            timestamp: sighting.timestamp,
            interface: sighting.interface,
            segment,
            record: record.header,
            message: said.message,
            partial: said.partial,
            malformed: said.malformed,
        });
    };
    let mut walked = records(segment.payload).peekable();
    if walked.peek().is_none() {
        // Too little was captured for a record header (--payload-bytes): the event has it.
        report_record(&Record { header: segment.record, fragment: &[] }, cut, &mut report);
    }
    for record in walked {
        if record.header.content_type != ContentType::ApplicationData || application_data {
            report_record(&record, cut, &mut report);
        }
    }
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

fn report_record<'a>(
    record: &Record<'a>,
    cut: Partial,
    report: &mut impl FnMut(&Record<'a>, Said<'a>),
) {
    let partial = (!record.is_complete()).then_some(cut);
    let message = match record.header.content_type {
        ContentType::Handshake => return report_messages(record, cut, report),
        ContentType::ChangeCipherSpec => Message::ChangeCipherSpec,
        ContentType::ApplicationData => Message::ApplicationData,
        ContentType::Alert => match Alert::parse(record.fragment, record.header.length) {
            Some(alert) => Message::Alert(alert),
            None => Message::EncryptedAlert,
        },
    };
    report(record, Said::new(message, partial));
}

fn report_messages<'a>(
    record: &Record<'a>,
    cut: Partial,
    report: &mut impl FnMut(&Record<'a>, Said<'a>),
) {
    let partial = if record.is_complete() { Partial::RecordEnd } else { cut };
    if !looks_plaintext(record.fragment, record.header.length.into()) {
        let partial = (!record.is_complete()).then_some(partial);
        return report(record, Said::new(Message::EncryptedHandshake, partial));
    }
    let mut any = false;
    for message in messages(record.fragment) {
        any = true;
        report(record, hello_or_other(&message, partial));
    }
    if let (false, Some(first)) = (any, record.fragment.first()) {
        // The message's own header is split.
        let message = Message::Handshake(HandshakeType(*first));
        report(record, Said::new(message, Some(partial)));
    }
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
