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

use std::{fmt, sync::Arc};

use md5::Md5;
use sha2::{Digest, Sha256};

use super::{
    client_hello::ClientHello,
    extension::{ALPN, Extensions, SERVER_NAME},
    memo::{Kept, Memo, Value},
    names::is_grease,
    reader::U16List,
    server_hello::ServerHello,
};
use crate::digits;

/// The fingerprints of a ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFingerprints {
    ja3: Md5Hash,
    ja4: Kept<Ja4>,
}

impl ClientFingerprints {
    /// JA3: 32 hexadecimal digits.
    #[must_use]
    pub fn ja3(&self) -> Digits<32> {
        self.ja3.digits()
    }

    /// JA4.
    #[must_use]
    pub fn ja4(&self) -> Digits<36> {
        self.ja4.hashed
    }

    /// JA4 with its lists in place of their hashes.
    #[must_use]
    pub fn ja4_r(&self) -> &str {
        &self.ja4.raw
    }

    /// Heap bytes held, beside what is shared.
    pub(super) fn memory(&self) -> usize {
        if self.ja4.is_shared() { 0 } else { size_of::<Ja4>() + self.ja4.raw.len() }
    }
}

/// A hash of which the digits are the fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Md5Hash([u8; 16]);

impl Md5Hash {
    pub(super) fn digits(self) -> Digits<32> {
        let mut digits = Digits([b'0'; 32]);
        digits.0.iter_mut().zip(digits::pairs(&self.0)).for_each(|(to, from)| *to = from);
        digits
    }
}

/// A fingerprint of `N` ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digits<const N: usize>([u8; N]);

impl<const N: usize> AsRef<[u8]> for Digits<N> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> std::ops::Deref for Digits<N> {
    type Target = str;

    fn deref(&self) -> &str {
        // They are ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Digits<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl<const N: usize> fmt::Debug for Digits<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What was worked out before.
#[derive(Debug)]
pub(super) struct Prints {
    ja3: Memo<Md5Hash>,
    ja3s: Memo<Md5Hash>,
    ja4: Memo<Arc<Ja4>>,
    /// The inputs at hand.
    ja3_input: Vec<u8>,
    ja4_input: Vec<u8>,
}

impl Prints {
    /// Knows nothing. At most 256 × (1 + 1/4 + 4) KiB.
    pub(super) const fn new() -> Self {
        Self {
            ja3: Memo::new(64, 1024),
            ja3s: Memo::new(64, 256),
            ja4: Memo::new(64, 4096),
            ja3_input: Vec::new(),
            ja4_input: Vec::new(),
        }
    }

    /// JA3, JA4 and JA4_r of a whole ClientHello.
    pub(super) fn client(&mut self, hello: &ClientHello<'_>) -> ClientFingerprints {
        let lists = Lists::of(hello);
        lists.inputs(&mut self.ja3_input, &mut self.ja4_input);
        let (ja3, _) = self.ja3.get(&self.ja3_input, || ja3(&lists));
        let ja4 = self.ja4.get(&self.ja4_input, || Arc::new(ja4(&lists)));
        ClientFingerprints { ja3, ja4: Kept::of(ja4) }
    }

    /// JA3S of a whole ServerHello.
    pub(super) fn ja3s(&mut self, hello: &ServerHello<'_>) -> Md5Hash {
        let input = &mut self.ja3_input;
        input.clear();
        push(input, [hello.legacy_version, hello.cipher_suite].into_iter());
        push(input, server_types(hello));
        self.ja3s.get(input, || ja3s_hash(hello)).0
    }
}

/// JA4 in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ja4 {
    hashed: Digits<36>,
    raw: Box<str>,
}

impl Value for Arc<Ja4> {
    fn memory(&self) -> usize {
        self.raw.len()
    }

    fn is_held(&self) -> bool {
        Self::strong_count(self) > 1
    }
}

impl Value for Md5Hash {
    fn memory(&self) -> usize {
        0
    }

