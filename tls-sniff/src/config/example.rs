//! The commented example: every key with its flag's help and its default.

use std::fmt::Write as _;

use clap::{Arg, CommandFactory as _};

use super::keys::{self, Class, Key, Options, Takes};
use crate::cli::Cli;

const HEAD: &str = "\
# Configuration of tls-sniff: what its flags say can stand here.
#
# The keys are the names of the long flags (with - or _). A flag on the command line replaces the key of
# its name, and the keys that it does not go with. `tls-sniff check-config` tells what is wrong in a file,
# or what it selects. On SIGHUP tls-sniff reads it again; keys that need a restart must
# then be as they were. What is commented out is the default, or an example where there is none.
";

/// The width of comments.
const WIDTH: usize = 110;

/// The example file. It is in packaging/, and a test compares.
pub(crate) fn example() -> String {
    let options = Options::of(Cli::command());
    let mut text = HEAD.to_owned();
    let mut heading = None;
    for arg in options.all() {
        let Some(key) = keys::known(keys::key_of(arg)) else { continue };
        if matches!(key.class, Class::CommandLineOnly(_)) {
            continue;
        }
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            let _infallible = write!(text, "\n\n## {}\n", heading.unwrap_or_default());
        }
        text += &entry(arg, key);
    }
    text
}

fn entry(arg: &Arg, key: &Key) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    if keys::takes(arg) == Takes::Word && !values.is_empty() {
        text += &format!(" [{}]", values.join(", "));
    }
    text += if key.class == Class::Restart { ". Needs a restart." } else { "." };
    let value = default(arg).unwrap_or_else(|| {
        text += " For example:";
        key.sample.to_owned()
    });
    let mut entry = String::from("\n");
    for line in wrapped(&text) {
        let _infallible = writeln!(entry, "# {line}");
    }
    let _infallible = writeln!(entry, "#{} = {value}", key.name);
    entry
}

/// The default in TOML, if there is one that does not depend on other things.
fn default(arg: &Arg) -> Option<String> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let values: Vec<String> =
        arg.get_default_values().iter().map(|it| it.to_string_lossy().into_owned()).collect();
    match (keys::takes(arg), values.first()) {
        (Takes::Switch, _) => Some("false".to_owned()),
        (_, None) => None,
        (_, Some(_)) if keys::is_list(arg) => {
            Some(format!("[{}]", values.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", ")))
        }
        (Takes::Number, Some(value)) => Some(value.clone()),
        (_, Some(value)) => Some(quoted(value)),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
