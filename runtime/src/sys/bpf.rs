//! bpf(2), as far as a device filter on a cgroup needs it: load, attach, replace, detach, ask what is attached.
//!
//! The kernel is always given an attribute union larger than any it knows, zeroed: a shorter one is written past its
//! end by `BPF_PROG_QUERY` on Linux 6.17 to 7.1.

use super::{Errno, Result, check};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

/// The name under which [`load_device_filter`] loads programs (`bpftool prog` shows it).
pub const DEVICE_FILTER_NAME: &str = "corten_devices";

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// How many programs the kernel lets one cgroup have (`BPF_CGROUP_MAX_PROGS`).
const MAX_PROGRAMS: usize = 64;

/// One eBPF instruction (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation: class, size or source, mode.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Jump distance in instructions, or offset of a load in bytes.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// `union bpf_attr`, larger than any kernel's.
#[repr(C, align(8))]
struct Attribute {
    words: [u32; 64],
}

impl Attribute {
    const fn new() -> Self {
        Self { words: [0; 64] }
    }

    /// Stores an address at a 32-bit word offset. Pointers in the union are 64-bit on every architecture.
    fn set_address<T>(&mut self, word: usize, address: *const T) {
        let bytes = (address as u64).to_ne_bytes();
        self.words[word] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        self.words[word + 1] = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    }

    fn set_fd(&mut self, word: usize, fd: BorrowedFd<'_>) {
        self.words[word] = fd.as_raw_fd().cast_unsigned();
    }
}

/// One bpf(2) call. Every pointer stored in `attribute` must be valid for what `command` does with it.
unsafe fn bpf(command: libc::c_int, attribute: &mut Attribute) -> Result<libc::c_int> {
    let size = std::mem::size_of::<Attribute>();
    // SAFETY: the union is owned, zeroed where unused, and `size` is its real size; its pointers are the caller's
    // obligation.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size) })
}

/// Loads a device filter (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).
///
/// # Errors
/// The errno of bpf(2): `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`, or when `RLIMIT_MEMLOCK` is too low before
/// Linux 5.11; `EINVAL` or `EACCES` when the verifier refuses the program.
pub fn load_device_filter(program: &[Instruction]) -> Result<OwnedFd> {
    let mut attribute = load_attribute(program)?;
    // The verifier answers EAGAIN when a signal is pending.
    for _ in 0..30 {
        // SAFETY: the program outlives the call, and the instruction count is the slice's.
        match unsafe { bpf(PROG_LOAD, &mut attribute) } {
            Err(Errno::EAGAIN) => {}
            // SAFETY: the kernel returned a new descriptor (close-on-exec) that nobody else owns.
            result => return result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
        }
    }
    Err(Errno::EAGAIN)
}

/// What `BPF_PROG_LOAD` is told of a program. The slice must outlive the call.
fn load_attribute(program: &[Instruction]) -> Result<Attribute> {
    // Any licence will do: the program calls no helper that asks for a particular one.
    const LICENCE: &CStr = c"Apache-2.0";
    let mut attribute = Attribute::new();
    attribute.words[0] = PROG_TYPE_CGROUP_DEVICE;
    attribute.words[1] = u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    attribute.set_address(2, program.as_ptr());
    attribute.set_address(4, LICENCE.as_ptr());
    let mut name = [0u8; 16];
    name[..DEVICE_FILTER_NAME.len()].copy_from_slice(DEVICE_FILTER_NAME.as_bytes());
    for (word, bytes) in name.chunks_exact(4).enumerate() {
        attribute.words[12 + word] = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Ok(attribute)
}

/// The verifier's words on a program that [`load_device_filter`] failed to load.
pub fn verifier_log(program: &[Instruction]) -> String {
    let mut log = vec![0u8; 64 << 10];
    let Ok(mut attribute) = load_attribute(program) else { return String::new() };
    attribute.words[6] = 1;
    attribute.words[7] = 64 << 10;
    attribute.set_address(8, log.as_mut_ptr());
    // SAFETY: program and log buffer outlive the call, with their real sizes.
    if let Ok(fd) = unsafe { bpf(PROG_LOAD, &mut attribute) } {
        // SAFETY: the kernel returned a new descriptor that nobody else owns; it is closed at once.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&log[..end]).trim_end().to_owned()
}

/// Adds a device filter to a cgroup v2 directory, beside those that are there. All must agree for an access to
/// succeed.
///
/// # Errors
/// The errno of bpf(2).
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    attach(cgroup, program, None)
}

/// Puts a device filter in the place of another one, in one step (`BPF_F_REPLACE`, Linux 5.6).
///
/// # Errors
/// The errno of bpf(2): `EINVAL` on an older kernel, `ENOENT` when `old` is not attached.
pub fn replace_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
) -> Result<()> {
    attach(cgroup, program, Some(old))
}

fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, old: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut attribute = Attribute::new();
    attribute.set_fd(0, cgroup);
    attribute.set_fd(1, program);
    attribute.words[2] = ATTACH_CGROUP_DEVICE;
    attribute.words[3] = F_ALLOW_MULTI;
    if let Some(old) = old {
        attribute.words[3] |= F_REPLACE;
        attribute.set_fd(4, old);
    }
    // SAFETY: this command reads descriptors only.
    unsafe { bpf(PROG_ATTACH, &mut attribute) }.map(drop)
}

/// The identifiers of the device filters attached to a cgroup itself, oldest first.
///
/// # Errors
/// The errno of bpf(2).
pub fn device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    let mut ids = vec![0u32; MAX_PROGRAMS];
    let mut attribute = Attribute::new();
    attribute.set_fd(0, cgroup);
    attribute.words[1] = ATTACH_CGROUP_DEVICE;
    attribute.set_address(4, ids.as_mut_ptr());
    attribute.words[6] = 64;
    // SAFETY: `ids` has room for the 64 identifiers announced and outlives the call.
    unsafe { bpf(PROG_QUERY, &mut attribute) }?;
    ids.truncate(usize::try_from(attribute.words[6]).unwrap_or(0));
    Ok(ids)
}

/// A descriptor for a loaded program.
///
/// # Errors
/// The errno of bpf(2): `ENOENT` when it is gone, `EPERM` without `CAP_SYS_ADMIN`.
pub fn program(id: u32) -> Result<OwnedFd> {
    let mut attribute = Attribute::new();
    attribute.words[0] = id;
    // SAFETY: this command reads one number.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attribute) }?;
    // SAFETY: the kernel returned a new descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The name that a program was loaded under.
///
/// # Errors
/// The errno of bpf(2).
pub fn program_name(program: BorrowedFd<'_>) -> Result<String> {
    // struct bpf_prog_info, larger than any kernel's; the name is 16 bytes at offset 64.
    let mut info = [0u64; 64];
    let mut attribute = Attribute::new();
    attribute.set_fd(0, program);
    attribute.words[1] = 512;
    attribute.set_address(2, info.as_mut_ptr());
    // SAFETY: `info` has the 512 bytes announced, all zero (no other buffers are asked for), and outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attribute) }?;
    let bytes: Vec<u8> =
        info[8..10].iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
