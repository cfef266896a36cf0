//! `cargo xtask build-ebpf`: the kernel object from source, the same bytes in any folder.
//!
//! ```text
//!  cargo build ── bpf-linker --btf ──► llvm-strip -g ──► llvm-nm ──► tls-sniff/bpf/
//!  fixed profile,  BTF out of the       DWARF out, BTF    no panic     .o and .toml
//!  paths remapped  debug info           and symbols stay
//! ```
//!
//! The bytes depend on the sources and the toolchain only: flags, profile and wrappers of the caller's
//! environment are taken out, the profile is fixed here and not in Cargo.toml, and each path of this
//! machine is remapped.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::digest::{self, OBJECT, RECORD, Recorded, kernel_sources, read, recorded, sha256};
use crate::run::{output, path_with, run, say, without_build_settings, workspace_root};
use crate::toolchain::{TARGET, Toolchain, Versions, cargo_bin, cargo_home};

const PACKAGE: &str = "tls-sniff-ebpf";

/// The release profile of the kernel object. Link-time optimisation is bpf-linker's work, on the bitcode of
/// all crates. Debug information is where BTF comes from.
const PROFILE: [(&str, &str); 9] = [
    ("CODEGEN_UNITS", "1"),
    ("DEBUG", "2"),
    ("DEBUG_ASSERTIONS", "false"),
    ("INCREMENTAL", "false"),
    ("LTO", "off"),
    ("OPT_LEVEL", "3"),
    ("OVERFLOW_CHECKS", "false"),
    ("PANIC", "abort"),
    ("STRIP", "none"),
];

/// Builds the object and puts it and its record in the place where they are committed.
///
/// # Errors
///
/// If a program is missing or fails, or the object could not be loaded.
pub fn build() -> Result<()> {
    let root = root()?;
    let fresh = Fresh::build(&root, &root.join("target/bpf"))?;
    write(&root.join(OBJECT), &fresh.object)?;
    let record = toml::to_string(&fresh.recorded).context("cannot write the record as TOML")?;
    let record = format!("# Written by `cargo xtask build-ebpf`.\n\n{record}");
    write(&root.join(RECORD), record.as_bytes())?;
    say(&format!("wrote {OBJECT} ({} bytes) and {RECORD}", fresh.object.len()));
    Ok(())
}

/// Builds the object into `file`, without a record.
///
/// # Errors
///
/// See [`build`].
pub fn build_to(file: &Path) -> Result<()> {
    let root = root()?;
    let fresh = Fresh::build(&root, &root.join("target/bpf"))?;
    write(file, &fresh.object)?;
    say(&format!("wrote {} ({} bytes)", file.display(), fresh.object.len()));
    Ok(())
}

/// Builds the object in an empty folder and compares it with the committed one.
///
/// # Errors
///
/// If they differ, with the reason and what to do; and see [`build`].
pub fn check() -> Result<()> {
    let root = root()?;
    let recorded = recorded(&root)?;
    let parent = root.join("target");
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let scratch = tempfile::Builder::new().prefix("bpf-check-").tempdir_in(&parent);
    let scratch =
        scratch.with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    let fresh = Fresh::build(&root, scratch.path())?;
    if fresh.object == read(&root.join(OBJECT))? {
        digest::verify(&root)?;
        say(&format!("{OBJECT} is what the sources give, byte for byte"));
        return Ok(());
    }
    let kept = parent.join("tls-sniff.bpf.rebuilt.o");
    write(&kept, &fresh.object)?;
    bail!(
        "{OBJECT} is not what the sources give here: {}; the rebuilt object is {}",
        difference(&recorded, &fresh.recorded),
        kept.display()
    )
}

/// Why a rebuilt object differs from the committed one, and what to do.
fn difference(committed: &Recorded, fresh: &Recorded) -> String {
    const COMMIT: &str = "run `cargo xtask build-ebpf` and commit the result";
    if committed.sources_sha256 != fresh.sources_sha256 {
        return format!("the kernel-side sources changed since it was built: {COMMIT}");
    }
    let tools = differing_tools(&committed.toolchain, &fresh.toolchain);
    if !tools.is_empty() {
        return format!(
            "the toolchain differs: {}; install the recorded one, or {COMMIT}",
            tools.join(", ")
        );
    }
    format!(
        "sources and toolchain are the recorded ones, only the bytes differ (sha256 {} here, {} \
         recorded): the object was changed by hand, or the build takes in something of this machine",
        fresh.object_sha256, committed.object_sha256
    )
}

fn differing_tools(committed: &Versions, fresh: &Versions) -> Vec<String> {
    [
        (&committed.rustc, &fresh.rustc),
        (&committed.bpf_linker, &fresh.bpf_linker),
        (&committed.llvm, &fresh.llvm),
    ]
    .into_iter()
    .filter(|(committed, fresh)| committed != fresh)
    .map(|(committed, fresh)| format!("{committed} recorded, {fresh} here"))
    .collect()
}

/// An object that was built just now, and what from.
struct Fresh {
    object: Vec<u8>,
    recorded: Recorded,
}

impl Fresh {
    fn build(root: &Path, target_dir: &Path) -> Result<Self> {
        let toolchain = Toolchain::installed()?;
        let versions = toolchain.versions()?;
        let sources_sha256 = kernel_sources(root)?;
        let object = compile(root, toolchain, target_dir)?;
        if kernel_sources(root)? != sources_sha256 {
            bail!("the kernel-side sources changed while they were compiled: run it again");
        }
        let recorded =
            Recorded { object_sha256: sha256(&object), sources_sha256, toolchain: versions };
        Ok(Self { object, recorded })
    }
}

