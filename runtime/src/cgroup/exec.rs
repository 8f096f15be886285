//! Where the process of an `exec` goes: the container's cgroup, or one below it.

use super::dir::{Dir, write_once};
use super::error::{Error, Result};
use super::host::{self, ROOT, UNIFIED};
use super::make::apply_error;
use super::path::{below, join};
use super::{Cgroup, Member, systemd};
use crate::sys::Errno;
use crate::weak;
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a new process joins.
#[derive(Debug, Default)]
pub struct ExecTarget {
    directory: Option<Dir>,
    joins: Vec<OwnedFd>,
    fallback: Option<i32>,
    unit: Option<systemd::Unit>,
    below: String,
}

impl ExecTarget {
    /// As [`Cgroup::clone_target`].
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().and_then(Dir::fd)
    }

    /// As [`Cgroup::join_files`].
    pub fn join_files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.joins.iter().map(AsFd::as_fd)
    }

    /// Moves a process of one thread there, whose parent could not be: from within the container's user namespace it may
    /// not be cloned into [`ExecTarget::clone_target`], a limit on processes may forbid it, and kernels before 5.7 cannot.
    ///
    /// # Errors
    /// The kernel's or systemd's refusal.
    pub fn attach(&self, pid: i32) -> Result<()> {
        for file in &self.joins {
            write_once(file.as_fd(), &pid.to_string())
                .map_err(|errno| apply_error("write", "the tasks of a control group", errno))?;
        }
        let Some(dir) = &self.directory else { return Ok(()) };
        match (dir.write("cgroup.procs", &pid.to_string()), &self.unit) {
            (Err(Errno::EACCES | Errno::EPERM), Some(unit)) => Ok(systemd::attach(unit, &self.below, pid)?),
            (result, _) => result.map_err(|errno| apply_error("write", &dir.file("cgroup.procs"), errno)),
        }
    }

    /// Where to go when the clone is refused with `EBUSY`: the container has cgroups with controllers of its own below
    /// its root, so no process may be in the root. Its init must then be in one of them, and that one will do. `None`
    /// when the caller named the cgroup.
    ///
    /// # Errors
    /// The init's cgroup could not be found or opened.
    pub fn fallback(&self) -> Result<Option<Self>> {
        let Some(init) = self.fallback else { return Ok(None) };
        let hierarchies = host::of_process(&init.to_string())?;
        let Some(unified) = hierarchies.into_iter().find(|hierarchy| hierarchy.controllers == UNIFIED) else {
            return Ok(None);
        };
        let directory = open(join(ROOT, &unified.own))?;
        Ok(Some(Self { directory: Some(directory), ..Self::default() }))
    }
}

impl Cgroup {
    /// What an exec'd process joins. `wanted` are the values of `--cgroup`, `[CONTROLLER[,CONTROLLER…]:]PATH`, each path
    /// below the container's cgroup; `init` is the container's first process.
    ///
    /// # Errors
    /// A path that leads out of the container's cgroup, a controller it has not, a cgroup that is not there.
    pub fn for_exec(&self, wanted: &[String], init: i32) -> Result<ExecTarget> {
        let wanted = Wanted::parse_all(wanted)?;
        for name in wanted.iter().flat_map(|wanted| &wanted.controllers) {
            if self.legacy(name).is_none() {
                let why = match self.is_v2() {
                    true => "cgroup v2 has one hierarchy; expected a path without controllers",
                    false => "the container has no cgroup with this controller",
                };
                return Err(invalid(name, why));
            }
        }
        let mut target = ExecTarget {
            fallback: (self.is_v2() && wanted.is_empty()).then_some(init),
            unit: self.unit.clone(),
            ..ExecTarget::default()
        };
        for member in &self.members {
            let path = match wanted.iter().find(|wanted| wanted.is_for(member)) {
                Some(wanted) if !wanted.path.is_empty() => member.dir.file(&wanted.path),
                _ => member.dir.path().to_owned(),
            };
            if member.is_unified() {
                target.below = path[member.dir.path().len()..].to_owned();
                match open(path) {
                    // It may have been left and removed by a container that can.
                    Err(error) if error.errno() == Some(Errno::ENOENT) && target.fallback.is_some() => {
                        return match target.fallback()? {
                            Some(other) => Ok(other),
                            None => Err(error),
                        };
                    }
                    directory => target.directory = Some(directory?),
                }
            } else {
                let dir = Dir::new(path);
                let file = dir.open("tasks", OFlag::O_WRONLY);
                target.joins.push(file.map_err(|errno| dir.error("open", "tasks", errno))?);
            }
        }
        Ok(target)
    }
}

/// One value of `--cgroup`.
struct Wanted<'a> {
    controllers: Vec<&'a str>,
    path: String,
}

impl<'a> Wanted<'a> {
    fn parse_all(texts: &'a [String]) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for text in texts {
            let one = Self::parse(text)?;
            if one.controllers.is_empty() && texts.len() > 1 {
                return Err(invalid(text, "missing <controller>: prefix"));
            }
            if one.controllers.iter().any(|name| all.iter().any(|other| other.controllers.contains(name))) {
                return Err(invalid(text, "a controller is specified multiple times"));
            }
            all.push(one);
        }
        Ok(all)
    }

    fn parse(text: &'a str) -> Result<Self> {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').collect::<Vec<_>>(), path),
            None => (Vec::new(), text),
        };
        if controllers.contains(&"") {
            return Err(invalid(text, "empty <controller> prefix"));
        }
        if weak::off("cgroup") {
            return Ok(Self { controllers, path: path.to_owned() });
        }
        let path = below(path)
            .ok_or_else(|| invalid(text, "bad sub cgroup path: it leads out of the container's cgroup"))?;
        Ok(Self { controllers, path })
    }

    /// Without controllers it is for all hierarchies.
    fn is_for(&self, member: &Member) -> bool {
        self.controllers.is_empty() || self.controllers.iter().any(|name| member.has(name))
    }
}

fn invalid(value: &str, why: &str) -> Error {
    Error::Invalid { field: "--cgroup".to_owned(), value: value.to_owned(), why: why.to_owned() }
}

fn open(path: String) -> Result<Dir> {
    let mut dir = Dir::new(path);
    dir.pin().map_err(|errno| Error::Io { operation: "open", path: dir.path().to_owned(), errno })?;
    Ok(dir)
}
