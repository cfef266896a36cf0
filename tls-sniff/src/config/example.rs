//! The commented example, packaging/config.toml: every key with its flag's help and its default.

use std::fmt::Write as _;

use super::{
    document::OUTPUT,
    entries::{Entry, entries},
};
use crate::sink::spec::OutputSpec;

const HEAD: &str = "\
# Configuration of tls-sniff: what its flags say can stand here.
#
# The keys are the names of the long flags (with - or _). A flag on the command line replaces the key of
# its name, and the keys that it does not go with. `tls-sniff check-config` tells what is wrong in a file,
# or what it selects. On SIGHUP tls-sniff reads it again; keys that need a restart must then be as they
# were. What is commented out is the default, or an example where there is none.
";

const OUTPUTS: &str = "
## Outputs. Each [[output]] is one; without any, events go to stdout. All keys above stand before the first.

";

/// Of each option of an output, by the target that all of them go with.
const SAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "file:/var/log/tls-sniff/events.json",
        &[
            ("events", r#"["handshake", "alert"]"#),
            ("profile", r#""native""#),
            ("format", r#""json""#),
            ("max-size", r#""100MiB""#),
            ("max-age", r#""1d""#),
            ("keep", "7"),
        ],
    ),
    ("syslog", &[("facility", r#""daemon""#), ("app-name", r#""tls-sniff""#)]),
];

/// The width of comments.
const WIDTH: usize = 110;

pub(super) fn example() -> String {
    let mut text = HEAD.to_owned();
    let mut heading = None;
    // Tables end a file.
    let (output, keys): (Vec<Entry>, _) = entries().into_iter().partition(|it| it.name == OUTPUT);
    for entry in keys {
        if entry.heading != heading {
            let _infallible = writeln!(text, "\n\n## {}", entry.heading.as_deref().unwrap_or(""));
        }
        text += &commented(&entry);
        heading = entry.heading;
    }
    text += "\n";
    text += OUTPUTS;
    for line in output.iter().flat_map(|entry| wrapped(&entry.help)) {
        let _infallible = writeln!(text, "# {line}");
    }
    text + &outputs()
}

fn outputs() -> String {
    let mut text = String::new();
    for (target, samples) in SAMPLES {
        let _infallible = writeln!(text, "\n#[[output]]\n#to = \"{target}\"");
        for (name, sample) in *samples {
            let option = OutputSpec::OPTIONS.iter().find(|option| option.name == *name);
            for line in option.iter().flat_map(|option| wrapped(option.help)) {
                let _infallible = writeln!(text, "# {line}");
            }
            let _infallible = writeln!(text, "#{name} = {sample}");
        }
    }
    text
}

fn commented(entry: &Entry) -> String {
    let mut comment = entry.help.clone();
    if !entry.values.is_empty() {
        comment += &format!(" [{}]", entry.values.join(", "));
    }
    comment += if entry.needs_restart { ". Needs a restart." } else { "." };
    let value = entry.default.as_deref().unwrap_or_else(|| {
        comment += " For example:";
        entry.sample
    });
    let mut text = String::from("\n");
    for line in wrapped(&comment) {
        let _infallible = writeln!(text, "# {line}");
    }
    let _infallible = writeln!(text, "#{} = {value}", entry.name);
    text
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
