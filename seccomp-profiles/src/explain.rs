//! Which rule of a profile decides about a call: read straight from the profile, one rule after the other.
//!
//! Nothing here knows how the compiler works, so the two check each other: a compiled program must give for
//! every call what this says.

use crate::compile::{Options, architectures, is_permissive};
use crate::error::CompileError;
use crate::interpret::Call;
use crate::oci::{Arg, Rule, Seccomp};
use crate::policy::parse_action;
use crate::program::{action, errno};
use crate::{Arch, table};
use std::fmt;

/// What happens to a call, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// `SECCOMP_RET_*` with its data, as the filter returns it.
    pub result: u32,
    /// The part of the profile that says so.
    pub reason: Reason,
}

/// The part of a profile that decides about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A rule.
    Rule {
        /// Its index in `syscalls`.
        index: usize,
        /// The call's name in the rule. When the call is socketcall(2) or ipc(2), the name of what it was
        /// used for.
        name: String,
        /// Whether the rule has conditions.
        conditional: bool,
    },
    /// No rule: the default action.
    Default,
    /// Newer than the newest call the profile names on this architecture, so it looks like one that does not
    /// exist.
    Newer {
        /// The newest call the profile names.
        newest: &'static str,
    },
    /// The profile does not list the architecture.
    ArchitectureNotListed,
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", action::describe(self.result))?;
        match &self.reason {
            Reason::Rule { index, name, conditional } => {
                let how = if *conditional { "whose conditions hold" } else { "without conditions" };
                write!(out, "syscalls[{index}] has a rule for {name} {how}")
            }
            Reason::Default => write!(out, "no rule applies, so the default action does"),
            Reason::Newer { newest } => {
                write!(out, "the call is newer than {newest}, the newest the profile names")
            }
            Reason::ArchitectureNotListed => write!(out, "the profile does not list the architecture"),
        }
    }
}

/// Says what a profile does with a call. See [`Explainer`] for many calls.
///
/// # Errors
/// As [`Explainer::new`].
pub fn explain(profile: &Seccomp, options: &Options, call: &Call) -> Result<Explanation, CompileError> {
    Ok(Explainer::new(profile, options)?.explain(call))
}

/// A profile to ask about calls.
pub struct Explainer<'a> {
    profile: &'a Seccomp,
    arches: Vec<Arch>,
    default: u32,
    /// By rule.
    results: Vec<u32>,
    /// By architecture: the newest call that the profile names, where newer ones do not exist.
    newest: Vec<(Arch, u32, &'static str)>,
}

impl<'a> Explainer<'a> {
    /// Reads what concerns all calls.
    ///
    /// # Errors
    /// [`CompileError`] when the profile's architectures or actions are wrong. Conditions are not checked;
    /// [`crate::compile()`] says whether the whole profile is valid.
    pub fn new(profile: &'a Seccomp, options: &Options) -> Result<Self, CompileError> {
        let arches = architectures(profile, options.native)?;
        let default = parse_action(None, &profile.default_action, profile.default_errno_ret)?;
        let result = |(index, rule): (u32, &Rule)| parse_action(Some(index), &rule.action, rule.errno_ret);
        let results = (0..).zip(&profile.syscalls).map(result).collect::<Result<_, _>>()?;
        let mut newest = Vec::new();
        if options.enosys && !is_permissive(default) {
            newest.extend(arches.iter().filter_map(|&arch| newest_named(profile, arch)));
        }
        Ok(Self { profile, arches, default, results, newest })
    }

    /// Says what the profile does with a call.
    pub fn explain(&self, call: &Call) -> Explanation {
        let arch = abi(call, &self.arches);
        if !self.arches.contains(&arch) {
            let reason = Reason::ArchitectureNotListed;
            return Explanation { result: action::KILL_THREAD, reason };
        }
        if let Some(&(_, newest, name)) = self.newest.iter().find(|newest| newest.0 == arch) {
            let gone = matches!(arch, Arch::S390 | Arch::S390x) && call.number == 0;
            let apart = call.number >= table::apart_from(arch) && table::name(arch, call.number).is_some();
            if gone || call.number > newest && !apart {
                let result = action::ERRNO | errno::enosys(arch);
                return Explanation { result, reason: Reason::Newer { newest: name } };
            }
        }
        self.decide(arch, call).unwrap_or(Explanation { result: self.default, reason: Reason::Default })
    }

