//! Commands and words: runs a program, shows it first as a line that can be pasted into a shell, and
//! turns a failure into one line that names it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// One line for the person who runs the chore, on stderr like cargo's own.
#[expect(clippy::print_stderr, reason = "the one place where xtask speaks")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// The top folder of the workspace that this xtask belongs to.
///
/// `cargo run` says at run time where the package lies, which stays true when several clones share
/// one target folder; a binary started by hand falls back on where it was built.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let package =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let package = PathBuf::from(package);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

/// A cargo command in `root`, with the cargo that started this program.
#[must_use]
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Takes out of the command's environment what would change how cargo compiles: flags, profiles,
/// wrappers, target folders. What says where cargo lives and how it reaches the network stays.
pub fn without_build_settings(command: &mut Command) {
    const PREFIXES: [&str; 7] = [
        "CARGO_BUILD_",
        "CARGO_ENCODED_",
        "CARGO_INCREMENTAL",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
        "RUSTC",
    ];
    const NAMES: [&str; 3] = ["RUSTFLAGS", "RUSTDOCFLAGS", "RUST_TARGET_PATH"];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NAMES.contains(&&*text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// Shows the command and runs it with this program's own stdin, stdout and stderr.
///
/// # Errors
///
/// If it does not start, or ends with anything but success.
pub fn run(command: &mut Command) -> Result<()> {
    say(&format!("$ {}", shown(command)));
    let status = command.status().with_context(|| cannot_run(command))?;
    if !status.success() {
        bail!("{status} from `{}`", brief(command));
    }
    Ok(())
}

/// The standard output of a command that runs unseen, without the white space at its end.
///
/// # Errors
///
/// If it does not start, ends with anything but success (with the last line that it said), or writes
/// something else than UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_run(command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim_end().lines().last().unwrap_or("it said nothing");
        bail!("{} from `{}`: {last}", output.status, brief(command));
    }
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` wrote something else than UTF-8", brief(command)))?;
    Ok(text.trim_end().to_owned())
}

/// The path of a program: the first on PATH, else in a system folder.
pub use tls_sniff_tests::need::tool as find;

/// Whether this process runs as root: the owner of its /proc entry is its effective user.
#[must_use]
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run `{}`", command.get_program().display())
}

/// The program and its first arguments: enough to know which command is meant.
fn brief(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = [name].into_iter().chain(command.get_args());
    words.take(4).take_while(|word| *word != "--").map(quoted).collect::<Vec<_>>().join(" ")
}

/// The command as a shell would take it, with the environment variables set for it.
fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        value.map(|value| format!("{}={}", name.display(), quoted(value)))
    });
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// One word in the shell's quotes, if it needs them.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    if !word.chars().any(|c| c.is_control() || c == '\'') {
        return format!("'{word}'");
    }
    let escaped = word.chars().map(|c| match c {
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("$'{}'", escaped.collect::<String>())
}

/// PATH with `folder` in front.
///
/// # Errors
///
/// If the folder's name holds a colon.
pub fn path_with(folder: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([folder.to_path_buf()].into_iter().chain(env::split_paths(&path)))
        .with_context(|| format!("cannot put {} on PATH", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_shell_reads_back() {
        let words = ["plain", "", "two words", "it's", "a\x1fb", "back\\slash's", "\"x\"", "$HOME"];
        let mut echo = Command::new("printf");
        echo.arg("%s|").args(words);
        let line = shown(&echo);
        let through_bash = output(Command::new("bash").arg("-c").arg(&line)).unwrap();
        assert_eq!(through_bash, words.map(|word| format!("{word}|")).concat());
    }

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let error = output(Command::new("sh").args(["-c", "echo first; echo why >&2; exit 3"]));
        let message = format!("{:#}", error.unwrap_err());
        assert!(message.contains("exit status: 3"), "{message}");
        assert!(message.ends_with("why"), "{message}");
        let error = run(&mut Command::new("tls-sniff-no-such-program")).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot run `tls-sniff-no-such-program`"));
    }
}
