//! Real TLS peers: OpenSSL's `s_server` and `s_client` in namespaces.
//!
//! The configuration file of the machine is kept away from them (`OPENSSL_CONF`), so that a
//! distribution's policy does not decide which versions a test can speak. OpenSSL allows TLS 1.0
//! and 1.1 only at security level 0.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::need::command;
use crate::netns::Namespace;
use crate::poll;
use crate::process::{Process, run};

/// How long a server may take to listen.
const LISTEN: Duration = Duration::from_secs(10);

/// How long a client may take, handshake and request together.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.0 (RFC 2246), 0x0301.
    Tls10,
    /// TLS 1.1 (RFC 4346), 0x0302.
    Tls11,
    /// TLS 1.2 (RFC 5246), 0x0303.
    Tls12,
    /// TLS 1.3 (RFC 8446), 0x0304.
    Tls13,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Version; 4] = [Version::Tls10, Version::Tls11, Version::Tls12, Version::Tls13];

    /// The option of s_server and s_client that allows this version only.
    pub fn flag(self) -> &'static str {
        match self {
            Version::Tls10 => "-tls1",
            Version::Tls11 => "-tls1_1",
            Version::Tls12 => "-tls1_2",
            Version::Tls13 => "-tls1_3",
        }
    }

    /// The version that OpenSSL calls `name`.
    fn from_openssl(name: &str) -> Option<Self> {
        Some(match name {
            "TLSv1" => Version::Tls10,
            "TLSv1.1" => Version::Tls11,
            "TLSv1.2" => Version::Tls12,
            "TLSv1.3" => Version::Tls13,
            _ => return None,
        })
    }
}

/// Kind of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// RSA with 2048 bits: good for each cipher suite that OpenSSL has in each version.
    Rsa2048,
    /// ECDSA on P-256.
    P256,
}

/// A self-signed certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes a certificate with an RSA key for the server `name` in the folder `dir`.
    ///
    /// # Errors
    ///
    /// If openssl fails.
    pub fn self_signed(dir: &Path, name: &str) -> Result<Self> {
        Self::with_key(dir, name, Key::Rsa2048)
    }

    /// As [`Certificate::self_signed`], with the kind of key to choose.
    ///
    /// # Errors
    ///
    /// If openssl fails.
    pub fn with_key(dir: &Path, name: &str, key: Key) -> Result<Self> {
        let made = Self {
            certificate: dir.join(format!("{name}-{key:?}.cert.pem")),
            key: dir.join(format!("{name}-{key:?}.key.pem")),
        };
        let algorithm: &[&str] = match key {
            Key::Rsa2048 => &["rsa:2048"],
            Key::P256 => &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        };
        run(command("openssl")
            .args(["req", "-x509", "-nodes", "-days", "30", "-newkey"])
            .args(algorithm)
            .args(["-subj", &format!("/CN={name}")])
            .args(["-addext", &format!("subjectAltName=DNS:{name}")])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.certificate))?;
        Ok(made)
    }
}

/// What a server and a client have in common: version, cipher suites, further options.
#[derive(Clone, Debug, Default)]
struct Settings {
    version: Option<Version>,
    cipher: Option<String>,
    arguments: Vec<String>,
}

impl Settings {
    fn apply(&self, command: &mut Command) {
        command.env("OPENSSL_CONF", "/dev/null");
        command.args(self.version.map(Version::flag));
        let old = matches!(self.version, Some(Version::Tls10 | Version::Tls11));
        let cipher = match (&self.cipher, old) {
            (Some(cipher), true) => Some(format!("{cipher}:@SECLEVEL=0")),
            (Some(cipher), false) => Some(cipher.clone()),
            (None, true) => Some("DEFAULT@SECLEVEL=0".to_owned()),
            (None, false) => None,
        };
        let option = if self.version == Some(Version::Tls13) { "-ciphersuites" } else { "-cipher" };
        if let Some(cipher) = cipher {
            command.args([option, &cipher]);
        }
        command.args(&self.arguments);
    }
}

/// The setters that server and client share.
macro_rules! shared_setters {
    () => {
        /// Allows this version only; without, what OpenSSL allows by default.
        #[must_use]
        pub fn version(mut self, version: Version) -> Self {
            self.settings.version = Some(version);
            self
        }

        /// Cipher suites by OpenSSL's names, separated by colons. They are TLS 1.3 suites if the
        /// version is set to that, else suites of the versions before it.
        #[must_use]
        pub fn cipher(mut self, suites: &str) -> Self {
            self.settings.cipher = Some(suites.to_owned());
            self
        }

        /// Application protocols in order of preference, as `h2,http/1.1`.
        #[must_use]
        pub fn alpn(self, protocols: &str) -> Self {
            self.arguments(&["-alpn", protocols])
        }

        /// Further options.
        #[must_use]
        pub fn arguments(mut self, arguments: &[&str]) -> Self {
            self.settings.arguments.extend(arguments.iter().map(ToString::to_string));
            self
        }
    };
}

/// What a server does after the handshake. (Without either, s_server relays its own stdin and ends
/// with it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Answers an HTTP request with a page about the connection.
    Www,
    /// Sends each line back reversed.
    Rev,
}

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Server<'a> {
    certificate: &'a Certificate,
    address: SocketAddr,
    mode: Mode,
    settings: Settings,
}

