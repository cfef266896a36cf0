//! Landlock: which files, and nothing of the network.

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::{Part, Plan, SandboxError};

/// The newest rights that are asked for: what an older kernel does not know is left out.
const NEWEST: ABI = ABI::V6;

/// What making, writing, renaming and removing files needs. A file that is opened again is looked at for the end of
/// its last line, and a directory is opened to be synced.
const WRITING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | WriteFile | Truncate | MakeReg | RemoveFile | ReadDir
});

/// What the kernel has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// This version of its interface: 1 came with Linux 5.13.
    Abi(i32),
    /// Built in and switched off at boot.
    Disabled,
    /// Not in this kernel.
    Absent,
}

impl Landlock {
    /// What is not to be had, and what that means.
    pub(super) const fn lack(self) -> Option<&'static str> {
        match self {
            Self::Abi(_) => None,
            Self::Disabled => Some(
                "Landlock is switched off in this kernel (lsm=... at boot): files are protected by permissions alone",
            ),
            Self::Absent => {
                Some("no Landlock in this kernel (5.13): files are protected by permissions alone")
            }
        }
    }
}

impl From<LandlockStatus> for Landlock {
    fn from(status: LandlockStatus) -> Self {
        match status {
            LandlockStatus::NotEnabled => Self::Disabled,
            LandlockStatus::NotImplemented => Self::Absent,
            LandlockStatus::Available { effective_abi, kernel_abi } => {
                Self::Abi(kernel_abi.unwrap_or(effective_abi as i32))
            }
        }
    }
}

/// What this kernel has of Landlock. Nothing is restricted.
#[must_use]
pub fn available() -> Landlock {
    // The crate tells of it only when something is restricted, so a thread is, for its short life.
    let restricted = std::thread::spawn(|| {
        Ruleset::default().handle_access(AccessFs::Execute)?.create()?.restrict_self()
    });
    match restricted.join() {
        Ok(Ok(status)) => status.landlock.into(),
        Ok(Err(_)) | Err(_) => Landlock::Absent,
    }
}

/// Leaves this thread what `plan` says of files.
pub(super) fn restrict(plan: &Plan) -> Result<Part, SandboxError> {
    let refused = |reason| SandboxError::Refused { part: "Landlock", reason };
    let written = plan.directories.iter().map(|directory| (directory, WRITING));
    let read = plan.readable.iter().map(|directory| (directory, AccessFs::ReadFile.into()));
    let mut rules = Vec::new();
    for (directory, access) in written.chain(read) {
        let opened = PathFd::new(directory).map_err(|error| refused(error.to_string()))?;
        rules.push(PathBeneath::new(opened, access));
    }
    let RestrictionStatus { ruleset, landlock, .. } =
        apply(rules).map_err(|error| refused(error.to_string()))?;
    Ok(match (Landlock::from(landlock).lack(), ruleset) {
        (Some(lack), _) => Part::Lacking(lack.to_owned()),
        (None, RulesetStatus::NotEnforced) => {
            Part::Lacking("Landlock does nothing: files are protected by permissions alone".into())
        }
        (None, RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Part::InForce,
    })
}

/// Takes from this thread to change files and to start programs.
pub(super) fn restrict_helper() -> Result<(), String> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(NEWEST) | AccessFs::Execute)
        .and_then(|ruleset| ruleset.scope(Scope::Signal))
        .and_then(Ruleset::create);
    match ruleset.and_then(RulesetCreated::restrict_self) {
        Ok(RestrictionStatus { landlock, .. }) => {
            Landlock::from(landlock).lack().map_or(Ok(()), |lack| Err(lack.to_owned()))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn apply(rules: Vec<PathBeneath<PathFd>>) -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    ruleset.add_rules(rules.into_iter().map(Ok::<_, RulesetError>))?.restrict_self()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::ErrorKind, thread};

    /// Landlock alone, on a thread of its own, which it ends with.
    #[test]
    fn files_are_written_beneath_the_directories_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("theirs"), "x").unwrap();
        let secrets = tempfile::tempdir().unwrap();
        fs::write(secrets.path().join("keys"), "x").unwrap();
        let mut plan = Plan { directories: vec![folder.path().to_owned()], ..Plan::default() };
        plan.reads_again(&secrets.path().join("keys"));
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(fs::read("/etc/passwd").is_ok());
                assert!(matches!(restrict(&plan), Ok(Part::InForce)));
                let denied = |result: std::io::Result<()>| {
                    assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
                };
                denied(fs::read("/etc/shadow").map(drop));
                denied(fs::read("/etc/passwd").map(drop));
                denied(fs::write(other.path().join("new"), "x"));
                denied(fs::write(other.path().join("theirs"), "y"));
                denied(fs::remove_file(other.path().join("theirs")));
                let (one, two) = (folder.path().join("1"), folder.path().join("2"));
                fs::write(&one, "x").unwrap();
                fs::write(&one, "shorter").unwrap();
                fs::rename(&one, &two).unwrap();
                denied(fs::rename(&two, other.path().join("2")));
                let append = fs::OpenOptions::new().read(true).append(true).open(&two);
                append.unwrap().sync_all().unwrap();
                assert!(fs::read(secrets.path().join("keys")).is_ok());
                denied(fs::write(secrets.path().join("keys"), "y"));
                denied(std::os::unix::fs::symlink("/etc/shadow", &one));
                fs::File::open(folder.path()).unwrap().sync_all().unwrap();
                fs::remove_file(&two).unwrap();
            });
        });
        // The others are as they were.
        assert!(fs::read("/etc/passwd").is_ok());
        assert!(matches!(available(), Landlock::Abi(1..)));
    }
}
