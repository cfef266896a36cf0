//! What a test needs of the machine: privileges, tools, the corpus.
//!
//! [`Need::missing`] says why a need is not met, in words for the person who runs the tests. What
//! follows from it (ignored or failed) is the runner's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace_root;

/// Folders of system tools that are often not on an unprivileged user's PATH.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The capabilities behind [`Need::Root`]: number (linux/capability.h) and name.
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (39, "CAP_BPF")];

/// One thing that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Effective CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN: namespaces, interfaces, BPF programs.
    Root,
    /// A program on PATH or in one of the system folders.
    Tool(&'static str),
    /// Namespaces and mounts in which a systemd boots, see [`crate::systemd`].
    Systemd,
    /// The folder of captures beside the repository, see [`corpus`].
    Corpus,
}

impl Need {
    /// Why the need is not met on this machine; `None` if it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Need::Root => missing_capabilities(
                &fs::read_to_string("/proc/self/status").expect("/proc is mounted"),
            ),
            Need::Tool(name) => {
                tool(name).is_none().then(|| format!("needs the program {name}, not on PATH"))
            }
            Need::Systemd => crate::systemd::missing(),
            Need::Corpus => corpus().is_none().then(|| {
                "needs the corpus: no folder ../shared/corpus beside the repository and none \
                 named by TLS_SNIFF_CORPUS"
                    .to_owned()
            }),
        }
    }

    /// Whether the need may be unmet in CI without failing the test: the corpus is not part of the
    /// repository, a test uses it when it is there and says so when it is not.
    pub fn may_be_absent_in_ci(self) -> bool {
        self == Need::Corpus
    }
}

/// Which of [`CAPABILITIES`] the text of /proc/PID/status lacks in its `CapEff` line.
fn missing_capabilities(status: &str) -> Option<String> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .expect("/proc/PID/status has a line CapEff with a hexadecimal mask");
    let missing: Vec<_> = CAPABILITIES
        .iter()
        .filter(|(number, _)| effective & (1 << number) == 0)
        .map(|(_, name)| *name)
        .collect();
    (!missing.is_empty()).then(|| format!("needs root: lacks {}", missing.join(" ")))
}

/// Whether this runs in CI, where what is missing is a failure: `CI` is set, and not to a no.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "0" | "false"))
}

/// The path of a program: the first on PATH, else in a system folder.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

/// A command that runs the program `name` from where [`tool`] finds it.
pub fn command(name: &str) -> Command {
    Command::new(tool(name).unwrap_or_else(|| PathBuf::from(name)))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The folder of captures: `TLS_SNIFF_CORPUS` if it is set, else `../shared/corpus` beside the
/// repository. `None` if that is no folder.
pub fn corpus() -> Option<PathBuf> {
    std::env::var_os("TLS_SNIFF_CORPUS")
        .map_or_else(|| workspace_root().join("../shared/corpus"), PathBuf::from)
        .canonicalize()
        .ok()
        .filter(|folder| folder.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_missing_capabilities() {
        // As the kernel writes it for an unprivileged process, for root, and for a root without
        // CAP_BPF (bit 39, capability mask 0x80_0000_0000).
        let status = |mask: &str| missing_capabilities(&format!("Name:\tx\nCapEff:\t{mask}\n"));
        assert_eq!(
            status("0000000000000000").unwrap(),
            "needs root: lacks CAP_NET_ADMIN CAP_SYS_ADMIN CAP_BPF"
        );
        assert_eq!(status("000001ffffffffff"), None);
        assert_eq!(status("0000017fffffffff").unwrap(), "needs root: lacks CAP_BPF");
    }

    #[test]
    fn finds_tools_that_are_there_only() {
        assert!(tool("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(tool("tls-sniff-no-such-program"), None);
        assert!(Need::Tool("tls-sniff-no-such-program").missing().is_some());
        assert_eq!(Need::Tool("sh").missing(), None);
    }
}
