//! What the process that reads network bytes can still do, tried in the running process from outside.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::{
    peer::{Certificate, Client, Server},
    poll,
    process::only_child,
    sniffer::{self, Sniffer, Stopped},
    veth::VethPair,
};

use super::handshakes::{NAME, SOON};

const CAP_NET_ADMIN: u64 = 1 << 12;

/// It, CAP_PERFMON and CAP_BPF.
const OF_THE_ATTACHER: u64 = CAP_NET_ADMIN | 1 << 38 | 1 << 39;

/// The fields of a thread's /proc/PID/status.
pub(super) fn status(folder: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(folder.join("status"))?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

fn threads(process: u32) -> Result<Vec<BTreeMap<String, String>>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))?;
    tasks.map(|task| status(&task?.path())).collect()
}

pub(super) fn mask(status: &BTreeMap<String, String>, set: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&status[set], 16)?)
}

/// Starts it with a file that the caller has open.
fn start(pair: &VethPair, arguments: &[&str]) -> Result<Sniffer> {
    let mut command = pair.second.namespace.command("sh");
    command.args(["-c", r#"exec "$0" "$@" 9</dev/zero"#]);
    command.arg(sniffer::binary()?).args(arguments);
    Sniffer::spawn(command)
}

/// No thread of the daemon has a capability or could get one; each has its filters, if it is to have some. The
/// attacher has three capabilities, the clsact guard, which must be there, one, and neither can get more.
fn check_privileges(sniffer: &Sniffer, sandboxed: bool) -> Result<()> {
    let daemon = threads(sniffer.id())?;
    ensure!(daemon.len() > 1, "there are threads for the outputs");
    for thread in &daemon {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            ensure!(mask(thread, set)? == 0, "{set} of {thread:#?}");
        }
        ensure!(thread["NoNewPrivs"] == "1", "{thread:#?}");
        ensure!(thread["Seccomp"] == if sandboxed { "2" } else { "0" }, "{thread:#?}");
    }
    let attacher = sniffer.attacher()?;
    for thread in threads(attacher)? {
        for set in ["CapPrm", "CapEff"] {
            ensure!(mask(&thread, set)? == OF_THE_ATTACHER, "the attacher's {set}: {thread:#?}");
        }
        // For the clsact guard, which is its child.
        ensure!(mask(&thread, "CapAmb")? & !CAP_NET_ADMIN == 0, "{thread:#?}");
        ensure!(thread["NoNewPrivs"] == "1", "{thread:#?}");
    }
    let guard = only_child(attacher)?;
    check_guard(guard)?;
    // The daemon has it.
    ensure!(has_file(sniffer.id())?);
    for process in [attacher, guard] {
        ensure!(!has_file(process)?, "{process} has its caller's file");
    }
    Ok(())
}

/// Whether a process has the file that [`start`] opened.
fn has_file(process: u32) -> Result<bool> {
    let is = |fd: fs::DirEntry| fs::read_link(fd.path()).ok() == Some("/dev/zero".into());
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.filter_map(std::result::Result::ok).any(is))
}

fn check_guard(guard: u32) -> Result<()> {
    let confined = || {
        let guard = status(Path::new(&format!("/proc/{guard}"))).ok()?;
        let is = |set, expected| mask(&guard, set).ok().is_some_and(|mask| mask == expected);
        let one = ["CapPrm", "CapEff", "CapBnd"].into_iter().all(|set| is(set, CAP_NET_ADMIN));
        let none = ["CapInh", "CapAmb"].into_iter().all(|set| is(set, 0));
        let named = guard["Name"] == "tls-guard" && guard["NoNewPrivs"] == "1";
        (one && none && named).then_some(())
    };
    // It is a program of its own, which may be slower than the attacher.
    poll::until(SOON, "the guard to have one capability", confined)
        .with_context(|| format!("{:#?}", status(Path::new(&format!("/proc/{guard}")))))
}

/// A handshake that is told, after all that was done to the process.
fn tells_a_handshake(pair: &VethPair, mut sniffer: Sniffer) -> Result<Stopped> {
    let folder = tempfile::tempdir()?;
    let certificate = Certificate::self_signed(folder.path(), NAME)?;
    let address = SocketAddr::new(pair.second.address(false), 443);
    let _server = Server::new(&certificate, address).start(&pair.second.namespace)?;
    Client::new(address, NAME).run(&pair.first.namespace)?.established()?;
    sniffer.wait_for(SOON, |event| event["event"] == "handshake")?;
    let stopped = sniffer.stop()?;
    ensure!(stopped.status.success(), "{stopped:#?}");
    Ok(stopped)
}

#[cfg(target_arch = "x86_64")]
mod taken_over {
    use super::*;
    use nix::{errno::Errno, libc};
    use tls_sniff_tests::inject::{
        Argument::{Number, Text},
        Stopped as Taken,
    };

