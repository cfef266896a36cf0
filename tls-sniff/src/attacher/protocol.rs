//! What the processes say to each other: JSON, one message a datagram, over pairs of SEQPACKET sockets.
//!
//! The attacher believes no size and no word of the daemon, which reads bytes of the network: a message is at most
//! `MAX_REQUEST` bytes and one of [`Request`]'s few words, or else the attacher ends.

use std::{
    io::{self, IoSlice, IoSliceMut},
    marker::PhantomData,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
        recvmsg, sendmsg, socketpair,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tls_sniff_common::{counters::CounterBlock, flow::KERNEL_HOOKS};
use tokio::io::unix::AsyncFd;

use crate::error::Error;

/// The longest request that is read, in bytes.
const MAX_REQUEST: usize = 64;

/// The longest report, in bytes; a socket's buffer has room for more.
const MAX_REPORT: usize = 64 << 10;

/// Characters of an error's line: `any` may fail for each of a thousand interfaces.
const MAX_LINE: usize = 8192;

/// Interfaces in one [`Report::Names`]: their names have at most 15 bytes.
pub(super) const NAMES_AT_ONCE: usize = 512;

/// What the daemon may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The counters as they are now: answered by [`Report::Counters`].
    Counters,
    /// The configuration is to be read again, and its filters to be put into the kernel: answered by
    /// [`Report::Reading`] at once, and then by [`Report::Reloaded`] or [`Report::Refused`].
    Reload,
    /// The configuration may have changed since that was asked for. If it is still being read, it is read from the start,
    /// and that answered by [`Report::Reading`]. Else nothing: the answer to the reload is on its way.
    Again,
    /// The daemon cannot follow: the filters of before are to be put back. Answered in the same way.
    Undo,
    /// The end: answered by [`Report::Detached`], or by the socket's end if nothing was loaded yet.
    Detach,
}

/// What the attacher tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The programs are loaded; the ring's file descriptor comes with it.
    Loaded(Loaded),
    /// These interfaces have these names, by index: said before anything is attached to them.
    Names(Vec<(u32, String)>),
    /// All interfaces that were wanted at the start are attached.
    Watching,
    /// Nothing comes from this interface any more; what came may still be in the ring.
    Gone(u32),
    /// Another process connects outputs from now on; its socket comes with it.
    Connector,
    /// The counters of the kernel programs.
    Counters(Counters),
    /// The configuration is read as it is from now on.
    Reading,
    /// The kernel has the filters of the configuration as it was read last. Its text, which comes as a file: the system
    /// hands none over to a process that has too many open.
    Reloaded(#[serde(skip)] Option<String>),
    /// The configuration stays as it was, for this reason.
    Refused(Failure),
    /// Nothing is attached any more; the last counters.
    Detached(Counters),
    /// It ends, for this reason. Nothing is attached any more.
    Failed(Failure),
}

/// How the programs were loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The ring's size in bytes.
    pub ring_len: u32,
    /// Whether its events have whole packets.
    pub packets: bool,
    /// Whether a packet may be seen more than once.
    pub sees_twice: bool,
}

/// The counters of each of [`KERNEL_HOOKS`], or why they are not there.
pub type Counters = Result<[CounterBlock; KERNEL_HOOKS.len()], String>;

/// An error of the other process, as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, in one line.
    pub line: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the command line is at fault.
    pub is_wrong_usage: bool,
}

impl Failure {
    /// An error, cut where it would not fit into a report.
    pub(crate) fn of(error: &Error) -> Self {
        Self {
            line: error.to_string().chars().take(MAX_LINE).collect(),
            hint: error.hint().map(str::to_owned),
            is_wrong_usage: error.is_wrong_usage(),
        }
    }
}

/// One side's messages.
pub(super) trait Message: Serialize + DeserializeOwned {
    /// How long one of them may be, in bytes.
    const MAX: usize;
    /// Whether a file descriptor may come with it; if not, the kernel closes it.
    const BRINGS_FD: bool;
}

impl Message for Request {
    const MAX: usize = MAX_REQUEST;
    const BRINGS_FD: bool = false;
}

impl Message for Report {
    const MAX: usize = MAX_REPORT;
    const BRINGS_FD: bool = true;
}

/// A pair of sockets for messages; both are closed by `exec`.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// One end: sends `Out`, receives `In`. Everything that waits can be dropped while it waits and nothing is lost.
pub(super) struct Channel<Out, In> {
    socket: AsyncFd<OwnedFd>,
    messages: PhantomData<(Out, In)>,
}

/// A message and the file descriptor that came with it.
pub(super) type Received<In> = (In, Option<OwnedFd>);

