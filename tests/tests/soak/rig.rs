//! Two namespaces, nginx in one of them, and clients in the other.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use tls_sniff_tests::{
    netns::Namespace,
    peer::{Certificate, Key},
    poll,
    process::{Process, run},
    veth::VethPair,
};

/// Takes any version from TLS 1.2 on.
pub(crate) const PORT: u16 = 443;
/// Takes TLS 1.3 alone.
pub(crate) const PORT_TLS13: u16 = 8443;

/// How long nginx may take to listen.
const LISTENS: Duration = Duration::from_secs(10);

/// Where what is watched happens.
pub(crate) struct Rig {
    pub(crate) pair: VethPair,
    _nginx: Process,
}

impl Rig {
    /// Makes the namespaces and starts nginx, with its files in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let pair = VethPair::new()?;
        // A four-tuple comes again after half an hour, not after minutes.
        sysctl(&pair.first.namespace, "net/ipv4/ip_local_port_range", "1024 65535")?;
        let nginx = nginx(&pair.second.namespace, folder)?;
        Ok(Self { pair, _nginx: nginx })
    }

    pub(crate) fn server(&self) -> Ipv4Addr {
        self.pair.second.ipv4
    }

    /// Starts the clients.
    pub(crate) fn load(&self, rate: u32, time: Duration) -> Result<Process> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/soak/load.py");
        let mut command = self.pair.first.namespace.command("python3");
        command.arg(script).arg(self.server().to_string());
        command.args([rate.to_string(), time.as_secs_f64().to_string()]);
        command.env("OPENSSL_CONF", "/dev/null");
        Process::spawn(command, None)
    }
}

fn sysctl(namespace: &Namespace, name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    namespace.enter(|| fs::write(&path, value))?.with_context(|| path.clone())
}

fn nginx(namespace: &Namespace, folder: &Path) -> Result<Process> {
    let certificate = Certificate::with_key(folder, "soak.example", Key::P256)?;
    let folder = folder.display();
    let (chain, key) = (certificate.certificate.display(), certificate.key.display());
    let server = |port: u16, versions: &str| {
        format!(
            "server {{ listen {port} ssl backlog=512; ssl_protocols {versions}; return 200 \"soak\\n\"; }}\n"
        )
    };
    let config = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; ssl_certificate {chain}; ssl_certificate_key {key};\n\
         client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;\n\
         uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;\n{}{}}}\n",
        server(PORT, "TLSv1.2 TLSv1.3"),
        server(PORT_TLS13, "TLSv1.3"),
    );
    let path = format!("{folder}/nginx.conf");
    fs::write(&path, config)?;
    let mut command = namespace.command("nginx");
    command.args(["-c", &path, "-e", &format!("{folder}/nginx.log")]);
    command.env("OPENSSL_CONF", "/dev/null");
    let mut nginx = Process::spawn(command, None)?;
    poll::try_until(LISTENS, "nginx to listen", || {
        nginx.check_alive()?;
        let listening = run(namespace.command("ss").arg("-Hltn"))?;
        let all = [PORT, PORT_TLS13].iter().all(|port| listening.contains(&format!(":{port} ")));
        Ok(all.then_some(()))
    })?;
    Ok(nginx)
}

/// Runs `ip` in a namespace, whatever it says.
pub(crate) fn ip(namespace: &Namespace, arguments: &[&str]) -> Result<()> {
    namespace.ip(arguments).map(drop)
}
