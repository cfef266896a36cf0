//! Why a capture file is not written: one line for the operator, and a hint.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A capture file that cannot be written, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system refuses to open it.
    #[error("cannot write {}: {source}", shown(file))]
    Open {
        /// What was opened: the name with time and number.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses to take what is written.
    #[error("cannot write to {}: {source}", shown(file))]
    Write {
        /// The file at hand.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The reader of a pipe stands still, or the disk does.
    #[error("{} did not take the last packets within {seconds} s: they are lost", shown(file))]
    Stalled {
        /// The file's name as the operator gave it.
        file: PathBuf,
        /// How long it was given.
        seconds: u64,
    },
    /// No thread to write.
    #[error("cannot start a thread that writes the capture: {0}")]
    Thread(#[source] io::Error),
    /// `-w /some/folder/..`, `-w ""`.
    #[error("-w {}: that names no file", .0.display())]
    NoName(PathBuf),
    /// `-w x.pcap.xz`: it would not be compressed.
    #[error("-w {}: of endings only .gz and .zst compress, in these letters", .0.display())]
    OtherCompression(PathBuf),
    /// `-C`, `-G` or `-W` with a value of 0.
    #[error("{0} 0: there must be at least 1")]
    Zero(&'static str),
    /// `-G` beyond what a clock can tell.
    #[error("-G {0}: so many seconds no clock can tell")]
    Period(u64),
    /// `-W` alone.
    #[error("-W counts files, but without -C or -G there is only one")]
    FilesWithoutRotation,
    /// `-C`, `-G` and `-W` at once.
    #[error("-W means a ring of files with -C and an end with -G: with both it is not clear")]
    FilesWithBoth,
    /// `-w -` and rotation.
    #[error("stdout is one stream: -C, -G and -W do not go with -w -")]
    RotatedStdout,
    /// A `%` in the name that stands for nothing.
    #[error("-w {pattern}: {source}")]
    Pattern {
        /// The name as the operator gave it.
        pattern: String,
        /// What is wrong with it.
        source: jiff::Error,
    },
    /// The name has a time in it, but cannot be read as text.
    #[error("-w {}: a name with a time in it has to be UTF-8", .0.display())]
    PatternNotText(PathBuf),
    /// Secrets in a format that has no place for them.
    #[error("a pcap file has no place for the secrets of a key log")]
    SecretsInPcap,
    /// The key log cannot be read.
    #[error("cannot read the key log {}: {source}", file.display())]
    KeyLog {
        /// Its name.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key log is a directory, a pipe, a device.
    #[error("the key log {} is no regular file", .0.display())]
    KeyLogKind(PathBuf),
}

/// A file's name, or what `-` stands for.
fn shown(file: &Path) -> std::path::Display<'_> {
    if file == Path::new("-") { Path::new("stdout").display() } else { file.display() }
}

impl SaveError {
    /// Whether the options contradict themselves or each other, on whatever system.
    #[must_use]
    pub const fn is_wrong_usage(&self) -> bool {
        match self {
            Self::NoName(_)
            | Self::OtherCompression(_)
            | Self::Zero(_)
            | Self::Period(_)
            | Self::FilesWithoutRotation
            | Self::FilesWithBoth
            | Self::RotatedStdout
            | Self::Pattern { .. }
            | Self::PatternNotText(_)
            | Self::SecretsInPcap => true,
            Self::Open { .. }
            | Self::Write { .. }
            | Self::Stalled { .. }
            | Self::Thread(_)
            | Self::KeyLog { .. }
            | Self::KeyLogKind(_) => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { source, .. } | Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "its directory must exist: mkdir -p makes it",
                io::ErrorKind::PermissionDenied => {
                    "choose a place where the user that runs tls-sniff may write"
                }
                io::ErrorKind::IsADirectory => "name a file in that directory",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make space, or write to another disk"
                }
                io::ErrorKind::ReadOnlyFilesystem => "write to another disk",
                _ => "choose another file",
            },
            Self::Stalled { .. } => "let its reader read faster, or write to a disk",
            Self::Thread(_) => "`ulimit -u` and the cgroup's pids.max limit threads",
            Self::NoName(_) => "for example -w capture.pcapng, or -w - for stdout",
            Self::OtherCompression(_) => {
                "for example -w capture.pcapng.zst; others by a pipe: -w - | xz > capture.pcapng.xz"
            }
            Self::Zero(_) => "leave the flag out to write one file",
            Self::Period(_) => "86400 is a day",
            Self::FilesWithoutRotation => {
                "-C 100 -W 10 keeps the last 10 files of 100 MB, -G 3600 -W 24 ends after a day"
            }
            Self::FilesWithBoth => "leave out one of -C, -G and -W",
            Self::RotatedStdout => "name a file, or leave them out",
            Self::Pattern { .. } => "the letters are those of strftime(3); %% is a percent sign",
            Self::PatternNotText(_) => "rename the directory, or leave out -G",
            Self::SecretsInPcap => "name the file .pcapng, or leave out the key log",
            Self::KeyLog { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "the client writes it when SSLKEYLOGFILE is set; `touch` makes an empty one"
            }
            Self::KeyLog { .. } => "the user that runs tls-sniff must be able to read it",
            Self::KeyLogKind(_) => "name the file that SSLKEYLOGFILE names",
        }
    }
}
