//! Completions as a shell takes them, man pages as groff formats them.

use anyhow::{Result, ensure};
use tls_sniff_tests::{
    need::command,
    process::{Process, run},
};

use super::{SOON, tls_sniff};

/// What bash offers for the last of some words.
const COMPLETE: &str = r#"
source "$1"; shift
COMP_WORDS=(tls-sniff "$@"); COMP_CWORD=$#
[[ $(complete -p tls-sniff) =~ -F\ ([^ ]+) ]] || exit 1
"${BASH_REMATCH[1]}" tls-sniff "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

pub(crate) fn bash_completes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = dir.path().join("tls-sniff.bash");
    std::fs::write(&script, run(&mut tls_sniff(&["completions", "bash"])?)?)?;
    let offered = |words: &[&str]| -> Result<Vec<String>> {
        let mut bash = command("bash");
        bash.args(["-c", COMPLETE, "bash"]).arg(&script).args(words);
        Ok(run(&mut bash)?.lines().map(str::to_owned).collect())
    };
    let profiles = offered(&["--json-profile", ""])?;
    ensure!(profiles == ["native", "zeek", "eve", "ecs"], "{profiles:?}");
    let flags = offered(&["--json"])?;
    ensure!(flags == ["--json-profile"], "{flags:?}");
    let first = offered(&["check"])?;
    ensure!(first == ["check-config"], "{first:?}");
    ensure!(offered(&["clsact"])? == [""], "what is hidden stays so");
    for shell in ["zsh", "fish"] {
        ensure!(run(&mut tls_sniff(&["completions", shell])?)?.contains("json-profile"), "{shell}");
    }
    Ok(())
}

/// groff has nothing to warn of, and nothing that the pages are for is missing.
pub(crate) fn pages() -> Result<()> {
    let dir = tempfile::tempdir()?;
    tls_sniff::man_pages(dir.path())?;
    let page = |name: &str| -> Result<String> {
        let mut groff = command("groff");
        // Bold and italic as plain characters.
        groff.args(["-k", "-man", "-Tutf8", "-ww", "-P-cbou"]).arg(dir.path().join(name));
        let formatted = Process::spawn(groff, None)?.finish(SOON)?;
        let is_clean = formatted.status.success() && formatted.stderr.is_empty();
        ensure!(is_clean, "{name}: {:#?}", formatted.stderr);
        Ok(formatted.stdout.join("\n"))
    };
    let program = page("tls-sniff.1")?;
    for heading in
        ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "SIGNALS", "EXIT STATUS", "FILES", "EXAMPLES"]
    {
        ensure!(program.lines().any(|line| line == heading), "{heading}: {program}");
    }
    for words in ["--json-profile <PROFILE>", "check-config [FILE]", "tls-sniff -r capture.pcapng"]
    {
        ensure!(program.contains(words), "{words}: {program}");
    }
    ensure!(!program.contains("clsact-guard"));
    let file = page("tls-sniff-config.toml.5")?;
    for key in ["interface", "json-profile", "stats-interval", "rotate-size"] {
        let head = |line: &str| line.split_whitespace().next() == Some(key);
        ensure!(file.lines().any(head), "{key}: {file}");
    }
    Ok(())
}
