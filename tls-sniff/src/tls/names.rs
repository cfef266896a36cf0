//! Code points in the words of the IANA registries (tls-parameters, tls-extensiontype-values), read
//! 2026-11; GREASE (RFC 8701) is GREASE with its number, and what has no name is its number. Names that
//! the registries suffix `_RESERVED`, since TLS 1.3 no longer uses them, are written as in RFC 5246,
//! without the suffix.

mod code_points;
mod suites;

use std::fmt;

pub use code_points::{
    CertificateCompression, CompressionMethod, ExtensionType, NamedGroup, PskKeyExchangeMode,
    SignatureScheme,
};
pub use suites::CipherSuite;

/// A number of a registry. Shown, it is its name, or its number where there is none.
pub trait CodePoint: Copy + fmt::Display {
    /// The name, which is printable ASCII without quotes and backslashes.
    fn name(self) -> Option<&'static str>;
}

/// Shows code points that have no name in the given form.
macro_rules! shown {
    ($($code_point:ty: $number:literal)*) => { $(
        impl std::fmt::Display for $code_point {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match $crate::tls::names::CodePoint::name(*self) {
                    Some(name) => f.write_str(name),
                    None => write!(f, $number, self.0),
                }
            }
        }
    )* };
}
pub(super) use shown;

shown! { AlertLevel: "{:#04x}" AlertDescription: "{:#04x}" }

/// Whether a two-byte code point is one of RFC 8701's sixteen: 0x0a0a, 0x1a1a, ... 0xfafa.
#[must_use]
pub const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// What GREASE is called: one of sixteen, with its number.
const fn grease(value: u16) -> Option<&'static str> {
    Some(match value {
        0x0a0a => "GREASE (0x0a0a)",
        0x1a1a => "GREASE (0x1a1a)",
        0x2a2a => "GREASE (0x2a2a)",
        0x3a3a => "GREASE (0x3a3a)",
        0x4a4a => "GREASE (0x4a4a)",
        0x5a5a => "GREASE (0x5a5a)",
        0x6a6a => "GREASE (0x6a6a)",
        0x7a7a => "GREASE (0x7a7a)",
        0x8a8a => "GREASE (0x8a8a)",
        0x9a9a => "GREASE (0x9a9a)",
        0xaaaa => "GREASE (0xaaaa)",
        0xbaba => "GREASE (0xbaba)",
        0xcaca => "GREASE (0xcaca)",
        0xdada => "GREASE (0xdada)",
        0xeaea => "GREASE (0xeaea)",
        0xfafa => "GREASE (0xfafa)",
        _ => return None,
    })
}

/// A protocol version in the words of its RFC: `TLS 1.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolVersion(pub u16);

impl CodePoint for ProtocolVersion {
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0002 => "SSL 2.0",
            0x0300 => "SSL 3.0",
            0x0301 => "TLS 1.0",
            0x0302 => "TLS 1.1",
            0x0303 => "TLS 1.2",
            0x0304 => "TLS 1.3",
            other => return grease(other),
        })
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.0) {
            (Some(name), _) => f.write_str(name),
            (None, draft @ 0x7f00..=0x7fff) => write!(f, "TLS 1.3 draft {}", draft & 0xff),
            (None, value) => write!(f, "{value:#06x}"),
        }
    }
}

/// Alert level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertLevel(pub u8);

impl CodePoint for AlertLevel {
    fn name(self) -> Option<&'static str> {
        match self.0 {
            1 => Some("warning"),
            2 => Some("fatal"),
            _ => None,
        }
    }
}

/// Alert description, IANA "TLS Alerts".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertDescription(pub u8);

impl CodePoint for AlertDescription {
    fn name(self) -> Option<&'static str> {
        alert_name(self.0)
    }
}

const fn alert_name(description: u8) -> Option<&'static str> {
    Some(match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        117 => "general_error",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => return None,
    })
}

/// The name of a handshake type, IANA "TLS HandshakeType".
#[must_use]
pub const fn handshake_type_name(handshake_type: u8) -> Option<&'static str> {
    Some(match handshake_type {
        0 => "hello_request",
        1 => "client_hello",
        2 => "server_hello",
        3 => "hello_verify_request",
        4 => "new_session_ticket",
        5 => "end_of_early_data",
        6 => "hello_retry_request",
        8 => "encrypted_extensions",
        9 => "request_connection_id",
        10 => "new_connection_id",
        11 => "certificate",
        12 => "server_key_exchange",
        13 => "certificate_request",
        14 => "server_hello_done",
        15 => "certificate_verify",
        16 => "client_key_exchange",
        17 => "client_certificate_request",
        20 => "finished",
        21 => "certificate_url",
        22 => "certificate_status",
        23 => "supplemental_data",
        24 => "key_update",
        25 => "compressed_certificate",
        26 => "ekt_key",
        254 => "message_hash",
        _ => return None,
    })
}

/// Bytes from the network as text that can do no harm on a terminal or in a log: printable UTF-8 as it
/// is, anything else as `\xNN`, a backslash as `\\`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '\\' {
                    f.write_str("\\\\")?;
                } else if is_harmless(character) {
                    fmt::Write::write_char(f, character)?;
                } else {
                    let mut bytes = [0; 4];
                    escape(f, character.encode_utf8(&mut bytes).as_bytes())?;
                }
            }
            escape(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn escape(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// Control characters can drive a terminal; separators, joiners and direction marks can make a name look
/// like another.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}
