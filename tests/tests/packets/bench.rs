//! Loaded programs, a way to run one on a packet, and what came of it.

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    maps::{Array, MapData, RingBuf},
    programs::{ProgramError, TestRun as _, TestRunOptions},
};
use tls_sniff::load::{KernelCounters, LoadOptions, Programs, load};
use tls_sniff_common::{
    counters::{Counter, CounterBlock},
    event::Event,
    flow::{FlowKey, Hook, flow_id},
    gate::{BUCKETS, Bucket},
    headers::walk,
    packet::CapturedPacket,
};

/// `TC_ACT_UNSPEC`: the packet goes on as if the program were not there.
const TC_ACT_UNSPEC: u32 = u32::MAX;
const XDP_PASS: u32 = 2;

/// The key of the flow hash in [`Bench::default`].
pub(crate) const KEY: FlowKey = FlowKey::of(0x7e57);

/// Test runs are on the loopback interface, unless another one is asked for.
pub(crate) const INTERFACE: u32 = 1;

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Xdp,
    In,
    Out,
    L3In,
    L3Out,
}

impl At {
    pub(crate) const ALL: [Self; 5] = [Self::Xdp, Self::In, Self::Out, Self::L3In, Self::L3Out];

    /// Whether its packets start with the IP header.
    pub(crate) const fn is_raw(self) -> bool {
        matches!(self, Self::L3In | Self::L3Out)
    }

    pub(crate) const fn hook(self) -> Hook {
        match self {
            Self::Xdp => Hook::Xdp,
            Self::In | Self::L3In => Hook::TcIngress,
            Self::Out | Self::L3Out => Hook::TcEgress,
        }
    }

    const fn verdict(self) -> u32 {
        if matches!(self, Self::Xdp) { XDP_PASS } else { TC_ACT_UNSPEC }
    }
}

/// All programs, loaded and attached to nothing.
pub(crate) struct Bench {
    programs: Programs,
    ring: RingBuf<MapData>,
    counters: KernelCounters,
}

/// What one packet came to.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) verdict: u32,
    /// Each counter that moved, and by how much.
    pub(crate) moved: Vec<(Counter, u64)>,
    pub(crate) events: Vec<Vec<u8>>,
}

impl Bench {
    pub(crate) fn load(options: LoadOptions) -> Result<Self> {
        let mut programs = load(&options)?;
        let ring = programs.take_ring()?;
        let counters = programs.take_counters()?;
        Ok(Self { programs, ring, counters })
    }

    pub(crate) fn default() -> Result<Self> {
        Self::load(LoadOptions { xdp: true, flow_key: KEY, ..LoadOptions::default() })
    }

    pub(crate) fn verified_instructions(&mut self, at: At) -> Result<Option<u32>> {
        let info = match at {
            At::Xdp => self.programs.xdp()?.info()?,
            _ => self.programs.tc(crate::link(at), at.hook())?.info()?,
        };
        Ok(info.verified_instruction_count())
    }

    /// Runs a program on a packet and returns its verdict.
    pub(crate) fn program_run(&mut self, at: At, packet: &[u8]) -> Result<u32, ProgramError> {
        // The kernel gives the packet back; a program that changed it would be seen.
        let mut out = vec![0; packet.len() + 64];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let link = crate::link(at);
        let missing = |_| ProgramError::NotLoaded;
        let result = match at {
            At::Xdp => self.programs.xdp().map_err(missing)?.test_run(options)?,
            _ => self.programs.tc(link, at.hook()).map_err(missing)?.test_run(options)?,
        };
        let length = usize::try_from(result.data_size_out).unwrap_or(usize::MAX);
        assert_eq!(out.get(..length), Some(packet), "the packet was changed");
        Ok(result.return_value)
    }

    pub(crate) fn run(&mut self, at: At, packet: &[u8]) -> Result<Seen> {
        self.run_if_it_fits(at, packet)?.context("the kernel takes no packet of that size")
    }

    /// As [`Bench::run`]; `None` if test runs do not take packets of that size: TC none that ends
    /// inside the IP header, XDP none beyond its fragments.
    pub(crate) fn run_if_it_fits(&mut self, at: At, packet: &[u8]) -> Result<Option<Seen>> {
        let before = self.counters(at)?;
        let verdict = match self.program_run(at, packet) {
            Ok(verdict) => verdict,
            Err(ProgramError::SyscallError(error))
                if !(54..=3000).contains(&packet.len())
                    && matches!(
                        error.io_error.raw_os_error(),
                        Some(nix::libc::EINVAL | nix::libc::EMSGSIZE)
                    ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("{at:?}")),
        };
        let after = self.counters(at)?;
        let moved = Counter::ALL
            .into_iter()
            .zip(after.iter().zip(before))
            .filter(|(_, (after, before))| *after != before)
            .map(|(counter, (after, before))| (counter, after - before))
            .collect();
        Ok(Some(Seen { verdict, moved, events: self.take_events() }))
    }

    pub(crate) fn counters(&self, at: At) -> Result<CounterBlock> {
        let hooks = self.counters.read()?;
        let found = hooks.into_iter().find(|(hook, _)| *hook == at.hook());
        found.map(|(_, block)| block).context("the hook has counters")
    }

    /// Empties the bucket of a packet's flow in the gate's table.
    pub(crate) fn forget_flow(&mut self, at: At, packet: &[u8]) -> Result<()> {
        let packet = CapturedPacket::from(packet);
        let Ok(segment) = walk(&packet, crate::link(at)) else { return Ok(()) };
        let (flow, _) = flow_id(&packet, &segment, KEY.on(INTERFACE)).context("a flow")?;
        let map = self.programs.ebpf_mut().map_mut("FLOWS").context("FLOWS")?;
        let mut flows: Array<_, [u8; size_of::<Bucket>()]> = map.try_into()?;
        flows.set(u32::try_from(flow.bucket(BUCKETS))?, [0; size_of::<Bucket>()], 0)?;
        Ok(())
    }

    pub(crate) fn take_events(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.ring.next().map(|item| item.to_vec())).collect()
    }
}

impl Seen {
    /// Passed, counted once as seen and once as `counter`, nothing else.
    pub(crate) fn check(&self, at: At, counter: Counter) -> Result<()> {
        ensure!(self.verdict == at.verdict(), "verdict {}", self.verdict);
        ensure!(
            self.moved == [(Counter::Seen, 1), (counter, 1)],
            "counted as {:?}, not as {counter:?}",
            self.moved
        );
        Ok(())
    }

    /// The one event.
    pub(crate) fn event(&self) -> Result<Event<'_>> {
        match self.events.as_slice() {
            [event] => Ok(Event::decode(event)?),
            events => bail!("{} events", events.len()),
        }
    }

    /// The counter other than seen.
    pub(crate) fn outcome(&self) -> Result<Counter> {
        match self.moved.as_slice() {
            [(Counter::Seen, 1), (counter, 1)] => Ok(*counter),
            moved => bail!("counted as {moved:?}"),
        }
    }
}
