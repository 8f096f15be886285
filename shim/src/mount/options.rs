//! The options of a mount, as fstab(5) and containerd write them.

use nix::mount::MsFlags;

/// What a list of options means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Flags of mount(2), propagation included.
    pub(super) flags: MsFlags,
    /// What the filesystem itself takes.
    pub(super) data: Vec<String>,
    /// The source is a file, to be reached through a loop device.
    pub(super) loop_device: bool,
    /// The user ids of the mount, `container:host:count` each.
    pub(super) uid_map: Option<String>,
    /// The group ids.
    pub(super) gid_map: Option<String>,
}

impl Options {
    /// Sorts a list of options. What is neither a flag nor for containerd goes to the filesystem.
    pub(super) fn parse(list: &[String]) -> Self {
        let mut options = Self {
            flags: MsFlags::empty(),
            data: Vec::new(),
            loop_device: false,
            uid_map: None,
            gid_map: None,
        };
        for option in list {
            if let Some((clear, flag)) = flag(option) {
                options.flags.set(flag, !clear);
            } else if let Some(map) = option.strip_prefix("uidmap=") {
                options.uid_map = Some(map.to_owned());
            } else if let Some(map) = option.strip_prefix("gidmap=") {
                options.gid_map = Some(map.to_owned());
            } else if option == "loop" {
                options.loop_device = true;
            } else if !option.starts_with("X-containerd.") && option != "defaults" {
                options.data.push(option.clone());
            }
        }
        options
    }
}

/// The flag that an option sets or, with true, clears.
fn flag(option: &str) -> Option<(bool, MsFlags)> {
    let found = match option {
        "async" => (true, MsFlags::MS_SYNCHRONOUS),
        "atime" => (true, MsFlags::MS_NOATIME),
        "bind" => (false, MsFlags::MS_BIND),
        "dev" => (true, MsFlags::MS_NODEV),
        "diratime" => (true, MsFlags::MS_NODIRATIME),
        "dirsync" => (false, MsFlags::MS_DIRSYNC),
        "exec" => (true, MsFlags::MS_NOEXEC),
        "mand" => (false, MsFlags::MS_MANDLOCK),
        "noatime" => (false, MsFlags::MS_NOATIME),
        "nodev" => (false, MsFlags::MS_NODEV),
        "nodiratime" => (false, MsFlags::MS_NODIRATIME),
        "noexec" => (false, MsFlags::MS_NOEXEC),
        "nomand" => (true, MsFlags::MS_MANDLOCK),
        "norelatime" => (true, MsFlags::MS_RELATIME),
        "nostrictatime" => (true, MsFlags::MS_STRICTATIME),
        "nosuid" => (false, MsFlags::MS_NOSUID),
        "rbind" => (false, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
        "relatime" => (false, MsFlags::MS_RELATIME),
        "remount" => (false, MsFlags::MS_REMOUNT),
        "ro" => (false, MsFlags::MS_RDONLY),
        "rw" => (true, MsFlags::MS_RDONLY),
        "strictatime" => (false, MsFlags::MS_STRICTATIME),
        "suid" => (true, MsFlags::MS_NOSUID),
        "sync" => (false, MsFlags::MS_SYNCHRONOUS),
        "private" => (false, MsFlags::MS_PRIVATE),
        "rprivate" => (false, MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
        "shared" => (false, MsFlags::MS_SHARED),
        "rshared" => (false, MsFlags::MS_SHARED.union(MsFlags::MS_REC)),
        "slave" => (false, MsFlags::MS_SLAVE),
        "rslave" => (false, MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
        "unbindable" => (false, MsFlags::MS_UNBINDABLE),
        "runbindable" => (false, MsFlags::MS_UNBINDABLE.union(MsFlags::MS_REC)),
        _ => return None,
    };
    Some(found)
}
