//! A file that was made by being opened, for as long as it may turn out to be in vain.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A file that was not there before. Through a link that leads nowhere a file may be made that is none of these: who made
/// it cannot be told then.
#[derive(Debug)]
pub struct Created {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Created {
    pub(super) fn new(path: &Path, file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(Self { path: path.to_owned(), device: about.dev(), inode: about.ino() })
    }

    /// Removes it, unless somebody has written to it or its name is another file's. To be called while it is open still: no
    /// other file has its number then, and a lock keeps another run from it.
    pub fn take_back(&self) {
        let is_it = |about: Metadata| {
            about.is_file()
                && about.len() == 0
                && (about.dev(), about.ino()) == (self.device, self.inode)
        };
        if self.path.symlink_metadata().is_ok_and(is_it)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("{} is left, and empty: {error}", self.path.display());
        }
    }
}
