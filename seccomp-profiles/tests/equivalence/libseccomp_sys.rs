//! libseccomp, called as runc calls it. The only unsafe code of the crate, and only of its tests and its
//! bench.

use seccomp_profiles::{Arch, Arg, Endian, Instruction, Seccomp};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;

type Context = *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
struct Comparison {
    arg: c_uint,
    op: c_int,
    datum_a: u64,
    datum_b: u64,
}

#[link(name = "seccomp")]
unsafe extern "C" {
    fn seccomp_init(default: u32) -> Context;
    fn seccomp_release(context: Context);
    fn seccomp_arch_add(context: Context, arch: u32) -> c_int;
    fn seccomp_arch_remove(context: Context, arch: u32) -> c_int;
    fn seccomp_arch_resolve_name(name: *const c_char) -> u32;
    fn seccomp_attr_set(context: Context, attribute: c_int, value: u32) -> c_int;
    fn seccomp_syscall_resolve_name(name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_name_arch(arch: u32, name: *const c_char) -> c_int;
    fn seccomp_rule_add_array(
        context: Context,
        action: u32,
        call: c_int,
        count: c_uint,
        args: *const Comparison,
    ) -> c_int;
    fn seccomp_export_bpf(context: Context, fd: c_int) -> c_int;
}

/// `SCMP_FLTATR_CTL_OPTIMIZE`: 2 is a binary tree.
const OPTIMIZE: c_int = 8;

/// A filter under construction.
pub(crate) struct Filter {
    context: Context,
    big_endian: bool,
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: the context came from seccomp_init, and nothing uses it after this.
        unsafe { seccomp_release(self.context) }
    }
}

/// What libseccomp says about a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) c_int);

fn checked(code: c_int) -> Result<(), Refused> {
    if code < 0 { Err(Refused(code)) } else { Ok(()) }
}

fn token(arch: Arch) -> u32 {
    let name = CString::new(arch.short_name().to_lowercase()).expect("no zero bytes");
    // SAFETY: a valid C string.
    let token = unsafe { seccomp_arch_resolve_name(name.as_ptr()) };
    assert_ne!(token, 0, "libseccomp does not know {arch}");
    token
}

/// Whether libseccomp knows a call of this name at all.
pub(crate) fn is_known(name: &str) -> bool {
    let name = CString::new(name).expect("no zero bytes");
    // SAFETY: a valid C string.
    unsafe { seccomp_syscall_resolve_name(name.as_ptr()) != -1 }
}

/// The number libseccomp knows a call by on an architecture; its made-up negative ones are none.
pub(crate) fn number(arch: Arch, name: &str) -> Option<u32> {
    let name = CString::new(name).expect("no zero bytes");
    // SAFETY: a valid C string.
    let number = unsafe { seccomp_syscall_resolve_name_arch(token(arch), name.as_ptr()) };
    u32::try_from(number).ok()
}

impl Filter {
    /// `default` and all other actions are `SECCOMP_RET_*` with data, which `SCMP_ACT_*` are equal to.
    pub(crate) fn new(default: u32) -> Self {
        // SAFETY: no preconditions; null on failure, which is checked.
        let context = unsafe { seccomp_init(default) };
        assert!(!context.is_null(), "seccomp_init");
        Self { context, big_endian: false }
    }

    /// Exactly these architectures, the machine's own among them or not.
    pub(crate) fn set_arches(&mut self, arches: &[Arch]) -> Result<(), Refused> {
        // A new filter is for the machine, and takes no architecture of another byte order before it is not.
        // SAFETY: 0 is SCMP_ARCH_NATIVE; the context is live.
        checked(unsafe { seccomp_arch_remove(self.context, 0) })?;
        for arch in arches {
            // SAFETY: the context is live.
            checked(unsafe { seccomp_arch_add(self.context, token(*arch)) })?;
        }
        self.big_endian = arches.first().is_some_and(|arch| arch.endian() == Endian::Big);
        Ok(())
    }

    pub(crate) fn optimize(&mut self) {
        // SAFETY: the context is live.
        let _ = unsafe { seccomp_attr_set(self.context, OPTIMIZE, 2) };
    }

    /// A rule; `Ok(false)` when libseccomp does not know the name.
    pub(crate) fn add(&mut self, action: u32, name: &str, args: &[Arg]) -> Result<bool, Refused> {
        let name = CString::new(name).expect("no zero bytes");
        // SAFETY: a valid C string.
        let call = unsafe { seccomp_syscall_resolve_name(name.as_ptr()) };
        if call == -1 {
            return Ok(false);
        }
        let args: Vec<Comparison> = args.iter().map(comparison).collect();
        let count = c_uint::try_from(args.len()).expect("few arguments");
        // SAFETY: the context is live, and the array has as many elements as said.
        checked(unsafe { seccomp_rule_add_array(self.context, action, call, count, args.as_ptr()) })?;
        Ok(true)
    }

    /// Compiles.
    pub(crate) fn program(&self) -> Vec<Instruction> {
        let mut file = tempfile::tempfile().expect("a temporary file");
        // SAFETY: the context is live and the descriptor open for writing.
        checked(unsafe { seccomp_export_bpf(self.context, file.as_raw_fd()) }).expect("seccomp_export_bpf");
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("read back");
        // Programs are exported in the byte order of the machine they are for.
        let instruction = |bytes: &[u8]| {
            let (code, k) = ([bytes[0], bytes[1]], [bytes[4], bytes[5], bytes[6], bytes[7]]);
            let (code, k) = match self.big_endian {
                true => (u16::from_be_bytes(code), u32::from_be_bytes(k)),
                false => (u16::from_le_bytes(code), u32::from_le_bytes(k)),
            };
            Instruction { code, jt: bytes[2], jf: bytes[3], k }
        };
        bytes.chunks_exact(8).map(instruction).collect()
    }
}

fn comparison(arg: &Arg) -> Comparison {
    let op = match arg.op.as_str() {
        "SCMP_CMP_NE" => 1,
        "SCMP_CMP_LT" => 2,
        "SCMP_CMP_LE" => 3,
        "SCMP_CMP_EQ" => 4,
        "SCMP_CMP_GE" => 5,
        "SCMP_CMP_GT" => 6,
        _ => 7,
    };
    Comparison { arg: arg.index, op, datum_a: arg.value, datum_b: arg.value_two }
}

/// `SECCOMP_RET_*` of an action, with its data.
pub(crate) fn action(name: &str, errno: Option<u32>) -> u32 {
    let errno = errno.unwrap_or(1);
    match name {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        _ => 0,
    }
}

/// A whole profile, rule by rule as runc's `matchCall` does it.
pub(crate) fn compile(
    profile: &Seccomp,
    arches: &[Arch],
    optimize: bool,
) -> Result<Vec<Instruction>, Refused> {
    let default = action(&profile.default_action, profile.default_errno_ret);
    let mut filter = Filter::new(default);
    filter.set_arches(arches)?;
    if optimize {
        filter.optimize();
    }
    for rule in &profile.syscalls {
        let result = action(&rule.action, rule.errno_ret);
        if result == default {
            continue;
        }
        let repeated = rule
            .args
            .iter()
            .enumerate()
            .any(|(at, arg)| rule.args[..at].iter().any(|other| other.index == arg.index));
        for name in &rule.names {
            if repeated {
                for arg in &rule.args {
                    filter.add(result, name, std::slice::from_ref(arg))?;
                }
            } else {
                filter.add(result, name, &rule.args)?;
            }
        }
    }
    Ok(filter.program())
}
