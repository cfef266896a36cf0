//! Filters on a clsact qdisc, for kernels without TCX, and how they go when this process ends.
//!
//! A filter belongs to the interface, not to the process that added it: after a SIGKILL it would stay
//! and run on every packet. So at the end the filters are removed by a process of its own, the guard, in
//! whatever way the first one ends:
//!
//! ```text
//!  tls-sniff ──stdin pipe──► tls-sniff clsact-guard HANDLE      own process group, signals blocked
//!     │  "INDEX created|found|gone\n" for each interface               │
//!     │  ends: exit, crash, SIGKILL ──► the pipe closes ──►  removes the filters with HANDLE,
//!     │                                                      and qdiscs that it created, if empty
//!     └─ listens on the abstract socket "tls-sniff/clsact/HANDLE": proof of life
//! ```
//!
//! The process that uses the filters removes them itself only where attaching was not done to its end,
//! or when it finds at its own end that the guard was killed.
//!
//! Should both be killed at once (a whole cgroup), the next tls-sniff on the interface finds filters
//! whose handle nobody listens for, and removes them. Abstract sockets belong to the network namespace,
//! as interfaces do, so that a tls-sniff in another container of the same network is told from a dead one.

mod filters;
mod owner;

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Write as _},
    os::unix::{net::UnixListener, process::CommandExt as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::programs::tc::{self, TcError};
use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::{
    libc,
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
};

use super::AttachError;
use crate::{descriptors::close_others, interfaces::Interface, netlink::Netlink, privilege};
use filters::{clean, expect_clsact, filters, remove_leftovers};
pub use owner::OwnerHandle;

/// What `ps` and /proc show of the guard.
const NAME: &std::ffi::CStr = c"tls-guard";

/// Interfaces with filters, by index, and whether the qdisc was created for them.
type Prepared = BTreeMap<u32, bool>;

/// The guard of this process.
pub(super) struct Guard {
    owner: OwnerHandle,
    child: Child,
    /// Closing it tells the guard to clean up.
    pipe: ChildStdin,
    _proof_of_life: UnixListener,
    prepared: Prepared,
    /// Interfaces that are to be prepared anew, with what is known of their qdisc.
    lost: Prepared,
}

impl Guard {
    /// Starts the guard process.
    pub(super) fn start() -> Result<Self, AttachError> {
        let owner = OwnerHandle::random();
        let listener = owner.listen().map_err(AttachError::Guard)?;
        let (child, pipe) = spawn(owner).map_err(AttachError::Guard)?;
        Ok(Self {
            owner,
            child,
            pipe,
            _proof_of_life: listener,
            prepared: Prepared::new(),
            lost: Prepared::new(),
        })
    }

    pub(super) const fn owner(&self) -> OwnerHandle {
        self.owner
    }

    /// Makes an interface ready for filters: the qdisc is there, leftovers are gone, the guard knows.
    pub(super) async fn prepare(
        &mut self,
        interface: &Interface,
        netlink: &Netlink,
    ) -> Result<(), AttachError> {
        if self.prepared.contains_key(&interface.index) {
            return Ok(());
        }
        let created = match tc::qdisc_add_clsact(&interface.name) {
            Ok(()) => true,
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
                false
            }
            Err(error) => {
                return Err(AttachError::Refused {
                    interface: interface.name.clone(),
                    method: super::Method::Clsact,
                    source: Box::new(error.into()),
                });
            }
        };
        if !created {
            expect_clsact(interface, netlink).await?;
        }
        let created = created || self.lost.get(&interface.index) == Some(&true);
        // Ahead of all that may fail: should there be no guard, this process removes the qdisc.
        self.lost.insert(interface.index, created);
        self.have_guarded(interface.index, created).map_err(AttachError::Guard)?;
        remove_leftovers(interface, netlink).await?;
        self.lost.remove(&interface.index);
        self.prepared.insert(interface.index, created);
        Ok(())
    }

    /// Tells the guard of an interface; another guard, should it have been killed.
    fn have_guarded(&mut self, index: u32, created: bool) -> io::Result<()> {
        let lives = matches!(self.child.try_wait(), Ok(None));
        if lives && self.tell(index, origin(created)).is_ok() {
            return Ok(());
        }
        tracing::warn!("the clsact guard was killed: starting another one");
        // One that no longer reads is not to clean up what the next one guards.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
        (self.child, self.pipe) = spawn(self.owner)?;
        // This interface is among them.
        let known: Vec<_> = self.prepared.iter().chain(&self.lost).map(|(i, c)| (*i, *c)).collect();
        known.into_iter().try_for_each(|(index, created)| self.tell(index, origin(created)))
    }

    fn tell(&mut self, index: u32, what: &str) -> io::Result<()> {
        writeln!(self.pipe, "{index} {what}").and_then(|()| self.pipe.flush())
    }

    /// Forgets an interface that is gone, and its filters with it.
    pub(super) fn forget(&mut self, index: u32) {
        let known = self.prepared.remove(&index).or_else(|| self.lost.remove(&index));
        if known.is_some()
            && let Err(error) = self.tell(index, "gone")
        {
            tracing::debug!("the clsact guard: {error}");
        }
    }

    /// Takes note that somebody removed filters from an interface: it is prepared anew when it is next
    /// attached to.
    pub(super) fn lose(&mut self, index: u32) {
        if let Some(created) = self.prepared.remove(&index) {
            self.lost.insert(index, created);
        }
    }

    /// How many filters of this process are on an interface; `None` if that could not be learnt, as when
    /// a change interrupts the dump.
    pub(super) async fn count(&self, index: u32, netlink: &Netlink) -> Option<usize> {
        let filters = filters(netlink, index).await.ok()?;
        Some(filters.iter().filter(|filter| filter.owner() == Some(self.owner)).count())
    }

    /// Removes this process's filters from one interface, where attaching was not done to its end.
    pub(super) async fn undo(&mut self, index: u32, netlink: &Netlink) {
        if let Err(error) = clean(netlink, index, false, self.owner).await {
            tracing::debug!("interface {index}: {error}");
        }
    }

    /// Lets the guard take the filters off, and waits for it. Should the guard itself have been killed,
    /// this process does it.
    pub(super) fn finish(self) {
        let Self { mut child, pipe, owner, mut prepared, mut lost, .. } = self;
        prepared.append(&mut lost);
        drop(pipe);
        match wait(&mut child) {
            Some(status) if status.success() => return,
            Some(status) => tracing::warn!("the clsact guard ended with {status}"),
            None => tracing::warn!("the clsact guard takes long to remove the filters"),
        }
        // On a thread of its own: this one may run inside a runtime already.
        let cleaned = thread::spawn(move || clean_all(&prepared, owner)).join();
        if !matches!(cleaned, Ok(Ok(()))) {
            tracing::error!("filters are left on clsact qdiscs: the next tls-sniff removes them");
        }
    }
}

