//! Random profiles, and the calls on which a profile is worth asking about.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use seccomp_profiles::{Arch, Arg, Call, Name, Rule, Seccomp, table};

/// Names that matter on some architecture: multiplexed, numbered apart, with two names for one number, new,
/// absent.
const PECULIAR: [&str; 24] = [
    "socket",
    "socketcall",
    "ipc",
    "shmat",
    "semtimedop",
    "accept",
    "send",
    "recvmmsg",
    "breakpoint",
    "set_tls",
    "get_tls",
    "arm_sync_file_range",
    "sync_file_range2",
    "ptrace",
    "rt_sigaction",
    "preadv2",
    "read",
    "exit",
    "setup",
    "restart_syscall",
    "listns",
    "uretprobe",
    "umount",
    "no_such_call",
];

const ACTIONS: [(&str, Option<u32>); 12] = [
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_ERRNO", Some(1)),
    ("SCMP_ACT_ERRNO", Some(38)),
    ("SCMP_ACT_ERRNO", Some(4094)),
    ("SCMP_ACT_KILL", None),
    ("SCMP_ACT_KILL_PROCESS", None),
    ("SCMP_ACT_TRAP", None),
    ("SCMP_ACT_TRACE", Some(7)),
    ("SCMP_ACT_LOG", None),
    ("SCMP_ACT_NOTIFY", None),
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

/// Values around which comparisons go wrong.
const VALUES: [u64; 16] = [
    0,
    1,
    2,
    4,
    21,
    40,
    0x7f,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => select(PECULIAR.to_vec()).prop_map(str::to_owned),
        1 => (select(Arch::all().collect::<Vec<_>>()), any::<Index>()).prop_map(|(arch, index)| {
            let calls: Vec<&str> = table::calls(arch).map(|call| call.0).collect();
            index.get(&calls).to_string()
        }),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => select(VALUES.to_vec()), 1 => any::<u64>(), 1 => any::<u32>().prop_map(u64::from)]
}

fn arg(index: impl Strategy<Value = u32>) -> impl Strategy<Value = Arg> {
    let comparison = prop_oneof![
        6 => (value(), value(), select(OPERATORS.to_vec())),
        // An `int`, compared as one.
        1 => (Just(0xffff_ffff), value(), Just("SCMP_CMP_MASKED_EQ")),
    ];
    (index, comparison).prop_map(|(index, (value, value_two, op))| Arg {
        index,
        value,
        value_two,
        op: op.to_owned(),
    })
}

fn action() -> impl Strategy<Value = (String, Option<u32>)> {
    select(ACTIONS.to_vec()).prop_map(|(action, errno)| (action.to_owned(), errno))
}

fn rule() -> impl Strategy<Value = Rule> {
    // Mostly few arguments, so that rules on one call are often about the same argument.
    let args = prop_oneof![
        2 => Just(Vec::new()).boxed(),
        4 => proptest::collection::vec(arg(0u32..2), 1..2).boxed(),
        2 => proptest::collection::vec(arg(0u32..6), 1..4).boxed(),
    ];
    (proptest::collection::vec(name(), 1..8), action(), args).prop_map(
        |(names, (action, errno_ret), args)| Rule {
            names: names.into_iter().map(Name::from).collect(),
            action,
            errno_ret,
            args,
        },
    )
}

/// So many cases, unless `PROPTEST_CASES` says otherwise.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig { cases, max_global_rejects: 4 * cases, failure_persistence: None, ..default }
}

/// A profile for any machine, with up to three further architectures of its byte order.
pub(crate) fn profile() -> impl Strategy<Value = (Arch, Seccomp)> {
    let native = select(Arch::all().collect::<Vec<_>>());
    (
        native,
        action(),
        proptest::collection::vec(any::<Index>(), 0..4),
        proptest::collection::vec(rule(), 0..24),
    )
        .prop_map(|(native, (default_action, default_errno_ret), others, syscalls)| {
            let same: Vec<Arch> = Arch::all().filter(|arch| arch.endian() == native.endian()).collect();
            let architectures = others.iter().map(|index| index.get(&same).oci_name()).collect();
            let profile =
                Seccomp { default_action, default_errno_ret, architectures, syscalls, ..Seccomp::default() };
            (native, profile)
        })
}

/// Argument values at and beside every value the profile compares with, in each of the positions it looks at.
pub(crate) fn interesting_args(profile: &Seccomp) -> Vec<[u64; 6]> {
    let mut values = vec![0, 1, u64::MAX];
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two, arg.value & arg.value_two] {
            let high = value ^ (1 << 32);
            values.extend([value, value.wrapping_sub(1), value.wrapping_add(1), high, value & 0xffff_ffff]);
        }
    }
    values.sort_unstable();
    values.dedup();
    // A different mixture of values in each vector, so that conditions on several arguments meet.
    let at = |index: usize| values[index % values.len()];
    (0..values.len())
        .flat_map(|index| {
            [[at(index); 6], std::array::from_fn(|position| at(index + position * (index / 7 + 1)))]
        })
        .collect()
}

/// Every number with a name anywhere on the architecture, and those beside the ends of every stretch of them.
pub(crate) fn interesting_numbers(arch: Arch) -> Vec<u32> {
    let mut numbers =
        vec![0, u32::MAX, u32::MAX - 1, 0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x7fff_ffff, 0x8000_0000];
    for (_, number) in table::calls(arch) {
        numbers.extend([number, number.wrapping_sub(1), number + 1]);
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Whether the profile has a condition on any of a number's names, or on what it multiplexes.
pub(crate) fn looks_at_arguments(profile: &Seccomp, arch: Arch, number: u32) -> bool {
    let names: Vec<&str> = table::calls(arch).filter(|call| call.1 == number).map(|call| call.0).collect();
    let multiplexer = names.iter().any(|name| *name == "socketcall" || *name == "ipc");
    multiplexer
        || profile
            .syscalls
            .iter()
            .any(|rule| !rule.args.is_empty() && rule.names.iter().any(|name| names.contains(&name.as_str())))
}

/// Every call worth asking about on an architecture.
pub(crate) fn interesting_calls(profile: &Seccomp, arch: Arch) -> Vec<Call> {
    let args = interesting_args(profile);
    let mut calls = Vec::new();
    for number in interesting_numbers(arch) {
        let vectors = if looks_at_arguments(profile, arch, number) { args.as_slice() } else { &args[..1] };
        calls.extend(vectors.iter().map(|args| Call { arch, number, args: *args }));
    }
    calls
}