impl<Out: Message, In: Message> Channel<Out, In> {
    /// Must run inside a tokio runtime.
    #[expect(unsafe_code, reason = "tokio asks for it where a file descriptor is registered")]
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&socket)?;
        // SAFETY: it is open and the same for as long as the `AsyncFd` that owns it lives.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket, messages: PhantomData })
    }

    /// Sends a message, and waits while the other side has not read earlier ones.
    pub(super) async fn send(&self, message: &Out, fd: Option<&OwnedFd>) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(sent) = ready.try_io(|socket| send(socket.get_ref(), message, fd)) {
                return sent;
            }
        }
    }

    /// Sends a message without waiting.
    pub(super) fn send_now(&self, message: &Out) -> io::Result<()> {
        send(self.socket.get_ref(), message, None)
    }

    /// The next message; `None` when the other side has ended.
    pub(super) async fn receive(&self) -> io::Result<Option<Received<In>>> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(received) = ready.try_io(|socket| receive(socket.get_ref())) {
                return received;
            }
        }
    }

    /// The next message, if it is there already; `None` also at the end, which [`Self::receive`] tells.
    pub(super) fn receive_now(&self) -> Option<Received<In>> {
        receive(self.socket.get_ref()).ok().flatten()
    }
}

pub(super) fn set_nonblocking(socket: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Sends one message, with at most one file descriptor.
pub(super) fn send(
    socket: &OwnedFd,
    message: &impl Message,
    fd: Option<&OwnedFd>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    // Not SIGPIPE: whether the other side is there is told by its socket.
    let flags = MsgFlags::MSG_NOSIGNAL;
    let socket = socket.as_raw_fd();
    loop {
        let sent = match fd {
            Some(fd) => {
                let fds = [fd.as_raw_fd()];
                let rights = [ControlMessage::ScmRights(&fds)];
                sendmsg::<()>(socket, &[IoSlice::new(&bytes)], &rights, flags, None)
            }
            // The daemon has no sendmsg: to whom that sends is behind a pointer, where its sandbox cannot see it.
            None => socket::send(socket, &bytes, flags),
        };
        match sent {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message; `None` at the end.
pub(super) fn receive<In: Message>(socket: &OwnedFd) -> io::Result<Option<Received<In>>> {
    let mut bytes = vec![0; In::MAX];
    let mut space = In::BRINGS_FD.then(|| cmsg_space!([RawFd; 1]));
    let (len, cut, fd) = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, space.as_deref_mut(), flags) {
            Ok(message) => {
                break (
                    message.bytes,
                    message.flags.contains(MsgFlags::MSG_TRUNC),
                    owned(message.cmsgs()),
                );
            }
            // The other side has ended and left messages unread, which is told once; its own come behind that.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if len == 0 {
        return Ok(None);
    }
    let message = bytes.get(..len).filter(|_| !cut).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((serde_json::from_slice(message)?, fd)))
}

/// The file descriptor of a message.
#[expect(unsafe_code, reason = "the kernel hands file descriptors over as numbers")]
fn owned(messages: nix::Result<impl Iterator<Item = ControlMessageOwned>>) -> Option<OwnedFd> {
    let fds = messages.ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    // SAFETY: the kernel has just made them for this process, and nobody else knows them.
    let owned = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    // All of them, so that those beyond the first are closed.
    fds?.into_iter().map(owned).collect::<Vec<_>>().into_iter().next()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _};

    use super::*;

    #[test]
    fn what_is_sent_arrives_with_its_file_descriptor() {
        let (one, other) = pair().unwrap();
        let loaded = Loaded { ring_len: 4096, packets: false, sees_twice: true };
        let file: OwnedFd = File::open("/proc/self/comm").unwrap().into();
        send(&one, &Report::Loaded(loaded), Some(&file)).unwrap();
        send(&one, &Report::Gone(7), None).unwrap();
        let (report, fd) = receive::<Report>(&other).unwrap().unwrap();
        assert_eq!(report, Report::Loaded(loaded));
        let mut text = String::new();
        File::from(fd.unwrap()).read_to_string(&mut text).unwrap();
        assert!(!text.is_empty());
        assert_eq!(receive::<Report>(&other).unwrap().unwrap().0, Report::Gone(7));
        drop(one);
        assert!(receive::<Report>(&other).unwrap().is_none());
    }

    #[test]
    fn last_words_are_heard_of_one_who_did_not_listen() {
        let (one, other) = pair().unwrap();
        send(&one, &Request::Counters, None).unwrap();
        send(&other, &Report::Gone(7), None).unwrap();
        drop(other);
        assert_eq!(receive::<Report>(&one).unwrap().unwrap().0, Report::Gone(7));
        assert!(receive::<Report>(&one).unwrap().is_none());
    }

    #[test]
    fn a_request_is_short_and_one_of_a_few_words() {
        for bytes in
            [&[b' '; MAX_REQUEST + 1][..], b"\"Exec\"", b"{\"Detach\":\"/bin/sh\"}", &[0xff]]
        {
            let (one, other) = pair().unwrap();
            nix::unistd::write(&one, bytes).unwrap();
            assert!(receive::<Request>(&other).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_longest_names_fit_into_a_report() {
        let names = vec![(u32::MAX, "\u{1}".repeat(15)); NAMES_AT_ONCE];
        let report = serde_json::to_vec(&Report::Names(names)).unwrap();
        assert!(report.len() <= MAX_REPORT, "{}", report.len());
        let (one, _other) = pair().unwrap();
        send(&one, &Report::Names(vec![(1, "x".repeat(60_000))]), None).unwrap();
    }
}
