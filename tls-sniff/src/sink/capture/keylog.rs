//! The key log of a TLS client: whole lines, as they are appended.
//!
//! ```text
//!  CLIENT_HANDSHAKE_TRAFFIC_SECRET  32 bytes of the client's random in hex  secret in hex
//! ```
//!
//! Looked at before each batch of packets. What is no such line is passed over, so that nothing but
//! secrets of TLS gets into a capture that is given away.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use super::error::SaveError;

/// Bytes read at a time, which become one block of the file at most.
const CHUNK_LEN: usize = 1024 * 1024;

/// The hexadecimal digits of a client's random, and of the encrypted premaster secret that stands in its
/// place behind `RSA`.
const RANDOM_DIGITS: usize = 64;
const RSA_DIGITS: usize = 16;

/// A key log and how far it was read.
pub(super) struct KeyLog {
    path: PathBuf,
    inode: u64,
    /// Read so far, and how much of that is in the file for good.
    offset: u64,
    offset_for_good: u64,
    chunk: Vec<u8>,
    lines: Vec<u8>,
    complained: bool,
}

impl KeyLog {
    /// # Errors
    ///
    /// If it is not there, or cannot be read.
    pub(super) fn open(path: PathBuf) -> Result<Self, SaveError> {
        let metadata = match File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) => metadata,
            Err(source) => return Err(SaveError::KeyLog { file: path, source }),
        };
        if !metadata.is_file() {
            return Err(SaveError::KeyLogKind(path));
        }
        Ok(Self {
            path,
            inode: metadata.ino(),
            offset: 0,
            offset_for_good: 0,
            chunk: Vec::new(),
            lines: Vec::new(),
            complained: false,
        })
    }

    /// All of it is to be told again: another file begins.
    pub(super) fn restart(&mut self) {
        (self.offset, self.offset_for_good) = (0, 0);
    }

    /// What was told since the last call is in the file.
    pub(super) fn committed(&mut self) {
        self.offset_for_good = self.offset;
    }

    /// What was told since then is not in the file.
    pub(super) fn cut_off(&mut self) {
        self.offset = self.offset_for_good;
    }

    /// Gives `embed` lines that were not told yet, if there are any: those of the next [`CHUNK_LEN`]
    /// bytes. Whether there is more.
    pub(super) fn news(&mut self, embed: impl FnOnce(&[u8])) -> bool {
        match self.read() {
            Ok(more) => {
                self.complained = false;
                if !self.lines.is_empty() {
                    embed(&self.lines);
                }
                more
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    let path = self.path.display();
                    tracing::warn!("cannot read the key log {path}: {error}; its news are missing");
                }
                false
            }
        }
    }

    /// Reads the next lines. Whether there is more.
    fn read(&mut self) -> io::Result<bool> {
        self.lines.clear();
        let metadata = fs::metadata(&self.path)?;
        if metadata.ino() != self.inode || metadata.len() < self.offset {
            // It was written anew.
            self.inode = metadata.ino();
            self.restart();
        }
        if metadata.len() == self.offset || !metadata.is_file() {
            return Ok(false);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        self.chunk.clear();
        let read = file.take(CHUNK_LEN as u64).read_to_end(&mut self.chunk)?;
        let whole = match self.chunk.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            // Without a line in so many bytes this is no key log.
            None if read == CHUNK_LEN => read,
            None => return Ok(false),
        };
        for line in self.chunk.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if is_secret(line) {
                self.lines.extend_from_slice(line);
                self.lines.push(b'\n');
            }
        }
        self.offset += whole as u64;
        Ok(read == CHUNK_LEN)
    }
}

/// Whether `line` is a label, a client's random and a secret.
fn is_secret(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(label), Some(random), Some(secret), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    let is_label = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let digits = if label == b"RSA" { RSA_DIGITS } else { RANDOM_DIGITS };
    !label.is_empty()
        && label.iter().all(is_label)
        && random.len() == digits
        && !secret.is_empty()
        && secret.len().is_multiple_of(2)
        && [random, secret].into_iter().flatten().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(label: &str, digit: &str) -> String {
        format!("{label} {} {}\n", digit.repeat(64), "0a".repeat(48))
    }

    fn news(log: &mut KeyLog) -> String {
        let mut told = Vec::new();
        while log.news(|lines| told.extend_from_slice(lines)) {}
        String::from_utf8(told).unwrap()
    }

    #[test]
    fn whole_lines_of_secrets_are_told_once_and_again_for_another_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut log = KeyLog::open(file.path().to_owned()).unwrap();
        assert_eq!(news(&mut log), "");
        let (first, second) = (line("CLIENT_RANDOM", "a"), line("EXPORTER_SECRET", "B"));
        write!(file, "# comment\n\npassword=1\n{first}{}", &second[..70]).unwrap();
        assert_eq!(news(&mut log), first);
        log.committed();
        assert_eq!(news(&mut log), "");
        write!(file, "{}", &second[70..]).unwrap();
        assert_eq!(news(&mut log), second);
        log.cut_off();
        assert_eq!(news(&mut log), second);
        log.restart();
        assert_eq!(news(&mut log), format!("{first}{second}"));
        file.as_file().set_len(0).unwrap();
        assert_eq!(news(&mut log), "");
    }

    #[test]
    fn what_is_no_secret_is_none() {
        for good in [line("CLIENT_RANDOM", "0"), format!("RSA {} 00\n", "f".repeat(16))] {
            assert!(is_secret(good.trim_end().as_bytes()), "{good}");
        }
        let good = line("CLIENT_RANDOM", "0");
        for bad in [&good[1..40], "", "#", &good.replace("0a", "0g"), &good.to_lowercase()] {
            assert!(!is_secret(bad.trim_end().as_bytes()), "{bad}");
        }
        assert!(!is_secret(format!("{} x", good.trim_end()).as_bytes()));
    }

    #[test]
    fn junk_without_lines_is_passed_over_in_bounded_memory() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![b'x'; 3 * CHUNK_LEN]).unwrap();
        let secret = line("CLIENT_RANDOM", "0");
        write!(file, "\n{secret}").unwrap();
        let mut log = KeyLog::open(file.path().to_owned()).unwrap();
        assert_eq!(news(&mut log), secret);
        assert!(log.chunk.capacity() <= 2 * CHUNK_LEN);
    }
}
