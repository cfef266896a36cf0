//! A machine of namespaces whose first process is a real systemd, for tests of the package and its units.
//!
//! ```text
//!  host ── network namespace (the test's, one end of a veth pair)
//!            └─ pid, mount, uts, ipc and cgroup namespaces: systemd, journald, the package under test
//!                 / is an overlay: the host's files, changes in memory
//! ```
//!
//! It boots in a fraction of a second, to `basic.target`, with nothing enabled that the host has. Dropping it kills
//! all that runs in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{need::command, netns::Namespace, poll, process::Process};

/// How long booting may take.
const BOOT: Duration = Duration::from_secs(30);

/// What the first process does until it is systemd.
const BOOT_SCRIPT: &str = include_str!("systemd/boot.sh");

/// Removes the cgroups of machines whose test process is gone, and the one that is named: sh -c … sh OWN FOLDER.
const REMOVE_CGROUPS: &str = r#"
    mount -t cgroup2 cgroup2 "$2" && cd "$2" || exit
    for folder in tsn-*-*; do
        pid=${folder#tsn-} pid=${pid%-*}
        [ "$folder" = "$1" ] || [ ! -d "/proc/$pid" ] || continue
        [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} +
    done"#;

/// Makes one of each kind of namespace and mount that [`BOOT_SCRIPT`] makes.
const TRY: &str = r#"
    mount -t tmpfs tsn "$1" && mkdir "$1/upper" "$1/work" "$1/root" "$1/cgroup" &&
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root" &&
    mount -t proc proc "$1/root/proc" && mount -t cgroup2 cgroup2 "$1/cgroup" && mount -t devpts devpts "$1/cgroup""#;

/// Why no machine can be booted here; `None` if one can.
pub fn missing() -> Option<String> {
    let systemd = Path::new("/lib/systemd/systemd");
    if !systemd.exists() {
        return Some("needs systemd: no /lib/systemd/systemd".to_owned());
    }
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return Some(format!("needs a folder for a systemd: {error}")),
    };
    let mut unshare = command("unshare");
    unshare.args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]);
    let why = match unshare.args(["sh", "-c", TRY, "sh"]).arg(folder.path()).output() {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!("needs namespaces and mounts for a systemd: {why}"))
}

/// A running machine.
pub struct Machine {
    /// `unshare`, with which all that is inside dies.
    process: Process,
    /// systemd, as the host numbers it.
    init: u32,
    cgroup: String,
    folder: tempfile::TempDir,
}

impl Machine {
    /// Boots a machine in a network namespace and waits until it is up.
    ///
    /// # Errors
    ///
    /// If a namespace or a mount is refused, or systemd is not up in time; the message has what was said.
    pub fn boot(network: &Namespace) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = network.command("unshare");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]);
        command.args(["sh", "-c", BOOT_SCRIPT, "sh"]).arg(folder.path()).arg(network.name());
        let process = Process::spawn(command, None)?;
        let cgroup = network.name().to_owned();
        let mut machine = Self { process, init: 0, cgroup, folder };
        let said = |machine: &Self| {
            [machine.process.stdout(), machine.process.stderr()].concat().join(" | ")
        };
        machine.wait_for_boot().with_context(|| format!("systemd: {}", said(&machine)))?;
        Ok(machine)
    }

    fn wait_for_boot(&mut self) -> Result<()> {
        let unshare = self.process.id();
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        poll::try_until(BOOT, "the machine to be up", || {
            self.process.check_alive()?;
            let first = fs::read_to_string(&children)?.trim().parse();
            let Ok(init) = first else { return Ok(None) };
            // What runs before is a shell.
            let name = fs::read_to_string(format!("/proc/{init}/comm"))?;
            if name.trim() != "systemd" {
                return Ok(None);
            }
            self.init = init;
            let state = self.output("systemctl", &["is-system-running"])?;
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            match &*state {
                "running" => Ok(Some(())),
                "degraded" => bail!("{}", self.run("systemctl", &["--failed", "--no-legend"])?),
                _ => Ok(None),
            }
        })
    }

    /// A command that runs `program` inside, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut inside = command("nsenter");
        inside.args(["--all", "--target", &self.init.to_string(), "--", "env", "-i"]);
        inside.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER="]);
        inside.args(["SYSTEMD_COLORS=0", "DEBIAN_FRONTEND=noninteractive", program]);
        inside.stdin(Stdio::null());
        inside
    }

    /// Runs a program inside to its end, whatever that is.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.command(program).args(arguments).output().context("nsenter")
    }

    /// Runs a program inside, which must succeed, and returns its stdout.
    ///
    /// # Errors
    ///
    /// If it fails; the message has all that it said.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.output(program, arguments)?;
        let stdout = String::from_utf8_lossy(&stdout);
        ensure!(
            status.success(),
            "{program} {}: {status}: {stdout}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&stderr)
        );
        Ok(stdout.trim_end().to_owned())
    }

    /// Where the host sees a file of the machine; `path` is absolute.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.init.to_string())
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// One property of a unit, as `systemctl show` has it.
    ///
    /// # Errors
    ///
    /// If systemctl fails.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        self.run("systemctl", &["show", "--value", "--property", name, unit])
    }

    /// What a service and the journal say of it, for messages.
    pub fn account(&self, unit: &str) -> String {
        let status = self.output("systemctl", &["status", "--no-pager", "--lines=0", unit]);
        let journal = self.output("journalctl", &["--no-pager", "--unit", unit, "--lines=30"]);
        let text = |output: Result<Output>| {
            output.map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            )
        };
        format!("{}\n{}", text(status), text(journal))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The first process of a pid namespace takes all others with it; the cgroup is free once it is reaped.
        let _ = self.process.signal(nix::sys::signal::Signal::SIGKILL);
        let _ = poll::until(Duration::from_secs(10), "the end of the machine", || {
            let gone = !Path::new(&format!("/proc/{}", self.init)).exists();
            (self.init == 0 || gone).then_some(())
        });
        let mut remove = command("unshare");
        remove.args(["--mount", "sh", "-c", REMOVE_CGROUPS, "sh", &self.cgroup]);
        match remove.arg(self.folder.path()).status() {
            Ok(status) if status.success() => {}
            other => eprintln!("cgroup {} may be left over: {other:?}", self.cgroup),
        }
    }
}