fn spawn(owner: OwnerHandle) -> io::Result<(Child, ChildStdin)> {
    let mut child = Command::new("/proc/self/exe")
        .arg0("tls-sniff")
        .args(["clsact-guard", &owner.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Ctrl-C reaches the foreground process group: the guard must not be in it.
        .process_group(0)
        .spawn()?;
    let pipe = child.stdin.take();
    let no_pipe = || io::Error::new(io::ErrorKind::BrokenPipe, "no pipe to it");
    pipe.map(|pipe| (child, pipe)).ok_or_else(no_pipe)
}

/// What the guard is told of a qdisc.
const fn origin(created: bool) -> &'static str {
    if created { "created" } else { "found" }
}

/// Waits for the guard, but not for ever: two dumps for each interface are milliseconds.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    const LIMIT: Duration = Duration::from_secs(10);
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if start.elapsed() < LIMIT => thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// What the guard process does: reads interfaces from stdin until the pipe closes, then cleans up.
///
/// # Errors
///
/// If signals cannot be blocked, a capability stays, or netlink refuses.
pub fn run_guard(owner: OwnerHandle) -> Result<(), io::Error> {
    // Whoever stops tls-sniff by its name also reaches the guard, which must outlive it.
    let signals =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGABRT];
    signals.into_iter().collect::<SigSet>().thread_block()?;
    confine()?;

    let mut prepared = Prepared::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if let Some((index, origin)) = line.split_once(' ')
            && let Ok(index) = index.parse()
        {
            match origin {
                "gone" => drop(prepared.remove(&index)),
                _ => drop(prepared.insert(index, origin == "created")),
            }
        }
    }
    clean_all(&prepared, owner)
}

/// Leaves this process what netlink asks for, and gives it a name of its own.
#[expect(unsafe_code, reason = "it closes what the caller has open")]
fn confine() -> io::Result<()> {
    // SAFETY: this is the first thing that this program does, beside parsing its arguments.
    if let Err(error) = unsafe { close_others(&[]) } {
        tracing::debug!("the clsact guard has what the caller has open: {error}");
    }
    prctl::set_name(NAME)?;
    prctl::set_no_new_privs()?;
    let keep = || -> Result<(), CapsError> {
        let mut kept = caps::read(None, CapSet::Permitted)?;
        kept.retain(|capability| *capability == Capability::CAP_NET_ADMIN);
        privilege::keep_only(&kept, &CapsHashSet::new())
    };
    keep().map_err(io::Error::other)
}

/// Removes an owner's filters, and the qdiscs that were created for them, from all interfaces.
fn clean_all(prepared: &Prepared, owner: OwnerHandle) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (netlink, _changes) = Netlink::open(&[])?;
        let mut failed = None;
        for (index, created) in prepared {
            let mut cleaned = clean(&netlink, *index, *created, owner).await;
            if cleaned.is_err() {
                // A dump may be interrupted by a change.
                cleaned = clean(&netlink, *index, *created, owner).await;
            }
            if let Err(error) = cleaned {
                tracing::error!("interface {index}: cannot remove tls-sniff's filters: {error}");
                failed = Some(io::Error::other(error));
            }
        }
        failed.map_or(Ok(()), Err)
    })
}
