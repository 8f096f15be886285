//! `linux.netDevices`: interfaces of the host that move into the container (config-linux.md, "Network Devices").

use super::error::{Error, OrError, Result, file_error};
use crate::sys::clone;
use crate::sys::net::Netlink;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// Moves interfaces, by name on the host and name inside, into the network namespace of the process `pid`. Their
/// permanent addresses of global scope go with them, and they are up afterwards.
///
/// # Errors
/// There is no such interface, or the kernel refuses.
pub fn move_into(devices: &[(String, String)], pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).map_err(file_error("open", path))?;
    let here = Netlink::open().or_error(|| "open a netlink socket".into())?;
    let there = open_in(namespace.as_fd())?;
    for (outside, inside) in devices {
        let what = || format!("linux.netDevices[{outside:?}]: move to the container as {inside:?}");
        let index = here.index(outside).or_error(what)?;
        // Moving takes them away.
        let addresses = here.addresses(index).or_error(what)?;
        here.move_interface(index, inside, namespace.as_fd()).or_error(what)?;
        let index = there.index(inside).or_error(what)?;
        for address in &addresses {
            there.add_address(index, address).or_error(what)?;
        }
        there.up(index).or_error(what)?;
    }
    Ok(())
}

/// A netlink socket of another namespace: it stays where it was opened.
fn open_in(namespace: BorrowedFd<'_>) -> Result<Netlink> {
    let mut opened = None;
    let mut go_between = || {
        opened = Some(clone::setns(namespace, libc::CLONE_NEWNET).and_then(|()| Netlink::open()));
    };
    clone::with_borrowed_memory(true, None, &mut go_between).or_error(|| "clone a go-between".into())?;
    opened
        .ok_or_else(|| Error::Other("the go-between ended early".into()))?
        .or_error(|| "open a netlink socket in the container".into())
}
