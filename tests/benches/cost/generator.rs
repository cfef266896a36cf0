//! A flood: ClientHellos of new connections among application data of old ones, sent by one CPU as fast as it can.
//!
//! sendmmsg past the queueing discipline, and not a ring of AF_PACKET: the packets of a ring are not linear, which
//! the headers of a packet from a NIC are. veth hands a packet to its peer on the same CPU, so what the sniffer
//! costs in the kernel is seen in the sender's CPU time.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::null_mut,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::libc::{self, iovec, mmsghdr, msghdr};
use tls_sniff_tests::{
    conversation::Speaker,
    frame::Frame,
    measure::{pin, softirq_cpu, thread_cpu},
    netns::Namespace,
    packet_socket::PacketSocket,
    traffic::readdress,
};

use crate::kernel::application_data;

/// The CPU of the generator; sniffers are on the next one.
pub(crate) const CPU: usize = 0;

/// Frames of one system call.
const BATCH: usize = 64;

/// Flows that send application data.
const FLOWS: u32 = 4096;

/// `PACKET_QDISC_BYPASS` of linux/if_packet.h.
const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// Nobody's: like a mirror port's, the packets are for others, and the host throws them away at once.
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
const SOMEBODY: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The frames to choose from.
pub(crate) struct Pool {
    data: Vec<Vec<u8>>,
    hellos: Vec<Vec<u8>>,
    /// The next new connection.
    number: u32,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) hellos: u64,
    pub(crate) time: Duration,
    /// CPU time of the sender, and with it of everything that a packet meets on its way, or in the kernel's
    /// thread that goes on with it.
    pub(crate) cpu: Duration,
}

impl Pool {
    pub(crate) fn new(hello: &[u8]) -> Self {
        let frame = || Frame::ethernet().mac(SOMEBODY, NOBODY).ipv4();
        let data = (0..FLOWS).map(|flow| {
            let [.., high, low] = flow.to_be_bytes();
            let frame = frame().addresses([198, 18, high, low], [192, 0, 2, 1]).tcp(50_000, 443);
            frame.seq(flow << 12).payload(&application_data(1460)).build()
        });
        let hello = frame().addresses([10, 0, 0, 0], [192, 0, 2, 1]).tcp(0, 443).payload(hello);
        Self { data: data.collect(), hellos: vec![hello.build(); BATCH], number: 0 }
    }

    /// Sends `packets` packets, of each thousand of which `per_mille` are hellos, out of an interface.
    pub(crate) fn send(
        &mut self,
        namespace: &Namespace,
        interface: &str,
        packets: u64,
        per_mille: u64,
    ) -> Result<Sent> {
        let socket = PacketSocket::open(namespace, interface)?;
        let one: libc::c_int = 1;
        let length = libc::socklen_t::try_from(size_of_val(&one))?;
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the pointer is to an int that lives through the call, and `length` is its size.
        let set = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_PACKET,
                PACKET_QDISC_BYPASS,
                (&raw const one).cast(),
                length,
            )
        };
        ensure!(set == 0, "PACKET_QDISC_BYPASS: {}", io::Error::last_os_error());
        std::thread::scope(|scope| {
            let send = || {
                pin(CPU)?;
                self.send_to(fd, packets, per_mille)
            };
            scope.spawn(send).join().expect("the generator does not panic")
        })
    }

    fn send_to(&mut self, socket: libc::c_int, packets: u64, per_mille: u64) -> Result<Sent> {
        let mut sent = Sent::default();
        let start = Instant::now();
        let cpu = || thread_cpu() + softirq_cpu(CPU);
        let before = cpu();
        let mut flow = 0;
        while sent.packets < packets {
            let mut parts = [iovec { iov_base: null_mut(), iov_len: 0 }; BATCH];
            for (offset, (part, hello)) in (0..).zip(parts.iter_mut().zip(&mut self.hellos)) {
                let position = sent.packets + offset;
                let is_hello = (position + 1) * per_mille / 1000 > position * per_mille / 1000;
                let frame = if is_hello {
                    readdress(hello, Speaker::Client, self.number);
                    self.number += 1;
                    sent.hellos += 1;
                    hello
                } else {
                    flow = (flow + 1) % self.data.len();
                    &mut self.data[flow]
                };
                *part = iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            }
            send_all(socket, &mut parts)?;
            sent.packets += BATCH as u64;
        }
        (sent.time, sent.cpu) = (start.elapsed(), cpu().saturating_sub(before));
        Ok(sent)
    }
}

/// Sends all of them, each once.
fn send_all(socket: libc::c_int, parts: &mut [iovec; BATCH]) -> Result<()> {
    let message = |part: &mut iovec| mmsghdr {
        // SAFETY: numbers and pointers, for which zeros are what the kernel takes as nothing.
        msg_hdr: msghdr { msg_iov: part, msg_iovlen: 1, ..unsafe { std::mem::zeroed() } },
        msg_len: 0,
    };
    let mut messages: Vec<_> = parts.iter_mut().map(message).collect();
    let mut rest = messages.as_mut_slice();
    while !rest.is_empty() {
        let count = libc::c_uint::try_from(rest.len())?;
        // SAFETY: the messages point to `parts`, and those to frames of the pool: all of them outlive the call,
        // and the kernel only writes to `msg_len`.
        let sent = unsafe { libc::sendmmsg(socket, rest.as_mut_ptr(), count, 0) };
        match usize::try_from(sent) {
            Ok(sent) => rest = &mut rest[sent..],
            Err(_) => match io::Error::last_os_error() {
                // The peer's queue is full, and whoever empties it wants this CPU.
                error if error.raw_os_error() == Some(libc::ENOBUFS) => std::thread::yield_now(),
                error => return Err(error.into()),
            },
        }
    }
    Ok(())
}
