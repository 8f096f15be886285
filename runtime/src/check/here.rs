//! What a configuration needs of this host: files, sockets, namespaces, ids. Looks, and opens at most.

use super::refusal::Refusal;
use crate::child;
use crate::hook;
use crate::parent::{create, sources, spawn};
use crate::path;
use crate::plan::mounts::{MountPlan, What};
use crate::plan::namespaces::{Namespaces, TYPES};
use crate::plan::{Host, Plan};
use crate::spec::{Config, Hook, IdMapping, Linux};
use crate::subordinate;
use crate::sys::{errno_of, reason};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{AccessFlags, access, getegid, geteuid};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

type Outcome = Result<(), Refusal>;

/// The first thing that is not here.
///
/// # Errors
/// What is not here.
pub fn first(config: &Config, plan: &Plan, host: &Host) -> Outcome {
    create::check_root(&plan.root.path).map_err(named)?;
    let none = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&none);
    namespaces(linux, plan, host)?;
    if host.rootless && plan.namespaces.creates(libc::CLONE_NEWUSER) {
        let own = (geteuid().as_raw(), getegid().as_raw());
        map("linux.uidMappings", &plan.namespaces.uids, own.0, subordinate::UIDS)?;
        map("linux.gidMappings", &plan.namespaces.gids, own.1, subordinate::GIDS)?;
    }
    sources::check(plan, host).map_err(named)?;
    mounts(plan)?;
    interfaces(plan)?;
    hooks(config)?;
    label(plan)?;
    agent(linux)
}

/// Takes the path off the front of a message.
fn named(error: crate::parent::Error) -> Refusal {
    let text = error.to_string();
    let text = text.strip_prefix("config.json: ").unwrap_or(&text);
    match text.split_once(": ") {
        Some((path, problem)) if !path.contains([' ', '/']) => Refusal::at(path, problem),
        _ => Refusal::at("", text),
    }
}

fn namespaces(linux: &Linux, plan: &Plan, host: &Host) -> Outcome {
    let place = |kind: &str| linux.namespaces.iter().position(|namespace| namespace.kind == kind);
    for (kind, (flag, file)) in TYPES {
        let Some(index) = place(kind).filter(|_| plan.namespaces.separate(flag)) else { continue };
        if fs::symlink_metadata("/proc/self/ns").is_ok()
            && fs::symlink_metadata(format!("/proc/self/ns/{file}")).is_err()
        {
            let problem = format!("this kernel has no {kind} namespaces");
            return Err(Refusal::at(format!("linux.namespaces[{index}].type"), problem));
        }
        let join: Vec<_> = plan.namespaces.join.iter().filter(|join| join.flag == flag).cloned().collect();
        spawn::open_namespaces(&Namespaces { join, ..Namespaces::default() })
            .and_then(|joins| spawn::refuse_own(plan, &joins))
            .map_err(|error| Refusal::at(format!("linux.namespaces[{index}].path"), error.to_string()))?;
    }
    Ok(spawn::refuse_alone(plan, host)?)
}

/// Without privilege, newuidmap(1) and newgidmap(1) map what the host's administrator gave to the user.
fn map(field: &str, lines: &[IdMapping], own: u32, file: &str) -> Outcome {
    if matches!(lines, [IdMapping { host_id, size: 1, .. }] if *host_id == own) {
        return Ok(());
    }
    if crate::privilege::in_user_namespace() {
        // What is mapped here is what newuidmap(1) lets through, and the kernel knows it better.
        return Ok(());
    }
    let ranges = subordinate::of(file, geteuid().as_raw());
    for (index, line) in lines.iter().enumerate() {
        let allowed =
            line.host_id == own && line.size == 1 || subordinate::holds(&ranges, line.host_id, line.size);
        if !allowed {
            let problem = format!(
                "ids {} to {} are not this user's; expected its own, {own}, or a range of {file}",
                line.host_id,
                line.host_id.saturating_add(line.size - 1)
            );
            return Err(Refusal::at(format!("{field}[{index}]"), problem));
        }
    }
    Ok(())
}

