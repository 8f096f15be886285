//! Classic BPF as the kernel runs it on a system call: the proof that programs do what their profiles say.
//!
//! Only the operations that seccomp compilers write are here, ours and those it is compared with.

use crate::arch::Endian;
use crate::program::{Instruction, MAX_INSTRUCTIONS, high, low, offset, op};
use crate::{Arch, table};
use thiserror::Error;

/// Size of `struct seccomp_data`.
const DATA_SIZE: u32 = 64;

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// The ABI. On x32 the number has bit 30 set.
    pub arch: Arch,
    /// The number, as in `seccomp_data.nr`.
    pub number: u32,
    /// The six arguments, whether or not the call has that many.
    pub args: [u64; 6],
}

impl Call {
    /// The call of this name, when the architecture has it.
    pub fn named(arch: Arch, name: &str, args: [u64; 6]) -> Option<Self> {
        Some(Self { arch, number: table::number(arch, name)?, args })
    }

    /// A word of `struct seccomp_data`: number, architecture, instruction pointer (0 here) and arguments.
    fn word(&self, at: u32) -> u32 {
        match at {
            offset::NUMBER => self.number,
            offset::ARCH => self.arch.audit(),
            _ if at < offset::ARGS => 0,
            _ => {
                let value = self.args[((at - offset::ARGS) / 8) as usize];
                let first_word = at.is_multiple_of(8);
                if first_word == (self.arch.endian() == Endian::Little) { low(value) } else { high(value) }
            }
        }
    }
}

/// A program the kernel would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Empty, or longer than [`MAX_INSTRUCTIONS`].
    #[error("a program of {0} instructions")]
    Length(usize),
    /// An operation this interpreter does not have.
    #[error("instruction {0}: unexpected operation {1:#04x}")]
    Operation(usize, u16),
    /// A jump past the end, or an end without a return.
    #[error("instruction {0}: leads past the end of the program")]
    PastEnd(usize),
    /// A load that is not of a word of `struct seccomp_data`.
    #[error("instruction {0}: load at {1}")]
    Load(usize, u32),
}

/// Checks what `bpf_check_classic()` and `seccomp_check_filter()` of the kernel check before a program is
/// loaded.
///
/// # Errors
/// [`Refusal`] of the first instruction that would be refused.
pub fn check(program: &[Instruction]) -> Result<(), Refusal> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(Refusal::Length(program.len()));
    }
    for (at, instruction) in program.iter().enumerate() {
        let farthest = match instruction.code {
            op::RETURN => continue,
            op::LOAD if !instruction.k.is_multiple_of(4) || instruction.k >= DATA_SIZE => {
                return Err(Refusal::Load(at, instruction.k));
            }
            op::LOAD | op::AND => 0,
            op::JUMP => instruction.k as usize,
            op::JUMP_EQUAL | op::JUMP_GREATER | op::JUMP_GREATER_EQUAL | op::JUMP_SET => {
                usize::from(instruction.jt.max(instruction.jf))
            }
            code => return Err(Refusal::Operation(at, code)),
        };
        if at + 1 + farthest >= program.len() {
            return Err(Refusal::PastEnd(at));
        }
    }
    Ok(())
}

/// What the kernel's action for a call would be, and how many instructions it takes to say so.
///
/// # Errors
/// As [`check`].
pub fn run(program: &[Instruction], call: &Call) -> Result<(u32, usize), Refusal> {
    let mut word = 0;
    let mut at = 0;
    let mut steps = 0;
    while let Some(instruction) = program.get(at) {
        steps += 1;
        let k = instruction.k;
        let holds = match instruction.code {
            op::RETURN => return Ok((k, steps)),
            op::LOAD if !k.is_multiple_of(4) || k >= DATA_SIZE => return Err(Refusal::Load(at, k)),
            op::LOAD => {
                word = call.word(k);
                at += 1;
                continue;
            }
            op::AND => {
                word &= k;
                at += 1;
                continue;
            }
            op::JUMP => {
                at += 1 + k as usize;
                continue;
            }
            op::JUMP_EQUAL => word == k,
            op::JUMP_GREATER => word > k,
            op::JUMP_GREATER_EQUAL => word >= k,
            op::JUMP_SET => word & k != 0,
            code => return Err(Refusal::Operation(at, code)),
        };
        at += 1 + usize::from(if holds { instruction.jt } else { instruction.jf });
    }
    Err(Refusal::PastEnd(at))
}
