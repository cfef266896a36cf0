//! What an operator asks of an output: `TARGET[,NAME=VALUE]…`, as `--output` takes it.
//!
//! ```text
//!  stdout                                  file:/var/log/tls-sniff/events.json,max-size=100MiB,keep=7
//!  unix:/run/vector.sock,events=handshake  syslog+tcp:logs.example.org:601,profile=ecs,facility=local3
//! ```
//!
//! A comma or a backslash in a path or a value is written `\,` or `\\`.

mod units;

use std::{fmt, path::PathBuf, str::FromStr};

use clap::ValueEnum as _;

use self::units::{parse_age, parse_size, show_age, show_size};
use super::{
    json::Profile,
    syslog::{AppName, Facility},
};
use crate::observation::EventKind;

/// The system's own syslog socket.
const DEV_LOG: &str = "/dev/log";

/// Where an output's lines go. Two outputs of one target cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `stdout`
    Stdout,
    /// `file:PATH`: appended to.
    File(PathBuf),
    /// `unix:PATH`: a stream socket that somebody listens on.
    UnixStream(PathBuf),
    /// `unixgram:PATH`: a datagram socket; each line is one datagram, without its line end.
    UnixDatagram(PathBuf),
    /// `syslog`, `syslog:unix:PATH`: the system's logger.
    Syslog(PathBuf),
    /// `syslog+tcp:HOST:PORT`: RFC 5424 with the octet counting of RFC 6587.
    SyslogTcp {
        /// A name or an address, without the brackets of one of IPv6.
        host: String,
        /// 601 is the port that IANA gives.
        port: u16,
    },
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LineFormat {
    /// One JSON object a line
    Json,
    /// Aligned text for people
    Text,
}

/// When a file is renamed to NAME.1, and how many such there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before it has more bytes.
    pub max_size: Option<u64>,
    /// With the first event after so many seconds.
    pub max_age: Option<u64>,
    /// Files kept beside the one that is written.
    pub keep: Option<u32>,
}

impl Rotation {
    /// Files kept unless asked otherwise: with `max-age=1d` a week.
    pub const KEEP: u32 = 7;

    /// Whether a file is ever renamed.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        self.max_size.is_some() || self.max_age.is_some()
    }
}

/// One output, as asked for. What is `None` is as the global flags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// Where.
    pub target: Target,
    /// Which events.
    pub events: Option<Vec<EventKind>>,
    /// JSON with whose field names.
    pub profile: Option<Profile>,
    /// JSON or text.
    pub format: Option<LineFormat>,
    /// Of a file.
    pub rotation: Rotation,
    /// Of syslog.
    pub facility: Option<Facility>,
    /// Of syslog.
    pub app_name: Option<AppName>,
}

/// An option of an output.
#[derive(Clone, Copy, Debug)]
pub struct OutputOption {
    /// Its name.
    pub name: &'static str,
    /// What stands behind `=`.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

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

impl OutputSpec {
    /// What may stand behind a target.
    pub const OPTIONS: &'static [OutputOption] = &[
        OutputOption {
            name: "events",
            value: "KIND+KIND+…",
            help: "kinds of events, as --events names them",
        },
        OutputOption {
            name: "profile",
            value: "native|zeek|eve|ecs",
            help: "JSON with whose field names, as --json-profile",
        },
        OutputOption { name: "format", value: "json|text", help: "JSON lines or aligned text" },
        OutputOption {
            name: "max-size",
            value: "SIZE",
            help: "files: rename to NAME.1 before there are more bytes (100MiB, 1G)",
        },
        OutputOption {
            name: "max-age",
            value: "AGE",
            help: "files: rename to NAME.1 with the first event after so long (12h, 1d)",
        },
        OutputOption {
            name: "keep",
            value: "N",
            help: "files: how many of them stay beside the one that is written [default: 7]",
        },
        OutputOption {
            name: "facility",
            value: "NAME",
            help: "syslog: user, daemon, local0 to local7, … [default: daemon]",
        },
        OutputOption {
            name: "app-name",
            value: "NAME",
            help: "syslog: whose messages they are [default: tls-sniff]",
        },
    ];

