//! Wrong usage, what cannot be written or read, and what the program says of itself.

use anyhow::{Context as _, Result, ensure};
use tls_sniff_tests::process::{Process, run};

use super::{SOON, handshakes, tls_sniff};

/// A path that no address of a socket has room for.
const LONG_SOCKET: &str = "unix:/run/tls-sniff/a-name-that-is-longer-than-the-hundred-and-seven-bytes-for-which-there-is-room-in-a-sockaddr_un/s";

/// What the command line contradicts: one line, and exit code 2.
pub(crate) fn wrong() -> Result<()> {
    let cases: &[(&[&str], &str)] = &[
        (&["--hook", "qdisc"], "tc, xdp"),
        (&["--xdp-mode", "native"], "--hook xdp or --tap"),
        (&["--xdp-mode", "generic", "--hook", "tc"], "--hook xdp or --tap"),
        (&["--format", "xml"], "json, text"),
        (&["--format", "text", "--json-profile", "eve"], "--format text"),
        (&["--json-profile", "zeek", "--events", "alert"], "--events"),
        (&["--output", "file:x,profile=zeek,events=alert"], "file:x"),
        (&["--output", "log.json"], "file:PATH"),
        (&["--output", "file:x,events=handshake", "--output", "file:x"], "two outputs are file:x"),
        (&["--output", "file:x,max-size=1G", "--output", "file:x.1"], "is renamed to file:x.1"),
        (
            &["--output", "file:x,max-size=1G", "--output", "file:src/../x.1"],
            "is renamed to file:src",
        ),
        (&["--output", "file:x,max-age=1d", "-w", "./x.1"], "is renamed to ./x.1, which -w writes"),
        (&["--output", "file:x,max-age=1d", "-r", "x.1"], "is renamed to x.1, which -r reads"),
        (&["--output", "file:src/../x_00001.pcap", "-w", "x.pcap", "-C", "1"], "capture of -w"),
        (&["--output", "file:x", "--output", "file:./x"], "two outputs are one file: file:x and"),
        (&["--output", "stdout", "-w", "-"], "another --output"),
        (&["--output", "file:x", "-w", "x"], "capture of -w"),
        (&["--output", "file:./x", "-w", "x"], "capture of -w"),
        (&["--output", LONG_SOCKET], "at most 107 bytes"),
        (&["--events", "hello"], "client_hello"),
        (&["-c", "0"], "-c"),
        (&["-c", "many"], "many"),
        (&["--payload-bytes", "99999"], "16384"),
        (&["--payload-bytes", "1"], "16384"),
        (&["--ring-bytes", "1"], "4096"),
        (&["-r", "file", "-i", "lo"], "--interface"),
        (&["--interfaces", "lo"], "--interface"),
        // Somebody who forgot -i.
        (&["lo"], "-i lo"),
        (&["--port", "450-443"], "its end is below its beginning"),
        (&["--port", "65536"], "0 to 65535"),
        (&["--port", "https"], "0 to 65535"),
        (&["--payload-len", "200..100"], "its end is below its beginning"),
        (&["--net", "10.0.0.0/33"], "0 to 32"),
        (&["--net", "2001:db8::/129"], "0 to 128"),
        (&["--host", "example.org"], "no IP address"),
        (&["--vlan", "4096"], "0 to 4095"),
        (&["--content", "hello"], "appdata"),
        (&["--handshake", "hello"], "client_hello"),
        (&["--handshake", "clienthello"], "did you mean \"client_hello\"?"),
        (&["--handshake", "32"], "a number up to 31"),
        (&["--cipher", "TLS_AES_128_GCM_SHA265"], "did you mean \"TLS_AES_128_GCM_SHA256\"?"),
        (&["--cipher", "TLS_AES_*,*_RC5_*"], "\"*_RC5_*\" is no cipher suite"),
        (&["--cipher", "1301"], "0x and four digits"),
        (&["--ja4", "t13d1516h2"], "such as t13d*"),
        (&["--hello-version", "1.3"], "1.2"),
        (&["--tls-version", "1.4"], "1.3"),
        (&["--tcp", "psh"], "synack"),
        (&["--sample", "10"], "1/N"),
        (&["--outcome", "bad"], "failed"),
        (&["--format", "none"], "-w"),
        (&["--content", "alert", "--handshake", "certificate"], "--content handshake"),
        (&["-w", "-", "--format", "json"], "stdout"),
        (&["-w", "-", "-C", "1"], "stdout"),
        (&["-w", "x.pcap.xz"], "only .gz and .zst"),
        (&["-w", "x.pcapng", "-W", "3"], "-W"),
        (&["-w", "x.pcapng", "-C", "0"], "64K"),
        (&["-w", "x.pcap", "--keylog", "keys"], "pcap file"),
        (&["-w", "x-%E.pcapng", "-G", "60"], "x-%E"),
        (&["--snaplen", "100"], "--write"),
        (&["-r", "Cargo.toml", "-w", "./Cargo.toml"], "overwrite"),
        (&["-i", "lo", "--net-file", "/proc/version"], "/proc/version, line 1"),
    ];
    refused(cases)
}