    const HERE: u64 = libc::AT_FDCWD.cast_unsigned() as u64;

    /// Opening a file that only root may read, sockets, another program, a signal to somebody else: each of them as if
    /// the daemon's code did it.
    fn attempts(taken: &Taken) -> Result<Vec<(&'static str, std::result::Result<u64, Errno>)>> {
        let number = |number: i32| Number(u64::from(number.unsigned_abs()));
        let open = taken.call(
            libc::SYS_openat,
            &[Number(HERE), Text(c"/etc/shadow"), number(libc::O_RDONLY)],
        )?;
        let socket = |family| {
            taken.call(libc::SYS_socket, &[number(family), number(libc::SOCK_STREAM), Number(0)])
        };
        // There is no such program, so that one which may execute it lives on.
        let execute =
            taken.call(libc::SYS_execve, &[Text(c"/no/such/program"), Number(0), Number(0)])?;
        let parent = Number(u64::from(std::process::id()));
        let results = vec![
            ("openat of /etc/shadow", open),
            ("socket of IPv4", socket(libc::AF_INET)?),
            ("Unix socket", socket(libc::AF_UNIX)?),
            ("execve", execute),
            ("bpf", taken.call(libc::SYS_bpf, &[Number(0), Number(0), Number(0)])?),
            ("kill", taken.call(libc::SYS_kill, &[parent, Number(0)])?),
        ];
        for (_, result) in &results[..3] {
            if let Ok(descriptor) = result {
                taken.call(libc::SYS_close, &[Number(*descriptor)])?.context("close")?;
            }
        }
        Ok(results)
    }

    fn try_all(sniffer: &Sniffer, sandboxed: bool, writes: bool) -> Result<()> {
        let taken = Taken::attach(sniffer.id())?;
        // That it is this process that does it.
        let itself = taken.call(libc::SYS_getpid, &[])?;
        ensure!(itself == Ok(u64::from(sniffer.id())), "{itself:?}");
        let denied = |result| matches!(result, Err(Errno::EPERM | Errno::EACCES));
        for (what, result) in attempts(&taken)? {
            let expected = match (sandboxed, what) {
                // The file systems refuse what seccomp must let through.
                (true, "openat of /etc/shadow") if writes => result == Err(Errno::EACCES),
                (true, _) => denied(result),
                (false, "execve") => result == Err(Errno::ENOENT),
                // Without a capability it comes to nothing, by one errno or another.
                (false, "bpf") => result.is_err(),
                (false, _) => result.is_ok(),
            };
            ensure!(expected, "{what}: {result:?}, sandboxed: {sandboxed}, writes: {writes}");
        }
        Ok(())
    }

    /// Without files that are made anew, with them, and without a sandbox: then what is tried above succeeds.
    pub(crate) fn can_do_nothing() -> Result<()> {
        let pair = VethPair::new()?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_str().context("a path in UTF-8")?;
        let (capture, events) =
            (format!("{path}/x.pcapng"), format!("file:{path}/x.json,max-size=1KiB"));
        let rotated = [
            &["-w", &capture, "-C", "1K", "--output", &events, "--output", "stdout"][..],
            &["--require-sandbox"],
        ]
        .concat();
        let cases: [(&[&str], bool, bool); 3] = [
            (&["--require-sandbox"], true, false),
            (&rotated, true, true),
            (&["--no-sandbox"], false, false),
        ];
        for (flags, sandboxed, writes) in cases {
            let clsact = ["-i", "veth-b", "--format", "json", "--tc-attach", "clsact"];
            let arguments = [&clsact, flags].concat();
            let mut sniffer = start(&pair, &arguments)?;
            sniffer.ready()?;
            check_privileges(&sniffer, sandboxed)?;
            try_all(&sniffer, sandboxed, writes)?;
            let stopped = tells_a_handshake(&pair, sniffer)?;
            if !writes {
                // Of one output.
                stopped.check_sums()?;
            }
            let log = stopped.stderr.join("\n");
            ensure!(log.contains("--no-sandbox") != sandboxed, "{log}");
            ensure!(!log.contains("cannot"), "{log}");
        }
        // All but the first of each were made behind the sandbox.
        for name in ["x_00001.pcapng", "x_00002.pcapng", "x.json", "x.json.1"] {
            ensure!(folder.path().join(name).metadata()?.len() > 0, "{name}");
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use taken_over::can_do_nothing;

/// Elsewhere no system calls are put into the process; its privileges are looked at all the same.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn can_do_nothing() -> Result<()> {
    let pair = VethPair::new()?;
    let arguments =
        ["-i", "veth-b", "--format", "json", "--tc-attach", "clsact", "--require-sandbox"];
    let mut sniffer = start(&pair, &arguments)?;
    sniffer.ready()?;
    check_privileges(&sniffer, true)?;
    eprintln!("system calls are put into the process on x86_64 alone");
    tells_a_handshake(&pair, sniffer).map(drop)
}
