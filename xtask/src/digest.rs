//! Whether the committed kernel object belongs to the sources beside it.
//!
//! The object is committed so that nobody needs a BPF toolchain to use the program; the price is that
//! it can fall behind its sources. `tls-sniff/bpf/tls-sniff.bpf.toml` therefore records what it was
//! built from, and [`verify`] compares, without a compiler.
//!
//! ```text
//!  tls-sniff-common/src/**  ┐
//!  tls-sniff-ebpf/src/**    │  SHA-256 over, in sorted order,
//!  both Cargo.toml          ├─ path and content, each behind its    ── sources-sha256
//!  Cargo.lock, the entries  │  length (8 bytes, little-endian)
//!  that these depend on     ┘
//!  tls-sniff.bpf.o          ── SHA-256 ── object-sha256
//! ```
//!
//! Of Cargo.lock only the closure of the two crates' dependencies counts, without their
//! dev-dependencies: what user space depends on may change as it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::toolchain::Versions;

/// The committed object, from the top of the workspace.
pub const OBJECT: &str = "tls-sniff/bpf/tls-sniff.bpf.o";
/// What it was built from.
pub const RECORD: &str = "tls-sniff/bpf/tls-sniff.bpf.toml";
/// The crates that are compiled into it.
pub const CRATES: [&str; 2] = ["tls-sniff-common", "tls-sniff-ebpf"];

/// What [`RECORD`] holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recorded {
    /// SHA-256 of the object, hexadecimal.
    pub object_sha256: String,
    /// [`kernel_sources`] when it was built.
    pub sources_sha256: String,
    /// What built it.
    pub toolchain: Versions,
}

/// SHA-256, hexadecimal, of everything that the kernel object is made from but the toolchain.
///
/// # Errors
///
/// If a file cannot be read, or Cargo.lock or a Cargo.toml is none.
pub fn kernel_sources(workspace_root: &Path) -> Result<String> {
    let mut parts = BTreeMap::new();
    for name in CRATES {
        let mut files = vec![workspace_root.join(name).join("Cargo.toml")];
        collect_files(&workspace_root.join(name).join("src"), &mut files)?;
        for file in files {
            let relative = file.strip_prefix(workspace_root)?.to_string_lossy().into_owned();
            parts.insert(relative, read(&file)?);
        }
    }
    let locked = locked_dependencies(workspace_root)?.into_iter().collect::<Vec<_>>();
    parts.insert("Cargo.lock".to_owned(), locked.join("\n").into_bytes());

    let mut digest = Sha256::new();
    for (path, content) in parts {
        for bytes in [path.as_bytes(), &content] {
            digest.update(u64::try_from(bytes.len())?.to_le_bytes());
            digest.update(bytes);
        }
    }
    Ok(hex(&digest.finalize()))
}

/// What is recorded of the committed object.
///
/// # Errors
///
/// If there is no record, or it is damaged.
pub fn recorded(workspace_root: &Path) -> Result<Recorded> {
    parse_toml(&workspace_root.join(RECORD))
        .context("the kernel object has no record: run `cargo xtask build-ebpf`")
}

/// Fails if the committed object was built from other sources than these, or is another object than
/// the recorded one.
///
/// # Errors
///
/// As said, or if a file cannot be read.
pub fn verify(workspace_root: &Path) -> Result<()> {
    let recorded = recorded(workspace_root)?;
    if kernel_sources(workspace_root)? != recorded.sources_sha256 {
        bail!(
            "kernel-side sources changed since {OBJECT} was built: run `cargo xtask build-ebpf` and \
             commit the result"
        );
    }
    if sha256(&read(&workspace_root.join(OBJECT))?) != recorded.object_sha256 {
        bail!(
            "{OBJECT} is not the object that {RECORD} records: run `cargo xtask build-ebpf` and \
             commit the result"
        );
    }
    Ok(())
}

