//! eBPF instructions in the making: encoding, and jumps to what is not there yet.
//!
//! ```text
//!   0  code         class in bits 0 to 2, source of the operand in bit 3, operation in bits 4 to 7;
//!                   of loads and stores the size in bits 3 and 4, the mode in bits 5 to 7
//!   1  registers    destination in the lower nibble, source in the upper one
//!   2  offset       16 bits; of jumps in instructions, from the next one
//!   4  constant     32 bits
//! ```
//!
//! Source: the kernel's Documentation/bpf/standardization/instruction-set.rst.

use super::Encoded;
use crate::filter::expression::program::{Operand, Size};

pub(super) const R0: u8 = 0;
pub(super) const R1: u8 = 1;
pub(super) const R2: u8 = 2;
pub(super) const R3: u8 = 3;
pub(super) const R4: u8 = 4;
pub(super) const R6: u8 = 6;
pub(super) const R7: u8 = 7;
pub(super) const R8: u8 = 8;
pub(super) const R10: u8 = 10;

/// Operations: of arithmetic, and of comparisons (unsigned).
pub(super) mod op {
    pub(in super::super) const ADD: u8 = 0x00;
    pub(in super::super) const SUBTRACT: u8 = 0x10;
    pub(in super::super) const MULTIPLY: u8 = 0x20;
    pub(in super::super) const DIVIDE: u8 = 0x30;
    pub(in super::super) const OR: u8 = 0x40;
    pub(in super::super) const AND: u8 = 0x50;
    pub(in super::super) const SHIFT_LEFT: u8 = 0x60;
    pub(in super::super) const SHIFT_RIGHT: u8 = 0x70;
    pub(in super::super) const REMAINDER: u8 = 0x90;
    pub(in super::super) const XOR: u8 = 0xa0;

    pub(in super::super) const EQUAL: u8 = 0x10;
    pub(in super::super) const GREATER: u8 = 0x20;
    pub(in super::super) const GREATER_OR_EQUAL: u8 = 0x30;
    pub(in super::super) const ANY_BIT: u8 = 0x40;
    pub(in super::super) const NOT_EQUAL: u8 = 0x50;
    pub(in super::super) const LESS: u8 = 0xa0;
    pub(in super::super) const LESS_OR_EQUAL: u8 = 0xb0;
}

/// Whole codes, and classes that an operation is added to.
mod opcode {
    pub(super) const LOAD: u8 = 0x61;
    pub(super) const STORE_CONSTANT: u8 = 0x62;
    pub(super) const STORE: u8 = 0x63;
    pub(super) const ALU: u8 = 0x04;
    pub(super) const NEGATE: u8 = 0x84;
    pub(super) const SET: u8 = 0xb4;
    pub(super) const COPY32: u8 = 0xbc;
    pub(super) const TO_BIG_ENDIAN: u8 = 0xdc;
    pub(super) const ADD64: u8 = 0x07;
    pub(super) const ADD_REGISTER64: u8 = 0x0f;
    pub(super) const SUBTRACT_REGISTER64: u8 = 0x1f;
    pub(super) const COPY64: u8 = 0xbf;
    pub(super) const JUMP: u8 = 0x05;
    pub(super) const JUMP_IF64: u8 = 0x05;
    pub(super) const JUMP_IF32: u8 = 0x06;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
    /// The operand is a register.
    pub(super) const REGISTER: u8 = 0x08;
}

/// Where a jump leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Step(usize),
    /// To the answer 0.
    Refuse,
}

/// A jump within a step, which has its distance later.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Ahead(usize);

pub(super) struct Code {
    instructions: Vec<Instruction>,
    /// Where each step begins.
    steps: Vec<Option<usize>>,
    jumps: Vec<(usize, Target)>,
}

#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    constant: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, constant: i32) -> Instruction {
    Instruction { code, to, from, offset, constant }
}

impl Code {
    /// For so many steps.
    pub(super) fn new(steps: usize) -> Self {
        Self { instructions: Vec::new(), steps: vec![None; steps], jumps: Vec::new() }
    }

    fn push(&mut self, instruction: Instruction) {
        self.instructions.push(instruction);
    }

    /// A step begins with the next instruction.
    pub(super) fn begins(&mut self, step: usize) {
        let here = self.instructions.len();
        if let Some(step) = self.steps.get_mut(step) {
            *step = Some(here);
        }
    }

    /// A register gets a constant; its upper half 0.
    pub(super) fn set(&mut self, to: u8, constant: i32) {
        self.push(instruction(opcode::SET, to, 0, 0, constant));
    }

    /// The lower half; the upper one becomes 0.
    pub(super) fn copy32(&mut self, to: u8, from: u8) {
        self.push(instruction(opcode::COPY32, to, from, 0, 0));
    }

    pub(super) fn copy64(&mut self, to: u8, from: u8) {
        self.push(instruction(opcode::COPY64, to, from, 0, 0));
    }

    /// Adds a constant with its sign.
    pub(super) fn add64(&mut self, to: u8, constant: i32) {
        self.push(instruction(opcode::ADD64, to, 0, 0, constant));
    }

    pub(super) fn add_register64(&mut self, to: u8, from: u8) {
        self.push(instruction(opcode::ADD_REGISTER64, to, from, 0, 0));
    }

    pub(super) fn subtract_register64(&mut self, to: u8, from: u8) {
        self.push(instruction(opcode::SUBTRACT_REGISTER64, to, from, 0, 0));
    }

