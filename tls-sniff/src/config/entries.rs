//! Every key with what people are told of it, by clap.

use clap::{Arg, CommandFactory as _};

use super::keys::{self, Class, Options, Takes};
use crate::cli::Cli;

/// A key.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// The heading of its flag's help; none for the first ones.
    pub(crate) heading: Option<String>,
    pub(crate) help: String,
    /// The words that it takes, if there are only some.
    pub(crate) values: Vec<String>,
    /// In TOML, if there is one that does not depend on other keys.
    pub(crate) default: Option<String>,
    /// A value in TOML.
    pub(crate) sample: &'static str,
    /// Whether a reload cannot change it.
    pub(crate) needs_restart: bool,
}

/// All keys that a file may have, in the order of the help.
pub(crate) fn entries() -> Vec<Entry> {
    Options::of(Cli::command()).all().filter_map(entry).collect()
}

fn entry(arg: &Arg) -> Option<Entry> {
    let key = keys::known(keys::key_of(arg))?;
    let needs_restart = match key.class {
        Class::CommandLineOnly(_) => return None,
        Class::Restart => true,
        Class::Running => false,
    };
    let values = arg.get_possible_values();
    let values = values.iter().map(|value| value.get_name().to_owned()).collect();
    Some(Entry {
        name: key.name,
        heading: arg.get_help_heading().map(str::to_owned),
        help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        // Those of a switch are known.
        values: if keys::takes(arg) == Takes::Word { values } else { Vec::new() },
        default: default(arg),
        sample: key.sample,
        needs_restart,
    })
}

fn default(arg: &Arg) -> Option<String> {
    let quoted = |text: &String| toml::Value::from(text.as_str()).to_string();
    let values: Vec<String> =
        arg.get_default_values().iter().map(|it| it.to_string_lossy().into_owned()).collect();
    match (keys::takes(arg), values.first()) {
        (Takes::Switch, _) => Some("false".to_owned()),
        (_, None) => None,
        (_, Some(_)) if keys::is_list(arg) => {
            Some(format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", ")))
        }
        (Takes::Number, Some(value)) => Some(value.clone()),
        (_, Some(value)) => Some(quoted(value)),
    }
}
