//! The seeds of the fuzzers, and what they once found, on stable Rust.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    fuzz::TARGETS,
    runner::{self, test},
    workspace_root,
};

fn main() -> ExitCode {
    runner::main(vec![test("every_seed_of_every_target", &[], every_seed)])
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn every_seed() -> Result<()> {
    let seeds = workspace_root().join("tests/fuzz/seeds");
    let captures = files(&workspace_root().join("tests/captures"))?;
    for (name, target) in TARGETS {
        let own = seeds.join(name);
        // The bundled captures are the seeds of the one that reads captures.
        let files = if own.exists() { files(&own)? } else { captures.clone() };
        ensure!(files.len() > 2, "{name} has no seeds");
        for file in files {
            target(&fs::read(&file).with_context(|| format!("{}", file.display()))?);
        }
    }
    let mut folders: Vec<_> = files(&seeds)?;
    folders.retain(|folder| !TARGETS.iter().any(|(name, _)| folder.ends_with(name)));
    ensure!(folders.is_empty(), "seeds without a target: {folders:?}");
    Ok(())
}
