//! What is said of a disk that refuses, at most once in ten seconds.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::disk::is_full;

const SAY_EVERY: Duration = Duration::from_secs(10);

/// Losses that go on.
#[derive(Default)]
pub(super) struct Trouble {
    /// Packets lost since it began; `None` when all is well.
    lost: Option<u64>,
    said: Option<Instant>,
}

impl Trouble {
    /// `packets` were lost by `error`.
    pub(super) fn lost(&mut self, file: &Path, error: &io::Error, packets: u64) {
        let lost = self.lost.unwrap_or(0) + packets;
        self.lost = Some(lost);
        if self.said.is_some_and(|said| said.elapsed() < SAY_EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        let until = if is_full(error) { "there is space" } else { "it can be written" };
        tracing::warn!(
            "{}: {error}: {lost} packets are lost so far; the capture goes on when {until}",
            file.display()
        );
    }

    /// A chunk was written.
    pub(super) fn over(&mut self, file: &Path) {
        if let Some(lost) = self.lost.take() {
            self.said = None;
            tracing::warn!(
                "{}: the capture goes on; {lost} packets were lost meanwhile",
                file.display()
            );
        }
    }
}
