//! seccomp: the system calls that reading, writing and waiting need.
//!
//! ```text
//!  in the lists below, with such arguments     allowed
//!  newer ones, for which a libc has another    ENOSYS: it takes that
//!  all else                                    EPERM
//! ```
//!
//! Nothing is killed: a call that was forgotten here must not take the sniffer down. Two filters give three answers,
//! the stricter one counts: what the first answers with ENOSYS the second allows.

mod calls;

use std::{collections::BTreeMap, path::Path};

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompFilter, SeccompRule, TargetArch,
};

use self::calls::Call;
use super::{Part, Plan, SandboxError};

const PART: &str = "seccomp";

/// Whether this kernel has filters of system calls.
#[must_use]
pub fn available() -> bool {
    Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

/// Leaves this thread the system calls that `plan` asks for.
pub(super) fn restrict(plan: &Plan) -> Result<Part, SandboxError> {
    let refused =
        |error: BackendError| SandboxError::Refused { part: PART, reason: error.to_string() };
    let older = older_ways().map_err(refused)?;
    let allowed = allowed(plan).map_err(refused)?;
    // In this order: the second allows no filter behind it.
    for program in [older, allowed] {
        match seccompiler::apply_filter(&program) {
            Ok(()) => {}
            Err(Error::Seccomp(error) | Error::Prctl(error)) => {
                return Ok(Part::Lacking(format!(
                    "no seccomp in this kernel ({error}): system calls are as free as those of any user"
                )));
            }
            Err(error) => {
                return Err(SandboxError::Refused { part: PART, reason: error.to_string() });
            }
        }
    }
    Ok(Part::InForce)
}

/// Takes from this thread what reaches other processes.
pub(super) fn restrict_helper() -> Result<(), String> {
    let rules = calls::OF_OTHERS.iter().map(|call| (*call, Vec::new())).collect();
    let program = compile(rules, SeccompAction::Allow, SeccompAction::Errno(errno(libc::EPERM)));
    seccompiler::apply_filter(&program.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())
}

/// ENOSYS for the calls that a libc has another way for.
fn older_ways() -> Result<BpfProgram, BackendError> {
    let rules = calls::WITH_OLDER_WAY.iter().map(|call| (*call, Vec::new())).collect();
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(errno(libc::ENOSYS)))
}

/// EPERM for all but what `plan` asks for.
fn allowed(plan: &Plan) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<Call, Vec<SeccompRule>> = BTreeMap::new();
    let whole = [
        (true, calls::ALWAYS),
        (true, calls::WITH_OLDER_WAY),
        (!plan.directories.is_empty() || !plan.readable.is_empty(), calls::OPENING),
        (!plan.directories.is_empty(), calls::RENEWING),
        (plan.accept, calls::ACCEPTING),
    ];
    for (_, calls) in whole.into_iter().filter(|(wanted, _)| *wanted) {
        rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    }
    rules.extend(calls::with_arguments(plan.threads)?);
    compile(rules, SeccompAction::Errno(errno(libc::EPERM)), SeccompAction::Allow)
}

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

fn compile(
    rules: BTreeMap<Call, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, others, these, arch)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        io::{self, Read as _, Write as _},
        net::{TcpListener, TcpStream, UdpSocket},
        os::unix::net::UnixStream,
        thread,
        time::Duration,
    };

    /// What `inside` came to, on a thread that has the filters.
    fn behind<T: Send>(plan: Plan, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let restricted = scope.spawn(move || {
                assert!(matches!(restrict(&plan), Ok(Part::InForce)));
                inside()
            });
            restricted.join().unwrap()
        })
    }

    fn denied<T>(result: io::Result<T>) {
        assert_eq!(result.err().and_then(|error| error.raw_os_error()), Some(libc::EPERM));
    }

    #[test]
    fn nothing_new_is_opened_and_what_is_open_goes_on() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        behind(Plan::default(), move || {
            denied(fs::read("/etc/hostname"));
            denied(fs::write("/tmp/tls-sniff-seccomp", ""));
            denied(TcpStream::connect(address));
            denied(UdpSocket::bind("127.0.0.1:0"));
            denied(UnixStream::connect("/run/systemd/journal/stdout"));
            denied(listener.accept());
            denied(std::process::Command::new("true").status());
            denied(thread::Builder::new().spawn(|| {}).map(drop));
            denied(fs::remove_file("/tmp/tls-sniff-seccomp"));
            // Signals to itself, as of abort, but to no process by its number.
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGURG).unwrap();
            denied(nix::sys::signal::kill(nix::unistd::getpid(), None).map_err(io::Error::from));
            one.write_all(b"x").unwrap();
            let mut read = [0];
            other.read_exact(&mut read).unwrap();
            let memory = vec![1_u8; 64 << 20];
            thread::sleep(Duration::from_millis(1));
            assert_eq!(memory.len(), 64 << 20);
        });
    }

    #[test]
    fn a_plan_gives_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let plan = Plan {
            directories: vec![folder.path().to_owned()],
            threads: true,
            accept: true,
            ..Plan::default()
        };
        behind(plan, || {
            let (one, two) = (folder.path().join("1"), folder.path().join("2"));
            fs::write(&one, "x").unwrap();
            fs::File::open(&one).unwrap().try_lock().unwrap();
            fs::rename(&one, &two).unwrap();
            fs::remove_file(&two).unwrap();
            let thread = thread::Builder::new().name("named".to_owned());
            // It inherits the filters.
            thread.spawn(|| denied(UdpSocket::bind("127.0.0.1:0"))).unwrap().join().unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.write_all(b"x").unwrap();
            drop(accepted);
            denied(std::process::Command::new("true").status());
        });
        drop(client);
    }

    #[test]
    #[expect(unsafe_code, reason = "memory is what it is about")]
    fn memory_does_not_become_code() {
        let map = |protection: i32| {
            behind(Plan::default(), move || {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                // SAFETY: a mapping of its own, which nothing points to and which stays.
                let at =
                    unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
                if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
            })
        };
        map(libc::PROT_READ | libc::PROT_WRITE).unwrap();
        denied(map(libc::PROT_READ | libc::PROT_EXEC));
    }
}