    fn names() -> String {
        let names: Vec<&str> = Self::OPTIONS.iter().map(|option| option.name).collect();
        names.join(", ")
    }

    /// An output to `target`, which is written as in a specification but without escapes.
    ///
    /// # Errors
    ///
    /// If it is no target.
    pub fn to(target: &str) -> Result<Self, OutputSpecError> {
        Ok(Self {
            target: target.parse()?,
            events: None,
            profile: None,
            format: None,
            rotation: Rotation::default(),
            facility: None,
            app_name: None,
        })
    }

    /// Sets one of [`OutputSpec::OPTIONS`].
    ///
    /// # Errors
    ///
    /// If there is no such option, it has a value already, does not take this one, or is for another kind of target.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OutputSpecError> {
        let option = Self::OPTIONS.iter().find(|option| option.name == name);
        let option = option.ok_or_else(|| OutputSpecError::Unknown(name.to_owned()))?.name;
        self.check_target(option)?;
        let wrong =
            |expected: String| OutputSpecError::Value { option, value: value.to_owned(), expected };
        let once = |is_new: bool| if is_new { Ok(()) } else { Err(OutputSpecError::Twice(option)) };
        match option {
            "events" => {
                let kind = |name: &str| {
                    EventKind::from_str(name, false).map_err(|_| {
                        wrong(format!("{name:?} is none of {}", choices::<EventKind>()))
                    })
                };
                let kinds = value.split('+').map(kind).collect::<Result<_, _>>()?;
                once(self.events.replace(kinds).is_none())
            }
            "profile" => {
                let profile =
                    Profile::from_str(value, false).map_err(|_| wrong(one_of::<Profile>()))?;
                once(self.profile.replace(profile).is_none())
            }
            "format" => {
                let format = LineFormat::from_str(value, false)
                    .map_err(|_| wrong(one_of::<LineFormat>()))?;
                once(self.format.replace(format).is_none())
            }
            "max-size" => {
                let size = parse_size(value).map_err(|it| wrong(it.to_owned()))?;
                once(self.rotation.max_size.replace(size).is_none())
            }
            "max-age" => {
                let age = parse_age(value).map_err(|it| wrong(it.to_owned()))?;
                once(self.rotation.max_age.replace(age).is_none())
            }
            "keep" => {
                let keep = value.parse().ok().filter(|keep| (1..=9999).contains(keep));
                let keep = keep.ok_or_else(|| wrong("a number from 1 to 9999".to_owned()))?;
                once(self.rotation.keep.replace(keep).is_none())
            }
            "facility" => {
                let facility = value.parse().map_err(wrong)?;
                once(self.facility.replace(facility).is_none())
            }
            _ => {
                let name = value.parse().map_err(wrong)?;
                once(self.app_name.replace(name).is_none())
            }
        }
    }

    fn check_target(&self, option: &'static str) -> Result<(), OutputSpecError> {
        let (fits, of) = match option {
            "max-size" | "max-age" | "keep" => {
                (matches!(self.target, Target::File(_)), "file:PATH")
            }
            "facility" | "app-name" => {
                (matches!(self.target, Target::Syslog(_) | Target::SyslogTcp { .. }), "syslog")
            }
            _ => (true, ""),
        };
        let target = || self.target.to_string();
        if fits { Ok(()) } else { Err(OutputSpecError::NotFor { option, of, target: target() }) }
    }

    /// Checks the options against each other.
    ///
    /// # Errors
    ///
    /// If one asks for what another takes away.
    pub fn check(&self) -> Result<(), OutputSpecError> {
        if self.format == Some(LineFormat::Text) && self.profile.is_some() {
            return Err(OutputSpecError::ProfileOfText);
        }
        if self.rotation.keep.is_some() && !self.rotation.is_asked() {
            return Err(OutputSpecError::KeepAlone);
        }
        Ok(())
    }
}

