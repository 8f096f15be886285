//! Profiles to programs: what is accepted, what is refused and with which words, and which flags result.
#![expect(clippy::expect_used)]

use seccomp_profiles::{Arch, CompileError, Listener, Options, Program, Seccomp, compile, flag};
use serde_json::{Value, json};

/// The most that a profile may have: twice the kernel's limit of instructions.
const MOST_CONDITIONS: usize = 8192;

fn profile(text: Value) -> Seccomp {
    serde_json::from_value(text).expect("a profile")
}

fn options() -> Options {
    Options { native: Some(Arch::X86_64), ..Options::default() }
}

fn compiled(text: Value) -> Program {
    compile(&profile(text), &options()).expect("a valid profile")
}

fn refused(text: Value) -> String {
    let error: CompileError = compile(&profile(text), &options()).expect_err("a bad profile");
    error.to_string()
}

fn with_rule(rule: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] })
}

#[test]
fn refusals_name_the_json_path_and_what_is_expected() {
    let cases = [
        (
            json!({ "defaultAction": "ALLOW" }),
            "linux.seccomp.defaultAction: \"ALLOW\" is not a seccomp action; expected SCMP_ACT_ALLOW",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }),
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW does not return an errno",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096 }),
            "linux.seccomp.defaultErrnoRet: 4096 is out of range; expected 0 to 4095",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_NOTIFY" }),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_Z80"] }),
            "linux.seccomp.architectures[1]: \"SCMP_ARCH_Z80\" is not an architecture",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_PARISC"] }),
            "linux.seccomp.architectures[0]: \"SCMP_ARCH_PARISC\" is not supported: there is no system call table",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_S390X"] }),
            "linux.seccomp.architectures[0]: \"SCMP_ARCH_S390X\" has another byte order than SCMP_ARCH_X86_64",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_KILL", "flags": ["SECCOMP_FILTER_FLAG_X"] }),
            "linux.seccomp.flags[0]: seccomp flag \"SECCOMP_FILTER_FLAG_X\" is not known",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_KILL", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"] }),
            "linux.seccomp.flags[0]: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_MAYBE" })),
            "linux.seccomp.syscalls[0].action: \"SCMP_ACT_MAYBE\" is not a seccomp action",
        ),
        (
            with_rule(json!({ "names": ["read", ""], "action": "SCMP_ACT_ALLOW" })),
            "linux.seccomp.syscalls[0].names[1]: an empty string is not a system call",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 0 })),
            "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_ALLOW does not return an errno",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536 })),
            "linux.seccomp.syscalls[0].errnoRet: 65536 is out of range; expected 0 to 65535",
        ),
        (
            with_rule(json!({ "names": ["write"], "action": "SCMP_ACT_NOTIFY" })),
            "linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            with_rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" })),
            "linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath, which is empty",
        ),
        (
            with_rule(json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 7, "value": 1, "op": "SCMP_CMP_EQ" }] })),
            "linux.seccomp.syscalls[0].args[1].index: 7 is not an argument of a system call; expected 0 to 5",
        ),
        (
            with_rule(
                json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 1, "op": "EQ" }] }),
            ),
            "linux.seccomp.syscalls[0].args[0].op: \"EQ\" is not a comparison; expected SCMP_CMP_EQ",
        ),
    ];
    for (text, expected) in cases {
        let message = refused(text);
        assert!(message.starts_with(expected), "{message:?} does not begin with {expected:?}");
    }
}

#[test]
fn rules_that_disagree_are_refused() {
    let condition = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let message = refused(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["read", "kill"], "action": "SCMP_ACT_ALLOW", "args": condition },
        { "names": ["kill"], "action": "SCMP_ACT_TRAP", "args": condition }] }));
    assert_eq!(
        message,
        "linux.seccomp.syscalls[1]: \"kill\" has another action with the same conditions in linux.seccomp.syscalls[0]"
    );
}

#[test]
fn rules_that_never_count_are_a_warning() {
    let condition = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let program = compiled(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["setns", "bpf"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["setns"], "action": "SCMP_ACT_TRAP" },
        { "names": ["setns"], "action": "SCMP_ACT_LOG", "args": condition },
        { "names": ["kill"], "action": "SCMP_ACT_TRAP", "args": condition },
        { "names": ["kill", "bpf"], "action": "SCMP_ACT_ALLOW" }] }));
    assert_eq!(
        program.warnings,
        [
            "linux.seccomp.syscalls[1]: never decides setns, which syscalls[0] decides without conditions",
            "linux.seccomp.syscalls[2]: never decides setns, which syscalls[0] decides without conditions",
            "linux.seccomp.syscalls[3]: never decides kill, which syscalls[4] decides without conditions",
        ]
    );
}

