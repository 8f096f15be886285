//! The shipped profiles: what they decide, written down here a second time and by other means, for every call
//! there is.
#![expect(clippy::expect_used)]

use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{
    Arch, Call, DockerProfile, Options, PROFILES, Program, Seccomp, action, compile, interpret, profile,
    table,
};
use std::collections::BTreeSet;

const KERNEL: KernelVersion = KernelVersion { version: 6, revision: 18 };
const EPERM: u32 = action::ERRNO | 1;
const ENOSYS: u32 = action::ERRNO | 38;

fn resolved(name: &str, arch: Arch, caps: &[&str]) -> Seccomp {
    let caps: Vec<String> = caps.iter().map(|cap| format!("CAP_{cap}")).collect();
    let host = Host { arch, caps: &caps, kernel: KERNEL };
    let text = profile(name).expect("a shipped profile");
    DockerProfile::from_json(text).and_then(|profile| profile.resolve(&host)).expect("a valid profile")
}

fn compiled(name: &str, arch: Arch, caps: &[&str]) -> Program {
    let options = Options { native: Some(arch), ..Options::default() };
    let program = compile(&resolved(name, arch, caps), &options).expect("a valid profile");
    assert_eq!(interpret::check(&program.instructions), Ok(()));
    program
}

fn result(program: &Program, arch: Arch, number: u32, args: [u64; 6]) -> u32 {
    interpret::run(&program.instructions, &Call { arch, number, args }).expect("a checked program runs").0
}

fn named(program: &Program, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    result(program, arch, table::number(arch, name).expect("a call"), args)
}

#[test]
fn every_profile_compiles_everywhere_and_says_for_whom_it_is() {
    for name in PROFILES {
        let text = profile(name).expect("a shipped profile");
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let comment = json["comment"].as_array().expect("a comment");
        assert!(comment[0].as_str().is_some_and(|line| line.starts_with("For ")), "{name}");
        for arch in Arch::all() {
            let program = compiled(name, arch, &[]);
            assert!(program.warnings.is_empty(), "{name} on {arch}: {:?}", program.warnings);
        }
    }
    assert_eq!(profile("unknown"), None);
}

/// What Docker's documentation and source give as the reasons, in words of the kernel: everything that is
/// refused to a container without capabilities, on x86_64 and aarch64. All else that these architectures have
/// is allowed.
const REFUSED: &str = "
    _sysctl afs_syscall create_module get_kernel_syms getpmsg nfsservctl putpmsg query_module security sysfs tuxcall
    uselib ustat vserver
    acct add_key bpf chroot clock_settime delete_module fanotify_init file_getattr file_setattr finit_module fsconfig
    fsmount fsopen fspick get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp
    kexec_file_load kexec_load keyctl listns lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind
    migrate_pages mount mount_setattr move_mount move_pages open_by_handle_at open_tree open_tree_attr perf_event_open
    pidfd_getfd pivot_root process_madvise quotactl quotactl_fd reboot request_key rseq_slice_yield
    set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday swapoff swapon syslog umount2
    unshare uprobe userfaultfd vhangup";

/// Refused with arguments like these, allowed with others.
const BY_ARGUMENT: [&str; 3] = ["clone", "personality", "socket"];

#[test]
fn default_decides_every_call_as_docker_does() {
    let refused: BTreeSet<&str> = REFUSED.split_whitespace().collect();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let program = compiled("default", arch, &["CHOWN", "KILL", "NET_RAW", "SETUID", "MKNOD"]);
        for (name, number) in table::calls(arch).filter(|call| !BY_ARGUMENT.contains(&call.0)) {
            // The newest call that the profile names; later ones do not exist.
            let newest = table::number(arch, "removexattrat").expect("a call");
            let expected = match name {
                _ if number > newest => ENOSYS,
                "clone3" => ENOSYS,
                _ if refused.contains(name) => EPERM,
                _ => action::ALLOW,
            };
            assert_eq!(result(&program, arch, number, [0; 6]), expected, "{name} on {arch}");
        }
    }
    let all: BTreeSet<&str> =
        [Arch::X86_64, Arch::Aarch64].into_iter().flat_map(table::calls).map(|call| call.0).collect();
    assert!(refused.is_subset(&all), "{:?}", refused.difference(&all));
}

