//! Writing JSON without a string or a formatter in between.
//!
//! Each field is written with a comma behind it, and the end of an object or list takes the last one back.

use std::{
    fmt::{self, Display, Write as _},
    net::IpAddr,
};

use crate::{
    clock::Timestamp,
    digits,
    tls::names::{CodePoint, Printable},
};

/// Something that JSON has a form for.
pub(super) trait Value {
    /// Appends that form.
    fn write(self, out: &mut Vec<u8>);
}

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
}

/// Writes an object of the fields that `fields` gives it.
pub(super) fn object(out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fields(&mut Object { out });
    close(out, b'}');
}

fn list<V: Value>(out: &mut Vec<u8>, items: impl Iterator<Item = V>) {
    out.push(b'[');
    for item in items {
        item.write(out);
        out.push(b',');
    }
    close(out, b']');
}

/// Ends what was begun, in place of the comma behind its last item.
fn close(out: &mut Vec<u8>, end: u8) {
    match out.last_mut() {
        Some(comma @ b',') => *comma = end,
        _ => out.push(end),
    }
}

impl Object<'_> {
    /// A field. Its name needs no escapes.
    #[inline]
    pub(super) fn field(&mut self, name: &'static str, value: impl Value) {
        self.name(name);
        value.write(self.out);
        self.out.push(b',');
    }

    #[inline]
    fn name(&mut self, name: &'static str) {
        self.out.reserve(name.len() + 3);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A field, if it has a value.
    #[inline]
    pub(super) fn some(&mut self, name: &'static str, value: Option<impl Value>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// A field, if what it says is true: what is false is left out.
    #[inline]
    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.some(name, value.then_some(true));
    }

    /// A list, unless it is empty.
    pub(super) fn list<V: Value>(&mut self, name: &'static str, items: impl Iterator<Item = V>) {
        let start = self.out.len();
        self.name(name);
        let empty = self.out.len() + b"[]".len();
        list(self.out, items);
        if self.out.len() == empty {
            self.out.truncate(start);
        } else {
            self.out.push(b',');
        }
    }

    /// An object within.
    pub(super) fn object(&mut self, name: &'static str, fields: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        object(self.out, fields);
        self.out.push(b',');
    }
}

/// A list; see [`Object::list`] for one that is left out if it is empty.
pub(super) struct List<I>(pub(super) I);

impl<I: Iterator<Item: Value>> Value for List<I> {
    fn write(self, out: &mut Vec<u8>) {
        list(out, self.0);
    }
}

/// By `Display`: for what is rare, since it costs more than all else in a line.
pub(super) struct Shown<T>(pub(super) T);

impl<T: Display> Value for Shown<T> {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        // Writing to memory does not fail.
        let _infallible = write!(Escaped(out), "{}", self.0);
        out.push(b'"');
    }
}

/// Text whose characters are all known to need no escape.
pub(super) struct Plain<T>(pub(super) T);

impl<T: AsRef<[u8]>> Value for Plain<T> {
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        let text = self.0.as_ref();
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    }
}

impl<T: CodePoint> Value for T {
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        match self.name() {
            Some(name) => Plain(name).write(out),
            None => Shown(self).write(out),
        }
    }
}

/// Bytes from the network, made harmless.
impl Value for Printable<'_> {
    fn write(self, out: &mut Vec<u8>) {
        let Self(bytes) = self;
        if is_plain(bytes) {
            Plain(bytes).write(out);
        } else {
            Shown(self).write(out);
        }
    }
}

impl Value for &str {
    #[inline]
    fn write(self, out: &mut Vec<u8>) {
        if needs_escape(self.as_bytes()) {
            Shown(self).write(out);
        } else {
            Plain(self).write(out);
        }
    }
}

impl Value for bool {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self { b"true" } else { b"false" });
    }
}

macro_rules! numbers {
    ($($number:ty)*) => { $(
        impl Value for $number {
            #[inline]
            fn write(self, out: &mut Vec<u8>) {
                digits::decimal(out, self);
            }
        }
    )* };
}

numbers! { u16 u32 usize i64 u8 }

impl Value for IpAddr {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        digits::address(out, self);
        out.push(b'"');
    }
}

impl Value for Timestamp {
    fn write(self, out: &mut Vec<u8>) {
        Plain(digits::rfc_3339(self)).write(out);
    }
}

