//! Alerts: RFC 8446 section 6.

use super::names::{AlertDescription, AlertLevel};

/// An alert in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// warning or fatal.
    pub level: AlertLevel,
    /// Why.
    pub description: AlertDescription,
}

impl Alert {
    /// Reads the fragment of an alert record of `record_length` bytes: `None` if it is cut off, or longer
    /// than an alert in plaintext is.
    #[must_use]
    pub const fn parse(fragment: &[u8], record_length: u16) -> Option<Self> {
        match (fragment, record_length) {
            ([level, description], PLAINTEXT_LEN) => Some(Self {
                level: AlertLevel(*level),
                description: AlertDescription(*description),
            }),
            _ => None,
        }
    }

    /// Whether its level says that the connection can go on.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        self.level.0 == 1
    }
}

/// Bytes of an alert in plaintext; encryption makes it longer.
pub const PLAINTEXT_LEN: u16 = 2;
