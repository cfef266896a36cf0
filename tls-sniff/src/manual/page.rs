//! tls-sniff(1): the options are clap_mangen's, the rest is put around them.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use super::{heading, item, items, lines, text, title};
use crate::cli::{Cli, EXAMPLES};

const EXIT_STATUS: &[(&str, &str)] = &[
    (
        "0",
        "Done: stopped by a signal, at the end of the file, or after the number of events asked for.",
    ),
    ("1", "Failed; the last lines on stderr say at what, and what to do about it."),
    ("2", "Wrong usage: the command line, the expression or the configuration file."),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGINT, SIGTERM",
        "Detach, write what is still to be told and a last event with all counters, and end.",
    ),
    (
        "SIGHUP",
        "A live run with --config, or with outputs that are files: open these anew, as after logrotate, and read the configuration \
         again. What it changes takes effect without detaching, and no handshake is lost. If it is invalid, or changes \
         a key that needs a restart, the log says so line by line and all stays as it was. A signal that comes while the names \
         of hosts are looked up has the file read from the start: the newest one counts. Otherwise the end.",
    ),
];

const FILES: &[(&str, &str)] = &[(
    "/etc/tls-sniff/config.toml",
    "The configuration of the service, which passes it by --config: see tls-sniff-config.toml(5).",
)];

const SEE_ALSO: &str = "tls-sniff-config.toml(5), tcpdump(8), pcap-filter(7), wireshark(1), capabilities(7), tc-bpf(8)";

/// The page in roff.
pub(super) fn page() -> io::Result<String> {
    let mut command = Cli::command();
    command.build();
    let man = Man::new(command.clone());
    let mut page = title("tls-sniff", "1").into_bytes();
    man.render_name_section(&mut page)?;
    synopsis(&command).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = commands(&command);
    heading(&mut roff, "SIGNALS");
    items(&mut roff, SIGNALS);
    heading(&mut roff, "EXIT STATUS");
    items(&mut roff, EXIT_STATUS);
    heading(&mut roff, "FILES");
    items(&mut roff, FILES);
    heading(&mut roff, "EXAMPLES");
    lines(&mut roff, &examples());
    heading(&mut roff, "SEE ALSO");
    text(&mut roff, &[SEE_ALSO]);
    roff.to_writer(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}

fn synopsis(command: &Command) -> Roff {
    let mut roff = Roff::new();
    heading(&mut roff, "SYNOPSIS");
    let options =
        [roman(" ["), italic("OPTIONS"), roman("] ["), italic("EXPRESSION"), roman("]...")];
    roff.text([vec![bold("tls-sniff")], options.to_vec()].concat());
    for sub in visible(command) {
        roff.control("br", []);
        roff.text([bold(format!("tls-sniff {}", sub.get_name())), roman(arguments(sub))]);
    }
    roff
}

fn commands(command: &Command) -> Roff {
    let mut roff = Roff::new();
    heading(&mut roff, "COMMANDS");
    text(
        &mut roff,
        &["A command is the first word; behind an option it is a word of the expression."],
    );
    for sub in visible(command) {
        let term = vec![bold(sub.get_name()), roman(arguments(sub))];
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        item(&mut roff, term, &format!("{about}."));
        for arg in sub.get_arguments().filter(|arg| arg.get_id() != "help") {
            let values = arg.get_possible_values();
            let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            if !values.is_empty() {
                help += &format!(": {}", values.join(", "));
            }
            roff.control("RS", []);
            item(&mut roff, vec![italic(arg.to_string())], &format!("{help}."));
            roff.control("RE", []);
        }
    }
    roff
}

/// What a subcommand takes, as its usage has it.
fn arguments(sub: &Command) -> String {
    let usage = sub.clone().render_usage().to_string();
    let words = usage.split_once(sub.get_name()).map_or("", |(_, words)| words);
    words.trim_end().to_owned()
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set())
}

/// The examples of the help, without their heading and what follows.
fn examples() -> String {
    let examples = EXAMPLES.lines().skip(1).take_while(|line| !line.is_empty());
    examples.collect::<Vec<_>>().join("\n")
}
