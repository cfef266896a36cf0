//! Figures as people and `cargo xtask bench` read them: medians with their range, Markdown tables, and one line for
//! each target.

use std::fmt;

/// Several measurements of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// Takes one more.
    pub fn push(&mut self, value: f64) {
        let at = self.0.partition_point(|other| *other < value);
        self.0.insert(at, value);
    }

    /// The middle one; not a number if there are none.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    /// The least.
    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The greatest.
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// Each measurement divided by the one of the same round.
    pub fn ratios(these: &[f64], others: &[f64]) -> Self {
        these.iter().zip(others).map(|(one, other)| one / other).collect()
    }

    /// `median (min…max)`; the median alone if there is but one.
    pub fn show(&self, decimals: usize) -> String {
        let Self(values) = self;
        match values.as_slice() {
            [] => "–".to_owned(),
            [only] => format!("{only:.decimals$}"),
            _ => {
                let (median, min, max) = (self.median(), self.min(), self.max());
                format!("{median:.decimals$} ({min:.decimals$}…{max:.decimals$})")
            }
        }
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut spread = Self::default();
        values.into_iter().for_each(|value| spread.push(value));
        spread
    }
}

/// A Markdown table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// A table with these column heads.
    pub fn new<S: AsRef<str>>(heads: &[S]) -> Self {
        let mut table = Self { columns: heads.len(), text: String::new() };
        table.row(heads);
        table.text.push_str(&"|---".repeat(heads.len()));
        table.text.push_str("|\n");
        table
    }

    /// Adds a row.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        assert_eq!(cells.len(), self.columns, "cells in a row");
        for cell in cells {
            self.text.push_str("| ");
            self.text.push_str(&cell.as_ref().replace('|', "\\|"));
            self.text.push(' ');
        }
        self.text.push_str("|\n");
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A target and how far it was reached, on one line of a bench's output that starts with [`Reach::MARK`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What was measured.
    pub what: String,
    /// What is wanted.
    pub wanted: String,
    /// What it came to.
    pub figure: String,
    /// Whether that is what is wanted; `None` if it was not measured.
    pub reached: Option<bool>,
}

impl Reach {
    /// What its line starts with.
    pub const MARK: &str = "reach\t";

    /// A target that is not to be exceeded.
    pub fn at_most(what: &str, figure: f64, limit: f64, decimals: usize, unit: &str) -> Self {
        Self::bound(what, figure, decimals, unit, &format!("≤ {limit}"), figure <= limit)
    }

    /// A target that is to be met or exceeded.
    pub fn at_least(what: &str, figure: f64, limit: f64, decimals: usize, unit: &str) -> Self {
        Self::bound(what, figure, decimals, unit, &format!("≥ {limit}"), figure >= limit)
    }

    fn bound(what: &str, figure: f64, decimals: usize, unit: &str, want: &str, met: bool) -> Self {
        let measured = figure.is_finite();
        let figure =
            if measured { format!("{figure:.decimals$}{unit}") } else { "not measured".to_owned() };
        Self {
            what: what.to_owned(),
            wanted: format!("{want}{unit}"),
            figure,
            reached: measured.then_some(met),
        }
    }

    /// The line, without its end.
    pub fn line(&self) -> String {
        let Self { what, wanted, figure, .. } = self;
        format!("{}{what}\t{wanted}\t{figure}\t{}", Self::MARK, self.verdict())
    }

    /// Reads [`Reach::line`] back.
    pub fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.strip_prefix(Self::MARK)?.split('\t').collect();
        let [what, wanted, figure, verdict] = fields.as_slice() else { return None };
        let reached = match *verdict {
            "yes" => Some(true),
            "**no**" => Some(false),
            _ => None,
        };
        let [what, wanted, figure] = [what, wanted, figure].map(|field| (*field).to_owned());
        Some(Self { what, wanted, figure, reached })
    }

    /// In a word.
    pub fn verdict(&self) -> &'static str {
        match self.reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        }
    }
}

/// One line about what goes on, on stderr: stdout has the tables.
pub fn progress(line: &str) {
    eprintln!("  {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_in_order_whatever_comes() {
        let spread: Spread = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!(spread.show(1), "2.0 (1.0…3.0)");
        let even: Spread = [4.0, 1.0, 2.0, 3.0].into_iter().collect();
        assert!((even.median() - 2.5).abs() < f64::EPSILON);
        assert_eq!(Spread::default().show(1), "–");
        assert_eq!(Spread::ratios(&[2.0, 9.0], &[1.0, 3.0]).show(0), "2 (2…3)");
    }

    #[test]
    fn a_target_is_read_back() {
        for reach in [
            Reach::at_most("a", 1.2, 1.35, 2, "×"),
            Reach::at_most("a", 1.4, 1.35, 2, "×"),
            Reach::at_least("b", 96.0, 97.0, 1, " %"),
            Reach::at_least("b", f64::NAN, 97.0, 1, " %"),
        ] {
            assert_eq!(Reach::parse(&reach.line()), Some(reach));
        }
        assert_eq!(Reach::at_most("a", 1.35, 1.35, 2, "×").reached, Some(true));
        assert_eq!(Reach::at_least("a", f64::NAN, 1.0, 0, "").reached, None);
        assert_eq!(Reach::parse("| a | b |"), None);
    }

    #[test]
    fn a_cell_does_not_end_its_row() {
        let mut table = Table::new(&["a", "b"]);
        table.row(&["1|2", "3"]);
        assert_eq!(table.to_string(), "| a | b |\n|---|---|\n| 1\\|2 | 3 |\n");
    }
}
