//! The package's whole life on a machine with systemd.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixDatagram,
    },
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tls_sniff_tests::{
    attached,
    netns::Namespace,
    peer::{Certificate, Client, Key, RunningServer, Server},
    poll,
    process::{Process, run},
    systemd::Machine,
    veth::VethPair,
};

use super::deb;

const SOON: Duration = Duration::from_secs(30);
const UNIT: &str = "tls-sniff.service";
const INSTANCE: &str = "tls-sniff@veth-b.service";
const INSTANCE_CONFIG: &str = "/etc/tls-sniff/veth-b.toml";
const CONFIG: &str = "/etc/tls-sniff/config.toml";
const EVENTS: &str = "/var/log/tls-sniff/events.json";

/// At every address, of which the unit lets loopback through alone.
const METRICS_PORT: u16 = 9899;

/// Of RFC 5424 at another host, where the unit lets nobody go.
const COLLECTOR_PORT: u16 = 601;

/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF, bits 12, 38 and 39.
const CAPABILITIES: &str = "000000c000001000";

/// A machine at one end of a veth pair, a client at the other, and a TLS server in the machine's network.
struct Site {
    machine: Machine,
    pair: VethPair,
    server: SocketAddr,
    _server: RunningServer,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let pair = VethPair::new()?;
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::with_key(folder.path(), "server.example", Key::P256)?;
        let server = SocketAddr::new(pair.second.address(false), 4433);
        let running = Server::new(&certificate, server).start(&pair.second.namespace)?;
        let machine = Machine::boot(&pair.second.namespace)?;
        Ok(Self { machine, pair, server, _server: running, _folder: folder })
    }

    /// Installs the package, or upgrades to it.
    fn install(&self, revision: u32) -> Result<()> {
        fs::write(self.machine.path("/root/tls-sniff.deb"), deb::package(revision)?)?;
        let said = self.machine.run("dpkg", &["--install", "/root/tls-sniff.deb"])?;
        ensure!(!said.contains("warning"), "{said}");
        Ok(())
    }

    fn handshake(&self, name: &str) -> Result<()> {
        Client::new(self.server, name).run(&self.pair.first.namespace)?.established().map(drop)
    }

    /// Waits for the line of a handshake with the server `name`.
    fn told(&self, name: &str) -> Result<Value> {
        let file = self.machine.path(EVENTS);
        poll::until(SOON, &format!("the handshake with {name}"), || {
            let text = fs::read_to_string(&file).ok()?;
            text.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|event| event["event"] == "handshake" && event["sni"] == name)
        })
        .with_context(|| self.machine.account(UNIT))
    }

    fn is_active(&self) -> Result<bool> {
        Ok(self.machine.property(UNIT, "ActiveState")? == "active")
    }

    /// What runs in the unit's cgroup, as the host numbers it; the main process comes first.
    fn processes(&self) -> Result<Vec<u32>> {
        let cgroup = self.machine.property(UNIT, "ControlGroup")?;
        let processes = self.machine.path(&format!("/sys/fs/cgroup{cgroup}/cgroup.procs"));
        let processes = fs::read_to_string(&processes).context("cgroup.procs")?;
        let main = self.machine.property(UNIT, "MainPID")?;
        let mut ids: Vec<u32> = processes.lines().map(str::parse).collect::<Result<_, _>>()?;
        ids.sort_by_key(|id| field(*id, "NSpid").is_ok_and(|inside| !inside.ends_with(&main)));
        Ok(ids)
    }

    fn journal(&self, priority: &str) -> Result<String> {
        let arguments = ["--unit", UNIT, "--output", "cat", "--priority", priority];
        self.machine.run("journalctl", &[&["--no-pager"], &arguments[..]].concat())
    }

    fn nothing_is_attached(&self) -> Result<()> {
        let programs = attached::programs(&self.pair.second.namespace)?;
        ensure!(programs == 0, "{programs} programs");
        Ok(())
    }
}

/// A field of /proc/ID/status.
fn field(id: u32, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim().to_owned())
}

