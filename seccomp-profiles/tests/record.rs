//! Recorded calls to profiles, and whether those allow what was recorded and not much else.
#![expect(clippy::expect_used)]

use proptest::prelude::*;
use proptest::sample::{Index, select};
use seccomp_profiles::record::{ALWAYS, MOST_NAMELESS, MOST_VALUES, Recorder, UNWATCHED, let_through, watch};
use seccomp_profiles::{Arch, Call, Listener, Options, Seccomp, action, compile, interpret, table};

fn call(name: &str, args: [u64; 6]) -> Call {
    Call::named(Arch::X86_64, name, args).expect("a call of x86_64")
}

fn recorded(calls: &[Call]) -> Seccomp {
    let mut recorder = Recorder::new();
    calls.iter().for_each(|call| recorder.observe(call));
    recorder.profile()
}

fn result(profile: &Seccomp, call: &Call) -> u32 {
    let options = Options { native: Some(Arch::X86_64), ..Options::default() };
    let program = compile(profile, &options).expect("a valid profile");
    assert!(program.warnings.is_empty(), "{:?}", program.warnings);
    interpret::run(&program.instructions, call).expect("a checked program runs").0
}

fn allows(profile: &Seccomp, name: &str, args: [u64; 6]) -> bool {
    result(profile, &call(name, args)) == action::ALLOW
}

#[test]
fn watching_notifies_everything_but_what_it_must_not() {
    let profile = watch(Arch::X86_64, &["write", "sendmsg"]);
    let options = Options { native: Some(Arch::X86_64), listener: Listener::Caller, ..Options::default() };
    let program = compile(&profile, &options).expect("a valid profile");
    assert!(program.listener);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for (name, number) in table::calls(arch) {
            let expected = if ["write", "sendmsg"].contains(&name) { action::ALLOW } else { action::NOTIFY };
            let call = Call { arch, number, args: [0; 6] };
            assert_eq!(interpret::run(&program.instructions, &call).map(|run| run.0), Ok(expected), "{name}");
        }
    }
}

/// The call that hands the listener over is let through, and no other: not another value, and on x86 not
/// socketcall(2).
#[test]
fn one_call_is_let_through_by_an_argument() {
    let options = Options { native: Some(Arch::X86_64), listener: Listener::Caller, ..Options::default() };
    let program = compile(&watch(Arch::X86_64, &[]), &options).expect("a valid profile").instructions;
    let through = call("sendmsg", [0, 0, 0x4_8800, 0, 0, 0]);
    let program = let_through(program, &through, 2);
    assert_eq!(interpret::check(&program), Ok(()));
    let result = |call: &Call| interpret::run(&program, call).map(|run| run.0);
    assert_eq!(result(&through), Ok(action::ALLOW));
    assert_eq!(result(&call("sendmsg", [9, 8, 0x4_8800, 1, 1, 1])), Ok(action::ALLOW));
    assert_eq!(result(&call("sendmsg", [0, 0, 0x4_8000, 0, 0, 0])), Ok(action::NOTIFY));
    assert_eq!(result(&call("sendto", [0, 0, 0x4_8800, 0, 0, 0])), Ok(action::NOTIFY));
    for name in ["sendmsg", "socketcall"] {
        for args in [[0, 0, 0x4_8800, 0, 0, 0], [16, 0, 0x4_8800, 0, 0, 0]] {
            let call = Call::named(Arch::X86, name, args).expect("a call of x86");
            assert_eq!(result(&call), Ok(action::NOTIFY), "{name}");
        }
    }
    let x32 = Call { arch: Arch::X32, number: through.number | 0x4000_0000, ..through };
    assert_eq!(result(&x32), Ok(action::NOTIFY));
    let big = Call::named(Arch::S390x, "sendmsg", through.args).expect("a call of s390x");
    let end = let_through(
        compile(&watch(Arch::S390x, &[]), &Options { native: Some(Arch::S390x), ..options })
            .expect("a valid profile")
            .instructions,
        &big,
        2,
    );
    assert_eq!(interpret::run(&end, &big).map(|run| run.0), Ok(action::ALLOW));
}

/// What cannot be seen has to be allowed.
#[test]
fn what_is_not_watched_is_always_allowed() {
    assert!(UNWATCHED.iter().all(|name| ALWAYS.contains(name) && table::known(name).is_some()));
}

/// A program that tries every number cannot fill the recorder's memory.
#[test]
fn numbers_without_names_are_bounded() {
    let mut recorder = Recorder::new();
    for number in 0..10_000 {
        recorder.observe(&Call { arch: Arch::X86_64, number: 100_000 + number, args: [0; 6] });
    }
    assert_eq!(recorder.nameless().count(), MOST_NAMELESS);
}

