//! What packages have beside the program, all made of clap's commands: completions and man pages.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::CommandFactory as _;
pub use clap_complete::Shell;

use crate::cli::Cli;

/// Writes the completions of `shell`.
///
/// # Errors
///
/// If `out` fails.
pub fn completions(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tls-sniff", &mut script);
    out.write_all(&script)?;
    out.flush()
}

/// Writes the man pages into the folder `dir`.
///
/// # Errors
///
/// If a file cannot be written.
pub fn man_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    fs::write(dir.join("tls-sniff.1"), page)
}