pub(crate) fn life() -> Result<()> {
    let site = Site::new()?;
    let machine = &site.machine;
    site.install(1)?;
    ensure!(site.is_active()?, "{}", machine.account(UNIT));
    // Type=notify: dpkg has waited for it.
    ensure!(attached::programs(&site.pair.second.namespace)? == 2);
    ensure!(machine.run("systemctl", &["is-enabled", UNIT])? == "enabled");
    for unit in [UNIT, INSTANCE] {
        let verified = machine.output("systemd-analyze", &["verify", unit])?;
        let said = String::from_utf8_lossy(&verified.stderr);
        ensure!(verified.status.success() && said.is_empty(), "{unit}: {said}");
    }

    site.handshake("installed.example")?;
    let event = site.told("installed.example")?;
    ensure!(event["outcome"] == "completed", "{event}");
    least_privileges(&site)?;
    reload(&site)?;
    stop(&site)?;
    all_at_once(&site)?;
    template(&site)?;
    upgrade(&site)?;
    purge(&site)
}

/// Whose processes and files they are, and what the processes may do.
fn least_privileges(site: &Site) -> Result<()> {
    let user = site.machine.run("id", &["--user", "tls-sniff"])?;
    let ids = site.processes()?;
    let [main, attacher] = ids[..] else { anyhow::bail!("processes {ids:?}") };
    for id in [main, attacher] {
        ensure!(field(id, "Uid")?.split_whitespace().all(|uid| uid == user), "user of {id}");
        // To narrow its bounding set the unit would need another capability; no_new_privs makes it nothing.
        for set in ["CapBnd", "CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let expected = match (id == main, set) {
                (_, "CapBnd") | (false, "CapPrm" | "CapEff") => CAPABILITIES,
                (true, _) => "0000000000000000",
                // For the guard of filters on clsact.
                (false, _) => "0000000000001000",
            };
            let has = field(id, set)?;
            ensure!(has == expected, "{set} of {id}: {has}, main is {main}");
        }
        ensure!(field(id, "NoNewPrivs")? == "1" && field(id, "Seccomp")? == "2");
    }
    let about = fs::metadata(site.machine.path(EVENTS))?;
    ensure!(about.uid().to_string() == user && about.permissions().mode() & 0o777 == 0o640);
    let folder = fs::metadata(site.machine.path("/var/log/tls-sniff"))?;
    ensure!(folder.uid().to_string() == user && folder.permissions().mode() & 0o777 == 0o750);
    Ok(())
}

/// A configuration that cannot be read leaves the old one in force; the next one is taken.
fn reload(site: &Site) -> Result<()> {
    let config = site.machine.path(CONFIG);
    let shipped = fs::read_to_string(&config)?;
    let main = site.machine.property(UNIT, "MainPID")?;

    fs::write(&config, format!("no-such-key = 1\n{shipped}"))?;
    site.machine.run("systemctl", &["reload", UNIT])?;
    poll::try_until(SOON, "a word about the key", || {
        Ok(site.journal("warning")?.contains("no-such-key").then_some(()))
    })?;
    // Priorities are known: what is only said is there, and no warning.
    ensure!(site.journal("info")?.contains("watching"), "{}", site.journal("info")?);
    ensure!(!site.journal("warning")?.contains("watching"), "{}", site.journal("warning")?);
    site.handshake("refused.example")?;
    site.told("refused.example")?;

    fs::write(&config, format!("sni = [\"wanted.*\"]\n{shipped}"))?;
    site.machine.run("systemctl", &["reload", UNIT])?;
    poll::try_until(SOON, "the new filter", || {
        Ok(site.journal("info")?.contains("the configuration was read again").then_some(()))
    })?;
    site.handshake("unwanted.example")?;
    site.handshake("wanted.example")?;
    site.told("wanted.example")?;
    let told = fs::read_to_string(site.machine.path(EVENTS))?;
    ensure!(!told.contains("unwanted.example"), "{told}");
    ensure!(site.machine.property(UNIT, "MainPID")? == main && site.is_active()?);
    let status = site.machine.property(UNIT, "StatusText")?;
    ensure!(status.starts_with("watching "), "{status:?}");
    Ok(())
}

fn stop(site: &Site) -> Result<()> {
    let ids = site.processes()?;
    site.machine.run("systemctl", &["stop", UNIT])?;
    site.nothing_is_attached()?;
    ensure!(!ids.iter().any(|id| Path::new(&format!("/proc/{id}")).exists()), "{ids:?}");
    let result = site.machine.property(UNIT, "Result")?;
    ensure!(result == "success", "{result}: {}", site.machine.account(UNIT));
    Ok(())
}

