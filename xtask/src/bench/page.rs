//! The page with the figures: what stands between two markers is replaced, all else is left as it is.
//!
//! ```text
//!  <!-- bench:NAME -->
//!  … replaced …
//!  <!-- /bench:NAME -->
//! ```

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::figures::Reach;

/// The block of the targets.
const REACH: &str = "reach";

/// The heads of its table.
const HEADS: &str = "| part | target | wanted | figure | reached |\n|---|---|---|---|---|\n";

/// The text of the page.
pub(super) struct Page(String);

impl Page {
    /// Takes the page's text.
    ///
    /// # Errors
    ///
    /// If a marker has no counterpart: better no figure than words that are lost.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut open: Option<&str> = None;
        for line in text.lines() {
            let Some(marker) =
                line.trim().strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"))
            else {
                continue;
            };
            if let Some(name) = marker.strip_prefix("bench:") {
                ensure!(open.is_none(), "{name} begins before {} ends", open.unwrap_or_default());
                open = Some(name);
            } else if let Some(name) = marker.strip_prefix("/bench:") {
                ensure!(open == Some(name), "{name} ends and did not begin");
                open = None;
            }
        }
        ensure!(open.is_none(), "{} does not end", open.unwrap_or_default());
        Ok(Self(text.to_owned()))
    }

    /// Where the text between the markers of `name` starts and ends.
    fn block(&self, name: &str) -> Result<(usize, usize)> {
        let (begin, end) = (format!("<!-- bench:{name} -->\n"), format!("<!-- /bench:{name} -->"));
        let missing = || format!("no marker <!-- bench:{name} --> on a line of its own");
        let start = self.0.find(&begin).with_context(missing)? + begin.len();
        let rest = self.0.get(start..).unwrap_or_default();
        let length = rest.find(&end).with_context(missing)?;
        Ok((start, start + length))
    }

    /// Replaces what a part found.
    ///
    /// # Errors
    ///
    /// If the page has no place for it.
    pub(super) fn part(&mut self, name: &str, text: &str) -> Result<()> {
        let (start, end) = self.block(name)?;
        self.0.replace_range(start..end, &format!("{}\n", text.trim_end()));
        Ok(())
    }

    /// Replaces the targets of one part; those of the others stay. Parts stand in the order of `order`.
    ///
    /// # Errors
    ///
    /// If the page has no place for them.
    pub(super) fn reach(&mut self, part: &str, targets: &[Reach], order: &[&str]) -> Result<()> {
        let (start, end) = self.block(REACH)?;
        let part_of = |row: &str| row.split('|').nth(1).unwrap_or_default().trim().to_owned();
        let block = self.0.get(start..end).unwrap_or_default();
        let rows = block.lines().filter(|line| line.starts_with('|')).skip(2);
        let mut rows: Vec<_> = rows.filter(|row| part_of(row) != part).map(str::to_owned).collect();
        rows.extend(targets.iter().map(|reach| {
            let Reach { what, wanted, figure, .. } = reach;
            format!("| {part} | {what} | {wanted} | {figure} | {} |", reach.verdict())
        }));
        rows.sort_by_key(|row| order.iter().position(|name| *name == part_of(row)));
        let rows: String = rows.into_iter().map(|row| row + "\n").collect();
        self.0.replace_range(start..end, &format!("{HEADS}{rows}"));
        Ok(())
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of the target and path of the executable, if a line of cargo's messages tells of one.
///
/// xtask has no JSON parser; cargo writes each message on a line, its keys in this order, without spaces.
pub(super) fn executable(message: &str) -> Option<(String, String)> {
    let value = |key: &str| {
        let (_, rest) = message.split_once(&format!("\"{key}\":\""))?;
        // A path with a quote or a backslash would be escaped; none is expected below target/.
        Some(rest.split_once('"')?.0.to_owned())
    };
    let path = value("executable")?;
    let (_, target) = message.split_once("\"target\":")?;
    let (_, name) = target.split_once("\"name\":\"")?;
    Some((name.split_once('"')?.0.to_owned(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Head\n\n<!-- bench:reach -->\n<!-- /bench:reach -->\n\nwords\n<!-- bench:a -->\nold\n\
                        <!-- /bench:a -->\nmore words\n<!-- bench:ab -->\nother\n<!-- /bench:ab -->\n";

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let mut page = Page::parse(TEXT).unwrap();
        page.part("a", "new\n\n| t |\n\n").unwrap();
        let wanted = TEXT.replace("old\n", "new\n\n| t |\n");
        assert_eq!(page.to_string(), wanted);
        page.part("a", "new\n\n| t |").unwrap();
        assert_eq!(page.to_string(), wanted, "and again");
        assert!(page.part("b", "x").unwrap_err().to_string().contains("bench:b"));
    }

    #[test]
    fn markers_that_do_not_match_are_refused() {
        for text in [
            "<!-- bench:a -->\n",
            "<!-- /bench:a -->\n",
            "<!-- bench:a -->\n<!-- bench:b -->\n<!-- /bench:b -->\n<!-- /bench:a -->\n",
            "<!-- bench:a -->\n<!-- /bench:b -->\n",
        ] {
            assert!(Page::parse(text).is_err(), "{text}");
        }
        assert!(Page::parse("<!-- other -->\n").is_ok());
    }

    #[test]
    fn targets_of_other_parts_stay() {
        let target = |figure: f64| Reach::at_most("cost", figure, 2.0, 1, "×");
        let order = ["a", "ab"];
        let mut page = Page::parse(TEXT).unwrap();
        page.reach("ab", &[target(3.0)], &order).unwrap();
        page.reach("a", &[target(1.0), target(9.0)], &order).unwrap();
        page.reach("a", &[target(1.5)], &order).unwrap();
        let wanted = format!(
            "<!-- bench:reach -->\n{HEADS}| a | cost | ≤ 2× | 1.5× | yes |\n\
             | ab | cost | ≤ 2× | 3.0× | **no** |\n<!-- /bench:reach -->"
        );
        assert!(page.to_string().contains(&wanted), "{page}");
        assert!(page.to_string().contains("old\n"));
    }

    #[test]
    fn an_executable_is_found_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","package_id":"path+file:///x#tls-sniff-tests@0.1.0","manifest_path":"/x/Cargo.toml","target":{"kind":["bench"],"crate_types":["bin"],"name":"cost","src_path":"/x/main.rs"},"profile":{"opt_level":"3"},"filenames":["/t/cost-1"],"executable":"/t/cost-1","fresh":true}"#;
        assert_eq!(executable(message), Some(("cost".to_owned(), "/t/cost-1".to_owned())));
        assert_eq!(executable(&message.replace(r#""/t/cost-1","fresh""#, r#"null,"fresh""#)), None);
    }
}
