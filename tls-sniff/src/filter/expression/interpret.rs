//! Runs a program on a packet in memory: what libpcap's `bpf_filter` does.

#![forbid(unsafe_code)]

use super::program::{Arithmetic, Comparison, Operand, Program, Register, Size, Step, WORDS};

/// The registers and the scratch memory.
#[derive(Default)]
struct Machine {
    a: u32,
    x: u32,
    words: [u32; WORDS],
}

impl Program {
    /// Whether a packet matches. `bytes`: what was captured of it; `wire_len`: the length that it had, for
    /// `len`, `less` and `greater`.
    #[must_use]
    pub fn matches(&self, bytes: &[u8], wire_len: u32) -> bool {
        // `None` is a load from behind the end, or a division by 0.
        Machine::default().run(self.steps(), bytes, wire_len).unwrap_or(false)
    }
}

impl Machine {
    fn run(&mut self, steps: &[Step], bytes: &[u8], wire_len: u32) -> Option<bool> {
        let mut at = 0;
        loop {
            let step = steps.get(at)?;
            at += 1;
            match *step {
                Step::Load(size, offset) => {
                    self.a = load(bytes, size, usize::try_from(offset).ok()?)?
                }
                Step::LoadIndexed(size, offset) => {
                    let offset = u64::from(offset) + u64::from(self.x);
                    self.a = load(bytes, size, usize::try_from(offset).ok()?)?;
                }
                Step::LoadHeaderLen(offset) => {
                    let byte = load(bytes, Size::Byte, usize::try_from(offset).ok()?)?;
                    self.x = (byte & 0xf) << 2;
                }
                Step::Length(register) => *self.register(register) = wire_len,
                Step::Constant(register, value) => *self.register(register) = value,
                Step::Recall(register, word) => {
                    *self.register(register) = *self.words.get(usize::from(word))?;
                }
                Step::Store(register, word) => {
                    let value = *self.register(register);
                    *self.words.get_mut(usize::from(word))? = value;
                }
                Step::Compute(arithmetic, operand) => {
                    self.a = compute(arithmetic, self.a, self.operand(operand))?;
                }
                Step::Negate => self.a = self.a.wrapping_neg(),
                Step::CopyTo(Register::A) => self.a = self.x,
                Step::CopyTo(Register::X) => self.x = self.a,
                Step::Jump(to) => at = to,
                Step::Branch { comparison, operand, yes, no } => {
                    let holds = compare(comparison, self.a, self.operand(operand));
                    at = if holds { yes } else { no };
                }
                Step::Return(matches) => return Some(matches),
                Step::ReturnA => return Some(self.a != 0),
            }
        }
    }

    const fn register(&mut self, register: Register) -> &mut u32 {
        match register {
            Register::A => &mut self.a,
            Register::X => &mut self.x,
        }
    }

    const fn operand(&self, operand: Operand) -> u32 {
        match operand {
            Operand::Constant(value) => value,
            Operand::X => self.x,
        }
    }
}

fn load(bytes: &[u8], size: Size, offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?;
    Some(match size {
        Size::Byte => u32::from(*bytes.first()?),
        Size::Half => u32::from(u16::from_be_bytes(*bytes.first_chunk()?)),
        Size::Word => u32::from_be_bytes(*bytes.first_chunk()?),
    })
}

const fn compute(arithmetic: Arithmetic, a: u32, other: u32) -> Option<u32> {
    Some(match arithmetic {
        Arithmetic::Add => a.wrapping_add(other),
        Arithmetic::Subtract => a.wrapping_sub(other),
        Arithmetic::Multiply => a.wrapping_mul(other),
        Arithmetic::Divide => return a.checked_div(other),
        Arithmetic::Remainder => return a.checked_rem(other),
        Arithmetic::Or => a | other,
        Arithmetic::And => a & other,
        Arithmetic::Xor => a ^ other,
        Arithmetic::ShiftLeft if other < u32::BITS => a << other,
        Arithmetic::ShiftRight if other < u32::BITS => a >> other,
        Arithmetic::ShiftLeft | Arithmetic::ShiftRight => 0,
    })
}

const fn compare(comparison: Comparison, a: u32, other: u32) -> bool {
    match comparison {
        Comparison::Equal => a == other,
        Comparison::Greater => a > other,
        Comparison::GreaterOrEqual => a >= other,
        Comparison::AnyBit => a & other != 0,
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::expression::{Instruction, Program};

    /// Runs instructions of code and constant on the bytes 0, 1, 2 ... 9, and returns whether A is then 0.
    fn leaves_zero(instructions: &[(u16, u32)]) -> bool {
        let mut program: Vec<_> = instructions
            .iter()
            .map(|(code, k)| Instruction { code: *code, jt: 0, jf: 0, k: *k })
            .collect();
        // jeq #0 jt 0 jf 1; ret #1; ret #0
        program.push(Instruction { code: 0x15, jt: 0, jf: 1, k: 0 });
        program.push(Instruction { code: 6, jt: 0, jf: 0, k: 1 });
        program.push(Instruction { code: 6, jt: 0, jf: 0, k: 0 });
        let bytes: Vec<u8> = (0..10).collect();
        Program::new(&program).unwrap().matches(&bytes, 100)
    }

    /// The same, with `value` subtracted before.
    fn gives(instructions: &[(u16, u32)], value: u32) -> bool {
        leaves_zero(&[instructions, &[(0x14, value)]].concat())
    }

    #[test]
    fn loads_in_network_byte_order() {
        assert!(gives(&[(0x20, 2)], 0x0203_0405));
        assert!(gives(&[(0x28, 8)], 0x0809));
        assert!(gives(&[(0x30, 9)], 9));
        assert!(gives(&[(1, 3), (0x48, 2)], 0x0506));
        // X = 4 * (7 & 0xf)
        assert!(gives(&[(0xb1, 7), (0x87, 0)], 28));
        assert!(gives(&[(0x80, 0)], 100));
    }

    #[test]
    fn a_load_from_behind_the_end_matches_nothing() {
        for load in [(0x20, 7), (0x28, 9), (0x30, 10), (0xb1, 10), (0x30, u32::MAX >> 12)] {
            assert!(!leaves_zero(&[load, (0, 0)]), "{load:x?}");
        }
        // X and the constant do not wrap around to 0.
        assert!(!leaves_zero(&[(1, u32::MAX), (0x50, 1), (0, 0)]));
    }

    #[test]
    fn arithmetic_has_32_bits() {
        assert!(gives(&[(0, u32::MAX), (0x04, 2)], 1));
        assert!(gives(&[(0, 1), (0x84, 0)], u32::MAX));
        assert!(gives(&[(0, 0x8000_0001), (0x24, 2)], 2));
        assert!(gives(&[(0, 7), (1, 2), (0x9c, 0)], 1));
        // All is shifted out.
        assert!(gives(&[(0, 7), (1, 32), (0x6c, 0)], 0));
        assert!(gives(&[(0, 7), (1, 33), (0x7c, 0)], 0));
        assert!(!leaves_zero(&[(1, 0), (0x3c, 0), (0, 0)]));
        assert!(!leaves_zero(&[(0x94, 0), (0, 0)]));
    }

    #[test]
    fn scratch_memory_keeps_and_starts_with_zero() {
        assert!(gives(&[(0, 5), (2, 15), (0, 1), (0x60, 15)], 5));
        assert!(gives(&[(1, 6), (3, 0), (0x60, 0)], 6));
        assert!(gives(&[(0, 5), (0x60, 3)], 0));
    }
}
