//! What profiles mean, case by case: the facts that the compiler and the explanation of profiles share, so
//! that comparing the two cannot check them.
#![expect(clippy::expect_used)]

use seccomp_profiles::{Arch, Call, Listener, Options, Seccomp, action, compile, explain, interpret};
use serde_json::{Value, json};

const EPERM: u32 = action::ERRNO | 1;
const ENOSYS: u32 = action::ERRNO | 38;

struct Compiled {
    profile: Seccomp,
    options: Options,
    program: Vec<seccomp_profiles::Instruction>,
}

fn compiled(native: Arch, enosys: bool, text: Value) -> Compiled {
    let profile: Seccomp = serde_json::from_value(text).expect("a profile");
    let options = Options { native: Some(native), enosys, listener: Listener::Caller };
    let program = compile(&profile, &options).expect("a valid profile").instructions;
    Compiled { profile, options, program }
}

impl Compiled {
    fn number(&self, arch: Arch, number: u32, args: [u64; 6]) -> u32 {
        let call = Call { arch, number, args };
        let result = interpret::run(&self.program, &call).expect("a checked program runs").0;
        assert_eq!(explain(&self.profile, &self.options, &call).expect("valid").result, result);
        result
    }

    fn name(&self, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
        self.number(arch, Call::named(arch, name, args).expect("a call").number, args)
    }
}

#[test]
fn new_calls_do_not_exist_unless_the_default_lets_them_happen() {
    let result = |default: &str, enosys: bool| {
        let text = json!({ "defaultAction": default, "syscalls": [{ "names": ["openat2"], "action": "SCMP_ACT_NOTIFY" }] });
        let program = compiled(Arch::X86_64, enosys, text);
        // pidfd_getfd(2) is the next after openat2(2), and close_range(2) the one before.
        (program.name(Arch::X86_64, "close_range", [0; 6]), program.name(Arch::X86_64, "pidfd_getfd", [0; 6]))
    };
    assert_eq!(result("SCMP_ACT_ERRNO", true), (EPERM, ENOSYS));
    assert_eq!(result("SCMP_ACT_KILL", true), (action::KILL_THREAD, ENOSYS));
    assert_eq!(result("SCMP_ACT_KILL_PROCESS", true), (action::KILL_PROCESS, ENOSYS));
    assert_eq!(result("SCMP_ACT_TRAP", true), (action::TRAP, ENOSYS));
    assert_eq!(result("SCMP_ACT_ALLOW", true), (action::ALLOW, action::ALLOW));
    assert_eq!(result("SCMP_ACT_LOG", true), (action::LOG, action::LOG));
    assert_eq!(result("SCMP_ACT_TRACE", true), (action::TRACE | 1, action::TRACE | 1));
    assert_eq!(result("SCMP_ACT_NOTIFY", true), (action::NOTIFY, action::NOTIFY));
    assert_eq!(result("SCMP_ACT_ERRNO", false), (EPERM, EPERM));
}

#[test]
fn the_newest_call_is_per_architecture_and_counts_whatever_its_action() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{ "names": ["read", "clock_gettime64"], "action": "SCMP_ACT_ALLOW" },
                     { "names": ["statx"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }] });
    let program = compiled(Arch::X86_64, true, text);
    assert_eq!(program.name(Arch::X86_64, "statx", [0; 6]), EPERM);
    assert_eq!(program.number(Arch::X86_64, 333, [0; 6]), ENOSYS);
    // clock_gettime64(2) is 403 on x86 and nothing elsewhere.
    assert_eq!(program.number(Arch::X86, 402, [0; 6]), EPERM);
    assert_eq!(program.number(Arch::X86, 404, [0; 6]), ENOSYS);
    // x32's own calls, from 512 on, are as old as x32.
    assert_eq!(program.name(Arch::X32, "statx", [0; 6]), EPERM);
    assert_eq!(program.name(Arch::X32, "pidfd_open", [0; 6]), ENOSYS);
    assert_eq!(program.name(Arch::X32, "ptrace", [0; 6]), EPERM);
    assert_eq!(program.number(Arch::X32, 0x4000_0000 + 600, [0; 6]), ENOSYS);
}

#[test]
fn without_any_named_call_nothing_is_new() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": ["set_tls"], "action": "SCMP_ACT_ALLOW" }] });
    let program = compiled(Arch::Arm, true, text);
    assert_eq!(program.number(Arch::Arm, 0xf_0005, [0; 6]), action::ALLOW);
    assert_eq!(program.number(Arch::Arm, 0xf_0002, [0; 6]), EPERM);
    assert_eq!(program.number(Arch::Arm, 5000, [0; 6]), EPERM);
}

#[test]
fn arms_private_calls_are_not_new() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": ["read", "set_tls"], "action": "SCMP_ACT_ALLOW" }] });
    let program = compiled(Arch::Arm, true, text);
    assert_eq!(program.number(Arch::Arm, 4, [0; 6]), ENOSYS);
    assert_eq!(program.number(Arch::Arm, 0xf_0002, [0; 6]), EPERM);
    assert_eq!(program.number(Arch::Arm, 0xf_0005, [0; 6]), action::ALLOW);
    assert_eq!(program.number(Arch::Arm, 0xf_0007, [0; 6]), ENOSYS);
}

