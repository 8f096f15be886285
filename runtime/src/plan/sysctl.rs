//! `linux.sysctl`: only settings that belong to a namespace of the container.

use super::namespaces::Namespaces;
use super::{PlanError, Result, c_string};
use std::collections::BTreeMap;
use std::ffi::CString;

/// One setting: the file below `/proc/sys`, and what is written to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// `sys/…`, relative to the root of a procfs.
    pub file: CString,
    /// The value.
    pub value: String,
}

/// Settings of the IPC namespace (ipc_namespaces(7)).
const IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.auto_msgmni",
];

/// Checks that each setting is namespaced and that the namespace is not the host's.
///
/// # Errors
/// A setting that would change the host, or a name that leaves `/proc/sys`.
pub fn plan(
    sysctls: &BTreeMap<String, String>,
    namespaces: &Namespaces,
    hostname: bool,
) -> Result<Vec<Sysctl>> {
    sysctls.iter().map(|(name, value)| one(name, value, namespaces, hostname)).collect()
}

fn one(written: &str, value: &str, namespaces: &Namespaces, hostname: bool) -> Result<Sysctl> {
    let path = format_args!("linux.sysctl[{written:?}]");
    let name = dotted(written);
    let own = |flag: libc::c_int, what: &str| {
        if namespaces.separate(flag) {
            return Ok(());
        }
        Err(PlanError::at(path, format!("is a setting of the host without {what} namespace of its own")))
    };
    if IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
        own(libc::CLONE_NEWIPC, "an ipc")?;
    } else if name.starts_with("net.") {
        own(libc::CLONE_NEWNET, "a network")?;
    } else if name.starts_with("user.") {
        own(libc::CLONE_NEWUSER, "a user")?;
    } else if name == "kernel.domainname" {
        own(libc::CLONE_NEWUTS, "a uts")?;
    } else if name == "kernel.hostname" {
        own(libc::CLONE_NEWUTS, "a uts")?;
        if hostname {
            return Err(PlanError::at(path, "contradicts the field \"hostname\""));
        }
    } else {
        return Err(PlanError::at(path, "is not in a separate kernel namespace"));
    }
    let file = slashed(written);
    if file.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(PlanError::at(path, "is not the name of a setting"));
    }
    Ok(Sysctl { file: c_string(path, &format!("sys/{file}"))?, value: value.to_owned() })
}

/// Which of `.` and `/` comes first separates the parts, as in sysctl(8): the other one is a character of a name.
fn separator(name: &str) -> char {
    name.chars().find(|c| matches!(c, '.' | '/')).unwrap_or('.')
}

fn dotted(name: &str) -> String {
    if separator(name) == '.' { name.to_owned() } else { swap(name) }
}

fn slashed(name: &str) -> String {
    if separator(name) == '.' { swap(name) } else { name.to_owned() }
}

fn swap(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Namespaces {
        Namespaces { create: !0, ..Namespaces::default() }
    }

    #[test]
    fn names_become_files() {
        for (name, file) in [
            ("net.ipv4.ip_forward", c"sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", c"sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", c"sys/net/ipv4/conf/eth0.1/forwarding"),
        ] {
            assert_eq!(one(name, "1", &all(), false).expect(name).file.as_c_str(), file);
        }
    }

    #[test]
    fn the_host_is_left_alone() {
        for name in ["kernel.panic", "vm.swappiness", "net.../x", "net", "kernel.hostname/../panic"] {
            assert!(one(name, "1", &all(), false).is_err(), "{name}");
        }
        for name in ["net.ipv4.ip_forward", "kernel.shmmax", "user.max_user_namespaces", "fs.mqueue.msg_max"]
        {
            assert!(one(name, "1", &Namespaces::default(), false).is_err(), "{name}");
            assert!(one(name, "1", &all(), false).is_ok(), "{name}");
        }
        assert!(one("kernel.hostname", "x", &all(), true).is_err());
    }
}
