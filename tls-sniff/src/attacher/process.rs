//! What the attacher's process is: hard to end but by its daemon, and able to do little.
//!
//! | capability | for what |
//! |---|---|
//! | CAP_BPF | programs and maps, `bpf(2)` as a whole before 5.19 |
//! | CAP_PERFMON | programs that add numbers to pointers into packets |
//! | CAP_NET_ADMIN | links, qdiscs and filters; also of the clsact guard, which is its child |
//! | CAP_SYS_ADMIN | what a manager that does not know the first two gives instead of them; and until the first interfaces are attached, to tell the name of an XDP program that is in the way |
//! | CAP_SYS_RESOURCE | before 5.11, once: to raise RLIMIT_MEMLOCK, ahead of all else |

use std::{collections::HashSet, fs::OpenOptions, io};

use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    sys::{
        prctl,
        signal::{SigHandler, SigSet, Signal, signal},
    },
    unistd::{Pid, dup2_stdin, dup2_stdout, setpgid},
};

use crate::privilege;

/// What `ps` and /proc show; the kernel cuts names after 15 bytes.
const NAME: &std::ffi::CStr = c"tls-attacher";

/// What stops the daemon, by a key or by a name, must leave the attacher alone: it ends when the daemon has.
const IGNORED: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    // systemd's to a service that hangs, and to all of its processes.
    Signal::SIGABRT,
    // Outside of the terminal's foreground group, writing the log there would stop it.
    Signal::SIGTTOU,
    Signal::SIGTSTP,
];

/// The signals that the attacher ignores; blocked while it comes into being.
pub(super) fn ignored() -> SigSet {
    IGNORED.into_iter().collect()
}

/// Makes this process the attacher's, right behind the fork. `before`: the signals that were blocked before it.
pub(super) fn become_attacher(before: &SigSet) -> io::Result<()> {
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    for number in IGNORED {
        ignore(number)?;
    }
    before.thread_set_mask()?;
    // Whoever reads the daemon's stdout is to see its end, and stdin is the daemon's to read.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    prctl::set_name(NAME)?;
    prctl::set_no_new_privs()?;
    Ok(())
}

#[expect(unsafe_code, reason = "nix marks it so for the sake of handlers")]
fn ignore(number: Signal) -> io::Result<()> {
    // SAFETY: no handler of this process is set or replaced.
    unsafe { signal(number, SigHandler::SigIgn) }?;
    Ok(())
}

/// Gives up every capability but those that stay needed, for good.
pub(super) fn confine() -> Result<(), caps::errors::CapsError> {
    let kept = kept(&caps::read(None, CapSet::Permitted)?);
    // The guard talks to netlink.
    let to_guard =
        HashSet::from([Capability::CAP_NET_ADMIN]).intersection(&kept).copied().collect();
    privilege::keep_only(&kept, &to_guard)
}

/// Of what it had.
fn kept(had: &CapsHashSet) -> CapsHashSet {
    let mut wanted = vec![Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];
    if wanted.iter().any(|capability| !had.contains(capability)) {
        wanted.push(Capability::CAP_SYS_ADMIN);
    }
    wanted.into_iter().filter(|capability| had.contains(capability)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_little_is_kept_as_will_do() {
        use Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN};
        assert_eq!(kept(&caps::all()), HashSet::from([CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN]));
        // A container runtime that is older than CAP_BPF.
        let old = HashSet::from([CAP_SYS_ADMIN, CAP_NET_ADMIN, Capability::CAP_CHOWN]);
        assert_eq!(kept(&old), HashSet::from([CAP_SYS_ADMIN, CAP_NET_ADMIN]));
    }
}
