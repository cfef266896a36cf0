//! `tls-sniff check-config`: what a configuration selects, or what is wrong with it.

use std::{
    io::{self, Write},
    path::Path,
};

use crate::{
    cli::Asked,
    config::Invocation,
    error::Error,
    sink::{capture::CaptureOptions, spec::Target},
};

/// Checks `file` as a start with it would, up to where that needs privileges, and tells to `out` what it
/// selects.
///
/// # Errors
///
/// If a start would fail.
pub(crate) fn config(file: &Path, out: &mut impl Write) -> Result<(), Error> {
    let invocation = Invocation::of_file(file);
    let (cli, text) = invocation.read()?;
    let asked = Asked::of(&cli, false)
        .map_err(|error| error.placed(|key| invocation.place(text.as_deref(), key)))?;
    asked.capture.as_ref().map_or(Ok(()), CaptureOptions::check)?;
    let mut told = || -> io::Result<()> {
        writeln!(out, "{} is valid.", file.display())?;
        writeln!(out, "Interfaces: {}", cli.interface.join(", "))?;
        asked.explain(out, unusable)?;
        out.flush()
    };
    told().map_err(Error::Output)
}

/// What is in the way of a file on this machine. No fault of the configuration: it may be for another one.
fn unusable(target: &Target) -> Option<&'static str> {
    let Target::File(path) = target else { return None };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if path.is_dir() {
        Some(" (a directory, so no start here)")
    } else if folder.is_some_and(|folder| !folder.is_dir()) {
        Some(" (its directory is not there, so no start here)")
    } else {
        None
    }
}
