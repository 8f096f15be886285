//! Has this program run from a file that nobody can write to (CVE-2019-5736), as its very first step: before the C library
//! has begun.
//!
//! As nothing has been written to the program's memory yet, all of it can be mapped anew from that file, in place, and the
//! kernel told that this is the file that runs. Where it does not let itself be told, the program is executed again from
//! there. That costs a tenth of a millisecond more, but not what comes after it twice: a C library begins by asking the
//! processor what it is, 67 times, and in a virtual machine each answer comes from the hypervisor.
//!
//! Nothing here may allocate, panic, or need the C library: its `memcpy` and `strlen` are chosen for the processor when it
//! begins, and are not there yet (hence `no_builtins`, and no comparison of slices, which is a `memcmp`). Nothing may be
//! written to this program's variables before it has been mapped anew. Nothing depends on this step either: whoever enters
//! containers sees to it that it runs from such a file.
#![no_std]
#![no_builtins]
#![deny(unsafe_code)]
// Elsewhere there is no such first step: the program executes itself again.
#![cfg_attr(not(all(target_arch = "x86_64", target_feature = "crt-static")), allow(dead_code))]

mod sys;

use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, Ordering};
pub use sys::again;
use sys::{Descriptor, Start, Strings, Text};

/// What this program looks for in its environment, or those that it runs to map ids. Nothing else goes on: a process of a
/// container may see it, and whatever secrets the caller has in its own are none of the container's business.
pub const VARIABLES: &[&str] = &[
    "DBUS_SESSION_BUS_ADDRESS",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "PATH",
    "RUN_OCI_SECCOMP_RECEIVER",
    "TMPDIR",
    "USER",
    "XDG_RUNTIME_DIR",
    #[cfg(debug_assertions)]
    "CORTEN_WEAKEN",
];

/// The commands that enter containers. An argument of another command that is one of these costs an execution in vain, and
/// that is all.
const ENTERING: &[&str] = &["create", "exec", "restore", "run"];

/// The mount that this program was moved to in place; 0: it was not.
static MOUNT: AtomicI32 = AtomicI32::new(0);

/// The mount that this program was moved to, where that was done in place: an open descriptor, close-on-exec, which belongs
/// to who asks first.
pub fn mount() -> Option<c_int> {
    match MOUNT.swap(0, Ordering::Relaxed) {
        0 => None,
        number => Some(number),
    }
}

/// The program's first step: goes on in the same program, from a sealed file; or as it was, where that is not needed, not
/// wanted yet, or cannot be had this way.
fn first(start: &Start) {
    // What is executed by a descriptor is this already.
    if start.executed_as().is_some_and(|name| begins(name, b"/dev/fd/")) {
        return;
    }
    let enters = |argument: &[u8]| ENTERING.iter().any(|command| same(argument, command.as_bytes()));
    // Those have to be looked at by this program first: a trace has both executions, a program weakened for a test may
    // do without a seal.
    let waits = start.arguments().iter().any(|argument| begins(argument, b"--trace"))
        || cfg!(debug_assertions) && start.environment().iter().any(|entry| begins(entry, b"CORTEN_WEAKEN="));
    if waits || !start.arguments().iter().any(enters) {
        return;
    }
    let mut name = Text::new();
    let Ok(mount) = sealed_directory(&mut name) else { return };
    match move_to(start, &mount, &name) {
        Ok(()) => {
            start.environment().clear(|entry| !wanted(entry));
            MOUNT.store(mount.keep(), Ordering::Relaxed);
        }
        Err(_) => _ = execute(&mount, &name, start.arguments(), start.environment()),
    }
}

/// Goes on in the file `name` of this directory, in place.
fn move_to(start: &Start, mount: &Descriptor, name: &Text) -> Result<(), c_int> {
    let file = mount.open(name)?;
    if !file.is_this_program(&Text::new())? {
        return Err(libc::ESTALE);
    }
    start.move_to(&file)?;
    // What is mapped holds as much as this, and is closed with it.
    file.keep();
    Ok(())
}

/// Executes this program in the file `name` of this directory. Returns only on failure, with errno(3).
fn execute(mount: &Descriptor, name: &Text, arguments: Strings, environment: Strings) -> c_int {
    match mount.is_this_program(name) {
        Ok(true) => mount.execute(name, arguments, environment, wanted),
        Ok(false) => libc::ESTALE,
        Err(errno) => errno,
    }
}

/// Whether an entry of the environment, `NAME=value`, goes on.
fn wanted(entry: &[u8]) -> bool {
    let length = entry.iter().position(|byte| *byte == b'=').unwrap_or_default();
    let name = entry.get(..length).unwrap_or_default();
    VARIABLES.iter().any(|known| same(name, known.as_bytes()))
}

/// An overlay of this program's directory, read-only, without an upper layer and attached nowhere (Linux 5.2; needs
/// `CAP_SYS_ADMIN`), and the program's name there: its path may mean another file by now. Costs 50 µs and no memory.
fn sealed_directory(name: &mut Text) -> Result<Descriptor, c_int> {
    let mut path = Text::new();
    sys::own_path(&mut path)?;
    let path = path.bytes();
    let slash = path.iter().rposition(|byte| *byte == b'/').ok_or(libc::ENOENT)?;
    name.extend(path.get(slash + 1..).unwrap_or_default())?;
    let mut layers = Text::new();
    // `:`, `\` and `,` are escaped in the list of layers.
    for byte in path.get(..slash.max(1)).unwrap_or_default() {
        if matches!(byte, b':' | b'\\' | b',') {
            layers.push(b'\\')?;
        }
        layers.push(*byte)?;
    }
    // One without an upper layer wants two lower ones. The second is never looked at, since the first has the name.
    layers.extend(b":/dev")?;
    sys::overlay(&layers)
}

fn begins(text: &[u8], with: &[u8]) -> bool {
    text.len() >= with.len() && text.iter().zip(with).all(|(one, other)| one == other)
}

fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && begins(one, other)
}
