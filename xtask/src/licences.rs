//! What the licences of linked crates ask for: their notices go with the program.
//!
//! ```text
//!  cargo tree      which crates are linked: the program's, and the kernel programs' in it ┐
//!  cargo metadata  their licences, authors, sources                                       ├─► THIRD-PARTY-LICENSES
//!  their sources   LICENSE*, COPYING*, NOTICE*                                            │
//!  the compiler    what its standard library is made of                                   ┘
//! ```
//!
//! `cargo metadata` alone would not do: it unites the features that all of the workspace asks for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::run::{cargo, output, say};
use crate::toolchain::TARGET;

mod permissive;
mod texts;

use texts::Texts;

/// The licences whose texts this repository has, for crates that come without.
const STANDARD: [(&str, &str); 2] = [("Apache-2.0", "LICENSE-APACHE"), ("MIT", "LICENSE-MIT")];

const RULE: &str =
    "--------------------------------------------------------------------------------";

const PREFACE: &str = "\
What of others is in the program tls-sniff: crates that are linked into it, those of the kernel programs
in it, and those that wrote code of it when it was built. First the crates, then the texts that they come
with, by number. Where a licence leaves a choice, the texts of all that may be chosen are here.
";

/// What `cargo metadata` says, as far as it is wanted here. The crate of that name would do the same and make
/// serde_json another one, by a feature, for all of the workspace.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

/// A crate.
#[derive(Debug, Default, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<PathBuf>,
    authors: Vec<String>,
    repository: Option<String>,
    homepage: Option<String>,
    manifest_path: PathBuf,
}

/// The text of THIRD-PARTY-LICENSES for the host's program.
///
/// # Errors
///
/// If a linked crate's licence is not permissive, cargo fails, or a file cannot be read.
pub fn third_party(root: &Path) -> Result<String> {
    let version = output(cargo(root).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("cargo names no host")?;
    let metadata = metadata(root, host)?;
    let mut linked = linked(root, "tls-sniff", host)?;
    linked.append(&mut self::linked(root, "tls-sniff-ebpf", TARGET)?);
    let crates = third(&metadata, &linked)?;
    refuse(&crates)?;

    let mut texts = Texts::default();
    let mut list = format!("{PREFACE}\n{RULE}\n\n");
    standard_library(root, &mut list, &mut texts)?;
    for package in crates {
        describe(root, package, &mut list, &mut texts)?;
    }
    for (number, text, names) in texts.iter() {
        write!(list, "{RULE}\nText {number}\n")?;
        names.iter().try_for_each(|name| writeln!(list, "  of {name}"))?;
        write!(list, "{RULE}\n\n{text}\n\n")?;
    }
    Ok(list)
}

/// What cargo knows of the crates that the workspace needs on `target`.
fn metadata(root: &Path, target: &str) -> Result<Metadata> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
    serde_json::from_str(&output(cargo(root).args(arguments))?).context("cargo metadata")
}

/// Name and version of each crate that `package` is linked with or made by on `target`, without build scripts' and
/// tests' own.
fn linked(root: &Path, package: &str, target: &str) -> Result<BTreeSet<(String, String)>> {
    let arguments = ["tree", "--locked", "--package", package, "--target", target];
    let format = ["--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let tree = output(cargo(root).args(arguments).args(format))?;
    // "NAME vVERSION", and perhaps its folder and kind.
    let line = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    };
    tree.lines()
        .filter(|text| !text.is_empty())
        .map(|text| line(text).with_context(|| format!("cargo tree says {text:?}")))
        .collect()
}

/// Those of the linked crates that are not the workspace's, sorted by name and version.
fn third<'a>(
    metadata: &'a Metadata,
    linked: &BTreeSet<(String, String)>,
) -> Result<Vec<&'a Package>> {
    let find = |(name, version): &(String, String)| {
        metadata
            .packages
            .iter()
            .find(|package| package.name == *name && package.version == *version)
            .with_context(|| format!("cargo metadata does not know {name} {version}"))
    };
    let packages = linked.iter().map(find).collect::<Result<Vec<_>>>()?;
    let third = |package: &&Package| !metadata.workspace_members.contains(&package.id);
    Ok(packages.into_iter().filter(third).collect())
}

/// Fails if a package with these crates in it could not be given away under this project's licence.
fn refuse(crates: &[&Package]) -> Result<()> {
    let refused: Vec<_> = crates
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(permissive::is))
        .map(|package| {
            let licence = package.license.as_deref().unwrap_or("none named");
            format!("{} {} ({licence})", package.name, package.version)
        })
        .collect();
    if !refused.is_empty() {
        bail!("crates whose licence is not known as permissive: {}", refused.join(", "));
    }
    Ok(())
}

