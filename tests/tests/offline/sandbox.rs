//! The sandbox of a process that reads a file, and what it does where the kernel lacks a part of it.

use std::{os::unix::process::CommandExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use tls_sniff_tests::sniffer::{Sniffer, Stopped};

use super::{SOON, handshakes, tls_sniff};

/// A kernel without a system call, as far as a process can tell that starts with this filter.
fn without(call: libc::c_long) -> Result<BpfProgram> {
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let rules = [(call, Vec::new())].into();
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, absent, arch)?.try_into()?)
}

fn read(flags: &[&str], lacking: Option<libc::c_long>) -> Result<Stopped> {
    let file = handshakes();
    let file = file.to_str().context("a path in UTF-8")?;
    let mut command = tls_sniff(&["-r", file, "--format", "json"])?;
    command.args(flags);
    if let Some(call) = lacking {
        let filter = without(call)?;
        let apply = move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other);
        // SAFETY: between fork and exec it makes two system calls and allocates nothing unless one fails.
        unsafe { command.pre_exec(apply) };
    }
    Sniffer::spawn(command)?.finish(SOON)
}

/// Said once and done without; an error if it is required. The same is told with and without a sandbox.
pub(crate) fn what_is_missing_is_said() -> Result<()> {
    let whole = read(&["--require-sandbox"], None)?;
    ensure!(whole.status.success() && whole.stderr.is_empty(), "{whole:#?}");
    let none = read(&["--no-sandbox"], None)?;
    ensure!(none.status.success() && none.stderr.len() == 1, "{none:#?}");
    let told = |stopped: &Stopped| stopped.events[..stopped.events.len() - 1].to_vec();
    for (call, part) in [
        (libc::SYS_landlock_create_ruleset, "no Landlock in this kernel (5.13)"),
        (libc::SYS_seccomp, "no seccomp in this kernel"),
    ] {
        let part_less = read(&[], Some(call))?;
        ensure!(part_less.status.success(), "{part_less:#?}");
        let said = part_less.stderr.iter().filter(|line| line.contains(part)).count();
        ensure!(said == 1 && part_less.stderr.len() == 1, "{part_less:#?}");
        for other in [&none, &part_less] {
            ensure!(told(other) == told(&whole), "{other:#?}");
        }
        let refused = read(&["--require-sandbox"], Some(call))?;
        ensure!(refused.status.code() == Some(1) && refused.events.is_empty(), "{refused:#?}");
        let log = refused.stderr.join("\n");
        ensure!(log.contains(part) && log.contains("hint: "), "{log}");
    }
    Ok(())
}

/// As root, without the capability to write everywhere: told at the start, and only if files are renewed there.
pub(crate) fn directory_of_another_user() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534))?;
    let capture = folder.path().join("x.pcapng");
    let written = |path: &Path, more: &[&str]| {
        let path = path.to_str().context("a path in UTF-8")?;
        read(&[&["-w", path], more].concat(), None)
    };
    let once = written(&capture, &[])?;
    ensure!(once.status.success() && capture.metadata()?.len() > 0, "{once:#?}");
    let refused = written(&capture, &["-C", "1K"])?;
    ensure!(refused.status.code() == Some(1), "{refused:#?}");
    let log = refused.stderr.join("\n");
    let named = folder.path().to_str().is_some_and(|folder| log.contains(folder));
    ensure!(named && log.contains("the directory's owner") && refused.stderr.len() == 2, "{log}");
    Ok(())
}
