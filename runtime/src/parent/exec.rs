//! `exec`: one more process in a running container.
//!
//! A go-between that shares this process's memory enters the namespaces and gives up what it can; the process itself
//! is its child, born in the container's PID namespace and control group with little left to lose there.

use super::error::{Error, OrError, Result};
use super::start::hook_state;
use super::{agent, foreground, output, seal};
use crate::cgroup::{Cgroup, ExecTarget};
use crate::child::exec::{self, Entering};
use crate::log::Log;
use crate::path;
use crate::plan::{self, Host, ProcessPlan};
use crate::seccomp::Filter;
use crate::spec;
use crate::state::{self, ProcessDefaults, Record, StateDir, Status};
use crate::sys::clone::{self, Forked};
use crate::sys::{self, Errno, pidfd, sched};
use crate::trace::{self, Steps};
use crate::wire::{FromChild, Wire};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What the command line says of a new process.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the terminal goes.
    pub console_socket: Option<PathBuf>,
    /// Where a pidfd of the process goes.
    pub pidfd_socket: Option<PathBuf>,
    /// Where the number of the process goes.
    pub pid_file: Option<PathBuf>,
    /// Descriptors after standard error that the process keeps.
    pub preserve_fds: u32,
    /// Control groups below the container's: `[CONTROLLERS:]PATH`.
    pub cgroups: Vec<String>,
    /// Into a paused container too; the process waits until that is resumed.
    pub ignore_paused: bool,
    /// This command stays, and the terminal comes to it.
    pub foreground: bool,
}

/// A process that runs in a container.
#[derive(Debug)]
pub struct Running {
    /// Its number in this process's PID namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// The master of its terminal, where that came to this process.
    pub console: Option<OwnedFd>,
}

/// A container that a process can be added to.
#[derive(Debug)]
pub struct Target {
    record: Record,
    /// What the process starts from.
    pub defaults: ProcessDefaults,
    filter: Option<Filter>,
    init: state::Init,
}

/// Finds the container `id`.
///
/// # Errors
/// There is none, or it does not run.
pub fn target(root: &std::path::Path, id: &str, ignore_paused: bool) -> Result<Target> {
    let dir = StateDir::open(root, id)?;
    let record = dir.record()?;
    let cannot = |place: &str| Err(Error::Other(format!("cannot exec in a {place}")));
    let init = match state::look(&dir, &record)? {
        (Status::Creating, _) => return cannot("container that is being created"),
        (Status::Paused, _) if !ignore_paused => {
            return cannot("paused container (use --ignore-paused to override)");
        }
        (_, Some(init)) => init,
        (_, None) => return cannot("stopped container"),
    };
    let (defaults, filter) = dir.process()?;
    let filter = defaults.seccomp_flags.map(|flags| Filter {
        program: filter,
        flags,
        droppable: defaults.seccomp_droppable,
    });
    Ok(Target { record, defaults, filter, init })
}

