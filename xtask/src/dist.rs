//! `cargo xtask dist`: the Debian package, by cargo-deb from what tls-sniff/Cargo.toml lists.
//!
//! ```text
//!  tls-sniff, stripped            ┐
//!  man page, completions          ├─► target/dist/stage ─┐
//!  debian/changelog, from git     │                      ├─► cargo deb ─► tls-sniff_VERSION_ARCH.deb
//!  docs, with the package's paths │                      │
//!  licences of linked crates      ┘                      │
//!  units, config ────────────────── packaging/ ──────────┘
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use flate2::{Compression, GzBuilder};
use tls_sniff::Shell;

use crate::run::{cargo, output, run as run_command, workspace_root};
use crate::{licences, setup};

mod maintainer;

/// Documents for people.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "packaging/README.md",
    "tests/corpus-differences.md",
    "docs/ARCHITECTURE.md",
    "docs/BENCHMARKS.md",
    "docs/events.md",
    "docs/metrics.md",
    "docs/recipes.md",
];

/// What they name that is elsewhere in the package, below its documents. A test follows all links.
const MOVED: &[(&str, &str)] = &[
    ("packaging/config.toml", "examples/config.toml"),
    ("packaging/prometheus/", "examples/prometheus/"),
    ("packaging/grafana/", "examples/grafana/"),
    ("CHANGELOG.md", "changelog.gz"),
];

/// What to pack, and where to.
#[derive(Args)]
pub struct Options {
    /// Pack this program instead of building one for release
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Folder for the package
    #[arg(long, value_name = "FOLDER", default_value = "target/dist")]
    out: PathBuf,
    /// Debian's revision, behind the version
    #[arg(long, value_name = "N", default_value_t = 1)]
    revision: u32,
    /// Who answers for the package [default: DEBFULLNAME and DEBEMAIL, or else a placeholder]
    #[arg(long, value_name = "NAME <ADDRESS>", value_parser = maintainer::parse)]
    maintainer: Option<String>,
    /// Compress quickly, not well
    #[arg(long)]
    fast: bool,
}

/// Builds the package.
///
/// # Errors
///
/// If a linked crate's licence is not permissive, cargo-deb cannot be installed, the program does not build, or packing
/// fails.
pub fn run(options: &Options) -> Result<()> {
    let root = workspace_root();
    // First, since it may be that there must be no package.
    let notices = licences::third_party(&root).context("licences of linked crates")?;
    let maintainer = maintainer::choose(&root, options.maintainer.as_deref())?;
    let cargo_deb = setup::cargo_deb()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&root)?,
    };
    let changelog = changelog(&root, options.revision, &maintainer)?;
    stage(&root, &binary, &changelog)
        .and_then(|()| pack_notices(&root, &notices))
        .context("what goes into the package")?;
    fs::create_dir_all(&options.out)?;
    let out = fs::canonicalize(&options.out)?;
    let mut command = Command::new(cargo_deb);
    command.current_dir(&root).args([
        "--package",
        "tls-sniff",
        "--no-build",
        "--no-strip",
        "--locked",
    ]);
    // Its warnings are that paths below target/ look like programs to be built.
    command.arg("--quiet").arg("--deb-revision").arg(options.revision.to_string());
    command.arg("--maintainer").arg(&maintainer).arg("--output").arg(&out);
    command.args(options.fast.then_some("--fast"));
    run_command(&mut command)
}

/// Builds the program for release and returns its path.
fn build(root: &Path) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "tls-sniff",
        "--bin",
        "tls-sniff",
    ]);
    run_command(&mut command)?;
    // There is nothing left to build: it only says where the program is.
    tls_sniff_tests::sniffer::build("release")
}

/// Puts what is made for the package where tls-sniff/Cargo.toml looks for it.
fn stage(root: &Path, binary: &Path, changelog: &str) -> Result<()> {
    let stage = root.join("target/dist/stage");
    fs::create_dir_all(&stage)?;
    let program = stage.join("tls-sniff");
    run_command(Command::new("strip").arg("-o").arg(&program).arg(binary))?;
    tls_sniff::man_pages(&stage.join("man"))?;
    for (shell, name) in [
        (Shell::Bash, "tls-sniff.bash"),
        (Shell::Zsh, "_tls-sniff"),
        (Shell::Fish, "tls-sniff.fish"),
    ] {
        tls_sniff::completions(shell, &mut File::create(stage.join(name))?)?;
    }
    documents(root, &stage.join("doc"))?;
    fs::write(stage.join("changelog"), changelog).context("changelog")
}

/// Copies the documents, with the package's paths in them.
fn documents(root: &Path, to: &Path) -> Result<()> {
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).context(*document)?;
        let text = MOVED.iter().fold(text, |text, (from, to)| text.replace(from, to));
        let path = to.join(document);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// Writes the licences of what is linked, packed as Debian's policy asks for, with no name and no time in it.
fn pack_notices(root: &Path, notices: &str) -> Result<()> {
    let file = File::create(root.join("target/dist/stage/THIRD-PARTY-LICENSES.gz"))?;
    let mut file = GzBuilder::new().write(file, Compression::best());
    file.write_all(notices.as_bytes())?;
    file.finish().map(drop).context("licences of linked crates")
}

/// Debian's own changelog: what changed in the program is in the other one.
fn changelog(root: &Path, revision: u32, maintainer: &str) -> Result<String> {
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(root).args(arguments));
    // The commit's date, so that the same source gives the same package; a source without git has today.
    let date =
        git(&["log", "-1", "--format=%cD"]).or_else(|_| output(Command::new("date").arg("-R")))?;
    Ok(format!(
        "tls-sniff ({}-{revision}) unstable; urgency=medium\n\n  * Built from upstream's source; \
         changelog.gz tells what is new.\n\n -- {maintainer}  {date}\n",
        env!("CARGO_PKG_VERSION")
    ))
}
