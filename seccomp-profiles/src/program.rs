//! A compiled filter and the kernel's constants it is made of (`linux/seccomp.h`, `linux/bpf_common.h`).

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation: class, size and mode as in `linux/bpf_common.h`.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand: a constant, an offset into `struct seccomp_data`, a distance or a return value.
    pub k: u32,
}

/// The most instructions the kernel takes in one program (`BPF_MAXINSNS` of `linux/bpf_common.h`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// What [`crate::compile()`] makes of a profile: all that seccomp(2) needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The filter, never empty and never longer than [`MAX_INSTRUCTIONS`].
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for `seccomp(SECCOMP_SET_MODE_FILTER, flags, …)`.
    pub flags: u32,
    /// Those of `flags` that nobody asked for: where the kernel answers EINVAL, load again without them.
    pub droppable_flags: u32,
    /// Whether `flags` has `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the load returns a descriptor for the agent.
    pub listener: bool,
    /// What the profile's author may want to know, one sentence each. None of it changes what is loaded.
    pub warnings: Vec<String>,
}

/// `SECCOMP_FILTER_FLAG_*`.
pub mod flag {
    /// Log every action but allow (Linux 4.14).
    pub const LOG: u32 = 1 << 1;
    /// Leave the Speculative Store Bypass mitigation off (Linux 4.17).
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// Return a descriptor for user notification (Linux 5.0).
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// Only fatal signals interrupt a notified process (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// `SECCOMP_RET_*`: the upper 16 bits of a filter's result; the lower ones are its data.
pub mod action {
    /// Kill the process.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// Kill the thread.
    pub const KILL_THREAD: u32 = 0;
    /// SIGSYS.
    pub const TRAP: u32 = 0x0003_0000;
    /// Return an errno.
    pub const ERRNO: u32 = 0x0005_0000;
    /// Ask the listener.
    pub const NOTIFY: u32 = 0x7fc0_0000;
    /// Ask the tracer.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// Log and allow.
    pub const LOG: u32 = 0x7ffc_0000;
    /// Allow.
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The part of a result that is the action.
    pub const MASK: u32 = 0xffff_0000;
    /// The part of a result that is its data.
    pub const DATA: u32 = 0x0000_ffff;

    /// `SCMP_ACT_*` of a filter's result, with its data where the action has one: `SCMP_ACT_ERRNO(1)`.
    pub fn describe(result: u32) -> String {
        let data = result & DATA;
        match result & MASK {
            KILL_PROCESS => "SCMP_ACT_KILL_PROCESS".into(),
            KILL_THREAD => "SCMP_ACT_KILL_THREAD".into(),
            TRAP => "SCMP_ACT_TRAP".into(),
            ERRNO => format!("SCMP_ACT_ERRNO({data})"),
            NOTIFY => "SCMP_ACT_NOTIFY".into(),
            TRACE => format!("SCMP_ACT_TRACE({data})"),
            LOG => "SCMP_ACT_LOG".into(),
            ALLOW => "SCMP_ACT_ALLOW".into(),
            _ => format!("{result:#010x}"),
        }
    }
}

/// Offsets into `struct seccomp_data`.
pub(crate) mod offset {
    pub(crate) const NUMBER: u32 = 0;
    pub(crate) const ARCH: u32 = 4;
    /// The first argument; each is eight bytes.
    pub(crate) const ARGS: u32 = 16;
}

/// Operations: the part of classic BPF that seccomp programs need. The kernel can evaluate those that only
/// look at number and architecture while it loads a program, and then never runs it for calls that are always
/// allowed.
pub(crate) mod op {
    pub(crate) const LOAD: u16 = 0x20;
    pub(crate) const AND: u16 = 0x54;
    pub(crate) const JUMP: u16 = 0x05;
    pub(crate) const JUMP_EQUAL: u16 = 0x15;
    pub(crate) const JUMP_GREATER: u16 = 0x25;
    pub(crate) const JUMP_GREATER_EQUAL: u16 = 0x35;
    pub(crate) const JUMP_SET: u16 = 0x45;
    pub(crate) const RETURN: u16 = 0x06;
}

/// `errno` values that a profile means without naming them.
pub(crate) mod errno {
    use crate::Arch;

    pub(crate) const EPERM: u32 = 1;
    /// The largest errno the kernel returns (`MAX_ERRNO` of `linux/err.h`).
    pub(crate) const MAX: u32 = 4095;

    /// ENOSYS: 89 on MIPS (`asm/errno.h`), 38 on every other architecture with a table.
    pub(crate) fn enosys(arch: Arch) -> u32 {
        use Arch::{Mips, Mips64, Mips64n32, Mipsel, Mipsel64, Mipsel64n32};
        match arch {
            Mips | Mips64 | Mips64n32 | Mipsel | Mipsel64 | Mipsel64n32 => 89,
            _ => 38,
        }
    }
}

/// The lower word of an argument.
#[expect(clippy::cast_possible_truncation)]
pub(crate) fn low(value: u64) -> u32 {
    value as u32
}

/// The upper word of an argument.
pub(crate) fn high(value: u64) -> u32 {
    low(value >> 32)
}
