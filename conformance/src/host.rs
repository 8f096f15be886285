//! What this machine lacks or has, as far as a case's result depends on it. The names are those `gaps.toml`
//! uses in `when`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Facts about the machine, read once.
pub(crate) struct Host {
    /// The cgroup v2 mount inside a v1 tree, when the machine is hybrid.
    pub(crate) hybrid: bool,
    /// Names of facts that hold, as `gaps.toml` uses them.
    facts: BTreeSet<&'static str>,
    /// `Debian GNU/Linux 12 (bookworm), Linux 6.1.0, cgroup v1`.
    pub(crate) description: String,
}

/// Bit of CAP_SYS_RESOURCE (linux/capability.h).
const CAP_SYS_RESOURCE: u32 = 24;

impl Host {
    /// Look at the machine.
    pub(crate) fn look() -> Host {
        let exists = |path: &str| Path::new(path).exists();
        let unified = exists("/sys/fs/cgroup/cgroup.controllers");
        let hybrid = exists("/sys/fs/cgroup/unified/cgroup.controllers");
        let controller = |name: &str| exists(&format!("/sys/fs/cgroup/{name}"));
        let mut facts = BTreeSet::new();
        let mut fact = |name, holds: bool| {
            if holds {
                facts.insert(name);
            }
        };
        fact("cgroup-v2", unified);
        fact("cgroup-v1", !unified);
        fact("hybrid", hybrid);
        fact("no-v1-hugetlb", !controller("hugetlb"));
        fact("no-v1-net", !controller("net_cls") || !controller("net_prio"));
        fact("one-interface", fs::read_dir("/sys/class/net").is_ok_and(|all| all.count() < 2));
        fact("no-blkio-leaf-weight", !exists("/sys/fs/cgroup/blkio/blkio.leaf_weight"));
        fact("no-kmem-limit", !kernel_memory_limit_works());
        fact("no-sys-resource", !bounding_set_has(CAP_SYS_RESOURCE));
        fact("no-apparmor", !exists("/sys/kernel/security/apparmor") && !exists("/sys/module/apparmor"));
        fact("no-selinux", !exists("/sys/fs/selinux/enforce"));
        let layout = match (unified, hybrid) {
            (true, _) => "cgroup v2",
            (false, true) => "cgroup v1 with an empty v2 hierarchy beside it",
            (false, false) => "cgroup v1",
        };
        let description = format!("{}, Linux {}, {layout}", distribution(), release());
        Host { hybrid, facts, description }
    }

    /// Whether every one of these facts holds.
    pub(crate) fn all(&self, facts: &[String]) -> bool {
        facts.iter().all(|fact| self.facts.contains(fact.as_str()))
    }

    /// The facts that hold, for the record.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &&'static str> {
        self.facts.iter()
    }
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "?".into(), |text| text.trim().to_owned())
}

fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("?").trim_matches('"').to_owned()
}

fn bounding_set_has(capability: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    set.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .is_some_and(|bits| bits >> capability & 1 == 1)
}

/// Since Linux 5.16 `memory.kmem.limit_in_bytes` accepts writes and ignores them (later: refuses them).
fn kernel_memory_limit_works() -> bool {
    if !Path::new("/sys/fs/cgroup/memory/memory.kmem.limit_in_bytes").exists() {
        return false;
    }
    let text = release();
    let mut numbers = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (5, 16)
}
