//! The container's terminal: one of its own devpts, checked before it is believed.

use super::rootfs::Root;
use super::{Handed, OrFail, Step, failure};
use crate::path;
use crate::plan::Plan;
use crate::sys::{self, Errno, mount, tty};
use crate::weak;
use crate::wire::{FromChild, Wire};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens a new terminal, hands its master over and returns its other end.
///
/// # Errors
/// There is no devpts in the container, or the other side does not take the master.
pub fn open(plan: &Plan, root: &Root, handed: &Handed<'_>) -> Step<OwnedFd> {
    let master = open_master(root.path_root()).or_fail(|| "open /dev/pts/ptmx in the container".into())?;
    let slave = open_slave(master.as_fd()).or_fail(|| "open the terminal".into())?;
    if let Some((rows, columns)) = plan.process.size {
        tty::set_size(master.as_fd(), rows, columns).or_fail(|| "process.consoleSize".into())?;
    }
    if let Some(dev) = &root.dev {
        bind_console(dev.as_fd(), &slave)?;
    }
    hand_over(handed.console_socket, handed.wire, master)?;
    Ok(slave)
}

/// Opens the multiplexer of the container's devpts, and makes sure that it is one (CVE-2025-52565).
///
/// # Errors
/// The errno of the lookup; `ENOTSUP` when it is something else.
pub fn open_master(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NOFOLLOW;
    if weak::off("console") {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        return openat(root, "/dev/pts/ptmx", flags, Mode::empty());
    }
    let master = path::open_in_root(root, c"/dev/pts/ptmx", flags)?;
    let stat = fstat(&master)?;
    let multiplexer = path::file_type(&stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(5, 2);
    if !multiplexer || fstatfs(&master)?.filesystem_type() != DEVPTS_SUPER_MAGIC {
        return Err(Errno::ENOTSUP);
    }
    Ok(master)
}

/// The other end of a terminal, by its master and not by a path.
///
/// # Errors
/// The errno of the ioctl.
pub fn open_slave(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    tty::unlock(master)?;
    tty::peer(master)
}

/// `/dev/console` is the terminal.
fn bind_console(dev: BorrowedFd<'_>, slave: &OwnedFd) -> Step<()> {
    let what = || "bind /dev/console".to_owned();
    #[cfg(debug_assertions)]
    if weak::off("console") {
        let place = weak::resolve_by_name(dev, OsStr::new("console"), path::Missing::File).or_fail(what)?;
        let mount = mount::clone_mount(slave.as_fd(), false).or_fail(what)?;
        return mount::move_mount(mount.as_fd(), place.as_fd()).or_fail(what);
    }
    // Made here if missing, never through a link (CVE-2026-88264). What is there is covered, whatever it is, and not opened:
    // it may be a device that only its opening sets to work.
    match path::create_file(dev, OsStr::new("console")) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).or_fail(what),
    }
    let place = openat(dev, "console", OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        .or_fail(what)?;
    if path::file_type(&fstat(&place).or_fail(what)?) == SFlag::S_IFLNK {
        return Err(failure("bind /dev/console: it is a link"));
    }
    let mount = mount::clone_mount(slave.as_fd(), false).or_fail(what)?;
    mount::move_mount(mount.as_fd(), place.as_fd()).or_fail(what)
}

/// Gives the master to whoever is to have it.
///
/// # Errors
/// The other side is gone.
pub fn hand_over(socket: Option<BorrowedFd<'_>>, wire: &Wire, master: OwnedFd) -> Step<()> {
    let what = || "hand the terminal over".to_owned();
    match socket {
        Some(socket) => send(socket, master.as_fd()).or_fail(what),
        None => wire.tell(&FromChild::Console(master)).or_fail(what),
    }
}

/// Sends a terminal's master over a console socket, with its name as the data (runc, `docs/terminals.md`).
///
/// # Errors
/// The errno of sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), Errno> {
    let name = match tty::number(master) {
        Ok(number) => format!("/dev/pts/{number}"),
        Err(_) => "/dev/ptmx".to_owned(),
    };
    sys::fd::send(socket, name.as_bytes(), Some(master))
}
