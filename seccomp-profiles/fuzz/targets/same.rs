//! The property both targets look for.

use seccomp_profiles::{
    Arch, Call, Explainer, Listener, Options, Program, Seccomp, compile, interpret, table,
};

/// Values to try besides those that the profile compares with.
const ARGS: [u64; 6] = [0, 1, 0xffff_ffff, 1 << 32, (1 << 32) | 1, u64::MAX];

/// Compiles, and compares the program with the profile on calls that the profile is about.
pub fn check(profile: &Seccomp, native: Arch) -> Option<Program> {
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
