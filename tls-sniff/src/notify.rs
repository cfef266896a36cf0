//! What the service manager is told (sd_notify(3)).
//!
//! ```text
//!  READY=1        attached, and the sandbox is closed        RELOADING=1 … READY=1   a new configuration
//!  STATUS=        one line for `systemctl status`            STOPPING=1              the end has begun
//!  WATCHDOG=1     the thread that reads the ring has just done so
//! ```
//!
//! A message is one datagram, and the socket is connected before the sandbox is entered, where none can be made. Nothing
//! waits for the manager: what its queue has no room for is left out, but for a change of state, which goes with the
//! next message.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::Duration,
};

use crate::clock;

/// The way to the service manager; without one, everything here does nothing.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// A change of state that the manager's queue had no room for.
    owed: Option<String>,
}

impl Notifier {
    /// Connects to the manager that the environment names, if one does, and takes its variables out of the environment:
    /// they are for this process, not for its children. To be called while there is one thread.
    #[must_use]
    pub fn from_env() -> Self {
        let [socket, usec, pid] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].map(take);
        let Some(address) = socket.filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        match Self::connect(&address) {
            Ok(socket) => {
                let watchdog = watchdog(usec.as_deref(), pid.as_deref(), process::id());
                Self { socket: Some(socket), watchdog, owed: None }
            }
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET={}: {error}", address.display());
                Self::default()
            }
        }
    }

    fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "neither a path nor abstract",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(socket)
    }

    /// Whether somebody listens.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// The longest time between two calls of [`Notifier::watchdog`], if the manager wants any.
    #[must_use]
    pub const fn watchdog_limit(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The program does what it is for; also at the end of [`Notifier::reloading`].
    pub fn ready(&mut self) {
        self.change("READY=1".to_owned());
    }

    /// A new configuration is being read.
    pub fn reloading(&mut self) {
        self.change(format!("RELOADING=1\nMONOTONIC_USEC={}", clock::kernel_now() / 1000));
    }

    /// The end has begun.
    pub fn stopping(&mut self) {
        self.change("STOPPING=1".to_owned());
    }

    /// One line for people, which must have no line break.
    pub fn status(&mut self, line: &str) {
        self.settle();
        self.send(&format!("STATUS={line}"));
    }

    /// The program works. Only to be called by the loop that does the work.
    pub fn watchdog(&mut self) {
        self.settle();
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    fn change(&mut self, state: String) {
        // Of two that are owed, only the later one is true.
        self.owed = (!self.send(&state)).then_some(state);
    }

    fn settle(&mut self) {
        if let Some(state) = self.owed.take() {
            self.change(state);
        }
    }

    /// Whether there is nothing more to do about the message: it is sent, or can never be.
    fn send(&self, message: &str) -> bool {
        let Some(socket) = &self.socket else { return true };
        match socket.send(message.as_bytes()) {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!("the service manager does not hear {message:?}: {error}");
                error.kind() != io::ErrorKind::WouldBlock
            }
        }
    }
}

/// Takes a variable out of the environment.
#[expect(unsafe_code, reason = "the environment belongs to all threads")]
fn take(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    // SAFETY: `Notifier::from_env` is called while no other thread runs that could read the environment.
    unsafe { env::remove_var(name) };
    Some(value)
}

/// How long the manager waits for a sign of life of process `own`.
fn watchdog(usec: Option<&OsStr>, pid: Option<&OsStr>, own: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(own.into())) {
        return None;
    }
    usec.and_then(number).filter(|usec| *usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        manager.set_nonblocking(true).unwrap();
        let mut bytes = [0; 256];
        let mut next = || manager.recv(&mut bytes).ok().map(|length| bytes[..length].to_vec());
        std::iter::from_fn(&mut next).map(|message| String::from_utf8(message).unwrap()).collect()
    }

    fn notifier(address: &OsStr) -> Notifier {
        let socket = Some(Notifier::connect(address).unwrap());
        Notifier { socket, watchdog: Some(Duration::from_secs(1)), owed: None }
    }

    #[test]
    fn messages_reach_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("tls-sniff-test-notify-{}", process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            let mut notifier = notifier(&address);
            notifier.ready();
            notifier.status("watching lo");
            notifier.watchdog();
            notifier.reloading();
            notifier.stopping();
            let heard = heard(&manager);
            assert_eq!(heard[..3], ["READY=1", "STATUS=watching lo", "WATCHDOG=1"]);
            assert!(heard[3].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard:?}");
            assert_eq!(heard[4..], ["STOPPING=1"]);
        }
        assert!(Notifier::connect(OsStr::new("vsock:2:1234")).is_err());
    }

    #[test]
    fn nothing_waits_for_a_manager_that_does_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut notifier = notifier(path.as_os_str());
        // More than any queue has room for; a test that waited would never end.
        for _ in 0..10_000 {
            notifier.watchdog();
        }
        notifier.reloading();
        notifier.ready();
        assert!(!heard(&manager).contains(&"READY=1".to_owned()));
        notifier.watchdog();
        assert_eq!(
            heard(&manager),
            ["READY=1", "WATCHDOG=1"],
            "the change of state is made up for"
        );
        drop(manager);
        notifier.ready();
        assert_eq!(notifier.owed, None, "a manager that is gone is owed nothing");
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_is_named() {
        let limit = |usec: &str, pid: Option<&str>| {
            watchdog(Some(OsStr::new(usec)), pid.map(OsStr::new), 7)
        };
        assert_eq!(limit("30000000", Some("7")), Some(Duration::from_secs(30)));
        assert_eq!(limit("30000000", None), Some(Duration::from_secs(30)));
        assert_eq!(limit("30000000", Some("8")), None);
        assert_eq!((limit("0", None), limit("x", None)), (None, None));
    }
}