#[test]
fn default_decides_by_argument_as_docker_does() {
    let program = compiled("default", Arch::X86_64, &[]);
    let first = |name: &str, value: u64| named(&program, Arch::X86_64, name, [value, 0, 0, 0, 0, 0]);
    // Families that Docker leaves out: DECnet, Econet, ATM SVC, IrDA, WANPIPE, ISDN, CAIF, ALG, VSOCK, and
    // new ones.
    for family in 0..64 {
        let refused = [12, 19, 20, 23, 25, 34, 37, 38, 40].contains(&family) || family > 45;
        assert_eq!(first("socket", family) == EPERM, refused, "family {family}");
        // The kernel only looks at the lower half: a family must not get by with garbage above it.
        assert_eq!(first("socket", family | 1 << 32), EPERM);
    }
    for (value, expected) in [
        (0, action::ALLOW),
        (8, action::ALLOW),
        (0x20000, action::ALLOW),
        (0x20008, action::ALLOW),
        (0xffff_ffff, action::ALLOW),
        (0x40000, EPERM),
        (1, EPERM),
    ] {
        assert_eq!(first("personality", value), expected, "{value:#x}");
    }
    // Each namespace flag of clone(2): NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
    assert_eq!(first("clone", 0x3d_0f00), action::ALLOW);
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        assert_eq!(first("clone", 17 | 1 << bit), EPERM, "bit {bit}");
    }
    let s390 = compiled("default", Arch::S390x, &[]);
    assert_eq!(named(&s390, Arch::S390x, "clone", [1 << 28, 17, 0, 0, 0, 0]), action::ALLOW);
    assert_eq!(named(&s390, Arch::S390x, "clone", [0, 1 << 28, 0, 0, 0, 0]), EPERM);
}

#[test]
fn default_grants_what_each_capability_is_for() {
    let grants = [
        ("DAC_READ_SEARCH", "open_by_handle_at"),
        (
            "SYS_ADMIN",
            "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
             lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
             quotactl_fd setdomainname sethostname setns syslog umount2 unshare",
        ),
        ("SYS_BOOT", "reboot"),
        ("SYS_CHROOT", "chroot"),
        ("SYS_MODULE", "delete_module init_module finit_module"),
        ("SYS_PACCT", "acct"),
        ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
        ("SYS_RAWIO", "iopl ioperm"),
        ("SYS_TIME", "settimeofday clock_settime"),
        ("SYS_TTY_CONFIG", "vhangup"),
        ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
        ("SYSLOG", "syslog"),
        ("BPF", "bpf"),
        ("PERFMON", "perf_event_open"),
    ];
    let arch = Arch::X86_64;
    let without = compiled("default", arch, &[]);
    for (cap, names) in grants {
        let with = compiled("default", arch, &[cap]);
        let names: BTreeSet<&str> = names.split_whitespace().collect();
        for (name, number) in table::calls(arch) {
            // All namespace flags at once.
            let args = [0x7e02_0000, 0, 0, 0, 0, 0];
            let before = result(&without, arch, number, args);
            let expected = if names.contains(name) { action::ALLOW } else { before };
            assert_eq!(result(&with, arch, number, args), expected, "{name} with CAP_{cap}");
        }
    }
}

#[test]
fn default_does_not_trust_tracers_of_old_kernels() {
    let text = profile("default").expect("a shipped profile");
    let host = Host { arch: Arch::X86_64, caps: &[], kernel: KernelVersion { version: 4, revision: 7 } };
    let old =
        DockerProfile::from_json(text).and_then(|profile| profile.resolve(&host)).expect("a valid profile");
    let options = Options { native: Some(Arch::X86_64), ..Options::default() };
    let old = compile(&old, &options).expect("a valid profile");
    assert_eq!(named(&old, Arch::X86_64, "ptrace", [0; 6]), EPERM);
    assert_eq!(named(&compiled("default", Arch::X86_64, &[]), Arch::X86_64, "ptrace", [0; 6]), action::ALLOW);
}

#[test]
fn default_covers_the_32_bit_abis() {
    let program = compiled("default", Arch::X86_64, &[]);
    for (arch, name, expected) in [
        (Arch::X86, "socketcall", action::ALLOW),
        (Arch::X86, "umount", EPERM),
        (Arch::X86, "time", action::ALLOW),
        (Arch::X86, "clock_settime64", EPERM),
        (Arch::X32, "read", action::ALLOW),
        (Arch::X32, "mount", EPERM),
        (Arch::X32, "rt_sigaction", action::ALLOW),
        (Arch::Arm, "read", action::KILL_THREAD),
    ] {
        assert_eq!(named(&program, arch, name, [0; 6]), expected, "{name} on {arch}");
    }
    assert!(program.instructions.len() <= 600, "{} instructions", program.instructions.len());
}

