//! `cargo xtask bench`: what watching costs, measured on this machine and written into docs/BENCHMARKS.md.
//!
//! ```text
//!  tls-sniff, and one program with all parts ── built once, as released
//!   part, in turn ── stdout: tables, targets ──► docs/BENCHMARKS.md between its markers
//! ```
//!
//! Parts that need root are left out without it, and what they wrote before stays.

mod page;

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use tls_sniff_tests::{figures::Reach, need::Need, netns};

use self::page::Page;
use crate::{
    run::{cargo, output, say, workspace_root},
    setup,
};

/// What the page is, from the top of the workspace.
const PAGE: &str = "docs/BENCHMARKS.md";

/// A part of the bench.
struct Part {
    name: &'static str,
    root: bool,
    /// Programs that it compares with; a row says so if there are none.
    programs: &'static [&'static str],
}

/// In the order in which they run: first those that need no privileges.
const PARTS: [Part; 7] = [
    Part { name: "offline", root: false, programs: &["openssl", "tcpdump", "tshark"] },
    Part { name: "ring", root: false, programs: &["openssl"] },
    Part { name: "memory", root: false, programs: &[] },
    Part { name: "kernel", root: true, programs: &[] },
    Part { name: "filters", root: true, programs: &[] },
    Part {
        name: "flood",
        root: true,
        programs: &["ip", "openssl", "taskset", "tcpdump", "tshark"],
    },
    Part { name: "host", root: true, programs: &["ip", "iperf3", "openssl", "taskset", "tcpdump"] },
];

/// The two programs, as released.
struct Built {
    tls_sniff: PathBuf,
    bench: PathBuf,
}

/// What one part printed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Printed {
    tables: String,
    reach: Vec<Reach>,
}

/// Runs the named parts, or all of them, and writes down what they found.
///
/// # Errors
///
/// If there is no such part, something does not build, or a part fails; what others found is written down all the
/// same.
pub fn run(names: &[String], quick: bool) -> Result<()> {
    let parts = chosen(names)?;
    let start = Instant::now();
    let missing_root = Need::Root.missing();
    let (parts, left_out): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| !part.root || missing_root.is_none());
    install(&parts);
    let built = build()?;
    let machine = machine()?;
    let path = workspace_root().join(PAGE);
    if parts.iter().any(|part| part.root) {
        netns::sweep().context("namespaces of a run that was killed")?;
    }
    let mut failed = Vec::new();
    for part in &parts {
        say(&format!("==== {}", part.name));
        let began = Instant::now();
        let outcome = measure(&built, part, quick);
        let took = began.elapsed().as_secs();
        let (text, reach) = match outcome {
            Ok(Printed { tables, reach }) => (format!("{machine} {took} s.\n\n{tables}"), reach),
            Err(error) => {
                say(&format!("FAILED: {error:#}"));
                failed.push(part.name);
                // What an earlier run reached is not what this one did.
                (format!("{machine} Failed: {error:#}"), Vec::new())
            }
        };
        if quick {
            say(&text);
            reach.iter().for_each(|reach| say(&reach.line()));
            continue;
        }
        let mut page = Page::parse(&fs::read_to_string(&path)?)?;
        page.part(part.name, &text)?;
        page.reach(part.name, &reach, &PARTS.map(|part| part.name))?;
        fs::write(&path, page.to_string())?;
        say(&format!("     {took} s; written to {PAGE}"));
    }
    if let (Some(reason), false) = (missing_root, left_out.is_empty()) {
        let names: Vec<_> = left_out.iter().map(|part| part.name).collect();
        say(&format!("left out, {reason}: {}", names.join(" ")));
    }
    say(&format!("==== {} s in all", start.elapsed().as_secs()));
    ensure!(failed.is_empty(), "failed: {}", failed.join(" "));
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Part>> {
    let known = || PARTS.iter().map(|part| part.name).collect::<Vec<_>>().join(" ");
    if let Some(name) = names.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        bail!("no part {name}; there are {}", known());
    }
    let is_chosen = |part: &&Part| names.is_empty() || names.iter().any(|name| name == part.name);
    Ok(PARTS.iter().filter(is_chosen).collect())
}