/// A file, a socket of another user's, Prometheus and a host that the unit does not allow, inside of its restrictions.
fn all_at_once(site: &Site) -> Result<()> {
    let socket = site.machine.path("/run/events.sock");
    let reader = UnixDatagram::bind(&socket)?;
    reader.set_read_timeout(Some(SOON))?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    let config = site.machine.path(CONFIG);
    let before = fs::read_to_string(&config)?;
    let other = (site.pair.first.ipv4, COLLECTOR_PORT);
    let collector = site.pair.first.namespace.enter(|| TcpListener::bind(other))??;
    collector.set_nonblocking(true)?;
    let metrics = format!("metrics = \"0.0.0.0:{METRICS_PORT}\"\n");
    let output = "\n[[output]]\nto = \"unixgram:/run/events.sock\"\nprofile = \"zeek\"\n";
    let distant = format!("\n[[output]]\nto = \"syslog+tcp:{}\"\n", collector.local_addr()?);
    fs::write(&config, [&metrics, &before, output, &distant].concat())?;
    site.machine.run("systemctl", &["start", UNIT])?;

    let name = "wanted.three-ways";
    site.handshake(name)?;
    site.told(name)?;
    let mut bytes = [0; 65_536];
    let length = reader.recv(&mut bytes).context("nothing came through the socket")?;
    let event: Value = serde_json::from_slice(&bytes[..length])?;
    ensure!(event["server_name"] == name && event["established"] == true, "{event}");
    let scraped = run(&mut scrape(&site.pair.second.namespace, Ipv4Addr::LOCALHOST))?;
    let counted = |line: &&str| line.starts_with("tls_sniff_handshakes_total{");
    let counts = scraped.lines().filter(counted).filter_map(|line| line.rsplit_once(' '));
    let sum: f64 = counts.filter_map(|(_, count)| count.parse::<f64>().ok()).sum();
    ensure!(sum >= 1.0, "{scraped}");
    firewall(site, &collector)?;

    fs::write(&config, before)?;
    site.machine.run("systemctl", &["restart", UNIT]).map(drop)
}

/// A command that gets the metrics from an address.
fn scrape(from: &Namespace, address: Ipv4Addr) -> Command {
    let mut curl = from.command("curl");
    curl.args(["--silent", "--fail", "--max-time", "60"]);
    curl.arg(format!("http://{address}:{METRICS_PORT}/metrics"));
    curl
}

/// The unit's IPAddressDeny=any keeps the service and another host apart, in both directions, until IPAddressAllow=
/// names the host.
fn firewall(site: &Site, collector: &TcpListener) -> Result<()> {
    let client = || scrape(&site.pair.first.namespace, site.pair.second.ipv4);
    let mut kept_away = Process::spawn(client(), None)?;
    let mut listener = site.pair.second.namespace.command("ss");
    listener.args(["--listening", "--tcp", "--memory", "--no-header", "sport", "="]);
    listener.arg(format!(":{METRICS_PORT}"));
    poll::try_until(SOON, "the unit to keep another host away", || {
        let ended = kept_away.try_wait()?;
        ensure!(ended.is_none(), "another host was let through: curl: {ended:?}");
        ensure!(collector.accept().is_err(), "the service was let through to another host");
        // skmem:(r0,…,d3): packets that were dropped at the socket.
        let listener = run(&mut listener)?;
        let dropped = listener.rsplit_once(",d").and_then(|(_, rest)| rest.split(')').next());
        let dropped: u32 = dropped.with_context(|| listener.clone())?.parse()?;
        let waits = site.journal("warning")?.contains(&format!(":{COLLECTOR_PORT}: "));
        Ok((dropped > 0 && waits).then_some(()))
    })?;
    let host = format!("IPAddressAllow={}", site.pair.first.ipv4);
    site.machine.run("systemctl", &["set-property", "--runtime", UNIT, &host])?;
    run(&mut client()).context("a host that IPAddressAllow= names")?;
    poll::until(SOON, "the service to reach a host that it may", || collector.accept().ok())?;
    Ok(())
}

