//! Programs that no expression leads to: every instruction in any order, with offsets that are not there.

use anyhow::{Context as _, Result, ensure};
use tls_sniff::filter::expression::{Instruction, Program, translate::Context};
use tls_sniff_tests::{frame::Frame, libpcap::PcapFilter};

use super::{Alone, hello};

const PROGRAMS: u32 = 1500;

/// Codes of all instructions but jumps, returns and those of scratch memory.
const CODES: [u16; 32] = [
    0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1, 0x80, 0x81, 0x00, 0x01, 0x84, 0x07, 0x87, 0x04, 0x0c,
    0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x6c, 0x7c, 0x94, 0x9c, 0xa4, 0xac,
];
const SCRATCH: [u16; 4] = [0x02, 0x03, 0x60, 0x61];
const BRANCHES: [u16; 8] = [0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d];

/// xorshift32 (Marsaglia, 2003): the same programs each time.
struct Random(u32);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % below
    }

    fn of<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.next(some.len())]
    }

    fn constant(&mut self) -> u32 {
        let small = u32::try_from(self.next(100)).unwrap();
        self.of(&[small, small, small, small, 0, 1, 31, 0x7ffe, 0x8000, 0x7fff_fffe, 0xffe0_0001])
    }

    fn program(&mut self) -> Vec<Instruction> {
        let plain = |code, k| Instruction { code, jt: 0, jf: 0, k };
        // libpcap gives scratch memory no value of its own.
        let mut program = vec![plain(0x02, 0), plain(0x02, 1)];
        let length = 2 + self.next(20);
        for left in (0..length).rev() {
            let k = self.constant();
            program.push(match self.next(8) {
                0 => plain(self.of(&SCRATCH), k % 2),
                1 | 2 => {
                    let code = self.of(&BRANCHES);
                    let mut skipped = || u8::try_from(self.next(left + 1)).unwrap();
                    Instruction { code, jt: skipped(), jf: skipped(), k }
                }
                3 if left > 3 => plain(0x05, k % 3),
                // 0xffe00001 and the like mean something else to a load at a constant offset, and libpcap
                // refuses to divide by a constant 0.
                _ => match self.of(&CODES) {
                    code @ (0x20 | 0x28 | 0x30 | 0x34 | 0x94) => plain(code, k % 0x9000 + 1),
                    code => plain(code, k),
                },
            });
        }
        program.push(plain(self.of(&[0x16, 0x16, 0x06]), 1));
        program
    }
}

pub(crate) fn programs() -> Result<()> {
    let mut random = Random(0x7e57);
    let base = || Frame::ethernet().ipv4().tcp(40000, 443);
    let packets = [
        base().payload(&hello(60)).build(),
        base().tcp_options(8).payload(&[0xff; 600]).build(),
        Frame::ethernet().ipv6().udp(1, 2).payload(&[3; 40]).build(),
        base().build(),
    ];
    let (mut matched, mut compared) = (0, 0);
    for _ in 0..PROGRAMS {
        let instructions = random.program();
        let program = Program::new(&instructions).with_context(|| format!("{instructions:?}"))?;
        let reference =
            PcapFilter::of(instructions.iter().map(|it| (it.code, it.jt, it.jf, it.k)).collect())?;
        for context in [Context::Skb, Context::Xdp { load_bytes: false }] {
            let alone = Alone::load(&program, context)
                .with_context(|| format!("{context:?}: {instructions:x?}"))?;
            for packet in &packets {
                let length = u32::try_from(packet.len())?;
                let expected = reference.matches(packet, length)?;
                let what = || format!("{context:?}, {expected}: {instructions:x?}");
                ensure!(program.matches(packet, length) == expected, "interpreter, {}", what());
                let (kernel, _) = alone.run(packet, 1)?.context("a packet that fits")?;
                ensure!(kernel == expected, "{}", what());
                (matched, compared) = (matched + usize::from(expected), compared + 1);
            }
        }
    }
    ensure!(matched > compared / 20, "{matched} of {compared}");
    Ok(())
}
