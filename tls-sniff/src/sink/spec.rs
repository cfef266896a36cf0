//! What an operator asks of an output: `TARGET[,NAME=VALUE]…`, as `--output` takes it.
//!
//! ```text
//!  stdout                                  file:/var/log/tls-sniff/events.json,max-size=100MiB,keep=7
//!  unix:/run/vector.sock,events=handshake  syslog+tcp:logs.example.org:601,profile=ecs,facility=local3
//! ```
//!
//! A comma or a backslash in a path or a value is written `\,` or `\\`.

mod error;
#[cfg(test)]
mod tests;
mod text;
mod units;

use std::path::PathBuf;

use clap::ValueEnum as _;

pub use self::error::OutputSpecError;
use self::units::{parse_age, parse_size};
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
