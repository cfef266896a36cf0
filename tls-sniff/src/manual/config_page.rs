//! tls-sniff-config.toml(5): every key, from the same source as the example.

use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{heading, item, items, lines, text, title};
use crate::{
    config::{Entry, entries},
    sink::spec::OutputSpec,
};

const DESCRIPTION: &[&str] = &[
    "tls-sniff reads a configuration file only if --config names it; the service has /etc/tls-sniff/config.toml. \
     It is TOML, its keys are the names of the long flags, with hyphens or underscores. Switches are true or \
     false, numbers stand without quotes, all else is text in quotes. Where a flag may be repeated, or takes a \
     list with commas, the key also takes a list in brackets; an empty list is the same as no key.",
    "A flag on the command line replaces the key of its name, lists as well, and the keys that it does not go \
     with: -r FILE leaves interface aside. A switch that is true in the file cannot be taken back by a flag.",
    "Unknown keys, wrong values and keys that contradict each other are errors, with line and column. \
     `tls-sniff check-config` tells them all, or what the file selects; its exit status is that of a start: 0 if \
     the file is valid, 2 if not, 1 if it cannot be read.",
    "The service's files are for the service: what it writes is in /var/log/tls-sniff, which belongs to its user, and root \
     writes there only by a capability that tls-sniff drops.",
    "On SIGHUP the file is read again. Keys that need a restart must be as they were; all others take effect \
     without detaching. A file that is refused changes nothing. In the sandbox a new file can be an output only in a \
     directory where one was at the start.",
];

const OUTPUTS: &[&str] = &[
    "Each table [[output]] stands for one --output. Tables end a file: a key below one is its own. What is not set \
     is as the key of that name, or events, format and json-profile, say for all. A list in brackets is the same as \
     its words with + between them; events must not be empty here.",
];

const EXAMPLE: &str = "\
interface = [\"eth0\", \"eth1\"]
port = [443, \"8443-8450\"]
net = \"not 10.0.0.0/8\"
events = [\"handshake\"]
stats-interval = 60

[[output]]
to = \"file:/var/log/tls-sniff/events.json\"
max-size = \"100MiB\"

[[output]]
to = \"unix:/run/vector.sock\"
events = [\"alert\"]";

const FILES: &[(&str, &str)] = &[
    ("/etc/tls-sniff/config.toml", "The configuration of the service."),
    ("/usr/share/doc/tls-sniff/examples/config.toml", "Every key with its default, commented out."),
];

/// The page in roff.
pub(super) fn page() -> String {
    let mut roff = Roff::new();
    heading(&mut roff, "NAME");
    roff.text([roman("tls-sniff-config.toml - configuration file of tls-sniff")]);
    heading(&mut roff, "DESCRIPTION");
    text(&mut roff, DESCRIPTION);
    heading(&mut roff, "KEYS");
    let mut last = None;
    for entry in entries() {
        if entry.heading != last {
            roff.control("SS", [entry.heading.as_deref().unwrap_or_default()]);
        }
        item(&mut roff, vec![bold(entry.name)], &meaning(&entry));
        last = entry.heading;
    }
    heading(&mut roff, "OUTPUTS");
    text(&mut roff, OUTPUTS);
    item(&mut roff, vec![bold("to")], "The target, as in --output.");
    for option in OutputSpec::OPTIONS {
        let term = vec![bold(option.name), roman(" "), italic(option.value)];
        item(&mut roff, term, option.help);
    }
    heading(&mut roff, "FILES");
    items(&mut roff, FILES);
    heading(&mut roff, "EXAMPLES");
    lines(&mut roff, EXAMPLE);
    heading(&mut roff, "SEE ALSO");
    text(&mut roff, &["tls-sniff(1)"]);
    title("tls-sniff-config.toml", "5") + &roff.render()
}

fn meaning(entry: &Entry) -> String {
    let mut meaning = format!("{}.", entry.help);
    if !entry.values.is_empty() {
        meaning += &format!(" One of {}.", entry.values.join(", "));
    }
    meaning += &match &entry.default {
        Some(default) => format!(" Default: {default}."),
        None => format!(" Example: {}.", entry.sample),
    };
    meaning + if entry.needs_restart { " Needs a restart." } else { "" }
}
