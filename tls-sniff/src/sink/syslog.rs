//! Syslog messages, one for each line.
//!
//! ```text
//!  local socket   <30>Nov 25 02:58:47 tls-sniff[4711]: {"timestamp":…}
//!  TCP            1234 <30>1 2026-11-25T02:58:47.123456Z host tls-sniff 4711 - - {"timestamp":…}
//!                 └ octets that follow (RFC 6587)
//! ```
//!
//! Behind the local socket rsyslog and journald expect the form of syslog(3), not RFC 5424.

use std::{fmt, io::Write as _, process, str::FromStr, sync::OnceLock};

use jiff::{Timestamp, tz::TimeZone};
use nix::sys::utsname::uname;

/// `info` of RFC 5424 section 6.2.1: events are no trouble of this program.
const SEVERITY: u8 = 6;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// Where a message comes from, as RFC 5424 section 6.2.1 numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Default for Facility {
    /// `daemon`
    fn default() -> Self {
        Self(3)
    }
}

impl FromStr for Facility {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = (0..).zip(FACILITIES).find(|(_, name)| *name == text);
        let number = number.map(|(number, _)| Self(number));
        number.ok_or_else(|| format!("one of {}", FACILITIES.join(", ")))
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FACILITIES.get(usize::from(self.0)).copied().unwrap_or_default())
    }
}

/// Whose messages they are: APP-NAME of RFC 5424 section 6.2.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppName(String);

impl Default for AppName {
    fn default() -> Self {
        Self("tls-sniff".to_owned())
    }
}

impl FromStr for AppName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // In the local form a colon or a bracket ends it.
        let fits = |byte: u8| byte.is_ascii_graphic() && !b":[]".contains(&byte);
        if (1..=48).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err("1 to 48 printable characters of ASCII, none of them a colon or a bracket".to_owned())
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The system's time zone, as it was when this was called first: a sandbox may not let its file be read later.
pub(crate) fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| TimeZone::try_system().unwrap_or(TimeZone::UTC)).clone()
}

/// What each message begins with.
#[derive(Debug)]
pub struct Header {
    priority: u8,
    app_name: AppName,
    host: String,
    zone: TimeZone,
}

impl Header {
    /// Asks the system for its name.
    #[must_use]
    pub fn new(facility: Facility, app_name: AppName) -> Self {
        let system = uname().ok();
        let host = system.and_then(|system| system.nodename().to_str().map(str::to_owned));
        let fits = |name: &String| !name.is_empty() && name.bytes().all(|it| it.is_ascii_graphic());
        Self {
            priority: facility.0 * 8 + SEVERITY,
            app_name,
            // NILVALUE of RFC 5424.
            host: host.filter(fits).unwrap_or_else(|| "-".to_owned()),
            zone: zone(),
        }
    }

    /// Of a local message at `now`.
    pub(super) fn local(&self, now: Timestamp) -> String {
        let Self { priority, app_name, zone, .. } = self;
        let time = now.to_zoned(zone.clone()).strftime("%b %e %H:%M:%S").to_string();
        format!("<{priority}>{time} {app_name}[{}]: ", process::id())
    }

    /// Of a message of RFC 5424 at `now`.
    pub(super) fn rfc_5424(&self, now: Timestamp) -> String {
        let Self { priority, app_name, host, .. } = self;
        let pid = process::id();
        format!("<{priority}>1 {now:.6} {host} {app_name} {pid} - - ")
    }
}

/// Appends a message with the count of its octets.
pub(super) fn counted(header: &str, message: &[u8], out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _infallible = write!(out, "{} ", header.len() + message.len());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_the_rfcs_have_them() {
        let facility = "local3".parse().unwrap();
        let mut header = Header::new(facility, AppName::default());
        (header.host, header.zone) = ("host".to_owned(), TimeZone::UTC);
        let now = Timestamp::new(1_795_575_527, 1_000).unwrap();
        let pid = process::id();
        assert_eq!(header.local(now), format!("<158>Nov 25 02:58:47 tls-sniff[{pid}]: "));
        let rfc_5424 = format!("<158>1 2026-11-25T02:58:47.000001Z host tls-sniff {pid} - - ");
        assert_eq!(header.rfc_5424(now), rfc_5424);
        let mut out = Vec::new();
        counted("<30>1 ", "ü".as_bytes(), &mut out);
        assert_eq!(out, "8 <30>1 ü".as_bytes());
    }
}
