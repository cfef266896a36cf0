//! tls-sniff as its unit starts it: not root, the three capabilities, a configuration file, a notify socket.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tls_sniff_tests::{netns::Namespace, poll, process::Process, sniffer};

/// nobody's.
const USER: u32 = 65_534;

/// How long loading and attaching may take.
const READY: Duration = Duration::from_secs(30);

/// What the unit would say.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(10);

/// The outputs, and where everything is.
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
}

impl Files {
    /// Makes the folders that the service writes to.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let files = Self { folder: folder.to_owned() };
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        for name in ["rotated", "moved"] {
            let path = folder.join(name);
            fs::create_dir(&path)?;
            chown(&path, Some(USER), Some(USER))?;
        }
        Ok(files)
    }

    pub(crate) fn rotated(&self) -> PathBuf {
        self.folder.join("rotated/events.json")
    }

    pub(crate) fn moved(&self) -> PathBuf {
        self.folder.join("moved/events.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("events.sock")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// Writes a configuration, with a filter or without.
    pub(crate) fn configure(&self, filter: &str) -> Result<()> {
        let text = format!(
            "interface = [\"any\"]\nevents = [\"handshake\"]\nmetrics = \"127.0.0.1:9443\"\n{filter}\n\
             [[output]]\nto = \"file:{}\"\nmax-size = \"256KiB\"\nkeep = 9999\n\
             [[output]]\nto = \"file:{}\"\n\
             [[output]]\nto = \"unix:{}\"\n",
            self.rotated().display(),
            self.moved().display(),
            self.socket().display(),
        );
        // As an editor does it: never half a file.
        let new = self.folder.join("config.new");
        fs::write(&new, text)?;
        fs::rename(new, self.config()).context("the configuration")
    }

    /// All files that were or are called `path`, and its followers.
    pub(crate) fn generations(path: &Path) -> Result<Vec<PathBuf>> {
        let folder = path.parent().context("a folder")?;
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let paths = entries.into_iter().map(|entry| entry.path());
        let ours = |path: &PathBuf| {
            path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(&name))
        };
        Ok(paths.filter(ours).collect())
    }
}

/// What the service said to systemd.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) messages: Vec<(Instant, String)>,
}

impl Said {
    /// The times at which it said `word`.
    pub(crate) fn times(&self, word: &str) -> Vec<Instant> {
        let says = |(_, message): &&(Instant, String)| message.lines().any(|line| line == word);
        self.messages.iter().filter(says).map(|(at, _)| *at).collect()
    }
}

/// A running service.
pub(crate) struct Service {
    pub(crate) process: Process,
    said: Arc<Mutex<Said>>,
    over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts it in `namespace` and waits until it is ready.
    pub(crate) fn start(namespace: &Namespace, files: &Files) -> Result<Self> {
        let (said, over) = (Arc::<Mutex<Said>>::default(), Arc::<AtomicBool>::default());
        let path = files.folder.join("notify.sock");
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let listener = thread::spawn({
            let (said, over) = (Arc::clone(&said), Arc::clone(&over));
            move || listen(&socket, &said, &over)
        });
        // Where that user may read it.
        let binary = files.folder.join("tls-sniff");
        fs::copy(sniffer::binary()?, &binary)?;
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
        let mut command = namespace.command("setpriv");
        let (id, capabilities) = (USER.to_string(), "-all,+bpf,+net_admin,+perfmon");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.args(["--bounding-set", capabilities, "--inh-caps", capabilities]);
        command.args(["--ambient-caps", capabilities]);
        command.arg(binary).arg("--config").arg(files.config());
        command.env_remove("RUST_LOG").env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        let process = Process::spawn(command, None)?;
        let mut service = Self { process, said, over, listener: Some(listener) };
        poll::try_until(READY, "the service to be ready", || {
            service.process.check_alive()?;
            Ok((!service.said().times("READY=1").is_empty()).then_some(()))
        })
        .with_context(|| service.process.stderr().join("\n"))?;
        Ok(service)
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let Self { process, .. } = self;
        poll::try_until(limit, "the end of the service", || process.try_wait())
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> Said {
        self.said.lock().map(|said| said.clone()).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn listen(socket: &UnixDatagram, said: &Mutex<Said>, over: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !over.load(Ordering::Relaxed) {
        if let Ok(length) = socket.recv(&mut buffer)
            && let Ok(mut said) = said.lock()
        {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            said.messages.push((Instant::now(), text));
        }
    }
}
