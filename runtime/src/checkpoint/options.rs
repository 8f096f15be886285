//! What can be asked of a checkpoint or a restore, and the part of criu's message that it becomes.

use super::message::Message;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What happens to control groups and their settings (criu(8), `--manage-cgroups`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupMode {
    /// They are left alone.
    Ignore = 0,
    /// Those that criu has to make get their settings back.
    #[default]
    Soft = 3,
    /// All get their settings back.
    Full = 4,
    /// As full; that one exists already is an error.
    Strict = 5,
}

impl CgroupMode {
    /// By its name on the command line.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "ignore" => Self::Ignore,
            "soft" => Self::Soft,
            "full" => Self::Full,
            "strict" => Self::Strict,
            _ => return None,
        })
    }
}

/// How open TCP connections are kept from the network meanwhile (criu(8), `--network-lock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables.
    Iptables = 1,
    /// By nftables.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

impl NetworkLock {
    /// By its name on the command line.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "iptables" => Self::Iptables,
            "nftables" => Self::Nftables,
            "skip" => Self::Skip,
            _ => return None,
        })
    }
}

/// What the command line asks for. Some of it means something in one direction only.
#[derive(Debug, Default)]
pub struct Options {
    /// The criu program; absent: the one that `$PATH` leads to.
    pub program: Option<PathBuf>,
    /// The directory of images.
    pub images: PathBuf,
    /// The directory of criu's log; that of the images if absent.
    pub work: Option<PathBuf>,
    /// The images of an earlier checkpoint, relative to this one's.
    pub parent: Option<PathBuf>,
    /// Let the container run on.
    pub leave_running: bool,
    /// Save memory alone, and let the container run on.
    pub pre_dump: bool,
    /// Keep open TCP connections.
    pub tcp_established: bool,
    /// Leave TCP connections out that are not accepted yet.
    pub tcp_skip_in_flight: bool,
    /// Close what were open TCP connections.
    pub tcp_close: bool,
    /// Keep Unix sockets that lead out of the container.
    pub ext_unix_sk: bool,
    /// Keep a terminal that is the caller's.
    pub shell_job: bool,
    /// Keep file locks.
    pub file_locks: bool,
    /// Keep files that are open and have no name any more, by giving them one.
    pub link_remap: bool,
    /// Cut out of the earlier images what is in later ones.
    pub auto_dedup: bool,
    /// Leave memory where it is until somebody asks for it.
    pub lazy_pages: bool,
    /// Takes a NUL character when memory can be asked for.
    pub status: Option<OwnedFd>,
    /// Where memory is sent to: address and port.
    pub page_server: Option<(String, u16)>,
    /// What happens to control groups; absent: as the container is made.
    pub cgroups: Option<CgroupMode>,
    /// `CLONE_NEW…` flags of namespaces that are made anew, empty.
    pub empty_namespaces: u32,
    /// How TCP connections are kept quiet; absent: criu's own choice.
    pub network_lock: Option<NetworkLock>,
    /// The security label of the restored processes.
    pub lsm_profile: Option<String>,
    /// The security label of restored mounts.
    pub lsm_mount_context: Option<String>,
}

/// The annotation that names a configuration file of criu; empty for none (runc, `docs/checkpoint-restore.md`).
pub const CONFIG: &str = "org.criu.config";

impl Options {
    /// The fields of `criu_opts` that do not depend on the container. `directory` and `work` are descriptors of this
    /// process; `log` is a file name in the latter.
    pub(super) fn message(
        &self,
        directory: i32,
        work: Option<i32>,
        log: &str,
        annotations: &std::collections::BTreeMap<String, String>,
    ) -> Message {
        let fd = |number: i32| u64::from(number.cast_unsigned());
        let mut message = Message::default()
            .number(1, fd(directory))
            .flag(3, self.leave_running)
            .flag(4, self.ext_unix_sk)
            .flag(5, self.tcp_established)
            .flag(7, self.shell_job)
            .flag(8, self.file_locks)
            // Debugging, as runc has it: a failure is explained by what came before it.
            .number(9, 4)
            .bytes(10, log.as_bytes())
            .flag(12, true)
            .flag(16, self.auto_dedup)
            .flag(18, self.link_remap)
            .number(38, u64::from(self.empty_namespaces))
            .flag(46, self.tcp_skip_in_flight)
            .flag(48, self.lazy_pages)
            .flag(52, self.tcp_close);
        if let Some(work) = work {
            message = message.number(17, fd(work));
        }
        // criu passes over one that does not exist.
        let config = annotations.get(CONFIG).map_or("/etc/criu/runc.conf", String::as_str);
        if !config.is_empty() {
            message = message.bytes(51, config.as_bytes());
        }
        if let Some(lock) = self.network_lock {
            message = message.number(64, lock as u64);
        }
        message
    }

    /// The fields about control groups.
    pub(super) fn cgroup_message(&self, message: Message, has_cgroup: bool) -> Message {
        let usual = if has_cgroup { CgroupMode::Soft } else { CgroupMode::Ignore };
        let mode = self.cgroups.unwrap_or(usual);
        message.flag(24, mode != CgroupMode::Ignore).number(34, mode as u64)
    }
}
