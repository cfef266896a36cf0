//! A program in classic BPF, checked and decoded.
//!
//! The machine has an accumulator A, an index register X and sixteen words of scratch memory, all of 32
//! bits and 0 at the start; it loads from the packet in network byte order. A load from behind the end of
//! the packet and a division by 0 end the program, and nothing matches. Sources: the BSD Packet Filter
//! (McCanne and Jacobson, 1993), and libpcap's `bpf_filter`.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// An instruction as libpcap gives it: `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Class, mode and size.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// The constant.
    pub k: u32,
}

/// Offsets from here on are `SKF_AD_OFF` and the like in linux/filter.h, not places in a packet.
const NOT_IN_PACKET: u32 = 0xffe0_0000;

/// Words of scratch memory.
pub(super) const WORDS: usize = 16;

/// The register that the result of a load goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    A,
    X,
}

/// Bytes of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Byte,
    Half,
    Word,
}

impl Size {
    pub(super) const fn bytes(self) -> u8 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}

/// The other operand beside A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Constant(u32),
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Remainder,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

/// An instruction. Jumps name the step that comes next, always one further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A = bytes of the packet at a constant offset.
    Load(Size, u32),
    /// A = bytes of the packet at X and a constant, without wrapping around.
    LoadIndexed(Size, u32),
    /// X = four times the low nibble of a byte: the length of an IPv4 header.
    LoadHeaderLen(u32),
    /// The packet's length.
    Length(Register),
    Constant(Register, u32),
    /// Scratch memory, at an index below [`WORDS`].
    Recall(Register, u8),
    Store(Register, u8),
    /// A = A op operand
    Compute(Arithmetic, Operand),
    /// A = -A
    Negate,
    /// The register = the other one.
    CopyTo(Register),
    Jump(usize),
    Branch {
        comparison: Comparison,
        operand: Operand,
        yes: usize,
        no: usize,
    },
    /// Whether it matches.
    Return(bool),
    /// It matches if A is not 0.
    ReturnA,
}

/// Why a program is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// An instruction of another dialect.
    #[error("libpcap made instruction {at} of it with code {code:#x}, which is not known here")]
    Unknown {
        /// Counted from 0.
        at: usize,
        /// What it is.
        code: u16,
    },
    /// A load that only Linux's packet sockets have: what is known of a packet beside its bytes.
    #[error("it asks what Linux tells on packet sockets only, as for inbound and outbound")]
    NotInPacket {
        /// Counted from 0.
        at: usize,
    },
    /// A jump backwards or out of the program.
    #[error("it asks for a jump backwards (instruction {at}), which kernel programs cannot do")]
    Jump {
        /// Counted from 0.
        at: usize,
    },
    /// The end can be reached without an answer, or there is nothing.
    #[error("what libpcap made of it has no end")]
    NoReturn,
}

/// A program that ends, whatever the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Step>);

impl Program {
    /// Checks and decodes a program.
    ///
    /// # Errors
    ///
    /// If an instruction is unknown, a jump does not lead forward to another instruction, or the last one is
    /// no return.
    pub fn new(instructions: &[Instruction]) -> Result<Self, ProgramError> {
        let steps: Vec<_> = (0..)
            .zip(instructions)
            .map(|(at, instruction)| step(at, instruction))
            .collect::<Result<_, _>>()?;
        for (at, step) in steps.iter().enumerate() {
            let inside = match step {
                Step::Jump(to) => *to < steps.len(),
                Step::Branch { yes, no, .. } => *yes.max(no) < steps.len(),
                _ => true,
            };
            if !inside {
                return Err(ProgramError::Jump { at });
            }
        }
        match steps.last() {
            Some(Step::Return(_) | Step::ReturnA) => Ok(Self(steps)),
            _ => Err(ProgramError::NoReturn),
        }
    }

    /// The program that no packet matches.
    #[must_use]
    pub fn nothing() -> Self {
        Self(vec![Step::Return(false)])
    }

    /// The steps, in order.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }
}

