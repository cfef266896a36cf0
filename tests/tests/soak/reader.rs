//! The reader behind the Unix socket: it keeps what it reads, and stalls when told to.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    stalled: AtomicBool,
    over: AtomicBool,
    lines: Mutex<Vec<String>>,
}

/// A reader; it ends with its writer, or on drop.
pub(crate) struct Reader {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Listens at `path`, for a writer of any user.
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
        listener.set_nonblocking(true)?;
        let state = Arc::<State>::default();
        let thread = thread::spawn({
            let state = Arc::clone(&state);
            move || {
                while !state.over.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => read(stream, &state),
                        Err(_) => thread::sleep(LOOK),
                    }
                }
            }
        });
        Ok(Self { state, thread: Some(thread) })
    }

    /// Reads no more until it is told to again.
    pub(crate) fn stall(&self, stalled: bool) {
        self.state.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Ends, and returns all lines.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.end();
        self.state.lines.lock().map(|lines| lines.clone()).unwrap_or_default()
    }

    fn end(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads one connection to its end; at the end of all, what is there.
fn read(stream: UnixStream, state: &State) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(LOOK));
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        let over = state.over.load(Ordering::Relaxed);
        if state.stalled.load(Ordering::Relaxed) && !over {
            thread::sleep(LOOK);
            continue;
        }
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if line.ends_with(b"\n") => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if let Ok(mut lines) = state.lines.lock() {
                    lines.push(text);
                }
                line.clear();
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if over {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
