//! Code points of the hellos: IANA "TLS Supported Groups", "TLS SignatureScheme", "TLS ExtensionType
//! Values" and the small registries beside them.

use super::{CodePoint, grease, shown};

shown! {
    NamedGroup: "{:#06x}"
    SignatureScheme: "{:#06x}"
    ExtensionType: "{:#06x}"
    CertificateCompression: "{:#06x}"
    PskKeyExchangeMode: "{:#04x}"
    CompressionMethod: "{:#04x}"
}

/// A named group of the key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedGroup(pub u16);

impl NamedGroup {
    /// Whether it holds against a quantum computer as far as is known: ML-KEM, alone or with a curve, or
    /// Kyber, its draft.
    #[must_use]
    pub const fn is_post_quantum(self) -> bool {
        matches!(self.0, 0x0200..=0x0202 | 0x11eb..=0x11ee | 0x2f39 | 0x2f3a | 0x2f3c | 0x2f3d
            | 0x4138 | 0x6399 | 0x639a | 0xfe30 | 0xfe31)
    }

    /// Whether it is post-quantum together with a curve, so that who breaks one of them has gained nothing.
    #[must_use]
    pub const fn is_hybrid(self) -> bool {
        self.is_post_quantum() && !matches!(self.0, 0x0200..=0x0202)
    }
}

impl CodePoint for NamedGroup {
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "sect163k1",
            2 => "sect163r1",
            3 => "sect163r2",
            4 => "sect193r1",
            5 => "sect193r2",
            6 => "sect233k1",
            7 => "sect233r1",
            8 => "sect239k1",
            9 => "sect283k1",
            10 => "sect283r1",
            11 => "sect409k1",
            12 => "sect409r1",
            13 => "sect571k1",
            14 => "sect571r1",
            15 => "secp160k1",
            16 => "secp160r1",
            17 => "secp160r2",
            18 => "secp192k1",
            19 => "secp192r1",
            20 => "secp224k1",
            21 => "secp224r1",
            22 => "secp256k1",
            23 => "secp256r1",
            24 => "secp384r1",
            25 => "secp521r1",
            26 => "brainpoolP256r1",
            27 => "brainpoolP384r1",
            28 => "brainpoolP512r1",
            29 => "x25519",
            30 => "x448",
            31 => "brainpoolP256r1tls13",
            32 => "brainpoolP384r1tls13",
            33 => "brainpoolP512r1tls13",
            34 => "GC256A",
            35 => "GC256B",
            36 => "GC256C",
            37 => "GC256D",
            38 => "GC512A",
            39 => "GC512B",
            40 => "GC512C",
            41 => "curveSM2",
            0x0100 => "ffdhe2048",
            0x0101 => "ffdhe3072",
            0x0102 => "ffdhe4096",
            0x0103 => "ffdhe6144",
            0x0104 => "ffdhe8192",
            0x0200 => "MLKEM512",
            0x0201 => "MLKEM768",
            0x0202 => "MLKEM1024",
            0x11eb => "SecP256r1MLKEM768",
            0x11ec => "X25519MLKEM768",
            0x11ed => "SecP384r1MLKEM1024",
            0x11ee => "curveSM2MLKEM768",
            // Google's experiment of 2019 to 2023.
            0x4138 => "CECPQ2",
            0x6399 => "X25519Kyber768Draft00",
            0x639a => "SecP256r1Kyber768Draft00",
            0xff01 => "arbitrary_explicit_prime_curves",
            0xff02 => "arbitrary_explicit_char2_curves",
            other => return grease(other),
        })
    }
}

/// A signature algorithm; the pairs of hash and signature that only TLS 1.2 has keep their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureScheme(pub u16);

impl CodePoint for SignatureScheme {
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0201 => "rsa_pkcs1_sha1",
            0x0203 => "ecdsa_sha1",
            0x0401 => "rsa_pkcs1_sha256",
            0x0403 => "ecdsa_secp256r1_sha256",
            0x0420 => "rsa_pkcs1_sha256_legacy",
            0x0501 => "rsa_pkcs1_sha384",
            0x0503 => "ecdsa_secp384r1_sha384",
            0x0520 => "rsa_pkcs1_sha384_legacy",
            0x0601 => "rsa_pkcs1_sha512",
            0x0603 => "ecdsa_secp521r1_sha512",
            0x0620 => "rsa_pkcs1_sha512_legacy",
            0x0704 => "eccsi_sha256",
            0x0705 => "iso_ibs1",
            0x0706 => "iso_ibs2",
            0x0707 => "iso_chinese_ibs",
            0x0708 => "sm2sig_sm3",
            0x0709 => "gostr34102012_256a",
            0x070a => "gostr34102012_256b",
            0x070b => "gostr34102012_256c",
            0x070c => "gostr34102012_256d",
            0x070d => "gostr34102012_512a",
            0x070e => "gostr34102012_512b",
            0x070f => "gostr34102012_512c",
            0x0804 => "rsa_pss_rsae_sha256",
            0x0805 => "rsa_pss_rsae_sha384",
            0x0806 => "rsa_pss_rsae_sha512",
            0x0807 => "ed25519",
            0x0808 => "ed448",
            0x0809 => "rsa_pss_pss_sha256",
            0x080a => "rsa_pss_pss_sha384",
            0x080b => "rsa_pss_pss_sha512",
            0x081a => "ecdsa_brainpoolP256r1tls13_sha256",
            0x081b => "ecdsa_brainpoolP384r1tls13_sha384",
            0x081c => "ecdsa_brainpoolP512r1tls13_sha512",
            0x0904 => "mldsa44",
            0x0905 => "mldsa65",
            0x0906 => "mldsa87",
            other => return grease(other),
        })
    }
}

