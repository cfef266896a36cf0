//! The SSLv2-compatible CLIENT-HELLO: RFC 5246 appendix E.2, RFC 6101 appendix E; and SSL 2.0's
//! SERVER-HELLO: draft-hickman-netscape-ssl-00 section 2.6.
//!
//! ```text
//!  length (2, upper bit set) ║ type 1 | version (2) | cipher_spec_length (2) | session_id_length (2)
//!                            ║ | challenge_length (2) | cipher_specs: 3 bytes each | session_id | challenge
//! ```
//!
//! A cipher spec whose first byte is 0 is a TLS suite, in the other two.
//!
//! ```text
//!  length (2, upper bit set) ║ type 4 | session_id_hit (1) | certificate_type (1) | version (2)
//!                            ║ | certificate_length (2) | cipher_specs_length (2) | connection_id_length (2)
//!                            ║ | certificate | cipher_specs: 3 bytes each | connection_id
//! ```

use super::{
    names::{CipherSuite, CodePoint},
    reader::{ParseError, Reader},
};

/// A CLIENT-HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssl2ClientHello<'a> {
    /// The highest version that the client can: 0x0002, or that of SSL 3.0 or TLS.
    pub version: u16,
    specs: &'a [u8],
    /// Session to resume.
    pub session_id: &'a [u8],
    /// Random bytes.
    pub challenge: &'a [u8],
}

impl<'a> Ssl2ClientHello<'a> {
    /// Reads the record behind its length.
    ///
    /// # Errors
    ///
    /// If it ends early, or its lengths contradict each other.
    pub fn parse(record: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::whole(record);
        if reader.u8("message type")? != 1 {
            return Err(ParseError::Invalid("message type"));
        }
        let version = reader.u16("version")?;
        let specs = usize::from(reader.u16("cipher_spec_length")?);
        let session_id = usize::from(reader.u16("session_id_length")?);
        let challenge = usize::from(reader.u16("challenge_length")?);
        if !specs.is_multiple_of(3) {
            return Err(ParseError::Invalid("cipher_spec_length"));
        }
        Ok(Self {
            version,
            specs: reader.part(specs, "cipher_specs")?.rest(),
            session_id: reader.part(session_id, "session_id")?.rest(),
            challenge: reader.part(challenge, "challenge")?.rest(),
        })
    }

    /// The offered cipher specs, three bytes each.
    pub fn cipher_specs(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        specs(self.specs)
    }
}

/// A SERVER-HELLO. The client chooses among its cipher specs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssl2ServerHello<'a> {
    /// The client's session goes on, and there is no certificate.
    pub session_id_hit: bool,
    /// The version: 0x0002.
    pub version: u16,
    /// The DER of the server's certificate; empty if there is none.
    pub certificate: &'a [u8],
    specs: &'a [u8],
    /// Random bytes.
    pub connection_id: &'a [u8],
}

impl<'a> Ssl2ServerHello<'a> {
    /// Reads the record behind its length.
    ///
    /// # Errors
    ///
    /// If it ends early, or its lengths contradict each other.
    pub fn parse(record: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::whole(record);
        if reader.u8("message type")? != 4 {
            return Err(ParseError::Invalid("message type"));
        }
        let session_id_hit = reader.u8("session_id_hit")? != 0;
        // X.509 is the only one.
        let _certificate_type = reader.u8("certificate_type")?;
        let version = reader.u16("version")?;
        let certificate = usize::from(reader.u16("certificate_length")?);
        let specs = usize::from(reader.u16("cipher_specs_length")?);
        let connection_id = usize::from(reader.u16("connection_id_length")?);
        if !specs.is_multiple_of(3) {
            return Err(ParseError::Invalid("cipher_specs_length"));
        }
        Ok(Self {
            session_id_hit,
            version,
            certificate: reader.part(certificate, "certificate")?.rest(),
            specs: reader.part(specs, "cipher_specs")?.rest(),
            connection_id: reader.part(connection_id, "connection_id")?.rest(),
        })
    }

    /// The cipher specs that both sides can, three bytes each.
    pub fn cipher_specs(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        specs(self.specs)
    }
}

fn specs(bytes: &[u8]) -> impl Iterator<Item = u32> + Clone {
    let (specs, _none_left) = bytes.as_chunks::<3>();
    specs.iter().map(|[kind, high, low]| u32::from_be_bytes([0, *kind, *high, *low]))
}

/// A cipher spec by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherSpec(pub u32);

impl CodePoint for CipherSpec {
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x01_0080 => "SSL_CK_RC4_128_WITH_MD5",
            0x02_0080 => "SSL_CK_RC4_128_EXPORT40_WITH_MD5",
            0x03_0080 => "SSL_CK_RC2_128_CBC_WITH_MD5",
            0x04_0080 => "SSL_CK_RC2_128_CBC_EXPORT40_WITH_MD5",
            0x05_0080 => "SSL_CK_IDEA_128_CBC_WITH_MD5",
            0x06_0040 => "SSL_CK_DES_64_CBC_WITH_MD5",
            0x07_00c0 => "SSL_CK_DES_192_EDE3_CBC_WITH_MD5",
            other => return CipherSuite(u16::try_from(other).ok()?).name(),
        })
    }
}

impl std::fmt::Display for CipherSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.name(), u16::try_from(self.0)) {
            (Some(name), _) => f.write_str(name),
            (None, Ok(suite)) => CipherSuite(suite).fmt(f),
            (None, Err(_)) => write!(f, "{:#08x}", self.0),
        }
    }
}
