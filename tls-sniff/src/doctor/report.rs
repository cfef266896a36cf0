//! What was found, as lines for people or as one JSON object.

use std::{fmt, io};

use serde::Serialize;

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// Works, but not as well as it could.
    Warning,
    /// Does not work.
    Problem,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about; does not change from version to version.
    pub id: &'static str,
    /// The interface, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// How good it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn new(id: &'static str, level: Level, found: impl Into<String>) -> Self {
        Self { id, interface: None, level, found: found.into(), advice: None }
    }

    pub(super) fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Self::new(id, Level::Ok, found)
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(super) fn of(mut self, interface: &str) -> Self {
        self.interface = Some(interface.to_owned());
        self
    }
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The host first, then interface by interface.
    pub findings: Vec<Finding>,
}

/// Width of the columns before what was found.
const LEVEL_WIDTH: usize = 8;
const ID_WIDTH: usize = 17;

#[derive(Serialize)]
struct Json<'a> {
    version: &'static str,
    capture_works: bool,
    findings: &'a [Finding],
}

impl Report {
    /// Whether nothing stands in the way of a live capture.
    #[must_use]
    pub fn capture_works(&self) -> bool {
        self.count(Level::Problem) == 0
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// Writes one JSON object and a line's end.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn write_json(&self, mut to: impl io::Write) -> io::Result<()> {
        let json = Json {
            version: env!("CARGO_PKG_VERSION"),
            capture_works: self.capture_works(),
            findings: &self.findings,
        };
        serde_json::to_writer(&mut to, &json)?;
        to.write_all(b"\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut interface = None;
        for finding in &self.findings {
            if finding.interface != interface {
                interface.clone_from(&finding.interface);
                if let Some(name) = &interface {
                    writeln!(f, "\n{name}")?;
                }
            }
            let Finding { id, level, found, advice, .. } = finding;
            writeln!(f, "{:LEVEL_WIDTH$} {id:ID_WIDTH$} {found}", level.word())?;
            if let Some(advice) = advice {
                writeln!(f, "{:LEVEL_WIDTH$} {:ID_WIDTH$} → {advice}", "", "")?;
            }
        }
        let count = |level: Level| match self.count(level) {
            1 => format!("1 {}", level.word()),
            number => format!("{number} {}s", level.word()),
        };
        let verdict = if self.capture_works() { "works" } else { "does not work" };
        let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
        writeln!(f, "\nlive capture {verdict} here ({problems}, {warnings})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_a_problem_decides() {
        let mut report = Report {
            findings: vec![
                Finding::ok("kernel", "Linux 6.1"),
                Finding::new("jit", Level::Warning, "off")
                    .advise("sysctl net.core.bpf_jit_enable=1"),
                Finding::ok("xdp_mode", "native").of("eth0"),
            ],
        };
        let text = "\
ok       kernel            Linux 6.1
warning  jit               off
                           → sysctl net.core.bpf_jit_enable=1

eth0
ok       xdp_mode          native

live capture works here (0 problems, 1 warning)
";
        assert_eq!(report.to_string(), text);
        report.findings.push(Finding::new("capabilities", Level::Problem, "none"));
        assert!(!report.capture_works());
        let mut json = Vec::new();
        report.write_json(&mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["capture_works"], false);
        assert_eq!(json["findings"][2]["interface"], "eth0");
        assert_eq!(json["findings"][1]["advice"], "sysctl net.core.bpf_jit_enable=1");
        assert!(json["findings"][0].get("interface").is_none());
    }
}