    /// Arithmetic of 32 bits.
    pub(super) fn compute(&mut self, operation: u8, to: u8, operand: Operand) {
        let (source, from, constant) = encoded(operand);
        self.push(instruction(opcode::ALU | operation | source, to, from, 0, constant));
    }

    pub(super) fn negate(&mut self, register: u8) {
        self.push(instruction(opcode::NEGATE, register, 0, 0, 0));
    }

    pub(super) fn read(&mut self, size: Size, to: u8, base: u8, offset: i16) {
        let size = match size {
            Size::Word => 0x00,
            Size::Half => 0x08,
            Size::Byte => 0x10,
        };
        self.push(instruction(opcode::LOAD | size, to, base, offset, 0));
    }

    /// A word of the stack.
    pub(super) fn store(&mut self, offset: i16, from: u8) {
        self.push(instruction(opcode::STORE, R10, from, offset, 0));
    }

    /// A word of the stack.
    pub(super) fn store_zero(&mut self, offset: i16) {
        self.push(instruction(opcode::STORE_CONSTANT, R10, 0, offset, 0));
    }

    /// What was read in network byte order.
    pub(super) fn network_to_host(&mut self, size: Size, register: u8) {
        if size != Size::Byte {
            let bits = i32::from(size.bytes()) * 8;
            self.push(instruction(opcode::TO_BIG_ENDIAN, register, 0, 0, bits));
        }
    }

    pub(super) fn call(&mut self, helper: i32) {
        self.push(instruction(opcode::CALL, 0, 0, 0, helper));
    }

    pub(super) fn answer(&mut self, matches: bool) {
        self.set(R0, i32::from(matches));
        self.push(instruction(opcode::EXIT, 0, 0, 0, 0));
    }

    pub(super) fn jump(&mut self, target: Target) {
        self.jumps.push((self.instructions.len(), target));
        self.push(instruction(opcode::JUMP, 0, 0, 0, 0));
    }

    /// If the comparison of 32 bits holds.
    pub(super) fn branch(&mut self, operation: u8, register: u8, operand: Operand, target: Target) {
        let (source, from, constant) = encoded(operand);
        self.jumps.push((self.instructions.len(), target));
        let code = opcode::JUMP_IF32 | operation | source;
        self.push(instruction(code, register, from, 0, constant));
    }

    /// If the helper that was called failed.
    pub(super) fn branch_failed(&mut self) {
        self.jumps.push((self.instructions.len(), Target::Refuse));
        self.push(instruction(opcode::JUMP_IF64 | op::NOT_EQUAL, R0, 0, 0, 0));
    }

    pub(super) fn jump_ahead(&mut self) -> Ahead {
        self.ahead(instruction(opcode::JUMP, 0, 0, 0, 0))
    }

    /// If a pointer is behind the end of the packet.
    pub(super) fn branch_behind(&mut self, pointer: u8, end: u8) -> Ahead {
        let code = opcode::JUMP_IF64 | op::GREATER | opcode::REGISTER;
        self.ahead(instruction(code, pointer, end, 0, 0))
    }

    /// If a number of 64 bits is above a limit, which is below 2^31.
    pub(super) fn branch_above(&mut self, register: u8, limit: u32) -> Ahead {
        let code = opcode::JUMP_IF64 | op::GREATER;
        self.ahead(instruction(code, register, 0, 0, limit.cast_signed()))
    }

    fn ahead(&mut self, instruction: Instruction) -> Ahead {
        let at = self.instructions.len();
        self.push(instruction);
        Ahead(at)
    }

    /// A jump leads to the next instruction.
    pub(super) fn lands(&mut self, Ahead(at): Ahead) {
        let here = self.instructions.len();
        self.set_distance(at, here);
    }

    /// A jump leads to the answer 0.
    pub(super) fn refuses(&mut self, Ahead(at): Ahead) {
        self.jumps.push((at, Target::Refuse));
    }

    /// A program of which the distances do not fit is too long to be used.
    fn set_distance(&mut self, at: usize, to: usize) {
        let distance = to.checked_sub(at + 1).and_then(|distance| i16::try_from(distance).ok());
        if let (Some(instruction), Some(distance)) = (self.instructions.get_mut(at), distance) {
            instruction.offset = distance;
        }
    }

    /// All instructions, with the answer 0 at the end if something leads there.
    pub(super) fn finish(mut self) -> Vec<Encoded> {
        let refuse = self.instructions.len();
        let jumps = std::mem::take(&mut self.jumps);
        if jumps.iter().any(|(_, target)| matches!(target, Target::Refuse)) {
            self.answer(false);
        }
        for (at, target) in jumps {
            let to = match target {
                Target::Refuse => Some(refuse),
                Target::Step(step) => self.steps.get(step).copied().flatten(),
            };
            if let Some(to) = to {
                self.set_distance(at, to);
            }
        }
        self.instructions.into_iter().map(Instruction::encode).collect()
    }
}

impl Instruction {
    fn encode(self) -> Encoded {
        let [offset_low, offset_high] = self.offset.to_le_bytes();
        let [a, b, c, d] = self.constant.to_le_bytes();
        [self.code, self.from << 4 | self.to, offset_low, offset_high, a, b, c, d]
    }
}

/// Source bit, register and constant.
const fn encoded(operand: Operand) -> (u8, u8, i32) {
    match operand {
        Operand::Constant(constant) => (0, 0, constant.cast_signed()),
        Operand::X => (opcode::REGISTER, R8, 0),
    }
}
