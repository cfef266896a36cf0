//! A program as the body of a kernel function: classic BPF to eBPF.
//!
//! ```text
//!  r0          the answer: 1 if the packet matches, else 0
//!  r1 - r5     arguments of helpers, pointers into the packet for one load
//!  r6          the context
//!  r7, r8      A and X, as 32-bit numbers: their upper halves are always 0
//!  r10 -  8    where a helper puts what it loads
//!  r10 - 72    scratch memory, sixteen words, as much of it as is used
//!
//!  load at k    data + k + size > data_end ? ──no──► read it there ─┐
//!                 └─yes──► a helper copies it ──────────────────────┴─► to host byte order ─► A
//!                           └─ fails ──► answer 0
//! ```
//!
//! The pointers into the packet are taken from the context for each load, though two instructions would do
//! for all: so nothing is known of the packet behind a load, and the verifier need not tell apart the paths
//! that led there. `data + k + size > data_end` is the form that verifiers before 5.16 track right.
//!
//! The verifier refuses code that nothing leads to. libpcap leaves none, but a load that can never succeed
//! makes some; so only steps are translated that can be reached.

#![forbid(unsafe_code)]

mod code;
#[cfg(test)]
mod tests;

use self::code::{Code, R0, R1, R2, R3, R4, R6, R7, R8, R10, Target, op};
use super::program::{Arithmetic, Comparison, Operand, Program, Register, Size, Step, WORDS};

/// What a function is called with, and can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// `struct __sk_buff`, at TC.
    Skb,
    /// `struct xdp_md`.
    Xdp {
        /// Whether the kernel has `bpf_xdp_load_bytes` and `bpf_xdp_get_buff_len` (5.18). Without them what is
        /// not linear is not there, as for all else of this program.
        load_bytes: bool,
    },
}

/// One eBPF instruction: code, registers, offset, constant; little-endian.
pub type Encoded = [u8; 8];

/// The last offset that is read directly: offsets in instructions have 15 bits, and the verifier follows
/// pointers into a packet up to 64 KiB.
const DIRECT_END: u32 = 0x7fff;

/// The last offset that helpers take.
const HELPER_END: u32 = 0x7fff_ffff;

/// Where helpers put what they load, from r10.
const LOADED: i16 = -8;

/// Where scratch memory starts, from r10.
const SCRATCH: i16 = LOADED - 64;

/// Numbers of helpers, part of the kernel's interface.
mod helper {
    pub(super) const SKB_LOAD_BYTES: i32 = 26;
    pub(super) const XDP_GET_BUFF_LEN: i32 = 188;
    pub(super) const XDP_LOAD_BYTES: i32 = 189;
}

impl Context {
    /// Where the context has the addresses of the linear part.
    const fn data(self) -> (i16, i16) {
        match self {
            Self::Skb => (76, 80),
            Self::Xdp { .. } => (0, 4),
        }
    }

    /// The helper that copies bytes of the packet.
    const fn load_bytes(self) -> Option<i32> {
        match self {
            Self::Skb => Some(helper::SKB_LOAD_BYTES),
            Self::Xdp { load_bytes: true } => Some(helper::XDP_LOAD_BYTES),
            Self::Xdp { load_bytes: false } => None,
        }
    }

    /// Whether a load at this offset can succeed at all.
    const fn can_load(self, size: Size, offset: u32) -> bool {
        let end = if self.load_bytes().is_some() { HELPER_END } else { DIRECT_END };
        offset <= end - size.bytes() as u32
    }

    /// Whether nothing can come of a step, whatever the packet.
    fn always_fails(self, step: Step) -> bool {
        match step {
            Step::Load(size, offset) | Step::LoadIndexed(size, offset) => {
                !self.can_load(size, offset)
            }
            Step::LoadHeaderLen(offset) => !self.can_load(Size::Byte, offset),
            Step::Compute(Arithmetic::Divide | Arithmetic::Remainder, operand) => {
                operand == Operand::Constant(0)
            }
            _ => false,
        }
    }

    /// Whether the step after this one can follow on it.
    fn goes_on(self, step: Step) -> bool {
        let ends =
            matches!(step, Step::Jump(_) | Step::Branch { .. } | Step::Return(_) | Step::ReturnA);
        !ends && !self.always_fails(step)
    }
}

impl Program {
    /// The body of a function `u32 f(context)` that answers 1 or 0.
    #[must_use]
    pub fn translate(&self, context: Context) -> Vec<Encoded> {
        let steps = self.steps();
        let reached = reached(steps, context);
        let mut translation = Translation { code: Code::new(steps.len()), context };
        translation.prologue(steps);
        let reached_steps =
            steps.iter().zip(reached).enumerate().filter(|(_, (_, reached))| *reached);
        for (at, (step, _)) in reached_steps {
            translation.code.begins(at);
            translation.step(at, *step);
        }
        translation.code.finish()
    }
}

