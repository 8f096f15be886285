//! What the fuzz targets check: a profile is refused or compiled, and what is compiled means what the profile
//! says. Run by fuzzers, and on the corpora and a bounded number of changed inputs by this crate's tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a check fails by a panic")]

use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{
    Arch, Arg, Call, DockerProfile, Explainer, Listener, Options, Program, Rule, Seccomp, compile,
    disassemble, interpret, table,
};

/// Values to try besides those that the profile compares with.
const ARGS: [u64; 6] = [0, 1, 0xffff_ffff, 1 << 32, (1 << 32) | 1, u64::MAX];

/// Any text as a profile, in both formats.
pub(crate) fn json(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let caps = ["CAP_SYS_ADMIN".to_owned()];
    let host = Host { arch: Arch::X86_64, caps: &caps, kernel: KernelVersion { version: 6, revision: 18 } };
    if let Ok(resolved) = DockerProfile::from_json(text).and_then(|profile| profile.resolve(&host)) {
        check(&resolved, Arch::X86_64);
    }
    if let Ok(profile) = serde_json::from_str::<Seccomp>(text)
        && let Some(program) = check(&profile, Arch::Aarch64)
    {
        let _ = disassemble(&program.instructions);
    }
}

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

/// Bytes to be taken off one after the other; zeroes when there are none left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }

    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, _| number << 8 | self.byte() as u64)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.number(2)).unwrap_or(0) % of.len()]
    }

    /// Up to `most` of what `read` makes of the next bytes.
    fn some<T>(&mut self, most: usize, read: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % (most + 1)).map(|_| read(self)).collect()
    }
}

/// Valid profiles, of any bytes.
pub(crate) fn rules(input: &[u8]) {
    let mut bytes = Bytes(input);
    let all: Vec<Arch> = Arch::all().collect();
    let native = bytes.one(&all);
    let same_order: Vec<Arch> = all.iter().copied().filter(|arch| arch.endian() == native.endian()).collect();
    let calls: Vec<&str> = table::calls(native).map(|call| call.0).collect();
    let argument = |bytes: &mut Bytes<'_>| {
        let wide = bytes.byte();
        let value = |bytes: &mut Bytes<'_>| bytes.number(if wide.is_multiple_of(2) { 1 } else { 8 });
        Arg {
            index: (bytes.byte() % 6).try_into().expect("small"),
            value: value(bytes),
            value_two: value(bytes),
            op: bytes.one(&OPERATORS).to_owned(),
        }
    };
    let rule = |bytes: &mut Bytes<'_>| Rule {
        names: bytes.some(12, |bytes| (*bytes.one(&calls)).into()),
        action: bytes.one(&ACTIONS).to_owned(),
        errno_ret: None,
        args: bytes.some(5, argument),
    };
    let profile = Seccomp {
        default_action: bytes.one(&ACTIONS).to_owned(),
        architectures: bytes.some(3, |bytes| bytes.one(&same_order).oci_name()),
        syscalls: bytes.some(12, rule),
        ..Seccomp::default()
    };
    check(&profile, native);
}

/// Compiles, and compares the program with the profile on calls that the profile is about.
fn check(profile: &Seccomp, native: Arch) -> Option<Program> {
    let options = Options { native: Some(native), enosys: true, listener: Listener::Caller };
    let program = compile(profile, &options).ok()?;
    assert_eq!(interpret::check(&program.instructions), Ok(()));
    let explainer = Explainer::new(profile, &options).expect("a profile that compiles can be explained");
    let mut vectors = vec![ARGS];
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args).take(8) {
        let (value, second) = (arg.value, arg.value_two);
        vectors.push([value; 6]);
        vectors.push([
            value,
            second,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value & second,
            value ^ (1 << 32),
        ]);
        vectors.push([
            value ^ (1 << 32),
            value,
            second,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value & second,
        ]);
    }
    let listed = profile.architectures.iter().filter_map(|name| Arch::from_oci(name));
    for arch in std::iter::once(native).chain(listed).take(4) {
        let names = profile.syscalls.iter().flat_map(|rule| &rule.names).take(16);
        let named = names.filter_map(|name| table::number(arch, name));
        let fixed = [0, 1, 102, 117, 400, 4102, 0x3fff_ffff, 0x4000_0000, 0xf_0002, u32::MAX];
        for number in named.flat_map(|number| [number, number + 1]).chain(fixed) {
            for args in &vectors {
                let call = Call { arch, number, args: *args };
                let (result, _) =
                    interpret::run(&program.instructions, &call).expect("a checked program runs");
                assert_eq!(result, explainer.explain(&call).result, "{call:?}");
            }
        }
    }
    Some(program)
}