/// Compiles, links, strips and inspects the object; all files stay below `target_dir`.
fn compile(root: &Path, toolchain: Toolchain, target_dir: &Path) -> Result<Vec<u8>> {
    run(&mut cargo_build(root, toolchain, target_dir)?)
        .context("cannot compile the kernel programs")?;
    let linked = target_dir.join(TARGET).join("release").join(PACKAGE);
    let stripped = target_dir.join("tls-sniff.bpf.o");
    let mut strip = Command::new(toolchain.llvm_tool("llvm-strip")?);
    // Only debug information: without its symbols the object cannot be relocated at load.
    run(strip.arg("--strip-debug").arg("-o").args([&stripped, &linked]))
        .context("cannot strip the kernel object")?;
    refuse_panics(toolchain, &stripped)?;
    read(&stripped)
}

fn cargo_build(root: &Path, toolchain: Toolchain, target_dir: &Path) -> Result<Command> {
    let mut command = toolchain.cargo(root);
    without_build_settings(&mut command);
    toolchain.set_compiler(&mut command);
    for (key, value) in PROFILE {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    if let Some(folder) = cargo_bin() {
        // rustc finds bpf-linker by PATH.
        command.env("PATH", path_with(&folder)?);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, toolchain, target_dir)?);
    command.args(["build", "--release", "--locked", "--target", TARGET]);
    command.args(["--package", PACKAGE, "--bin", PACKAGE, "--target-dir"]).arg(target_dir);
    if toolchain == Toolchain::Nightly {
        command.args(["-Z", "build-std=core"]);
    }
    Ok(command)
}

/// The compiler's flags, separated as CARGO_ENCODED_RUSTFLAGS wants them.
fn rustflags(root: &Path, toolchain: Toolchain, target_dir: &Path) -> Result<OsString> {
    let mut flags = OsString::from(
        // aya-ebpf picks the kernel's struct layouts by this; the object is the same for aarch64 but
        // for path strings.
        "--cfg=bpf_target_arch=\"x86_64\"\x1f\
         -Cdebuginfo=2\x1f\
         -Clink-arg=--btf",
    );
    for (from, to) in remapped_paths(root, toolchain, target_dir)? {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

/// Folders of this machine that show up in the object, and what they are called there. The compiler
/// takes the last one that fits: a folder within another comes after it.
fn remapped_paths(
    root: &Path,
    toolchain: Toolchain,
    target_dir: &Path,
) -> Result<Vec<(PathBuf, &'static str)>> {
    let cargo_home = cargo_home()?;
    let mut paths = vec![
        (root.to_path_buf(), "/src"),
        (target_dir.to_path_buf(), "/target"),
        (cargo_home.clone(), "/cargo"),
    ];
    // The folder's name holds a hash of the registry's address: another one for each mirror.
    let registries = fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten();
    paths.extend(registries.flatten().map(|entry| (entry.path(), "/cargo/registry")));
    if let Some(sysroot) = toolchain.sysroot_with_sources()? {
        paths.push((sysroot, "/rust"));
    }
    paths.sort_by_key(|(from, _)| from.as_os_str().len());
    Ok(paths)
}

/// A panic that survived compilation ends in a loop without end, which no verifier accepts: better
/// found here than at load.
fn refuse_panics(toolchain: Toolchain, object: &Path) -> Result<()> {
    let symbols = output(Command::new(toolchain.llvm_tool("llvm-nm")?).arg(object))
        .context("cannot list the symbols of the kernel object")?;
    let panics: Vec<_> = symbols
        .lines()
        .filter(|line| line.contains("panicking"))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    if !panics.is_empty() {
        bail!(
            "a panic survives in the kernel object, which would not load: {}; look for an index, a \
             slice or a division without a check",
            panics.join(" ")
        );
    }
    Ok(())
}

/// The workspace, as the compiler will call it: symbolic links resolved.
fn root() -> Result<PathBuf> {
    let root = workspace_root();
    root.canonicalize().with_context(|| format!("no folder {}", root.display()))
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(sources: &str, rustc: &str, object: &str) -> Recorded {
        Recorded {
            object_sha256: object.to_owned(),
            sources_sha256: sources.to_owned(),
            toolchain: Versions {
                rustc: rustc.to_owned(),
                bpf_linker: "bpf-linker 0.13.0".to_owned(),
                llvm: "LLVM version 22.1.8".to_owned(),
            },
        }
    }

    #[test]
    fn says_which_of_sources_toolchain_and_bytes_differs() {
        let committed = built("aa", "rustc 1.96.0", "00");
        let text = difference(&committed, &built("bb", "rustc 1.97.0", "11"));
        assert!(text.starts_with("the kernel-side sources changed"), "{text}");
        let text = difference(&committed, &built("aa", "rustc 1.97.0", "11"));
        assert!(
            text.starts_with(
                "the toolchain differs: rustc 1.96.0 recorded, rustc 1.97.0 here; install"
            ),
            "{text}"
        );
        let text = difference(&committed, &built("aa", "rustc 1.96.0", "11"));
        assert!(text.contains("only the bytes differ (sha256 11 here, 00 recorded)"), "{text}");
    }

    #[test]
    fn folders_within_others_are_remapped_after_them() {
        let root = Path::new("/home/me/work");
        let paths = remapped_paths(root, Toolchain::Debian, &root.join("target/bpf")).unwrap();
        let at = |name| paths.iter().position(|(_, to)| *to == name).unwrap();
        assert!(at("/src") < at("/target"), "{paths:?}");
    }
}