/// The steps that something leads to; jumps lead forward, so once through is enough.
fn reached(steps: &[Step], context: Context) -> Vec<bool> {
    let mut reached = vec![false; steps.len()];
    let mark = |at: usize, reached: &mut Vec<bool>| {
        if let Some(it) = reached.get_mut(at) {
            *it = true;
        }
    };
    mark(0, &mut reached);
    for (at, step) in steps.iter().enumerate() {
        if reached.get(at) != Some(&true) {
            continue;
        }
        match *step {
            Step::Jump(to) => mark(to, &mut reached),
            Step::Branch { yes, no, .. } => {
                mark(yes, &mut reached);
                mark(no, &mut reached);
            }
            step if context.goes_on(step) => mark(at + 1, &mut reached),
            _ => {}
        }
    }
    reached
}

struct Translation {
    code: Code,
    context: Context,
}

const fn register(register: Register) -> u8 {
    match register {
        Register::A => R7,
        Register::X => R8,
    }
}

/// The bits of a constant.
const fn bits(constant: u32) -> i32 {
    constant.cast_signed()
}

fn scratch(word: u8) -> i16 {
    SCRATCH + 4 * i16::from(word)
}

impl Translation {
    /// The context to where helpers leave it, and zeros where a program may read before it writes.
    fn prologue(&mut self, steps: &[Step]) {
        self.code.copy64(R6, R1);
        self.code.set(R7, 0);
        self.code.set(R8, 0);
        let mut recalled = [false; WORDS];
        for step in steps {
            if let Step::Recall(_, word) = step
                && let Some(recalled) = recalled.get_mut(usize::from(*word))
            {
                *recalled = true;
            }
        }
        for (word, _) in (0..).zip(recalled).filter(|(_, recalled)| *recalled) {
            self.code.store_zero(scratch(word));
        }
    }

    fn step(&mut self, at: usize, step: Step) {
        match step {
            _ if self.context.always_fails(step) => self.code.jump(Target::Refuse),
            Step::Load(size, offset) => self.load(R7, size, offset),
            Step::LoadHeaderLen(offset) => {
                self.load(R8, Size::Byte, offset);
                self.code.compute(op::AND, R8, Operand::Constant(0xf));
                self.code.compute(op::SHIFT_LEFT, R8, Operand::Constant(2));
            }
            Step::LoadIndexed(size, offset) => self.load_indexed(size, offset),
            Step::Length(to) => self.length(register(to)),
            Step::Constant(to, value) => self.code.set(register(to), bits(value)),
            Step::Recall(to, word) => self.code.read(Size::Word, register(to), R10, scratch(word)),
            Step::Store(from, word) => self.code.store(scratch(word), register(from)),
            Step::Compute(arithmetic, operand) => self.compute(arithmetic, operand),
            Step::Negate => self.code.negate(R7),
            Step::CopyTo(Register::A) => self.code.copy32(R7, R8),
            Step::CopyTo(Register::X) => self.code.copy32(R8, R7),
            Step::Jump(to) if to == at + 1 => {}
            Step::Jump(to) => self.code.jump(Target::Step(to)),
            Step::Branch { comparison, operand, yes, no } => {
                self.branch(at + 1, comparison, operand, (yes, no));
            }
            Step::Return(matches) => self.code.answer(matches),
            Step::ReturnA => {
                self.code.branch(op::EQUAL, R7, Operand::Constant(0), Target::Refuse);
                self.code.answer(true);
            }
        }
    }

    /// Loads from a constant offset.
    fn load(&mut self, to: u8, size: Size, offset: u32) {
        let helper = self.context.load_bytes();
        let end = offset + u32::from(size.bytes());
        let mut direct = None;
        if let Ok(at) = i16::try_from(offset)
            && end <= DIRECT_END
        {
            self.linear_part();
            self.code.copy64(R4, R2);
            self.code.add64(R4, bits(end));
            let behind = self.code.branch_behind(R4, R3);
            self.code.read(size, to, R2, at);
            if helper.is_some() {
                direct = Some(self.code.jump_ahead());
                self.code.lands(behind);
            } else {
                self.code.refuses(behind);
            }
        }
        if let Some(helper) = helper {
            self.code.set(R2, bits(offset));
            self.copy(to, size, helper);
        }
        if let Some(direct) = direct {
            self.code.lands(direct);
        }
        self.code.network_to_host(size, to);
    }