fn choices<T: clap::ValueEnum>() -> String {
    let values = T::value_variants().iter().filter_map(clap::ValueEnum::to_possible_value);
    values.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
}

fn one_of<T: clap::ValueEnum>() -> String {
    format!("one of {}", choices::<T>())
}

impl FromStr for OutputSpec {
    type Err = OutputSpecError;

    fn from_str(text: &str) -> Result<Self, OutputSpecError> {
        let mut parts = split(text)?.into_iter();
        let mut spec = Self::to(&parts.next().unwrap_or_default())?;
        for part in parts {
            let (name, value) =
                part.split_once('=').ok_or_else(|| OutputSpecError::NoValue(part.clone()))?;
            spec.set(name, value)?;
        }
        spec.check()?;
        Ok(spec)
    }
}

/// What stands between commas, without its escapes.
fn split(text: &str) -> Result<Vec<String>, OutputSpecError> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let plain = match character {
            ',' => {
                parts.push(String::new());
                continue;
            }
            '\\' => match characters.next() {
                Some(escaped @ (',' | '\\')) => escaped,
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    return Err(OutputSpecError::Escape(other));
                }
            },
            plain => plain,
        };
        if let Some(part) = parts.last_mut() {
            part.push(plain);
        }
    }
    Ok(parts)
}

impl FromStr for Target {
    type Err = OutputSpecError;

    fn from_str(text: &str) -> Result<Self, OutputSpecError> {
        let path = |path: &str| match path {
            "" => Err(OutputSpecError::NoPath(text.to_owned())),
            path => Ok(PathBuf::from(path)),
        };
        match text.split_once(':') {
            None if text == "stdout" => Ok(Self::Stdout),
            None if text == "syslog" => Ok(Self::Syslog(DEV_LOG.into())),
            Some(("file", rest)) => Ok(Self::File(path(rest)?)),
            Some(("unix", rest)) => Ok(Self::UnixStream(path(rest)?)),
            Some(("unixgram", rest)) => Ok(Self::UnixDatagram(path(rest)?)),
            Some(("syslog", rest)) => match rest.strip_prefix("unix:") {
                Some(rest) => Ok(Self::Syslog(path(rest)?)),
                None => Err(OutputSpecError::Target(text.to_owned())),
            },
            Some(("syslog+tcp", rest)) => host_and_port(rest),
            _ => Err(OutputSpecError::Target(text.to_owned())),
        }
    }
}

fn host_and_port(text: &str) -> Result<Target, OutputSpecError> {
    let wrong = || OutputSpecError::HostPort(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // An address of IPv6 without brackets would end in what looks like a port.
    let is_ambiguous = bare.is_none() && host.contains(':');
    let host = bare.unwrap_or(host);
    match port.parse() {
        Ok(port) if port > 0 && !host.is_empty() && !is_ambiguous => {
            Ok(Target::SyslogTcp { host: host.to_owned(), port })
        }
        _ => Err(wrong()),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::UnixStream(path) => write!(f, "unix:{}", path.display()),
            Self::UnixDatagram(path) => write!(f, "unixgram:{}", path.display()),
            Self::Syslog(path) if path.as_os_str() == DEV_LOG => f.write_str("syslog"),
            Self::Syslog(path) => write!(f, "syslog:unix:{}", path.display()),
            Self::SyslogTcp { host, port } if host.contains(':') => {
                write!(f, "syslog+tcp:[{host}]:{port}")
            }
            Self::SyslogTcp { host, port } => write!(f, "syslog+tcp:{host}:{port}"),
        }
    }
}

