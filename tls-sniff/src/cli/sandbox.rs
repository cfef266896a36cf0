//! The flags of the sandbox.

use clap::Args;

use crate::sandbox::Strictness;

/// How much of the sandbox must be there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct SandboxFlags {
    /// Do not start where the kernel has no Landlock (5.13) or no seccomp, which are used where it has them
    #[arg(long)]
    require_sandbox: bool,

    /// Parse network bytes with all the system calls and files of the user, if the sandbox breaks something;
    /// capabilities are dropped all the same
    #[arg(long, conflicts_with = "require_sandbox")]
    no_sandbox: bool,
}

impl SandboxFlags {
    pub(crate) const fn strictness(&self) -> Strictness {
        match (self.require_sandbox, self.no_sandbox) {
            (true, _) => Strictness::Required,
            (false, true) => Strictness::Off,
            (false, false) => Strictness::BestEffort,
        }
    }
}
