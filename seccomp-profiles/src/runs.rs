//! The call numbers of one architecture as runs: ascending starts, each with what happens from there to the
//! next.

use crate::Arch;
use crate::policy::{ChainId, Condition, Guard, Policy, Test, Verdict};
use crate::program::{action, errno};
use crate::table::{self, Multiplexed, RowId};

/// What happens to a call of a certain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This result, whatever the arguments.
    Return(u32),
    /// These rules, then the default.
    Chain(ChainId),
}

/// A run of numbers with one outcome, up to the start of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) outcome: Outcome,
}

/// All runs of what the kernel calls one architecture; x86_64 and x32 are two parts of one.
pub(crate) struct Section {
    /// The architecture as the kernel names it; of two parts, the first asked for.
    pub(crate) arch: Arch,
    pub(crate) parts: Vec<Part>,
}

/// A stretch of a section with one ABI, starting where its first run does.
pub(crate) struct Part {
    pub(crate) arch: Arch,
    pub(crate) runs: Vec<Run>,
}

/// The sections of a profile, in the order in which the program looks for them.
pub(crate) fn sections(policy: &mut Policy, arches: &[Arch], enosys: bool) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::with_capacity(arches.len());
    for &arch in arches {
        if sections.iter().any(|section| section.arch.audit() == arch.audit()) {
            continue;
        }
        let parts = if matches!(arch, Arch::X86_64 | Arch::X32) {
            x86_64_parts(policy, arches, enosys)
        } else {
            vec![Part { arch, runs: Builder::new(arch, 0).build(policy, enosys) }]
        };
        sections.push(Section { arch, parts });
    }
    sections
}

/// x86_64 and x32 share an audit number: below bit 30 lie the calls of one, above it those of the other. An
/// ABI that the profile does not list is treated as any architecture it does not list. The number -1 stands
/// for "no call" (a tracer has taken it away) and belongs to whoever made it, so it is never reason to kill.
fn x86_64_parts(policy: &mut Policy, arches: &[Arch], enosys: bool) -> Vec<Part> {
    let foreign = |start| Run { start, outcome: Outcome::Return(action::KILL_THREAD) };
    let mut parts = Vec::with_capacity(2);
    let mut no_call = None;
    for (arch, base) in [(Arch::X86_64, 0), (Arch::X32, table::X32_BIT)] {
        let runs = if arches.contains(&arch) {
            let runs = Builder::new(arch, base).build(policy, enosys);
            no_call = runs.last().map(|run| run.outcome);
            runs
        } else if let (Arch::X32, Some(outcome)) = (arch, no_call) {
            vec![foreign(base), Run { start: u32::MAX, outcome }]
        } else {
            vec![foreign(base)]
        };
        parts.push(Part { arch, runs });
    }
    parts
}

struct Builder {
    arch: Arch,
    /// The first number of the ABI.
    base: u32,
    /// The rows of socketcall(2) and ipc(2), where the architecture has them.
    socketcall: Option<RowId>,
    ipc: Option<RowId>,
    runs: Vec<Run>,
}

impl Builder {
    fn new(arch: Arch, base: u32) -> Self {
        let multiplexer = |name| if arch.multiplexes() { table::row(name) } else { None };
        let (socketcall, ipc) = (multiplexer("socketcall"), multiplexer("ipc"));
        Self { arch, base, socketcall, ipc, runs: Vec::with_capacity(256) }
    }

    fn build(mut self, policy: &mut Policy, enosys: bool) -> Vec<Run> {
        let default = Outcome::Return(policy.default);
        let newest = if enosys { newest_named(policy, self.arch) } else { None };
        let beyond = Outcome::Return(action::ERRNO | errno::enosys(self.arch));
        // What an unlisted number gets: the default, and beyond the newest that the profile knows, ENOSYS.
        let fill = |number: u32| if newest.is_some_and(|newest| number > newest) { beyond } else { default };
        let apart = table::apart_from(self.arch);
        self.start(self.base, default);
        let mut next = self.base;
        for group in table::numbers(self.arch).chunk_by(|left, right| left.0 == right.0) {
            let number = group[0].0;
            if next < number {
                self.start(next, fill(next));
            }
            let outcome =
                if number >= apart || fill(number) == default { self.outcome(policy, group) } else { beyond };
            self.start(number, outcome);
            next = number + 1;
        }
        self.start(next, fill(next));
        if enosys && newest.is_some() && matches!(self.arch, Arch::S390 | Arch::S390x) {
            self.hide_setup(beyond);
        }
        self.runs
    }

