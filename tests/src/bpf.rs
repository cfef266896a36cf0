//! bpf(2) without a library: programs of ready instructions, among them those of two that pass every packet, and test
//! runs whose every nanosecond is known. What a program of two costs is what the kernel's harness costs.

use std::{
    io,
    mem::size_of_val,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::libc;

use crate::measure::thread_cpu;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// Bytes of the verifier's log, and how many of its last lines an error shows.
const LOG_LEN: u32 = 1 << 20;
const LOG_LINES: usize = 9;

/// `TC_ACT_UNSPEC`, for the 32 bits that a program answers with.
const TC_ACT_UNSPEC: u32 = u32::MAX;
const XDP_PASS: u32 = 2;

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The start of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    answer: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// The start of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    let pointer: *mut T = attributes;
    // SAFETY: the kernel reads and writes so many bytes there, which are plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TC.
    Tc,
    /// XDP; with `frags` also packets in fragments.
    Xdp {
        /// `BPF_F_XDP_HAS_FRAGS`.
        frags: bool,
    },
}

/// Loads a program of encoded instructions.
///
/// # Errors
///
/// If the kernel refuses; the message has the end of the verifier's log.
pub fn load(kind: Kind, code: &[[u8; 8]]) -> Result<OwnedFd> {
    let mut log = vec![0_u8; LOG_LEN as usize];
    let (kind, flags) = match kind {
        Kind::Tc => (BPF_PROG_TYPE_SCHED_CLS, 0),
        Kind::Xdp { frags } => (BPF_PROG_TYPE_XDP, if frags { BPF_F_XDP_HAS_FRAGS } else { 0 }),
    };
    let mut attributes = Load {
        kind,
        instructions: u32::try_from(code.len())?,
        code: code.as_ptr().addr() as u64,
        licence: c"MIT".as_ptr().addr() as u64,
        log_level: 1,
        log_size: LOG_LEN,
        log: log.as_mut_ptr().addr() as u64,
        flags,
        ..Load::default()
    };
    let loaded = bpf(BPF_PROG_LOAD, &mut attributes).with_context(|| {
        let log = String::from_utf8_lossy(&log);
        log.trim_end_matches('\0').lines().rev().take(LOG_LINES).collect::<Vec<_>>().join("\n")
    })?;
    // SAFETY: the kernel has just made it for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(loaded)?) })
}

/// What a test run told.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// What the program returned, the last time.
    pub verdict: u32,
    /// ns a run, by the kernel.
    pub nanoseconds: u32,
}

/// Runs a program on a packet `repeat` times.
///
/// # Errors
///
/// What the kernel says, if it does not take the packet for example.
pub fn run(program: BorrowedFd<'_>, packet: &[u8], repeat: u32) -> io::Result<Answer> {
    let mut attributes = Run {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        data_size_in: u32::try_from(packet.len()).map_err(io::Error::other)?,
        data_in: packet.as_ptr().addr() as u64,
        repeat,
        ..Run::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut attributes)?;
    Ok(Answer { verdict: attributes.answer, nanoseconds: attributes.duration })
}

/// Loads a program that passes every packet: `r0 = VERDICT; exit`.
///
/// # Errors
///
/// If the kernel refuses, for lack of privileges for example.
pub fn trivial_pass(xdp: bool) -> Result<OwnedFd> {
    let (kind, verdict) =
        if xdp { (Kind::Xdp { frags: false }, XDP_PASS) } else { (Kind::Tc, TC_ACT_UNSPEC) };
    // BPF_ALU | BPF_MOV | BPF_K on r0, and BPF_JMP | BPF_EXIT.
    load(kind, &[0xb4 | (u64::from(verdict) << 32), 0x95].map(u64::to_ne_bytes))
}

/// Attaches a program that passes every packet to an interface of this thread's namespace, at XDP or at TC's ingress,
/// for as long as the link lives.
///
/// # Errors
///
/// If the kernel refuses: before 6.6 it knows no such link at TC.
pub fn attach_trivial(xdp: bool, interface: u32) -> Result<OwnedFd> {
    let loaded = trivial_pass(xdp)?;
    let attach_type = if xdp { BPF_XDP } else { BPF_TCX_INGRESS };
    let program = u32::try_from(loaded.as_raw_fd())?;
    let mut attributes = Link { program, interface, attach_type, flags: 0 };
    let link = bpf(BPF_LINK_CREATE, &mut attributes).context("attach a program that passes")?;
    // SAFETY: the kernel has just made it for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(link)?) })
}

/// Runs a program on a packet `repeat` times, and returns the CPU time for all of them.
///
/// It is this thread's time around the system call: what the kernel says itself is in whole nanoseconds a run,
/// too coarse for a ratio.
///
/// # Errors
///
/// If the kernel does not take the packet, or the verdict is not to pass it.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], repeat: u32) -> Result<Duration> {
    let before = thread_cpu();
    let answer = run(program, packet, repeat);
    let time = thread_cpu().saturating_sub(before);
    let Answer { verdict, .. } =
        answer.with_context(|| format!("test run with {} bytes", packet.len()))?;
    anyhow::ensure!(matches!(verdict, TC_ACT_UNSPEC | XDP_PASS), "verdict {verdict}");
    Ok(time)
}