    /// The first rule without conditions, or else the first rule whose conditions hold. What a multiplexing
    /// call is used for counts as a condition on it; the conditions of a rule on that use cannot be told to
    /// hold, so they count as holding.
    fn decide(&self, arch: Arch, call: &Call) -> Option<Explanation> {
        let calls = table::calls(arch).filter(|known| known.1 == call.number);
        let names: Vec<&str> = calls.map(|known| known.0).collect();
        let direct = |wanted: &dyn Fn(&Rule) -> bool| self.first(&names, wanted);
        if let Some((index, name)) = direct(&|rule| rule.args.is_empty()) {
            return Some(self.explanation(index, name, false));
        }
        let first = direct(&|rule| holds(&rule.args, arch, call));
        let part: Vec<&str> = part_name(arch, &names, call).into_iter().collect();
        let used = self.first(&part, &|rule| rule.args.is_empty()).or_else(|| self.first(&part, &|_| true));
        let (index, name) = first.into_iter().chain(used).min_by_key(|found| found.0)?;
        Some(self.explanation(index, name, true))
    }

    /// The first rule that says something else than the default about one of the names.
    fn first<'b>(&self, names: &[&'b str], wanted: &dyn Fn(&Rule) -> bool) -> Option<(usize, &'b str)> {
        self.profile.syscalls.iter().enumerate().find_map(|(index, rule)| {
            let name = names.iter().find(|name| names_it(rule, name))?;
            (self.results[index] != self.default && wanted(rule)).then_some((index, *name))
        })
    }

    fn explanation(&self, index: usize, name: &str, conditional: bool) -> Explanation {
        let reason = Reason::Rule { index, name: name.to_owned(), conditional };
        Explanation { result: self.results[index], reason }
    }
}

/// The highest number that the profile names on an architecture, whatever the action.
fn newest_named(profile: &Seccomp, arch: Arch) -> Option<(Arch, u32, &'static str)> {
    let named = |name: &str| profile.syscalls.iter().any(|rule| names_it(rule, name));
    let (name, number) = table::calls(arch)
        .filter(|&(name, number)| number < table::apart_from(arch) && named(name))
        .max_by_key(|call| call.1)?;
    Some((arch, number, name))
}

/// The ABI of a call: x86_64 and x32 are one architecture, told apart by bit 30 of the number. -1 is no
/// number at all and counts as the highest of the ABIs that the profile lists.
fn abi(call: &Call, arches: &[Arch]) -> Arch {
    if !matches!(call.arch, Arch::X86_64 | Arch::X32) {
        return call.arch;
    }
    let none = call.number == u32::MAX;
    let x32 = table::is_x32(call.number)
        || none && (arches.contains(&Arch::X32) || !arches.contains(&Arch::X86_64));
    if x32 { Arch::X32 } else { Arch::X86_64 }
}

fn names_it(rule: &Rule, name: &str) -> bool {
    rule.names.iter().any(|other| *other == *name)
}

/// What socketcall(2) or ipc(2) is used for, by its first argument.
fn part_name(arch: Arch, names: &[&str], call: &Call) -> Option<&'static str> {
    if !arch.multiplexes() {
        return None;
    }
    let wanted = if arch.narrow() { call.args[0] & u64::from(u32::MAX) } else { call.args[0] };
    if names.contains(&"socketcall") {
        table::SOCKETCALL.iter().find(|part| part.number == wanted).map(|part| part.name)
    } else if names.contains(&"ipc") {
        table::IPC.iter().find(|part| part.number == wanted & 0xffff).map(|part| part.name)
    } else {
        None
    }
}

/// All conditions; or any one of them, when two are about the same argument.
fn holds(args: &[Arg], arch: Arch, call: &Call) -> bool {
    let repeated =
        args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index == arg.index));
    let mut each = args.iter().map(|arg| condition_holds(arg, arch, call));
    if repeated { each.any(|holds| holds) } else { each.all(|holds| holds) }
}

/// One comparison, of the lower words only where arguments have no more.
fn condition_holds(arg: &Arg, arch: Arch, call: &Call) -> bool {
    let bits = if arch.narrow() { u64::from(u32::MAX) } else { u64::MAX };
    let Some(actual) = call.args.get(arg.index as usize) else { return false };
    let (actual, value, second) = (actual & bits, arg.value & bits, arg.value_two & bits);
    match arg.op.as_str() {
        "SCMP_CMP_EQ" => actual == value,
        "SCMP_CMP_NE" => actual != value,
        "SCMP_CMP_LT" => actual < value,
        "SCMP_CMP_LE" => actual <= value,
        "SCMP_CMP_GT" => actual > value,
        "SCMP_CMP_GE" => actual >= value,
        "SCMP_CMP_MASKED_EQ" => actual & value == second & value,
        _ => false,
    }
}
