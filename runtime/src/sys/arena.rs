//! The allocator of a command that lives for milliseconds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More than any command takes at one time, but for huge configurations; pages that are never touched cost nothing.
const SIZE: usize = 1 << 20;
/// What is larger comes from the C library, which gives it back to the kernel when it is freed.
const LARGEST: usize = 64 << 10;
/// What is smaller is neither kept in the hole nor taken from it: a large piece would soon be a few small ones.
const HOLE: usize = 64;

/// Memory handed out from one end of a fixed block. What is freed last is handed out again, and of the rest the largest
/// stretch: a page used twice is one that the kernel need not clear. Freeing writes nothing into the block, so that after
/// clone3(2) neither side copies pages for it. When the block is used up (a command that stays, as `events`), the C
/// library's allocator takes over.
#[derive(Debug)]
pub struct Arena {
    block: UnsafeCell<Block>,
    /// Bytes of the block in use.
    top: AtomicUsize,
    /// Bytes of the block that were in use and are not all in use now: behind them it is as it was, zero.
    used: AtomicUsize,
    /// Where a stretch below `top` begins and ends that is not in use. Only for a process of one thread.
    hole: (AtomicUsize, AtomicUsize),
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// Whether this process has one thread for certain (glibc 2.32, `<sys/single_threaded.h>`).
    static __libc_single_threaded: libc::c_char;
}

/// Whether nobody else can be in here: then nothing has to be exchanged in one step, which takes longer than all else.
#[cfg(target_env = "gnu")]
fn alone() -> bool {
    // SAFETY: the C library's own variable, which it only writes where threads are made or end, in this thread.
    unsafe { (&raw const __libc_single_threaded).read_volatile() != 0 }
}

/// The same, where the C library does not say it: the only program that has this allocator makes no threads, which
/// `clippy.toml` refuses.
#[cfg(not(target_env = "gnu"))]
fn alone() -> bool {
    true
}

#[derive(Debug)]
#[repr(align(4096))]
struct Block(#[allow(dead_code)] [u8; SIZE]);

// SAFETY: bytes of the block belong to whoever `top`, or the beginning of the hole, was moved for; with more than one
// thread `top` is only moved atomically, and the hole not at all.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of which nothing is in use.
    #[must_use]
    #[allow(clippy::new_without_default)] // There is one, as a static.
    pub const fn new() -> Self {
        Self {
            block: UnsafeCell::new(Block([0; SIZE])),
            top: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            hole: (AtomicUsize::new(0), AtomicUsize::new(0)),
        }
    }

    fn start(&self) -> usize {
        self.block.get() as usize
    }

    /// Takes bytes from the block; `None` when it is used up.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        if layout.size() > LARGEST || layout.align() > align_of::<Block>() {
            return None;
        }
        if layout.size() >= HOLE
            && alone()
            && let Some(begin) = self.fill(layout)
        {
            // SAFETY: `begin` is inside the block.
            return Some(unsafe { self.block.get().cast::<u8>().add(begin) });
        }
        loop {
            let top = self.top.load(Ordering::Relaxed);
            let begin = top.next_multiple_of(layout.align());
            let end = begin + layout.size();
            if end > SIZE {
                return None;
            }
            if self.move_top(top, end) {
                // SAFETY: `begin` is inside the block.
                return Some(unsafe { self.block.get().cast::<u8>().add(begin) });
            }
        }
    }

    /// Moves the end of what is in use, if it is still at `from`.
    fn move_top(&self, from: usize, to: usize) -> bool {
        // Most of what is freed is not the last: not worth an exchange that the processor has to lock.
        if self.top.load(Ordering::Relaxed) != from {
            return false;
        }
        // Before anybody can have it again.
        if to < from && self.used.load(Ordering::Relaxed) < from {
            self.used.fetch_max(from, Ordering::AcqRel);
        }
        if alone() {
            self.top.store(to, Ordering::Relaxed);
            return true;
        }
        self.top.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes bytes from the hole, if they fit. Only for a process of one thread.
    fn fill(&self, layout: Layout) -> Option<usize> {
        let (hole, end) = (self.hole.0.load(Ordering::Relaxed), self.hole.1.load(Ordering::Relaxed));
        let begin = hole.next_multiple_of(layout.align());
        if begin + layout.size() > end {
            return None;
        }
        self.hole.0.store(begin + layout.size(), Ordering::Relaxed);
        Some(begin)
    }

    /// Notes that a stretch below `top` is not in use any more. Only for a process of one thread.
    fn leave(&self, begin: usize, end: usize) {
        let hole = (self.hole.0.load(Ordering::Relaxed), self.hole.1.load(Ordering::Relaxed));
        let (begin, end) = match () {
            () if end == hole.0 => (begin, hole.1),
            () if begin == hole.1 => (hole.0, end),
            () if end - begin > hole.1 - hole.0 => (begin, end),
            () => return,
        };
        if self.used.load(Ordering::Relaxed) < end {
            self.used.store(end, Ordering::Relaxed);
        }
        self.hole.0.store(begin, Ordering::Relaxed);
        self.hole.1.store(end, Ordering::Relaxed);
    }

    /// Where in the block a pointer points, if it does.
    fn position(&self, pointer: *mut u8) -> Option<usize> {
        (pointer as usize).checked_sub(self.start()).filter(|position| *position < SIZE)
    }
}

