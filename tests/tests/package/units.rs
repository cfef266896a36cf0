//! The unit files, without anything running.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use tls_sniff_tests::{need::command, workspace_root};

/// systemd's sum of what a service is exposed to, at most: 10 is a service without any restriction.
const EXPOSURE: f64 = 1.5;

fn unit(name: &str) -> PathBuf {
    workspace_root().join("packaging/systemd").join(name)
}

pub(crate) fn hardened() -> Result<()> {
    for name in ["tls-sniff.service", "tls-sniff@.service"] {
        let mut analyze = command("systemd-analyze");
        analyze.args(["security", "--offline=yes", "--no-pager"]).arg(unit(name));
        let output = analyze.output()?;
        let report = String::from_utf8_lossy(&output.stdout);
        // → Overall exposure level for tls-sniff.service: 1.5 OK
        let exposure = report.rsplit_once("Overall exposure level for ").and_then(|(_, rest)| {
            rest.split_once(": ")?.1.split_whitespace().next()?.parse::<f64>().ok()
        });
        ensure!(exposure.is_some_and(|exposure| exposure <= EXPOSURE), "{exposure:?}: {report}");
        // What it does not know it only says.
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
    Ok(())
}

/// Both units have the same lines but for these.
pub(crate) fn alike() -> Result<()> {
    let [one, template] = ["tls-sniff.service", "tls-sniff@.service"].map(|name| {
        let text = std::fs::read_to_string(unit(name))?;
        anyhow::Ok(text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>())
    });
    let (one, template) = (one?, template?);
    ensure!(one.len() == template.len(), "{} and {} lines", one.len(), template.len());
    let differ: Vec<_> = one.iter().zip(&template).filter(|(one, other)| one != other).collect();
    let keys = differ.iter().map(|(one, _)| one.split('=').next().unwrap_or_default());
    let keys: Vec<_> = keys.collect();
    ensure!(keys == ["Description", "ExecStart"], "{differ:#?}");
    Ok(())
}
