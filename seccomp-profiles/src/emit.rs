//! An assembler that writes a program from its end to its beginning.
//!
//! Jumps in classic BPF only go forward, so whatever is jumped to exists already when the jump is written,
//! and every distance is known at once. A place in the program is its distance from the end.

use crate::program::{Instruction, op};

/// A place in the program: how many instructions there are from it to the end, itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// Where a decision leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// End with this result.
    Return(u32),
    /// Go on there.
    At(Label),
}

/// How far a comparison can jump: its distances are one byte.
const REACH: usize = u8::MAX as usize;

/// A program under construction.
pub(crate) struct Emitter {
    /// Last instruction first.
    code: Vec<Instruction>,
    /// The latest return instruction of each result.
    returns: Vec<(u32, Label)>,
}

impl Emitter {
    pub(crate) fn new() -> Self {
        Self { code: Vec::with_capacity(512), returns: Vec::with_capacity(8) }
    }

    /// How many instructions there are.
    pub(crate) fn len(&self) -> usize {
        self.code.len()
    }

    /// The program, first instruction first.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        self.code.reverse();
        self.code
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.code.push(Instruction { code, jt, jf, k });
        Label(self.code.len())
    }

    /// The instruction written last.
    pub(crate) fn latest(&self) -> Target {
        Target::At(self.here())
    }

    /// Its place.
    fn here(&self) -> Label {
        Label(self.code.len())
    }

    /// Instructions that the next one written has to skip to get to a place.
    fn distance(&self, to: Label) -> usize {
        self.code.len() - to.0
    }

    /// A load of a word of `struct seccomp_data`, followed by what is written last.
    fn load(&mut self, offset: u32) -> Label {
        self.push(op::LOAD, 0, 0, offset)
    }

    /// Writes what needs a word loaded, and the load before it, unless it turned out not to need any.
    pub(crate) fn with_word(&mut self, offset: u32, write: impl FnOnce(&mut Self) -> Target) -> Target {
        let before = self.len();
        let target = write(self);
        if self.len() > before && target == Target::At(self.here()) {
            return Target::At(self.load(offset));
        }
        target
    }

    /// Keeps only the bits of a mask of the loaded word, followed by what is written last.
    pub(crate) fn and(&mut self, mask: u32) {
        self.push(op::AND, 0, 0, mask);
    }

    /// A comparison of the loaded word.
    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let mut yes = self.reachable(yes);
        let mut no = self.reachable(no);
        // Bringing one place near moves the other one away, by one instruction and at most once.
        while self.distance(yes) > REACH || self.distance(no) > REACH {
            if self.distance(yes) > REACH {
                yes = self.near(yes);
            } else {
                no = self.near(no);
            }
        }
        let (jt, jf) = (self.short(yes), self.short(no));
        Target::At(self.push(code, jt, jf, k))
    }

    /// Ends the program's construction: makes sure that a target is the first instruction.
    pub(crate) fn begin_at(&mut self, target: Target) {
        let label = self.reachable(target);
        if label != self.here() {
            self.near(label);
        }
    }

    fn short(&self, to: Label) -> u8 {
        u8::try_from(self.distance(to)).unwrap_or(u8::MAX)
    }

    /// The place of a target; a return is shared when one is near enough.
    fn reachable(&mut self, target: Target) -> Label {
        match target {
            Target::At(label) => label,
            Target::Return(result) => {
                let known = self.returns.iter().find(|known| known.0 == result).map(|known| known.1);
                match known {
                    Some(label) if self.distance(label) < REACH => label,
                    _ => self.write_return(result),
                }
            }
        }
    }

    fn write_return(&mut self, result: u32) -> Label {
        let label = self.push(op::RETURN, 0, 0, result);
        match self.returns.iter_mut().find(|known| known.0 == result) {
            Some(known) => known.1 = label,
            None => self.returns.push((result, label)),
        }
        label
    }

    /// A place right here that leads to one far away: another return of the same result, or a jump.
    fn near(&mut self, to: Label) -> Label {
        let there = self.code[to.0 - 1];
        if there.code == op::RETURN {
            return self.write_return(there.k);
        }
        // A program is far shorter than 2^32 instructions: the caller gives up beyond 4096.
        let distance = u32::try_from(self.distance(to)).unwrap_or(u32::MAX);
        self.push(op::JUMP, 0, 0, distance)
    }
}
