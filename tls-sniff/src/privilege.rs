//! What live capture needs of the process, checked before the kernel says only EPERM.

use std::{fs, io};

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};

/// The capabilities that are missing, in the kernel's words.
#[derive(Debug, thiserror::Error)]
#[error("live capture needs {needed}, and this process lacks {missing}")]
pub struct MissingPrivilege {
    needed: &'static str,
    missing: String,
}

impl MissingPrivilege {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "run it as root, or: setcap cap_bpf,cap_net_admin,cap_perfmon+ep $(command -v tls-sniff); -r FILE needs none"
    }
}

/// Checks the effective capabilities: CAP_NET_ADMIN to attach, CAP_BPF to load, CAP_PERFMON for the
/// pointer arithmetic of packet access. CAP_SYS_ADMIN includes the last two.
///
/// # Errors
///
/// If one is missing.
pub fn check() -> Result<(), MissingPrivilege> {
    // Where the set cannot be read, the kernel decides.
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true);
    let admin = has(Capability::CAP_SYS_ADMIN);
    let missing: Vec<String> = [
        (Capability::CAP_BPF, admin),
        (Capability::CAP_NET_ADMIN, false),
        (Capability::CAP_PERFMON, admin),
    ]
    .into_iter()
    .filter(|(capability, included)| !included && !has(*capability))
    .map(|(capability, _)| capability.to_string())
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(MissingPrivilege {
        needed: "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        missing: missing.join(", "),
    })
}

/// A capability that cannot be dropped, in the kernel's words.
#[derive(Debug, thiserror::Error)]
#[error("cannot drop the capabilities: {0}")]
pub struct StaysPrivileged(String);

/// Whether this thread has any capability, or one that it could make effective.
pub(crate) fn has_any() -> bool {
    // Where the set cannot be read, it has.
    caps::read(None, CapSet::Permitted).map_or(true, |permitted| !permitted.is_empty())
}

/// Whether any thread of this process has one.
pub(crate) fn any_thread_has_any() -> bool {
    let of = |thread: &fs::DirEntry| {
        let id = thread.file_name().to_str()?.parse().ok()?;
        caps::read(Some(id), CapSet::Permitted).ok().map(|permitted| !permitted.is_empty())
    };
    // As above; but one that is there no more has ended meanwhile.
    let has = |thread: fs::DirEntry| of(&thread).unwrap_or_else(|| thread.path().exists());
    fs::read_dir("/proc/self/task")
        .map_or(true, |mut threads| threads.any(|thread| thread.map_or(true, has)))
}

/// How many threads this process has.
///
/// # Errors
///
/// If /proc does not tell.
pub(crate) fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Drops all capabilities of this thread, and looks whether they are gone. The bounding set only where CAP_SETPCAP
/// allows: what is in it could come back by execve alone, and then only without no_new_privs.
pub(crate) fn drop_all() -> Result<(), StaysPrivileged> {
    let failed = |error: CapsError| StaysPrivileged(error.to_string());
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed)? {
        for capability in caps::all() {
            // The kernel may be older than one of them.
            if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, capability).map_err(failed)?;
            }
        }
    }
    let sets = [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted];
    for set in sets {
        caps::clear(None, set).map_err(failed)?;
    }
    for set in sets {
        let left = caps::read(None, set).map_err(failed)?;
        if let Some(capability) = left.iter().next() {
            return Err(StaysPrivileged(format!("{capability} stays")));
        }
    }
    Ok(())
}

/// Gives up every capability of this thread but `kept`, for good; a program that it starts has at most `passed_on`, unless
/// root starts it. no_new_privs must be set: where the bounding set may not be narrowed (CAP_SETPCAP), it is what sees to
/// it that exec gives nothing back.
pub(crate) fn keep_only(kept: &CapsHashSet, passed_on: &CapsHashSet) -> Result<(), CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::set(None, CapSet::Effective, kept)?;
    caps::set(None, CapSet::Permitted, kept)?;
    caps::set(None, CapSet::Inheritable, passed_on)?;
    caps::set(None, CapSet::Ambient, passed_on)
}
