//! TLS records in the captured part of one segment.
//!
//! ```text
//!  payload  | header | fragment ... | header | fragment ... | header | fragm      captured
//!                                                                      ─────► cut off
//! ```
//!
//! The first record's header was found by the kernel or by the walk over a file; those behind it must
//! pass the same test.

use tls_sniff_common::record::{RECORD_HEADER_LEN, RecordHeader};

/// One record, as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Content type, version and length.
    pub header: RecordHeader,
    /// The captured part of the fragment, at most `header.length` bytes.
    pub fragment: &'a [u8],
}

impl Record<'_> {
    /// Whether all of the fragment was captured.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.fragment.len() == usize::from(self.header.length)
    }
}

/// Walks the records of a payload that starts with one; ends at the first bytes that are no record.
pub fn records(payload: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<RECORD_HEADER_LEN>()?;
        let header = RecordHeader::recognise(*head)?;
        let captured = behind.len().min(usize::from(header.length));
        let (fragment, next) = behind.split_at_checked(captured)?;
        rest = next;
        Some(Record { header, fragment })
    })
}