    fn is_held(&self) -> bool {
        false
    }
}

/// JA3, JA4 and JA4_r of a whole ClientHello, from the start.
#[must_use]
pub fn client(hello: &ClientHello<'_>) -> ClientFingerprints {
    let lists = Lists::of(hello);
    ClientFingerprints { ja3: ja3(&lists), ja4: Kept::of((Arc::new(ja4(&lists)), false)) }
}

/// JA3S of a whole ServerHello: 32 hexadecimal digits.
#[must_use]
pub fn ja3s(hello: &ServerHello<'_>) -> Digits<32> {
    ja3s_hash(hello).digits()
}

fn ja3s_hash(hello: &ServerHello<'_>) -> Md5Hash {
    let mut line = Vec::with_capacity(64);
    digits::decimal(&mut line, hello.legacy_version);
    line.push(b',');
    digits::decimal(&mut line, hello.cipher_suite);
    line.push(b',');
    join_decimal(&mut line, server_types(hello));
    md5(&line)
}

fn server_types(hello: &ServerHello<'_>) -> impl Iterator<Item = u16> {
    hello.extensions.iter().map(|extension| extension.extension_type)
}

/// What fingerprints are made of, GREASE included.
struct Lists<'a> {
    legacy_version: u16,
    suites: U16List<'a>,
    extensions: Extensions<'a>,
    groups: U16List<'a>,
    point_formats: &'a [u8],
    algorithms: U16List<'a>,
    /// The highest offered version in JA4's two characters.
    version: [u8; 2],
    /// The first protocol, likewise.
    alpn: [u8; 2],
}

impl<'a> Lists<'a> {
    fn of(hello: &ClientHello<'a>) -> Self {
        Self {
            legacy_version: hello.legacy_version,
            suites: hello.cipher_suites,
            extensions: hello.extensions,
            groups: hello.supported_groups(),
            point_formats: hello.point_formats(),
            algorithms: hello.signature_algorithms(),
            version: *ja4_version(hello),
            alpn: ja4_alpn(hello),
        }
    }

    fn suites(&self) -> impl Iterator<Item = u16> {
        without_grease(self.suites.iter())
    }

    fn extensions(&self) -> impl Iterator<Item = u16> {
        without_grease(self.extensions.iter().map(|extension| extension.extension_type))
    }

    fn groups(&self) -> impl Iterator<Item = u16> {
        without_grease(self.groups.iter())
    }

    fn point_formats(&self) -> impl Iterator<Item = u16> {
        self.point_formats.iter().copied().map(u16::from)
    }

    fn algorithms(&self) -> impl Iterator<Item = u16> {
        without_grease(self.algorithms.iter())
    }

    /// All that JA3 and JA4 are made of, as numbers. Clients that shuffle their extensions have one JA4, so
    /// those are sorted there.
    fn inputs(&self, ja3: &mut Vec<u8>, ja4: &mut Vec<u8>) {
        ja4.clear();
        ja4.extend_from_slice(&self.version);
        ja4.extend_from_slice(&self.alpn);
        push_list(ja4, self.suites);
        separate(ja4);
        let start = ja4.len();
        push(ja4, self.extensions());

        ja3.clear();
        ja3.extend_from_slice(&self.legacy_version.to_be_bytes());
        // Suites and extensions are the same so far.
        ja3.extend_from_slice(ja4.get(self.version.len() + self.alpn.len()..).unwrap_or_default());
        separate(ja3);
        push_list(ja3, self.groups);
        separate(ja3);
        ja3.extend_from_slice(self.point_formats);

        if let Some(extensions) = ja4.get_mut(start..) {
            extensions.as_chunks_mut::<2>().0.sort_unstable();
        }
        separate(ja4);
        push_list(ja4, self.algorithms);
    }
}

/// Begins another list: by a GREASE value, since none of the lists has one.
fn separate(key: &mut Vec<u8>) {
    key.extend_from_slice(&[0x0a, 0x0a]);
}

/// A list without its GREASE.
fn push_list(key: &mut Vec<u8>, list: U16List<'_>) {
    if list.iter().fold(false, |any, value| any | is_grease(value)) {
        push(key, without_grease(list.iter()));
    } else {
        key.extend_from_slice(list.as_bytes());
    }
}

fn push(key: &mut Vec<u8>, values: impl Iterator<Item = u16>) {
    for value in values {
        key.extend_from_slice(&value.to_be_bytes());
    }
}