// SAFETY: what `take` returns is aligned, inside the block and handed out once, until it is given back as the last
// piece or into the hole; all else is the system allocator's.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(pointer) => pointer,
            // SAFETY: the caller's promise about `layout` is passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    /// Memory of the block that was never handed out is not written to: it need not be there yet.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(pointer) = self.take(layout) else {
            // SAFETY: the caller's promise about `layout` is passed on.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let used = self.used.load(Ordering::Acquire);
        let dirty = used.saturating_sub(pointer as usize - self.start());
        // SAFETY: this many bytes were just handed out.
        unsafe { pointer.write_bytes(0, dirty.min(layout.size())) };
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.position(pointer) {
            Some(position) => {
                let end = position + layout.size();
                if !self.move_top(end, position) && layout.size() >= HOLE && alone() {
                    self.leave(position, end);
                }
            }
            // SAFETY: outside of the block, so it came from the system allocator with this layout.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(position) = self.position(pointer) else {
            // SAFETY: outside of the block, so it came from the system allocator with this layout.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        let fits = size <= LARGEST && position + size <= SIZE;
        if fits && self.move_top(position + layout.size(), position + size) {
            return pointer;
        }
        // SAFETY: the caller promises that `size` is valid for this alignment.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above.
        let moved = unsafe { self.alloc(larger) };
        if !moved.is_null() {
            // SAFETY: both are valid for the smaller of the sizes, and they are two pieces.
            unsafe { std::ptr::copy_nonoverlapping(pointer, moved, layout.size().min(size)) };
            // SAFETY: the old piece, with its layout.
            unsafe { self.dealloc(pointer, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn pieces_are_apart_and_the_last_is_handed_out_again() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        // SAFETY: layouts are valid, pointers are used within them and given back once.
        unsafe {
            let first = arena.alloc(layout(24));
            let second = arena.alloc(layout(100));
            assert_eq!(second as usize - first as usize, 24);
            arena.dealloc(second, layout(100));
            assert_eq!(arena.alloc(layout(8)), second);
            arena.dealloc(first, layout(24));
            assert_ne!(arena.alloc(layout(8)), first);
        }
    }

    /// The test's program has threads: what a process of one thread does is called by its name.
    #[test]
    fn the_largest_stretch_is_handed_out_again() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        // SAFETY: as above.
        let pieces = [1000, 2000, 100, 500].map(|size| unsafe { arena.alloc(layout(size)) as usize });
        let at = |piece: usize| pieces[piece] - arena.start();
        arena.leave(at(0), at(0) + 1000);
        arena.leave(at(2), at(2) + 100);
        assert_eq!(arena.fill(layout(1001)), None);
        assert_eq!(arena.fill(layout(600)), Some(at(0)));
        // Beside what is left of the first; then the third, which was too small to be kept, beside both.
        arena.leave(at(1), at(1) + 2000);
        assert_eq!(arena.fill(layout(2401)), None);
        arena.leave(at(2), at(2) + 100);
        assert_eq!(arena.fill(layout(2500)), Some(at(0) + 600));
        assert_eq!(arena.fill(layout(1)), None);
        // Zeroes are asked for where something was.
        assert!(arena.used.load(Ordering::Relaxed) >= at(2) + 100);
    }

    #[test]
    fn growing_keeps_the_bytes() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        // SAFETY: as above.
        unsafe {
            let piece = arena.alloc(layout(4));
            piece.write_bytes(7, 4);
            assert_eq!(arena.realloc(piece, layout(4), 64), piece);
            let other = arena.alloc(layout(1));
            let moved = arena.realloc(piece, layout(64), 128);
            assert!(moved > other);
            assert_eq!(std::slice::from_raw_parts(moved, 4), [7; 4]);
            let large = arena.realloc(moved, layout(128), LARGEST + 1);
            assert!(arena.position(large).is_none());
            assert_eq!(std::slice::from_raw_parts(large, 4), [7; 4]);
            arena.dealloc(large, layout(LARGEST + 1));
        }
    }

    #[test]
    fn zeroes_are_zeroes_whoever_had_them_before() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        let zero = |pointer: *mut u8, size| {
            // SAFETY: this many bytes were handed out, as zeroes.
            unsafe { std::slice::from_raw_parts(pointer, size) }.iter().all(|byte| *byte == 0)
        };
        // SAFETY: as above.
        unsafe {
            let first = arena.alloc_zeroed(layout(64));
            assert!(zero(first, 64));
            first.write_bytes(7, 64);
            // Shorter, then given back: what lies behind was in use too.
            assert_eq!(arena.realloc(first, layout(64), 16), first);
            let second = arena.alloc_zeroed(layout(32));
            assert!(second > first && zero(second, 32));
            second.write_bytes(7, 32);
            arena.dealloc(second, layout(32));
            assert!(zero(arena.alloc_zeroed(layout(100)), 100));
            let large = arena.alloc_zeroed(layout(LARGEST + 1));
            assert!(arena.position(large).is_none() && zero(large, LARGEST + 1));
            arena.dealloc(large, layout(LARGEST + 1));
        }
    }

    #[test]
    fn the_system_takes_over_when_it_is_used_up() {
        static ARENA: Arena = Arena::new();
        let arena = &ARENA;
        // SAFETY: as above; what is in the block needs no giving back.
        unsafe {
            for _ in 0..SIZE / LARGEST {
                assert!(arena.position(arena.alloc(layout(LARGEST))).is_some());
            }
            let next = arena.alloc(layout(LARGEST));
            assert!(arena.position(next).is_none());
            arena.dealloc(next, layout(LARGEST));
        }
    }
}
