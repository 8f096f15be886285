//! The architectures of `linux.seccomp.architectures`: their names, audit numbers and calling conventions.
//!
//! Names: runtime-spec `config-linux.md` § Seccomp. Audit numbers: `linux/audit.h`. Only what the kernel
//! defines is here; what a profile means on an architecture is decided in `policy` and `runs`.

use std::fmt;

/// Byte order of a machine: where the two halves of a 64-bit argument lie in `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// Low word first.
    Little,
    /// High word first.
    Big,
}

/// An architecture that this crate has a table for.
///
/// `X32` is not a machine of its own: the kernel reports it as x86_64 with bit 30 of the call number set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
    S390x,
    S390,
    Ppc64le,
    Ppc64,
    Ppc,
    Mips64,
    Mips64n32,
    Mips,
    Mipsel64,
    Mipsel64n32,
    Mipsel,
}

/// What is written for an architecture in the three places that name one.
struct Row {
    arch: Arch,
    /// `SCMP_ARCH_` and this, in OCI and Docker profiles.
    oci: &'static str,
    /// In `arches` of Docker profiles: libseccomp's own spelling.
    docker: &'static str,
    /// `AUDIT_ARCH_*` of `linux/audit.h`: the ELF machine with the bits for 64 bits and little endian.
    audit: u32,
}

const fn row(arch: Arch, oci: &'static str, docker: &'static str, audit: u32) -> Row {
    Row { arch, oci, docker, audit }
}

/// In the order of the variants.
static ROWS: [Row; 18] = [
    row(Arch::X86_64, "X86_64", "amd64", 0xc000_003e),
    row(Arch::X86, "X86", "x86", 0x4000_0003),
    row(Arch::X32, "X32", "x32", 0xc000_003e),
    row(Arch::Aarch64, "AARCH64", "arm64", 0xc000_00b7),
    row(Arch::Arm, "ARM", "arm", 0x4000_0028),
    row(Arch::Riscv64, "RISCV64", "riscv64", 0xc000_00f3),
    row(Arch::Loongarch64, "LOONGARCH64", "loongarch64", 0xc000_0102),
    row(Arch::S390x, "S390X", "s390x", 0x8000_0016),
    row(Arch::S390, "S390", "s390", 0x0000_0016),
    row(Arch::Ppc64le, "PPC64LE", "ppc64le", 0xc000_0015),
    row(Arch::Ppc64, "PPC64", "ppc64", 0x8000_0015),
    row(Arch::Ppc, "PPC", "ppc", 0x0000_0014),
    row(Arch::Mips64, "MIPS64", "mips64", 0x8000_0008),
    row(Arch::Mips64n32, "MIPS64N32", "mips64n32", 0xa000_0008),
    row(Arch::Mips, "MIPS", "mips", 0x0000_0008),
    row(Arch::Mipsel64, "MIPSEL64", "mipsel64", 0xc000_0008),
    row(Arch::Mipsel64n32, "MIPSEL64N32", "mipsel64n32", 0xe000_0008),
    row(Arch::Mipsel, "MIPSEL", "mipsel", 0x4000_0008),
];

/// Architectures of the specification without a table here.
pub(crate) const WITHOUT_TABLE: [&str; 5] = ["PARISC", "PARISC64", "M68K", "SH", "SHEB"];

const LITTLE: u32 = 0x4000_0000;

