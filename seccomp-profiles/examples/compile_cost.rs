//! What a profile costs: time to read it, instructions, time to compile it, time to load it into the kernel,
//! and how many instructions the kernel runs for a call. Ours, and with `--features libseccomp-oracle`
//! libseccomp's beside it.
//!
//! cargo run --release -p seccomp-profiles --example compile_cost --features libseccomp-oracle
#![expect(clippy::expect_used)]

use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{
    Arch, Call, DockerProfile, Instruction, Options, PROFILES, Seccomp, compile, interpret, profile, table,
};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[cfg(feature = "libseccomp-oracle")]
#[path = "../tests/equivalence/libseccomp_sys.rs"]
#[expect(dead_code)]
mod libseccomp;

const RUNS: usize = 2000;

/// The first, the shortest and the middle duration of many runs that take no more than a second or so
/// together.
struct Durations {
    first: Duration,
    shortest: Duration,
    middle: Duration,
}

fn measure<T>(mut run: impl FnMut() -> T) -> (Durations, T) {
    let begin = Instant::now();
    let mut result = black_box(run());
    let mut all = vec![begin.elapsed()];
    while all.len() < RUNS && begin.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        result = black_box(run());
        all.push(start.elapsed());
    }
    let first = all[0];
    all.sort_unstable();
    (Durations { first, shortest: all[0], middle: all[all.len() / 2] }, result)
}

/// Instructions run for a call, on average over all calls of the architectures.
fn mean_steps(program: &[Instruction], arches: &[Arch]) -> usize {
    let calls =
        |&arch: &Arch| table::calls(arch).map(move |call| Call { arch, number: call.1, args: [0; 6] });
    let steps: Vec<usize> = arches
        .iter()
        .flat_map(calls)
        .filter_map(|call| Some(interpret::run(program, &call).ok()?.1))
        .collect();
    steps.iter().sum::<usize>() / steps.len().max(1)
}

/// The shortest of a few loads into the kernel, each for a thread of its own.
fn load(program: &[Instruction]) -> Duration {
    let program: Vec<seccompiler::sock_filter> = program
        .iter()
        .map(|it| seccompiler::sock_filter { code: it.code, jt: it.jt, jf: it.jf, k: it.k })
        .collect();
    let once = || {
        let program = program.clone();
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            seccompiler::apply_filter(&program).map(|()| start.elapsed())
        });
        thread.join().expect("the thread ends by itself").expect("the kernel takes the program")
    };
    (0..20).map(|_| once()).min().unwrap_or_default()
}

fn row(what: &str, durations: &Durations, program: &[Instruction], arches: &[Arch]) {
    let us = |duration: Duration| duration.as_nanos() as f64 / 1000.0;
    println!(
        "{what:<28} {:>6} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>8}",
        program.len(),
        us(durations.shortest),
        us(durations.middle),
        us(durations.first),
        us(load(program)),
        mean_steps(program, arches)
    );
}

fn arches_of(profile: &Seccomp) -> Vec<Arch> {
    profile.architectures.iter().filter_map(|name| Arch::from_oci(name)).collect()
}

fn main() {
    // Docker's default capabilities, as far as the profiles ask about them.
    let caps = ["CAP_SYS_CHROOT".to_owned()];
    let host = Host { arch: Arch::X86_64, caps: &caps, kernel: KernelVersion { version: 6, revision: 18 } };
    println!(
        "{:<28} {:>6} {:>10} {:>10} {:>10} {:>8}",
        "", "insns", "min us", "median us", "first us", "mean run"
    );
    for name in PROFILES {
        let text = profile(name).expect("a shipped profile");
        let resolved =
            DockerProfile::from_json(text).and_then(|docker| docker.resolve(&host)).expect("valid");
        let arches = arches_of(&resolved);
        let options = Options { native: Some(Arch::X86_64), ..Options::default() };
        let json = serde_json::to_string(&resolved).expect("a profile is JSON");
        let (reading, parsed) = measure(|| serde_json::from_str::<Seccomp>(&json).expect("valid"));
        println!(
            "{name}: {} rules, {} architectures; reading its OCI form takes {:.1} us",
            parsed.syscalls.len(),
            arches.len(),
            reading.shortest.as_nanos() as f64 / 1000.0
        );
        let (durations, program) = measure(|| compile(&parsed, &options).expect("valid"));
        row("  ours", &durations, &program.instructions, &arches);
        let plain = Options { enosys: false, ..options };
        let (durations, program) = measure(|| compile(&parsed, &plain).expect("valid"));
        row("  ours, no ENOSYS", &durations, &program.instructions, &arches);
        let native = Seccomp { architectures: Vec::new(), ..parsed.clone() };
        let (durations, program) = measure(|| compile(&native, &options).expect("valid"));
        row("  ours, x86_64 only", &durations, &program.instructions, &[Arch::X86_64]);
        #[cfg(feature = "libseccomp-oracle")]
        for (what, optimize) in [("  libseccomp", false), ("  libseccomp, binary tree", true)] {
            let (durations, program) =
                measure(|| libseccomp::compile(&parsed, &arches, optimize).expect("libseccomp takes it"));
            row(what, &durations, &program, &arches);
        }
    }
}
