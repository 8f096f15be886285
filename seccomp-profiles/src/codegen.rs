//! Runs and rules to instructions: binary search for the call's number, then for its arguments.

use crate::Arch;
use crate::arch::Endian;
use crate::emit::{Emitter, Target};
use crate::error::CompileError;
use crate::policy::{ChainId, Condition, Guard, Policy, Test};
use crate::program::{Instruction, MAX_INSTRUCTIONS, action, high, low, offset, op};
use crate::runs::{Outcome, Section};

/// A start, and where values from it to the next start lead.
type Step = (u32, Target);

/// How many single values a leaf of the search tree tests one after the other before its run's own target:
/// each costs one instruction there, and would cost two comparisons in the tree.
const EXCEPTIONS: usize = 4;

/// The whole program: which architecture, which number, which arguments.
pub(crate) fn program(policy: &Policy, sections: &[Section]) -> Result<Vec<Instruction>, CompileError> {
    let mut generator = Generator { policy, emitter: Emitter::new(), chains: Vec::new() };
    let mut entry = Target::Return(action::KILL_THREAD);
    let mut dispatch = Vec::with_capacity(sections.len());
    for section in sections.iter().rev() {
        dispatch.push((section.arch.audit(), generator.section(section)?));
    }
    let target = generator.emitter.with_word(offset::ARCH, |emitter| {
        for (audit, section) in dispatch {
            entry = emitter.branch(op::JUMP_EQUAL, audit, section, entry);
        }
        entry
    });
    generator.emitter.begin_at(target);
    generator.check_length()?;
    Ok(generator.emitter.finish())
}

struct Generator<'a> {
    policy: &'a Policy,
    emitter: Emitter,
    /// Argument tests already written: chain, whether for narrow arguments, byte order, and where.
    chains: Vec<(ChainId, bool, Endian, Target)>,
}

impl Generator<'_> {
    fn check_length(&self) -> Result<(), CompileError> {
        let needed = self.emitter.len();
        if needed > MAX_INSTRUCTIONS {
            return Err(CompileError::TooLong { needed, limit: MAX_INSTRUCTIONS });
        }
        Ok(())
    }

    fn section(&mut self, section: &Section) -> Result<Target, CompileError> {
        let runs = section.parts.iter().map(|part| part.runs.len()).sum();
        let mut steps: Vec<Step> = Vec::with_capacity(runs);
        for part in &section.parts {
            for run in &part.runs {
                let target = match run.outcome {
                    Outcome::Return(result) => Target::Return(result),
                    Outcome::Chain(chain) => self.chain(chain, part.arch),
                };
                push_step(&mut steps, run.start, target);
            }
            // Tests of arguments are the only thing whose length the number of calls does not bound.
            self.check_length()?;
        }
        Ok(self.emitter.with_word(offset::NUMBER, |emitter| tree(emitter, &steps)))
    }

    /// The tests of a chain of rules, written once for each width and byte order of arguments.
    fn chain(&mut self, index: ChainId, arch: Arch) -> Target {
        let (narrow, endian) = (arch.narrow(), arch.endian());
        let known = self.chains.iter().find(|known| (known.0, known.1, known.2) == (index, narrow, endian));
        if let Some(known) = known {
            return known.3;
        }
        let mut words = Words { emitter: &mut self.emitter, narrow, endian };
        let target =
            words.chain(&self.policy.chains[usize::from(index)], Target::Return(self.policy.default));
        self.chains.push((index, narrow, endian, target));
        target
    }
}

fn push_step(steps: &mut Vec<Step>, start: u32, target: Target) {
    if steps.last().is_none_or(|last| last.1 != target) {
        steps.push((start, target));
    }
}

/// A binary search over steps. The loaded word is at least the first start.
fn tree(emitter: &mut Emitter, steps: &[Step]) -> Target {
    let mut leaves = Vec::with_capacity(steps.len());
    let mut rest = steps;
    while !rest.is_empty() {
        let (leaf, after) = rest.split_at(leaf_length(rest));
        leaves.push(leaf);
        rest = after;
    }
    search(emitter, &leaves)
}

/// How many steps from the first on make a leaf: a run, interrupted by a few single values.
fn leaf_length(steps: &[Step]) -> usize {
    let mut length = 1;
    while length < 2 * EXCEPTIONS + 1 {
        match steps.get(length..length + 2) {
            Some([single, after]) if after.0 - single.0 == 1 && after.1 == steps[0].1 => length += 2,
            _ => break,
        }
    }
    length
}

fn search(emitter: &mut Emitter, leaves: &[&[Step]]) -> Target {
    match leaves {
        [] => Target::Return(action::KILL_THREAD),
        [leaf] => {
            let mut target = leaf[0].1;
            for single in leaf[1..].iter().step_by(2).rev() {
                target = emitter.branch(op::JUMP_EQUAL, single.0, single.1, target);
            }
            target
        }
        _ => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let start = high[0][0].0;
            let high = search(emitter, high);
            let low = search(emitter, low);
            emitter.branch(op::JUMP_GREATER_EQUAL, start, high, low)
        }
    }
}

/// Tests of arguments of one width and byte order.
struct Words<'a> {
    emitter: &'a mut Emitter,
    narrow: bool,
    endian: Endian,
}