/// Runs `process` in the container.
///
/// # Errors
/// One sentence; nothing is left behind.
pub fn exec(target: &Target, process: &spec::Process, options: &Options, log: &Log) -> Result<Running> {
    let host = super::create::host()?;
    let userns = target.record.namespaces & libc::CLONE_NEWUSER != 0;
    let host = Host { grantable: if userns { !0 } else { host.grantable }, ..host };
    let mut warnings = Vec::new();
    // Of the command line, or of the file of `--process`: no config.json is concerned.
    let mut planned = plan::process::plan(process, &host, &mut warnings)
        .map_err(|error| Error::Other(error.to_string()))?;
    if options.foreground && planned.terminal {
        planned.size = foreground::terminal_size().or(planned.size);
    }
    warnings.iter().for_each(|warning| log.warn(warning));
    check_terminal(&planned, options)?;
    let cgroup = target.record.cgroup.as_ref().map(Cgroup::open).transpose()?.unwrap_or_default();
    let place = cgroup.for_exec(&options.cgroups, target.init.pid)?;
    let mut steps = Steps::begin("enter the container");
    // Once, however often it takes: whoever waits for the terminal waits for one connection.
    let console = options.console_socket.as_deref().map(|path| output::connect("--console-socket", path));
    let console = console.transpose()?;
    let console = console.as_ref().map(AsFd::as_fd);
    // Where the container's control groups have other CPUs, the process leaves these when it comes there.
    if let Some(cpus) = &planned.affinity.0 {
        sched::set_affinity(0, cpus).or_error(|| "process.execCPUAffinity.initial".into())?;
    }
    let enter = |place: &ExecTarget, way| enter(target, &planned, console, place, way, options);
    // A terminal that was handed over once cannot be handed over again.
    let once = planned.terminal && options.console_socket.is_some();
    let way = if once && cgroup.has_no_room_for(2) { Way::Moved } else { Way::Born };
    let (wire, pid) = match enter(&place, way) {
        // Processes are in groups below the container's: where its first process is, another one can be.
        Err(Error::System { errno: Errno::EBUSY, .. }) if place.fallback()?.is_some() => {
            enter(&place.fallback()?.unwrap_or_default(), way)?
        }
        // A limit on processes is reached, which counts the go-between as well.
        Err(Error::System { errno: Errno::EAGAIN, .. }) if way == Way::Born && !once => {
            enter(&place, Way::Moved)?
        }
        result => result?,
    };
    steps.then("wait until the program runs");
    let bound = planned.affinity.1.as_ref().map_or(Ok(()), |cpus| {
        sched::set_affinity(pid, cpus).or_error(|| "process.execCPUAffinity.final".into())
    });
    let running = bound.and_then(|()| converse(target, &wire, pid, options));
    if running.is_err() {
        end(pid);
    }
    running
}

fn check_terminal(planned: &ProcessPlan, options: &Options) -> Result<()> {
    match (planned.terminal, &options.console_socket, options.foreground) {
        (true, None, false) => Err(Error::Other(
            "cannot allocate tty if corten will detach without setting console socket".into(),
        )),
        (true, Some(_), true) => Err(Error::Other("--console-socket needs --detach".into())),
        (false, Some(_), _) => {
            Err(Error::Other("--console-socket is set, but the process has no terminal".into()))
        }
        _ => Ok(()),
    }
}

/// How the process comes to its control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is the child of a process that is there.
    Born,
    /// It is moved there when it exists, before its program runs: slower, and no limit on processes forbids it.
    Moved,
}

fn enter(
    target: &Target,
    planned: &ProcessPlan,
    console_socket: Option<BorrowedFd<'_>>,
    place: &ExecTarget,
    way: Way,
    options: &Options,
) -> Result<(Wire, i32)> {
    let proc = path::verified_proc().or_error(|| "open /proc, which must be a procfs".into())?;
    let (parent_wire, child_wire) = Wire::pair().or_error(|| "create a socket pair".into())?;
    let namespaces = target.record.namespaces;
    let time = namespaces & plan::namespaces::NEWTIME != 0;
    let time_namespace = time.then(|| open_time(target)).transpose()?;
    let born = way == Way::Born;
    let cgroup_files: Vec<BorrowedFd<'_>> = place.join_files().filter(|_| born).collect();
    let entering = Entering {
        process: planned,
        wire: &child_wire,
        proc: proc.as_fd(),
        init: target.init.pidfd.as_fd(),
        root: (namespaces & libc::CLONE_NEWNS == 0).then_some(target.record.rootfs.as_path()),
        namespaces: namespaces & !plan::namespaces::NEWTIME,
        time_namespace: time_namespace.as_ref().map(AsFd::as_fd),
        cgroup_files: &cgroup_files,
        console_socket,
        filter: target.filter.as_ref(),
        keyring: CString::new(format!("_ses.{}", target.record.id)).ok(),
        personality: target.defaults.personality,
        memory_policy: target.defaults.memory_policy.as_ref(),
        preserve_fds: options.preserve_fds,
    };
    let mut result: Option<Result<i32>> = None;
    let mut go_between = || result = Some(go_between(&entering));
    // Born in the container's control group, where its child stays.
    let cgroup = place.clone_target().filter(|_| born);
    let born = match clone::with_borrowed_memory(false, cgroup, &mut go_between) {
        // A limit on processes is reached; a user comes from another part of the tree; the kernel cannot do it. There the
        // process can be moved all the same, as runc does; and so far nothing has been done, nor a terminal handed over.
        Err(Errno::EAGAIN | Errno::EACCES | Errno::EINVAL | Errno::EOPNOTSUPP) if cgroup.is_some() => {
            clone::with_borrowed_memory(false, None, &mut go_between).map(|()| false)
        }
        done => done.map(|()| born),
    };
    let born = born.or_error(|| "clone into the container's cgroup".into())?;
    let pid = result.unwrap_or_else(|| Err(Error::Other("the go-between ended early".into())))?;
    if !born && let Err(error) = place.attach(pid) {
        end(pid);
        return Err(error.into());
    }
    Ok((parent_wire, pid))
}

