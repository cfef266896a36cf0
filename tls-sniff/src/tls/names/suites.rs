//! Cipher suites, IANA "TLS Cipher Suites".

use std::{array, sync::LazyLock};

use tls_parser::CIPHERS;

use super::{CodePoint, grease, shown};

/// A cipher suite by its IANA name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherSuite(pub u16);

impl CodePoint for CipherSuite {
    fn name(self) -> Option<&'static str> {
        let [high, low] = self.0.to_be_bytes();
        *NAMES.get(usize::from(high))?.as_ref()?.get(usize::from(low))?
    }
}

shown! { CipherSuite: "{:#06x}" }

/// Names by the first byte, then by the second; few first bytes have any.
type Names = [Option<Box<[Option<&'static str>; 256]>>; 256];

/// tls-parser's table is found by a hash, which costs more than writing the name, thirty times for each hello.
static NAMES: LazyLock<Box<Names>> = LazyLock::new(|| {
    let mut names: Box<Names> = Box::new(array::from_fn(|_| None));
    // Signalling values are no suites to tls-parser.
    let signals = [(0x00ff, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"), (0x5600, "TLS_FALLBACK_SCSV")];
    let grease = (0..16).map(|n| 0x0a0a + n * 0x1010).filter_map(|n| Some((n, grease(n)?)));
    let suites = CIPHERS.values().map(|suite| (suite.id.0, suite.name));
    for (number, name) in suites.chain(signals).chain(grease) {
        let [high, low] = number.to_be_bytes();
        if let Some(page) = names.get_mut(usize::from(high))
            && let Some(place) =
                page.get_or_insert_with(|| Box::new([None; 256])).get_mut(usize::from(low))
        {
            *place = Some(name);
        }
    }
    names
});
