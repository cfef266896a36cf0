//! Patterns for names: `*` for any run of characters, `?` for one, in upper or lower case.

use std::{convert::Infallible, fmt, str::FromStr};

use wildmatch::WildMatch;

/// `[!]PATTERN`. An absent name is the empty one: the pattern `` takes what has none, `?*` what has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Glob {
    /// Names that match are unwanted.
    pub excluded: bool,
    pattern: WildMatch,
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
        let pattern = self.pattern.to_string();
        if pattern.is_empty() { f.write_str("(none)") } else { f.write_str(&pattern) }
    }
}

/// Whether a list of patterns wants something that goes by some names: one of them is included, or nothing is
/// said of what to include, and none is excluded.
pub fn wants<'a>(globs: &[Glob], names: impl Iterator<Item = &'a str> + Clone) -> bool {
    let matches = |glob: &Glob| names.clone().any(|name| glob.pattern.matches(name));
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
