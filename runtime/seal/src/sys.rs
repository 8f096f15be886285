//! System calls without the C library, and what the kernel puts on the stack of a program that it starts.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int, c_long, c_ulong};
use core::mem::MaybeUninit;
use core::{ptr, slice};

type Result<T> = core::result::Result<T, c_int>;

/// The longest string that fsconfig(2) takes, with its end.
const LONGEST: usize = 256;

/// What the kernel maps at least, on the one architecture where [`first`] is called.
const PAGE: usize = 4096;

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
    let mut name = Text::new();
    match super::sealed_directory(&mut name) {
        Ok(mount) => super::execute(&mount, &name, Strings(arguments.cast()), Strings(environment.cast())),
        Err(errno) => errno,
    }
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

    /// What the kernel has noted (getauxval(3)).
    fn note(&self, kind: c_ulong) -> Option<*const u8> {
        let mut note = self.environment().0;
        // SAFETY: the notes, pairs of a kind and a value, are behind the null pointer that ends the environment; the last
        // one's kind is `AT_NULL`.
        unsafe {
            while !(*note).is_null() {
                note = note.add(1);
            }
            let mut note = note.add(1).cast::<[*const u8; 2]>();
            while (*note)[0].addr() as c_ulong != libc::AT_NULL {
                if (*note)[0].addr() as c_ulong == kind {
                    return Some((*note)[1]);
                }
                note = note.add(1);
            }
        }
        None
    }

    /// What this program was executed as.
    pub(crate) fn executed_as(&self) -> Option<&'static [u8]> {
        // SAFETY: it points to a string above the stack.
        self.note(libc::AT_EXECFN).map(|name| unsafe { text(name) })
    }

    /// The parts of this program's file that are in memory, in ascending order (elf(5)).
    fn segments(&self) -> Option<impl Iterator<Item = &'static libc::Elf64_Phdr>> {
        let (table, length) = (self.note(libc::AT_PHDR)?, self.note(libc::AT_PHNUM)?.addr());
        // SAFETY: the kernel has found the table there, in the first of the segments, and it stays the same.
        let table = unsafe { slice::from_raw_parts(table.cast::<libc::Elf64_Phdr>(), length) };
        Some(table.iter().filter(|header| header.p_type == libc::PT_LOAD))
    }

    /// Maps all of this program from `file`, which has the same in it, and has the kernel take that for the file that this
    /// program was executed from (`PR_SET_MM_MAP` of prctl(2): Linux 3.18, `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`). The
    /// kernel sees to it that nothing of the other file is mapped then.
    ///
    /// # Errors
    /// errno(3). Which of the files is mapped is open then.
    pub(crate) fn move_to(&self, file: &Descriptor) -> Result<()> {
        let (mut code, mut data) = (0..0, 0..0);
        for segment in self.segments().ok_or(libc::ENOEXEC)? {
            let (start, end) = place(segment)?;
            // SAFETY: this is how the kernel has mapped the segment, and nothing was written to it since.
            unsafe { map(segment, file)? };
            if segment.p_flags & libc::PF_X != 0 {
                code = start..end;
            }
            data = start..end;
        }
        let (execfn, stack) = (self.note(libc::AT_EXECFN).ok_or(libc::ENOEXEC)?.addr(), self.0.addr());
        let first = |strings: Strings| strings.pointers().next().map_or(execfn, <*const u8>::addr);
        let (arguments, environment) = (first(self.arguments()), first(self.environment()));
        // SAFETY: a break of zero is only asked for.
        let heap = unsafe { call(libc::SYS_brk, [0]) }?;
        // As the kernel has noted it all itself: it can be told of another file only together with the rest.
        let addresses = [
            code.start,
            code.end,
            data.start,
            data.end,
            heap,
            heap,
            stack,
            arguments,
            environment,
            environment,
            execfn,
        ];
        let memory = Memory { addresses, auxv: 0, auxv_size: 0, exe_fd: file.0 };
        let [operation, kind] =
            [libc::PR_SET_MM, libc::PR_SET_MM_MAP].map(|name| name.unsigned_abs() as usize);
        let pointer = (&raw const memory).expose_provenance();
        // SAFETY: the kernel reads this structure, checks it, and takes it for what it tells others of this program; it
        // goes by none of it itself but the break, which is as it was.
        unsafe { call(libc::SYS_prctl, [operation, kind, pointer, size_of::<Memory>(), 0]) }?;
        Ok(())
    }
}

/// `struct prctl_mm_map` of `linux/prctl.h`, in the order that it has there.
#[repr(C)]
struct Memory {
    /// Starts and ends of code and data, start and end of the heap, start of the stack, starts and ends of arguments and
    /// environment.
    addresses: [usize; 11],
    /// Null: the notes stay as they are.
    auxv: usize,
    auxv_size: u32,
    exe_fd: c_int,
}

/// Where in memory the bytes of a segment begin and end.
fn place(segment: &libc::Elf64_Phdr) -> Result<(usize, usize)> {
    let number = |number: u64| usize::try_from(number).map_err(|_| libc::ENOEXEC);
    let start = number(segment.p_vaddr)?;
    Ok((start, start + number(segment.p_filesz)?))
}

