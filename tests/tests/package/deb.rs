//! The package file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Output,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{need::command, process::run, sniffer::binary, workspace_root};

/// Who maintains revision 2; 1 has a placeholder.
pub(crate) const MAINTAINER: &str = "A. Packager <packager@site.test>";

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
    dist.env_remove("DEBFULLNAME").env_remove("DEBEMAIL");
    if revision == 2 {
        dist.args(["--maintainer", MAINTAINER]);
    }
    let Output { status, stdout, stderr } = dist.output()?;
    let [path, said] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(status.success(), "{status}: {said}");
    ensure!(said.contains("the maintainer is a placeholder") == (revision != 2), "{said}");
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

/// Each crate of others that is in the program or in its kernel programs is listed with its licence and its texts, and
/// no other is.
pub(crate) fn licences() -> Result<()> {
    const LIST: &str = "/usr/share/doc/tls-sniff/THIRD-PARTY-LICENSES.gz";
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tls-sniff.deb");
    std::fs::write(&file, package(1)?)?;
    run(command("dpkg-deb").arg("--extract").arg(&file).arg(folder.path()))?;
    let installed = |path: &str| folder.path().join(path.trim_start_matches('/'));
    let copyright = std::fs::read_to_string(installed("/usr/share/doc/tls-sniff/copyright"))?;
    ensure!(copyright.contains(LIST), "{copyright}");

    let text = run(command("gzip").args(["--decompress", "--stdout"]).arg(installed(LIST)))?;
    let listed: BTreeMap<_, _> = text
        .split("\n\n")
        .filter_map(|entry| entry.trim_start_matches('\n').split_once("\n  Licence: "))
        .filter(|(name, _)| !name.starts_with("Rust's standard library"))
        .collect();
    let mut linked = others("tls-sniff")?;
    ensure!(linked.len() > 100, "{linked:?}");
    linked.append(&mut others("tls-sniff-ebpf")?);
    let names: BTreeSet<_> = listed.keys().map(|name| (*name).to_owned()).collect();
    let differ: Vec<_> = names.symmetric_difference(&linked).collect();
    ensure!(differ.is_empty(), "not both listed and linked: {differ:?}");
    for (name, about) in &listed {
        ensure!(
            about.contains("\n  Texts: ") || about.contains("\n  Standard texts"),
            "{name}: {about}"
        );
        ensure!(!about.contains("Texts: it comes without"), "{name}: {about}");
    }
    // A library in C that a crate has in a folder of its own.
    ensure!(text.contains(", zstd/LICENSE\n"), "no notice of zstd");
    Ok(())
}

/// Name and version of the crates that `package` needs and that are not this workspace's.
fn others(package: &str) -> Result<BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut tree = std::process::Command::new(cargo);
    tree.args(["tree", "--locked", "--package", package, "--edges", "normal", "--prefix", "none"]);
    let tree = run(tree.current_dir(workspace_root()))?;
    let other = |line: &&str| !line.is_empty() && !line.contains("(/");
    let name = |line: &str| {
        let mut words = line.split(' ');
        Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
    };
    tree.lines().filter(other).map(|line| name(line).with_context(|| line.to_owned())).collect()
}
