//! What a connection keeps of its hellos once their bytes are gone.

use std::{
    cell::RefCell,
    hash::{DefaultHasher, Hasher as _},
};

use super::{
    certificate::{Chain, Chains},
    client_hello::{ClientHello, PostQuantum},
    extension::Ech,
    fingerprint::{ClientFingerprints, Digits, Md5Hash, Prints},
    message::{Message, Said},
    names::{CipherSuite, CodePoint},
    server_hello::ServerHello,
    ssl2::Ssl2ClientHello,
};

thread_local! {
    /// Of each thread that follows connections.
    static KNOWN: RefCell<(Prints, Chains)> = const { RefCell::new((Prints::new(), Chains::new())) };
}

/// The certificates of a message's body, seen at `seen` (seconds of the Unix epoch).
#[must_use]
pub fn chain(body: &[u8], seen: i64) -> Chain {
    KNOWN.with_borrow_mut(|(_, chains)| chains.chain(body, seen))
}

/// What is kept of a ClientHello.
#[derive(Clone, Debug, Default)]
pub struct ClientFacts {
    /// The host name, then the offered protocols, each behind its length.
    names: Box<[u8]>,
    /// Bytes of the host name, if there is one.
    sni_len: Option<u16>,
    /// The session to resume, or random bytes in TLS 1.3.
    session: Session,
    /// Fingerprints, of a hello that was seen whole.
    pub fingerprints: Option<ClientFingerprints>,
    /// Readiness for a post-quantum key exchange; `None` of an SSLv2 hello.
    pub post_quantum: Option<PostQuantum>,
    /// Encrypted ClientHello, or what looks like it.
    pub ech: Option<Ech>,
    /// Data before the server's answer.
    pub early_data: bool,
    /// A session of TLS 1.3 or a ticket is offered.
    pub offers_resumption: bool,
}

impl ClientFacts {
    /// The facts of a message, if it is a ClientHello.
    #[must_use]
    pub fn of(said: &Said<'_>) -> Option<Self> {
        match &said.message {
            Message::ClientHello(hello) => Some(Self::of_hello(hello, said.is_whole())),
            Message::Ssl2ClientHello(record) => {
                let hello = Ssl2ClientHello::parse(record).ok()?;
                Some(Self { session: Session::of(hello.session_id), ..Self::default() })
            }
            _ => None,
        }
    }

    fn of_hello(hello: &ClientHello<'_>, whole: bool) -> Self {
        let ticket = hello.session_ticket_len().is_some_and(|length| length > 0);
        let tls_1_3 = hello.offered_versions().any(|version| version == 0x0304);
        Self {
            names: names(hello),
            sni_len: hello.sni().map(|name| u16::try_from(name.len()).unwrap_or(u16::MAX)),
            session: Session::of(hello.session_id),
            fingerprints: whole.then(|| KNOWN.with_borrow_mut(|(prints, _)| prints.client(hello))),
            post_quantum: Some(hello.post_quantum()),
            ech: hello.ech(),
            early_data: hello.has_early_data(),
            // In TLS 1.3 the session id is random.
            offers_resumption: hello.psk_identities().is_some()
                || ticket
                || (!tls_1_3 && !hello.session_id.is_empty()),
        }
    }

    /// The host name, as it was sent.
    #[must_use]
    pub fn sni(&self) -> Option<&[u8]> {
        self.names.get(..self.sni_len?.into())
    }

    /// The protocols that are offered, in order.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut rest = self.names.get(self.sni_len.unwrap_or(0).into()..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let (name, next) = behind.split_at_checked((*length).into())?;
            rest = next;
            Some(name)
        })
    }

    /// Heap bytes held, beside what is shared.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.names.len() + self.fingerprints.as_ref().map_or(0, ClientFingerprints::memory)
    }
}

fn names(hello: &ClientHello<'_>) -> Box<[u8]> {
    let mut names = hello.sni().unwrap_or_default().to_vec();
    for name in hello.alpn().into_iter().flatten() {
        if let Ok(length) = u8::try_from(name.len()) {
            names.push(length);
            names.extend_from_slice(name);
        }
    }
    names.into()
}

/// A session id, to tell whether another one is the same: a hash, 0 of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Session(u64);

impl Session {
    fn of(id: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(id);
        Self(if id.is_empty() { 0 } else { hasher.finish().max(1) })
    }
}

/// What is kept of a ServerHello.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// The negotiated version; `None` if it may stand in what is missing.
    pub version: Option<u16>,
    /// The selected suite.
    pub cipher_suite: u16,
    /// The selected protocol.
    pub alpn: Option<Box<[u8]>>,
    /// The group of the key share, or the one that is asked for.
    pub group: Option<u16>,
    /// The session, or the client's echoed.
    session: Session,
    /// One of the client's pre-shared keys was taken (TLS 1.3).
    pub pre_shared_key: bool,
    ja3s: Option<Md5Hash>,
}

impl ServerFacts {
    /// The facts of a ServerHello.
    #[must_use]
    pub fn of(hello: &ServerHello<'_>, whole: bool) -> Self {
        Self {
            version: hello.selected_version(),
            cipher_suite: hello.cipher_suite,
            alpn: hello.alpn().and_then(|mut names| names.next()).map(Into::into),
            group: hello.key_share_group(),
            session: Session::of(hello.session_id),
            pre_shared_key: hello.pre_shared_key().is_some(),
            ja3s: whole.then(|| KNOWN.with_borrow_mut(|(prints, _)| prints.ja3s(hello))),
        }
    }

    /// Heap bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.alpn.as_ref().map_or(0, |alpn| alpn.len())
    }

    /// JA3S, of a hello that was seen whole.
    #[must_use]
    pub fn ja3s(&self) -> Option<Digits<32>> {
        self.ja3s.map(Md5Hash::digits)
    }

    /// Whether it goes on with the session that the client offered, as TLS 1.2 and older tell.
    #[must_use]
    pub fn echoes_session(&self, client: &ClientFacts) -> bool {
        self.session != Session::default() && self.session == client.session
    }
}

/// The curve of a ServerKeyExchange (RFC 8422 section 5.4), if the suite has one there.
///
/// ```text
///  curve_type 3 (named_curve) | group (2) | public key ...
/// ```
#[must_use]
pub fn named_curve(suite: u16, body: &[u8]) -> Option<u16> {
    let name = CipherSuite(suite).name().unwrap_or_default();
    let elliptic = name.starts_with("TLS_ECDHE_") || name.starts_with("TLS_ECDH_anon_");
    match body {
        [3, high, low, ..] if elliptic => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}