/// Class in bits 0 to 2; of loads the size in bits 3 and 4 and the mode in bits 5 to 7; of the rest the
/// operand's source in bit 3 and the operation in bits 4 to 7.
fn step(at: usize, instruction: &Instruction) -> Result<Step, ProgramError> {
    let Instruction { code, jt, jf, k } = *instruction;
    if matches!(code, 0x20 | 0x28 | 0x30) && k >= NOT_IN_PACKET {
        return Err(ProgramError::NotInPacket { at });
    }
    let unknown = ProgramError::Unknown { at, code };
    let operand = if code & 8 == 0 { Operand::Constant(k) } else { Operand::X };
    // Scratch memory has so many words.
    let word = || u8::try_from(k).ok().filter(|k| usize::from(*k) < WORDS).ok_or(unknown);
    Ok(match code {
        0x20 => Step::Load(Size::Word, k),
        0x28 => Step::Load(Size::Half, k),
        0x30 => Step::Load(Size::Byte, k),
        0x40 => Step::LoadIndexed(Size::Word, k),
        0x48 => Step::LoadIndexed(Size::Half, k),
        0x50 => Step::LoadIndexed(Size::Byte, k),
        0xb1 => Step::LoadHeaderLen(k),
        0x80 => Step::Length(Register::A),
        0x81 => Step::Length(Register::X),
        0x00 => Step::Constant(Register::A, k),
        0x01 => Step::Constant(Register::X, k),
        0x60 => Step::Recall(Register::A, word()?),
        0x61 => Step::Recall(Register::X, word()?),
        0x02 => Step::Store(Register::A, word()?),
        0x03 => Step::Store(Register::X, word()?),
        0x84 => Step::Negate,
        0x05 => Step::Jump(target(at, k)?),
        0x06 => Step::Return(k != 0),
        0x16 => Step::ReturnA,
        0x07 => Step::CopyTo(Register::X),
        0x87 => Step::CopyTo(Register::A),
        _ if code & 7 == 4 => Step::Compute(arithmetic(code).ok_or(unknown)?, operand),
        _ if code & 7 == 5 => {
            let comparison = comparison(code).ok_or(unknown)?;
            let (yes, no) = (target(at, u32::from(jt))?, target(at, u32::from(jf))?);
            Step::Branch { comparison, operand, yes, no }
        }
        _ => return Err(unknown),
    })
}

/// Where a jump leads. A negative distance is a large one.
fn target(at: usize, skipped: u32) -> Result<usize, ProgramError> {
    let skipped = usize::try_from(skipped).ok();
    skipped
        .and_then(|skipped| at.checked_add(1)?.checked_add(skipped))
        .ok_or(ProgramError::Jump { at })
}

const fn arithmetic(code: u16) -> Option<Arithmetic> {
    Some(match code & !8 {
        0x04 => Arithmetic::Add,
        0x14 => Arithmetic::Subtract,
        0x24 => Arithmetic::Multiply,
        0x34 => Arithmetic::Divide,
        0x44 => Arithmetic::Or,
        0x54 => Arithmetic::And,
        0x64 => Arithmetic::ShiftLeft,
        0x74 => Arithmetic::ShiftRight,
        0x94 => Arithmetic::Remainder,
        0xa4 => Arithmetic::Xor,
        _ => return None,
    })
}

const fn comparison(code: u16) -> Option<Comparison> {
    Some(match code & !8 {
        0x15 => Comparison::Equal,
        0x25 => Comparison::Greater,
        0x35 => Comparison::GreaterOrEqual,
        0x45 => Comparison::AnyBit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    #[test]
    fn refuses_what_does_not_end() {
        let accept = instruction(6, 0, 0, 1);
        let jump = |k| instruction(5, 0, 0, k);
        assert_eq!(Program::new(&[]), Err(ProgramError::NoReturn));
        assert_eq!(Program::new(&[instruction(0, 0, 0, 1)]), Err(ProgramError::NoReturn));
        assert_eq!(Program::new(&[jump(1), accept]), Err(ProgramError::Jump { at: 0 }));
        assert_eq!(Program::new(&[accept, jump(u32::MAX)]), Err(ProgramError::Jump { at: 1 }));
        let branch = instruction(0x15, 0, 1, 7);
        assert_eq!(Program::new(&[branch, accept]), Err(ProgramError::Jump { at: 0 }));
        assert!(Program::new(&[branch, accept, accept]).is_ok());
    }

    #[test]
    fn refuses_what_is_not_in_the_packet() {
        let load = instruction(0x28, 0, 0, 0xffff_f004);
        let refused = Program::new(&[load, instruction(0x16, 0, 0, 0)]);
        assert_eq!(refused, Err(ProgramError::NotInPacket { at: 0 }));
    }

    #[test]
    fn refuses_unknown_codes_and_words() {
        let accept = instruction(6, 0, 0, 1);
        for code in [0x18, 0xa0, 0x8c, 0xb4, 0x55, 0x26, 0x100, 0xffff] {
            let refused = Program::new(&[instruction(code, 0, 0, 0), accept]);
            assert_eq!(refused, Err(ProgramError::Unknown { at: 0, code }), "{code:#x}");
        }
        for code in [0x60, 0x61, 2, 3] {
            assert!(Program::new(&[instruction(code, 0, 0, 15), accept]).is_ok());
            assert!(Program::new(&[instruction(code, 0, 0, 16), accept]).is_err());
        }
    }
}
