//! Checked reading of TLS's presentation language (RFC 8446 section 3): big-endian numbers, and vectors
//! behind their length.

/// What is wrong with a message, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The bytes at hand end inside a field: the message goes on elsewhere, or was cut.
    #[error("{0} is cut off")]
    Cut(&'static str),
    /// A field says something that it must not say, or contradicts the length around it.
    #[error("{0} is invalid")]
    Invalid(&'static str),
}

impl ParseError {
    /// Whether more bytes might have helped.
    #[must_use]
    pub const fn is_cut(self) -> bool {
        matches!(self, Self::Cut(_))
    }
}

/// A cursor over the bytes of a message. `whole` says whether its end is the end of the structure, or
/// only of what was captured: reading beyond it is invalid in the first case and cut in the second.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    whole: bool,
}

impl<'a> Reader<'a> {
    /// Reads a structure that is all there.
    #[must_use]
    pub const fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, whole: true }
    }

    /// Reads a structure of `length` bytes, of which `bytes` are at hand.
    #[must_use]
    pub const fn of_length(bytes: &'a [u8], length: usize) -> Self {
        Self { bytes, whole: bytes.len() >= length }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether nothing is left and nothing is missing.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.bytes.is_empty() && self.whole
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    const fn missing(&self, field: &'static str) -> ParseError {
        if self.whole { ParseError::Invalid(field) } else { ParseError::Cut(field) }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// If fewer are left.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ParseError> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(self.missing(field))?;
        self.bytes = rest;
        Ok(*head)
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// If none is left.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, ParseError> {
        self.array(field).map(|[byte]| byte)
    }

    /// The next two bytes as a number.
    ///
    /// # Errors
    ///
    /// If fewer are left.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, ParseError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// The next `length` bytes, to be read on their own.
    ///
    /// # Errors
    ///
    /// If the structure ends before them. If only the capture does, what is there is given, as cut.
    #[inline]
    pub fn part(&mut self, length: usize, field: &'static str) -> Result<Self, ParseError> {
        if let Some((part, rest)) = self.bytes.split_at_checked(length) {
            self.bytes = rest;
            return Ok(Self { bytes: part, whole: true });
        }
        if self.whole {
            return Err(ParseError::Invalid(field));
        }
        let part = Self { bytes: self.bytes, whole: false };
        self.bytes = &[];
        Ok(part)
    }

    /// A vector behind a one-byte length.
    ///
    /// # Errors
    ///
    /// As for [`Reader::part`].
    #[inline]
    pub fn vector_u8(&mut self, field: &'static str) -> Result<Self, ParseError> {
        let length = self.u8(field)?;
        self.part(length.into(), field)
    }

    /// A vector behind a two-byte length.
    ///
    /// # Errors
    ///
    /// As for [`Reader::part`].
    #[inline]
    pub fn vector_u16(&mut self, field: &'static str) -> Result<Self, ParseError> {
        let length = self.u16(field)?;
        self.part(length.into(), field)
    }

    /// The bytes of a vector, which must all be there.
    ///
    /// # Errors
    ///
    /// If some are missing.
    pub const fn complete(self, field: &'static str) -> Result<&'a [u8], ParseError> {
        if self.whole { Ok(self.bytes) } else { Err(ParseError::Cut(field)) }
    }

    /// The bytes of a vector of two-byte items, which must all be there.
    ///
    /// # Errors
    ///
    /// If some are missing, or half an item is left.
    pub fn u16_list(self, field: &'static str) -> Result<U16List<'a>, ParseError> {
        let bytes = self.complete(field)?;
        if bytes.len().is_multiple_of(2) {
            Ok(U16List(bytes))
        } else {
            Err(ParseError::Invalid(field))
        }
    }
}

/// A vector of two-byte code points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct U16List<'a>(&'a [u8]);

impl<'a> U16List<'a> {
    /// The code points in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let (pairs, _none_left) = self.0.as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_be_bytes(*pair))
    }

    /// The list as it is on the wire.
    #[must_use]
    pub(super) const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / 2
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
