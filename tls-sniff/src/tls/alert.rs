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
    /// Reads the fragment of an alert record of `record_length` bytes: `None` if it is encrypted, which
    /// makes it longer, or cut off.
    #[must_use]
    pub const fn parse(fragment: &[u8], record_length: u16) -> Option<Self> {
        match (fragment, record_length) {
            ([level @ (1 | 2), description], 2) => Some(Self {
                level: AlertLevel(*level),
                description: AlertDescription(*description),
            }),
            _ => None,
        }
    }
}
