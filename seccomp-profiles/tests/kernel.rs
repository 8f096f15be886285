//! Compiled programs in the kernel that runs the tests: loaded, and seen to work. A filter is for one thread,
//! which ends with the test.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
#![expect(clippy::expect_used)]

use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{Arch, DockerProfile, Options, PROFILES, Program, Seccomp, compile, profile};
use serde_json::json;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;

/// Loads a program for the calling thread. The tests' own process must not gain privileges by it, which
/// `apply_filter` sees to with no_new_privs.
fn load(program: &Program) -> Result<(), seccompiler::Error> {
    let instruction = |it: &seccomp_profiles::Instruction| seccompiler::sock_filter {
        code: it.code,
        jt: it.jt,
        jf: it.jf,
        k: it.k,
    };
    let program: Vec<seccompiler::sock_filter> = program.instructions.iter().map(instruction).collect();
    seccompiler::apply_filter(&program)
}

/// Runs in a thread under a filter.
fn under<T: Send + 'static>(program: Program, run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        load(&program).expect("the kernel takes the program");
        run()
    });
    thread.join().expect("the thread ends by itself")
}

fn compiled(text: serde_json::Value) -> Program {
    let profile: Seccomp = serde_json::from_value(text).expect("a profile");
    compile(&profile, &Options::default()).expect("a valid profile")
}

fn errno(result: io::Result<()>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn the_kernel_answers_as_the_profile_says() {
    let program = compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77 },
        { "names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 }] }));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let results = under(program, move || {
        let made = fs::create_dir(path.join("made"));
        let linked = symlink("target", path.join("link"));
        let written = File::create(path.join("file")).map(drop);
        (errno(made), errno(linked), errno(written))
    });
    assert_eq!(results, (Some(77), None, None));
    assert!(!folder.path().join("made").exists());
    assert!(fs::symlink_metadata(folder.path().join("link")).is_err(), "errno 0: success without the deed");
    assert!(folder.path().join("file").exists());
}

#[test]
fn the_kernel_compares_arguments_as_the_profile_says() {
    // lseek(2) through Seek, with offsets on both sides of every comparison.
    use std::io::{Seek, SeekFrom};
    let program = compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 71, "args": [{ "index": 1, "value": 4_294_967_296_u64, "op": "SCMP_CMP_EQ" }] },
        { "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 72, "args": [{ "index": 1, "value": 8_589_934_592_u64, "op": "SCMP_CMP_GT" }] },
        { "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 73, "args": [
            { "index": 1, "value": 255, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ" }, { "index": 2, "value": 0, "op": "SCMP_CMP_EQ" }] }] }));
    let mut file = tempfile::tempfile().expect("a file");
    let results = under(program, move || {
        [
            0,
            7,
            8,
            0x107,
            (1 << 32) - 1,
            1 << 32,
            (1 << 32) + 1,
            (1 << 32) + 7,
            1 << 33,
            (1 << 33) + 1,
            (1 << 40) + 7,
        ]
        .map(|offset: u64| errno(file.seek(SeekFrom::Start(offset)).map(drop)))
    });
    let (equal, greater, masked) = (Some(71), Some(72), Some(73));
    assert_eq!(results, [None, masked, None, masked, None, equal, None, masked, None, greater, greater]);
}

#[test]
fn every_shipped_profile_loads_and_lets_a_program_work() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let kernel = KernelVersion::from_release(&release).expect("a version");
    let arch = Arch::native().expect("a table for this machine");
    for name in PROFILES {
        let text = profile(name).expect("a shipped profile");
        let host = Host { arch, caps: &[], kernel };
        let resolved =
            DockerProfile::from_json(text).and_then(|profile| profile.resolve(&host)).expect("valid");
        let program = compile(&resolved, &Options::default()).expect("a valid profile");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let text = under(program, move || {
            fs::write(&path, "written under the filter")?;
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            let _connected = std::net::TcpStream::connect(listener.local_addr()?)?;
            std::thread::spawn(|| ()).join().expect("a thread of its own");
            fs::read_to_string(&path)
        });
        assert_eq!(text.expect("files and sockets work"), "written under the filter", "{name}");
    }
}