fn ja3(lists: &Lists<'_>) -> Md5Hash {
    let mut line = Vec::with_capacity(512);
    digits::decimal(&mut line, lists.legacy_version);
    line.push(b',');
    join_decimal(&mut line, lists.suites());
    line.push(b',');
    join_decimal(&mut line, lists.extensions());
    line.push(b',');
    join_decimal(&mut line, lists.groups());
    line.push(b',');
    join_decimal(&mut line, lists.point_formats());
    md5(&line)
}

fn ja4(lists: &Lists<'_>) -> Ja4 {
    let mut suites: Vec<u16> = lists.suites().collect();
    let mut extensions: Vec<u16> = lists.extensions().collect();
    let [v1, v2] = lists.version;
    let domain = if extensions.contains(&SERVER_NAME) { b'd' } else { b'i' };
    let [s1, s2] = two_digits(suites.len());
    let [e1, e2] = two_digits(extensions.len());
    let [a1, a2] = lists.alpn;
    let start = [b't', v1, v2, domain, s1, s2, e1, e2, a1, a2, b'_'];
    suites.sort_unstable();
    extensions.retain(|extension| ![SERVER_NAME, ALPN].contains(extension));
    extensions.sort_unstable();
    let suites = join_hex(suites.into_iter());
    let mut extensions = join_hex(extensions.into_iter());
    let algorithms = join_hex(lists.algorithms());
    let hashes = [&ja4_hash(&suites)[..], b"_"].concat();
    if !algorithms.is_empty() && !extensions.is_empty() {
        extensions.push(b'_');
        extensions.extend_from_slice(&algorithms);
    }
    let mut hashed = Digits([b'0'; 36]);
    let text = start.iter().chain(&hashes);
    let hash = ja4_hash(&extensions);
    hashed.0.iter_mut().zip(text.chain(&hash)).for_each(|(to, from)| *to = *from);
    let raw = [&start[..], &suites, b"_", &extensions].concat();
    Ja4 { hashed, raw: String::from_utf8(raw).unwrap_or_default().into() }
}

/// A count in two digits, at most 99.
fn two_digits(count: usize) -> [u8; 2] {
    let count = u8::try_from(count).unwrap_or(u8::MAX).min(99);
    [b'0' + count / 10, b'0' + count % 10]
}

/// The highest offered version in JA4's two characters.
fn ja4_version(hello: &ClientHello<'_>) -> &'static [u8; 2] {
    match without_grease(hello.offered_versions()).max() {
        Some(0x0304) => b"13",
        Some(0x0303) => b"12",
        Some(0x0302) => b"11",
        Some(0x0301) => b"10",
        Some(0x0300) => b"s3",
        Some(0x0002) => b"s2",
        _ => b"00",
    }
}

/// The first and last character of the first protocol; of its hexadecimal form if one of them is no
/// ASCII letter or digit.
fn ja4_alpn(hello: &ClientHello<'_>) -> [u8; 2] {
    let first = hello.alpn().and_then(|mut protocols| protocols.next());
    let Some(([head, ..], [.., tail])) = first.map(|name| (name, name)) else {
        return *b"00";
    };
    if head.is_ascii_alphanumeric() && tail.is_ascii_alphanumeric() {
        return [*head, *tail];
    }
    [digits::nibble(head >> 4), digits::nibble(*tail)]
}

/// Twelve digits of the list's SHA-256; of no list, zeros.
pub(super) fn ja4_hash(list: &[u8]) -> [u8; 12] {
    let mut text = [b'0'; 12];
    if !list.is_empty() {
        let hash = Sha256::digest(list);
        text.iter_mut().zip(digits::pairs(&hash)).for_each(|(to, digit)| *to = digit);
    }
    text
}

fn md5(line: &[u8]) -> Md5Hash {
    Md5Hash(Md5::digest(line).into())
}

fn without_grease(values: impl Iterator<Item = u16>) -> impl Iterator<Item = u16> {
    values.filter(|value| !is_grease(*value))
}

fn join_decimal(line: &mut Vec<u8>, values: impl Iterator<Item = u16>) {
    for (place, value) in without_grease(values).enumerate() {
        if place > 0 {
            line.push(b'-');
        }
        digits::decimal(line, value);
    }
}

fn join_hex(values: impl Iterator<Item = u16>) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    for (place, value) in values.enumerate() {
        if place > 0 {
            line.push(b',');
        }
        line.extend_from_slice(&digits::hexadecimal(value));
    }
    line
}