fn mounts(plan: &Plan) -> Outcome {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&plan.root.path, flags, Mode::empty()).ok();
    for mount in &plan.mounts {
        if let Some(root) = &root {
            destination(plan, mount, root.as_fd())?;
        }
        match &mount.what {
            What::Bind { source, nofollow, copy_symlink, .. } => {
                let found = match nofollow | copy_symlink {
                    true => fs::symlink_metadata(source),
                    false => fs::metadata(source),
                };
                found.map_err(|error| {
                    let problem = format!("{}: {}", source.display(), reason(errno_of(&error)));
                    Refusal::at(format!("mounts[{}].source", mount.index), problem)
                })?;
            }
            What::FileSystem { kind, .. } if !may_have(&kind.to_string_lossy()) => {
                let problem = format!("{kind:?} is not a file system that this kernel has");
                return Err(Refusal::at(format!("mounts[{}].type", mount.index), problem));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a mount fits on what the root file system has at its destination. What an earlier mount brings is unknown.
fn destination(plan: &Plan, mount: &MountPlan, root: BorrowedFd<'_>) -> Outcome {
    let at = Path::new(&mount.destination);
    let earlier = |other: &&MountPlan| other.index < mount.index && at.starts_with(&other.destination);
    if mount.destination_nofollow || plan.mounts.iter().any(|other| earlier(&other)) {
        return Ok(());
    }
    let wrong = |problem: String| Err(Refusal::at(format!("mounts[{}].destination", mount.index), problem));
    let directory = match &mount.what {
        What::FileSystem { kind, .. } if matches!(kind.to_bytes(), b"proc" | b"sysfs") => {
            return match child::mounts::not_through_links(root, &mount.destination) {
                Ok(_) => Ok(()),
                Err(failure) => wrong(failure.text),
            };
        }
        What::FileSystem { .. } | What::Cgroup { .. } => true,
        What::Bind { copy_symlink: true, .. } | What::Remount => return Ok(()),
        What::Bind { source, .. } => fs::metadata(source).is_ok_and(|meta| meta.is_dir()),
    };
    let Ok(found) = path::resolve(root, &mount.destination, path::Missing::Fail) else { return Ok(()) };
    let Ok(stat) = fstat(&found) else { return Ok(()) };
    match (directory, path::file_type(&stat) == SFlag::S_IFDIR) {
        (true, false) => wrong(format!("{} is no directory in the root file system", at.display())),
        (false, true) => {
            wrong(format!("{} is a directory in the root file system, and the source is none", at.display()))
        }
        _ => Ok(()),
    }
}

/// Whether the kernel has a file system, or may load it: that is found out by mounting alone.
fn may_have(kind: &str) -> bool {
    let Ok(text) = fs::read_to_string("/proc/filesystems") else { return true };
    let bare = kind.split('.').next().unwrap_or(kind);
    let known = text.lines().any(|line| line.split_whitespace().last() == Some(bare));
    known || Path::new("/proc/modules").exists()
}

fn interfaces(plan: &Plan) -> Outcome {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    let Ok(text) = fs::read_to_string("/proc/self/net/dev") else { return Ok(()) };
    let missing = plan.net_devices.iter().find(|(outside, _)| {
        !text.lines().any(|line| line.split_once(':').is_some_and(|(name, _)| name.trim() == outside))
    });
    match missing {
        Some((outside, _)) => {
            let problem = "this host has no interface of that name";
            Err(Refusal::at(format!("linux.netDevices[{outside:?}]"), problem))
        }
        None => Ok(()),
    }
}

fn hooks(config: &Config) -> Outcome {
    if let Err((key, problem)) = hook::Output::check(&config.annotations) {
        return Err(Refusal::at(format!("annotations[{key:?}]"), problem));
    }
    let Some(hooks) = &config.hooks else { return Ok(()) };
    // Those of startContainer are programs of the container.
    let kinds: [(&str, &[Hook]); 5] = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, hooks) in kinds {
        for (index, hook) in hooks.iter().enumerate() {
            access(hook.path.as_str(), AccessFlags::X_OK).map_err(|errno| {
                let problem = format!("{}: {}", hook.path, reason(errno));
                Refusal::at(format!("hooks.{kind}[{index}].path"), problem)
            })?;
        }
    }
    Ok(())
}

/// Opens the file that a label would be written to.
fn label(plan: &Plan) -> Outcome {
    let Ok(proc) = path::verified_proc() else { return Ok(()) };
    match child::prepare_label(&plan.process, proc.as_fd()) {
        Ok(_) => Ok(()),
        Err(failure) => Err(match failure.text.split_once(": ") {
            Some((field, problem)) => Refusal::at(field, problem),
            None => Refusal::at("process.apparmorProfile", failure.text),
        }),
    }
}

fn agent(linux: &Linux) -> Outcome {
    let Some(seccomp) = linux.seccomp.as_ref().filter(|seccomp| !seccomp.listener_path.is_empty()) else {
        return Ok(());
    };
    let socket = &seccomp.listener_path;
    let problem = match fs::metadata(socket) {
        Ok(meta) if meta.file_type().is_socket() => return Ok(()),
        Ok(_) => format!("{socket} is not a socket"),
        Err(error) => format!("{socket}: {}", reason(errno_of(&error))),
    };
    Err(Refusal::at("linux.seccomp.listenerPath", problem))
}
