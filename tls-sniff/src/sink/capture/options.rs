//! What the operator asks for, and what follows from it.

use std::path::{Path, PathBuf};

use super::{
    compression::Compression,
    disk,
    error::SaveError,
    names::{self, Names, Numbers},
};
use crate::sink::place;

/// What tcpdump takes for `-s 0`: more than any packet has.
pub const MAX_SNAPLEN: u32 = 262_144;

const NS_PER_S: i64 = 1_000_000_000;

/// The format of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureFormat {
    /// Interfaces, directions, comments, secrets, losses.
    PcapNg,
    /// Packets of one link type.
    Pcap,
}

/// What to write, and where.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// `-w`: the file; `-` is stdout. `.gz` and `.zst` compress. With `rotate_seconds` the local time is
    /// filled in as by strftime(3).
    pub path: PathBuf,
    /// By default pcapng; pcap if the name without compression ends in `.pcap` or `.cap`.
    pub format: Option<CaptureFormat>,
    /// Bytes of a packet that are kept; 0 is [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// `-C`: a file that is longer is the last one's, the next packet begins another. Compressed files
    /// are measured as they are on the disk, and may be longer by a chunk.
    pub rotate_bytes: Option<u64>,
    /// `-G`: seconds of a file.
    pub rotate_seconds: Option<u64>,
    /// `-W`: with `rotate_bytes` a ring of so many files, with `rotate_seconds` the end after so many.
    pub files: Option<u32>,
    /// What interface descriptions tell of the filter.
    pub filter: String,
    /// What section headers tell of the program: `tls-sniff 0.1.0`.
    pub application: String,
    /// A file of secrets in the format of `SSLKEYLOGFILE`, to be embedded.
    pub keylog: Option<PathBuf>,
}

/// What follows from the options.
pub(super) struct Plan {
    pub(super) to_stdout: bool,
    pub(super) format: CaptureFormat,
    pub(super) compression: Option<Compression>,
    pub(super) rotate_bytes: Option<u64>,
    /// In nanoseconds.
    pub(super) period: Option<i64>,
    /// Files after which the capture is over.
    pub(super) last_file: Option<u32>,
}

impl Plan {
    /// Whether there is more than one file, or one that gets another name: from a file, `-G` renames the first.
    pub(super) const fn rotates(&self) -> bool {
        self.rotate_bytes.is_some() || self.period.is_some()
    }
}

impl CaptureOptions {
    pub(super) fn snaplen(&self) -> u32 {
        match self.snaplen {
            0 => MAX_SNAPLEN,
            some => some.min(MAX_SNAPLEN),
        }
    }

    /// Checks the options by themselves and against each other; nothing is opened.
    ///
    /// # Errors
    ///
    /// If they contradict each other, or the name has a time in it that is none.
    pub fn check(&self) -> Result<(), SaveError> {
        self.names(&self.plan()?).map(drop)
    }

    /// Whether `file` is one of those that it writes, as far as that can be told before: of names with a time in them
    /// only the one without.
    pub(crate) fn may_write(&self, file: &Path) -> bool {
        let to_stdout = self.path == Path::new("-");
        let is_numbered = self.plan().is_ok_and(|plan| plan.rotates())
            && !(self.rotate_seconds.is_some() && names::has_time(&self.path))
            && [place::entry(file), place::target(file)].into_iter().flatten().any(|file| {
                place::entry(&self.path).is_some_and(|own| names::is_numbered(&own, &file))
            });
        !to_stdout && (is_numbered || place::is_same_place(&self.path, file))
    }

    pub(super) fn plan(&self) -> Result<Plan, SaveError> {
        let to_stdout = self.path == Path::new("-");
        self.check_rotation(to_stdout)?;
        if !to_stdout && self.path.file_name().is_none() {
            return Err(SaveError::NoName(self.path.clone()));
        }
        let (compression, name) = names::compression(&self.path);
        if compression.is_none() && Compression::is_promised(name) {
            return Err(SaveError::OtherCompression(self.path.clone()));
        }
        let pcap_name = name.ends_with(b".pcap") || name.ends_with(b".cap");
        let by_name = if pcap_name { CaptureFormat::Pcap } else { CaptureFormat::PcapNg };
        let format = self.format.unwrap_or(by_name);
        if format == CaptureFormat::Pcap && self.keylog.is_some() {
            return Err(SaveError::SecretsInPcap);
        }
        let period = match self.rotate_seconds {
            None => None,
            Some(seconds) => Some(
                i64::try_from(seconds)
                    .ok()
                    .and_then(|seconds| seconds.checked_mul(NS_PER_S))
                    .ok_or(SaveError::Period(seconds))?,
            ),
        };
        // A pipe or a device takes one capture.
        let is_stream = disk::is_stream(&self.path);
        Ok(Plan {
            to_stdout,
            format,
            compression,
            rotate_bytes: self.rotate_bytes.filter(|_| !is_stream),
            period: period.filter(|_| !is_stream),
            last_file: self.files.filter(|_| period.is_some()),
        })
    }

