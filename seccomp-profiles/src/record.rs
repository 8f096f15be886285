//! From calls that were seen to the smallest profile that allows them.
//!
//! Whoever watches a container (the runtime, with user notification) loads the filter of [`watch`], answers
//! every notification with "continue", and feeds each call to a [`Recorder`] as the kernel reports it in
//! `struct seccomp_data`: architecture, number and arguments. What comes out allows every call by name, and
//! is as narrow about arguments as can be relied on:
//!
//! - Only arguments that select what a call does are kept (the list is [`SELECTORS`]): a socket's family, a
//!   prctl's option, namespace flags. Sizes, pointers, descriptors and ordinary flags differ from run to run
//!   and are not.
//! - Selectors are `int`s to the kernel, so only their lower halves are compared: what lies above is
//!   accidental.
//! - Of `clone` only the namespace flags count, of memory protection only write and execute.
//! - More than [`MOST_VALUES`] values of one selector mean that it selects nothing: the call is then allowed
//!   whole.
//! - [`ALWAYS`] is allowed in any case: what every program needs to begin and end, which a recording that is
//!   cut short or a program that was never signalled does not show, and [`UNWATCHED`].

use crate::interpret::Call;
use crate::oci::{Arg, Rule, Seccomp};
use crate::program::{Instruction, action, low, offset, op};
use crate::{Arch, Endian, Name, table};
use std::collections::{BTreeMap, BTreeSet};

/// Calls that every recorded profile allows.
pub const ALWAYS: [&str; 8] =
    ["execve", "exit", "exit_group", "futex", "futex_time64", "restart_syscall", "rt_sigreturn", "sigreturn"];

/// Calls that must not be notified. A signal with a handler that comes before anybody has looked at a
/// notification ends the call with EINTR, or has it made again. These cannot fail like that: from
/// sigreturn(2) there is no way back, and the C library ends a program whose futex(2) says what it never
/// says.
pub const UNWATCHED: [&str; 5] = ["futex", "futex_time64", "restart_syscall", "rt_sigreturn", "sigreturn"];

/// How many values of a selector are told apart.
pub const MOST_VALUES: usize = 32;

/// How many numbers without a name are remembered: a hostile program could try them all.
pub const MOST_NAMELESS: usize = 64;

/// CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (`linux/sched.h`).
const NAMESPACES: u32 = 0x0000_0080 | 0x0002_0000 | 0x7e00_0000;
/// The same without NEWTIME, whose bit is part of the exit signal in clone(2).
const CLONE_NAMESPACES: u32 = NAMESPACES & !0x80;
/// PROT_WRITE and PROT_EXEC (`asm-generic/mman-common.h`).
const WRITE_EXECUTE: u32 = 2 | 4;

/// An argument that selects what a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selector {
    /// The call.
    pub name: &'static str,
    /// Position of the argument.
    pub arg: u8,
    /// The bits that count.
    pub mask: u32,
}

const fn selector(name: &'static str, arg: u8, mask: u32) -> Selector {
    Selector { name, arg, mask }
}

/// Every selector, from the calls' man pages.
pub const SELECTORS: [Selector; 18] = [
    selector("arch_prctl", 0, u32::MAX),
    selector("bpf", 0, u32::MAX),
    selector("clone", 0, CLONE_NAMESPACES),
    selector("ioctl", 1, u32::MAX),
    selector("ipc", 0, 0xffff),
    selector("keyctl", 0, u32::MAX),
    selector("mmap", 2, WRITE_EXECUTE),
    selector("mmap2", 2, WRITE_EXECUTE),
    selector("mprotect", 2, WRITE_EXECUTE),
    selector("personality", 0, u32::MAX),
    selector("pkey_mprotect", 2, WRITE_EXECUTE),
    selector("prctl", 0, u32::MAX),
    selector("ptrace", 0, u32::MAX),
    selector("setns", 1, u32::MAX),
    selector("socket", 0, u32::MAX),
    selector("socketcall", 0, u32::MAX),
    selector("socketpair", 0, u32::MAX),
    selector("unshare", 0, NAMESPACES),
];

/// The selector of a call on an architecture. Two calls take their arguments elsewhere on some: clone(2) in
/// another order on s390, mmap(2) from memory on s390 and x86.
fn selector_of(arch: Arch, name: &str) -> Option<Selector> {
    let elsewhere = match name {
        "clone" => matches!(arch, Arch::S390 | Arch::S390x),
        "mmap" => matches!(arch, Arch::S390 | Arch::S390x | Arch::X86),
        _ => false,
    };
    SELECTORS.iter().copied().find(|selector| selector.name == name && !elsewhere)
}

/// What was seen of one call, on all architectures.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// With these values of its selector.
    Values(Selector, BTreeSet<u32>),
    /// In too many ways, or it has no selector.
    Any,
}

