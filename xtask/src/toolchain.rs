//! Which programs build the kernel object.
//!
//! ```text
//!            compiler            core for BPF             linker         strip and nm
//!  Debian    /usr/bin/rustc      libstd-rust-web-dev-bpf  bpf-linker on  LLVM 22
//!                                                         LLVM 22
//!  rustup    nightly             built from rust-src      bpf-linker     llvm-tools
//! ```
//!
//! Debian's is preferred where it is installed: it is pinned by its packages, so that two machines get
//! the same bytes. The cargo is the caller's own on Debian: its version does not reach the object.

use std::env;
use std::path::{self, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::run::{cargo, find, output};

/// The bpf-linker that is installed and asked for.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// The name of the BPF target: little-endian, no operating system.
pub const TARGET: &str = "bpfel-unknown-none";

/// Debian's compiler.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
/// Where Debian's llvm-22 packages put their programs and libraries.
pub const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";

/// The programs that build the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// Debian's rustc with its prebuilt `core` for BPF.
    Debian,
    /// rustup's nightly, which builds `core` itself.
    Nightly,
}

/// Versions of the programs that built an object, each one the line that the program itself prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Versions {
    /// `rustc --version`
    pub rustc: String,
    /// `bpf-linker --version`
    pub bpf_linker: String,
    /// The line of `llvm-strip --version` that names LLVM's version.
    pub llvm: String,
}

impl Toolchain {
    /// The toolchain that is installed here.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn installed() -> Result<Self> {
        if Self::debian_is_installed() {
            return Ok(Self::Debian);
        }
        nightly_sysroot().map(|_| Self::Nightly).context(
            "no compiler for BPF: neither Debian's rustc-web with libstd-rust-web-dev-bpf nor \
             rustup's nightly is here; run `cargo xtask setup`",
        )
    }

    /// Whether Debian's compiler and its `core` for BPF are here.
    #[must_use]
    pub fn debian_is_installed() -> bool {
        Path::new(DEBIAN_RUSTC).is_file() && Path::new(DEBIAN_CORE).is_dir()
    }

    /// A cargo command that goes with this toolchain; arguments are still to come.
    #[must_use]
    pub fn cargo(self, root: &Path) -> Command {
        match self {
            Self::Debian => cargo(root),
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.current_dir(root).args(["run", "nightly", "cargo"]);
                command
            }
        }
    }

    /// Makes cargo compile with this toolchain and with no wrapper around the compiler, whatever the
    /// user's configuration says.
    pub fn set_compiler(self, command: &mut Command) {
        command.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
        if self == Self::Debian {
            // BPF inline assembly is unstable: E0554 without the second variable.
            command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        }
    }

    /// The folder whose sources of `core` show up in the object as paths of this machine. Debian's
    /// `core` is prebuilt with paths that are the same everywhere.
    ///
    /// # Errors
    ///
    /// If the nightly compiler does not run.
    pub fn sysroot_with_sources(self) -> Result<Option<PathBuf>> {
        match self {
            Self::Debian => Ok(None),
            Self::Nightly => nightly_sysroot().map(Some),
        }
    }

    /// The path of an LLVM program, `llvm-strip` or `llvm-nm`.
    ///
    /// # Errors
    ///
    /// If it is not installed.
    pub fn llvm_tool(self, name: &str) -> Result<PathBuf> {
        let own_folder = match self {
            Self::Debian => PathBuf::from(DEBIAN_LLVM).join("bin"),
            Self::Nightly => {
                let host = format!("lib/rustlib/{}-unknown-linux-gnu/bin", env::consts::ARCH);
                nightly_sysroot()?.join(host)
            }
        };
        Some(own_folder.join(name))
            .filter(|file| file.is_file())
            .or_else(|| find(&format!("{name}-22")))
            .or_else(|| find(name))
            .with_context(|| format!("no program {name}; run `cargo xtask setup`"))
    }

    /// The versions of what builds an object now.
    ///
    /// # Errors
    ///
    /// If one of the programs is missing or does not run.
    pub fn versions(self) -> Result<Versions> {
        let mut rustc = match self {
            Self::Debian => Command::new(DEBIAN_RUSTC),
            Self::Nightly => nightly_rustc(),
        };
        let llvm = output(Command::new(self.llvm_tool("llvm-strip")?).arg("--version"))?;
        let llvm = llvm.lines().find(|line| line.contains("LLVM version")).unwrap_or(&llvm);
        Ok(Versions {
            rustc: output(rustc.arg("--version"))?,
            bpf_linker: bpf_linker_version()?,
            llvm: llvm.trim().to_owned(),
        })
    }
}

/// What `bpf-linker --version` prints.
///
/// # Errors
///
/// If it is missing or does not run.
pub fn bpf_linker_version() -> Result<String> {
    let program = cargo_bin()
        .map(|folder| folder.join("bpf-linker"))
        .filter(|file| file.is_file())
        .or_else(|| find("bpf-linker"))
        .context("no bpf-linker; run `cargo xtask setup`")?;
    output(Command::new(program).arg("--version"))
}

/// Cargo's home: registry and installed programs.
///
/// # Errors
///
/// If neither CARGO_HOME nor HOME is set.
pub fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    Ok(path::absolute(home)?)
}

/// Where `cargo install` puts programs.
#[must_use]
pub fn cargo_bin() -> Option<PathBuf> {
    let root = env::var_os("CARGO_INSTALL_ROOT").map(PathBuf::from);
    root.or_else(|| cargo_home().ok()).map(|folder| folder.join("bin"))
}

fn nightly_rustc() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "rustc"]);
    command
}

fn nightly_sysroot() -> Result<PathBuf> {
    Ok(output(nightly_rustc().args(["--print", "sysroot"]))?.into())
}
