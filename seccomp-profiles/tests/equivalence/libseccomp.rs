//! The same profiles through libseccomp, called as runc calls it: every call must come out the same.
//!
//! Needs libseccomp (Debian: libseccomp-dev): `cargo test --features libseccomp-oracle`.

use crate::libseccomp_sys::{self, Refused};
use crate::random;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{
    Arch, Arg, Call, DockerProfile, Endian, Instruction, Listener, Name, Options, PROFILES, Rule, Seccomp,
    action, compile, interpret, profile, table,
};
use std::collections::BTreeSet;

/// Rules are given by the numbers of the machine that runs the test, and libseccomp does not find this name,
/// which only powerpc has, again.
const UNTRANSLATED: &str = "sys_debug_setcontext";

/// What libseccomp cannot express as we mean it, and what it does not know.
struct Limits {
    /// Names that it knows by the same number, or by none, on every architecture of the test.
    names: BTreeSet<&'static str>,
}

impl Limits {
    fn of(arches: &[Arch]) -> Self {
        let all: BTreeSet<&str> =
            Arch::all().flat_map(|arch| table::calls(arch).map(|call| call.0)).collect();
        let agrees = |name: &str| {
            name != UNTRANSLATED
                && libseccomp_sys::is_known(name)
                && arches.iter().all(|&arch| libseccomp_sys::number(arch, name) == table::number(arch, name))
        };
        Self { names: all.into_iter().filter(|name| agrees(name)).collect() }
    }

    /// Leaves only what both can express: names both know, and one action for all rules with conditions,
    /// because which of two such rules libseccomp prefers depends on how it happens to sort them. A rule with
    /// several conditions or with an inequality must be the only one with conditions on its calls: libseccomp
    /// merges the conditions of all rules on a call into one tree, and then takes one rule's failed condition
    /// for the end of another.
    fn restrict(&self, profile: &mut Seccomp) {
        let mut single: BTreeSet<String> = BTreeSet::new();
        let mut any: BTreeSet<String> = BTreeSet::new();
        for rule in profile.syscalls.iter_mut().filter(|rule| !rule.args.is_empty()) {
            // Conditions on one argument twice make as many rules.
            let repeated = rule
                .args
                .iter()
                .enumerate()
                .any(|(at, arg)| rule.args[..at].iter().any(|other| other.index == arg.index));
            if repeated && !rule.args.iter().all(is_equality) {
                rule.args.truncate(1);
            }
            let alone = must_be_alone(rule);
            rule.names
                .retain(|name| !(single.contains(name.as_str()) || alone && any.contains(name.as_str())));
            any.extend(rule.names.iter().map(ToString::to_string));
            if alone {
                single.extend(rule.names.iter().map(ToString::to_string));
            }
        }
        // A mask of nothing is no condition to libseccomp.
        for arg in profile.syscalls.iter_mut().flat_map(|rule| &mut rule.args) {
            arg.value |= u64::from(arg.op == "SCMP_CMP_MASKED_EQ");
        }
        let conditional = profile.syscalls.iter().find(|rule| !rule.args.is_empty());
        let conditional = conditional.map(|rule| (rule.action.clone(), rule.errno_ret));
        for rule in &mut profile.syscalls {
            rule.names.retain(|name| self.names.contains(name.as_str()));
            if let Some((action, errno_ret)) = conditional.as_ref().filter(|_| !rule.args.is_empty()) {
                (rule.action, rule.errno_ret) = (action.clone(), *errno_ret);
            }
        }
    }
}

fn is_equality(arg: &Arg) -> bool {
    arg.op.ends_with("EQ")
}

fn must_be_alone(rule: &Rule) -> bool {
    rule.args.len() > 1 || !rule.args.iter().all(is_equality)
}

/// Whether libseccomp means the same by a call: of socketcall(2) it looks at more than the first argument, of
/// ipc(2) at the version bits too; and parts of them that are no calls of their own are left out (see
/// [`only_for`]).
fn comparable(profile: &Seccomp, call: &Call) -> bool {
    match table::name(call.arch, call.number) {
        Some("socketcall" | "ipc") if call.arch.multiplexes() => {
            let beyond_first = |rule: &Rule| rule.args.iter().any(|arg| arg.index > 0);
            let only_part =
                |rule: &Rule| rule.names.iter().any(|name| table::number(call.arch, name).is_none());
            call.args[0] <= 0xffff
                && !profile.syscalls.iter().any(|rule| beyond_first(rule) || only_part(rule))
        }
        _ => true,
    }
}

