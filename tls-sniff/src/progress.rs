//! How far the reading of a long file is: a bar on a terminal.
//!
//! The reader knows nothing of it: where it is, is asked of the file that both have open.

use std::{
    fs::File,
    io::Seek as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A smaller file is read before anybody asks.
const LEAST_LEN: u64 = 8 << 20;
/// When it appears: what is over sooner needs none.
const APPEARS: Duration = Duration::from_secs(1);
/// How often it looks at the file.
pub(crate) const STEP: Duration = Duration::from_millis(200);

const TEMPLATE: &str =
    "{percent:>3} % [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// The bar that is on the terminal now.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A bar for a file; it goes with this value.
#[derive(Debug)]
pub(crate) struct Progress {
    file: File,
    bar: ProgressBar,
}

impl Progress {
    /// For `file`, unless it is short, or no file that has a length.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let about = file.metadata().ok()?;
        if !about.is_file() || about.len() < LEAST_LEN {
            return None;
        }
        // Out of sight until it appears, but it knows by then how fast the reading is.
        let bar = ProgressBar::with_draw_target(Some(about.len()), ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::with_template(TEMPLATE).ok()?.progress_chars("=> "));
        // A descriptor of the same open file, whose position is the reader's.
        Some(Self { file: file.try_clone().ok()?, bar })
    }

    /// Looks where the reader is.
    pub(crate) fn step(&mut self) {
        let Ok(position) = self.file.stream_position() else { return };
        self.bar.set_position(position);
        if self.bar.is_hidden() && self.bar.elapsed() >= APPEARS {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.tick();
            *shown() = Some(self.bar.clone());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        shown().take();
        self.bar.finish_and_clear();
    }
}

/// Has something written to stderr with the bar out of the way.
pub(crate) fn aside<T>(write: impl FnOnce() -> T) -> T {
    match &*shown() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}
