//! Corten's command line.
//!
//! Entered without the standard library's own beginning, which reads the memory map, makes a signal stack and handlers:
//! a fifth of the calls of a short command, twice where a command executes itself again. What is needed of it
//! (`runtime::sys::process::begin`) is done by hand.
#![no_main]
#![deny(unsafe_code)]

use runtime::sys::arena::Arena;
use std::ffi::{c_char, c_int};

#[global_allocator]
static ARENA: Arena = Arena::new();

/// The program's entry, by its C name.
///
/// # Safety
/// C calls it, with the program's arguments.
// SAFETY: the one symbol of this name, with the signature that C gives it.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(_argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: this is that array.
    unsafe { runtime::sys::process::begin(argv) };
    std::panic::set_hook(Box::new(|fault| {
        eprintln!("corten: this is a fault of corten itself: {fault}");
        // At once: unwinding a child would undo its parent's work, and abort(3) does not end the first process of a PID
        // namespace.
        runtime::sys::clone::exit_now(runtime::command::FAILED)
    }));
    // What is printed has been written out, and nothing else waits for the end of this process.
    runtime::sys::clone::exit_now(runtime::command::run(
        runtime::sys::process::arguments().into_iter().skip(1),
    ))
}
