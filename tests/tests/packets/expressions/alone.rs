//! A translated expression as a kernel program of its own, without what is around it in tls-sniff's: it
//! loads in no time and answers by its return value, so that many can run on many packets.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Result, ensure};
use nix::libc;
use tls_sniff::filter::expression::{Program, translate::Context};
use tls_sniff_tests::bpf::{self, Kind};

/// A loaded expression.
pub(super) struct Alone {
    program: OwnedFd,
}

impl Alone {
    pub(super) fn load(program: &Program, context: Context) -> Result<Self> {
        let kind = match context {
            Context::Skb => Kind::Tc,
            Context::Xdp { load_bytes } => Kind::Xdp { frags: load_bytes },
        };
        Ok(Self { program: bpf::load(kind, &program.translate(context))? })
    }

    /// Whether it matches, and ns a run; `None` if the kernel takes no packet of that size.
    pub(super) fn run(&self, packet: &[u8], repeat: u32) -> Result<Option<(bool, u32)>> {
        match bpf::run(self.program.as_fd(), packet, repeat) {
            Ok(answer) => {
                ensure!(answer.verdict < 2, "it answers {}", answer.verdict);
                Ok(Some((answer.verdict == 1, answer.nanoseconds)))
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