/// The profile to record under: every call on every ABI of a machine is notified, but for those that the
/// watched process needs before anybody can answer it. To be compiled with [`crate::Listener::Caller`].
///
/// Calls that are not notified are not seen: [`Recorder::allow`] them where a profile will need them.
pub fn watch(arch: Arch, unwatched: &[&str]) -> Seccomp {
    let rule = Rule {
        names: unwatched.iter().map(|&name| name.into()).collect(),
        action: "SCMP_ACT_ALLOW".to_owned(),
        ..Rule::default()
    };
    Seccomp {
        default_action: "SCMP_ACT_NOTIFY".to_owned(),
        architectures: arch.abis().iter().map(|abi| abi.oci_name()).collect(),
        syscalls: if unwatched.is_empty() { Vec::new() } else { vec![rule] },
        ..Seccomp::default()
    }
}

/// Lets one call through a program unseen, whatever the program says of it: the one by which a watched
/// process hands over its listener, before anybody can answer for it. It is known by architecture, number and
/// the lower half of one argument, which should have a value that nobody else uses.
///
/// A rule could not say that: on ABIs with socketcall(2) it would let more through than was meant.
pub fn let_through(program: Vec<Instruction>, call: &Call, arg: usize) -> Vec<Instruction> {
    let value = call.args.get(arg).copied().unwrap_or_default();
    let half = if call.arch.endian() == Endian::Little { 0 } else { 4 };
    let place = offset::ARGS + u32::try_from(arg.min(5) * 8).unwrap_or_default() + half;
    let load = |k| Instruction { code: op::LOAD, jt: 0, jf: 0, k };
    // A difference leads past what is put in front.
    let equal = |k, jf| Instruction { code: op::JUMP_EQUAL, jt: 0, jf, k };
    let head = [
        load(offset::ARCH),
        equal(call.arch.audit(), 5),
        load(offset::NUMBER),
        equal(call.number, 3),
        load(place),
        equal(low(value), 1),
        Instruction { code: op::RETURN, jt: 0, jf: 0, k: action::ALLOW },
    ];
    head.into_iter().chain(program).collect()
}

/// Calls seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorder {
    calls: BTreeMap<&'static str, Seen>,
    arches: BTreeSet<Arch>,
    nameless: BTreeSet<(Arch, u32)>,
}

impl Recorder {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a call. [`Arch::from_audit`] gives the architecture of what the kernel reports.
    pub fn observe(&mut self, call: &Call) {
        self.arches.insert(call.arch);
        let Some(name) = table::name(call.arch, call.number) else {
            if self.nameless.len() < MOST_NAMELESS {
                self.nameless.insert((call.arch, call.number));
            }
            return;
        };
        let seen = match selector_of(call.arch, name) {
            None => Seen::Any,
            Some(selector) => {
                let value = crate::program::low(call.args[usize::from(selector.arg)]) & selector.mask;
                Seen::Values(selector, BTreeSet::from([value]))
            }
        };
        let merged = match (self.calls.remove(name), seen) {
            (None, seen) => seen,
            (Some(Seen::Values(selector, mut before)), Seen::Values(_, new)) => {
                before.extend(new);
                if before.len() > MOST_VALUES { Seen::Any } else { Seen::Values(selector, before) }
            }
            _ => Seen::Any,
        };
        self.calls.insert(name, merged);
    }

    /// Allows a call by name, whatever its arguments: for what is known to be needed without having been
    /// seen. False when no architecture has a call of that name.
    pub fn allow(&mut self, name: &str) -> bool {
        let known = table::known(name);
        if let Some(name) = known {
            self.calls.insert(name, Seen::Any);
        }
        known.is_some()
    }

    /// Numbers that no call is known by, up to [`MOST_NAMELESS`]: a profile cannot name them, so they will be
    /// refused.
    pub fn nameless(&self) -> impl Iterator<Item = (Arch, u32)> {
        self.nameless.iter().copied()
    }

    /// The smallest profile that allows what was seen.
    pub fn profile(&self) -> Seccomp {
        let mut names: BTreeSet<&str> = ALWAYS.into_iter().collect();
        let mut narrow = Vec::new();
        for (name, seen) in &self.calls {
            match seen {
                Seen::Any => {
                    names.insert(name);
                }
                Seen::Values(selector, values) => {
                    narrow.extend(values.iter().map(|value| narrow_rule(selector, *value)));
                }
            }
        }
        let whole = Rule {
            names: names.into_iter().map(Name::from).collect(),
            action: "SCMP_ACT_ALLOW".to_owned(),
            ..Rule::default()
        };
        Seccomp {
            default_action: "SCMP_ACT_ERRNO".to_owned(),
            architectures: self.arches.iter().map(|arch| arch.oci_name()).collect(),
            syscalls: std::iter::once(whole).chain(narrow).collect(),
            ..Seccomp::default()
        }
    }
}

fn narrow_rule(selector: &Selector, value: u32) -> Rule {
    let arg = Arg {
        index: selector.arg.into(),
        value: selector.mask.into(),
        value_two: value.into(),
        op: "SCMP_CMP_MASKED_EQ".to_owned(),
    };
    Rule {
        names: vec![selector.name.into()],
        action: "SCMP_ACT_ALLOW".to_owned(),
        args: vec![arg],
        ..Rule::default()
    }
}
