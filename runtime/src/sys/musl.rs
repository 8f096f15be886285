//! Functions of the C library that musl has in a slower way than this program wants them: memcpy(3), memmove(3), memcmp(3),
//! bcmp(3), open(2) and signal(2). Nothing else belongs here.
//!
//! On x86_64 musl copies by `rep movsq`, which takes longer to begin than most of our copies take, and compares byte by
//! byte: together a fifth of what a start of a container computes. Its `open` marks each file close-on-exec a second time,
//! for kernels before 2.6.23: a call more for each file. Its `signal` first unblocks signals of its own, which only its threads
//! use, and this program has none.
//!
//! A debug build, where each step of a copy is a call, keeps those of the C library.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_storeu_si128};

/// From here on the processor's own copying is the faster one.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 1024;

/// open(2), by openat(2): which of the two it is makes no difference to the kernel.
///
/// # Safety
/// As C has it. `mode` need not be there when `flags` do not ask for it: as much is read as for the kernel.
// SAFETY: the one symbol of this name; the C library's is not linked, since nothing else in its file is needed. That C declares
// it with any number of arguments makes no difference to where the first three are.
#[cfg(all(target_env = "musl", not(debug_assertions)))]
#[unsafe(no_mangle)]
unsafe extern "C" fn open(
    path: *const std::ffi::c_char,
    flags: std::ffi::c_int,
    mode: libc::mode_t,
) -> std::ffi::c_int {
    // SAFETY: the caller's promise.
    unsafe { libc::openat(libc::AT_FDCWD, path, flags, mode) }
}

/// signal(2), with the semantics of BSD: by rt_sigaction(2) alone.
///
/// # Safety
/// As C has it.
// SAFETY: the one symbol of this name; the C library's is not linked, since nothing else in its file is needed.
#[cfg(all(target_env = "musl", target_arch = "x86_64", not(debug_assertions)))]
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(number: std::ffi::c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    /// As the kernel has it on this architecture.
    #[repr(C)]
    struct Action {
        handler: libc::sighandler_t,
        flags: std::ffi::c_ulong,
        restorer: usize,
        mask: u64,
    }
    // SAFETY: the C library's return from a handler, which is never called from here.
    unsafe extern "C" {
        fn __restore_rt();
    }
    /// `asm/signal.h`: not among the C library's names.
    const SA_RESTORER: libc::c_int = 0x0400_0000;
    let flags = (SA_RESTORER | libc::SA_RESTART).cast_unsigned().into();
    let action = Action { handler, flags, restorer: __restore_rt as *const () as usize, mask: 0 };
    let mut old = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    let set_size = size_of::<u64>();
    // SAFETY: the kernel reads one structure and writes the other. That the handler may run is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, &raw const action, &raw mut old, set_size) };
    if result < 0 { libc::SIG_ERR } else { old.handler }
}

/// The symbols that the compiler's calls go to.
#[cfg(all(target_env = "musl", target_arch = "x86_64", not(debug_assertions)))]
mod memory {
    use std::ffi::c_int;

    /// memcpy(3).
    ///
    /// # Safety
    /// As C has it.
    // SAFETY: the one symbol of this name: musl has these four in files of their own, which are not linked then.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: the caller's promise, which is more than what is asked for.
        unsafe { super::forward(to, from, count) };
        to
    }

    /// memmove(3).
    ///
    /// # Safety
    /// As C has it.
    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: the caller's promise; `to` begins inside of what is read, or it does not.
        unsafe {
            if to.addr().wrapping_sub(from.addr()) >= count {
                super::forward(to, from, count);
            } else {
                super::backward(to, from, count);
            }
        }
        to
    }

    /// memcmp(3).
    ///
    /// # Safety
    /// As C has it.
    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { super::compare(left, right, count) }
    }

    /// bcmp(3).
    ///
    /// # Safety
    /// As C has it.
    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { super::compare(left, right, count) }
    }
}

/// Copies what is less than 16 bytes long: two pieces that may share bytes, both read before either is written.
///
/// # Safety
/// `count` bytes can be read and written; `count` is less than 16.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
unsafe fn short(to: *mut u8, from: *const u8, count: usize) {
    macro_rules! both_ends {
        ($piece:ty) => {{
            let last = count - size_of::<$piece>();
            let (head, tail) =
                (from.cast::<$piece>().read_unaligned(), from.add(last).cast::<$piece>().read_unaligned());
            to.cast::<$piece>().write_unaligned(head);
            to.add(last).cast::<$piece>().write_unaligned(tail);
        }};
    }
    // SAFETY: each piece lies inside of the `count` bytes.
    unsafe {
        match count {
            8.. => both_ends!(u64),
            4.. => both_ends!(u32),
            2.. => both_ends!(u16),
            1 => *to = *from,
            0 => {}
        }
    }
}

