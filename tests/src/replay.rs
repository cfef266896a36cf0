//! The events that the kernel makes of packets, in the form that the ring has them, and of connections as many copies
//! as are asked for. Needs no kernel: the same walk and the same gate run here.

use crate::{
    conversation::Conversation,
    traffic::{PcapWriter, Template},
};
use anyhow::{Context as _, Result, ensure};
use tls_sniff::{
    filter::PacketFilter,
    source::file::{CaptureFile, Examiner},
};
use tls_sniff_common::{
    config::MAX_CAPTURE_LEN,
    event::{EVENT_HEADER_LEN, Event, EventHeader},
};

/// Addresses of clients start with this; servers' do not.
const CLIENTS: u8 = 10;

/// Nanoseconds from one event to the next.
const STEP: u64 = 1000;

/// An event before it is bytes, with its payload.
pub type Loose = (EventHeader, Vec<u8>);

/// The events of the packets of a capture.
///
/// # Errors
///
/// If the capture cannot be read.
pub fn events_of(capture: &[u8]) -> Result<Vec<Loose>> {
    let mut file = CaptureFile::new(capture, "a capture".to_owned());
    let examiner = Examiner::new(MAX_CAPTURE_LEN, PacketFilter::default().rules());
    let mut events = Vec::new();
    while let Some(frame) = file.next()? {
        if let Ok(event) = examiner.examine(&frame) {
            // As the kernel hands it over when nobody asks for packets.
            let header = EventHeader { packet_captured: 0, ..event.header };
            events.push((header, event.payload.to_vec()));
        }
    }
    Ok(events)
}

/// The events of one connection.
pub struct Story(Vec<Loose>);

/// Events one after the other, as in the ring.
#[derive(Default)]
pub struct Events {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Events {
    /// Each event's bytes.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Appends one.
    pub fn push(&mut self, header: &EventHeader, payload: &[u8]) {
        let pointer: *const EventHeader = header;
        // SAFETY: the struct is initialised, has no padding, as the assertion of its length beside its definition
        // says, and lives for as long as the slice is used.
        let raw = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), EVENT_HEADER_LEN) };
        self.bytes.extend_from_slice(raw);
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len());
    }
}

impl Story {
    /// What the kernel hands over of a conversation.
    ///
    /// # Errors
    ///
    /// If that is nothing.
    pub fn of(conversation: &Conversation) -> Result<Self> {
        Self::told(Template::of(conversation))
    }

    /// The same of a conversation that goes on.
    ///
    /// # Errors
    ///
    /// See [`Story::of`].
    pub fn unfinished(conversation: &Conversation) -> Result<Self> {
        Self::told(Template::unfinished(conversation))
    }

    fn told(template: Template) -> Result<Self> {
        let mut file = Vec::new();
        PcapWriter::new(&mut file)?.connections(&[template], 1, 1)?;
        let events = events_of(&file)?;
        ensure!(events.len() > 1, "{} events", events.len());
        Ok(Self(events))
    }

    /// Appends the events of connection `number`.
    pub fn copy(&self, number: u32, clock: &mut u64, events: &mut Events) {
        let syn = *clock;
        for (header, payload) in &self.0 {
            let mut header = *header;
            *clock += STEP;
            header.timestamp = *clock;
            for (time, at) in [(&mut header.syn_time, syn), (&mut header.syn_ack_time, syn + 1)] {
                *time = if *time == 0 { 0 } else { at };
            }
            let [high, low @ ..] = number.to_be_bytes();
            let client = if header.source[0] == CLIENTS {
                header.source_port += u16::from(high);
                &mut header.source
            } else {
                header.destination_port += u16::from(high);
                &mut header.destination
            };
            client[1..4].copy_from_slice(&low);
            events.push(&header, payload);
        }
    }
}

/// A story of each conversation, checked to be read back as what it was.
///
/// # Errors
///
/// If one is not.
pub fn stories(conversations: &[Conversation]) -> Result<Vec<Story>> {
    let stories: Vec<_> = conversations.iter().map(Story::of).collect::<Result<_>>()?;
    let mut events = Events::default();
    for story in &stories {
        events.clear();
        story.copy(7, &mut 0, &mut events);
        for (bytes, (_, payload)) in events.iter().zip(&story.0) {
            let event = Event::decode(bytes).ok().context("an event that is not decoded")?;
            ensure!(event.payload == payload, "another payload");
        }
    }
    Ok(stories)
}
