//! `linux.devices` and the devices that every container has (config-linux.md, "Default Devices").

use super::{PlanError, Result, c_string};
use crate::spec;
use nix::sys::stat::SFlag;
use std::ffi::OsString;

/// A device node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its absolute path in the container.
    pub path: OsString,
    /// Character device, block device or FIFO.
    pub kind: SFlag,
    /// Its device number.
    pub major: u64,
    /// Its device number.
    pub minor: u64,
    /// Its permissions.
    pub mode: u32,
    /// Its owner in the container.
    pub uid: u32,
    /// Its group in the container.
    pub gid: u32,
}

/// The devices that every container has.
const DEFAULTS: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Plans all nodes: the given ones, then the defaults that are not among them.
///
/// # Errors
/// An unknown type, a relative path, numbers that are no device numbers.
pub fn plan(devices: &[spec::Device]) -> Result<Vec<DeviceNode>> {
    let mut nodes = Vec::with_capacity(devices.len() + DEFAULTS.len());
    for (index, device) in devices.iter().enumerate() {
        nodes.push(one(index, device)?);
    }
    for (path, major, minor) in DEFAULTS {
        if !nodes.iter().any(|node: &DeviceNode| node.path == path) {
            let path = OsString::from(path);
            nodes.push(DeviceNode { path, kind: SFlag::S_IFCHR, major, minor, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    Ok(nodes)
}

fn one(index: usize, device: &spec::Device) -> Result<DeviceNode> {
    let at = |field: &str, problem: String| PlanError::at(format!("linux.devices[{index}].{field}"), problem);
    if !device.path.starts_with('/') {
        return Err(at("path", format!("{:?} is not an absolute path", device.path)));
    }
    c_string(format_args!("linux.devices[{index}].path"), &device.path)?;
    let kind = match device.kind.as_str() {
        "c" | "u" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        other => return Err(at("type", format!("{other:?} is not a device type; expected c, u, b or p"))),
    };
    let number = |field: &str, value: i64, limit: u64| {
        u64::try_from(value)
            .ok()
            .filter(|value| *value <= limit)
            .ok_or_else(|| at(field, format!("{value} is not a device number; expected 0 to {limit}")))
    };
    // The kernel's dev_t has 12 bits for the major and 20 for the minor number. A FIFO has neither.
    let fifo = kind == SFlag::S_IFIFO;
    let major = if fifo { 0 } else { number("major", device.major, (1 << 12) - 1)? };
    let minor = if fifo { 0 } else { number("minor", device.minor, (1 << 20) - 1)? };
    Ok(DeviceNode {
        path: OsString::from(&device.path),
        kind,
        major,
        minor,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_added_once() {
        let own = spec::Device {
            path: "/dev/null".to_owned(),
            kind: "c".to_owned(),
            major: 1,
            minor: 3,
            uid: Some(7),
            ..Default::default()
        };
        let nodes = plan(&[own]).expect("valid");
        assert_eq!(nodes.len(), DEFAULTS.len());
        assert_eq!(nodes[0].uid, 7);
    }

    #[test]
    fn problems_name_their_place() {
        let device = |path: &str, kind: &str, major| spec::Device {
            path: path.to_owned(),
            kind: kind.to_owned(),
            major,
            ..Default::default()
        };
        for (device, expected) in [
            (device("dev/x", "c", 1), "linux.devices[0].path"),
            (device("/dev/x", "z", 1), "linux.devices[0].type"),
            (device("/dev/x", "c", -1), "linux.devices[0].major"),
            (device("/dev/x", "b", 4096), "linux.devices[0].major"),
        ] {
            assert!(plan(&[device]).expect_err(expected).to_string().starts_with(expected));
        }
    }
}