/// Copies from the first byte to the last.
///
/// # Safety
/// `count` bytes can be read at `from` and written at `to`, which does not begin inside of what is read.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
unsafe fn forward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: each piece lies inside of the `count` bytes. Where `to` is a little before `from`, what is overwritten has been
    // read: the last piece at first.
    unsafe {
        if count < 16 {
            short(to, from, count);
        } else if count < LONG {
            let last = count - 16;
            let tail = load(from.add(last));
            let mut at = 0;
            while at < last {
                store(to.add(at), load(from.add(at)));
                at += 16;
            }
            store(to.add(last), tail);
        } else {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Copies from the last byte to the first.
///
/// # Safety
/// `count` bytes can be read at `from` and written at `to`, which does not end inside of what is read.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
unsafe fn backward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: each piece lies inside of the `count` bytes, and is read before something is written over it.
    unsafe {
        if count < 16 {
            return short(to, from, count);
        }
        let head = load(from);
        let mut left = count;
        while left > 16 {
            left -= 16;
            store(to.add(left), load(from.add(left)));
        }
        store(to, head);
    }
}

/// Less than, equal to or greater than 0, as the first byte that differs is.
///
/// # Safety
/// `count` bytes can be read at both.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
unsafe fn compare(left: *const u8, right: *const u8, count: usize) -> i32 {
    let mut at = 0;
    // SAFETY: each piece lies inside of the `count` bytes.
    unsafe {
        while at + 16 <= count {
            let same = _mm_movemask_epi8(_mm_cmpeq_epi8(load(left.add(at)), load(right.add(at))));
            if same != 0xffff {
                at += same.trailing_ones() as usize;
                return i32::from(*left.add(at)) - i32::from(*right.add(at));
            }
            at += 16;
        }
        while at + 8 <= count {
            let (one, other) = (eight(left.add(at)), eight(right.add(at)));
            if one != other {
                return if one < other { -1 } else { 1 };
            }
            at += 8;
        }
        while at < count {
            let (one, other) = (*left.add(at), *right.add(at));
            if one != other {
                return i32::from(one) - i32::from(other);
            }
            at += 1;
        }
    }
    0
}

/// # Safety
/// 8 bytes can be read.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
unsafe fn eight(at: *const u8) -> u64 {
    // SAFETY: the caller's promise. In this order numbers compare as their bytes do.
    u64::from_be(unsafe { at.cast::<u64>().read_unaligned() })
}

/// # Safety
/// 16 bytes can be read.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
unsafe fn load(at: *const u8) -> __m128i {
    // SAFETY: the caller's promise; the instruction asks for no alignment.
    unsafe { _mm_loadu_si128(at.cast()) }
}

/// # Safety
/// 16 bytes can be written.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
unsafe fn store(at: *mut u8, piece: __m128i) {
    // SAFETY: the caller's promise; the instruction asks for no alignment.
    unsafe { _mm_storeu_si128(at.cast(), piece) }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    /// Bytes of which no two neighbours are the same.
    fn pattern() -> Vec<u8> {
        (0..3000u32).map(|at| u8::try_from(at * 7 % 251).unwrap_or(0)).collect()
    }

    #[test]
    fn copies_are_those_of_the_language() {
        for count in (0..200).chain([1000, 1023, 1024, 1025, 1500]) {
            for (from, to) in
                [(0, 1500), (1500, 0), (3, 1500), (100, 101), (101, 100), (100, 117), (117, 100)]
            {
                let (mut ours, mut theirs) = (pattern(), pattern());
                theirs.copy_within(from..from + count, to);
                let at = ours.as_mut_ptr();
                // SAFETY: both pieces lie inside of the 3000 bytes.
                unsafe {
                    if to.wrapping_sub(from) >= count {
                        super::forward(at.add(to), at.add(from), count);
                    } else {
                        super::backward(at.add(to), at.add(from), count);
                    }
                }
                assert_eq!(ours, theirs, "{count} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn comparisons_are_those_of_the_language() {
        let left = pattern();
        for count in 0..100 {
            for differs in 0..=count {
                for value in [0, 255] {
                    let mut right = left.clone();
                    right[differs] = value;
                    let expected = left[..count].cmp(&right[..count]);
                    // SAFETY: both are longer.
                    let order = unsafe { super::compare(left.as_ptr(), right.as_ptr(), count) };
                    assert_eq!(order.cmp(&0), expected, "{count} bytes, {value} at {differs}");
                }
            }
        }
    }
}