/// Adds a crate to the list and its texts to the others.
fn describe(root: &Path, package: &Package, list: &mut String, texts: &mut Texts) -> Result<()> {
    let name = format!("{} {}", package.name, package.version);
    let licence = package.license.as_deref().unwrap_or_default();
    let folder = package.manifest_path.parent().context("a manifest without a folder")?;
    let mut files = texts::files(folder)?;
    files.extend(package.license_file.clone());
    files.sort();
    files.dedup();

    let mut numbers = BTreeSet::new();
    for file in files {
        let text = texts::read(&folder.join(&file))?;
        numbers.insert(texts.number(&text, format!("{name}, {}", file.display())));
    }
    writeln!(list, "{name}\n  Licence: {licence}")?;
    if !package.authors.is_empty() {
        writeln!(list, "  Authors: {}", package.authors.join(", "))?;
    }
    if let Some(from) = package.repository.as_ref().or(package.homepage.as_ref()) {
        writeln!(list, "  Repository: {from}")?;
    }
    let mut label = "Texts";
    if numbers.is_empty() {
        label = "Standard texts, for it comes without";
        numbers = standard(root, licence, &name, texts)?;
    }
    if numbers.is_empty() {
        say(&format!("warning: {name} ({licence}) comes without the text of its licence"));
        return write!(list, "  Texts: it comes without\n\n").map_err(Into::into);
    }
    let numbers: Vec<_> = numbers.iter().map(usize::to_string).collect();
    write!(list, "  {label}: {}\n\n", numbers.join(", ")).map_err(Into::into)
}

/// The numbers of the texts that this repository has of those licences.
fn standard(root: &Path, licence: &str, name: &str, texts: &mut Texts) -> Result<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for (identifier, file) in STANDARD {
        if !permissive::identifiers(licence).any(|named| named == identifier) {
            continue;
        }
        let text = texts::read(&root.join(file))?;
        // Whose copyright it is differs; ours it is not.
        let lines = text.lines().filter(|line| !line.starts_with("Copyright (c)"));
        let text = lines.collect::<Vec<_>>().join("\n");
        numbers.insert(texts.number(&text, format!("{name}, standard text of {identifier}")));
    }
    Ok(numbers)
}

/// Adds Rust's standard library, with what the compiler brings about it: rustup's says it all.
fn standard_library(root: &Path, list: &mut String, texts: &mut Texts) -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = |argument: &[&str]| output(Command::new(&rustc).current_dir(root).args(argument));
    let version = rustc(&["--version"])?;
    let notices =
        Path::new(&rustc(&["--print", "sysroot"])?).join("share/doc/rust/COPYRIGHT-library.html");
    let name = format!("Rust's standard library, {version}");
    let licence = "MIT OR Apache-2.0";
    let numbers = match fs::read_to_string(&notices) {
        Ok(html) => {
            BTreeSet::from([texts.number(&words(&html), format!("{name}, COPYRIGHT-library"))])
        }
        Err(_) => standard(root, licence, &name, texts)?,
    };
    let numbers: Vec<_> = numbers.iter().map(usize::to_string).collect();
    write!(
        list,
        "{name}\n  Licence: {licence}\n  Authors: The Rust Project Developers (see https://thanks.rust-lang.org)\n  \
         Repository: https://github.com/rust-lang/rust\n  Texts: {}\n\n",
        numbers.join(", ")
    )
    .map_err(Into::into)
}

/// What a page says: without its elements, and with no more than one empty line in a row.
fn words(html: &str) -> String {
    let text: String =
        html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
    let entities = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    let text = entities.iter().fold(text, |text, (entity, is)| text.replace(entity, is));
    let mut lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, license: Option<&str>) -> Package {
        let license = license.map(str::to_owned);
        let name = name.to_owned();
        Package { name, version: "1.0.0".to_owned(), license, ..Package::default() }
    }

    #[test]
    fn what_is_not_permissive_is_refused_by_name() {
        let good = package("good", Some("MIT"));
        refuse(&[&good]).unwrap();
        let (gpl, none) = (package("copyleft", Some("AGPL-3.0-only")), package("silent", None));
        let error = refuse(&[&gpl, &good, &none]).unwrap_err().to_string();
        let expected = "crates whose licence is not known as permissive: \
                        copyleft 1.0.0 (AGPL-3.0-only), silent 1.0.0 (none named)";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_crate_without_a_text_has_the_standard_ones_or_is_said_to_have_none() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("LICENSE-MIT"), "Copyright (c) us\n\nMay be copied\n").unwrap();
        let folder = root.path().join("crate");
        fs::create_dir(&folder).unwrap();
        let described = |licence| {
            let mut package = package("bare", Some(licence));
            package.manifest_path = folder.join("Cargo.toml");
            let (mut list, mut texts) = (String::new(), Texts::default());
            describe(root.path(), &package, &mut list, &mut texts).unwrap();
            let texts: Vec<_> = texts.iter().map(|(_, text, _)| text.to_owned()).collect();
            (list, texts)
        };
        let (list, texts) = described("MIT OR ISC");
        assert!(list.contains("\n  Standard texts, for it comes without: 1\n"), "{list}");
        assert_eq!(texts, ["May be copied"]);
        let (list, texts) = described("ISC");
        assert!(list.contains("\n  Texts: it comes without\n"), "{list}");
        assert!(texts.is_empty());

        fs::write(folder.join("LICENSE"), "of the crate").unwrap();
        let (list, texts) = described("MIT");
        assert!(list.contains("\n  Texts: 1\n"), "{list}");
        assert_eq!(texts, ["of the crate"]);
    }

    #[test]
    fn pages_become_text() {
        let page = "<h1 id=\"a\">Who</h1>\n\n  <br>\n<p>A &#60;a@b&#62;,\nB &amp; C</p>\n";
        assert_eq!(words(page), "Who\n\nA <a@b>,\nB & C");
    }
}
