//! Patterns for names: `*` for any run of characters, `?` for one, in upper or lower case.

use std::{convert::Infallible, fmt, iter, mem, str::FromStr};

use wildmatch::WildMatch;

/// `[!]PATTERN`. An absent name is the empty one: the pattern `` takes what has none, `?*` what has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Glob {
    /// Names that match are unwanted.
    pub excluded: bool,
    pattern: WildMatch,
}

/// Which characters may stand at one place of a name; asked with letters in lower case.
pub(super) type Place = fn(char) -> bool;

impl Glob {
    /// Whether a name fits the pattern, excluded or not.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }

    /// Whether it excludes what fits a pattern with a wildcard.
    pub(super) fn excludes_some(&self) -> bool {
        self.excluded && self.text().contains(['*', '?'])
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> String {
        self.pattern.to_string()
    }

    /// Whether some name of this form fits the pattern.
    pub(super) fn may_match(&self, form: &[Place]) -> bool {
        // Before which places of the form the pattern may stand so far.
        let mut reached = vec![false; form.len() + 1];
        reached.iter_mut().take(1).for_each(|it| *it = true);
        for wanted in self.text().to_lowercase().chars() {
            let mut before = false;
            let places = iter::once(None).chain(form.iter().map(Some));
            for (here, place) in reached.iter_mut().zip(places) {
                if wanted == '*' {
                    before |= *here;
                    *here = before;
                } else {
                    let fits = place.is_some_and(|place| wanted == '?' || place(wanted));
                    before = mem::replace(here, before && fits);
                }
            }
        }
        reached.last().is_some_and(|end| *end)
    }
}

impl FromStr for Glob {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let behind = text.strip_prefix('!').or_else(|| text.strip_prefix("not "));
        let pattern = WildMatch::new_case_insensitive(behind.unwrap_or(text).trim());
        Ok(Self { excluded: behind.is_some(), pattern })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = self.text();
        if pattern.is_empty() { f.write_str("(none)") } else { f.write_str(&pattern) }
    }
}

/// Whether a list of patterns wants something that goes by some names: one of them is included, or nothing is
/// said of what to include, and none is excluded.
pub fn wants<'a>(globs: &[Glob], names: impl Iterator<Item = &'a str> + Clone) -> bool {
    let matches = |glob: &Glob| names.clone().any(|name| glob.matches(name));
    let mut included = globs.iter().filter(|glob| !glob.excluded).peekable();
    let wanted = included.peek().is_none() || included.any(matches);
    wanted && !globs.iter().filter(|glob| glob.excluded).any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(globs: &[&str], name: &str) -> bool {
        let globs: Vec<Glob> = globs.iter().map(|glob| glob.parse().unwrap()).collect();
        wants(&globs, [name].into_iter())
    }

    #[test]
    fn names_and_patterns() {
        assert!(takes(&[], "anything"));
        assert!(takes(&["*.example.org"], "WWW.Example.Org"));
        assert!(!takes(&["*.example.org"], "example.org"));
        assert!(takes(&["*.example.org", "example.org"], "example.org"));
        assert!(takes(&["!*.example.org"], "example.net"));
        assert!(!takes(&["*", "not www.*"], "www.example.org"));
        assert!(takes(&["h?"], "h2"));
        assert!(takes(&[""], "") && !takes(&[""], "a"));
        assert!(takes(&["?*"], "a") && !takes(&["?*"], ""));
    }
}