impl fmt::Display for OutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.target.to_string()))?;
        let mut option = |name: &str, value: Option<String>| match value {
            Some(value) => write!(f, ",{name}={}", escaped(&value)),
            None => Ok(()),
        };
        let Rotation { max_size, max_age, keep } = self.rotation;
        let kinds = |kinds: &Vec<EventKind>| {
            kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join("+")
        };
        option("events", self.events.as_ref().map(kinds))?;
        option("profile", self.profile.and_then(name))?;
        option("format", self.format.and_then(name))?;
        option("max-size", max_size.map(show_size))?;
        option("max-age", max_age.map(show_age))?;
        option("keep", keep.map(|keep| keep.to_string()))?;
        option("facility", self.facility.map(|facility| facility.to_string()))?;
        option("app-name", self.app_name.as_ref().map(ToString::to_string))
    }
}

fn name<T: clap::ValueEnum>(value: T) -> Option<String> {
    value.to_possible_value().map(|value| value.get_name().to_owned())
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_and_given_back() {
        for text in [
            "stdout",
            "stdout,profile=zeek,format=json",
            "file:/var/log/x.json,events=client_hello+handshake,max-size=100MiB,max-age=1d,keep=7",
            "file:a\\,b\\\\c=d,format=text",
            "unix:/run/vector.sock,profile=ecs",
            "unixgram:x",
            "syslog",
            "syslog,facility=local3,app-name=sniffer",
            "syslog:unix:/run/log",
            "syslog+tcp:logs.example.org:601",
            "syslog+tcp:[2001:db8::1]:601,profile=eve",
        ] {
            assert_eq!(text.parse::<OutputSpec>().unwrap().to_string(), text);
        }
        let spec: OutputSpec = "file:a\\,b,max-size=10k,max-age=90m".parse().unwrap();
        assert_eq!(spec.target, Target::File("a,b".into()));
        let rotation = Rotation { max_size: Some(10 << 10), max_age: Some(5400), keep: None };
        assert_eq!(spec.rotation, rotation);
        assert_eq!("syslog:unix:/dev/log".parse::<OutputSpec>().unwrap().to_string(), "syslog");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (text, expected) in [
            ("", "\"\" is no output: stdout, file:PATH"),
            ("/var/log/x", "\"/var/log/x\" is no output"),
            ("file:", "file: names no file"),
            ("tcp:host:1", "\"tcp:host:1\" is no output"),
            ("syslog:/dev/log", "\"syslog:/dev/log\" is no output"),
            ("syslog+tcp:host", "\"host\" is no HOST:PORT"),
            ("syslog+tcp:2001:db8::1", "\"2001:db8::1\" is no HOST:PORT"),
            ("syslog+tcp:host:0", "\"host:0\" is no HOST:PORT"),
            (
                "file:a\\b",
                "a backslash stands before a comma or another backslash, not before \"b\"",
            ),
            ("file:x,y", "\"y\" is no option: NAME=VALUE"),
            ("file:x,color=red", "an output has no option \"color\"; there are: events, profile"),
            ("file:x,keep=1,keep=2", "keep is given twice"),
            ("file:x,keep=0,max-size=1M", "keep=0: a number from 1 to 9999"),
            ("file:x,keep=3", "keep counts files"),
            ("file:x,max-size=0", "max-size=0: a number of bytes"),
            ("file:x,max-age=1y", "max-age=1y: a number with s, m, h, d or w"),
            ("unix:x,max-size=1M", "max-size is for file:PATH, not for unix:x"),
            ("stdout,facility=user", "facility is for syslog, not for stdout"),
            ("syslog,facility=secret", "facility=secret: one of kern, user"),
            ("syslog,app-name=a b", "app-name=a b: 1 to 48 printable characters of ASCII"),
            (
                "stdout,events=hello",
                "events=hello: \"hello\" is none of client_hello, server_hello",
            ),
            ("stdout,profile=bro", "profile=bro: one of native, zeek, eve, ecs"),
            ("stdout,format=text,profile=eve", "profile is for format=json"),
        ] {
            let error = text.parse::<OutputSpec>().unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
