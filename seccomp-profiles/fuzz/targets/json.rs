//! Any text as a profile, in both formats: refused or compiled, never a crash, and what is compiled means what the
//! profile says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{Arch, DockerProfile, Seccomp, disassemble};

#[path = "same.rs"]
mod same;

fuzz_target!(|text: &str| {
    let caps = ["CAP_SYS_ADMIN".to_owned()];
    let host = Host { arch: Arch::X86_64, caps: &caps, kernel: KernelVersion { version: 6, revision: 18 } };
    if let Ok(resolved) = DockerProfile::from_json(text).and_then(|profile| profile.resolve(&host)) {
        same::check(&resolved, Arch::X86_64);
    }
    if let Ok(profile) = serde_json::from_str::<Seccomp>(text) {
        if let Some(program) = same::check(&profile, Arch::Aarch64) {
            let _ = disassemble(&program.instructions);
        }
    }
});
