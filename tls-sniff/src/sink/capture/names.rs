//! What the files are called.
//!
//! ```text
//!  one file           trace.pcapng.gz
//!  -C                 trace_00001.pcapng.gz, trace_00002.pcapng.gz, …
//!  -C -W 20           trace_00.pcapng.gz … trace_19.pcapng.gz, then 00 again
//!  -G, %H in it       trace-14.pcapng.gz, trace-15.pcapng.gz, … by the local time of a file's begin
//!  -G, no % in it     as -C
//!  -C -G              the time, and a number that begins anew with each time
//! ```
//!
//! tcpdump appends the number to the very end, and gives the first file none; then compression and the
//! program that opens a file no longer know it by its ending. With `-G` tcpdump overwrites a file whose
//! name comes again at once; here that one gets a number. A name that comes again later (`%H`, after a
//! day) is written over, as with tcpdump.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

use super::{compression::Compression, error::SaveError};

/// Endings that a number goes before.
const SUFFIXES: [&str; 3] = [".pcapng", ".pcap", ".cap"];

/// Digits of a number without limit.
const DIGITS: usize = 5;

/// How files are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Only where a name would come twice.
    IfNeeded,
    /// From 1 upwards.
    Counted,
    /// From 0, so many, then again from 0.
    Ring(u32),
}

/// Gives names.
pub(super) struct Names {
    path: PathBuf,
    /// What `strftime` fills in, if there is something to fill in.
    pattern: Option<String>,
    zone: TimeZone,
    numbers: Numbers,
    /// The last file's name before its number, and files with it so far.
    last: Option<PathBuf>,
    count: u32,
}

impl Names {
    /// Names like `path`, with the time in it if `timed`.
    ///
    /// # Errors
    ///
    /// If a time cannot be put into it.
    pub(super) fn new(path: PathBuf, timed: bool, numbers: Numbers) -> Result<Self, SaveError> {
        let has_pattern = has_time(&path);
        let pattern = match path.to_str() {
            Some(text) if timed && has_pattern => Some(text.to_owned()),
            None if timed && has_pattern => return Err(SaveError::PatternNotText(path)),
            _ => None,
        };
        let numbers = match numbers {
            Numbers::IfNeeded if timed && pattern.is_none() => Numbers::Counted,
            as_told => as_told,
        };
        // Without a zone of its own the machine is in UTC.
        let zone = if pattern.is_some() {
            TimeZone::try_system().unwrap_or(TimeZone::UTC)
        } else {
            TimeZone::UTC
        };
        let names = Self { path, pattern, zone, numbers, last: None, count: 0 };
        names.timed(0).map(|_| names)
    }

    /// Whether names tell the time.
    pub(super) fn tell_time(&self) -> bool {
        self.pattern.is_some()
    }

    /// The name as the operator gave it.
    pub(super) fn as_given(&self) -> &Path {
        &self.path
    }

    fn timed(&self, nanoseconds: i64) -> Result<PathBuf, SaveError> {
        let Some(pattern) = &self.pattern else { return Ok(self.path.clone()) };
        // All of an `i64` of nanoseconds is in the calendar.
        let time = Timestamp::from_nanosecond(nanoseconds.into())
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .to_zoned(self.zone.clone());
        match strtime::format(pattern, &time) {
            Ok(name) => Ok(name.into()),
            Err(source) => Err(SaveError::Pattern { pattern: pattern.clone(), source }),
        }
    }

    /// The name of the file that begins at `nanoseconds` since the epoch.
    ///
    /// # Errors
    ///
    /// If the time cannot be put into it.
    pub(super) fn next(&mut self, nanoseconds: i64) -> Result<PathBuf, SaveError> {
        let name = self.timed(nanoseconds)?;
        if self.last.as_ref() != Some(&name) {
            self.count = 0;
        }
        let count = self.count;
        let file = match self.numbers {
            Numbers::IfNeeded if count == 0 => name.clone(),
            Numbers::IfNeeded => numbered(&name, count, DIGITS),
            Numbers::Counted => numbered(&name, count.saturating_add(1), DIGITS),
            Numbers::Ring(files) => {
                numbered(&name, count, files.saturating_sub(1).to_string().len())
            }
        };
        self.count = match self.numbers {
            Numbers::Ring(files) => (count + 1) % files.max(1),
            Numbers::IfNeeded | Numbers::Counted => count.saturating_add(1),
        };
        self.last = Some(name);
        Ok(file)
    }

    /// The name of the first file, had it begun at `nanoseconds`.
    pub(super) fn renamed_first(&mut self, nanoseconds: i64) -> Result<PathBuf, SaveError> {
        (self.last, self.count) = (None, 0);
        self.next(nanoseconds)
    }
}

