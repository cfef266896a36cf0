//! What a connection keeps of its hellos once their bytes are gone.

use std::cell::RefCell;

use super::{
    certificate::{Chain, Chains},
    client_hello::{ClientHello, PostQuantum},
    extension::Ech,
    fingerprint::{ClientFingerprints, Digits, Prints},
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
    /// The host name, as it was sent.
    pub sni: Option<Box<[u8]>>,
    /// The protocols that are offered, in order.
    pub alpn: Vec<Box<[u8]>>,
    /// The session to resume, or random bytes in TLS 1.3.
    pub session_id: Box<[u8]>,
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
                Some(Self { session_id: hello.session_id.into(), ..Self::default() })
            }
            _ => None,
        }
    }

    fn of_hello(hello: &ClientHello<'_>, whole: bool) -> Self {
        let ticket = hello.session_ticket_len().is_some_and(|length| length > 0);
        let tls_1_3 = hello.offered_versions().any(|version| version == 0x0304);
        Self {
            sni: hello.sni().map(Into::into),
            alpn: hello.alpn().into_iter().flatten().map(Into::into).collect(),
            session_id: hello.session_id.into(),
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

    /// Heap bytes held, beside what is shared.
    #[must_use]
    pub fn memory(&self) -> usize {
        let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let own = self.fingerprints.as_ref().filter(|prints| !prints.ja4_r.is_shared());
        let prints = own.map_or(0, |prints| prints.ja4_r.len());
        let alpn = self.alpn.capacity() * size_of::<Box<[u8]>>()
            + self.alpn.iter().map(|name| name.len()).sum::<usize>();
        length(&self.sni) + alpn + self.session_id.len() + prints
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
    pub session_id: Box<[u8]>,
    /// One of the client's pre-shared keys was taken (TLS 1.3).
    pub pre_shared_key: bool,
    /// JA3S, of a hello that was seen whole.
    pub ja3s: Option<Digits<32>>,
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
            session_id: hello.session_id.into(),
            pre_shared_key: hello.pre_shared_key().is_some(),
            ja3s: whole.then(|| KNOWN.with_borrow_mut(|(prints, _)| prints.ja3s(hello))),
        }
    }

    /// Heap bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        let alpn = self.alpn.as_ref().map_or(0, |alpn| alpn.len());
        alpn + self.session_id.len()
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
