//! The configuration file of the program as it is called.

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{process::Process, workspace_root};

use super::{SOON, handshakes, tls_sniff};

/// Exit codes are those of a start: 0 valid, 1 not to be read, 2 invalid; a line for each fault.
pub(crate) fn checked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("config.toml");
    let path = file.to_str().context("a path in UTF-8")?;
    let ended = |arguments: &[&str]| Process::spawn(tls_sniff(arguments)?, None)?.finish(SOON);

    std::fs::write(
        &file,
        "port = [443, 8443]\nsni = '*.example'\ninterface = 'eth7'\n\
         [[output]]\nto = 'unix:/run/x.sock'\nevents = ['alert', 'handshake']",
    )?;
    let valid = ended(&["check-config", path])?;
    ensure!(valid.status.success(), "{valid:?}");
    for words in [
        "is valid",
        "port 443 or 8443",
        "server name *.example",
        "eth7",
        "  JSON lines (native) to unix:/run/x.sock: alert, handshake",
    ] {
        ensure!(valid.stdout.iter().any(|line| line.contains(words)), "{words}: {valid:?}");
    }
    let example = workspace_root().join("packaging/config.toml");
    ensure!(ended(&["check-config", example.to_str().context("UTF-8")?])?.status.success());

    std::fs::write(&file, "intreface = 'eth0'\n# \ncount = 0\n")?;
    for arguments in [["check-config", path], ["--config", path]] {
        let refused = ended(&arguments)?;
        ensure!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{refused:?}");
        let expected =
            ["config.toml:1:1: unknown key \"intreface\"", "config.toml:3:9: count: 0", "hint: "];
        ensure!(refused.stderr.len() == expected.len(), "{refused:?}");
        let told = refused.stderr.iter().zip(expected);
        ensure!(told.clone().all(|(line, words)| line.contains(words)), "{refused:?}");
    }
    let nets = dir.path().join("nets");
    std::fs::write(&nets, "# ours\n10.0.0.0/99\n")?;
    for (text, words) in [
        ("\nexpression = 'port 443 and and'".to_owned(), "config.toml:2:14: the expression"),
        (format!("net-file = '{}'", nets.display()), "config.toml:1:12: "),
    ] {
        std::fs::write(&file, text)?;
        for arguments in [&["check-config", path][..], &["--config", path, "--explain"]] {
            let refused = ended(arguments)?;
            let [line, _hint] = &refused.stderr[..] else { anyhow::bail!("{refused:?}") };
            ensure!(refused.status.code() == Some(2) && line.contains(words), "{refused:?}");
        }
    }

    let missing = dir.path().join("missing");
    let missing = ended(&["check-config", missing.to_str().context("UTF-8")?])?;
    ensure!(missing.status.code() == Some(1) && missing.stderr.len() == 2, "{missing:?}");

    // The file counts, and flags win.
    std::fs::write(&file, "events = 'alert'\nport = 8443\nformat = 'text'\ninterface = 'lo'")?;
    let capture = handshakes();
    let read = ["-r", capture.to_str().context("UTF-8")?, "--config", path, "--format", "json"];
    let read = ended(&read)?;
    let alert = |line: &&String| line.contains("\"event\":\"alert\"") && line.contains(":8443,");
    ensure!(read.status.success(), "{read:?}");
    // Behind it, the statistics.
    ensure!(read.stdout.len() == 2 && read.stdout.iter().filter(alert).count() == 1, "{read:?}");
    Ok(())
}
