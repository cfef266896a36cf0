//! Who maintains the package: `--maintainer`, else DEBFULLNAME and DEBEMAIL, else what tls-sniff/Cargo.toml has.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run::say;

/// The variables in which Debian's own tools look for a name and an address.
const VARIABLES: [&str; 2] = ["DEBFULLNAME", "DEBEMAIL"];

/// The maintainer as `NAME <ADDRESS>`; says so if it is nobody.
pub(super) fn choose(root: &Path, given: Option<&str>) -> Result<String> {
    let [name, address] = VARIABLES.map(|name| env::var(name).ok());
    let chosen = match given {
        Some(given) => Some(given.to_owned()),
        None => of_variables(name.as_deref(), address.as_deref())?,
    };
    let maintainer = match chosen {
        Some(maintainer) => maintainer,
        None => of_manifest(&fs::read_to_string(root.join("tls-sniff/Cargo.toml"))?)?,
    };
    if is_placeholder(&maintainer) {
        let [name, address] = VARIABLES;
        say(&format!(
            "note        the maintainer is a placeholder, {maintainer}: --maintainer 'NAME <ADDRESS>', or {name} and \
             {address}, give another"
        ));
    }
    Ok(maintainer)
}

/// A maintainer in the form that Debian's control files have.
///
/// # Errors
///
/// If it is none; the message says what the form is.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let parts = text.strip_suffix('>').and_then(|rest| rest.split_once(" <"));
    let is_word = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    let is_address = |address: &str| {
        let mut parts = address.split('@');
        parts.clone().count() == 2 && parts.all(is_word) && !address.contains(['<', '>'])
    };
    let is_name = |name: &str| {
        !name.trim().is_empty() && !name.contains(['<', '>']) && !name.contains(char::is_control)
    };
    match parts {
        Some((name, address)) if is_name(name) && is_address(address) => Ok(text.to_owned()),
        _ => Err("it is not of the form NAME <ADDRESS>".to_owned()),
    }
}

/// What Debian's variables say, of which the second may say all; nothing unless there is an address and a name.
fn of_variables(name: Option<&str>, address: Option<&str>) -> Result<Option<String>> {
    let maintainer = match (name, address) {
        (_, Some(all)) if all.contains('<') => all.to_owned(),
        (Some(name), Some(address)) if !name.is_empty() && !address.is_empty() => {
            format!("{name} <{address}>")
        }
        _ => return Ok(None),
    };
    let parsed = parse(&maintainer).map_err(anyhow::Error::msg);
    parsed.with_context(|| format!("{}: {maintainer:?}", VARIABLES.join(", "))).map(Some)
}

fn of_manifest(manifest: &str) -> Result<String> {
    let manifest: toml::Table = manifest.parse()?;
    let maintainer = ["metadata", "deb", "maintainer"]
        .iter()
        .try_fold(manifest.get("package").context("no package")?, |table, key| table.get(key))
        .and_then(toml::Value::as_str);
    maintainer.map(str::to_owned).context("no maintainer in tls-sniff/Cargo.toml")
}

/// Whether the address is at a domain that stands for others, as RFC 2606 has them.
fn is_placeholder(maintainer: &str) -> bool {
    maintainer.ends_with(".example>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_taken_together_or_not_at_all() {
        let chosen = |name, address| of_variables(name, address).unwrap();
        let both = chosen(Some("A. Person"), Some("a@site.test"));
        assert_eq!(both.as_deref(), Some("A. Person <a@site.test>"));
        let all = chosen(Some("Ignored"), Some("A. Person <a@site.test>"));
        assert_eq!(all.as_deref(), Some("A. Person <a@site.test>"));
        for (name, address) in [
            (None, None),
            (Some("A. Person"), None),
            (None, Some("a@site.test")),
            (Some(""), Some("")),
        ] {
            assert_eq!(chosen(name, address), None, "{name:?} {address:?}");
        }
        let error = of_variables(Some("A. Person"), Some("nowhere")).unwrap_err();
        assert!(format!("{error:#}").contains("DEBEMAIL"), "{error:#}");
    }

    #[test]
    fn forms_are_checked() {
        parse("A. Person <a.person@site.test>").unwrap();
        for text in [
            "",
            "A. Person",
            "a@site.test",
            "<a@site.test>",
            " <a@site.test>",
            "A. Person <a>",
            "A. Person <a@>",
            "A. Person <a@b@c>",
            "A. Person <a@site .test>",
            "A\nPerson <a@site.test>",
            "A. Person <a@site.test>, B <b@site.test>",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_manifests_is_a_placeholder_until_it_is_somebody() {
        let manifest = "[package.metadata.deb]\nmaintainer = \"Us <us@here.example>\"\n";
        let maintainer = of_manifest(manifest).unwrap();
        assert_eq!(maintainer, "Us <us@here.example>");
        assert!(is_placeholder(&maintainer) && !is_placeholder("Us <us@here.test>"));
    }
}
