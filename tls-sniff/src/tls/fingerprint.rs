//! Fingerprints of hellos, from parsed fields: JA3 and JA3S (github.com/salesforce/ja3), JA4 for TLS
//! clients and its raw form (github.com/FoxIO-LLC/ja4, technical_details/JA4.md; that one is under the
//! BSD licence, the rest of the JA4+ family is not and is not made here).
//!
//! ```text
//!  JA3     version,suites,extensions,groups,point formats      numbers joined by "-", MD5 of the line
//!  JA3S    version,suite,extensions
//!  JA4     t13d1516h2_8daaf6152771_e5627efa2ab1
//!          │││ │ │ │  │            └ SHA-256, 12 digits, of: extensions sorted, without SNI and ALPN,
//!          │││ │ │ │  │              "_", signature algorithms in order
//!          │││ │ │ │  └ SHA-256, 12 digits, of: suites sorted
//!          │││ │ │ └ first and last character of the first ALPN protocol
//!          │││ │ └ number of extensions     │││ └ number of suites, both at most 99
//!          ││└ SNI: d(omain) or i(p)        │└ version, highest offered     └ TCP
//!  JA4_r   the same with the lists themselves in place of the hashes
//! ```
//!
//! GREASE values are left out everywhere. A hello that was not seen whole has no fingerprint.

use std::fmt::Write as _;

use md5::Md5;
use sha2::{Digest, Sha256};

use super::{
    client_hello::ClientHello,
    extension::{ALPN, SERVER_NAME},
    names::is_grease,
    server_hello::ServerHello,
};

/// The fingerprints of a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFingerprints {
    /// JA3: 32 hexadecimal digits.
    pub ja3: String,
    /// JA4.
    pub ja4: String,
    /// JA4 with its lists in place of their hashes.
    pub ja4_r: String,
}

/// JA3, JA4 and JA4_r of a whole ClientHello.
#[must_use]
pub fn client(hello: &ClientHello<'_>) -> ClientFingerprints {
    let (ja4, ja4_r) = ja4(hello);
    ClientFingerprints { ja3: ja3(hello), ja4, ja4_r }
}

/// JA3S of a whole ServerHello: 32 hexadecimal digits.
#[must_use]
pub fn ja3s(hello: &ServerHello<'_>) -> String {
    let mut line = format!("{},{},", hello.legacy_version, hello.cipher_suite);
    let types = hello.extensions.iter().map(|extension| extension.extension_type);
    join_decimal(&mut line, types);
    md5(&line)
}

fn ja3(hello: &ClientHello<'_>) -> String {
    let mut line = format!("{},", hello.legacy_version);
    join_decimal(&mut line, hello.cipher_suites.iter());
    line.push(',');
    join_decimal(&mut line, extension_types(hello));
    line.push(',');
    join_decimal(&mut line, hello.supported_groups().iter());
    line.push(',');
    join_decimal(&mut line, hello.point_formats().iter().copied().map(u16::from));
    md5(&line)
}

fn ja4(hello: &ClientHello<'_>) -> (String, String) {
    let mut suites: Vec<u16> = without_grease(hello.cipher_suites.iter()).collect();
    let mut extensions: Vec<u16> = without_grease(extension_types(hello)).collect();
    let start = format!(
        "t{}{}{:02}{:02}{}",
        ja4_version(hello),
        if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' },
        suites.len().min(99),
        extensions.len().min(99),
        ja4_alpn(hello)
    );
    suites.sort_unstable();
    extensions.retain(|extension| ![SERVER_NAME, ALPN].contains(extension));
    extensions.sort_unstable();
    let suites = join_hex(suites.into_iter());
    let mut extensions = join_hex(extensions.into_iter());
    let algorithms = join_hex(without_grease(hello.signature_algorithms().iter()));
    let hashed_suites = ja4_hash(&suites);
    if !algorithms.is_empty() && !extensions.is_empty() {
        extensions.push('_');
        extensions.push_str(&algorithms);
    }
    let hashed_extensions = ja4_hash(&extensions);
    (
        format!("{start}_{hashed_suites}_{hashed_extensions}"),
        format!("{start}_{suites}_{extensions}"),
    )
}

/// The highest offered version in JA4's two characters.
fn ja4_version(hello: &ClientHello<'_>) -> &'static str {
    match without_grease(hello.offered_versions()).max() {
        Some(0x0304) => "13",
        Some(0x0303) => "12",
        Some(0x0302) => "11",
        Some(0x0301) => "10",
        Some(0x0300) => "s3",
        Some(0x0002) => "s2",
        _ => "00",
    }
}

/// The first and last character of the first protocol; of its hexadecimal form if one of them is no
/// ASCII letter or digit.
fn ja4_alpn(hello: &ClientHello<'_>) -> String {
    let first = hello.alpn().and_then(|mut protocols| protocols.next());
    let Some(([head, ..], [.., tail])) = first.map(|name| (name, name)) else {
        return "00".to_owned();
    };
    if head.is_ascii_alphanumeric() && tail.is_ascii_alphanumeric() {
        return format!("{}{}", char::from(*head), char::from(*tail));
    }
    format!("{:x}{:x}", head >> 4, tail & 0x0f)
}

/// Twelve digits of the list's SHA-256; of no list, zeros.
pub(super) fn ja4_hash(list: &str) -> String {
    if list.is_empty() {
        return "0".repeat(12);
    }
    let mut digits = hex(&Sha256::digest(list.as_bytes()));
    digits.truncate(12);
    digits
}

fn md5(line: &str) -> String {
    hex(&Md5::digest(line.as_bytes()))
}

fn extension_types(hello: &ClientHello<'_>) -> impl Iterator<Item = u16> {
    hello.extensions.iter().map(|extension| extension.extension_type)
}

fn without_grease(values: impl Iterator<Item = u16>) -> impl Iterator<Item = u16> {
    values.filter(|value| !is_grease(*value))
}

/// Writing to a string does not fail.
fn append(line: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = line.write_fmt(text);
}

fn join_decimal(line: &mut String, values: impl Iterator<Item = u16>) {
    for (place, value) in without_grease(values).enumerate() {
        append(line, format_args!("{}{value}", if place == 0 { "" } else { "-" }));
    }
}

fn join_hex(values: impl Iterator<Item = u16>) -> String {
    let mut line = String::new();
    for (place, value) in values.enumerate() {
        append(&mut line, format_args!("{}{value:04x}", if place == 0 { "" } else { "," }));
    }
    line
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        append(&mut digits, format_args!("{byte:02x}"));
    }
    digits
}
