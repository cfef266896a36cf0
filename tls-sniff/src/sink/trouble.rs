//! What is said of a disk that refuses: at most once in ten seconds, and at the end how much it was in all.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use nix::errno::Errno;

const SAY_EVERY: Duration = Duration::from_secs(10);

/// Losses that go on.
pub(super) struct Trouble {
    /// What is lost, and who writes it.
    what: &'static str,
    who: &'static str,
    /// How many since it began; `None` when all is well.
    lost: Option<u64>,
    said: Option<Instant>,
    /// All that were lost, whether it was over in between or not, and the number that was said last.
    all: u64,
    last_said: u64,
}

impl Trouble {
    /// Losses of `what`, while `who` writes.
    pub(super) const fn of(what: &'static str, who: &'static str) -> Self {
        Self { what, who, lost: None, said: None, all: 0, last_said: 0 }
    }

    /// `count` were lost by `error`.
    pub(super) fn lost(&mut self, file: &Path, error: &io::Error, count: u64) {
        self.more(count);
        if self.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        let lost = self.lost.unwrap_or(0);
        self.last_said = lost;
        let Self { what, who, .. } = self;
        let until = if is_full(error) { "there is space" } else { "it can be written" };
        tracing::warn!(
            "{}: {error}: {lost} {what} are lost so far; {who} goes on when {until}",
            file.display()
        );
    }

    /// `count` more were lost, by what was said.
    pub(super) fn more(&mut self, count: u64) {
        self.lost = Some(self.lost.unwrap_or(0) + count);
        self.all += count;
    }

    /// All is well again.
    pub(super) fn over(&mut self, file: &Path) {
        if let Some(lost) = self.lost.take() {
            self.said = None;
            self.last_said = lost;
            let Self { what, who, .. } = self;
            tracing::warn!("{}: {who} goes on; {lost} {what} were lost meanwhile", file.display());
        }
    }

    /// Nothing more comes: says how many were lost in all, unless that was the last that was said.
    pub(super) fn end(&mut self, file: &Path) {
        let Self { what, all, .. } = *self;
        if std::mem::replace(&mut self.last_said, all) != all {
            tracing::warn!("{}: {all} {what} were lost in all", file.display());
        }
    }
}

/// Whether the disk has no space, as the operator would say it.
pub(super) fn is_full(error: &io::Error) -> bool {
    let full = [Errno::ENOSPC, Errno::EDQUOT].map(|errno| Some(errno as i32));
    full.contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Where a subscriber writes.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_is_said_once_until_it_is_over() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let (file, full) = (Path::new("x"), io::Error::from(io::ErrorKind::PermissionDenied));
            let mut trouble = Trouble::of("packets", "the capture");
            trouble.over(file);
            for packets in 1..100 {
                trouble.lost(file, &full, packets);
            }
            trouble.more(50);
            trouble.over(file);
            trouble.over(file);
            trouble.lost(file, &full, 7);
            trouble.end(file);
            trouble.end(file);
            // What was said as it went on is not said again.
            let mut trouble = Trouble::of("packets", "the capture");
            trouble.end(file);
            trouble.lost(file, &full, 7);
            trouble.end(file);
            trouble.lost(file, &full, 1);
            trouble.end(file);
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let expected = [
            "x: permission denied: 1 packets are lost so far; the capture goes on when it can be written",
            "x: the capture goes on; 5000 packets were lost meanwhile",
            "x: permission denied: 7 packets are lost so far; the capture goes on when it can be written",
            "x: 5007 packets were lost in all",
            "x: permission denied: 7 packets are lost so far; the capture goes on when it can be written",
            "x: 8 packets were lost in all",
        ];
        assert_eq!(log.lines().map(str::trim).collect::<Vec<_>>(), expected);
    }
}
