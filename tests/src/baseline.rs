//! Committed figures that a change moves knowingly or not at all: instructions executed, instructions verified.
//!
//! They are compared in both directions, so that a gain is recorded before a later loss can hide in it.
//! `cargo xtask baselines` writes what is measured now.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::workspace_root;

/// Set to `write`, the files are written instead of compared.
const VARIABLE: &str = "TLS_SNIFF_BASELINES";

/// A file of figures, and how exactly they must hold.
#[derive(Clone, Copy, Debug)]
pub struct Baseline<'a> {
    /// The file's name in tests/baselines, without `.toml`.
    pub name: &'static str,
    /// What the figures are of.
    pub of: &'static str,
    /// What they depend on beside the program: the compiler, the kernel.
    pub measured_with: &'a str,
    /// By how many percent they may differ.
    pub tolerance: u64,
    /// The same if they were measured with something else; `None` if they do not say anything then.
    pub tolerance_elsewhere: Option<u64>,
}

impl Baseline<'_> {
    fn path(&self) -> PathBuf {
        workspace_root().join("tests/baselines").join(self.name).with_extension("toml")
    }

    /// Compares `figures` with the file's, or writes them.
    ///
    /// # Errors
    ///
    /// If they differ by more than they may, with each that does, by how much, and how to accept it; if the file
    /// cannot be read or written.
    pub fn check(&self, figures: &BTreeMap<String, u64>) -> Result<()> {
        let path = self.path();
        if env::var_os(VARIABLE).is_some_and(|value| value == "write") {
            return fs::write(&path, self.written(figures))
                .with_context(|| format!("write {}", path.display()));
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        self.compare(&text, figures)
    }

    fn written(&self, figures: &BTreeMap<String, u64>) -> String {
        let Self { of, measured_with, .. } = self;
        let mut text = format!(
            "# {of}.\n# Written by `cargo xtask baselines`; tests/src/baseline.rs compares.\n\
             measured_with = \"{measured_with}\"\n\n[figures]\n"
        );
        for (name, figure) in figures {
            text += &format!("\"{name}\" = {figure}\n");
        }
        text
    }

    fn compare(&self, text: &str, figures: &BTreeMap<String, u64>) -> Result<()> {
        let Self { name, measured_with, .. } = self;
        let file: toml::Table = text.parse().with_context(|| format!("tests/baselines/{name}"))?;
        let theirs = file.get("measured_with").and_then(toml::Value::as_str).unwrap_or_default();
        let tolerance = if theirs == *measured_with {
            self.tolerance
        } else if let Some(tolerance) = self.tolerance_elsewhere {
            eprintln!("{name}: of {theirs}, not {measured_with}: compared to {tolerance} %");
            tolerance
        } else {
            eprintln!("{name}: of {theirs}, not {measured_with}: not compared");
            return Ok(());
        };
        let known = file.get("figures").and_then(toml::Value::as_table);
        let known = |name: &String| known?.get(name)?.as_integer()?.try_into().ok();
        let moved: Vec<String> = figures
            .iter()
            .filter_map(|(name, now)| moved(name, known(name), *now, tolerance))
            .collect();
        ensure!(
            moved.is_empty(),
            "{}: {}. At most {tolerance} % are no difference. If that is what the change is meant to do, \
             `cargo xtask baselines` accepts it",
            self.of,
            moved.join("; ")
        );
        Ok(())
    }
}

/// How a figure has moved, if it has.
fn moved(name: &str, before: Option<u64>, now: u64, tolerance: u64) -> Option<String> {
    let Some(before) = before else { return Some(format!("{name}: {now}, and no baseline")) };
    if before.abs_diff(now) * 100 <= before * tolerance {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let percent = (now as f64 / before as f64 - 1.0) * 100.0;
    Some(format!("{name}: {before} before, {now} now, {percent:+.1} %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASELINE: Baseline<'_> = Baseline {
        name: "test",
        of: "Figures",
        measured_with: "one",
        tolerance: 3,
        tolerance_elsewhere: Some(30),
    };

    fn figures(figure: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("a thing".to_owned(), figure)])
    }

    #[test]
    fn differences_in_both_directions_are_told_with_the_way_out() {
        let file = BASELINE.written(&figures(1000));
        for same in [970, 1000, 1030] {
            BASELINE.compare(&file, &figures(same)).unwrap();
        }
        let worse = BASELINE.compare(&file, &figures(1031)).unwrap_err().to_string();
        assert!(worse.contains("a thing: 1000 before, 1031 now, +3.1 %"), "{worse}");
        assert!(worse.contains("cargo xtask baselines"), "{worse}");
        let better = BASELINE.compare(&file, &figures(969)).unwrap_err().to_string();
        assert!(better.contains("-3.1 %"), "{better}");
        let other = BTreeMap::from([("another".to_owned(), 1)]);
        BASELINE.compare(&file, &other).unwrap_err();
    }

    #[test]
    fn measured_with_something_else() {
        let elsewhere = Baseline { measured_with: "two", ..BASELINE };
        let file = BASELINE.written(&figures(1000));
        elsewhere.compare(&file, &figures(1299)).unwrap();
        elsewhere.compare(&file, &figures(1301)).unwrap_err();
        let silent = Baseline { tolerance_elsewhere: None, ..elsewhere };
        silent.compare(&file, &figures(9)).unwrap();
    }
}