#[test]
fn unknown_names_are_one_warning_and_no_error() {
    let program = compiled(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["read", "no_such_call", "riscv_flush_icache"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["no_such_call", "nor_this"], "action": "SCMP_ACT_TRAP" }] }));
    assert_eq!(
        program.warnings,
        ["linux.seccomp: unknown system calls are left out: no_such_call, nor_this"]
    );
}

#[test]
fn a_rule_without_names_is_a_warning() {
    let program = compiled(with_rule(json!({ "names": [], "action": "SCMP_ACT_ALLOW" })));
    assert_eq!(program.warnings, ["linux.seccomp.syscalls[0].names: empty, so the rule decides nothing"]);
}

#[test]
fn flags_are_the_default_only_when_absent() {
    let flags = |text: Value| {
        let program = compiled(text);
        (program.flags, program.droppable_flags, program.listener)
    };
    assert_eq!(
        flags(json!({ "defaultAction": "SCMP_ACT_LOG" })),
        (flag::SPEC_ALLOW, flag::SPEC_ALLOW, false)
    );
    assert_eq!(
        flags(json!({ "defaultAction": "SCMP_ACT_LOG", "flags": null })),
        (flag::SPEC_ALLOW, flag::SPEC_ALLOW, false)
    );
    assert_eq!(flags(json!({ "defaultAction": "SCMP_ACT_LOG", "flags": [] })), (0, 0, false));
    let named =
        json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    assert_eq!(
        flags(json!({ "defaultAction": "SCMP_ACT_LOG", "flags": named })),
        (flag::LOG | flag::SPEC_ALLOW, 0, false)
    );
    let notify = json!({ "defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/run/agent",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] });
    assert_eq!(flags(notify), (flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV, 0, true));
}

#[test]
fn a_caller_that_listens_itself_may_be_asked_about_everything() {
    let options = Options { listener: Listener::Caller, ..options() };
    let everything = profile(json!({ "defaultAction": "SCMP_ACT_NOTIFY" }));
    assert!(compile(&everything, &options).expect("a valid profile").listener);
}

#[test]
fn the_kernels_limit_is_an_error_of_its_own() {
    let args = |value: u64| json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": value, "op": "SCMP_CMP_EQ" }]);
    let rules: Vec<Value> = (0..1000u64)
        .map(|value| json!({ "names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": args(value) }))
        .collect();
    let message = refused(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules }));
    assert!(message.ends_with("instructions, and the kernel takes no more than 4096"), "{message}");
}

/// Profiles that would take hours, or gigabytes, are refused at the first rule that is too much; these are
/// just above.
#[test]
fn conditions_have_an_end() {
    let equals: Vec<Value> = (0..=MOST_CONDITIONS)
        .map(|value| json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }))
        .collect();
    let rule =
        |names: Value, args: &[Value]| json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": args });
    let profile = |rules: Vec<Value>| json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules });
    let refusal = |rule: usize| {
        format!(
            "linux.seccomp.syscalls[{rule}].args: with this rule there are more than {MOST_CONDITIONS} conditions on names \
             in the profile"
        )
    };
    let often = |name: &str, times: usize| rule(json!(vec![name; times]), &equals[..1]);
    // Many conditions on one name; one condition on a name that is repeated; and in two rules.
    assert_eq!(refused(profile(vec![rule(json!(["ioctl"]), &equals)])), refusal(0));
    assert_eq!(refused(profile(vec![often("ioctl", MOST_CONDITIONS + 1)])), refusal(0));
    assert_eq!(refused(profile(vec![often("ioctl", MOST_CONDITIONS), often("kill", 1)])), refusal(1));
    compiled(profile(vec![often("ioctl", MOST_CONDITIONS)]));
    // Conditions on what is decided without any are not counted.
    let plain = json!({ "names": ["ioctl"], "action": "SCMP_ACT_ALLOW" });
    compiled(profile(vec![plain, rule(json!(["ioctl"]), &equals)]));
}

/// Each byte of a profile must not become twenty of a log.
#[test]
fn warnings_have_an_end() {
    let program = compiled(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
        { "names": vec!["read"; 5000], "action": "SCMP_ACT_TRAP" }] }));
    assert_eq!(program.warnings.len(), 101);
    assert_eq!(
        program.warnings.last().map(String::as_str),
        Some("linux.seccomp.syscalls: 4900 more rules or names decide nothing")
    );
}

#[test]
fn null_is_absent_everywhere() {
    let text = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": null, "architectures": null, "flags": null,
        "listenerPath": null, "listenerMetadata": null,
        "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": null, "args": null }] });
    assert!(compiled(text).warnings.is_empty());
}