/// SHA-256, hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file's content; the error names the file.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn parse_toml<T: for<'de> Deserialize<'de>>(file: &Path) -> Result<T> {
    let text = String::from_utf8(read(file)?)
        .with_context(|| format!("{} is not UTF-8", file.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot parse {}", file.display()))
}

/// Every file below a folder. Names that start with a dot are editors' own.
fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let cannot = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type().with_context(cannot)?.is_dir() {
            collect_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Cargo.lock, as far as it matters here.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Package {
    /// Whether this is what an entry of `dependencies` means: `NAME`, `NAME VERSION` where there are
    /// several, `NAME VERSION (SOURCE)` where that is not enough either.
    fn is(&self, reference: &str) -> bool {
        let mut words = reference.splitn(3, ' ');
        words.next() == Some(&self.name)
            && words.next().is_none_or(|version| version == self.version)
            && words.next().is_none_or(|source| {
                self.source.as_ref().is_some_and(|own| source == format!("({own})"))
            })
    }
}

/// One line for each package of Cargo.lock that is compiled into the object.
fn locked_dependencies(workspace_root: &Path) -> Result<BTreeSet<String>> {
    let lock: Lock = parse_toml(&workspace_root.join("Cargo.lock"))?;
    let find = |reference: &str| {
        lock.package
            .iter()
            .find(|package| package.is(reference))
            .with_context(|| format!("Cargo.lock has no package {reference}"))
    };
    let mut lines = BTreeSet::new();
    let mut todo = CRATES
        .map(|name| find(name).map(|own| (own, true)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    while let Some((package, own)) = todo.pop() {
        let Package { name, version, source, checksum, dependencies } = package;
        let or_none = |text: &Option<String>| text.as_deref().unwrap_or("-").to_owned();
        if !lines.insert(format!("{name} {version} {} {}", or_none(source), or_none(checksum))) {
            continue;
        }
        // Of the two crates Cargo.lock lists dev-dependencies too; of others it does not.
        let direct = own.then(|| direct_dependencies(workspace_root, name)).transpose()?;
        for reference in dependencies {
            let name = reference.split(' ').next().unwrap_or(reference);
            if direct.as_ref().is_none_or(|direct| direct.contains(name)) {
                todo.push((find(reference)?, CRATES.contains(&name)));
            }
        }
    }
    Ok(lines)
}

/// The packages that a crate's Cargo.toml names in `[dependencies]` and `[build-dependencies]`, for all
/// targets or one.
fn direct_dependencies(workspace_root: &Path, name: &str) -> Result<BTreeSet<String>> {
    let manifest: toml::Table = parse_toml(&workspace_root.join(name).join("Cargo.toml"))?;
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(|all| all.values()).filter_map(|v| v.as_table());
    Ok([&manifest]
        .into_iter()
        .chain(targets)
        .flat_map(|table| [table.get("dependencies"), table.get("build-dependencies")])
        .filter_map(|section| section?.as_table())
        .flatten()
        .map(|(name, spec)| spec.get("package").and_then(|p| p.as_str()).unwrap_or(name).to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 4
[[package]]
name = "aya-ebpf"
version = "0.2.1"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "aa"
dependencies = ["aya-ebpf-bindings", "twice 2.0.0"]
[[package]]
name = "aya-ebpf-bindings"
version = "0.2.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "bb"
[[package]]
name = "proptest"
version = "1.0.0"
[[package]]
name = "tls-sniff-common"
version = "0.1.0"
dependencies = ["proptest"]
[[package]]
name = "tls-sniff-ebpf"
version = "0.1.0"
dependencies = ["aya-ebpf", "tls-sniff-common"]
[[package]]
name = "tokio"
version = "1.0.0"
[[package]]
name = "twice"
version = "1.0.0"
[[package]]
name = "twice"
version = "2.0.0"
"#;

    /// A workspace with the files that count, and an object with its record.
    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "Cargo.lock", LOCK);
        put(root, "tls-sniff-common/Cargo.toml", "[dev-dependencies]\nproptest = \"1\"\n");
        put(root, "tls-sniff-common/src/lib.rs", "//! common\n");
        put(root, "tls-sniff-common/src/deep/er.rs", "//! deeper\n");
        let manifest = "[dependencies]\ntls-sniff-common = { path = \"..\" }\n\
                        [target.'cfg(all())'.dependencies]\naya = { package = \"aya-ebpf\" }\n";
        put(root, "tls-sniff-ebpf/Cargo.toml", manifest);
        put(root, "tls-sniff-ebpf/src/main.rs", "fn main() {}\n");
        put(root, OBJECT, "object");
        let word = || "1".to_owned();
        let record = Recorded {
            object_sha256: sha256(b"object"),
            sources_sha256: kernel_sources(root).unwrap(),
            toolchain: Versions { rustc: word(), bpf_linker: word(), llvm: word() },
        };
        put(root, RECORD, &toml::to_string(&record).unwrap());
        folder
    }

    fn put(root: &Path, file: &str, content: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    fn with_lock(from: &str, to: &str) -> Result<()> {
        assert!(LOCK.contains(from));
        let folder = workspace();
        put(folder.path(), "Cargo.lock", &LOCK.replace(from, to));
        verify(folder.path())
    }

    fn stale(outcome: Result<()>) -> bool {
        outcome.is_err_and(|error| {
            error.to_string().starts_with("kernel-side sources changed since tls-sniff/bpf/")
        })
    }

    #[test]
    fn sha256_is_the_standards() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }

    #[test]
    fn an_untouched_workspace_verifies() {
        let folder = workspace();
        verify(folder.path()).unwrap();
        // The place does not count.
        assert_eq!(
            kernel_sources(folder.path()).unwrap(),
            kernel_sources(workspace().path()).unwrap()
        );
    }

    #[test]
    fn one_byte_of_any_source_counts() {
        let files = [
            "tls-sniff-common/src/lib.rs",
            "tls-sniff-common/src/deep/er.rs",
            "tls-sniff-common/Cargo.toml",
            "tls-sniff-ebpf/src/main.rs",
            "tls-sniff-ebpf/Cargo.toml",
        ];
        for file in files {
            let folder = workspace();
            let mut content = fs::read_to_string(folder.path().join(file)).unwrap();
            content.push('\n');
            put(folder.path(), file, &content);
            assert!(stale(verify(folder.path())), "{file}");
        }
    }

    #[test]
    fn names_and_borders_of_files_count() {
        let folder = workspace();
        let source = folder.path().join("tls-sniff-common/src");
        fs::rename(source.join("lib.rs"), source.join("other.rs")).unwrap();
        assert!(stale(verify(folder.path())));

        let folder = workspace();
        put(folder.path(), "tls-sniff-ebpf/src/empty.rs", "");
        assert!(stale(verify(folder.path())));
    }

    #[test]
    fn editors_files_do_not_count() {
        let folder = workspace();
        put(folder.path(), "tls-sniff-ebpf/src/.main.rs.swp", "x");
        verify(folder.path()).unwrap();
    }

    #[test]
    fn the_closure_of_locked_dependencies_counts() {
        assert!(stale(with_lock("\"0.2.1\"", "\"0.2.2\"")), "direct");
        assert!(stale(with_lock("\"bb\"", "\"bc\"")), "indirect");
        assert!(stale(with_lock("2.0.0", "2.0.1")), "one of two");
    }

    #[test]
    fn other_locked_packages_do_not_count() {
        with_lock("name = \"tokio\"\nversion = \"1.0.0\"", "name = \"tokio\"\nversion = \"1.0.1\"")
            .unwrap();
        with_lock(
            "name = \"proptest\"\nversion = \"1.0.0\"",
            "name = \"proptest\"\nversion = \"1.0.1\"",
        )
        .unwrap();
        with_lock("name = \"twice\"\nversion = \"1.0.0\"", "name = \"twice\"\nversion = \"1.0.1\"")
            .unwrap();
    }

    #[test]
    fn another_object_is_told_apart_from_other_sources() {
        let folder = workspace();
        put(folder.path(), OBJECT, "objecT");
        let error = verify(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("tls-sniff/bpf/tls-sniff.bpf.o is not the object"), "{error}");
    }

    #[test]
    fn a_missing_record_says_what_to_run() {
        let folder = workspace();
        fs::remove_file(folder.path().join(RECORD)).unwrap();
        let error = format!("{:#}", verify(folder.path()).unwrap_err());
        assert!(error.contains("run `cargo xtask build-ebpf`"), "{error}");
        assert!(error.contains("tls-sniff.bpf.toml"), "{error}");
    }
}
