//! What programs leave to those that follow on them: the maps whose contents outlast a packet.
//!
//! ```text
//!  first programs    EVENTS ── COUNTERS ── FLOWS ── .bss (glances)      rules, scratch, globals
//!                      │ dup3     │         │         │                 of their own
//!  next programs     EVENTS ── COUNTERS ── FLOWS ── .bss                rules, scratch, globals
//! ```
//!
//! aya has no word for it, so the next object is loaded with maps of its own; then, before the verifier sees a
//! program, the file descriptor of each of these is made to be the running map: the programs name their maps by the
//! numbers of file descriptors. Each object owns its numbers, so the order in which objects are dropped does not
//! matter. The flow hash must have the same key in both.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapInfo},
};
use nix::{fcntl::OFlag, unistd::dup3};

use super::LoadError;

/// Their names in the object.
const NAMES: [&str; 4] = ["EVENTS", "COUNTERS", "FLOWS", ".bss"];

/// The maps of running programs that the next ones go on with.
pub struct SharedMaps(Vec<(&'static str, OwnedFd, Shape)>);

/// What must be the same of both: type, size of key and value, entries.
type Shape = [u32; 4];

impl SharedMaps {
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self, LoadError> {
        let share = |name| {
            let (fd, shape) = look_at(ebpf, name)?;
            let fd = fd.try_clone_to_owned().map_err(|source| refused(name, source))?;
            Ok((name, fd, shape))
        };
        NAMES.into_iter().map(share).collect::<Result<_, _>>().map(Self)
    }

    /// Puts them in the place of those of an object whose programs are not loaded yet.
    pub(super) fn put_into(&self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        for (name, running, shape) in &self.0 {
            let (fd, new) = look_at(ebpf, name)?;
            if new != *shape {
                return Err(LoadError::OtherMap(name));
            }
            replace(fd, running).map_err(|source| refused(name, source))?;
        }
        Ok(())
    }
}

fn refused(map: &'static str, source: std::io::Error) -> LoadError {
    LoadError::Map { map, source: Box::new(aya::maps::MapError::IoError(source)) }
}

fn look_at<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<(BorrowedFd<'a>, Shape), LoadError> {
    let data = data(ebpf.map(name)).ok_or(LoadError::Missing(name))?;
    let unknown = |source| LoadError::Map { map: name, source: Box::new(source) };
    let info: MapInfo = data.info().map_err(unknown)?;
    let kind = info.map_type().map_err(unknown)? as u32;
    Ok((data.fd().as_fd(), [kind, info.key_size(), info.value_size(), info.max_entries()]))
}

fn data(map: Option<&Map>) -> Option<&MapData> {
    match map? {
        Map::Array(data) | Map::PerCpuArray(data) | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// Makes a file descriptor that somebody else owns, and goes on owning, one of `running`.
#[expect(unsafe_code, reason = "aya owns the file descriptor and lends it")]
fn replace(fd: BorrowedFd<'_>, running: &OwnedFd) -> std::io::Result<()> {
    // SAFETY: it is open and its owner keeps it, since it is not dropped here. dup3 closes what it was and opens it
    // anew in one step: it has this number before and after, and is a map of the same shape.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) });
    dup3(running, &mut place, OFlag::O_CLOEXEC)?;
    Ok(())
}
