//! Every capability, out of every set.

use caps::{CapSet, Capability, errors::CapsError};

use super::SandboxError;

/// Drops all capabilities of this thread, and looks whether they are gone. The bounding set only where CAP_SETPCAP
/// allows: what is in it could come back by execve alone, and then only without no_new_privs.
pub(super) fn drop_all() -> Result<(), SandboxError> {
    let failed = |error: CapsError| SandboxError::Capabilities(error.to_string());
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
            return Err(SandboxError::Capabilities(format!("{capability} stays")));
        }
    }
    Ok(())
}
