//! ClientHello: RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2.
//!
//! ```text
//!  legacy_version (2) | random (32) | session_id <0..32> | cipher_suites <2..2^16-2>
//!  | compression_methods <1..2^8-1> | extensions <8..2^16-1>, absent in old hellos
//! ```

use super::{
    extension::{
        self, ALPN, COMPRESS_CERTIFICATE, EARLY_DATA, EC_POINT_FORMATS, ENCRYPTED_CLIENT_HELLO,
        ENCRYPTED_SERVER_NAME, Ech, Extensions, KEY_SHARE, KEY_SHARE_DRAFT, PRE_SHARED_KEY,
        PSK_KEY_EXCHANGE_MODES, Protocols, RECORD_SIZE_LIMIT, SERVER_NAME, SESSION_TICKET,
        SIGNATURE_ALGORITHMS, SUPPORTED_GROUPS, SUPPORTED_VERSIONS,
    },
    names::NamedGroup,
    reader::{ParseError, Reader, U16List},
};

/// A ClientHello, as far as its bytes go. What is missing is empty.
#[derive(Clone, Copy, Debug)]
pub struct ClientHello<'a> {
    /// The version that clients before TLS 1.3 negotiated with; 0x0303 in TLS 1.3.
    pub legacy_version: u16,
    /// Random bytes.
    pub random: [u8; 32],
    /// Session to resume, or random bytes in TLS 1.3's compatibility mode.
    pub session_id: &'a [u8],
    /// Offered suites, most wanted first.
    pub cipher_suites: U16List<'a>,
    /// Offered compression methods.
    pub compression_methods: &'a [u8],
    /// Extensions that are whole.
    pub extensions: Extensions<'a>,
    /// Whether the extensions were read to their end.
    has_all_extensions: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads a body of `length` bytes, of which `body` are at hand: a hello as far as it goes, and what
    /// ended it early.
    ///
    /// # Errors
    ///
    /// If not even version and random are there.
    pub fn parse(
        body: &'a [u8],
        length: usize,
    ) -> Result<(Self, Result<(), ParseError>), ParseError> {
        let mut reader = Reader::of_length(body, length);
        let mut hello = Self {
            legacy_version: reader.u16("legacy_version")?,
            random: reader.array("random")?,
            session_id: &[],
            cipher_suites: U16List::default(),
            compression_methods: &[],
            extensions: Extensions::default(),
            has_all_extensions: false,
        };
        let end = hello.rest(&mut reader);
        hello.has_all_extensions = end.is_ok();
        Ok((hello, end))
    }

    fn rest(&mut self, reader: &mut Reader<'a>) -> Result<(), ParseError> {
        self.session_id = session_id(reader)?;
        self.cipher_suites = reader.vector_u16("cipher_suites")?.u16_list("cipher_suites")?;
        self.compression_methods =
            reader.vector_u8("compression_methods")?.complete("compression_methods")?;
        if reader.is_at_end() {
            return Ok(());
        }
        let (extensions, end) = Extensions::parse(reader.vector_u16("extensions")?);
        self.extensions = extensions;
        end?;
        if reader.is_empty() { Ok(()) } else { Err(ParseError::Invalid("end of extensions")) }
    }

    /// The host name of server_name, if it is there and well formed.
    #[must_use]
    pub fn sni(&self) -> Option<&'a [u8]> {
        extension::server_name(self.extensions.find(SERVER_NAME)?).ok().flatten()
    }

    /// The offered application protocols, most wanted first.
    #[must_use]
    pub fn alpn(&self) -> Option<Protocols<'a>> {
        extension::protocols(self.extensions.find(ALPN)?).ok()
    }

    /// The offered groups, most wanted first; none if the extension is not there or malformed.
    #[must_use]
    pub fn supported_groups(&self) -> U16List<'a> {
        self.code_points(SUPPORTED_GROUPS)
    }

    /// The offered signature algorithms, most wanted first.
    #[must_use]
    pub fn signature_algorithms(&self) -> U16List<'a> {
        self.code_points(SIGNATURE_ALGORITHMS)
    }

    /// The offered point formats, RFC 8422.
    #[must_use]
    pub fn point_formats(&self) -> &'a [u8] {
        let data = self.extensions.find(EC_POINT_FORMATS);
        let list = data.and_then(|mut data| data.vector_u8("ec_point_formats").ok());
        list.map_or(&[], |list| list.rest())
    }

    /// The groups for which the client sends key shares, in order.
    pub fn key_share_groups(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let data = self.extensions.find(KEY_SHARE);
        let data = data.or_else(|| self.extensions.find(KEY_SHARE_DRAFT));
        data.and_then(|data| extension::key_share_groups(data).ok()).into_iter().flatten()
    }

    /// Modes in which a pre-shared key may be used.
    #[must_use]
    pub fn psk_key_exchange_modes(&self) -> &'a [u8] {
        let data = self.extensions.find(PSK_KEY_EXCHANGE_MODES);
        let list = data.and_then(|mut data| data.vector_u8("psk_key_exchange_modes").ok());
        list.map_or(&[], |list| list.rest())
    }

    /// How many sessions or external keys the client offers to go on with (TLS 1.3).
    #[must_use]
    pub fn psk_identities(&self) -> Option<usize> {
        extension::psk_identities(self.extensions.find(PRE_SHARED_KEY)?).ok()
    }

    /// Whether data of the application comes before the server's answer.
    #[must_use]
    pub fn has_early_data(&self) -> bool {
        self.extensions.find(EARLY_DATA).is_some()
    }

    /// The length of the session ticket of TLS 1.2; 0 if the client only says that it takes some.
    #[must_use]
    pub fn session_ticket_len(&self) -> Option<usize> {
        self.extensions.find(SESSION_TICKET).map(|data| data.rest().len())
    }

    /// Encrypted ClientHello, if it is offered.
    #[must_use]
    pub fn ech(&self) -> Option<Ech> {
        extension::ech(self.extensions.find(ENCRYPTED_CLIENT_HELLO)?).ok()
    }

    /// Whether the drafts' encrypted_server_name, ECH's predecessor, is there.
    #[must_use]
    pub fn has_encrypted_server_name(&self) -> bool {
        self.extensions.find(ENCRYPTED_SERVER_NAME).is_some()
    }

    /// The longest record that the client takes.
    #[must_use]
    pub fn record_size_limit(&self) -> Option<u16> {
        self.extensions.find(RECORD_SIZE_LIMIT)?.u16("record_size_limit").ok()
    }

    /// Algorithms by which the server may compress its certificates.
    #[must_use]
    pub fn certificate_compression(&self) -> U16List<'a> {
        let data = self.extensions.find(COMPRESS_CERTIFICATE);
        data.and_then(|mut data| data.vector_u8("algorithms").ok()?.u16_list("algorithms").ok())
            .unwrap_or_default()
    }

    /// How ready the client is for a key exchange that a quantum computer does not break.
    #[must_use]
    pub fn post_quantum(&self) -> PostQuantum {
        let post_quantum = |group: u16| NamedGroup(group).is_post_quantum();
        if self.key_share_groups().any(post_quantum) {
            PostQuantum::KeyShare
        } else if self.supported_groups().iter().any(post_quantum) {
            PostQuantum::Offered
        } else {
            PostQuantum::No
        }
    }

    fn code_points(&self, extension_type: u16) -> U16List<'a> {
        let data = self.extensions.find(extension_type);
        data.and_then(|data| extension::code_points(data).ok()).unwrap_or_default()
    }

    /// The offered versions: supported_versions, or where there is none legacy_version, which then means
    /// "this one or an earlier one". None if that extension may stand in what is missing.
    pub fn offered_versions(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let supported = self
            .extensions
            .find(SUPPORTED_VERSIONS)
            .and_then(|data| extension::supported_versions(data).ok());
        let legacy = supported.is_none() && self.has_all_extensions;
        supported.unwrap_or_default().iter().chain(legacy.then_some(self.legacy_version))
    }
}

/// Readiness for a post-quantum key exchange: a group with ML-KEM, alone or hybrid, or its draft Kyber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostQuantum {
    /// No such group is offered.
    No,
    /// One is offered, without a key share: the server may ask for it.
    Offered,
    /// The hello carries a key share of one.
    KeyShare,
}

impl PostQuantum {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Offered => "offered",
            Self::KeyShare => "key_share",
        }
    }
}

/// A session id: at most 32 bytes.
pub(super) fn session_id<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ParseError> {
    let length = reader.u8("session_id")?;
    if length > 32 {
        return Err(ParseError::Invalid("session_id"));
    }
    reader.part(length.into(), "session_id")?.complete("session_id")
}
