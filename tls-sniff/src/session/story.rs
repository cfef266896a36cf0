//! What both sides of a connection said, and telling it.

use super::{
    history::History, key::Stored, progress::Progress, records::Item, unknown::ALLOCATION,
};
use crate::{
    clock::Timestamp,
    dedup::SeenOn,
    observation::{EventKind, EventKinds, Facts, MessageObservation, Observation, Party, Seen},
    tls::{
        certificate::Chain,
        facts::{self, ClientFacts, ServerFacts},
        handshake::HandshakeType,
        message::{Message, Partial, Said},
        ssl2::Ssl2ServerHello,
        weakness::{self, Weakness},
    },
};

/// Messages told of one segment: a flight of TLS 1.2 has six, a segment full of the smallest messages could
/// have thousands, at no cost to who sends it.
const MAX_MESSAGES: usize = 64;

/// Who is told what is observed.
pub(super) struct Audience<'o> {
    /// The kinds of observations that it wants; no others are made.
    pub(super) wants: EventKinds,
    pub(super) tell: &'o mut dyn FnMut(&Observation<'_>),
}

impl Audience<'_> {
    pub(super) const fn wants(&self, kind: EventKind) -> bool {
        self.wants.contains(kind)
    }
}

/// Takes observations.
pub(super) type Observe<'o, 'a> = &'o mut Audience<'a>;

/// What both sides said.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Which side is the client, once a hello tells.
    client: Option<u8>,
    /// A ClientHello was seen, understood or not.
    pub(super) asked: bool,
    /// A ServerHello was.
    pub(super) answered: bool,
    pub(super) hello_retry_request: bool,
    /// What the `handshake` event says of a hello that had missing bytes.
    pub(super) partial: Option<Partial>,
    pub(super) group: Option<u16>,
    pub(super) client_hello: Option<Box<ClientFacts>>,
    pub(super) server_hello: Option<Box<ServerFacts>>,
    certificates: Option<Box<[Option<Chain>; 2]>>,
    pub(super) history: History,
    pub(super) progress: Progress,
}

/// Takes the messages of one segment.
pub(super) struct Told<'a, 'o> {
    pub(super) key: &'a Stored,
    pub(super) on: SeenOn<'a>,
    pub(super) side: usize,
    pub(super) seen: Seen,
    /// Nothing was seen of the peer.
    pub(super) silent: bool,
    pub(super) story: &'a mut Story,
    pub(super) observe: Observe<'a, 'o>,
    pub(super) messages: usize,
}

impl Told<'_, '_> {
    /// Whether there were more messages than are told.
    pub(super) const fn is_crowded(&self) -> bool {
        self.messages > MAX_MESSAGES
    }

    pub(super) fn item(&mut self, item: &Item<'_>) {
        self.messages += 1;
        let wrapped = self.wrapped(item);
        self.story.take(self.side, item, self.seen.timestamp, self.silent, self.observe.wants);
        let said = wrapped.as_ref().unwrap_or(&item.said);
        if !self.is_crowded() && self.observe.wants(EventKind::of(&said.message)) {
            self.tell(item, said);
        }
        if !self.observe.wants(EventKind::Handshake) {
            self.story.forget_facts();
        }
    }

    fn tell(&mut self, item: &Item<'_>, said: &Said<'_>) {
        let key = self.key.key();
        let [first, second] = key.addresses();
        let (source, destination) = if self.side == 0 { (first, second) } else { (second, first) };
        (self.observe.tell)(&Observation::Message(MessageObservation {
            seen: self.seen,
            on: self.on,
            source,
            destination,
            community_id: key.community_id().as_str(),
            sequence: item.sequence,
            record: item.record,
            records: item.records,
            said,
            facts: self.story.facts(self.side, &item.said.message),
        }));
    }
}

impl<'a> Told<'_, '_> {
    /// An application data record that is a part of the handshake, as that.
    fn wrapped(&self, item: &Item<'a>) -> Option<Said<'a>> {
        let party = self.story.party(self.side);
        let wraps = matches!(item.said.message, Message::ApplicationData)
            && self.story.progress.wraps_handshake(party);
        wraps.then(|| Said::new(Message::EncryptedHandshake, item.said.partial))
    }
}

