//! System calls without the C library, and what the kernel puts on the stack of a program that it starts.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int, c_long, c_ulong};
use core::mem::MaybeUninit;
use core::{ptr, slice};

type Result<T> = core::result::Result<T, c_int>;

/// The longest string that fsconfig(2) takes, with its end.
const LONGEST: usize = 256;

/// More than this program looks for in its environment. What comes after them does not go on.
const ROOM: usize = 32;

const HERE: usize = (libc::AT_FDCWD as isize).cast_unsigned();
/// Follows the process that asks.
const SELF: &CStr = c"/proc/self/exe";

#[cfg(all(target_arch = "x86_64", target_feature = "crt-static"))]
core::arch::global_asm!(
    ".pushsection .text.corten_entry, \"ax\", @progbits",
    // The stack is as the kernel has left it, and is left so to the C library's own entry, as is %rdx.
    ".globl corten_entry",
    ".type corten_entry, @function",
    "corten_entry:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "push %rdx",
    "sub $8, %rsp",
    "call {first}",
    "add $8, %rsp",
    "pop %rdx",
    "jmp _start",
    ".size corten_entry, . - corten_entry",
    ".popsection",
    first = sym first,
    options(att_syntax)
);

/// # Safety
/// `stack` is what the kernel has put there for a new program.
#[cfg(all(target_arch = "x86_64", target_feature = "crt-static"))]
unsafe extern "C" fn first(stack: *const usize) {
    super::first(&Start(stack));
}

/// Executes this program below an overlay of its directory, with these arguments and what of this environment goes on
/// ([`super::VARIABLES`]). Returns only on failure, with what has failed (errno(3)).
///
/// # Safety
/// Both are arrays of NUL-terminated strings that end with a null pointer.
#[must_use]
pub unsafe fn again(arguments: *const *const c_char, environment: *const *const c_char) -> c_int {
    super::execute(Strings(arguments.cast()), Strings(environment.cast()))
}

/// What the kernel has put on the stack of this program: the number of arguments, arguments, environment, and its own
/// notes (System V ABI, "Process Initialization"). Only ever that of [`first`].
pub(crate) struct Start(*const usize);

impl Start {
    pub(crate) fn arguments(&self) -> Strings {
        // SAFETY: the arguments are behind their number.
        Strings(unsafe { self.0.add(1) }.cast())
    }

    pub(crate) fn environment(&self) -> Strings {
        // SAFETY: the environment is behind the arguments and the null pointer that ends them.
        Strings(unsafe { self.0.add(1 + *self.0 + 1) }.cast())
    }

    /// `AT_EXECFN` of getauxval(3).
    pub(crate) fn executed_as(&self) -> Option<&'static [u8]> {
        let mut note = self.environment().0;
        // SAFETY: the notes, pairs of a kind and a value, are behind the null pointer that ends the environment; the last
        // one's kind is `AT_NULL`. The one asked for points to a string above the stack.
        unsafe {
            while !(*note).is_null() {
                note = note.add(1);
            }
            let mut note = note.add(1).cast::<[*const u8; 2]>();
            while (*note)[0].addr() as c_ulong != libc::AT_NULL {
                if (*note)[0].addr() as c_ulong == libc::AT_EXECFN {
                    return Some(text((*note)[1]));
                }
                note = note.add(1);
            }
        }
        None
    }
}

/// An array of NUL-terminated strings that ends with a null pointer, and lives as long as the program.
#[derive(Clone, Copy)]
pub(crate) struct Strings(*const *const u8);

impl Strings {
    pub(crate) fn iter(self) -> impl Iterator<Item = &'static [u8]> {
        // SAFETY: the pointers are those of strings.
        self.pointers().map(|pointer| unsafe { text(pointer) })
    }

    fn pointers(self) -> impl Iterator<Item = *const u8> {
        let mut next = self.0;
        core::iter::from_fn(move || {
            // SAFETY: the end has not been passed.
            let pointer = unsafe { *next };
            (!pointer.is_null()).then(|| {
                // SAFETY: this was not the end.
                next = unsafe { next.add(1) };
                pointer
            })
        })
    }
}

/// # Safety
/// The pointer is that of a NUL-terminated string that lives as long as the program.
unsafe fn text(pointer: *const u8) -> &'static [u8] {
    let mut length = 0;
    // SAFETY: up to its end the string can be read.
    unsafe {
        while *pointer.add(length) != 0 {
            length += 1;
        }
        slice::from_raw_parts(pointer, length)
    }
}

/// A short string with a NUL behind it. It is never initialised as a whole: that would be a `memset`.
pub(crate) struct Text {
    bytes: [MaybeUninit<u8>; LONGEST],
    length: usize,
}

impl Text {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self { bytes: [const { MaybeUninit::uninit() }; LONGEST], length: 0 }
    }

    /// # Errors
    /// It gets too long.
    pub(crate) fn push(&mut self, byte: u8) -> Result<()> {
        let [place, end] = self
            .bytes
            .get_mut(self.length..)
            .and_then(|rest| rest.first_chunk_mut())
            .ok_or(libc::ENAMETOOLONG)?;
        place.write(byte);
        end.write(0);
        self.length += 1;
        Ok(())
    }

    /// # Errors
    /// It gets too long.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.iter().try_for_each(|byte| self.push(*byte))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: these were written.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr().cast(), self.length) }
    }

    fn pointer(&self) -> usize {
        self.bytes.as_ptr().expose_provenance()
    }
}

