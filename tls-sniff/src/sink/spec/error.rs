//! Why a text is no output: one line for the operator.

use super::OutputSpec;

/// Why a text is no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputSpecError {
    /// No kind of target.
    #[error(
        "{0:?} is no output: stdout, file:PATH, unix:PATH, unixgram:PATH, syslog, syslog:unix:PATH, syslog+tcp:HOST:PORT"
    )]
    Target(String),
    /// Nothing behind the colon.
    #[error("{0} names no file")]
    NoPath(String),
    /// More than an address has room for (unix(7)).
    #[error("{0} is too long for a socket: at most 107 bytes")]
    LongPath(String),
    /// No host and port.
    #[error("{0:?} is no HOST:PORT, such as logs.example.org:601 or [2001:db8::1]:601")]
    HostPort(String),
    /// A backslash before something else.
    #[error(r"a backslash stands before a comma or another backslash, not before {0:?}")]
    Escape(String),
    /// No `=`.
    #[error("{0:?} is no option: NAME=VALUE; a comma in a path is written \\,")]
    NoValue(String),
    /// No such option.
    #[error("an output has no option {0:?}; there are: {options}", options = OutputSpec::names())]
    Unknown(String),
    /// Twice.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// An option of another target.
    #[error("{option} is for {of}, not for {target}")]
    NotFor {
        /// The option.
        option: &'static str,
        /// Whose it is.
        of: &'static str,
        /// Where it was given.
        target: String,
    },
    /// A value that the option does not take.
    #[error("{option}={value}: {expected}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// A profile of JSON for text.
    #[error("profile is for format=json, not for text")]
    ProfileOfText,
    /// `keep` alone.
    #[error("keep counts files, but without max-size or max-age there is only one")]
    KeepAlone,
}
