//! Extensions of the hellos: RFC 8446 section 4.2, RFC 6066, RFC 7301.

use super::reader::{ParseError, Reader, U16List};

/// server_name, RFC 6066 section 3.
pub const SERVER_NAME: u16 = 0;
/// supported_groups, RFC 8446 section 4.2.7 (elliptic_curves before).
pub const SUPPORTED_GROUPS: u16 = 10;
/// ec_point_formats, RFC 8422 section 5.1.2.
pub const EC_POINT_FORMATS: u16 = 11;
/// signature_algorithms, RFC 8446 section 4.2.3.
pub const SIGNATURE_ALGORITHMS: u16 = 13;
/// application_layer_protocol_negotiation, RFC 7301.
pub const ALPN: u16 = 16;
/// compress_certificate, RFC 8879.
pub const COMPRESS_CERTIFICATE: u16 = 27;
/// record_size_limit, RFC 8449.
pub const RECORD_SIZE_LIMIT: u16 = 28;
/// session_ticket, RFC 5077.
pub const SESSION_TICKET: u16 = 35;
/// key_share of TLS 1.3's drafts up to 22.
pub const KEY_SHARE_DRAFT: u16 = 40;
/// pre_shared_key, RFC 8446 section 4.2.11.
pub const PRE_SHARED_KEY: u16 = 41;
/// early_data, RFC 8446 section 4.2.10.
pub const EARLY_DATA: u16 = 42;
/// supported_versions, RFC 8446 section 4.2.1.
pub const SUPPORTED_VERSIONS: u16 = 43;
/// psk_key_exchange_modes, RFC 8446 section 4.2.9.
pub const PSK_KEY_EXCHANGE_MODES: u16 = 45;
/// key_share, RFC 8446 section 4.2.8.
pub const KEY_SHARE: u16 = 51;
/// encrypted_client_hello, RFC 9849.
pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// encrypted_server_name, the drafts before ECH.
pub const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its type, IANA "TLS ExtensionType Values".
    pub extension_type: u16,
    /// Its data, all of it.
    pub data: &'a [u8],
}

/// The types that are looked for.
const KNOWN: [u16; 16] = [
    SERVER_NAME,
    SUPPORTED_GROUPS,
    EC_POINT_FORMATS,
    SIGNATURE_ALGORITHMS,
    ALPN,
    COMPRESS_CERTIFICATE,
    RECORD_SIZE_LIMIT,
    SESSION_TICKET,
    KEY_SHARE_DRAFT,
    PRE_SHARED_KEY,
    EARLY_DATA,
    SUPPORTED_VERSIONS,
    PSK_KEY_EXCHANGE_MODES,
    KEY_SHARE,
    ENCRYPTED_CLIENT_HELLO,
    ENCRYPTED_SERVER_NAME,
];

/// The extensions of a hello that are whole, in the order of the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extensions<'a> {
    /// A sequence of whole extensions.
    bytes: &'a [u8],
    /// Where in it the data of the first one of each of [`KNOWN`] starts and ends; none starts at 0.
    known: [(u16, u16); KNOWN.len()],
}

impl<'a> Extensions<'a> {
    /// Takes the extensions block, and says what is wrong with it behind the last whole extension.
    pub(super) fn parse(mut block: Reader<'a>) -> (Self, Result<(), ParseError>) {
        let start = block.rest();
        let mut extensions = Self::default();
        let next = |block: &mut Reader<'a>| {
            let extension_type = block.u16("extension type")?;
            let data = block.vector_u16("extension")?.complete("extension")?;
            Ok((extension_type, data))
        };
        while !block.is_at_end() {
            let (extension_type, data) = match next(&mut block) {
                Ok(extension) => extension,
                Err(error) => return (extensions, Err(error)),
            };
            let end = start.len() - block.rest().len();
            extensions.bytes = start.get(..end).unwrap_or_default();
            extensions.know(extension_type, end - data.len(), end);
        }
        (extensions, Ok(()))
    }

    fn know(&mut self, extension_type: u16, start: usize, end: usize) {
        let place = place(extension_type).and_then(|place| self.known.get_mut(place));
        // A block has at most 65,535 bytes.
        if let (Some(place @ (0, _)), Ok(start), Ok(end)) =
            (place, u16::try_from(start), u16::try_from(end))
        {
            *place = (start, end);
        }
    }

    /// Each extension.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'a>> + Clone + use<'a> {
        let mut rest = self.bytes;
        // Not by a `Reader`: they are whole, and three stages go through them.
        std::iter::from_fn(move || {
            let ([t0, t1, l0, l1], behind) = rest.split_first_chunk()?;
            let length = u16::from_be_bytes([*l0, *l1]);
            let (data, next) = behind.split_at_checked(length.into())?;
            rest = next;
            Some(Extension { extension_type: u16::from_be_bytes([*t0, *t1]), data })
        })
    }

    /// The data of the first extension of a type, if it is one of those that this program reads.
    #[must_use]
    pub(super) fn find(&self, extension_type: u16) -> Option<Reader<'a>> {
        let (start, end) = *self.known.get(place(extension_type)?)?;
        let data = self.bytes.get(start.into()..end.into())?;
        (start > 0).then(|| Reader::whole(data))
    }
}