/// Installs what is missing, if that can be done: the parts say in their tables what they had to do without.
fn install(parts: &[&Part]) {
    let mut programs: Vec<_> = parts.iter().flat_map(|part| part.programs).copied().collect();
    programs.sort_unstable();
    programs.dedup();
    if let Err(error) = setup::programs(&programs) {
        say(&format!("warning: {error:#}; the tables say what is missing"));
    }
}

/// Builds both programs by one command, so that what they have in common is built once.
fn build() -> Result<Built> {
    say("building as released (some minutes, the first time)");
    let mut command = cargo(&workspace_root());
    command.args(["build", "--release", "--package", "tls-sniff", "--package", "tls-sniff-tests"]);
    command.args([
        "--bin",
        "tls-sniff",
        "--bench",
        "cost",
        "--message-format",
        "json-render-diagnostics",
    ]);
    // Its own words go to the person who waits.
    let output = command.stderr(Stdio::inherit()).output().context("cargo build")?;
    ensure!(output.status.success(), "it does not build");
    let messages = String::from_utf8(output.stdout)?;
    let executable = |name: &str| {
        let found =
            messages.lines().filter_map(page::executable).find(|(target, _)| target == name);
        found.map(|(_, path)| PathBuf::from(path)).with_context(|| format!("cargo built no {name}"))
    };
    Ok(Built { tls_sniff: executable("tls-sniff")?, bench: executable("cost")? })
}

/// Runs a part; its words about what goes on are shown as they come.
fn measure(built: &Built, part: &Part, quick: bool) -> Result<Printed> {
    let mut command = Command::new(&built.bench);
    command.args(["--bench", part.name]).args(quick.then_some("--quick"));
    command.env("TLS_SNIFF_BIN", &built.tls_sniff).current_dir(workspace_root());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start the bench")?;
    let words = child.stderr.take().context("stderr is piped")?;
    let words = thread::spawn(move || {
        BufReader::new(words).lines().map_while(Result::ok).for_each(|line| say(&line));
    });
    let output = child.wait_with_output()?;
    let _shown = words.join();
    ensure!(output.status.success(), "{}", output.status);
    Ok(printed(&String::from_utf8(output.stdout)?))
}

/// Takes the targets out of what a part printed.
fn printed(stdout: &str) -> Printed {
    let mut printed = Printed::default();
    for line in stdout.lines() {
        match Reach::parse(line) {
            Some(reach) => printed.reach.push(reach),
            None => printed.tables.extend([line, "\n"]),
        }
    }
    printed.tables.truncate(printed.tables.trim_end().len());
    printed
}

/// One line about where this is measured.
fn machine() -> Result<String> {
    let root = workspace_root();
    let said = |command: &mut Command| output(command).unwrap_or_else(|_| "?".to_owned());
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = said(Command::new("uname").arg("-r"));
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = said(Command::new(rustc).current_dir(&root).arg("--version"));
    let rustc = rustc.split(" (").next().unwrap_or_default();
    let date = output(Command::new("date").args(["-u", "+%F"]))?;
    let git = |arguments: &[&str]| said(Command::new("git").current_dir(&root).args(arguments));
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    // The page itself is changed by this.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"]);
    let changed = if changed.is_empty() { "" } else { " and changes" };
    Ok(format!(
        "{model}, {cores} cores, Linux {kernel}, {rustc}, {date}, commit {commit}{changed}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_name() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(&names).map(|parts| parts.iter().map(|part| part.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), PARTS.len());
        assert_eq!(names(&["kernel", "ring"]).unwrap(), ["ring", "kernel"]);
        assert!(names(&["kernl"]).unwrap_err().to_string().contains("kernel"));
    }

    #[test]
    fn each_part_stands_on_the_page() {
        let page = fs::read_to_string(workspace_root().join(PAGE)).unwrap();
        let mut page = Page::parse(&page).unwrap();
        for part in PARTS {
            page.part(part.name, "x").unwrap();
            page.reach(part.name, &[], &[]).unwrap();
        }
    }

    #[test]
    fn targets_are_told_from_tables() {
        let reach = Reach::at_most("a", 1.0, 2.0, 1, "×");
        let stdout = format!("words\n\n| a |\n|---|\n{}\n\n", reach.line());
        let tables = "words\n\n| a |\n|---|".to_owned();
        assert_eq!(printed(&stdout), Printed { tables, reach: vec![reach] });
    }
}
