//! Real TLS connections as the bytes that both sides said: OpenSSL's client and server on loopback, with a relay
//! between them that writes down what passes. Needs no privileges.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    need::command,
    peer::{Certificate, Key, Version},
    poll,
    process::Process,
};

const SOON: Duration = Duration::from_secs(10);

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The side that connected.
    Client,
    /// The other one.
    Server,
}

/// What was said on one connection, in order.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The version that was asked for.
    pub version: Version,
    /// Who said what.
    pub said: Vec<(Speaker, Vec<u8>)>,
}

impl Conversation {
    /// One of each kind: TLS 1.3 and 1.2, certificates with an RSA and a P-256 key. The client then fetches a
    /// file of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// If OpenSSL is not there, or a connection fails.
    pub fn of_each_kind(folder: &Path, bytes: usize) -> Result<Vec<Self>> {
        fs::write(folder.join("page"), vec![b'x'; bytes])?;
        let mut all = Vec::new();
        for key in [Key::Rsa2048, Key::P256] {
            let certificate = Certificate::with_key(folder, "server.example", key)?;
            for version in [Version::Tls13, Version::Tls12] {
                all.push(Self::record(folder, &certificate, version, bytes)?);
            }
        }
        Ok(all)
    }

    fn record(
        folder: &Path,
        certificate: &Certificate,
        version: Version,
        bytes: usize,
    ) -> Result<Self> {
        let server = Server::start(folder, certificate, version)?;
        let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut client = openssl("s_client");
        client.args(["-connect", &relay.local_addr()?.to_string(), version.flag(), "-quiet"]);
        client.args(["-ign_eof", "-servername", "server.example", "-alpn", "http/1.1"]);
        let client = Process::spawn(client, Some(b"GET /page HTTP/1.0\r\n\r\n"))?;
        let said = Mutex::new(Vec::new());
        let (client_side, _) = relay.accept()?;
        let server_side = TcpStream::connect(server.address)?;
        for side in [&client_side, &server_side] {
            side.set_read_timeout(Some(SOON))?;
            side.set_nodelay(true)?;
        }
        thread::scope(|scope| {
            let up = scope.spawn(|| pass_on(Speaker::Client, &client_side, &server_side, &said));
            pass_on(Speaker::Server, &server_side, &client_side, &said)?;
            up.join().expect("the relay does not panic")
        })?;
        client.finish(SOON)?;
        let said = said.into_inner().expect("the relay does not panic");
        let total: usize = said.iter().map(|(_, bytes)| bytes.len()).sum();
        ensure!(total > bytes, "{version:?}: only {total} bytes of a page of {bytes}");
        Ok(Self { version, said })
    }

    /// The client's first bytes: its ClientHello.
    pub fn client_hello(&self) -> &[u8] {
        self.said.first().map_or(&[], |(_, bytes)| bytes)
    }
}

fn openssl(what: &str) -> Command {
    let mut command = command("openssl");
    // As in `peer`: a distribution's policy does not decide.
    command.env("OPENSSL_CONF", "/dev/null").arg(what);
    command
}

/// A server of the files in a folder.
struct Server {
    address: SocketAddr,
    _process: Process,
}

impl Server {
    fn start(folder: &Path, certificate: &Certificate, version: Version) -> Result<Self> {
        let mut command = openssl("s_server");
        command.args(["-accept", "127.0.0.1:0", "-HTTP", version.flag(), "-alpn", "http/1.1"]);
        command.arg("-cert").arg(&certificate.certificate).arg("-key").arg(&certificate.key);
        let mut process = Process::spawn(
            {
                command.current_dir(folder);
                command
            },
            None,
        )?;
        // OpenSSL says which port it was given.
        let address = poll::try_until(SOON, "openssl s_server to listen", || {
            process.check_alive()?;
            let lines = process.stdout();
            Ok(lines.iter().find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok()))
        })?;
        Ok(Self { address, _process: process })
    }
}

/// Passes on what comes from one side to the other, written down first: an answer cannot be written down before.
fn pass_on(
    speaker: Speaker,
    mut from: &TcpStream,
    mut to: &TcpStream,
    said: &Mutex<Vec<(Speaker, Vec<u8>)>>,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            // The client of a page that was served whole just goes.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error).context("relay"),
        };
        let bytes = buffer[..count].to_vec();
        let mut said = said.lock().expect("the relay does not panic");
        match said.last_mut() {
            Some((last, before)) if *last == speaker => before.extend(&bytes),
            _ => said.push((speaker, bytes.clone())),
        }
        drop(said);
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _gone_already = to.shutdown(Shutdown::Write);
    Ok(())
}

/// A ClientHello of exactly `len` bytes, record header and all, from a shorter one: with a padding extension
/// (RFC 7685), as those have it that post-quantum key shares made long.
///
/// # Errors
///
/// If it is none with extensions, or too long for that.
pub fn padded(hello: &[u8], len: usize) -> Result<Vec<u8>> {
    let byte = |at: usize| hello.get(at).copied().map(usize::from).context("too short");
    let half = |at: usize| Ok::<_, anyhow::Error>((byte(at)? << 8) | byte(at + 1)?);
    let sessions = 5 + 4 + 2 + 32;
    let suites = sessions + 1 + byte(sessions)?;
    let compression = suites + 2 + half(suites)?;
    let extensions = compression + 1 + byte(compression)?;
    ensure!(extensions + 2 + half(extensions)? == hello.len(), "more than a ClientHello");
    let padding = len.checked_sub(hello.len() + 4).context("it is longer")?;
    let mut padded = hello.to_vec();
    padded.extend([0, 21]);
    padded.extend(u16::try_from(padding)?.to_be_bytes());
    padded.resize(len, 0);
    for (at, behind) in [(3, 5), (7, 9), (extensions, extensions + 2)] {
        padded[at..at + 2].copy_from_slice(&u16::try_from(len - behind)?.to_be_bytes());
    }
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use tls_sniff::tls::client_hello::ClientHello;

    use super::*;

    /// One extension: extended_master_secret, empty.
    fn hello() -> Vec<u8> {
        let mut hello = vec![0x16, 3, 1, 0, 51, 1, 0, 0, 47, 3, 3];
        hello.extend([0x5a; 32]);
        hello.extend([0, 0, 2, 0x13, 0x01, 1, 0, 0, 4, 0, 23, 0, 0]);
        hello
    }

    #[test]
    fn a_padded_hello_is_one() {
        for len in [60, 61, 517, 1700] {
            let padded = padded(&hello(), len).unwrap();
            assert_eq!(padded.len(), len);
            assert_eq!(usize::from(u16::from_be_bytes([padded[3], padded[4]])), len - 5);
            let Ok((parsed, _)) = ClientHello::parse(&padded[9..], len - 9) else {
                panic!("{len}: no ClientHello")
            };
            let types: Vec<u16> = parsed.extensions.iter().map(|one| one.extension_type).collect();
            assert_eq!(types, [23, 21]);
        }
        assert!(padded(&hello(), 59).is_err());
        assert!(padded(&hello()[..30], 517).is_err());
    }
}