/// Where [`KNOWN`] has a type.
#[inline]
fn place(extension_type: u16) -> Option<usize> {
    KNOWN.iter().position(|known| *known == extension_type)
}

/// The first host name of a server_name list.
pub(super) fn server_name(mut data: Reader<'_>) -> Result<Option<&[u8]>, ParseError> {
    const HOST_NAME: u8 = 0;
    let mut list = data.vector_u16("server_name list")?;
    while !list.is_empty() {
        let name_type = list.u8("server_name type")?;
        let name = list.vector_u16("server_name")?.complete("server_name")?;
        if name_type == HOST_NAME {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The protocol names of an ALPN list.
#[derive(Clone, Copy, Debug)]
pub struct Protocols<'a>(Reader<'a>);

impl<'a> Iterator for Protocols<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.vector_u8("protocol name").ok().map(|name| name.rest())
    }
}

/// The protocol names of an ALPN list that is well formed.
pub(super) fn protocols(mut data: Reader<'_>) -> Result<Protocols<'_>, ParseError> {
    let list = data.vector_u16("ALPN list")?;
    let mut check = list;
    while !check.is_empty() {
        check.vector_u8("protocol name")?;
    }
    Ok(Protocols(list))
}

/// A list of two-byte code points behind a two-byte length: groups, signature algorithms.
pub(super) fn code_points(mut data: Reader<'_>) -> Result<U16List<'_>, ParseError> {
    data.vector_u16("list")?.u16_list("list")
}

/// The versions of a ClientHello's supported_versions.
pub(super) fn supported_versions(mut data: Reader<'_>) -> Result<U16List<'_>, ParseError> {
    data.vector_u8("supported_versions")?.u16_list("supported_versions")
}

/// The groups of a ClientHello's key_share, in order: each is a group and a vector.
pub(super) fn key_share_groups(mut data: Reader<'_>) -> Result<KeyShares<'_>, ParseError> {
    let shares = data.vector_u16("key_share")?;
    let mut check = shares;
    while !check.is_empty() {
        check.u16("key_share group")?;
        check.vector_u16("key_share")?.complete("key_share")?;
    }
    Ok(KeyShares(shares))
}

/// The groups for which key shares are there, of a list that is well formed.
#[derive(Clone, Copy, Debug)]
pub struct KeyShares<'a>(Reader<'a>);

impl Iterator for KeyShares<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let group = self.0.u16("key_share group").ok()?;
        self.0.vector_u16("key_share").ok()?;
        Some(group)
    }
}

/// What can be told of encrypted_client_hello (RFC 9849 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ech {
    /// The outer hello: a real one, or GREASE, which is made so that nobody on the wire can tell.
    Outer {
        /// HPKE key derivation function.
        kdf: u16,
        /// HPKE cipher.
        aead: u16,
        /// Which of the server's configurations.
        config_id: u8,
        /// Bytes of the encrypted hello.
        payload_len: u16,
    },
    /// The inner hello, which only a decrypted capture shows.
    Inner,
}

impl Ech {
    /// The word in events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Outer { .. } => "outer_or_grease",
            Self::Inner => "inner",
        }
    }
}

/// Reads encrypted_client_hello.
pub(super) fn ech(mut data: Reader<'_>) -> Result<Ech, ParseError> {
    match data.u8("ECH type")? {
        0 => {
            let kdf = data.u16("ECH kdf")?;
            let aead = data.u16("ECH aead")?;
            let config_id = data.u8("ECH config_id")?;
            data.vector_u16("ECH enc")?.complete("ECH enc")?;
            let payload = data.vector_u16("ECH payload")?.complete("ECH payload")?;
            let payload_len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            Ok(Ech::Outer { kdf, aead, config_id, payload_len })
        }
        1 => Ok(Ech::Inner),
        _ => Err(ParseError::Invalid("ECH type")),
    }
}

/// How many identities a ClientHello's pre_shared_key offers.
pub(super) fn psk_identities(mut data: Reader<'_>) -> Result<usize, ParseError> {
    let mut identities = data.vector_u16("PSK identities")?;
    let mut count = 0;
    while !identities.is_empty() {
        identities.vector_u16("PSK identity")?.complete("PSK identity")?;
        identities.array::<4>("obfuscated_ticket_age")?;
        count += 1;
    }
    Ok(count)
}