impl Arch {
    /// Every architecture with a table.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.arch)
    }

    /// The architecture of an OCI name such as `SCMP_ARCH_X86_64`.
    pub fn from_oci(name: &str) -> Option<Self> {
        let short = name.strip_prefix("SCMP_ARCH_")?;
        ROWS.iter().find(|row| row.oci == short).map(|row| row.arch)
    }

    /// The architecture of a name in `arches` of a Docker profile, such as `amd64`.
    pub fn from_docker(name: &str) -> Option<Self> {
        // Go's name, which Docker's own map of architectures uses in one place.
        let name = if name == "loong64" { "loongarch64" } else { name };
        ROWS.iter().find(|row| row.docker == name).map(|row| row.arch)
    }

    /// The architecture of a call as the kernel reports it in `struct seccomp_data`: x32 differs from x86_64
    /// only in the number.
    pub fn from_audit(audit: u32, number: u32) -> Option<Self> {
        let found = ROWS.iter().find(|row| row.audit == audit)?.arch;
        Some(if found == Self::X86_64 && crate::table::is_x32(number) { Self::X32 } else { found })
    }

    /// The architecture this code was compiled for, when it has a table.
    pub const fn native() -> Option<Self> {
        Some(match (std::env::consts::ARCH.as_bytes(), cfg!(target_endian = "little")) {
            _ if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) => Self::X86_64,
            _ if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) => Self::X32,
            _ if cfg!(target_arch = "x86") => Self::X86,
            _ if cfg!(target_arch = "aarch64") => Self::Aarch64,
            _ if cfg!(target_arch = "arm") => Self::Arm,
            _ if cfg!(target_arch = "riscv64") => Self::Riscv64,
            _ if cfg!(target_arch = "loongarch64") => Self::Loongarch64,
            _ if cfg!(target_arch = "s390x") => Self::S390x,
            (_, true) if cfg!(target_arch = "powerpc64") => Self::Ppc64le,
            (_, false) if cfg!(target_arch = "powerpc64") => Self::Ppc64,
            _ if cfg!(target_arch = "powerpc") => Self::Ppc,
            (_, true) if cfg!(target_arch = "mips64") => Self::Mipsel64,
            (_, false) if cfg!(target_arch = "mips64") => Self::Mips64,
            (_, true) if cfg!(target_arch = "mips") => Self::Mipsel,
            (_, false) if cfg!(target_arch = "mips") => Self::Mips,
            _ => return None,
        })
    }

    /// The name without `SCMP_ARCH_`, such as `X86_64`.
    pub fn short_name(self) -> &'static str {
        ROWS[self as usize].oci
    }

    /// The name in OCI profiles, such as `SCMP_ARCH_X86_64`.
    pub fn oci_name(self) -> String {
        format!("SCMP_ARCH_{}", self.short_name())
    }

    /// The name in `arches` of Docker profiles, such as `amd64`.
    pub fn docker_name(self) -> &'static str {
        ROWS[self as usize].docker
    }

    /// `seccomp_data.arch` as the kernel fills it (`AUDIT_ARCH_*` of `linux/audit.h`).
    pub fn audit(self) -> u32 {
        ROWS[self as usize].audit
    }

    /// Byte order.
    pub fn endian(self) -> Endian {
        if self.audit() & LITTLE != 0 { Endian::Little } else { Endian::Big }
    }

    /// Whether arguments are 32 bits wide. The upper halves in `seccomp_data` are then not the caller's
    /// arguments (a 64-bit program that enters through `int 0x80` can put anything there), so they must not
    /// be compared.
    pub fn narrow(self) -> bool {
        use Arch::{Arm, Mips, Mips64n32, Mipsel, Mipsel64n32, Ppc, S390, X32, X86};
        matches!(self, X86 | X32 | Arm | S390 | Ppc | Mips | Mips64n32 | Mipsel | Mipsel64n32)
    }

    /// Every ABI that a kernel for this machine offers to programs, its own first.
    pub fn abis(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Self::X86 => &[Self::X86],
            Self::X32 => &[Self::X32],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::Arm => &[Self::Arm],
            Self::Riscv64 => &[Self::Riscv64],
            Self::Loongarch64 => &[Self::Loongarch64],
            Self::S390x => &[Self::S390x, Self::S390],
            Self::S390 => &[Self::S390],
            Self::Ppc64le => &[Self::Ppc64le],
            Self::Ppc64 => &[Self::Ppc64, Self::Ppc],
            Self::Ppc => &[Self::Ppc],
            Self::Mips64 => &[Self::Mips64, Self::Mips64n32, Self::Mips],
            Self::Mips64n32 => &[Self::Mips64n32],
            Self::Mips => &[Self::Mips],
            Self::Mipsel64 => &[Self::Mipsel64, Self::Mipsel64n32, Self::Mipsel],
            Self::Mipsel64n32 => &[Self::Mipsel64n32],
            Self::Mipsel => &[Self::Mipsel],
        }
    }

    /// Whether libc may reach the socket and System V IPC calls through `socketcall(2)` and `ipc(2)`.
    pub fn multiplexes(self) -> bool {
        use Arch::{Mips, Mipsel, Ppc, Ppc64, Ppc64le, S390, S390x, X86};
        matches!(self, X86 | S390 | S390x | Ppc | Ppc64 | Ppc64le | Mips | Mipsel)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SCMP_ARCH_{}", self.short_name())
    }
}
