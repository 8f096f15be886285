//! The same profiles through seccompiler, where it can express them: one architecture, one action beside the
//! default. It is good at what libseccomp is not, rules with several conditions and inequalities.

use crate::random;
use ::seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use seccomp_profiles::{
    Arch, Arg, Call, Instruction, Listener, Options, Rule, Seccomp, action, compile, interpret, table,
};
use std::collections::BTreeMap;

const ARCHES: [(Arch, TargetArch); 3] = [
    (Arch::X86_64, TargetArch::x86_64),
    (Arch::Aarch64, TargetArch::aarch64),
    (Arch::Riscv64, TargetArch::riscv64),
];

fn action_of(name: &str, errno: Option<u32>) -> SeccompAction {
    match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(1)),
        "SCMP_ACT_KILL" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or(1)),
        _ => SeccompAction::Log,
    }
}

fn condition(arg: &Arg) -> SeccompCondition {
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, arg.value),
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, arg.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, arg.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, arg.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, arg.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, arg.value),
        _ => (SeccompCmpOp::MaskedEq(arg.value), arg.value_two),
    };
    let index = u8::try_from(arg.index).expect("0 to 5");
    SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value).expect("a valid condition")
}

/// The rules on one call, any of which matches. None at all match always.
fn rules_on(profile: &Seccomp, name: &str) -> Option<Vec<SeccompRule>> {
    let on_it = |rule: &&Rule| rule.names.iter().any(|other| other == name);
    let rules: Vec<&Rule> = profile.syscalls.iter().filter(on_it).collect();
    if rules.iter().any(|rule| rule.args.is_empty()) {
        return Some(Vec::new());
    }
    let alternatives = rules.iter().flat_map(|rule| {
        let repeated = rule
            .args
            .iter()
            .enumerate()
            .any(|(at, arg)| rule.args[..at].iter().any(|other| other.index == arg.index));
        if repeated { rule.args.chunks(1).collect::<Vec<_>>() } else { vec![rule.args.as_slice()] }
    });
    let rules: Vec<SeccompRule> = alternatives
        .map(|args| SeccompRule::new(args.iter().map(condition).collect()).expect("conditions"))
        .collect();
    (!rules.is_empty()).then_some(rules)
}

fn theirs(profile: &Seccomp, arch: (Arch, TargetArch)) -> Option<Vec<Instruction>> {
    let default = action_of(&profile.default_action, profile.default_errno_ret);
    let first = profile.syscalls.first()?;
    let rules: BTreeMap<i64, Vec<SeccompRule>> = table::calls(arch.0)
        .filter_map(|(name, number)| Some((number.into(), rules_on(profile, name)?)))
        .collect();
    let filter =
        SeccompFilter::new(rules, default, action_of(&first.action, first.errno_ret), arch.1).ok()?;
    let program: BpfProgram = filter.try_into().ok()?;
    let instruction =
        |it: &::seccompiler::sock_filter| Instruction { code: it.code, jt: it.jt, jf: it.jf, k: it.k };
    Some(program.iter().map(instruction).collect())
}

fn same(profile: &mut Seccomp, arch: (Arch, TargetArch)) -> Result<(), TestCaseError> {
    let known: Vec<&str> = table::calls(arch.0).map(|call| call.0).collect();
    let Some((name, errno)) = profile.syscalls.first().map(|rule| (rule.action.clone(), rule.errno_ret))
    else {
        return Err(TestCaseError::reject("no rules"));
    };
    profile.architectures.clear();
    for rule in &mut profile.syscalls {
        (rule.action, rule.errno_ret) = (name.clone(), errno);
        rule.names.retain(|name| known.contains(&name.as_str()));
        for arg in rule.args.iter_mut().filter(|arg| arg.op == "SCMP_CMP_MASKED_EQ") {
            arg.value_two &= arg.value;
        }
    }
    let options = Options { native: Some(arch.0), enosys: false, listener: Listener::Caller };
    let ours = compile(profile, &options).expect("a valid profile");
    let Some(theirs) = theirs(profile, arch) else { return Err(TestCaseError::reject("not expressible")) };
    for call in random::interesting_calls(profile, arch.0) {
        // It does not know x32, and looks at numbers as if they were positive.
        if call.number >= 0x4000_0000 {
            continue;
        }
        let (result, _) = interpret::run(&ours.instructions, &call).expect("a checked program runs");
        let (expected, _) = interpret::run(&theirs, &call).expect("a program of seccompiler's runs");
        prop_assert!(
            result == expected,
            "{call:?}: ours says {}, seccompiler's {}",
            action::describe(result),
            action::describe(expected)
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(random::config(100))]

    #[test]
    fn random_profiles_mean_the_same((_, mut profile) in random::profile(), arch in select(ARCHES.to_vec())) {
        // User notification is not in a released version.
        prop_assume!(profile.default_action != "SCMP_ACT_NOTIFY");
        profile.syscalls.retain(|rule| rule.action != "SCMP_ACT_NOTIFY");
        same(&mut profile, arch)?;
    }
}

/// Most random profiles are comparable: otherwise the test above would pass without testing.
#[test]
fn a_call_is_compared() {
    let arg = Arg { index: 0, value: 5, value_two: 0, op: "SCMP_CMP_LT".into() };
    let rule = Rule {
        names: vec!["kill".into()],
        action: "SCMP_ACT_TRAP".into(),
        args: vec![arg],
        ..Rule::default()
    };
    let profile =
        Seccomp { default_action: "SCMP_ACT_ALLOW".into(), syscalls: vec![rule], ..Seccomp::default() };
    let program = theirs(&profile, ARCHES[0]).expect("expressible");
    let call = Call::named(Arch::X86_64, "kill", [4, 0, 0, 0, 0, 0]).expect("a call");
    assert_eq!(interpret::run(&program, &call).map(|run| run.0), Ok(action::TRAP));
}
