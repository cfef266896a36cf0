//! `cargo xtask setup`: installs what building the kernel object needs, and with `--tests` what the
//! tests need. What is there already is left alone, so that a second run does nothing.
//!
//! ```text
//!  Debian, apt knows rustc-web   rustc-web, libstd-rust-web-dev-bpf, llvm-22-dev; bpf-linker on LLVM 22
//!  elsewhere, with rustup        nightly with rust-src and llvm-tools; bpf-linker
//! ```
//!
//! Only Debian's way gives the bytes of the committed object.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{
    cargo, find, is_root, output, run as run_command, say, without_build_settings, workspace_root,
};
use crate::toolchain::{self, BPF_LINKER_VERSION, DEBIAN_LLVM};

/// Debian's packages that compile for BPF.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];

/// What packs the Debian package.
const CARGO_DEB_VERSION: &str = "3.8.0";

/// The name under which rustup knows Debian's compiler, for tls-sniff's cargo feature `build-ebpf`.
const RUSTUP_LINK: &str = "bpf";

/// Programs that the tests start, and the Debian package of each.
const TEST_PROGRAMS: [(&str, &str); 33] = [
    ("bash", "bash"),
    ("bpftool", "bpftool"),
    ("capinfos", "tshark"),
    ("curl", "curl"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("dumpcap", "wireshark-common"),
    ("ethtool", "ethtool"),
    ("groff", "groff-base"),
    ("gzip", "gzip"),
    ("ip", "iproute2"),
    ("journalctl", "systemd"),
    ("lintian", "lintian"),
    ("logrotate", "logrotate"),
    ("man", "man-db"),
    ("mount", "mount"),
    ("nginx", "nginx-light"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("python3", "python3"),
    ("rsyslogd", "rsyslog"),
    ("script", "bsdutils"),
    ("setpriv", "util-linux"),
    ("ss", "iproute2"),
    ("systemctl", "systemd"),
    ("systemd-analyze", "systemd"),
    ("tc", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("unshare", "util-linux"),
    ("valgrind", "valgrind"),
    ("zstd", "zstd"),
];

/// Programs that only `cargo xtask bench` starts.
const BENCH_PROGRAMS: [(&str, &str); 2] = [("iperf3", "iperf3"), ("taskset", "util-linux")];

/// Installs the toolchain for the kernel object; with `tests` also what the tests need.
///
/// # Errors
///
/// If something is missing and cannot be installed; the message says what, and how to do it by hand.
pub fn run(tests: bool) -> Result<()> {
    bpf_toolchain()?;
    if tests { test_tools() } else { Ok(()) }
}

/// Installs a compiler, a linker and binary tools for BPF.
///
/// # Errors
///
/// See [`run`].
pub fn bpf_toolchain() -> Result<()> {
    if is_debian() && (missing_packages(&DEBIAN_PACKAGES).is_empty() || apt_finds_compiler()) {
        install_packages(&DEBIAN_PACKAGES).context("no compiler for BPF")?;
        let llvm_22 = format!("-L native={DEBIAN_LLVM}/lib");
        install_bpf_linker(
            &["--no-default-features", "--features", "llvm-22"],
            &[("LLVM_PREFIX", DEBIAN_LLVM), ("RUSTFLAGS", &llvm_22)],
        )?;
        return link_toolchain();
    }
    if find("rustup").is_some() {
        install_nightly()?;
        return install_bpf_linker(&[], &[]).context(
            "bpf-linker did not build here; ready-made programs are at \
             https://github.com/aya-rs/bpf-linker/releases",
        );
    }
    bail!(
        "no way to install a compiler for BPF: apt does not offer {}, and there is no rustup \
         (https://rustup.rs)",
        DEBIAN_PACKAGES.join(" ")
    )
}

/// Installs the programs that the tests start, and the parts of cargo that `cargo xtask lint` uses.
///
/// # Errors
///
/// See [`run`].
pub fn test_tools() -> Result<()> {
    lint_components()?;
    cargo_deb()?;
    programs(&TEST_PROGRAMS.map(|(program, _)| program))
}

/// Installs those of the tests' and the benches' programs that are named.
///
/// # Errors
///
/// See [`run`].
pub fn programs(wanted: &[&str]) -> Result<()> {
    let missing: Vec<_> = TEST_PROGRAMS
        .iter()
        .chain(&BENCH_PROGRAMS)
        .filter(|(program, _)| wanted.contains(program) && find(program).is_none())
        .collect();
    if missing.is_empty() {
        say(&format!("have        {}", wanted.join(" ")));
        return Ok(());
    }
    let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let what = format!("{} needed", programs.join(" "));
    if !is_debian() {
        bail!("{what}, which this machine lacks and which are only installed with Debian's apt");
    }
    install_packages(&packages).context(what)
}

/// clippy and rustfmt: rustup's minimal profile leaves them out.
fn lint_components() -> Result<()> {
    let root = workspace_root();
    let lacks = |part: &str| output(cargo(&root).args([part, "--version"])).is_err();
    if !lacks("clippy") && !lacks("fmt") {
        say("have        cargo clippy, cargo fmt");
        return Ok(());
    }
    if find("rustup").is_none() {
        bail!("no cargo clippy or cargo fmt, and no rustup to install them");
    }
    say("installing  clippy and rustfmt");
    run_command(Command::new("rustup").args(["component", "add", "clippy", "rustfmt"]))
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && find("apt-get").is_some()
}

/// Whether apt offers the compiler, if need be after it fetched its lists, which only root may.
fn apt_finds_compiler() -> bool {
    apt_finds(&DEBIAN_PACKAGES)
        || (is_root() && apt_update().is_ok() && apt_finds(&DEBIAN_PACKAGES))
}

/// Installs those of the packages that are missing.
fn install_packages(packages: &[&str]) -> Result<()> {
    let missing = missing_packages(packages);
    if missing.is_empty() {
        say(&format!("have        {}", packages.join(" ")));
        return Ok(());
    }
    // All of them, not only the missing ones: they must be of one version.
    let list = packages.join(" ");
    if !is_root() {
        bail!(
            "packages are missing and only root can install them; as root run: apt-get update && \
             apt-get install -y --no-install-recommends {list}"
        );
    }
    say(&format!("installing  {list}"));
    // Lists that are missing or out of date are fetched once.
    if apt_finds(packages) && apt_install(packages).is_ok() {
        return Ok(());
    }
    apt_update().and_then(|()| apt_install(packages)).context("apt could not install packages")
}

/// Which of the packages dpkg does not have as installed.
fn missing_packages<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let installed = |package: &str| {
        output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
            .is_ok_and(|status| status == "installed")
    };
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Whether apt knows all of the packages and could install them.
fn apt_finds(packages: &[&str]) -> bool {
    output(Command::new("apt-get").args(["install", "--simulate", "-qq"]).args(packages)).is_ok()
}

fn apt_update() -> Result<()> {
    run_command(Command::new("apt-get").args(["update", "-qq"]))
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let _unstarted = Unstarted::until_dropped()?;
    run_command(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages),
    )
}

/// Keeps Debian's packages from starting their services, which nobody asked for: tests start what they need.
struct Unstarted(Option<&'static Path>);

impl Unstarted {
    /// Asked by invoke-rc.d and deb-systemd-invoke; 101 is no.
    const POLICY: &'static str = "/usr/sbin/policy-rc.d";

    fn until_dropped() -> Result<Self> {
        let policy = Path::new(Self::POLICY);
        if policy.exists() {
            return Ok(Self(None));
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n").context(Self::POLICY)?;
        let made = Self(Some(policy));
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).context(Self::POLICY)?;
        Ok(made)
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(policy) = self.0
            && let Err(error) = fs::remove_file(policy)
        {
            say(&format!("cannot remove {}: {error}", policy.display()));
        }
    }
}

/// Installs bpf-linker, unless the one that is there has the right version and runs.
fn install_bpf_linker(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let wanted = format!("bpf-linker {BPF_LINKER_VERSION}");
    if toolchain::bpf_linker_version().is_ok_and(|version| version == wanted) {
        say(&format!("have        {wanted}"));
        return Ok(());
    }
    say(&format!("installing  {wanted} (a minute or two)"));
    let mut command = cargo(&workspace_root());
    without_build_settings(&mut command);
    command
        .envs(environment.iter().copied())
        .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked"])
        // One that is there but does not run, because its LLVM is gone, is replaced.
        .arg("--force")
        .args(arguments);
    run_command(&mut command)
}

/// Installs cargo-deb below target/, unless the one that is there has the right version, and returns its path.
///
/// # Errors
///
/// If it does not build.
pub fn cargo_deb() -> Result<PathBuf> {
    let root = workspace_root();
    let tools = root.join("target/tools");
    let program = tools.join("bin/cargo-deb");
    let version = output(Command::new(&program).arg("--version"));
    if version.is_ok_and(|version| version.ends_with(CARGO_DEB_VERSION)) {
        say(&format!("have        cargo-deb {CARGO_DEB_VERSION}"));
        return Ok(program);
    }
    say(&format!("installing  cargo-deb {CARGO_DEB_VERSION} (half a minute)"));
    let mut command = cargo(&root);
    without_build_settings(&mut command);
    // Without optimization, and without compression of its own: it calls xz.
    command.args(["install", "cargo-deb", "--version", CARGO_DEB_VERSION, "--locked", "--force"]);
    command.args(["--debug", "--no-default-features", "--root"]).arg(tools);
    run_command(&mut command).map(|()| program)
}

/// Makes Debian's compiler known to rustup, if there is one.
fn link_toolchain() -> Result<()> {
    if find("rustup").is_none() {
        return Ok(());
    }
    let toolchains = output(Command::new("rustup").args(["toolchain", "list"]))?;
    if toolchains.lines().any(|line| line.split_whitespace().next() == Some(RUSTUP_LINK)) {
        say(&format!("have        rustup toolchain {RUSTUP_LINK}"));
        return Ok(());
    }
    say(&format!("installing  rustup toolchain {RUSTUP_LINK}, a link to Debian's compiler"));
    run_command(Command::new("rustup").args(["toolchain", "link", RUSTUP_LINK, "/usr"]))
}

/// rustup's nightly with what `-Z build-std` and the object's inspection need.
fn install_nightly() -> Result<()> {
    const COMPONENTS: [&str; 2] = ["rust-src", "llvm-tools"];
    let installed = output(Command::new("rustup").args([
        "component",
        "list",
        "--toolchain",
        "nightly",
        "--installed",
    ]))
    .unwrap_or_default();
    let has = |part: &&str| installed.lines().any(|line| line.starts_with(part));
    if COMPONENTS.iter().all(has) {
        say(&format!("have        nightly with {}", COMPONENTS.join(" ")));
        return Ok(());
    }
    say(&format!("installing  nightly with {}", COMPONENTS.join(" ")));
    let mut command = Command::new("rustup");
    command.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    for component in COMPONENTS {
        command.args(["--component", component]);
    }
    run_command(&mut command)
}