/// A descriptor. The program goes on to another one, or ends its attempt: then it is closed.
pub(crate) struct Descriptor(c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is this value's own.
        let _ = unsafe { call(libc::SYS_close, [self.number(), 0, 0, 0, 0]) };
    }
}

/// The path that the kernel has for this program's file.
///
/// # Errors
/// There is no procfs, or the path is too long.
pub(crate) fn own_path(path: &mut Text) -> Result<()> {
    // SAFETY: the kernel writes no more bytes than there is place for.
    let length = unsafe { call(libc::SYS_readlinkat, [HERE, address(SELF), path.pointer(), LONGEST, 0]) }?;
    if length >= LONGEST {
        return Err(libc::ENAMETOOLONG);
    }
    path.length = length;
    Ok(())
}

/// Mounts an overlay of these layers, read-only, attached nowhere.
///
/// # Errors
/// errno(3).
#[allow(clippy::cast_possible_truncation)] // Flags, of less than 32 bits.
pub(crate) fn overlay(layers: &Text) -> Result<Descriptor> {
    // SAFETY: the strings end with NUL, and there are no other pointers.
    unsafe {
        let context = Descriptor::new(call(
            libc::SYS_fsopen,
            [address(c"overlay"), libc::FSOPEN_CLOEXEC as usize, 0, 0, 0],
        )?)?;
        let set = |command: libc::c_uint, key, value| {
            call(libc::SYS_fsconfig, [context.number(), command as usize, key, value, 0])
        };
        set(libc::FSCONFIG_SET_STRING, address(c"lowerdir"), layers.pointer())?;
        set(libc::FSCONFIG_SET_FLAG, address(c"ro"), 0)?;
        set(libc::FSCONFIG_CMD_CREATE, 0, 0)?;
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
        // It stays open across the execution: the program lives in it.
        Descriptor::new(call(libc::SYS_fsmount, [context.number(), 0, attributes as usize, 0, 0])?)
    }
}

impl Descriptor {
    fn new(number: usize) -> Result<Self> {
        let descriptor = Self(c_int::try_from(number).map_err(|_| libc::EBADF)?);
        // Where standard input, output or error are closed, nothing may take their place.
        if number > 2 { Ok(descriptor) } else { Err(libc::EBADF) }
    }

    fn number(&self) -> usize {
        self.0.unsigned_abs() as usize
    }

    /// Whether the file `name` in this directory is the one that runs. The inode number is the overlay's own.
    ///
    /// # Errors
    /// errno(3).
    pub(crate) fn has_this_program(&self, name: &Text) -> Result<bool> {
        let (mut one, mut other) = (MaybeUninit::<libc::stat>::uninit(), MaybeUninit::<libc::stat>::uninit());
        // SAFETY: the names end with NUL, and what the kernel has written is read only where it says so.
        let (one, other) = unsafe {
            call(libc::SYS_newfstatat, [HERE, address(SELF), one.as_mut_ptr().expose_provenance(), 0, 0])?;
            let flags = libc::AT_SYMLINK_NOFOLLOW as usize;
            let place = other.as_mut_ptr().expose_provenance();
            call(libc::SYS_newfstatat, [self.number(), name.pointer(), place, flags, 0])?;
            (one.assume_init_ref(), other.assume_init_ref())
        };
        Ok(one.st_size == other.st_size
            && one.st_mtime == other.st_mtime
            && one.st_mtime_nsec == other.st_mtime_nsec)
    }

    /// Executes the program `name` in this directory, with these arguments and the entries of the environment that are
    /// `wanted`. Returns only on failure, with errno(3).
    pub(crate) fn execute(
        &self,
        name: &Text,
        arguments: Strings,
        environment: Strings,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> c_int {
        let mut chosen = [const { MaybeUninit::uninit() }; ROOM + 1];
        let mut places = chosen.iter_mut();
        // SAFETY: the pointers are those of strings.
        let entries = environment.pointers().filter(|pointer| wanted(unsafe { text(*pointer) }));
        for (pointer, place) in entries.zip(places.by_ref().take(ROOM)) {
            place.write(pointer);
        }
        let Some(end) = places.next() else { return libc::E2BIG };
        end.write(ptr::null());
        let (argv, envp) = (arguments.0.expose_provenance(), chosen.as_ptr().expose_provenance());
        let flags = libc::AT_SYMLINK_NOFOLLOW as usize;
        // SAFETY: both arrays end with a null pointer, as far as they were written.
        let result = unsafe { call(libc::SYS_execveat, [self.number(), name.pointer(), argv, envp, flags]) };
        result.err().unwrap_or_default()
    }
}

fn address(text: &CStr) -> usize {
    text.as_ptr().expose_provenance()
}

/// A system call.
///
/// # Safety
/// That of the call.
#[inline(always)]
unsafe fn call(number: c_long, arguments: [usize; 5]) -> Result<usize> {
    let [a, b, c, d, e] = arguments;
    let result: c_long;
    // SAFETY: the kernel changes these registers alone.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    // SAFETY: as above. Elsewhere this runs when the C library has begun.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        result = match libc::syscall(number, a, b, c, d, e) {
            -1 => -c_long::from(*libc::__errno_location()),
            done => done,
        };
    }
    usize::try_from(result).map_err(|_| c_int::try_from(-result).unwrap_or(libc::EINVAL))
}