    fn check_rotation(&self, to_stdout: bool) -> Result<(), SaveError> {
        let zero = [
            ("-C", self.rotate_bytes == Some(0)),
            ("-G", self.rotate_seconds == Some(0)),
            ("-W", self.files == Some(0)),
        ];
        if let Some((flag, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(SaveError::Zero(flag));
        }
        let rotates = self.rotate_bytes.is_some() || self.rotate_seconds.is_some();
        match self.files {
            _ if to_stdout && (rotates || self.files.is_some()) => Err(SaveError::RotatedStdout),
            Some(_) if !rotates => Err(SaveError::FilesWithoutRotation),
            Some(_) if self.rotate_bytes.is_some() && self.rotate_seconds.is_some() => {
                Err(SaveError::FilesWithBoth)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn names(&self, plan: &Plan) -> Result<Names, SaveError> {
        let numbers = match (plan.rotate_bytes, self.files) {
            (None, _) => Numbers::IfNeeded,
            (Some(_), None) => Numbers::Counted,
            (Some(_), Some(files)) => Numbers::Ring(files),
        };
        Names::new(self.path.clone(), plan.period.is_some(), numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(path: &str) -> CaptureOptions {
        CaptureOptions { path: path.into(), ..CaptureOptions::default() }
    }

    #[test]
    fn names_decide_on_format_and_compression() {
        let plan = |path| {
            let plan = options(path).plan().unwrap();
            (plan.format, plan.compression)
        };
        assert_eq!(plan("x"), (CaptureFormat::PcapNg, None));
        assert_eq!(plan("-"), (CaptureFormat::PcapNg, None));
        assert_eq!(plan("x.pcap"), (CaptureFormat::Pcap, None));
        assert_eq!(plan("x.cap.gz"), (CaptureFormat::Pcap, Some(Compression::Gzip)));
        assert_eq!(plan("x.pcapng.zst"), (CaptureFormat::PcapNg, Some(Compression::Zstd)));
        assert_eq!(plan("xz"), (CaptureFormat::PcapNg, None));
    }

    #[test]
    fn names_that_it_will_write_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("s")).unwrap();
        let once = CaptureOptions { path: at("x.pcapng.gz"), ..CaptureOptions::default() };
        let by_size = CaptureOptions { rotate_bytes: Some(1), ..once.clone() };
        let by_age = CaptureOptions { rotate_seconds: Some(1), ..once.clone() };
        let timed = CaptureOptions { path: at("x%S.pcapng"), ..by_age.clone() };
        for (name, expected) in [
            ("x.pcapng.gz", [true, true, true, false]),
            ("s/../x.pcapng.gz", [true, true, true, false]),
            ("x_00007.pcapng.gz", [false, true, true, false]),
            ("s/../x_7.pcapng.gz", [false, true, true, false]),
            ("x_.pcapng.gz", [false; 4]),
            ("x_1.pcapng", [false; 4]),
            ("s/x_00007.pcapng.gz", [false; 4]),
            ("x%S_00001.pcapng", [false; 4]),
        ] {
            let may = [&once, &by_size, &by_age, &timed].map(|it| it.may_write(&at(name)));
            assert_eq!(may, expected, "{name}");
        }
        assert!(!options("-").may_write(Path::new("-")));
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let mut cases = Vec::new();
        let mut case = |change: fn(&mut CaptureOptions)| {
            let mut options = options("x.pcap");
            change(&mut options);
            let error = options.plan().err().unwrap();
            assert!(!error.hint().is_empty());
            cases.push(error.to_string());
        };
        case(|options| options.files = Some(1));
        case(|options| options.rotate_bytes = Some(0));
        case(|options| (options.path, options.rotate_seconds) = ("-".into(), Some(1)));
        case(|options| {
            (options.rotate_bytes, options.rotate_seconds) = (Some(1), Some(1));
            options.files = Some(1);
        });
        case(|options| options.rotate_seconds = Some(u64::MAX));
        case(|options| options.keylog = Some("keys".into()));
        case(|options| options.path = "..".into());
        case(|options| options.path = "x.pcap.xz".into());
        case(|options| options.path = "x.pcapng.GZ".into());
        let expected = [
            "-W counts files, but without -C or -G there is only one",
            "-C 0: there must be at least 1",
            "stdout is one stream: -C, -G and -W do not go with -w -",
            "-W means a ring of files with -C and an end with -G: with both it is not clear",
            "-G 18446744073709551615: so many seconds no clock can tell",
            "a pcap file has no place for the secrets of a key log",
            "-w ..: that names no file",
            "-w x.pcap.xz: of endings only .gz and .zst compress, in these letters",
            "-w x.pcapng.GZ: of endings only .gz and .zst compress, in these letters",
        ];
        assert_eq!(cases, expected);
    }
}