    /// Begins a run, when it differs from the one before.
    #[inline]
    fn start(&mut self, start: u32, outcome: Outcome) {
        match self.runs.last_mut() {
            Some(last) if last.outcome == outcome => {}
            Some(last) if last.start == start => last.outcome = outcome,
            _ => self.runs.push(Run { start, outcome }),
        }
    }

    /// s390 passes numbers from 256 up as call 0 with the number elsewhere; one that the kernel does not know
    /// stays 0. The call 0 itself, setup(2), is gone from every kernel. So 0 means "newer than the kernel".
    fn hide_setup(&mut self, beyond: Outcome) {
        if let Some(first) = self.runs.first().copied() {
            if self.runs.get(1).is_none_or(|second| second.start > 1) {
                self.runs.insert(1, Run { start: 1, outcome: first.outcome });
            }
            self.runs[0].outcome = beyond;
        }
    }

    /// What a number's rules come to. `group` has an entry for each of its names.
    fn outcome(&self, policy: &mut Policy, group: &[(u32, RowId)]) -> Outcome {
        if let [(_, row)] = *group {
            match policy.verdicts[usize::from(row)] {
                Verdict::Always { result, .. } => return Outcome::Return(result),
                Verdict::Chain(chain) if !self.is_multiplexer(row) => return Outcome::Chain(chain),
                Verdict::Unnamed | Verdict::Default if !self.is_multiplexer(row) => {
                    return Outcome::Return(policy.default);
                }
                _ => {}
            }
        }
        self.combined(policy, group)
    }

    fn is_multiplexer(&self, row: RowId) -> bool {
        self.socketcall == Some(row) || self.ipc == Some(row)
    }

    /// The rules of several names for one number, or of a multiplexing call and of what it multiplexes.
    fn combined(&self, policy: &mut Policy, group: &[(u32, RowId)]) -> Outcome {
        let mut always: Option<(u32, u32)> = None;
        let mut guards: Vec<Guard> = Vec::new();
        for &(_, row) in group {
            match policy.verdicts[usize::from(row)] {
                Verdict::Always { rule, result } if always.is_none_or(|before| rule < before.0) => {
                    always = Some((rule, result));
                }
                Verdict::Chain(chain) => guards.extend_from_slice(&policy.chains[usize::from(chain)]),
                _ => {}
            }
            if self.socketcall == Some(row) {
                guards.extend(multiplexed(policy, &table::SOCKETCALL, Test::Equal));
            } else if self.ipc == Some(row) {
                guards.extend(multiplexed(policy, &table::IPC, |value| Test::Masked { mask: 0xffff, value }));
            }
        }
        if let Some((_, result)) = always {
            return Outcome::Return(result);
        }
        if guards.is_empty() {
            return Outcome::Return(policy.default);
        }
        guards.sort_by_key(|guard| guard.rule);
        let same = (0..).zip(&policy.chains).find(|(_, chain)| **chain == guards).map(|(index, _)| index);
        Outcome::Chain(same.unwrap_or_else(|| policy.add_chain(guards)))
    }
}

/// Rules on a call, as rules on the multiplexing call with the argument that selects it. The call's own
/// arguments are in memory, where a filter cannot look: its conditions are left out.
fn multiplexed(policy: &Policy, parts: &[Multiplexed], selects: impl Fn(u64) -> Test) -> Vec<Guard> {
    let mut guards = Vec::new();
    for part in parts {
        let conditions = vec![Condition { arg: 0, test: selects(part.number) }];
        let verdict = table::row(part.name).map(|row| policy.verdicts[usize::from(row)]);
        match verdict {
            Some(Verdict::Always { rule, result }) => guards.push(Guard { rule, conditions, result }),
            Some(Verdict::Chain(chain)) => {
                let rules = policy.chains[usize::from(chain)].iter();
                guards.extend(rules.map(|guard| Guard { conditions: conditions.clone(), ..*guard }));
            }
            _ => {}
        }
    }
    guards
}

/// The highest number that the profile names on an architecture, with whatever action: its age, in a manner
/// of speaking. Calls numbered apart say nothing about it.
fn newest_named(policy: &Policy, arch: Arch) -> Option<u32> {
    let apart = table::apart_from(arch);
    let numbers = table::numbers(arch);
    let common = &numbers[..numbers.partition_point(|pair| pair.0 < apart)];
    common
        .iter()
        .rev()
        .find(|pair| policy.verdicts[usize::from(pair.1)] != Verdict::Unnamed)
        .map(|pair| pair.0)
}
