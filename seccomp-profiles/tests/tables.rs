//! The system call tables against the kernel headers of this machine, whatever kernel they are from.

use seccomp_profiles::{Arch, table};
use std::collections::BTreeSet;
use std::fs;

/// (architecture, header, the symbol that numbers are relative to and its value). The first three are in
/// Debian's linux-libc-dev on x86_64, the others in its packages for cross compilation.
const HEADERS: [(Arch, &str, &str, u32); 12] = [
    (Arch::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "", 0),
    (Arch::X86, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h", "", 0),
    (Arch::X32, "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h", "__X32_SYSCALL_BIT", 0x4000_0000),
    (Arch::Aarch64, "/usr/include/aarch64-linux-gnu/asm/unistd_64.h", "", 0),
    (Arch::Aarch64, "/usr/aarch64-linux-gnu/include/asm/unistd_64.h", "", 0),
    (Arch::Arm, "/usr/arm-linux-gnueabihf/include/asm/unistd-eabi.h", "__NR_SYSCALL_BASE", 0),
    (Arch::Riscv64, "/usr/riscv64-linux-gnu/include/asm/unistd_64.h", "", 0),
    (Arch::S390x, "/usr/s390x-linux-gnu/include/asm/unistd_64.h", "", 0),
    (Arch::S390, "/usr/s390x-linux-gnu/include/asm/unistd_32.h", "", 0),
    (Arch::Ppc64le, "/usr/powerpc64le-linux-gnu/include/asm/unistd_64.h", "", 0),
    (Arch::Mips64, "/usr/mips64-linux-gnuabi64/include/asm/unistd_n64.h", "__NR_Linux", 5000),
    (Arch::Mips, "/usr/mips64-linux-gnuabi64/include/asm/unistd_o32.h", "__NR_Linux", 4000),
];

/// `#define __NR_name 17` or `#define __NR_name (BASE + 17)`.
fn definition<'a>(line: &'a str, base: &str, value: u32) -> Option<(&'a str, u32)> {
    let (name, text) = line.strip_prefix("#define __NR_")?.split_once(char::is_whitespace)?;
    let text = text.trim().trim_start_matches('(').trim_end_matches(')');
    let number = match text.split_once('+') {
        Some((symbol, offset)) if symbol.trim() == base => value + offset.trim().parse::<u32>().ok()?,
        _ => text.trim().parse().ok()?,
    };
    Some((name, number))
}

/// Numbers that MIPS never gave to anything, and the count of calls.
fn is_placeholder(name: &str) -> bool {
    name.starts_with("reserved") || name.starts_with("unused") || name == "syscalls"
}

#[test]
fn every_call_of_the_installed_headers_is_in_the_tables() {
    let mut found = BTreeSet::new();
    for (arch, path, base, value) in HEADERS {
        let Ok(header) = fs::read_to_string(path) else { continue };
        let mut checked = 0;
        for (name, number) in header.lines().filter_map(|line| definition(line, base, value)) {
            if is_placeholder(name) {
                continue;
            }
            assert_eq!(table::number(arch, name), Some(number), "{name} in {path}");
            checked += 1;
        }
        assert!(checked > 250, "only {checked} calls in {path}");
        found.insert(arch);
    }
    let missing: Vec<String> = HEADERS
        .iter()
        .map(|header| header.0)
        .filter(|arch| !found.contains(arch))
        .map(Arch::oci_name)
        .collect();
    if !missing.is_empty() {
        println!("skipped: needs kernel headers for {}", missing.join(", "));
    }
    if cfg!(target_arch = "x86_64")
        && fs::exists("/usr/include/x86_64-linux-gnu/asm/unistd.h").is_ok_and(|exists| exists)
    {
        assert!(found.contains(&Arch::X86_64) && found.contains(&Arch::X86) && found.contains(&Arch::X32));
    }
}

/// Calls up to Linux 6.18, with the number that all architectures share from 424 on.
#[test]
fn new_calls_are_in_the_tables() {
    let new = [
        ("close_range", 436),
        ("cachestat", 451),
        ("fchmodat2", 452),
        ("map_shadow_stack", 453),
        ("futex_wake", 454),
        ("futex_wait", 455),
        ("futex_requeue", 456),
        ("statmount", 457),
        ("listmount", 458),
        ("lsm_get_self_attr", 459),
        ("lsm_set_self_attr", 460),
        ("lsm_list_modules", 461),
        ("mseal", 462),
        ("setxattrat", 463),
        ("getxattrat", 464),
        ("listxattrat", 465),
        ("removexattrat", 466),
        ("open_tree_attr", 467),
        ("file_getattr", 468),
        ("file_setattr", 469),
    ];
    for arch in Arch::all() {
        // 31-bit s390 ended with 6.1-era headers.
        let new = if arch == Arch::S390 { &new[..1] } else { &new[..] };
        let base = match arch {
            Arch::X32 => 0x4000_0000,
            Arch::Mips | Arch::Mipsel => 4000,
            Arch::Mips64 | Arch::Mipsel64 => 5000,
            Arch::Mips64n32 | Arch::Mipsel64n32 => 6000,
            _ => 0,
        };
        for (name, number) in new {
            // map_shadow_stack is only wired up where there are shadow stacks.
            let number = Some(base + number)
                .filter(|_| *name != "map_shadow_stack" || table::number(arch, name).is_some());
            assert_eq!(table::number(arch, name), number, "{name} on {arch}");
        }
    }
}

#[test]
fn names_and_numbers_belong_together() {
    for arch in Arch::all() {
        let mut last = None;
        for (name, number) in table::calls(arch) {
            assert!(last <= Some(number), "{arch} is not in order at {name}");
            last = Some(number);
            assert_eq!(table::number(arch, name), Some(number));
            assert_eq!(table::known(name), Some(name));
            let first = table::name(arch, number).expect("a number with a name");
            assert_eq!(table::number(arch, first), Some(number));
        }
        assert_eq!(Arch::from_oci(&arch.oci_name()), Some(arch));
        assert_eq!(Arch::from_docker(arch.docker_name()), Some(arch));
        let number = table::calls(arch).next().expect("calls").1;
        assert_eq!(Arch::from_audit(arch.audit(), number), Some(arch));
    }
    assert_eq!(table::known("no_such_call"), None);
    assert_eq!(table::known(""), None);
}
