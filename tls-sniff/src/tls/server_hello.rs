//! ServerHello and HelloRetryRequest: RFC 8446 sections 4.1.3 and 4.1.4, RFC 5246 section 7.4.1.3.
//!
//! ```text
//!  legacy_version (2) | random (32) | session_id <0..32> | cipher_suite (2)
//!  | compression_method (1) | extensions <0..2^16-1>, absent in old hellos
//! ```

use super::{
    client_hello::session_id,
    extension::{
        self, ALPN, Extensions, KEY_SHARE, KEY_SHARE_DRAFT, PRE_SHARED_KEY, Protocols,
        SUPPORTED_VERSIONS,
    },
    reader::{ParseError, Reader},
};

/// The random of a HelloRetryRequest: SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A ServerHello, as far as its bytes go.
#[derive(Clone, Copy, Debug)]
pub struct ServerHello<'a> {
    /// The selected version before TLS 1.3; 0x0303 in TLS 1.3.
    pub legacy_version: u16,
    /// Random bytes, or what makes it a HelloRetryRequest.
    pub random: [u8; 32],
    /// The session that is resumed or may be later; in TLS 1.3 the client's, echoed.
    pub session_id: &'a [u8],
    /// The selected suite.
    pub cipher_suite: u16,
    /// The selected compression method.
    pub compression_method: u8,
    /// Extensions that are whole.
    pub extensions: Extensions<'a>,
    /// Whether the extensions were read to their end.
    has_all_extensions: bool,
}

impl<'a> ServerHello<'a> {
    /// Reads a body of `length` bytes, of which `body` are at hand: a hello as far as it goes, and what
    /// ended it early.
    ///
    /// # Errors
    ///
    /// If not everything before the extensions is there.
    pub fn parse(
        body: &'a [u8],
        length: usize,
    ) -> Result<(Self, Result<(), ParseError>), ParseError> {
        let mut reader = Reader::of_length(body, length);
        let legacy_version = reader.u16("legacy_version")?;
        let random = reader.array("random")?;
        // Drafts of TLS 1.3 before 22 had neither session id nor compression.
        let short = matches!(legacy_version, 0x7f00..=0x7f15);
        let mut hello = Self {
            legacy_version,
            random,
            session_id: if short { &[] } else { session_id(&mut reader)? },
            cipher_suite: reader.u16("cipher_suite")?,
            compression_method: if short { 0 } else { reader.u8("compression_method")? },
            extensions: Extensions::default(),
            has_all_extensions: true,
        };
        if reader.is_at_end() {
            return Ok((hello, Ok(())));
        }
        let end = match reader.vector_u16("extensions") {
            Ok(block) => {
                let (extensions, end) = Extensions::parse(block);
                hello.extensions = extensions;
                end
            }
            Err(error) => Err(error),
        };
        // What contradicts its lengths is not missing.
        hello.has_all_extensions = !end.is_err_and(ParseError::is_cut);
        Ok((hello, end))
    }

    /// Whether it asks the client for another ClientHello.
    #[must_use]
    pub fn is_hello_retry_request(&self) -> bool {
        self.random == HELLO_RETRY_REQUEST
    }

    /// The selected version: supported_versions, or legacy_version if that extension is not there.
    /// `None` if it may stand in extensions that are missing.
    #[must_use]
    pub fn selected_version(&self) -> Option<u16> {
        match self.extensions.find(SUPPORTED_VERSIONS) {
            Some(mut data) => data.u16("supported_versions").ok(),
            None if self.has_all_extensions || self.legacy_version < 0x0303 => {
                Some(self.legacy_version)
            }
            None => None,
        }
    }

    /// The group of the server's key share; in a HelloRetryRequest the one that it asks for.
    #[must_use]
    pub fn key_share_group(&self) -> Option<u16> {
        let data = self.extensions.find(KEY_SHARE);
        data.or_else(|| self.extensions.find(KEY_SHARE_DRAFT))?.u16("key_share group").ok()
    }

    /// Which of the client's pre-shared keys the server takes (TLS 1.3).
    #[must_use]
    pub fn pre_shared_key(&self) -> Option<u16> {
        self.extensions.find(PRE_SHARED_KEY)?.u16("selected_identity").ok()
    }

    /// What a server of TLS 1.3 or 1.2 puts at the end of its random when it negotiates an older version
    /// (RFC 8446 section 4.1.3): a client that offered more is being attacked.
    #[must_use]
    pub const fn downgrade_sentinel(&self) -> Option<&'static str> {
        match &self.random {
            [.., b'D', b'O', b'W', b'N', b'G', b'R', b'D', 1] => Some("TLS 1.2"),
            [.., b'D', b'O', b'W', b'N', b'G', b'R', b'D', 0] => Some("TLS 1.1 or older"),
            _ => None,
        }
    }

    /// The selected application protocol, visible before TLS 1.3 only.
    #[must_use]
    pub fn alpn(&self) -> Option<Protocols<'a>> {
        extension::protocols(self.extensions.find(ALPN)?).ok()
    }
}