impl Words<'_> {
    /// Rules one after the other. Neighbours that each test the same one argument become one search over its
    /// values.
    fn chain(&mut self, guards: &[Guard], default: Target) -> Target {
        let narrow = self.narrow;
        let searched = |guard: &Guard| single_range(guard, narrow);
        let mut target = default;
        for group in guards
            .chunk_by(|left, right| searched(left).is_some_and(|key| searched(right) == Some(key)))
            .rev()
        {
            target = match searched(&group[0]) {
                Some((arg, narrow)) => {
                    let case = |guard: &Guard| {
                        Some((
                            Range::of(guard.conditions.first()?.test, narrow),
                            Target::Return(guard.result),
                        ))
                    };
                    let cases: Vec<_> = group.iter().filter_map(case).collect();
                    self.search(arg, narrow, &cases, target)
                }
                None => group.iter().rev().fold(target, |next, guard| self.guard(guard, next)),
            };
        }
        target
    }

    /// One rule: all its conditions, or on to the next.
    fn guard(&mut self, guard: &Guard, next: Target) -> Target {
        guard.conditions.iter().rev().fold(Target::Return(guard.result), |yes, condition| {
            match condition.test {
                Test::Masked { mask, value } => self.masked(condition.arg, mask, value, yes, next),
                test => self.search(condition.arg, self.narrow, &[(Range::of(test, self.narrow), yes)], next),
            }
        })
    }

    /// A search over all values of an argument; of overlapping cases the first counts.
    fn search(&mut self, arg: u8, narrow: bool, cases: &[(Range, Target)], next: Target) -> Target {
        let mut starts = vec![0];
        for (range, _) in cases {
            starts.push(range.first);
            starts.extend(range.last.checked_add(1));
        }
        if !narrow {
            // Values that share an upper word are searched together, so begin and end each such group.
            for index in 0..starts.len() {
                let start: u64 = starts[index];
                if low(start) != 0 {
                    starts.push(start >> 32 << 32);
                    starts.extend(((start >> 32) + 1).checked_mul(1 << 32));
                }
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let target = |value: u64| {
            let case = cases.iter().find(|(range, _)| range.contains(value));
            case.map_or(next, |&(_, target)| target)
        };
        if narrow {
            let mut steps = Vec::with_capacity(starts.len());
            for start in starts.into_iter().filter(|&start| high(start) == 0) {
                push_step(&mut steps, low(start), target(start));
            }
            return self.low_word(arg, |emitter| tree(emitter, &steps));
        }
        let mut uppers: Vec<Step> = Vec::new();
        for group in starts.chunk_by(|&left, &right| high(left) == high(right)) {
            let mut lowers = Vec::with_capacity(group.len());
            for &start in group {
                push_step(&mut lowers, low(start), target(start));
            }
            let lower = self.low_word(arg, |emitter| tree(emitter, &lowers));
            push_step(&mut uppers, high(group[0]), lower);
        }
        self.high_word(arg, |emitter| tree(emitter, &uppers))
    }

    /// `argument & mask == value`.
    fn masked(&mut self, arg: u8, mask: u64, value: u64, yes: Target, no: Target) -> Target {
        let word = |emitter: &mut Emitter, mask: u32, value: u32, yes| match (mask, value) {
            (0, _) => yes,
            _ if yes == no => no,
            (_, 0) => emitter.branch(op::JUMP_SET, mask, no, yes),
            _ => {
                let target = emitter.branch(op::JUMP_EQUAL, value, yes, no);
                if mask == u32::MAX {
                    return target;
                }
                emitter.and(mask);
                emitter.latest()
            }
        };
        let lower = self.low_word(arg, |emitter| word(emitter, low(mask), low(value), yes));
        if self.narrow {
            return lower;
        }
        self.high_word(arg, |emitter| word(emitter, high(mask), high(value), lower))
    }

    fn low_word(&mut self, arg: u8, write: impl FnOnce(&mut Emitter) -> Target) -> Target {
        let at = if self.endian == Endian::Little { 0 } else { 4 };
        self.emitter.with_word(offset::ARGS + 8 * u32::from(arg) + at, write)
    }

    fn high_word(&mut self, arg: u8, write: impl FnOnce(&mut Emitter) -> Target) -> Target {
        let at = if self.endian == Endian::Little { 4 } else { 0 };
        self.emitter.with_word(offset::ARGS + 8 * u32::from(arg) + at, write)
    }
}

/// The argument of a rule whose only condition is a range of its values, and whether only the lower word
/// counts: a mask of exactly that is how a profile speaks of an `int`.
fn single_range(guard: &Guard, narrow: bool) -> Option<(u8, bool)> {
    match guard.conditions.as_slice() {
        [Condition { arg, test: Test::Masked { mask, .. } }] => {
            let lower = low(*mask) == u32::MAX && (narrow || high(*mask) == 0);
            lower.then_some((*arg, true))
        }
        [condition] => Some((condition.arg, narrow)),
        _ => None,
    }
}

/// Values from `first` to `last`, or all others.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    last: u64,
    inverted: bool,
}

impl Range {
    /// The values a comparison accepts; narrow ones compare the lower words only. A mask must keep exactly
    /// those.
    fn of(test: Test, narrow: bool) -> Self {
        let max = if narrow { u64::from(u32::MAX) } else { u64::MAX };
        let range = |first, last| Self { first, last, inverted: false };
        let others = |first, last| Self { first, last, inverted: true };
        match test {
            Test::Equal(value) => range(value & max, value & max),
            Test::NotEqual(value) => others(value & max, value & max),
            Test::GreaterEqual(value) => range(value & max, max),
            Test::LessEqual(value) => range(0, value & max),
            // What is not less is greater or equal, and the other way round: no empty range is ever needed.
            Test::Less(value) => others(value & max, max),
            Test::Greater(value) => others(0, value & max),
            Test::Masked { value, .. } => range(value & max, value & max),
        }
    }

    fn contains(&self, value: u64) -> bool {
        (self.first..=self.last).contains(&value) != self.inverted
    }
}