/// Ends a process that cannot become what it should. It is not reaped yet, so the number is still that of this child.
fn end(pid: i32) {
    let _ = pidfd::open(pid).and_then(|process| pidfd::send_signal(process.as_fd(), libc::SIGKILL));
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
}

/// Runs in a process of its own with this one's memory: whatever it enters or gives up, this process does not.
fn go_between(entering: &Entering<'_>) -> Result<i32> {
    let prepared = exec::prepare(entering).map_err(Error::Step)?;
    // This process has a table of descriptors of its own: the caller's stay open.
    exec::let_go(entering, &prepared).map_err(Error::Step)?;
    let flags = libc::CLONE_PARENT as u64;
    match clone::fork_into(flags, None) {
        Ok(Forked::Parent(pid, _)) => Ok(pid),
        Ok(Forked::Child) => exec::become_program(entering, prepared),
        Err(errno) => Err(errno).or_error(|| "clone into the container".into()),
    }
}

fn open_time(target: &Target) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/time", target.init.pid);
    let file = std::fs::File::open(&path).map_err(super::error::file_error("open", path))?;
    // The number may be another process's by now; the descriptor is not.
    match pidfd::has_exited(target.init.pidfd.as_fd(), 0) {
        Ok(false) => Ok(file.into()),
        _ => Err(Error::Other("cannot exec in a stopped container".into())),
    }
}

/// Answers the process until it runs its program.
fn converse(target: &Target, wire: &Wire, pid: i32, options: &Options) -> Result<Running> {
    // Not reaped yet, so the number is still that of this child.
    let pidfd = pidfd::open(pid).or_error(|| "open the new process".into())?;
    // That process is at work, and this one has nothing to do but to wait for it.
    seal::let_go();
    let mut console = None;
    loop {
        match wire.hear().or_error(|| "hear from the new process".into())? {
            FromChild::Console(master) => console = Some(master),
            FromChild::Listener(listener) => {
                let (path, metadata) = target.defaults.listener.clone().unwrap_or_default();
                let state = hook_state(&target.record, "running", Some(target.init.pid));
                agent::hand_over(&path, &metadata, pid, &state, listener.as_fd())?;
                wire.go().or_error(|| "release the new process".into())?;
            }
            FromChild::Ready => {
                trace::child_is_done();
                if let Some(path) = &options.pidfd_socket {
                    output::send_pidfd(path, pidfd.as_fd())?;
                }
                if let Some(path) = &options.pid_file {
                    output::write_pid_file(path, pid)?;
                }
                wire.go().or_error(|| "release the new process".into())?;
            }
            FromChild::Failure(failure) => return Err(Error::Step(failure)),
            FromChild::End => return Ok(Running { pid, pidfd, console }),
            FromChild::Mounted | FromChild::Limits | FromChild::Moved(_) => {
                return Err(Error::System {
                    what: "hear from the new process".into(),
                    errno: sys::Errno::EBADMSG,
                });
            }
        }
    }
}
