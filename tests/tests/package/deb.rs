//! The package file.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{need::command, process::run, sniffer::binary, workspace_root};

/// Packs the program that the tests use as `revision`, once, and returns the package's bytes.
pub(crate) fn package(revision: u32) -> Result<Vec<u8>> {
    static PACKAGES: Mutex<BTreeMap<u32, Vec<u8>>> = Mutex::new(BTreeMap::new());
    // Held while one is made: each is put together in the same folder.
    let mut packages = PACKAGES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(package) = packages.get(&revision) {
        return Ok(package.clone());
    }
    let folder = tempfile::tempdir()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut dist = std::process::Command::new(cargo);
    dist.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--fast", "--binary"]);
    dist.arg(binary()?).arg("--out").arg(folder.path());
    dist.args(["--revision", &revision.to_string()]).current_dir(workspace_root());
    let path = run(&mut dist)?;
    let path = PathBuf::from(path.lines().last().context("cargo-deb names the package")?);
    let package = std::fs::read(path)?;
    packages.insert(revision, package.clone());
    Ok(package)
}

pub(crate) fn lintian() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tls-sniff.deb");
    std::fs::write(&file, package(1)?)?;
    let output = command("lintian").args(["--fail-on", "error,warning"]).arg(&file).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
    Ok(())
}

/// Each relative link of a document leads to a file of the package, as in the repository it does.
pub(crate) fn links() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tls-sniff.deb");
    std::fs::write(&file, package(1)?)?;
    run(command("dpkg-deb").arg("--extract").arg(&file).arg(folder.path()))?;
    let documents = folder.path().join("usr/share/doc/tls-sniff");
    let mut followed = 0;
    for folder in ["", "docs", "packaging", "tests"].map(|folder| documents.join(folder)) {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            for link in std::fs::read_to_string(&path)?.split("](").skip(1) {
                let target = link.split([')', '#']).next().unwrap_or_default();
                if target.is_empty() || target.starts_with("http") {
                    continue;
                }
                ensure!(folder.join(target).exists(), "{}: {target}", path.display());
                followed += 1;
            }
        }
    }
    ensure!(followed > 15, "{followed} links");
    Ok(())
}