    /// Loads from X and a constant: a sum of 64 bits, so that it does not wrap around.
    fn load_indexed(&mut self, size: Size, offset: u32) {
        let helper = self.context.load_bytes();
        self.code.copy32(R2, R8);
        // Below 2^31, or it could not be loaded.
        self.code.add64(R2, bits(offset));
        self.code.copy64(R1, R2);
        let far = self.code.branch_above(R1, DIRECT_END - u32::from(size.bytes()));
        let (data, data_end) = self.context.data();
        self.code.read(Size::Word, R4, R6, data);
        self.code.read(Size::Word, R3, R6, data_end);
        self.code.add_register64(R4, R1);
        self.code.copy64(R0, R4);
        self.code.add64(R0, i32::from(size.bytes()));
        let behind = self.code.branch_behind(R0, R3);
        self.code.read(size, R7, R4, 0);
        match helper {
            Some(helper) => {
                let direct = self.code.jump_ahead();
                self.code.lands(far);
                self.code.lands(behind);
                // The helper takes the lower half of the offset.
                let beyond = self.code.branch_above(R2, HELPER_END);
                self.code.refuses(beyond);
                self.copy(R7, size, helper);
                self.code.lands(direct);
            }
            None => {
                self.code.refuses(far);
                self.code.refuses(behind);
            }
        }
        self.code.network_to_host(size, R7);
    }

    /// The linear part to r2 and r3.
    fn linear_part(&mut self) {
        let (data, data_end) = self.context.data();
        self.code.read(Size::Word, R2, R6, data);
        self.code.read(Size::Word, R3, R6, data_end);
    }

    /// Copies from the offset in r2 by a helper, and reads what it copied.
    fn copy(&mut self, to: u8, size: Size, helper: i32) {
        self.code.copy64(R1, R6);
        self.code.copy64(R3, R10);
        self.code.add64(R3, i32::from(LOADED));
        self.code.set(R4, i32::from(size.bytes()));
        self.code.call(helper);
        self.code.branch_failed();
        self.code.read(size, to, R10, LOADED);
    }

    fn length(&mut self, to: u8) {
        match self.context {
            // The first field.
            Context::Skb => self.code.read(Size::Word, to, R6, 0),
            Context::Xdp { load_bytes: true } => {
                self.code.copy64(R1, R6);
                self.code.call(helper::XDP_GET_BUFF_LEN);
                self.code.copy32(to, R0);
            }
            Context::Xdp { load_bytes: false } => {
                self.linear_part();
                self.code.subtract_register64(R3, R2);
                self.code.copy32(to, R3);
            }
        }
    }

    fn compute(&mut self, arithmetic: Arithmetic, operand: Operand) {
        let operation = match arithmetic {
            Arithmetic::Add => op::ADD,
            Arithmetic::Subtract => op::SUBTRACT,
            Arithmetic::Multiply => op::MULTIPLY,
            Arithmetic::Divide => op::DIVIDE,
            Arithmetic::Or => op::OR,
            Arithmetic::And => op::AND,
            Arithmetic::ShiftLeft => op::SHIFT_LEFT,
            Arithmetic::ShiftRight => op::SHIFT_RIGHT,
            Arithmetic::Remainder => op::REMAINDER,
            Arithmetic::Xor => op::XOR,
        };
        match (arithmetic, operand) {
            (Arithmetic::Divide | Arithmetic::Remainder, Operand::X) => {
                self.code.branch(op::EQUAL, R8, Operand::Constant(0), Target::Refuse);
                self.code.compute(operation, R7, operand);
            }
            // Shifting all out gives 0 here, where the kernel would take the distance modulo 32.
            (Arithmetic::ShiftLeft | Arithmetic::ShiftRight, Operand::Constant(32..)) => {
                self.code.set(R7, 0);
            }
            (Arithmetic::ShiftLeft | Arithmetic::ShiftRight, Operand::X) => {
                let far = self.code.branch_above(R8, u32::BITS - 1);
                self.code.compute(operation, R7, operand);
                let near = self.code.jump_ahead();
                self.code.lands(far);
                self.code.set(R7, 0);
                self.code.lands(near);
            }
            _ => self.code.compute(operation, R7, operand),
        }
    }

    /// Goes to `yes` or `no`, of which `next` needs no jump.
    fn branch(
        &mut self,
        next: usize,
        comparison: Comparison,
        operand: Operand,
        (yes, no): (usize, usize),
    ) {
        let (operation, opposite) = match comparison {
            Comparison::Equal => (op::EQUAL, Some(op::NOT_EQUAL)),
            Comparison::Greater => (op::GREATER, Some(op::LESS_OR_EQUAL)),
            Comparison::GreaterOrEqual => (op::GREATER_OR_EQUAL, Some(op::LESS)),
            Comparison::AnyBit => (op::ANY_BIT, None),
        };
        match opposite {
            _ if yes == no && yes == next => {}
            _ if yes == no => self.code.jump(Target::Step(yes)),
            Some(opposite) if yes == next => {
                self.code.branch(opposite, R7, operand, Target::Step(no));
            }
            _ => {
                self.code.branch(operation, R7, operand, Target::Step(yes));
                if no != next {
                    self.code.jump(Target::Step(no));
                }
            }
        }
    }
}
