//! Valid profiles from arbitrary bytes: what is compiled means what the profile says.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use seccomp_profiles::{Arch, Arg, Rule, Seccomp, table};

#[path = "same.rs"]
mod same;

const ACTIONS: [&str; 7] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_GT",
    "SCMP_CMP_GE",
    "SCMP_CMP_MASKED_EQ",
];

#[derive(Debug, Arbitrary)]
struct Input {
    native: u8,
    default: u8,
    architectures: Vec<u8>,
    rules: Vec<InputRule>,
}

#[derive(Debug, Arbitrary)]
struct InputRule {
    names: Vec<u16>,
    action: u8,
    args: Vec<(u8, u8, u64, u64)>,
}

fn pick<T: Copy>(from: &[T], index: usize) -> T {
    from[index % from.len()]
}

fuzz_target!(|input: Input| {
    let all: Vec<Arch> = Arch::all().collect();
    let native = pick(&all, input.native.into());
    let same_order: Vec<Arch> = all.iter().copied().filter(|arch| arch.endian() == native.endian()).collect();
    let calls: Vec<&str> = table::calls(native).map(|call| call.0).collect();
    let rule = |rule: &InputRule| Rule {
        names: rule.names.iter().map(|index| pick(&calls, (*index).into()).to_owned()).collect(),
        action: pick(&ACTIONS, rule.action.into()).to_owned(),
        errno_ret: None,
        args: rule
            .args
            .iter()
            .map(|&(index, op, value, value_two)| Arg {
                index: (index % 6).into(),
                value,
                value_two,
                op: pick(&OPERATORS, op.into()).to_owned(),
            })
            .collect(),
    };
    let profile = Seccomp {
        default_action: pick(&ACTIONS, input.default.into()).to_owned(),
        architectures: input
            .architectures
            .iter()
            .map(|index| pick(&same_order, (*index).into()).oci_name())
            .collect(),
        syscalls: input.rules.iter().map(rule).collect(),
        ..Seccomp::default()
    };
    same::check(&profile, native);
});