/// The compression that the ending of `path` asks for, and the path without that ending.
pub(super) fn compression(path: &Path) -> (Option<Compression>, &[u8]) {
    let bytes = path.as_os_str().as_encoded_bytes();
    let found = Compression::SUFFIXES
        .iter()
        .find_map(|(suffix, kind)| Some((*kind, bytes.strip_suffix(suffix.as_bytes())?)));
    found.map_or((None, bytes), |(kind, rest)| (Some(kind), rest))
}

/// Whether `strftime` would fill something in.
pub(super) fn has_time(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b'%')
}

/// Whether `file` is `path` with some number before its endings.
pub(super) fn is_numbered(path: &Path, file: &Path) -> bool {
    let (Some(name), Some(of_file)) = (path.file_name(), file.file_name()) else { return false };
    let (stem, suffixes) = split_suffixes(name);
    let digits = (of_file.as_encoded_bytes())
        .strip_prefix(stem.as_encoded_bytes())
        .and_then(|rest| rest.strip_prefix(b"_"))
        .and_then(|rest| rest.strip_suffix(suffixes.as_encoded_bytes()));
    path.parent() == file.parent()
        && digits.is_some_and(|it| !it.is_empty() && it.iter().all(u8::is_ascii_digit))
}

/// `path` with a number before its endings.
fn numbered(path: &Path, number: u32, digits: usize) -> PathBuf {
    let Some(name) = path.file_name() else { return path.to_owned() };
    let (stem, suffixes) = split_suffixes(name);
    let mut file = stem.to_owned();
    file.push(format!("_{number:0digits$}"));
    file.push(suffixes);
    path.with_file_name(file)
}

/// A file name and its known endings. A name that is nothing but endings has none.
fn split_suffixes(name: &OsStr) -> (OsString, OsString) {
    let Some(text) = name.to_str() else { return (name.to_owned(), OsString::new()) };
    let mut stem = text;
    for (suffix, _) in Compression::SUFFIXES {
        stem = stem.strip_suffix(suffix).unwrap_or(stem);
    }
    for suffix in SUFFIXES {
        stem = stem.strip_suffix(suffix).unwrap_or(stem);
    }
    if stem.is_empty() {
        return (name.to_owned(), OsString::new());
    }
    let suffixes = text.get(stem.len()..).unwrap_or_default();
    (stem.into(), suffixes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(names: &mut Names, seconds: &[i64]) -> Vec<String> {
        let name = |second| names.next(second * 1_000_000_000).unwrap().display().to_string();
        seconds.iter().copied().map(name).collect()
    }

    fn names(path: &str, timed: bool, numbers: Numbers) -> Names {
        let mut names = Names::new(path.into(), timed, numbers).unwrap();
        names.zone = TimeZone::UTC;
        names
    }

    #[test]
    fn numbers_stand_before_the_endings() {
        let first = |path| next(&mut names(path, false, Numbers::Counted), &[0]).remove(0);
        assert_eq!(first("a/x.pcapng.gz"), "a/x_00001.pcapng.gz");
        assert_eq!(first("x.pcap.zst"), "x_00001.pcap.zst");
        assert_eq!(first("x.cap"), "x_00001.cap");
        assert_eq!(first("x.y"), "x.y_00001");
        assert_eq!(first(".pcap"), ".pcap_00001");
        let mut ring = names("x.pcap", false, Numbers::Ring(11));
        let all = next(&mut ring, &[0; 13]);
        assert_eq!(all[..2], ["x_00.pcap", "x_01.pcap"]);
        assert_eq!(all[10..], ["x_10.pcap", "x_00.pcap", "x_01.pcap"]);
    }

    #[test]
    fn times_stand_in_the_name_and_a_name_does_not_come_twice_in_a_row() {
        let mut hours = names("%Y/x-%H%%.pcap", true, Numbers::IfNeeded);
        let expected = ["1970/x-00%.pcap", "1970/x-00%_00001.pcap", "1970/x-01%.pcap"];
        assert_eq!(next(&mut hours, &[0, 1800, 3600]), expected);
        let mut plain = names("x.pcap", true, Numbers::IfNeeded);
        assert_eq!(next(&mut plain, &[0, 9]), ["x_00001.pcap", "x_00002.pcap"]);
        let mut both = names("x-%H", true, Numbers::Counted);
        assert_eq!(next(&mut both, &[0, 1, 3600]), ["x-00_00001", "x-00_00002", "x-01_00001"]);
        // Without -G a percent sign is one.
        assert_eq!(next(&mut names("%H", false, Numbers::IfNeeded), &[0]), ["%H"]);
    }

    #[test]
    fn bad_patterns_are_told() {
        let error = Names::new("x-%!.pcap".into(), true, Numbers::IfNeeded).err().unwrap();
        assert!(error.to_string().starts_with("-w x-%!.pcap: "), "{error}");
    }
}