#[test]
fn what_was_seen_is_allowed_and_nothing_else() {
    let profile = recorded(&[call("openat", [1, 2, 3, 4, 5, 6]), call("futex", [7; 6])]);
    assert!(allows(&profile, "openat", [0; 6]) && allows(&profile, "futex", [0; 6]));
    assert!(
        ALWAYS
            .iter()
            .filter(|name| table::number(Arch::X86_64, name).is_some())
            .all(|name| allows(&profile, name, [0; 6]))
    );
    let refused = action::ERRNO | 1;
    assert_eq!(result(&profile, &call("read", [0; 6])), refused);
    // Newer than anything that was seen: as if the kernel did not have it.
    assert_eq!(result(&profile, &call("mseal", [0; 6])), action::ERRNO | 38);
}

#[test]
fn selectors_are_kept_as_the_ints_they_are() {
    let profile = recorded(&[
        call("socket", [2, 1, 0, 0, 0, 0]),
        call("socket", [10, 1, 0, 0, 0, 0]),
        call("ioctl", [0, 0xffff_ffff_8004_5430, 9, 0, 0, 0]),
    ]);
    assert!(
        allows(&profile, "socket", [2, 9, 9, 9, 9, 9]) && allows(&profile, "socket", [10, 0, 0, 0, 0, 0])
    );
    assert!(!allows(&profile, "socket", [38, 5, 0, 0, 0, 0]));
    // Garbage above an int neither opens nor closes anything.
    assert!(allows(&profile, "socket", [0xdead_0000_0000_0002, 1, 0, 0, 0, 0]));
    assert!(!allows(&profile, "socket", [0xdead_0000_0000_0026, 1, 0, 0, 0, 0]));
    assert!(allows(&profile, "ioctl", [3, 0x8004_5430, 1, 0, 0, 0]));
    assert!(!allows(&profile, "ioctl", [0, 0x5412, 0, 0, 0, 0]));
}

#[test]
fn only_the_bits_that_matter_are_kept() {
    let thread = 0x3d_0f00;
    let profile = recorded(&[call("clone", [thread, 0, 0, 0, 0, 0]), call("mmap", [0, 4096, 3, 34, 0, 0])]);
    assert!(allows(&profile, "clone", [17, 0, 0, 0, 0, 0]));
    assert!(!allows(&profile, "clone", [thread | 0x1000_0000, 0, 0, 0, 0, 0]), "a new user namespace");
    assert!(allows(&profile, "mmap", [0, 1, 2, 2, 3, 4]));
    assert!(!allows(&profile, "mmap", [0, 4096, 7, 34, 0, 0]), "writable and executable");
    assert!(!allows(&profile, "mmap", [0, 4096, 1, 34, 0, 0]), "read-only was not seen");
}

#[test]
fn too_many_values_are_all_values() {
    let calls: Vec<Call> =
        (0..=MOST_VALUES as u64).map(|value| call("ioctl", [0, value, 0, 0, 0, 0])).collect();
    assert!(!allows(&recorded(&calls[1..]), "ioctl", [0, 0x5412, 0, 0, 0, 0]));
    assert!(allows(&recorded(&calls), "ioctl", [0, 0x5412, 0, 0, 0, 0]));
}

#[test]
fn arguments_elsewhere_are_not_looked_at() {
    let clone = Call::named(Arch::S390x, "clone", [0x7000_0000, 17, 0, 0, 0, 0]).expect("a call of s390x");
    let mut recorder = Recorder::new();
    recorder.observe(&clone);
    assert!(recorder.profile().syscalls.iter().all(|rule| rule.args.is_empty()));
}

#[test]
fn nameless_numbers_are_told_and_names_can_be_added() {
    let mut recorder = Recorder::new();
    recorder.observe(&Call { arch: Arch::X86_64, number: 400, args: [0; 6] });
    assert!(recorder.allow("mseal") && !recorder.allow("no_such_call"));
    assert_eq!(recorder.nameless().collect::<Vec<_>>(), [(Arch::X86_64, 400)]);
    assert!(allows(&recorder.profile(), "mseal", [0; 6]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever was seen is allowed, on every architecture.
    #[test]
    fn every_recording_allows_itself(
        seen in proptest::collection::vec((select(Arch::all().collect::<Vec<_>>()), any::<Index>(), any::<[u64; 6]>()), 1..60),
        big in any::<bool>(),
    ) {
        let mut recorder = Recorder::new();
        let mut calls = Vec::new();
        for (arch, index, args) in seen {
            if (arch.endian() == seccomp_profiles::Endian::Big) == big {
                let numbers: Vec<u32> = table::calls(arch).map(|call| call.1).collect();
                let call = Call { arch, number: *index.get(&numbers), args };
                recorder.observe(&call);
                calls.push(call);
            }
        }
        prop_assume!(!calls.is_empty());
        let options = Options { native: Some(calls[0].arch), ..Options::default() };
        let program = compile(&recorder.profile(), &options).expect("a valid profile");
        for call in &calls {
            prop_assert_eq!(interpret::run(&program.instructions, call).map(|run| run.0), Ok(action::ALLOW), "{:?}", call);
        }
    }
}