impl Story {
    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        let client = self.client_hello.as_deref().map_or(0, |it| boxed(it) + it.memory());
        let server = self.server_hello.as_deref().map_or(0, |it| boxed(it) + it.memory());
        let chains = self
            .certificates
            .as_deref()
            .map_or(0, |it| boxed(it) + it.iter().flatten().map(Chain::memory).sum::<usize>());
        client + server + chains + self.history.memory()
    }

    /// Drops what is told: the handshake is over.
    pub(super) fn forget(&mut self) {
        *self = Self { client: self.client, ..Self::default() };
    }

    /// Drops what only the end would tell.
    fn forget_facts(&mut self) {
        self.client_hello = None;
        self.server_hello = None;
        self.certificates = None;
    }

    /// Which side is the client.
    pub(super) fn client(&self) -> Option<usize> {
        self.client.map(usize::from)
    }

    fn client_is(&mut self, side: usize) {
        self.client.get_or_insert(u8::from(side != 0));
    }

    pub(super) fn party(&self, side: usize) -> Party {
        if self.client().is_none_or(|client| client == side) {
            Party::Client
        } else {
            Party::Server
        }
    }

    fn take(
        &mut self,
        side: usize,
        item: &Item<'_>,
        at: Timestamp,
        silent: bool,
        wants: EventKinds,
    ) {
        let wants = |kind| wants.contains(kind) || wants.contains(EventKind::Handshake);
        match &item.said.message {
            message @ (Message::ClientHello(_) | Message::Ssl2ClientHello(_)) => {
                self.client_is(side);
                self.asked = true;
                self.progress.early_data |=
                    matches!(message, Message::ClientHello(hello) if hello.has_early_data());
                if wants(EventKind::ClientHello) {
                    self.client_hello = ClientFacts::of(&item.said).map(Box::new);
                }
            }
            Message::ServerHello(hello) => {
                self.client_is(1 - side);
                self.answered = true;
                self.group = hello.key_share_group().or(self.group);
                if hello.is_hello_retry_request() {
                    self.hello_retry_request = true;
                } else {
                    self.progress.version = hello.selected_version();
                }
                if wants(EventKind::ServerHello) {
                    let facts = ServerFacts::of(hello, item.said.is_whole());
                    self.server_hello = Some(Box::new(facts));
                }
            }
            Message::Certificate(body) => {
                if wants(EventKind::Certificate)
                    && let Some(place) = self.certificates.get_or_insert_default().get_mut(side)
                {
                    *place = Some(facts::chain(body, at.0.div_euclid(1_000_000_000)));
                }
            }
            Message::ServerKeyExchange(body) => {
                let suite = self.server_hello.as_ref().map(|hello| hello.cipher_suite);
                self.group = suite.and_then(|suite| facts::named_curve(suite, body)).or(self.group);
            }
            Message::Handshake(HandshakeType::CLIENT_HELLO) => {
                self.client_is(side);
                self.asked = true;
            }
            Message::Handshake(HandshakeType::SERVER_HELLO) => self.client_is(1 - side),
            Message::Ssl2ServerHello(record) => {
                self.client_is(1 - side);
                let hello = Ssl2ServerHello::parse(record).ok();
                self.progress.version = hello.map(|hello| hello.version);
            }
            _ => {}
        }
        if item.said.partial.is_some() {
            self.partial = item.said.partial.or(self.partial);
        }
        let party = self.party(side);
        self.history.add(party, &item.said.message);
        self.progress.take(party, item, at, silent);
    }

    /// The certificates of a side.
    pub(super) fn certificates(&self, side: usize) -> Option<&Chain> {
        self.certificates.as_ref()?.get(side)?.as_ref()
    }

    /// What the observation of a message shows of it beyond its bytes.
    fn facts(&self, side: usize, message: &Message<'_>) -> Facts<'_> {
        match message {
            Message::ClientHello(_) | Message::Ssl2ClientHello(_) => {
                self.client_hello.as_deref().map_or(Facts::None, Facts::Client)
            }
            Message::ServerHello(_) => {
                self.server_hello.as_deref().map_or(Facts::None, Facts::Server)
            }
            Message::Certificate(_) => {
                let chain = self.certificates(side);
                chain.map_or(Facts::None, Facts::Chain)
            }
            _ => Facts::None,
        }
    }

    /// The negotiated version, or the one that a HelloRetryRequest announces.
    pub(super) fn version(&self) -> Option<u16> {
        self.progress.version.or_else(|| self.server_hello.as_ref()?.version)
    }

    /// TLS 1.3: the server took a pre-shared key. Before: it echoed the client's session id.
    pub(super) fn resumed(&self) -> Option<bool> {
        let server = self.server_hello.as_ref()?;
        if self.progress.is_tls_1_3() {
            return Some(server.pre_shared_key);
        }
        let client = self.client_hello.as_ref()?;
        Some(server.echoes_session(client))
    }

    pub(super) fn weaknesses(&self, now: Timestamp) -> Vec<Weakness> {
        let chain = self.client().and_then(|client| self.certificates(1 - client));
        let leaf = chain.and_then(Chain::leaf);
        let suite = self.server_hello.as_ref().map(|hello| hello.cipher_suite);
        weakness::of(self.version(), suite, leaf, now.0.div_euclid(1_000_000_000))
    }
}

/// Bytes of a box of a value.
const fn boxed<T>(_: &T) -> usize {
    size_of::<T>() + ALLOCATION
}
