//! Texts of licences: where a crate keeps them, and each once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How the names of files, and of folders of files, with a licence or a notice begin.
const BEGINNINGS: &[&str] =
    &["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "UNLICENCE"];

/// Extensions of files that have such a name and are something else.
const NO_TEXT: &[&str] =
    &["c", "h", "html", "js", "json", "py", "rs", "sh", "toml", "ts", "yaml", "yml"];

/// Texts by the number under which crates refer to them, each with the files that have it.
#[derive(Debug, Default)]
pub(super) struct Texts {
    numbers: BTreeMap<String, usize>,
    /// Text and names, by number less one.
    texts: Vec<(String, Vec<String>)>,
}

impl Texts {
    /// The number of `text`, a new one or that of an equal text; `name` is added to its files.
    pub(super) fn number(&mut self, text: &str, name: String) -> usize {
        let text = tidied(text);
        let next = self.texts.len() + 1;
        let number = *self.numbers.entry(text.clone()).or_insert(next);
        match self.texts.get_mut(number - 1) {
            Some((_, names)) => names.push(name),
            None => self.texts.push((text, vec![name])),
        }
        number
    }

    /// The texts in the order of their numbers, each with the names of its files.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str, &[String])> {
        self.texts.iter().zip(1..).map(|((text, names), number)| (number, &**text, &**names))
    }
}

/// The text without what editors differ in: ends of lines, white space there, empty lines around all.
fn tidied(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// The files below `folder` that have a licence or a notice in them, as paths from there, sorted. They lie deep where
/// a crate brings a library of others, in C for example.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, Path::new(""), false, &mut found)?;
    found.sort();
    Ok(found)
}

/// `all` is for what lies in a folder of licences, whose files may have any name.
fn collect(top: &Path, below: &Path, all: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let folder = top.join(below);
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let path = below.join(&name);
        let named = is_name(&name);
        // Hidden: what tools of the crate's authors keep.
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if entry.file_type()?.is_dir() {
            if !hidden {
                collect(top, &path, named, found)?;
            }
        } else if (named || (all && !hidden)) && !is_code(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_name(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

fn is_code(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| NO_TEXT.contains(&&*extension))
}

/// Reads a text in UTF-8, or else in Latin-1, in which old ones have the names of authors.
pub(super) fn read(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_ends_of_lines_are_one() {
        let mut texts = Texts::default();
        let name = str::to_owned;
        assert_eq!(texts.number("a \r\nb\r\n", name("one")), 1);
        assert_eq!(texts.number("other", name("two")), 2);
        assert_eq!(texts.number("\na\nb", name("three")), 1);
        let all: Vec<_> = texts.iter().collect();
        let shared = [name("one"), name("three")];
        assert_eq!(all, [(1, "a\nb", &shared[..]), (2, "other", &[name("two")][..])]);
    }

    #[test]
    fn licences_are_found_wherever_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "src/license.rs",
            "src/spin/LICENSE",
            ".github/LICENSE",
            "LICENSE-MIT",
            "licence.md",
            "LICENSES/MIT.txt",
            "LICENSES/.gitignore",
            "library/COPYING",
            "NOTICE",
            "README",
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        let found: Vec<_> =
            files(folder.path()).unwrap().iter().map(|file| file.display().to_string()).collect();
        let expected = [
            "LICENSE-MIT",
            "LICENSES/MIT.txt",
            "NOTICE",
            "library/COPYING",
            "licence.md",
            "src/spin/LICENSE",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn old_texts_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("COPYING");
        fs::write(&file, b"J\xfcrgen").unwrap();
        assert_eq!(read(&file).unwrap(), "Jürgen");
        fs::write(&file, "Jürgen").unwrap();
        assert_eq!(read(&file).unwrap(), "Jürgen");
    }
}