impl<'a> Server<'a> {
    /// A server that listens on `address`, IPv4 or IPv6.
    pub fn new(certificate: &'a Certificate, address: SocketAddr) -> Self {
        Self { certificate, address, mode: Mode::Www, settings: Settings::default() }
    }

    shared_setters!();

    /// What to do after the handshake; [`Mode::Www`] if not set.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Starts the server in `namespace` and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it ends at once (an option that it does not know, an address that is not there), or does
    /// not listen in time.
    pub fn start(&self, namespace: &Namespace) -> Result<RunningServer> {
        let mut command = namespace.command("openssl");
        command.args(["s_server", if self.address.is_ipv4() { "-4" } else { "-6" }]);
        command.args(["-accept", &self.address.to_string()]);
        command.arg("-cert").arg(&self.certificate.certificate);
        command.arg("-key").arg(&self.certificate.key);
        command.arg(match self.mode {
            Mode::Www => "-www",
            Mode::Rev => "-rev",
        });
        self.settings.apply(&mut command);
        let mut server = RunningServer { process: Process::spawn(command, None)? };
        let what = format!("openssl s_server to listen on {}", self.address);
        poll::try_until(LISTEN, &what, || {
            server.process.check_alive()?;
            Ok(listens(namespace, self.address.port())?.then_some(()))
        })?;
        Ok(server)
    }
}

/// Whether someone listens on a TCP port. Asked of the kernel and not tried by a connection, whose
/// packets the sniffer under test would see.
fn listens(namespace: &Namespace, port: u16) -> Result<bool> {
    let filter = format!("sport = :{port}");
    Ok(!run(namespace.command("ss").args(["-Hltn", &filter]))?.trim().is_empty())
}

/// A server that listens; ends on drop.
pub struct RunningServer {
    process: Process,
}

impl RunningServer {
    /// What it wrote to stdout and stderr so far, for messages.
    pub fn output(&self) -> String {
        [self.process.stdout(), self.process.stderr()].concat().join("\n")
    }
}

/// A client to be run.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    request: Option<Vec<u8>>,
    settings: Settings,
}

impl Client {
    /// A client of the server at `address`, with `name` as SNI.
    pub fn new(address: SocketAddr, name: &str) -> Self {
        let settings = Settings::default();
        Self { address, request: None, settings }.arguments(&["-servername", name])
    }

    shared_setters!();

    /// Bytes to send after the handshake; the client then reads until the server closes. Without,
    /// it closes as soon as the handshake is done.
    #[must_use]
    pub fn request(mut self, request: &[u8]) -> Self {
        self.request = Some(request.to_vec());
        self
    }

    /// Connects from inside `namespace` and runs to the end. A failed handshake is no error here:
    /// it is in the outcome.
    ///
    /// # Errors
    ///
    /// If the client does not start or does not end in time.
    pub fn run(&self, namespace: &Namespace) -> Result<Outcome> {
        let mut command = namespace.command("openssl");
        command.args(["s_client", "-connect", &self.address.to_string()]);
        self.settings.apply(&mut command);
        if self.request.is_some() {
            command.arg("-ign_eof");
        }
        let finished = Process::spawn(command, self.request.as_deref())?.finish(HANDSHAKE)?;
        Ok(Outcome {
            status: finished.status,
            negotiated: negotiated(&finished.stdout),
            output: [finished.stdout, finished.stderr].concat().join("\n"),
        })
    }
}

/// How a client's connection went.
#[derive(Debug)]
pub struct Outcome {
    /// The client's exit status.
    pub status: ExitStatus,
    /// What was agreed on; `None` if the handshake failed.
    pub negotiated: Option<Negotiated>,
    /// What the client wrote to stdout and stderr.
    pub output: String,
}

impl Outcome {
    /// What was agreed on.
    ///
    /// # Errors
    ///
    /// If the handshake failed; the message has the client's output.
    pub fn established(&self) -> Result<&Negotiated> {
        self.negotiated
            .as_ref()
            .filter(|_| self.status.success())
            .with_context(|| format!("no handshake: {}\n{}", self.status, self.output))
    }
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The version.
    pub version: Version,
    /// The cipher suite by OpenSSL's name.
    pub cipher: String,
    /// The application protocol.
    pub alpn: Option<String>,
}

/// Reads s_client's report, whose lines are these:
///
/// ```text
/// New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384
/// ALPN protocol: h2
///     Protocol  : TLSv1.2
/// ```
///
/// The version after `New` is the oldest that has the cipher suite; before TLS 1.3 the version of
/// the session is in the line `Protocol`, in TLS 1.3 that line comes with a ticket or not at all.
fn negotiated(stdout: &[String]) -> Option<Negotiated> {
    let value = |prefix: &str| stdout.iter().find_map(|line| line.trim().strip_prefix(prefix));
    let (since, cipher) = stdout.iter().find_map(|line| {
        let rest = line.strip_prefix("New, ").or_else(|| line.strip_prefix("Reused, "))?;
        rest.split_once(", Cipher is ")
    })?;
    let version = match since {
        "TLSv1.3" => Version::Tls13,
        _ => Version::from_openssl(value("Protocol  : ")?)?,
    };
    let alpn = value("ALPN protocol: ").map(str::to_owned);
    (cipher != "(NONE)").then(|| Negotiated { version, cipher: cipher.to_owned(), alpn })
}
