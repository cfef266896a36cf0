//! The flags that select handshakes by what was understood of them.

use clap::Args;

use crate::filter::{
    glob::Glob,
    handshake::{HandshakeFilter, OutcomeClass, Version},
    patterns,
};

/// Which connections are shown and written. Tested here, as soon as the handshake tells.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Filters for whole handshakes (globs: * and ?, ! before one excludes)"
)]
pub(crate) struct HandshakeFlags {
    /// Negotiated version: ssl2, ssl3, 1.0, 1.1, 1.2, 1.3
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    tls_version: Vec<Version>,

    /// Server name that the client asks for; '' for hellos without one
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    sni: Vec<Glob>,

    /// Protocol that the server chose; in TLS 1.3, which encrypts that, one that the client offers
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    alpn: Vec<Glob>,

    /// Cipher suite by its IANA name, or as 0x1301
    #[arg(long, value_name = "GLOB", value_delimiter = ',', value_parser = patterns::cipher)]
    cipher: Vec<Glob>,

    /// JA4 of the ClientHello
    #[arg(long, value_name = "GLOB", value_delimiter = ',', value_parser = patterns::ja4)]
    ja4: Vec<Glob>,

    /// How the handshake ended
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',')]
    outcome: Vec<OutcomeClass>,

    /// Only handshakes with a weakness: old versions, ciphers, certificates
    #[arg(long)]
    weak: bool,
}

impl HandshakeFlags {
    /// The filter of the flags.
    pub(crate) fn filter(&self) -> HandshakeFilter {
        HandshakeFilter {
            versions: self.tls_version.clone(),
            sni: self.sni.clone(),
            alpn: self.alpn.clone(),
            ciphers: self.cipher.clone(),
            ja4: self.ja4.clone(),
            outcomes: self.outcome.clone(),
            weak: self.weak,
        }
    }
}