#[test]
fn enosys_has_the_machines_own_number() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }] });
    for (arch, errno) in [(Arch::Mips, 89), (Arch::Mipsel64, 89), (Arch::Aarch64, 38), (Arch::Ppc64le, 38)] {
        assert_eq!(
            compiled(arch, true, text.clone()).name(arch, "statx", [0; 6]),
            action::ERRNO | errno,
            "{arch}"
        );
    }
}

#[test]
fn call_0_of_s390_stands_for_an_unknown_one() {
    let text = json!({ "defaultAction": "SCMP_ACT_KILL", "syscalls": [{ "names": ["exit"], "action": "SCMP_ACT_ALLOW" }] });
    let program = compiled(Arch::S390x, true, text.clone());
    assert_eq!(program.number(Arch::S390x, 0, [0; 6]), ENOSYS);
    assert_eq!(program.number(Arch::S390x, 1, [0; 6]), action::ALLOW);
    assert_eq!(compiled(Arch::S390x, false, text).number(Arch::S390x, 0, [0; 6]), action::KILL_THREAD);
}

#[test]
fn architectures_that_are_not_listed_kill_except_the_machines_own() {
    let text = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"] });
    let program = compiled(Arch::X86_64, true, text);
    assert_eq!(program.name(Arch::X86_64, "read", [0; 6]), action::ALLOW);
    assert_eq!(program.name(Arch::X86, "read", [0; 6]), action::ALLOW);
    assert_eq!(program.name(Arch::X32, "read", [0; 6]), action::KILL_THREAD);
    assert_eq!(program.name(Arch::Aarch64, "read", [0; 6]), action::KILL_THREAD);
    // A tracer that takes a call away leaves -1, which is no call of x32.
    assert_eq!(program.number(Arch::X86_64, u32::MAX, [0; 6]), action::ALLOW);
    assert_eq!(program.number(Arch::X86_64, u32::MAX - 1, [0; 6]), action::KILL_THREAD);
}

#[test]
fn narrow_arguments_are_compared_by_their_lower_halves() {
    let rule = |op: &str, value: u64| {
        json!({ "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": value, "op": op }] }] })
    };
    let allowed = |op: &str, value: u64, argument: u64| {
        let program = compiled(Arch::X86_64, true, rule(op, value));
        [Arch::X86_64, Arch::X86, Arch::X32]
            .map(|arch| program.name(arch, "personality", [argument, 0, 0, 0, 0, 0]) == action::ALLOW)
    };
    assert_eq!(allowed("SCMP_CMP_EQ", 8, 8), [true, true, true]);
    assert_eq!(allowed("SCMP_CMP_EQ", 8, 8 | 1 << 32), [false, true, true]);
    assert_eq!(allowed("SCMP_CMP_EQ", u64::MAX, 0xffff_ffff), [false, true, true]);
    assert_eq!(allowed("SCMP_CMP_GT", 40, 38 | 1 << 32), [true, false, false]);
    assert_eq!(allowed("SCMP_CMP_LT", 1 << 32, 5), [true, false, false]);
    for narrow in
        [Arch::Arm, Arch::S390, Arch::Ppc, Arch::Mips, Arch::Mipsel, Arch::Mips64n32, Arch::Mipsel64n32]
    {
        assert!(narrow.narrow(), "{narrow}");
    }
    for wide in [
        Arch::Aarch64,
        Arch::Riscv64,
        Arch::Loongarch64,
        Arch::S390x,
        Arch::Ppc64,
        Arch::Ppc64le,
        Arch::Mips64,
    ] {
        assert!(!wide.narrow(), "{wide}");
    }
}