/// Escapes what is written to it.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Whether JSON has no string with one of these bytes as it is (RFC 8259 section 7).
fn needs_escape(bytes: &[u8]) -> bool {
    any_word(bytes, special)
}

/// Whether [`Printable`] shows bytes as they are, and JSON too.
fn is_plain(bytes: &[u8]) -> bool {
    // A byte above 0x7e has its upper bit set, or has once 1 is added.
    !any_word(bytes, |word| special(word) | ((word | (word & LOW).wrapping_add(ONES)) & UPPER))
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const UPPER: u64 = u64::from_ne_bytes([0x80; 8]);
const LOW: u64 = !UPPER;

/// Whether a test of eight bytes at once finds something. It must find nothing in letters.
#[inline]
fn any_word(bytes: &[u8], test: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    // The last eight overlap with those before, and so do the last four with the first.
    let last = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => u64::from_le_bytes(*last),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => rest.iter().fold(ONES * 0x61, |word, byte| word << 8 | u64::from(*byte)),
    };
    let test = |word: &[u8; 8]| test(u64::from_le_bytes(*word));
    words.iter().fold(test(&last.to_le_bytes()), |found, word| found | test(word)) != 0
}

/// Not 0 if one of eight bytes is a control character, a quote or a backslash.
const fn special(word: u64) -> u64 {
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    (below(word, 0x20) | below(quotes, 1) | below(backslashes, 1)) & UPPER
}

/// Has an upper bit set if one of eight bytes is below `limit` (Hacker's Delight, section 6-1): taken from such a
/// byte, `limit` borrows. Which one it is cannot be told, since a borrow may reach the next.
const fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(ONES * limit) & !word
}

/// Appends text with escapes: those of two characters where there is one.
fn escape(out: &mut Vec<u8>, text: &str) {
    if !needs_escape(text.as_bytes()) {
        return out.extend_from_slice(text.as_bytes());
    }
    for byte in text.bytes() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            control @ ..b' ' => {
                out.extend_from_slice(b"\\u");
                out.extend_from_slice(&digits::hexadecimal(control.into()));
                continue;
            }
            other => {
                out.push(other);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: impl Value) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn objects_and_lists() {
        let mut out = Vec::new();
        object(&mut out, |object| {
            object.field("number", 7_u16);
            object.some("absent", None::<bool>);
            object.flag("false", false);
            object.list("none", std::iter::empty::<bool>());
            object.field("empty", List(std::iter::empty::<bool>()));
            object.list("texts", ["a,", "[],"].into_iter());
            object.object("inner", |_| {});
            object.object("one", |one| one.flag("true", true));
        });
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"number":7,"empty":[],"texts":["a,","[],"],"inner":{},"one":{"true":true}}"#
        );
    }

    #[test]
    fn every_code_point_as_it_is_shown() {
        use crate::tls::names::{CipherSuite, ExtensionType, NamedGroup, SignatureScheme};
        for value in 0..=u16::MAX {
            for (written, shown) in [
                (written(CipherSuite(value)), CipherSuite(value).to_string()),
                (written(NamedGroup(value)), NamedGroup(value).to_string()),
                (written(SignatureScheme(value)), SignatureScheme(value).to_string()),
                (written(ExtensionType(value)), ExtensionType(value).to_string()),
            ] {
                assert_eq!(written, serde_json::to_string(&shown).unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn text_as_serde_json_writes_it(
            text: String,
            controls in "[\\x00-\\x7f\"\\\\é]{0,40}",
        ) {
            for text in [text, controls] {
                let expected = serde_json::to_string(&text).unwrap();
                prop_assert_eq!(written(text.as_str()), expected.clone());
                prop_assert_eq!(written(Shown(&text)), expected);
            }
        }

        #[test]
        fn bytes_of_the_network_as_they_are_shown(bytes: Vec<u8>, ascii in "[\\x00-\\x7f]{0,40}") {
            for bytes in [bytes.as_slice(), ascii.as_bytes()] {
                let shown = Printable(bytes).to_string();
                prop_assert_eq!(written(Printable(bytes)), serde_json::to_string(&shown).unwrap());
            }
        }

        #[test]
        fn numbers_and_times(number: i64, small: u16) {
            prop_assert_eq!(written(number), number.to_string());
            prop_assert_eq!(written(small), small.to_string());
            prop_assert_eq!(written(Timestamp(number)), format!("\"{}\"", Timestamp(number)));
        }
    }
}
