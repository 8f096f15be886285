//! The birth of a container's process: one clone3(2), in a go-between only where the kernel demands one.

use super::error::{Error, OrError, Result};
use crate::child::join;
use crate::plan::namespaces::{NEWTIME, Namespaces};
use crate::plan::{self, Host, Plan, PlanError};
use crate::sys::capability::SYS_ADMIN;
use crate::sys::clone::{self, Forked};
use crate::sys::{Errno, fd, process};
use crate::weak;
use nix::sys::stat::{FileStat, fstat, stat};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// A process that was just made.
#[derive(Debug)]
pub struct Spawned {
    /// Its number in this process's PID namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Whether it was born in its v2 control group.
    pub in_cgroup: bool,
}

/// What runs in the new process, which is told whether it was born in its v2 control group; it ends in execve(2) or _exit(2).
pub type Child<'a> = dyn Fn(bool) -> Spawned + 'a;

/// A namespace file, opened.
pub type Joined = (libc::c_int, &'static str, OwnedFd);

/// Opens the namespaces to join, and makes sure that each is of the type that was said.
///
/// # Errors
/// A file that cannot be opened, or is another namespace.
pub fn open_namespaces(namespaces: &Namespaces) -> Result<Vec<Joined>> {
    namespaces
        .join
        .iter()
        .map(|join| {
            let path = &join.path;
            // A FIFO or a device in its place is refused, not waited for.
            let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
            let file = file.map_err(super::error::file_error("open namespace", path))?;
            match fd::namespace_type(file.as_fd()) {
                Ok(found) if found == join.flag => Ok((join.flag, join.name, file.into())),
                _ => Err(Error::Other(format!("{} is not a {} namespace", path.display(), join.name))),
            }
        })
        .collect()
}

/// A namespace that this process is in has not become the container's by being named: what a plan allows to be changed in
/// one of the container's own would be changed on the host.
///
/// # Errors
/// A namespace is this process's own, and would be changed.
pub fn refuse_own(plan: &Plan, joins: &[Joined]) -> Result<()> {
    let setting = |what: &[u8]| plan.sysctl.iter().any(|sysctl| sysctl.file.as_bytes().starts_with(what));
    for (flag, name, file) in joins {
        let (own, changed) = match *flag {
            libc::CLONE_NEWNS => (c"/proc/self/ns/mnt", Some("mounts")),
            libc::CLONE_NEWNET => {
                let changed = setting(b"sys/net/") || !plan.net_devices.is_empty();
                (c"/proc/self/ns/net", changed.then_some("linux.sysctl, linux.netDevices"))
            }
            libc::CLONE_NEWIPC => {
                let changed = setting(b"sys/kernel/") || setting(b"sys/fs/");
                (c"/proc/self/ns/ipc", changed.then_some("linux.sysctl"))
            }
            libc::CLONE_NEWUTS => {
                let named = plan.hostname.is_some() || plan.domainname.is_some();
                (
                    c"/proc/self/ns/uts",
                    (named || setting(b"sys/kernel/")).then_some("the host name, linux.sysctl"),
                )
            }
            _ => continue,
        };
        let Some(changed) = changed.filter(|_| !weak::off("own-namespace")) else { continue };
        let identity = |stat: FileStat| (stat.st_dev, stat.st_ino);
        let (own, file) =
            (stat(own).or_error(|| format!("stat {own:?}"))?, fstat(file).or_error(|| "fstat".into())?);
        if identity(own) == identity(file) {
            return Err(Error::Other(format!(
                "linux.namespaces: the {name} namespace is the host's own, which would be changed ({changed})"
            )));
        }
    }
    Ok(())
}

/// Without privilege over the host, nothing but a user namespace gives the right to make others (clone(2), `EPERM`).
///
/// # Errors
/// There are others to make, and it is missing.
pub fn refuse_alone(plan: &Plan, host: &Host) -> plan::Result<()> {
    let namespaces = &plan.namespaces;
    let alone = !namespaces.separate(libc::CLONE_NEWUSER) && host.grantable & SYS_ADMIN == 0;
    if alone && namespaces.create != 0 {
        let problem = "needs a user namespace: without privilege over the host there can be no others";
        return Err(PlanError::at("linux.namespaces", problem));
    }
    Ok(())
}

/// Which new namespaces the child makes itself.
///
/// The root of a cgroup namespace is where its maker is at that moment: the child has to be in its place first. A time
/// namespace belongs to the user namespace of its maker.
#[must_use]
pub fn late(namespaces: &Namespaces) -> libc::c_int {
    let mut late = namespaces.create & libc::CLONE_NEWCGROUP;
    if namespaces.separate(libc::CLONE_NEWUSER) {
        // The message queue file system of an IPC namespace belongs to whoever its maker was then.
        late |= namespaces.create & (NEWTIME | libc::CLONE_NEWIPC);
    }
    late
}

/// Whether the child enters the PID namespace that it joins by itself, as its last step: until then it is made where
/// nobody in that namespace can look into it.
///
/// A new user namespace has no right to the PID namespaces of its parent, and a scheduling policy may be lost, or refuse
/// to be handed on, when the process forks: there the process is born in the namespace.
#[must_use]
pub fn appears_late(plan: &Plan) -> bool {
    let namespaces = &plan.namespaces;
    let joins = namespaces.separate(libc::CLONE_NEWPID) && !namespaces.creates(libc::CLONE_NEWPID);
    joins
        && !namespaces.creates(libc::CLONE_NEWUSER)
        && plan.process.scheduler.is_none()
        && !weak::off("appear-late")
}

/// Makes the process. In it, `child` runs and never returns.
///
/// # Errors
/// The kernel refuses a namespace, or the control group.
pub fn spawn(
    plan: &Plan,
    joins: &[Joined],
    proc: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    child: &Child<'_>,
) -> Result<Spawned> {
    let namespaces = &plan.namespaces;
    let early = namespaces.create & !late(namespaces);
    let time = early & NEWTIME != 0;
    let flags = u64::from((early & !NEWTIME).cast_unsigned());
    // A process enters PID and time namespaces at birth; a user namespace must own the other new ones.
    let at_birth = |flag: libc::c_int| match flag {
        libc::CLONE_NEWPID => !appears_late(plan),
        flag => flag == libc::CLONE_NEWUSER,
    };
    let first: Vec<&Joined> = joins.iter().filter(|(flag, ..)| at_birth(*flag)).collect();
    if first.is_empty() && !time {
        return fork(flags, cgroup, child).or_error(|| "clone".into());
    }
    let between = |in_cgroup: bool| {
        for wanted in [libc::CLONE_NEWUSER, libc::CLONE_NEWPID] {
            for (flag, _, file) in first.iter().filter(|(flag, ..)| *flag == wanted) {
                clone::setns(file.as_fd(), *flag).or_error(|| namespaces.joining(*flag))?;
            }
        }
        if time {
            clone::unshare(NEWTIME).or_error(|| "create a time namespace".into())?;
            if !namespaces.time_offsets.is_empty() {
                join::time_offsets(proc, &namespaces.time_offsets).map_err(Error::Step)?;
            }
        }
        let child = |_| child(in_cgroup);
        let born = fork(flags | libc::CLONE_PARENT as u64, None, &child).or_error(|| "clone".into())?;
        Ok(Spawned { in_cgroup, ..born })
    };
    // Its child is born where it is: later it may lack the right to choose.
    let attempt = |cgroup: Option<BorrowedFd<'_>>| {
        let mut result: Option<Result<Spawned>> = None;
        let mut go_between = || result = Some(between(cgroup.is_some()));
        clone::with_borrowed_memory(true, cgroup, &mut go_between)?;
        Ok(result.unwrap_or_else(|| Err(Error::Other("the go-between ended early".into()))))
    };
    let made = match attempt(cgroup) {
        Err(errno) if cgroup.is_some() && moved_instead(errno) => attempt(None),
        // There is room for one process, and the go-between was it.
        Ok(Err(Error::System { errno: Errno::EAGAIN, .. })) if cgroup.is_some() => attempt(None),
        made => made,
    };
    // The memory was shared: so was what makes this process undumpable.
    process::set_dumpable(false).or_error(|| "make this process undumpable".into())?;
    made.or_error(|| "clone a go-between".into())?
}

/// Older kernels, and groups that a process cannot be born in but can be moved to.
fn moved_instead(errno: Errno) -> bool {
    matches!(errno, Errno::EBUSY | Errno::EAGAIN | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EACCES)
}

fn fork(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: &Child<'_>,
) -> std::result::Result<Spawned, Errno> {
    let (forked, in_cgroup) = match clone::fork_into(flags, cgroup) {
        Err(errno) if cgroup.is_some() && moved_instead(errno) => (clone::fork_into(flags, None)?, false),
        result => (result?, cgroup.is_some()),
    };
    match forked {
        Forked::Parent(pid, pidfd) => Ok(Spawned { pid, pidfd, in_cgroup }),
        Forked::Child => Ok(child(in_cgroup)),
    }
}
