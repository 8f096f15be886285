//! Programs as text.
#![expect(clippy::expect_used)]

use seccomp_profiles::{Arch, Options, Seccomp, compile, disassemble};

fn text(arch: Arch, profile: &str) -> String {
    let profile: Seccomp = serde_json::from_str(profile).expect("a profile");
    let options = Options { native: Some(arch), ..Options::default() };
    disassemble(&compile(&profile, &options).expect("a valid profile").instructions)
}

#[test]
fn numbers_are_named_and_jumps_are_absolute() {
    let profile = r#"{ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["reboot"], "action": "SCMP_ACT_ERRNO" }] }"#;
    let expected = "   0  load  [4]                      ; architecture
   1  jeq   0xc00000f3 ? 3 : 2       ; SCMP_ARCH_RISCV64
   2  ret   0x00000000               ; SCMP_ACT_KILL_THREAD
   3  load  [0]                      ; number
   4  jeq   142 ? 6 : 5              ; reboot
   5  ret   0x7fff0000               ; SCMP_ACT_ALLOW
   6  ret   0x00050001               ; SCMP_ACT_ERRNO(1)
";
    assert_eq!(text(Arch::Riscv64, profile), expected);
}

#[test]
fn arguments_are_named_by_half() {
    let profile = r#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": ["personality"],
        "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] }] }"#;
    for (arch, upper, lower) in [(Arch::X86_64, 20, 16), (Arch::S390x, 16, 20)] {
        let text = text(arch, profile);
        let has = |offset: u32, half: &str| {
            text.contains(&format!("load  [{offset}]                     ; args[0], {half} half"))
        };
        assert!(has(upper, "upper") && has(lower, "lower"), "{text}");
    }
    let text = text(Arch::X86_64, profile);
    assert!(text.contains("; personality") && text.contains("jge   0x40000000"), "{text}");
}

#[test]
fn anything_can_be_disassembled() {
    use seccomp_profiles::Instruction;
    let strange = [
        Instruction { code: 0x05, jt: 0, jf: 0, k: u32::MAX },
        Instruction { code: 0xffff, jt: 255, jf: 255, k: 7 },
        Instruction { code: 0x15, jt: 255, jf: 0, k: 1 },
        Instruction { code: 0x20, jt: 0, jf: 0, k: 0x8000_0000 },
    ];
    assert_eq!(disassemble(&strange).lines().count(), 4);
    assert_eq!(disassemble(&[]), "");
}