#[test]
fn strict_is_a_part_of_default_but_for_its_own_reasons() {
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::Riscv64, Arch::Ppc64le] {
        let (strict, default) = (compiled("strict", arch, &[]), compiled("default", arch, &[]));
        for (name, number) in table::calls(arch) {
            for value in [0, 1, 2, 10, 16, 38, 1 << 28] {
                let args = [value, 0, value, 0, 0, 0];
                let allowed = result(&strict, arch, number, args) == action::ALLOW;
                assert!(
                    !allowed || result(&default, arch, number, args) == action::ALLOW,
                    "{name} on {arch}"
                );
            }
        }
    }
}

#[test]
fn strict_lets_a_server_serve_and_little_else() {
    let program = compiled("strict", Arch::X86_64, &["SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE"]);
    let with = |name: &str, args: [u64; 6]| named(&program, Arch::X86_64, name, args) == action::ALLOW;
    for name in "accept4 bind brk close connect epoll_pwait execve exit_group fork futex getrandom listen openat read recvmsg
                 rt_sigaction rt_sigreturn sendmsg set_robust_list setgroups setuid sigaltstack statx wait4 write"
        .split_whitespace()
    {
        assert!(with(name, [0; 6]), "{name}");
    }
    for name in "add_key bpf chroot clone3 execveat init_module io_uring_setup keyctl mknod mount msgget open_by_handle_at
                 perf_event_open personality process_vm_readv ptrace setns shmget unshare userfaultfd"
        .split_whitespace()
    {
        assert!(!with(name, [0; 6]), "{name}");
    }
    for (family, protocol, expected) in [
        (1, 0, true),
        (2, 6, true),
        (10, 0, true),
        (16, 0, true),
        (16, 9, false),
        (17, 0, false),
        (38, 0, false),
    ] {
        assert_eq!(
            with("socket", [family, 1, protocol, 0, 0, 0]),
            expected,
            "family {family}, protocol {protocol}"
        );
    }
    for (protection, expected) in [(0, true), (1, true), (3, true), (5, true), (7, false), (6, false)] {
        assert_eq!(with("mmap", [0, 4096, protection, 0, 0, 0]), expected, "mmap with {protection}");
        assert_eq!(with("mprotect", [0, 4096, protection, 0, 0, 0]), expected, "mprotect with {protection}");
    }
    assert!(with("clone", [0x3d_0f00, 0, 0, 0, 0, 0]) && !with("clone", [1 << 28, 0, 0, 0, 0, 0]));
    for arch in [Arch::X86, Arch::X32] {
        assert_eq!(named(&program, arch, "read", [0; 6]), action::KILL_THREAD, "{arch}");
    }
    // Where socketcall(2) exists, it is no way around the families.
    for arch in [Arch::S390x, Arch::Ppc64le] {
        assert_eq!(named(&compiled("strict", arch, &[]), arch, "socketcall", [1, 0, 0, 0, 0, 0]), ENOSYS);
    }
}

#[test]
fn nested_adds_what_engines_need_and_no_more() {
    let added: BTreeSet<&str> = "add_key chroot clone clone3 fanotify_init file_getattr file_setattr fsconfig fsmount fsopen
        fspick kcmp keyctl listns lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree open_tree_attr personality pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev
        ptrace quotactl quotactl_fd request_key setdomainname sethostname setns umount2 unshare"
        .split_whitespace()
        .collect();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let (nested, default) = (compiled("nested", arch, &[]), compiled("default", arch, &[]));
        let newest = table::number(arch, "removexattrat").expect("a call");
        for (name, number) in table::calls(arch) {
            let args = [0x7e02_0000, 0, 0, 0, 0, 0];
            let actual = result(&nested, arch, number, args);
            if added.contains(name) {
                assert_eq!(actual, action::ALLOW, "{name}");
            } else if number <= newest {
                assert_eq!(actual, result(&default, arch, number, args), "{name}");
            } else {
                assert_ne!(actual, action::ALLOW, "{name}");
            }
        }
    }
}
