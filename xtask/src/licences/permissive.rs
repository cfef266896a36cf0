//! Whether a licence expression lets a program that is linked with the crate be given away with nothing but notices.

/// Licences that ask for their notice and no more. What is not here is refused until somebody has read it.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression leaves a choice of permissive licences alone; what is no expression does not.
///
/// `A/B` is what crates wrote for `A OR B` once. An exception behind `WITH` only ever allows more.
pub(super) fn is(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words) == Some(true) && words.next().is_none()
}

/// The identifiers in an expression, in its order.
pub(super) fn identifiers(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| c.is_whitespace() || "()/".contains(c))
        .filter(|word| !matches!(*word, "" | "AND" | "OR" | "WITH"))
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// `A OR B OR …`: one of them is enough. `None` is for what is no expression, here and below.
fn any(words: &mut Words) -> Option<bool> {
    let mut permissive = all(words)?;
    while words.next_if_eq(&"OR").is_some() {
        permissive |= all(words)?;
    }
    Some(permissive)
}

/// `A AND B AND …`, which binds closer than `OR`: all of them must be.
fn all(words: &mut Words) -> Option<bool> {
    let mut permissive = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        permissive &= one(words)?;
    }
    Some(permissive)
}

/// A licence, with or without an exception, or an expression in parentheses.
fn one(words: &mut Words) -> Option<bool> {
    match words.next()? {
        "(" => {
            let permissive = any(words)?;
            words.next_if_eq(&")").map(|_| permissive)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        licence => {
            if words.next_if_eq(&"WITH").is_some() {
                words.next()?;
            }
            Some(PERMISSIVE.contains(&licence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissive_is_what_leaves_a_permissive_choice() {
        for expression in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-2.0-only OR MIT",
            "BSD-3-Clause AND BSD-2-Clause",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "MIT AND (GPL-2.0-only OR Zlib)",
        ] {
            assert!(is(expression), "{expression}");
        }
    }

    #[test]
    fn all_else_is_not() {
        for expression in [
            "",
            "GPL-3.0-or-later",
            "AGPL-3.0-only",
            "SSPL-1.0",
            "MPL-2.0",
            "LicenseRef-mine",
            "MIT AND GPL-2.0-only",
            "MIT AND (GPL-2.0-only OR LGPL-2.1-only)",
            "GPL-2.0-only OR MIT AND GPL-3.0-only",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "MIT OR",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
            "MIT WITH",
            "non-standard",
        ] {
            assert!(!is(expression), "{expression}");
        }
    }

    #[test]
    fn identifiers_are_without_operators() {
        let found: Vec<_> = identifiers("(MIT OR Apache-2.0) AND Unicode-3.0").collect();
        assert_eq!(found, ["MIT", "Apache-2.0", "Unicode-3.0"]);
        assert_eq!(identifiers("MIT/Apache-2.0").collect::<Vec<_>>(), ["MIT", "Apache-2.0"]);
    }
}
