//! Suites against the columns of tls-parser's own table, certificates against how they were made.

use tls_parser::{TlsCipherAu, TlsCipherEnc, TlsCipherKx, TlsCipherSuite};

use super::certificates::{
    CA_P521, DAY, DSA_1024, ED25519, LEAF_P256, LEAF_SHA1, MADE, RSA_1023, certificate,
};
use crate::tls::weakness::{self, Weakness};

fn words(version: u16, suite: u16) -> Vec<&'static str> {
    weakness::of(Some(version), Some(suite), None, 0).into_iter().map(Weakness::as_str).collect()
}

#[test]
fn suites_by_name() {
    let none: [&str; 0] = [];
    assert_eq!(words(0x0304, 0x1301), none);
    assert_eq!(words(0x0303, 0xc02f), none);
    assert_eq!(words(0x0303, 0x009c), ["no_forward_secrecy"]);
    assert_eq!(words(0x0301, 0x0005), ["version_below_tls_1_2", "rc4", "no_forward_secrecy"]);
    assert_eq!(words(0x0303, 0xc012), ["3des"]);
    // TLS_RSA_EXPORT_WITH_DES40_CBC_SHA, TLS_RSA_EXPORT1024_WITH_RC4_56_SHA.
    assert_eq!(words(0x0303, 0x0008), ["des", "export", "no_forward_secrecy"]);
    assert_eq!(words(0x0303, 0x0064), ["rc4", "export", "no_forward_secrecy"]);
    // TLS_DH_anon_EXPORT_WITH_RC4_40_MD5, TLS_ECDH_anon_WITH_NULL_SHA.
    assert_eq!(words(0x0303, 0x0017), ["rc4", "export", "anonymous"]);
    assert_eq!(words(0x0303, 0xc015), ["null_encryption", "anonymous"]);
    assert_eq!(words(0x0303, 0), ["null_encryption", "anonymous", "no_forward_secrecy"]);
    // TLS_PSK_DHE_WITH_AES_128_CCM_8 has Diffie-Hellman, TLS_PSK_WITH_AES_128_CCM has not.
    assert_eq!(words(0x0303, 0xc0aa), none);
    assert_eq!(words(0x0303, 0xc0a4), ["no_forward_secrecy"]);
    // TLS_SHA256_SHA256: integrity alone, RFC 9150.
    assert_eq!(words(0x0304, 0xc0b4), ["null_encryption"]);
    // No suites: signalling values, GREASE, one that nobody has registered.
    assert_eq!(
        [words(0x0303, 0x00ff), words(0x0303, 0x0a0a), words(0x0303, 0xeeee)].concat(),
        none
    );
    assert!(weakness::of(None, Some(0x1301), None, 0).is_empty());
}

/// What the names say, for each of the suites, is what the table's columns say.
#[test]
fn suites_by_the_columns_of_the_table() {
    for id in 0..=u16::MAX {
        let Some(suite) = TlsCipherSuite::from_id(id) else { continue };
        // Signalling values are no suites.
        if matches!(id, 0x00ff | 0x5600) {
            continue;
        }
        let found = weakness::of(Some(0x0303), Some(id), None, 0);
        let has = |weakness| found.contains(&weakness);
        let name = suite.name;
        assert_eq!(has(Weakness::Rc4), suite.enc == TlsCipherEnc::Rc4, "{name}");
        assert_eq!(has(Weakness::TripleDes), suite.enc == TlsCipherEnc::TripleDes, "{name}");
        let des = matches!(suite.enc, TlsCipherEnc::Des | TlsCipherEnc::Rc2);
        assert_eq!(has(Weakness::Des), des, "{name}");
        assert_eq!(has(Weakness::NullEncryption), suite.enc == TlsCipherEnc::Null, "{name}");
        // ECCPWD has no authentication of its own in the table: the password is in the exchange.
        let anonymous = suite.au == TlsCipherAu::Null && suite.kx != TlsCipherKx::Eccpwd;
        assert_eq!(has(Weakness::Anonymous), anonymous, "{name}");
        let ephemeral = match suite.kx {
            TlsCipherKx::Dhe | TlsCipherKx::Ecdhe | TlsCipherKx::Tls13 => true,
            TlsCipherKx::Srp | TlsCipherKx::Eccpwd => true,
            // Diffie-Hellman without a certificate is ephemeral, with one it is the certificate's.
            TlsCipherKx::Dh | TlsCipherKx::Ecdh => anonymous,
            TlsCipherKx::Psk => suite.au == TlsCipherAu::Dhe,
            _ => false,
        };
        assert_eq!(has(Weakness::NoForwardSecrecy), !ephemeral, "{name}");
    }
}

#[test]
fn certificates() {
    let words = |hex, now| -> Vec<&str> {
        let found = weakness::of(Some(0x0303), Some(0xc02f), Some(&certificate(hex)), now);
        found.into_iter().map(Weakness::as_str).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(words(LEAF_P256, MADE), none);
    assert_eq!(words(CA_P521, MADE), none);
    assert_eq!(words(LEAF_P256, MADE - 1), ["not_yet_valid_certificate"]);
    assert_eq!(words(LEAF_P256, MADE + 60 * DAY), none);
    assert_eq!(words(LEAF_P256, MADE + 60 * DAY + 1), ["expiring_certificate"]);
    // Its last second counts (RFC 5280 section 4.1.2.5).
    assert_eq!(words(LEAF_P256, MADE + 90 * DAY), ["expiring_certificate"]);
    assert_eq!(words(LEAF_P256, MADE + 90 * DAY + 1), ["expired_certificate"]);
    assert_eq!(words(LEAF_SHA1, MADE), ["sha1_certificate"]);
    assert_eq!(words(RSA_1023, MADE + 1), ["short_rsa_key"]);
    assert_eq!(words(ED25519, MADE), none);
    // Signed by itself: the signature says nothing, its hash neither.
    assert_eq!(words(DSA_1024, MADE + 1), none);
}