/// Expressions that libpcap does not take; it comes with tcpdump.
pub(crate) fn bad_expressions() -> Result<()> {
    refused(&[
        (&["port 443 and and"], "syntax error"),
        (&["host", "10.0.0.1", "or", "(port", "443"], "syntax error"),
        (&["portrange", "1-99999"], "illegal port"),
        (&["-r", "x", "tcp[100000000] = 1 and ("], "syntax error"),
        // Commands with a letter amiss.
        (&["docter"], "hint: did you mean the command `doctor`? If not: `man pcap-filter`"),
        (&["check-confg", "x"], "did you mean the command `check-config`?"),
        (&["docter"], "syntax error"),
    ])?;
    let said = run(&mut tls_sniff(&["--explain", "tcp", "port", "443"])?)?;
    ensure!(said.contains("expression `tcp port 443`"), "{said}");
    Ok(())
}

fn refused(cases: &[(&[&str], &str)]) -> Result<()> {
    for (arguments, expected) in cases {
        let finished = Process::spawn(tls_sniff(arguments)?, None)?.finish(SOON)?;
        let log = finished.stderr.join("\n");
        ensure!(finished.status.code() == Some(2), "{arguments:?}: {log}");
        ensure!(log.contains(expected) && !log.contains("panicked"), "{arguments:?}: {log}");
        ensure!(finished.stdout.is_empty());
        // clap adds its usage, the others a hint.
        let short = finished.stderr.len() <= 2;
        ensure!(short || log.starts_with("error"), "{arguments:?}: {log}");
    }
    Ok(())
}

/// What the system refuses: one line and a hint, exit code 1, and what is there stays.
pub(crate) fn unwritable() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().to_str().context("a path in UTF-8")?;
    let file = format!("{folder}/file");
    std::fs::write(&file, "kept")?;
    let path = |name: &str| format!("{folder}/{name}");
    let cases: &[(&[&str], &str)] = &[
        (&["-w", &path("missing/x.pcapng")], "mkdir -p"),
        (&["-w", folder], "directory"),
        (&["-w", &path("file/x.pcapng")], "Not a directory"),
        (&["-w", "/proc/tls-sniff.pcapng"], "/proc/tls-sniff.pcapng"),
        (&["-w", &path("x.pcapng"), "--keylog", &path("missing")], "key log"),
        (&["--net-file", &path("missing")], "cannot read"),
    ];
    for (arguments, expected) in cases {
        let capture = handshakes();
        let read = ["-r", capture.to_str().context("a path in UTF-8")?];
        let command = tls_sniff(&[&read[..], arguments].concat())?;
        let finished = Process::spawn(command, None)?.finish(SOON)?;
        let log = finished.stderr.join("\n");
        ensure!(finished.status.code() == Some(1), "{arguments:?}: {log}");
        ensure!(log.contains(expected) && finished.stderr.len() <= 2, "{arguments:?}: {log}");
        ensure!(finished.stdout.is_empty(), "{arguments:?}");
    }
    ensure!(std::fs::read_to_string(&file)? == "kept");
    Ok(())
}

