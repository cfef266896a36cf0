//! A translated expression as a kernel program of its own, without what is around it in tls-sniff's: it
//! loads in no time and answers by its return value, so that many can run on many packets.

use std::{
    io,
    mem::size_of_val,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use tls_sniff::filter::expression::{Program, translate::Context};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

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

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    let pointer: *mut T = attributes;
    // SAFETY: the kernel reads and writes so many bytes there, which are plain numbers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A loaded expression.
pub(super) struct Alone {
    program: OwnedFd,
}

impl Alone {
    pub(super) fn load(program: &Program, context: Context) -> Result<Self> {
        let code = program.translate(context);
        let mut log = vec![0_u8; 1 << 20];
        let kind = match context {
            Context::Skb => BPF_PROG_TYPE_SCHED_CLS,
            Context::Xdp { .. } => BPF_PROG_TYPE_XDP,
        };
        let frags = context == Context::Xdp { load_bytes: true };
        let mut attributes = Load {
            kind,
            instructions: u32::try_from(code.len())?,
            code: code.as_ptr().addr() as u64,
            licence: c"MIT".as_ptr().addr() as u64,
            log_level: 1,
            log_size: 1 << 20,
            log: log.as_mut_ptr().addr() as u64,
            flags: if frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
            ..Load::default()
        };
        let loaded = bpf(BPF_PROG_LOAD, &mut attributes).with_context(|| {
            let log = String::from_utf8_lossy(&log);
            log.trim_end_matches('\0').lines().rev().take(9).collect::<Vec<_>>().join("\n")
        })?;
        // SAFETY: the kernel has just made it for nobody else.
        Ok(Self { program: unsafe { OwnedFd::from_raw_fd(i32::try_from(loaded)?) } })
    }

    /// Whether it matches, and ns a run; `None` if the kernel takes no packet of that size.
    pub(super) fn run(&self, packet: &[u8], repeat: u32) -> Result<Option<(bool, u32)>> {
        let mut attributes = Run {
            program: u32::try_from(self.program.as_raw_fd())?,
            data_size_in: u32::try_from(packet.len())?,
            data_in: packet.as_ptr().addr() as u64,
            repeat,
            ..Run::default()
        };
        match bpf(BPF_PROG_TEST_RUN, &mut attributes) {
            Ok(_) => {
                ensure!(attributes.answer < 2, "it answers {}", attributes.answer);
                Ok(Some((attributes.answer == 1, attributes.duration)))
            }
            Err(error)
                if !(54..=3000).contains(&packet.len())
                    && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
