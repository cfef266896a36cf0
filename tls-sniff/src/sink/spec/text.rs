//! Specifications as text, both ways.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{
    DEV_LOG, OutputSpec, OutputSpecError, Rotation, Target,
    units::{show_age, show_size},
};
use crate::observation::EventKind;

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

/// Bytes of a socket's path at most: `sun_path`, without the NUL behind it.
const MAX_SOCKET_PATH: usize = 107;

impl FromStr for Target {
    type Err = OutputSpecError;

    fn from_str(text: &str) -> Result<Self, OutputSpecError> {
        let path = |path: &str| match path {
            "" => Err(OutputSpecError::NoPath(text.to_owned())),
            path => Ok(PathBuf::from(path)),
        };
        let socket = |text: &str| match path(text) {
            Ok(path) if path.as_os_str().len() > MAX_SOCKET_PATH => {
                Err(OutputSpecError::LongPath(text.to_owned()))
            }
            path => path,
        };
        match text.split_once(':') {
            None if text == "stdout" => Ok(Self::Stdout),
            None if text == "syslog" => Ok(Self::Syslog(DEV_LOG.into())),
            Some(("file", rest)) => Ok(Self::File(path(rest)?)),
            Some(("unix", rest)) => Ok(Self::UnixStream(socket(rest)?)),
            Some(("unixgram", rest)) => Ok(Self::UnixDatagram(socket(rest)?)),
            Some(("syslog", rest)) => match rest.strip_prefix("unix:") {
                Some(rest) => Ok(Self::Syslog(socket(rest)?)),
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
