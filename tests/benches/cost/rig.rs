//! The kernel programs, loaded and attached to nothing, and a way to run them on packets by the thousand.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, RingBuf};
use tls_sniff::load::{KernelCounters, LoadOptions, Programs, load};
use tls_sniff_common::{counters::Counter, flow::Hook, headers::LinkLayer};
use tls_sniff_tests::{bpf, frame::Frame};

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    In,
    Out,
    L3In,
    Xdp,
}

impl At {
    pub(crate) const ALL: [Self; 4] = [Self::In, Self::Out, Self::L3In, Self::Xdp];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::In => "TC ingress",
            Self::Out => "TC egress",
            Self::L3In => "TC without an Ethernet header",
            Self::Xdp => "XDP",
        }
    }

    const fn hook(self) -> Hook {
        match self {
            Self::Xdp => Hook::Xdp,
            Self::In | Self::L3In => Hook::TcIngress,
            Self::Out => Hook::TcEgress,
        }
    }

    /// A frame of IPv4, or of IPv6 in a VLAN where there are such.
    pub(crate) fn frame(self, v6: bool) -> Frame {
        match (self, v6) {
            (Self::L3In, false) => Frame::raw().ipv4(),
            (Self::L3In, true) => Frame::raw().ipv6(),
            (_, false) => Frame::ethernet().ipv4(),
            (_, true) => Frame::ethernet().vlan(0x8100, 7).ipv6(),
        }
    }
}

/// Loaded programs with their maps.
pub(crate) struct Rig {
    programs: Programs,
    ring: RingBuf<MapData>,
    counters: KernelCounters,
}

impl Rig {
    pub(crate) fn load(options: LoadOptions) -> Result<Self> {
        let mut programs = load(&LoadOptions { xdp: true, ..options })?;
        let ring = programs.take_ring()?;
        let counters = programs.take_counters()?;
        Ok(Self { programs, ring, counters })
    }

    fn fd(&mut self, at: At) -> Result<BorrowedFd<'_>> {
        let program = match at {
            At::Xdp => self.programs.xdp()?.fd()?,
            At::L3In => self.programs.tc(LinkLayer::RawIp, at.hook())?.fd()?,
            _ => self.programs.tc(LinkLayer::Ethernet, at.hook())?.fd()?,
        };
        Ok(program.as_fd())
    }

    /// A program, for those who run it while the ring is read.
    pub(crate) fn program(&mut self, at: At) -> Result<OwnedFd> {
        Ok(self.fd(at)?.try_clone_to_owned()?)
    }

    /// CPU time of so many runs on a packet. What comes into the ring stays there.
    pub(crate) fn test_run(&mut self, at: At, packet: &[u8], repeat: u32) -> Result<Duration> {
        bpf::test_run(self.fd(at)?, packet, repeat).with_context(|| format!("{at:?}"))
    }

    /// Takes everything out of the ring; returns how many events there were.
    pub(crate) fn drain(&mut self) -> u64 {
        std::iter::from_fn(|| self.ring.next().map(drop)).map(|()| 1).sum()
    }

    /// The ring, for those who read it in their own way.
    pub(crate) const fn ring(&mut self) -> &mut RingBuf<MapData> {
        &mut self.ring
    }

    /// What a hook has counted so far.
    pub(crate) fn count(&self, at: At, counter: Counter) -> Result<u64> {
        let hooks = self.counters.read()?;
        let (_, block) = hooks.into_iter().find(|(hook, _)| *hook == at.hook()).context("hook")?;
        let at = Counter::ALL.iter().position(|other| *other == counter).context("counter")?;
        Ok(block[at])
    }

    /// Runs that each bring an event, in batches that the ring has room for; fails if one did not.
    pub(crate) fn events(
        &mut self,
        at: At,
        packet: &[u8],
        batches: u32,
        batch: u32,
    ) -> Result<Duration> {
        let before = self.count(at, Counter::Emitted)?;
        let mut time = Duration::ZERO;
        for _ in 0..batches {
            time += self.test_run(at, packet, batch)?;
            let drained = self.drain();
            ensure!(drained == u64::from(batch), "{at:?}: {drained} events of {batch} packets");
        }
        let emitted = self.count(at, Counter::Emitted)? - before;
        let wanted = u64::from(batches * batch);
        ensure!(emitted == wanted, "{at:?}: {emitted} counted as emitted, of {wanted}");
        Ok(time)
    }
}
