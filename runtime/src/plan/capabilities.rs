//! `process.capabilities`: names to bit sets.
//!
//! A name that the kernel does not know, or a capability that this process cannot hand on, is a warning and left out:
//! config.md says that it SHOULD NOT be an error.

use super::Host;
use crate::spec;
use std::collections::BTreeSet;

/// The capabilities of capabilities(7), in the order of their numbers.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The number of a capability. Case does not matter and `CAP_` may be missing, as in runc's `--cap`.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    NAMES.iter().position(|known| *known == full).and_then(|index| u32::try_from(index).ok())
}

/// Bit sets in which bit N is capability N.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// The bounding set.
    pub bounding: u64,
    /// The effective set.
    pub effective: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// The ambient set.
    pub ambient: u64,
}

/// Turns names into bit sets, with a warning for each capability that is left out.
pub fn plan(capabilities: &spec::Capabilities, host: &Host, warnings: &mut Vec<String>) -> Sets {
    let mut left_out = LeftOut::default();
    let mut sets = Sets {
        bounding: left_out.filter(&capabilities.bounding, host.last_capability, !0),
        effective: left_out.filter(&capabilities.effective, host.last_capability, host.grantable),
        permitted: left_out.filter(&capabilities.permitted, host.last_capability, host.grantable),
        inheritable: left_out.filter(&capabilities.inheritable, host.last_capability, host.grantable),
        ambient: left_out.filter(&capabilities.ambient, host.last_capability, host.grantable),
    };
    // The kernel's own rules (capabilities(7)): ambient capabilities must be permitted and inheritable.
    sets.effective &= sets.permitted;
    sets.ambient &= sets.permitted & sets.inheritable;
    left_out.warn(warnings);
    sets
}

/// How many unknown capabilities are named, each in a warning of its own: more are no mistake.
const MOST_WARNINGS: usize = 64;

/// What was asked for in vain.
#[derive(Default)]
struct LeftOut<'a> {
    unknown: BTreeSet<&'a str>,
    ungrantable: u64,
}

impl<'a> LeftOut<'a> {
    /// The capabilities among `names` that are known and grantable.
    fn filter(&mut self, names: &'a [String], last: u32, grantable: u64) -> u64 {
        let mut bits = 0_u64;
        for name in names {
            match exact(name).filter(|number| *number <= last) {
                Some(number) => bits |= 1 << number,
                None => drop(self.unknown.insert(name)),
            }
        }
        self.ungrantable |= bits & !grantable;
        bits & grantable
    }

    fn warn(&self, warnings: &mut Vec<String>) {
        for name in self.unknown.iter().take(MOST_WARNINGS) {
            warnings
                .push(format!("process.capabilities: {name:?} is not known to this kernel and is ignored"));
        }
        if let Some(more) = self.unknown.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
            warnings.push(format!(
                "process.capabilities: {more} more are not known to this kernel and are ignored"
            ));
        }
        if self.ungrantable != 0 {
            let names = NAMES.iter().enumerate().filter(|(bit, _)| self.ungrantable & (1 << bit) != 0);
            let names: Vec<&str> = names.map(|(_, name)| *name).collect();
            warnings.push(format!(
                "process.capabilities: {} cannot be granted by this process and is ignored",
                names.join(", ")
            ));
        }
    }
}

/// The number of a capability by its name in config.json, where it must be written out.
fn exact(name: &str) -> Option<u32> {
    NAMES.iter().position(|known| *known == name).and_then(|index| u32::try_from(index).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host { grantable: !0, last_capability: 40, rootless: false, selinux: || false };

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn unknown_and_ungrantable_capabilities_are_warnings() {
        let wanted = spec::Capabilities {
            permitted: names(&["CAP_CHOWN", "CAP_FUTURE", "CAP_SYS_RESOURCE"]),
            effective: names(&["CAP_CHOWN", "CAP_FUTURE"]),
            ..Default::default()
        };
        let host = Host { grantable: !(1 << 24), ..HOST };
        let mut warnings = Vec::new();
        let sets = plan(&wanted, &host, &mut warnings);
        assert_eq!((sets.permitted, sets.effective), (1, 1));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("CAP_FUTURE") && warnings[1].contains("CAP_SYS_RESOURCE"));
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let wanted = spec::Capabilities {
            permitted: names(&["CAP_CHOWN", "CAP_KILL"]),
            inheritable: names(&["CAP_KILL"]),
            ambient: names(&["CAP_CHOWN", "CAP_KILL"]),
            ..Default::default()
        };
        assert_eq!(plan(&wanted, &HOST, &mut Vec::new()).ambient, 1 << 5);
    }

    #[test]
    fn names_on_the_command_line_may_be_short() {
        for name in ["CAP_KILL", "cap_kill", "KILL", "kill"] {
            assert_eq!(number(name), Some(5));
        }
        assert_eq!(number("CAP_NOPE"), None);
    }
}