/// Maps a segment of this program from `file`, as execve(2) does it.
///
/// # Errors
/// errno(3).
///
/// # Safety
/// Nothing has been written there since the kernel has mapped it, and the file has the same in it.
unsafe fn map(segment: &libc::Elf64_Phdr, file: &Descriptor) -> Result<()> {
    let (start, end) = place(segment)?;
    let skipped = start % PAGE;
    let offset = usize::try_from(segment.p_offset).map_err(|_| libc::ENOEXEC)? - skipped;
    let protection =
        [(libc::PF_R, libc::PROT_READ), (libc::PF_W, libc::PROT_WRITE), (libc::PF_X, libc::PROT_EXEC)]
            .iter()
            .filter(|(flag, _)| segment.p_flags & flag != 0)
            .fold(0, |all, (_, protection)| all | protection.unsigned_abs() as usize);
    // Nearly each of the few pages of variables is needed.
    let populate = if segment.p_flags & libc::PF_W != 0 { libc::MAP_POPULATE } else { 0 };
    let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED | populate).unsigned_abs() as usize;
    // SAFETY: the same bytes come to the same place.
    unsafe {
        call(
            libc::SYS_mmap,
            [start - skipped, end - start + skipped, protection, flags, file.number(), offset],
        )?;
        // Behind the bytes of a segment that goes on as zeroes, its last page has whatever follows in the file.
        if segment.p_memsz > segment.p_filesz && end % PAGE != 0 {
            zero(ptr::with_exposed_provenance_mut(end), PAGE - end % PAGE);
        }
    }
    Ok(())
}

/// # Safety
/// So many bytes can be written there, and nothing refers to them.
unsafe fn zero(place: *mut u8, length: usize) {
    for index in 0..length {
        // SAFETY: as promised.
        unsafe { place.add(index).write_volatile(0) };
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

    /// Empties the strings that are `unwanted`: nothing of them stays in memory.
    pub(crate) fn clear(self, unwanted: impl Fn(&[u8]) -> bool) {
        for pointer in self.pointers() {
            // SAFETY: the pointer is that of a string above the stack, which is this program's to write to, and to which
            // nothing refers behind this.
            unsafe {
                let text = text(pointer);
                if unwanted(text) {
                    zero(pointer.cast_mut(), text.len());
                }
            }
        }
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
        let mut bytes = [const { MaybeUninit::uninit() }; LONGEST];
        if let Some(end) = bytes.first_mut() {
            end.write(0);
        }
        Self { bytes, length: 0 }
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
        let _ = unsafe { call(libc::SYS_close, [self.number()]) };
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

/// Mounts an overlay of these layers, attached nowhere. Without an upper layer the kernel makes it read-only, and keeps it so.
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
        set(libc::FSCONFIG_CMD_CREATE, 0, 0)?;
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
        let flags = libc::FSMOUNT_CLOEXEC as usize;
        let mount =
            Descriptor::new(call(libc::SYS_fsmount, [context.number(), flags, attributes as usize, 0, 0])?)?;
        // It holds no more than the mount does, and is closed by the end of this program.
        context.keep();
        Ok(mount)
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

    /// Leaves it open.
    pub(crate) fn keep(self) -> c_int {
        let number = self.0;
        core::mem::forget(self);
        number
    }

    /// Opens the file `name` in this directory.
    ///
    /// # Errors
    /// errno(3).
    pub(crate) fn open(&self, name: &Text) -> Result<Self> {
        let flags = (libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC).unsigned_abs() as usize;
        // SAFETY: the name ends with NUL.
        Self::new(unsafe { call(libc::SYS_openat, [self.number(), name.pointer(), flags, 0, 0]) }?)
    }

    /// Whether the file `name` in this directory, or this file itself where the name is empty, is the one that runs. The
    /// inode number is the overlay's own.
    ///
    /// # Errors
    /// errno(3).
    pub(crate) fn is_this_program(&self, name: &Text) -> Result<bool> {
        let (mut one, mut other) = (MaybeUninit::<libc::stat>::uninit(), MaybeUninit::<libc::stat>::uninit());
        // SAFETY: the names end with NUL, and what the kernel has written is read only where it says so.
        let (one, other) = unsafe {
            call(libc::SYS_newfstatat, [HERE, address(SELF), one.as_mut_ptr().expose_provenance(), 0, 0])?;
            let flags = (libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH).unsigned_abs() as usize;
            let place = other.as_mut_ptr().expose_provenance();
            call(libc::SYS_newfstatat, [self.number(), name.pointer(), place, flags, 0])?;
            (one.assume_init_ref(), other.assume_init_ref())
        };
        Ok(one.st_size == other.st_size
            && one.st_mtime == other.st_mtime
            && one.st_mtime_nsec == other.st_mtime_nsec
            && one.st_ctime == other.st_ctime
            && one.st_ctime_nsec == other.st_ctime_nsec)
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
        // The program lives in the mount, and goes on to hold it: closing it takes the kernel some time.
        // SAFETY: no pointers.
        if let Err(errno) = unsafe { call(libc::SYS_fcntl, [self.number(), libc::F_SETFD as usize, 0, 0, 0]) }
        {
            return errno;
        }
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
unsafe fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> Result<usize> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(argument);
    let result: c_long;
    // SAFETY: the kernel changes these registers alone.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    // SAFETY: as above. Elsewhere this runs when the C library has begun.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        result = match libc::syscall(number, a, b, c, d, e, f) {
            -1 => -c_long::from(*libc::__errno_location()),
            done => done,
        };
    }
    usize::try_from(result).map_err(|_| c_int::try_from(-result).unwrap_or(libc::EINVAL))
}
