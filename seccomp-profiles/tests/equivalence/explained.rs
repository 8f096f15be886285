//! Every compiled program gives, for every call, what reading its profile rule by rule gives.

use crate::random;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use seccomp_profiles::{
    Arch, Call, CompileError, Explainer, Listener, Options, Seccomp, action, compile, interpret,
};

fn same_everywhere(profile: &Seccomp, options: &Options) -> Result<(), TestCaseError> {
    let program = match compile(profile, options) {
        Ok(program) => program,
        // Not a fault: random profiles may have rules that disagree.
        Err(CompileError::Contradiction { .. }) => return Ok(()),
        Err(error) => return Err(TestCaseError::fail(format!("refused: {error}"))),
    };
    prop_assert_eq!(interpret::check(&program.instructions), Ok(()));
    let explainer = Explainer::new(profile, options).expect("a valid profile");
    for arch in Arch::all() {
        let listed = options.native == Some(arch) || profile.architectures.contains(&arch.oci_name());
        if !listed && !matches!(arch, Arch::X86_64 | Arch::X32) {
            let call = Call { arch, number: 1, args: [0; 6] };
            prop_assert_eq!(
                interpret::run(&program.instructions, &call).map(|run| run.0),
                Ok(action::KILL_THREAD)
            );
            continue;
        }
        for call in random::interesting_calls(profile, arch) {
            let (result, _) = interpret::run(&program.instructions, &call).expect("a checked program runs");
            let expected = explainer.explain(&call);
            prop_assert!(
                result == expected.result,
                "{call:?}: the program says {}, the profile {expected}",
                action::describe(result)
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(random::config(60))]

    #[test]
    fn programs_say_what_profiles_say((native, profile) in random::profile(), enosys in any::<bool>()) {
        let options = Options { native: Some(native), enosys, listener: Listener::Caller };
        same_everywhere(&profile, &options)?;
    }
}