/// Compares a program of ours with libseccomp's, one architecture after the other: what libseccomp makes of a
/// name that an architecture does not have can break the rest of that architecture's filter (2.5 forgets to
/// load the number).
fn same_results(
    profile: &Seccomp,
    arches: &[Arch],
    ours: &[Instruction],
    optimize: bool,
) -> Result<usize, TestCaseError> {
    let mut compared = 0;
    for &arch in arches {
        let theirs =
            match libseccomp_sys::compile(&only_for(profile, arch), &with_other_half(arch, arches), optimize)
            {
                // EEXIST: it refuses some rules that say the same thing twice.
                Err(Refused(-17)) => return Err(TestCaseError::reject("EEXIST")),
                theirs => theirs.expect("libseccomp takes the profile"),
            };
        for call in random::interesting_calls(profile, arch).iter().filter(|call| comparable(profile, call)) {
            let (result, _) = interpret::run(ours, call).expect("a checked program runs");
            let (expected, _) = interpret::run(&theirs, call).expect("a program of libseccomp's runs");
            // Of a long program for a machine of the other byte order, libseccomp 2.5 swaps some results
            // twice.
            let swapped = arch.endian() == Endian::Big && result == expected.swap_bytes();
            prop_assert!(
                result == expected || swapped,
                "{call:?} ({:?}): ours says {}, libseccomp's {}",
                table::name(arch, call.number),
                action::describe(result),
                action::describe(expected)
            );
            compared += 1;
        }
    }
    Ok(compared)
}

/// The profile without the names an architecture does not have.
fn only_for(profile: &Seccomp, arch: Arch) -> Seccomp {
    let has = |name: &Name| {
        let has = |wanted: Arch| table::number(wanted, name).is_some();
        has(arch) || arch == Arch::X86_64 && has(Arch::X32) || arch == Arch::X32 && has(Arch::X86_64)
    };
    let mut profile = profile.clone();
    profile.syscalls.iter_mut().for_each(|rule| rule.names.retain(has));
    profile
}

/// x86_64 and x32 are two halves of one.
fn with_other_half(arch: Arch, arches: &[Arch]) -> Vec<Arch> {
    arches.iter().copied().filter(|other| other.audit() == arch.audit()).collect()
}

fn arches_of(native: Arch, profile: &Seccomp) -> Vec<Arch> {
    let mut arches = vec![native];
    for arch in profile.architectures.iter().filter_map(|name| Arch::from_oci(name)) {
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    arches
}

proptest! {
    #![proptest_config(random::config(150))]

    #[test]
    fn random_profiles_mean_the_same((native, mut profile) in random::profile(), optimize in any::<bool>()) {
        let arches = arches_of(native, &profile);
        // libseccomp 2.5 has no table for it.
        prop_assume!(!arches.contains(&Arch::Loongarch64));
        // It takes no filter that notifies about everything.
        prop_assume!(profile.default_action != "SCMP_ACT_NOTIFY");
        Limits::of(&arches).restrict(&mut profile);
        let options = Options { native: Some(native), enosys: false, listener: Listener::Caller };
        let Ok(program) = compile(&profile, &options) else { return Err(TestCaseError::reject("rules disagree")) };
        same_results(&profile, &arches, &program.instructions, optimize)?;
    }
}

#[test]
fn shipped_profiles_mean_the_same() {
    let caps = ["CAP_SYS_CHROOT".to_owned(), "CAP_SYS_ADMIN".to_owned(), "CAP_SYS_PTRACE".to_owned()];
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::Riscv64, Arch::S390x, Arch::Ppc64le] {
        for name in PROFILES {
            for caps in [&caps[..0], &caps[..1], &caps[..]] {
                let host = Host { arch, caps, kernel: KernelVersion { version: 6, revision: 18 } };
                let text = profile(name).expect("a shipped profile");
                let mut resolved =
                    DockerProfile::from_json(text).and_then(|docker| docker.resolve(&host)).expect("valid");
                let arches = arches_of(arch, &resolved);
                let limits = Limits::of(&arches);
                for rule in &mut resolved.syscalls {
                    rule.names.retain(|name| limits.names.contains(name.as_str()));
                }
                let options = Options { native: Some(arch), enosys: false, ..Options::default() };
                let ours = compile(&resolved, &options).expect("a valid profile");
                let compared = same_results(&resolved, &arches, &ours.instructions, true).expect("the same");
                assert!(compared > 400, "{name} on {arch}: only {compared} calls compared");
            }
        }
    }
}

/// Wherever libseccomp knows a number, ours is the same. It may know less: its tables end with Linux 5.17 or
/// so.
#[test]
fn tables_agree() {
    let mut compared = 0;
    for arch in Arch::all().filter(|arch| *arch != Arch::Loongarch64) {
        for (name, number) in table::calls(arch) {
            if let Some(theirs) = libseccomp_sys::number(arch, name) {
                assert_eq!(number, theirs, "{name} on {arch}");
                compared += 1;
            }
        }
    }
    assert!(compared > 5000, "only {compared} numbers compared");
}

#[test]
fn byte_order_of_exported_programs_is_understood() {
    for arch in [Arch::X86_64, Arch::S390x] {
        let profile = Seccomp { default_action: "SCMP_ACT_LOG".into(), ..Seccomp::default() };
        let program =
            libseccomp_sys::compile(&profile, &[arch], false).expect("libseccomp takes the profile");
        assert_eq!(interpret::check(&program), Ok(()), "{:?}", arch.endian() == Endian::Big);
    }
}