/// A file that does not tell directions: nothing is left out, and it is said, once.
pub(crate) fn without_directions() -> Result<()> {
    let capture = handshakes();
    let all = ["-r", capture.to_str().context("a path in UTF-8")?, "--events", "client_hello"];
    let run = |arguments: &[&str]| Process::spawn(tls_sniff(arguments)?, None)?.finish(SOON);
    let (all, inbound) = (run(&all)?, run(&[&all[..], &["-Q", "in"]].concat())?);
    ensure!(all.stderr.is_empty() && all.stdout.len() > 2, "{all:?}");
    ensure!(all.stdout.len() == inbound.stdout.len(), "{inbound:?}");
    let [said] = &inbound.stderr[..] else { anyhow::bail!("{inbound:?}") };
    ensure!(said.contains("does not tell directions"), "{said}");
    Ok(())
}

/// Every test is named, at the place where it runs.
pub(crate) fn explained() -> Result<()> {
    let flags = [
        "--explain",
        "-p",
        "443,!8443",
        "--net",
        "not src 10.0.0.0/8",
        "-Q",
        "in",
        "--vlan",
        "100",
        "--content",
        "alert",
        "--record-version",
        "1.0",
        "--payload-len",
        "10..20",
        "--tcp",
        "fin",
        "--sample",
        "1/8",
        "--sni",
        "*.example",
        "--tls-version",
        "1.3",
        "--outcome",
        "failed",
        "--write-scope",
        "connection",
        "-w",
        "x.pcapng",
    ];
    let said = run(&mut tls_sniff(&flags)?)?;
    let (kernel, here) = said.split_once("\nHere").context("two places")?;
    for words in [
        "port 443",
        "not to or from port 8443",
        "source 10.0.0.0/8",
        "into this host",
        "VLAN 100",
        "content type alert",
        "1.0 (0x0301)",
        "10 to 20 bytes",
        "TCP flags fin",
        "one connection in 8",
        "all packets of a connection",
    ] {
        ensure!(kernel.contains(words), "{words}: {kernel}");
    }
    for words in ["server name *.example", "TLS 1.3", "outcome is failed", "events: "] {
        ensure!(here.contains(words), "{words}: {here}");
    }
    ensure!(!std::path::Path::new("x.pcapng").exists(), "it does nothing else");
    Ok(())
}

/// Each output with its form and the events that it gets, and what else is written.
pub(crate) fn places() -> Result<()> {
    let zeek = "file:x,profile=zeek,events=handshake+alert";
    let cases: &[(&[&str], &str)] = &[
        (&["--content", "alert"], "  JSON lines (native) to stdout: alert\n"),
        (
            &["--output", zeek, "--output", "syslog,format=text", "-w", "-"],
            "  JSON lines (zeek) to file:x: handshake\n  \
               text to syslog: client_hello, server_hello, certificate, alert, handshake\n  \
               packets to stdout\n",
        ),
        (
            &["-w", "x.pcap", "--format", "none", "--metrics", "9921"],
            "  packets to x.pcap\n  metrics at 127.0.0.1:9921\n",
        ),
        (&["--format", "none"], "  neither events nor packets go anywhere\n"),
    ];
    for (flags, expected) in cases {
        let said = run(&mut tls_sniff(&[&["--explain"], *flags].concat())?)?;
        let (_, places) = said.split_once("Where it goes:\n").context("where it goes")?;
        ensure!(places == *expected, "{flags:?}: {places}");
    }
    Ok(())
}

/// Each flag stands in the help, in a line of its own.
pub(crate) fn help() -> Result<()> {
    let long = run(&mut tls_sniff(&["--help"])?)?;
    for flag in [
        "--interface",
        "--read",
        "--hook",
        "--format",
        "--json-profile",
        "--count",
        "--events",
        "--payload-bytes",
        "--output",
        "--port",
        "--net",
        "--content",
        "--sni",
        "--outcome",
        "--write",
        "--write-scope",
        "--rotate-size",
        "--keylog",
        "--explain",
        "--no-dedup",
        "--require-sandbox",
        "--no-sandbox",
    ] {
        let lines = long.lines().filter(|line| line.trim_start().starts_with('-'));
        let named = lines.filter(|line| line.split_whitespace().any(|word| word == flag));
        ensure!(named.count() == 1, "{flag}: {long}");
    }
    ensure!(!long.contains("clsact-guard"), "{long}");
    ensure!(run(&mut tls_sniff(&["--version"])?)?.starts_with("tls-sniff "));
    Ok(())
}
