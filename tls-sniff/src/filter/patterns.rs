//! Patterns for what has only some names, or one form: those that nothing can match are refused, since a filter that
//! selects nothing looks like a network on which nothing happens. One that excludes whatever there may be of something,
//! by a wildcard, is always good.

use super::{
    glob::{Glob, Place},
    value::ValueError,
};
use crate::{
    nearest::nearest,
    tls::names::{CipherSuite, CodePoint as _},
};

/// `--cipher`: names that there are, or numbers whether they have a name or not.
///
/// # Errors
///
/// If no suite goes by a name or number that matches.
pub fn cipher(text: &str) -> Result<Glob, ValueError> {
    let Ok(glob) = text.parse::<Glob>();
    let names = || (0..=u16::MAX).filter_map(|number| CipherSuite(number).name());
    if glob.excludes_some() || glob.may_match(NUMBER) || names().any(|name| glob.matches(name)) {
        return Ok(glob);
    }
    let near = nearest(&glob.text().to_uppercase(), names()).map(str::to_owned);
    Err(ValueError::Cipher { written: text.to_owned(), near })
}

/// `--ja4`: of TLS over TCP; the empty pattern is for hellos that have none, since they were not seen whole.
///
/// # Errors
///
/// If what it matches is no JA4.
pub fn ja4(text: &str) -> Result<Glob, ValueError> {
    let Ok(glob) = text.parse::<Glob>();
    let form: Vec<Place> = JA4.iter().flat_map(|(place, times)| vec![*place; *times]).collect();
    if glob.excludes_some() || glob.may_match(&[]) || glob.may_match(&form) {
        return Ok(glob);
    }
    Err(ValueError::Ja4(text.to_owned()))
}

const HEX: Place = |it| it.is_ascii_hexdigit();
const DIGIT: Place = |it| it.is_ascii_digit();

/// `0x1301`
const NUMBER: &[Place] = &[|it| it == '0', |it| it == 'x', HEX, HEX, HEX, HEX];

/// `t13d1516h2_8daaf6152771_e5627efa2ab1`, each with how often; `tls::fingerprint` says what they are.
const JA4: &[(Place, usize)] = &[
    (|it| it == 't', 1),
    (|it| matches!(it, '0' | '1' | 's'), 1),
    (|it| matches!(it, '0'..='3'), 1),
    (|it| matches!(it, 'd' | 'i'), 1),
    (DIGIT, 4),
    (|it| it.is_ascii_alphanumeric(), 2),
    (|it| it == '_', 1),
    (HEX, 12),
    (|it| it == '_', 1),
    (HEX, 12),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cipher_is_one_that_there_is_or_a_number() {
        for good in [
            "TLS_AES_128_GCM_SHA256",
            "tls_aes_128_gcm_sha256",
            "!*_RC4_*",
            "not TLS_RSA_*",
            "*",
            "?*",
            "TLS_FALLBACK_SCSV",
            // No suite has this number yet.
            "0xfefe",
            "0X13??",
            "*01",
            "!*_GOST*",
        ] {
            assert!(cipher(good).is_ok(), "{good}");
        }
        let near = |text: &str| match cipher(text) {
            Err(ValueError::Cipher { near, .. }) => near,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(near("TLS_AES_128_GCM_SHA265").as_deref(), Some("TLS_AES_128_GCM_SHA256"));
        assert_eq!(near("!tls_aes_128_gcm_sha").as_deref(), Some("TLS_AES_128_GCM_SHA256"));
        for nonsense in ["", "!TLS_AES", "1301", "0x130", "0x013011", "0x13g?", "*_RC5_*", "?"] {
            near(nonsense);
        }
    }

    #[test]
    fn a_ja4_has_its_form() {
        for good in [
            "t13d1516h2_8daaf6152771_e5627efa2ab1",
            "T13D1516H2_8DAAF6152771_E5627EFA2AB1",
            "ts3i010000_000000000000_*",
            "t13d*",
            "!t1?d????h2_*",
            "!q13d*",
            "*_8daaf6152771_*",
            "*2ab1",
            "",
            "*",
            "?*",
        ] {
            assert!(ja4(good).is_ok(), "{good}");
        }
        for nonsense in [
            "t13d1516h2",
            "t13d1516h2_8daaf6152771",
            "t13d1516h2_8daaf6152771_e5627efa2ab1*a_",
            "q13d*",
            "t14?",
            "x",
            "ja4=t13d*",
            // JA3
            "e7d705a3286e19ea42f587b344ee6865",
            "*_8daaf6152771_e5627efa2ab1_*",
        ] {
            assert_eq!(ja4(nonsense), Err(ValueError::Ja4(nonsense.to_owned())));
        }
    }
}
