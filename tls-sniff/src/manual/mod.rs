//! What packages have beside the program, made of clap's commands: completions and man pages.

mod config_page;
mod page;

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::{Command, CommandFactory as _};
pub use clap_complete::Shell;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::cli::Cli;

/// Writes the completions of `shell`.
///
/// # Errors
///
/// If `out` fails.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    // clap_complete also offers what is hidden.
    let all = Cli::command();
    let mut command = Command::new("tls-sniff")
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tls-sniff", &mut script);
    out.write_all(&script)?;
    out.flush()
}

/// Writes the man pages, tls-sniff(1) and tls-sniff-config.toml(5), into the folder `dir`, which is made.
///
/// # Errors
///
/// If a file cannot be written.
pub fn man_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("tls-sniff.1"), page::page()?)?;
    fs::write(dir.join("tls-sniff-config.toml.5"), config_page::page())
}

/// The head of a page. It has no date: the same source gives the same page. roff's own control would leave
/// an empty argument out.
fn title(name: &str, section: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {} {section} \"\" \"tls-sniff {version}\"\n", name.to_uppercase())
}

fn heading(roff: &mut Roff, heading: &str) {
    roff.control("SH", [heading]);
}

/// Paragraphs.
fn text(roff: &mut Roff, paragraphs: &[&str]) {
    for (number, paragraph) in paragraphs.iter().enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
}

/// A term and what it means.
fn item(roff: &mut Roff, term: Vec<Inline>, meaning: &str) {
    roff.control("TP", []);
    roff.text(term);
    roff.text([roman(meaning)]);
}

/// Several of them, in bold.
fn items(roff: &mut Roff, items: &[(&str, &str)]) {
    for (term, meaning) in items {
        item(roff, vec![bold(*term)], meaning);
    }
}

/// Lines as they are.
fn lines(roff: &mut Roff, lines: &str) {
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}