#[test]
fn rules_combine_as_libseccomp_combines_them() {
    let equals = |value: u64| json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }]);
    let result =
        |rules: Value, argument: u64| {
            compiled(Arch::X86_64, true, json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules }))
                .name(Arch::X86_64, "kill", [argument, argument, 0, 0, 0, 0])
        };
    // A rule without conditions beats those with, wherever it stands.
    let conditional = json!({ "names": ["kill"], "action": "SCMP_ACT_TRAP", "args": equals(1) });
    let always = json!({ "names": ["kill"], "action": "SCMP_ACT_ALLOW" });
    assert_eq!(result(json!([conditional, always]), 1), action::ALLOW);
    assert_eq!(result(json!([always, conditional]), 1), action::ALLOW);
    // Of two without, the first.
    let killed = json!({ "names": ["kill"], "action": "SCMP_ACT_KILL" });
    assert_eq!(result(json!([always, killed]), 0), action::ALLOW);
    // A rule that says what the default says, says nothing.
    let default = json!({ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 });
    assert_eq!(result(json!([default, conditional]), 1), action::TRAP);
    assert_eq!(result(json!([default, always]), 1), action::ALLOW);
    // Of overlapping rules with conditions, the first.
    let wider = json!({ "names": ["kill"], "action": "SCMP_ACT_LOG", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_GE" }] });
    assert_eq!(result(json!([wider, conditional]), 1), action::LOG);
    assert_eq!(result(json!([conditional, wider]), 1), action::TRAP);
    assert_eq!(result(json!([conditional, wider]), 2), action::LOG);
    // All conditions, but any of them where two are about one argument.
    let both = |first: u32| {
        json!([{ "names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
        { "index": first, "value": 5, "op": "SCMP_CMP_LT" }, { "index": 1, "value": 3, "op": "SCMP_CMP_GT" }] }])
    };
    assert_eq!([result(both(0), 2), result(both(0), 4), result(both(0), 6)], [EPERM, action::ALLOW, EPERM]);
    assert_eq!([result(both(1), 2), result(both(1), 4), result(both(1), 6)], [action::ALLOW; 3]);
    // Bits of the value outside the mask do not count.
    let masked = json!([{ "names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 3, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ" }] }]);
    assert_eq!(
        [result(masked.clone(), 5), result(masked.clone(), 9), result(masked, 2)],
        [action::ALLOW, action::ALLOW, EPERM]
    );
}

#[test]
fn multiplexed_calls_are_decided_like_the_calls_themselves() {
    let text = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
        { "names": ["bind", "shmat"], "action": "SCMP_ACT_ERRNO" },
        { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 38, "op": "SCMP_CMP_EQ" }] }] });
    let program = compiled(Arch::X86_64, true, text);
    let first = |name: &str, argument: u64| program.name(Arch::X86, name, [argument, 7, 7, 7, 7, 7]);
    assert_eq!(
        [first("socketcall", 1), first("socketcall", 2), first("socketcall", 3)],
        [EPERM, EPERM, action::ALLOW]
    );
    assert_eq!(first("socket", 2), action::ALLOW);
    assert_eq!([first("ipc", 21), first("ipc", 22)], [EPERM, action::ALLOW]);
    // The kernel takes the upper bits of ipc's argument for a version: no way around the rule.
    assert_eq!(first("ipc", 21 | 2 << 16), EPERM);
    // A rule of its own on socketcall counts more.
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["socket"], "action": "SCMP_ACT_ALLOW" }, { "names": ["socketcall"], "action": "SCMP_ACT_KILL" }] });
    assert_eq!(
        compiled(Arch::X86, true, text).name(Arch::X86, "socketcall", [1, 0, 0, 0, 0, 0]),
        action::KILL_THREAD
    );
}

#[test]
fn two_names_of_one_number_are_one_call() {
    let text = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["sync_file_range2"], "action": "SCMP_ACT_TRAP", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] },
        { "names": ["arm_sync_file_range"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 2, "op": "SCMP_CMP_LT" }] }] });
    let program = compiled(Arch::Arm, true, text);
    let results =
        [0, 1, 2].map(|argument| program.name(Arch::Arm, "sync_file_range2", [argument, 0, 0, 0, 0, 0]));
    assert_eq!(results, [EPERM, action::TRAP, action::ALLOW]);
}

#[test]
fn explanations_name_the_rule() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
        { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["socket"], "action": "SCMP_ACT_LOG", "args": [{ "index": 0, "value": 2, "op": "SCMP_CMP_EQ" }] },
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS" }] });
    let profile: Seccomp = serde_json::from_value(text).expect("a profile");
    let options = Options { native: Some(Arch::X86_64), ..Options::default() };
    let words = |arch, name: &str, args| {
        let call = Call::named(arch, name, args).expect("a call");
        explain(&profile, &options, &call).expect("valid").to_string()
    };
    assert_eq!(
        words(Arch::X86_64, "read", [0; 6]),
        "SCMP_ACT_ALLOW: syscalls[0] has a rule for read without conditions"
    );
    assert_eq!(
        words(Arch::X86_64, "socket", [2, 0, 0, 0, 0, 0]),
        "SCMP_ACT_LOG: syscalls[1] has a rule for socket whose conditions hold"
    );
    assert_eq!(
        words(Arch::X86, "socketcall", [1, 0, 0, 0, 0, 0]),
        "SCMP_ACT_LOG: syscalls[1] has a rule for socket whose conditions hold"
    );
    assert_eq!(
        words(Arch::X86_64, "socket", [3, 0, 0, 0, 0, 0]),
        "SCMP_ACT_ERRNO(1): no rule applies, so the default action does"
    );
    assert_eq!(
        words(Arch::X86_64, "mkdir", [0; 6]),
        "SCMP_ACT_KILL_PROCESS: syscalls[2] has a rule for mkdir without conditions"
    );
    assert_eq!(
        words(Arch::X86_64, "statx", [0; 6]),
        "SCMP_ACT_ERRNO(38): the call is newer than mkdirat, the newest the profile names"
    );
    assert_eq!(
        words(Arch::X32, "read", [0; 6]),
        "SCMP_ACT_KILL_THREAD: the profile does not list the architecture"
    );
}
