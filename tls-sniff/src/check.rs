//! `tls-sniff check-config`: what a configuration selects, or what is wrong with it.

use std::{
    io::{self, Write},
    path::Path,
};

use crate::{cli::Asked, config::Invocation, error::Error, sink::capture::CaptureOptions};

/// Checks `file` as a start with it would, up to where that needs privileges, and tells to `out` what it
/// selects.
///
/// # Errors
///
/// If a start would fail.
pub(crate) fn config(file: &Path, out: &mut impl Write) -> Result<(), Error> {
    let (cli, _) = Invocation::of_file(file).read()?;
    let Asked { outputs, capture, explanation, .. } = Asked::of(&cli, false)?;
    capture.as_ref().map_or(Ok(()), CaptureOptions::check)?;
    let mut told = || -> io::Result<()> {
        writeln!(out, "{} is valid.", file.display())?;
        write!(out, "{explanation}")?;
        writeln!(out, "Interfaces: {}", cli.interface.join(", "))?;
        for output in &outputs {
            let events: Vec<&str> = output.events.iter().map(|kind| kind.as_str()).collect();
            writeln!(out, "Output: {} ({})", output.target, events.join(", "))?;
        }
        if let Some(capture) = &capture {
            writeln!(out, "Capture: {}", capture.path.display())?;
        }
        out.flush()
    };
    told().map_err(Error::Output)
}
