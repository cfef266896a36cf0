//! The handshake messages in one record.
//!
//! ```text
//!  fragment  | type | length (3) | body ... | type | length (3) | body ...
//!                                                                    ────► goes on in the next record
//! ```
//!
//! RFC 8446 section 4, RFC 5246 section 7.4.

use super::names::{CodePoint, handshake_type_name, shown};

/// Bytes before a message's body.
pub const MESSAGE_HEADER_LEN: usize = 4;

/// The longest message that is believed: certificate chains of this size exist, longer ones are refused
/// by every library (OpenSSL: 100 kB).
pub const MAX_MESSAGE_LEN: usize = 1 << 17;

/// A handshake type, IANA "TLS HandshakeType".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandshakeType(pub u8);

impl HandshakeType {
    /// hello_request
    pub const HELLO_REQUEST: Self = Self(0);
    /// client_hello
    pub const CLIENT_HELLO: Self = Self(1);
    /// server_hello
    pub const SERVER_HELLO: Self = Self(2);
    /// certificate
    pub const CERTIFICATE: Self = Self(11);
    /// server_key_exchange
    pub const SERVER_KEY_EXCHANGE: Self = Self(12);
    /// Finished
    pub const FINISHED: Self = Self(20);

    /// Whether IANA knows it.
    #[must_use]
    pub const fn is_known(self) -> bool {
        handshake_type_name(self.0).is_some()
    }
}

impl CodePoint for HandshakeType {
    fn name(self) -> Option<&'static str> {
        handshake_type_name(self.0)
    }
}

shown! { HandshakeType: "{:#04x}" }

/// One message, as far as it is in the record and was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type.
    pub handshake_type: HandshakeType,
    /// The length of its body by its header.
    pub length: usize,
    /// What of the body is at hand, at most `length` bytes.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Whether the whole body is at hand.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.body.len() == self.length
    }
}

/// The messages of a plaintext record's fragment; ends with the first that is not complete.
pub fn messages(fragment: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = fragment;
    std::iter::from_fn(move || {
        let ([handshake_type, l0, l1, l2], behind) =
            rest.split_first_chunk::<MESSAGE_HEADER_LEN>()?;
        let length = usize::from(*l0) << 16 | usize::from(*l1) << 8 | usize::from(*l2);
        let (body, next) = behind.split_at_checked(length).unwrap_or((behind, &[]));
        rest = next;
        Some(Message { handshake_type: HandshakeType(*handshake_type), length, body })
    })
}

/// What the bytes of a handshake record show it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Its messages can be read.
    Plaintext,
    /// It is encrypted.
    Encrypted,
    /// Too little of it is at hand to tell.
    Unknown,
}

/// Tells plaintext from ciphertext in a handshake record, by its bytes alone.
///
/// After ChangeCipherSpec a handshake record of TLS 1.2 is encrypted and starts with random bytes, or
/// with an explicit nonce that counts from zero: AES-GCM's eight zero bytes are two HelloRequests to a
/// reader that looks no further. In plaintext, messages of known types fill the record exactly, or the
/// last one goes on behind its end; a HelloRequest is always alone. Of random bytes the first happens once
/// in some 10^8 (20 of 256 types, one of 2^24 lengths); the second once in 1,600 (20 of 256 types, two of
/// 256 values of the length's first byte, and a length beyond the record's end), which is why it is
/// believed only of hellos with their version, and of records that are shorter or longer than any
/// encrypted Finished.
#[must_use]
pub fn protection(fragment: &[u8], record_length: usize) -> Protection {
    /// An authentication tag or MAC alone is as long.
    const SHORTEST_ENCRYPTED: usize = 16;
    /// A Finished of 48 bytes, encrypted with CBC, padding and the longest MAC.
    const LONGEST_FINISHED: usize = 16 + 4 + 48 + 48 + 256;
    let cut = fragment.len() < record_length;
    let (mut filled, mut last) = (0, None);
    for message in messages(fragment) {
        let alone = filled == 0 && record_length == MESSAGE_HEADER_LEN;
        let known = message.handshake_type.is_known() && message.length <= MAX_MESSAGE_LEN;
        if !known || (message.handshake_type == HandshakeType::HELLO_REQUEST && !alone) {
            return Protection::Encrypted;
        }
        filled += MESSAGE_HEADER_LEN + message.length;
        last = Some(message);
    }
    let Some(last) = last else {
        // Not even a message's header is at hand.
        let short = record_length < SHORTEST_ENCRYPTED && !fragment.is_empty();
        return if short { Protection::Plaintext } else { Protection::Unknown };
    };
    let hello =
        matches!(last.handshake_type, HandshakeType::CLIENT_HELLO | HandshakeType::SERVER_HELLO)
            && matches!(last.body, [0x03 | 0x7f, _, ..]);
    let goes_on = filled > record_length
        && (hello || !(SHORTEST_ENCRYPTED..=LONGEST_FINISHED).contains(&record_length));
    if filled == record_length || goes_on || (filled < record_length && cut) {
        Protection::Plaintext
    } else if cut && last.body.len() < 2 {
        Protection::Unknown
    } else {
        Protection::Encrypted
    }
}
