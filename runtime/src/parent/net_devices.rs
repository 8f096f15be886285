//! `linux.netDevices`: interfaces of the host that move into the container (rtnetlink(7)).

use super::error::{OrError, Result, file_error};
use crate::sys::net;
use std::fs::File;
use std::os::fd::AsFd;

/// Moves interfaces, by name on the host and name inside, into the network namespace of the process `pid`. Their
/// addresses go with them, and they are up afterwards.
///
/// # Errors
/// There is no such interface, or the kernel refuses.
pub fn move_into(devices: &[(String, String)], pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).map_err(file_error("open", path))?;
    for (outside, inside) in devices {
        net::move_interface(outside, inside, namespace.as_fd())
            .or_error(|| format!("linux.netDevices[{outside:?}]: move to the container as {inside:?}"))?;
    }
    Ok(())
}
