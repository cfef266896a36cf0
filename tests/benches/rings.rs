//! One ring for all CPUs, or one for each: `cargo bench -p tls-sniff-tests --bench rings`, as root, with two CPUs.
//!
//! Two threads, each on a CPU of its own, run the XDP program through BPF_PROG_TEST_RUN on a segment that becomes an
//! event of some 600 bytes: into one ring, and each into a ring of its own. The rings are emptied between rounds, and
//! are so large that they never run full. The least of all rounds is shown, beside one producer alone.

use std::{sync::Barrier, thread};

use anyhow::{Context as _, Result};
use aya::{
    maps::{MapData, RingBuf},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use tls_sniff::load::{LoadOptions, Programs, load};
use tls_sniff_tests::frame::Frame;

const ROUNDS: usize = 60;
const REPEAT: u32 = 10_000;
const RING: u32 = 64 << 20;

struct Kernel {
    programs: Programs,
    ring: RingBuf<MapData>,
}

impl Kernel {
    fn load() -> Result<Self> {
        let options = LoadOptions { xdp: true, ring_len: RING, ..LoadOptions::default() };
        let mut programs = load(&options)?;
        let ring = programs.take_ring()?;
        Ok(Self { programs, ring })
    }

    fn drain(&mut self) -> usize {
        std::iter::from_fn(|| self.ring.next().map(drop)).count()
    }
}

/// ns a packet, of each producer.
fn produce(programs: &[&Xdp], packet: &[u8]) -> Result<Vec<u128>> {
    let start = Barrier::new(programs.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(programs)
            .map(|(cpu, program)| {
                let start = &start;
                scope.spawn(move || {
                    let mut cpus = CpuSet::new();
                    cpus.set(cpu)?;
                    sched_setaffinity(Pid::from_raw(0), &cpus)?;
                    let options = TestRunOptions {
                        data_in: Some(packet),
                        repeat: REPEAT,
                        ..TestRunOptions::default()
                    };
                    start.wait();
                    Ok(program.test_run(options)?.duration.as_nanos())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

fn main() -> Result<()> {
    // `cargo test --benches` only asks whether it runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    // An alert of a connection that nobody knows is always an event.
    let mut alert = vec![0x15, 3, 3, 1, 0xf4];
    alert.resize(505, 2);
    let packet = Frame::ethernet().ipv4().tcp(1, 2).payload(&alert).build();
    let (mut one, mut other) = (Kernel::load()?, Kernel::load()?);
    let mut least = [u128::MAX; 3];
    for _ in 0..ROUNDS {
        let [a, b] = [&mut one, &mut other].map(|kernel| kernel.programs.xdp());
        let (a, b): (&Xdp, &Xdp) = (a?, b?);
        for (least, producers) in least.iter_mut().zip([&[a][..], &[a, a], &[a, b]]) {
            let slowest = produce(producers, &packet)?.into_iter().max();
            *least = slowest.context("a producer")?.min(*least);
        }
        let events = [&mut one, &mut other].map(Kernel::drain);
        assert_eq!(events, [4, 1].map(|runs| runs * REPEAT as usize), "a ring ran full");
    }
    let [alone, shared, own] = least;
    println!(
        "ns an event: {alone} one producer, {shared} two into one ring, {own} two into two rings"
    );
    Ok(())
}
