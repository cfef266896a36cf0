//! System calls put into another process from outside, by ptrace: what it could do if somebody took it over.
//!
//! The process is stopped in a system call that waits, so behind its instruction pointer lies the instruction that made
//! it. That is executed again with other registers, and then all is put back; the process sees an interrupted wait.
//! x86_64 only.

use std::ffi::CStr;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc::{self, c_long};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// `syscall`, as the two lower bytes of a word in memory.
const SYSCALL: c_long = 0x050f;

/// Bytes below the stack pointer that functions may use without moving it.
const RED_ZONE: u64 = 128;

/// Attempts to find the process waiting.
const ATTEMPTS: usize = 100;

/// A stopped thread of another process; goes on when dropped.
pub struct Stopped {
    thread: Pid,
    registers: libc::user_regs_struct,
}

impl Stopped {
    /// Stops `thread` in a system call. All that follows must be done on the thread of the caller.
    ///
    /// # Errors
    ///
    /// If it cannot be traced, or does not wait.
    pub fn attach(thread: u32) -> Result<Self> {
        let thread = Pid::from_raw(i32::try_from(thread)?);
        for _ in 0..ATTEMPTS {
            ptrace::attach(thread).with_context(|| format!("trace {thread}"))?;
            wait_for(thread, Signal::SIGSTOP)?;
            let registers = ptrace::getregs(thread)?;
            let stopped = Self { thread, registers };
            if ptrace::read(thread, address(registers.rip - 2))? & 0xffff == SYSCALL {
                return Ok(stopped);
            }
        }
        bail!("{thread} is never found waiting in a system call")
    }

    /// Has the thread make a system call; what it returns. An argument may be [`Argument::Text`].
    ///
    /// # Errors
    ///
    /// If ptrace fails; what the call itself fails with is in the value.
    pub fn call(
        &self,
        number: c_long,
        arguments: &[Argument<'_>],
    ) -> Result<std::result::Result<u64, Errno>> {
        let mut registers = self.registers;
        // No call is to be restarted when the thread goes on from here.
        registers.orig_rax = u64::MAX;
        registers.rax = number.cast_unsigned();
        registers.rip -= 2;
        let mut free = (self.registers.rsp - RED_ZONE - 4096) & !7;
        let mut values = [0; 6];
        for (value, argument) in values.iter_mut().zip(arguments) {
            *value = match argument {
                Argument::Number(number) => *number,
                Argument::Text(text) => {
                    let bytes = text.to_bytes_with_nul();
                    for (number, word) in bytes.chunks(8).enumerate() {
                        let mut padded = [0; 8];
                        padded[..word.len()].copy_from_slice(word);
                        let at = address(free + 8 * number as u64);
                        ptrace::write(self.thread, at, c_long::from_ne_bytes(padded))?;
                    }
                    let at = free;
                    free += bytes.len().next_multiple_of(8) as u64;
                    at
                }
            };
        }
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] =
            values;
        ptrace::setregs(self.thread, registers)?;
        ptrace::step(self.thread, None)?;
        wait_for(self.thread, Signal::SIGTRAP)?;
        let after = ptrace::getregs(self.thread)?;
        ensure!(after.rip == self.registers.rip, "{} was not executed", self.thread);
        ptrace::setregs(self.thread, self.registers)?;
        let returned = after.rax.cast_signed();
        Ok(match returned {
            -4095..=-1 => Err(Errno::from_raw(i32::try_from(-returned)?)),
            _ => Ok(after.rax),
        })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = ptrace::detach(self.thread, None);
    }
}

/// An argument of a system call.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// A number.
    Number(u64),
    /// A pointer to a text, which is put on the thread's stack.
    Text(&'a CStr),
}

fn address(address: u64) -> ptrace::AddressType {
    std::ptr::without_provenance_mut(usize::try_from(address).expect("64 bits"))
}

/// Waits until the thread is stopped by `signal`; others that come before are handed on.
fn wait_for(thread: Pid, signal: Signal) -> Result<()> {
    loop {
        match waitpid(thread, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, stopped) if stopped == signal => return Ok(()),
            WaitStatus::Stopped(_, other) => ptrace::cont(thread, other)?,
            other => bail!("{thread}: {other:?}"),
        }
    }
}