/// Another revision is started in the place of the old one, and what was changed in the configuration stays.
fn upgrade(site: &Site) -> Result<()> {
    let main = |unit| site.machine.property(unit, "MainPID");
    let before = [main(UNIT)?, main(INSTANCE)?];
    let edited = fs::read_to_string(site.machine.path(CONFIG))?;
    site.install(2)?;
    ensure!(site.is_active()?, "{}", site.machine.account(UNIT));
    let after = [main(UNIT)?, main(INSTANCE)?];
    let restarted = before.iter().zip(&after).all(|(before, after)| before != after);
    ensure!(restarted && !after.contains(&"0".to_owned()), "{before:?}, then {after:?}");
    ensure!(fs::read_to_string(site.machine.path(CONFIG))? == edited, "the configuration is lost");
    let maintainer = site.machine.run("dpkg-query", &["-W", "-f=${Maintainer}", "tls-sniff"])?;
    ensure!(maintainer == deb::MAINTAINER, "{maintainer}");
    let changelog = "/usr/share/doc/tls-sniff/changelog.Debian.gz";
    let changelog = site.machine.run("gzip", &["--decompress", "--stdout", changelog])?;
    ensure!(changelog.contains(&format!("\n -- {}  ", deb::MAINTAINER)), "{changelog}");
    site.handshake("wanted.upgraded")?;
    site.told("wanted.upgraded").map(drop)
}

/// One interface, by a configuration of its own, as on a kernel before 6.6. Filters on clsact outlive the process that
/// made them: another one takes them off, and the unit lets it.
fn template(site: &Site) -> Result<()> {
    let config =
        "tc-attach = \"clsact\"\n[[output]]\nto = \"file:/var/log/tls-sniff/veth-b.json\"\n";
    fs::write(site.machine.path(INSTANCE_CONFIG), config)?;
    site.machine.run("systemctl", &["enable", "--now", INSTANCE])?;
    let status = site.machine.property(INSTANCE, "StatusText")?;
    ensure!(status.starts_with("watching veth-b: "), "{status:?}");
    let network = &site.pair.second.namespace;
    ensure!(attached::clsact(network)?.contains("tls_sniff_"), "{}", attached::clsact(network)?);
    site.machine.run("systemctl", &["kill", "--kill-whom=main", "--signal=KILL", INSTANCE])?;
    poll::try_until(SOON, "the filters of a killed process to go", || {
        Ok(attached::clsact(network)?.is_empty().then_some(()))
    })?;
    site.machine.run("systemctl", &["restart", INSTANCE]).map(drop)
}

fn purge(site: &Site) -> Result<()> {
    fs::remove_file(site.machine.path(INSTANCE_CONFIG))?;
    let files = site.machine.run("dpkg", &["--listfiles", "tls-sniff"])?;
    site.machine.run("dpkg", &["--purge", "tls-sniff"])?;
    site.nothing_is_attached()?;
    let others = ["/var/log/tls-sniff", "/var/lib/tls-sniff", "/run/tls-sniff"];
    let left: Vec<_> = files
        .lines()
        .filter(|file| file.contains("tls-sniff"))
        .chain(others)
        .filter(|file| site.machine.path(file).symlink_metadata().is_ok())
        .collect();
    ensure!(left.is_empty(), "left over: {left:?}");
    let units = ["list-units", "--all", "--plain", "--no-legend", "tls-sniff*"];
    let units = site.machine.run("systemctl", &units)?;
    ensure!(units.is_empty(), "{units}");
    let links = site.machine.run("find", &["/etc/systemd", "-name", "tls-sniff*"])?;
    ensure!(links.is_empty(), "{links}");
    // The user stays: nobody else is to get its number.
    site.machine.run("id", &["tls-sniff"]).map(drop)
}

pub(crate) fn watchdog() -> Result<()> {
    let site = Site::new()?;
    let machine = &site.machine;
    let drop_ins = machine.path("/etc/systemd/system/tls-sniff.service.d");
    fs::create_dir_all(&drop_ins)?;
    let quick = "[Service]\nWatchdogSec=1\nRestartSec=100ms\nTimeoutAbortSec=1\n";
    fs::write(drop_ins.join("quick.conf"), quick)?;
    site.install(1)?;
    let ids = site.processes()?;
    let main = ids.first().context("a main process")?;
    kill(Pid::from_raw(i32::try_from(*main)?), Signal::SIGSTOP)?;
    poll::try_until(SOON, "the service to be restarted", || {
        let again = machine.property(UNIT, "NRestarts")? == "1" && site.is_active()?;
        Ok(again.then_some(()))
    })
    .with_context(|| machine.account(UNIT))?;
    ensure!(machine.account(UNIT).contains("Watchdog timeout"), "{}", machine.account(UNIT));
    ensure!(!ids.iter().any(|id| Path::new(&format!("/proc/{id}")).exists()), "{ids:?}");
    site.handshake("again.example")?;
    site.told("again.example").map(drop)
}
