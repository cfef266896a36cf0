//! What tshark reads in a capture.

use std::path::Path;

use anyhow::Result;

use crate::{need::command, process::run};

/// Rows of tshark's fields, those of the frames that `filter` takes. Sequence numbers are those of the wire.
///
/// # Errors
///
/// If tshark does not run, or does not like its arguments.
pub fn rows(path: &Path, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = command("tshark");
    command.arg("-r").arg(path).args([
        "-Y",
        filter,
        "-T",
        "fields",
        "-o",
        "tcp.relative_sequence_numbers:false",
    ]);
    // These ports are not tshark's for TLS.
    for port in [8443, 9443] {
        command.args(["-d", &format!("tcp.port=={port},tls")]);
    }
    for field in fields {
        command.args(["-e", field]);
    }
    let rows = run(&mut command)?;
    Ok(rows.lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect())
}