/// An extension of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionType(pub u16);

impl CodePoint for ExtensionType {
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "server_name",
            1 => "max_fragment_length",
            2 => "client_certificate_url",
            3 => "trusted_ca_keys",
            4 => "truncated_hmac",
            5 => "status_request",
            6 => "user_mapping",
            7 => "client_authz",
            8 => "server_authz",
            9 => "cert_type",
            10 => "supported_groups",
            11 => "ec_point_formats",
            12 => "srp",
            13 => "signature_algorithms",
            14 => "use_srtp",
            15 => "heartbeat",
            16 => "application_layer_protocol_negotiation",
            17 => "status_request_v2",
            18 => "signed_certificate_timestamp",
            19 => "client_certificate_type",
            20 => "server_certificate_type",
            21 => "padding",
            22 => "encrypt_then_mac",
            23 => "extended_master_secret",
            24 => "token_binding",
            25 => "cached_info",
            26 => "tls_lts",
            27 => "compress_certificate",
            28 => "record_size_limit",
            29 => "pwd_protect",
            30 => "pwd_clear",
            31 => "password_salt",
            32 => "ticket_pinning",
            33 => "tls_cert_with_extern_psk",
            34 => "delegated_credential",
            35 => "session_ticket",
            36 => "TLMSP",
            37 => "TLMSP_proxying",
            38 => "TLMSP_delegate",
            39 => "supported_ekt_ciphers",
            41 => "pre_shared_key",
            42 => "early_data",
            43 => "supported_versions",
            44 => "cookie",
            45 => "psk_key_exchange_modes",
            47 => "certificate_authorities",
            48 => "oid_filters",
            49 => "post_handshake_auth",
            50 => "signature_algorithms_cert",
            51 => "key_share",
            52 => "transparency_info",
            54 => "connection_id",
            55 => "external_id_hash",
            56 => "external_session_id",
            57 => "quic_transport_parameters",
            58 => "ticket_request",
            59 => "dnssec_chain",
            60 => "sequence_number_encryption_algorithms",
            61 => "rrc",
            62 => "tls_flags",
            64768 => "ech_outer_extensions",
            65037 => "encrypted_client_hello",
            65281 => "renegotiation_info",
            // In use, and not IANA's.
            13172 => "next_protocol_negotiation",
            17513 => "application_settings_old",
            17613 => "application_settings",
            30031 => "channel_id_old",
            30032 => "channel_id",
            65486 => "encrypted_server_name",
            other => return grease(other),
        })
    }
}

/// How the server may compress its certificates, RFC 8879.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateCompression(pub u16);

impl CodePoint for CertificateCompression {
    fn name(self) -> Option<&'static str> {
        match self.0 {
            1 => Some("zlib"),
            2 => Some("brotli"),
            3 => Some("zstd"),
            other => grease(other),
        }
    }
}

/// How a pre-shared key may be used, RFC 8446 section 4.2.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PskKeyExchangeMode(pub u8);

impl CodePoint for PskKeyExchangeMode {
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "psk_ke",
            1 => "psk_dhe_ke",
            // RFC 8701 section 2.
            0x0b => "GREASE (0x0b)",
            0x2a => "GREASE (0x2a)",
            0x49 => "GREASE (0x49)",
            0x68 => "GREASE (0x68)",
            0x87 => "GREASE (0x87)",
            0xa6 => "GREASE (0xa6)",
            0xc5 => "GREASE (0xc5)",
            0xe4 => "GREASE (0xe4)",
            _ => return None,
        })
    }
}

/// How a hello offers to compress records, IANA "TLS Compression Method Identifiers".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionMethod(pub u8);

impl CodePoint for CompressionMethod {
    fn name(self) -> Option<&'static str> {
        match self.0 {
            0 => Some("null"),
            1 => Some("DEFLATE"),
            64 => Some("LZS"),
            _ => None,
        }
    }
}
