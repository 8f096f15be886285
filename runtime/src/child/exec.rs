//! The container's half of an `exec`, in two processes.
//!
//! [`prepare`] runs outside of the container's PID namespace, where no process of the container can see it, and does
//! all that needs the host or its privileges. [`become_program`] runs inside, with nothing of the host in its hands but
//! the connection to its parent.

use super::{
    OrFail, Step, apply_label, console, identity, join, prepare_label, program, session_keyring, stdio,
};
use crate::path;
use crate::plan::ProcessPlan;
use crate::plan::namespaces::NEWTIME;
use crate::seccomp::Filter;
use crate::sys::{clone, fd, process};
use crate::trace::{self, Steps};
use crate::weak;
use crate::wire::{FromChild, Wire};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What both processes are handed.
#[derive(Debug)]
pub struct Entering<'a> {
    /// What to run, and as whom.
    pub process: &'a ProcessPlan,
    /// The connection to the parent.
    pub wire: &'a Wire,
    /// The host's verified procfs.
    pub proc: BorrowedFd<'a>,
    /// A pidfd of the container's first process.
    pub init: BorrowedFd<'a>,
    /// The root directory, where the container has the host's mounts: there is no namespace that has it.
    pub root: Option<&'a Path>,
    /// `CLONE_NEW…` flags of the namespaces to enter, the time namespace excepted.
    pub namespaces: libc::c_int,
    /// The time namespace to enter: not possible while memory is shared with another process.
    pub time_namespace: Option<BorrowedFd<'a>>,
    /// v1 `tasks` files to enter.
    pub cgroup_files: &'a [BorrowedFd<'a>],
    /// Where the master of the terminal goes; the parent if absent.
    pub console_socket: Option<BorrowedFd<'a>>,
    /// The filter to load.
    pub filter: Option<&'a Filter>,
    /// The name of the session keyring.
    pub keyring: Option<CString>,
    /// personality(2) of the container.
    pub personality: Option<u32>,
    /// set_mempolicy(2) of the container.
    pub memory_policy: Option<&'a (u32, Vec<u64>)>,
    /// The number of descriptors after standard error that the program keeps.
    pub preserve_fds: u32,
}

impl Entering<'_> {
    fn keeps_user_namespace(&self) -> bool {
        self.namespaces & libc::CLONE_NEWUSER == 0
    }
}

/// What the first process leaves to the second.
#[derive(Debug)]
pub struct Prepared {
    terminal: Option<OwnedFd>,
    env: Vec<CString>,
    /// The identity has been taken on already.
    identified: bool,
}

/// Enters the container but for its PID namespace, which the next child is born into.
///
/// # Errors
/// A namespace cannot be entered, or the process cannot be made what it should be.
pub fn prepare(entering: &Entering<'_>) -> Step<Prepared> {
    let plan = entering.process;
    let mut steps = Steps::begin("enter the control groups");
    super::reset_signals(entering.proc)?;
    join::cgroups(entering.cgroup_files)?;
    // Where the container has a user namespace, there are no privileges over the host inside it.
    if let Some(score) = plan.oom_score_adj {
        let what = || format!("process.oomScoreAdj: write {score}");
        let file = path::open_in_proc(entering.proc, c"self/oom_score_adj", libc::O_WRONLY).or_fail(what)?;
        match nix::unistd::write(&file, score.to_string().as_bytes()) {
            Err(crate::sys::Errno::EACCES) if !entering.keeps_user_namespace() => {}
            result => result.map(drop).or_fail(what)?,
        }
    }
    identity::limits_of_child(plan)?;
    let label = prepare_label(plan, entering.proc)?;
    steps.then("join the namespaces");
    if entering.namespaces != 0 {
        clone::setns(entering.init, entering.namespaces)
            .or_fail(|| "join the container's namespaces".into())?;
    }
    if !entering.keeps_user_namespace() {
        join::become_root(false)?;
    }
    if let Some(root) = entering.root.filter(|_| !weak::off("root")) {
        let what = || format!("enter the container's root {}", root.display());
        nix::unistd::chdir(root).and_then(|()| nix::unistd::chroot(".")).or_fail(what)?;
    }
    steps.then("keyring, terminal, directory, user");
    if let Some(name) = &entering.keyring {
        session_keyring(name, !entering.keeps_user_namespace())?;
    }
    let terminal = match plan.terminal {
        true => Some(terminal(entering)?),
        false => None,
    };
    // While this process may still do it; what it has in place of the three, its child gets.
    stdio::hand_over(
        terminal.as_ref(),
        Some(stdio::NullDevice { dir: fd::cwd(), name: c"/dev/null", own: false }),
        plan.identity.uid,
    )?;
    identity::surroundings(entering.personality, entering.memory_policy)?;
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_fail(|| "open the container's root".into())?;
    let mut env = plan.env.clone();
    program::add_home(&mut env, plan.identity.uid, root.as_fd());
    program::enter_directory(&plan.cwd)?;
    // The file is this process's, and what is written to it goes on to the next one.
    if let Some(label) = label {
        apply_label(&label)?;
    }
    // Only the very last process may give up what the time namespace needs, and a scheduling policy that is reset on
    // fork would be lost before it counts. Nor may this process be counted where processes of the user are.
    let early =
        entering.time_namespace.is_none() && plan.scheduler.is_none() && plan.limit_on_processes().is_none();
    if early {
        identity::scheduling(plan)?;
        identity::become_user(&plan.identity, entering.filter.is_some(), entering.keeps_user_namespace())?;
    }
    Ok(Prepared { terminal, env, identified: early })
}

/// Closes what was opened on the host, in this process and for its child: a process of the container sees that one from
/// its first moment on, and one with `CAP_SYS_PTRACE` can take what it has open (CVE-2016-9962).
///
/// # Errors
/// The kernel refuses.
pub fn let_go(entering: &Entering<'_>, prepared: &Prepared) -> Step<()> {
    if weak::off("descriptors") {
        return Ok(());
    }
    fd::close_all_but(3 + entering.preserve_fds, &kept(entering, prepared.terminal.as_ref()))
        .or_fail(|| "close descriptors".into())
}

/// A terminal of the container's own devpts.
fn terminal(entering: &Entering<'_>) -> Step<OwnedFd> {
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_fail(|| "open the container's root".into())?;
    let master =
        console::open_master(root.as_fd()).or_fail(|| "open /dev/pts/ptmx in the container".into())?;
    let slave = console::open_slave(master.as_fd()).or_fail(|| "open the terminal".into())?;
    if let Some((rows, columns)) = entering.process.size {
        crate::sys::tty::set_size(master.as_fd(), rows, columns).or_fail(|| "process.consoleSize".into())?;
    }
    console::hand_over(entering.console_socket, entering.wire, master)?;
    Ok(slave)
}

/// Becomes the program. Never returns.
pub fn become_program(entering: &Entering<'_>, prepared: Prepared) -> ! {
    trace::in_child();
    let failure = match steps(entering, prepared) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let _ = entering.wire.tell(&FromChild::Failure(failure));
    clone::exit_now(255)
}

fn steps(entering: &Entering<'_>, prepared: Prepared) -> Step<std::convert::Infallible> {
    let plan = entering.process;
    let Prepared { terminal, env, identified } = prepared;
    let step = trace::span("session, find the program");
    process::set_parent_death_signal(libc::SIGKILL).or_fail(|| "set parent death signal".into())?;
    if let Some(time) = entering.time_namespace {
        clone::setns(time, NEWTIME).or_fail(|| "join the time namespace".into())?;
    }
    process::new_session().or_fail(|| "create a session".into())?;
    stdio::attach(terminal, true)?;
    if !identified {
        identity::limit_processes(plan)?;
        identity::scheduling(plan)?;
        identity::become_user(&plan.identity, entering.filter.is_some(), entering.keeps_user_namespace())?;
    }
    program::verify_directory(&plan.cwd)?;
    let file = program::find(&plan.args, &env)?;
    let argv = process::StringArray::new(plan.args.clone());
    let envp = process::StringArray::new(env);
    program::close_descriptors(entering.preserve_fds)?;
    identity::limit_open_files(plan)?;
    process::set_parent_death_signal(0).or_fail(|| "clear parent death signal".into())?;
    drop(step);
    let _step = trace::span("load the filter, report");
    trace::no_more();
    load_filter(entering)?;
    entering.wire.tell(&FromChild::Ready).or_fail(|| "report to the runtime".into())?;
    entering.wire.wait_for_go().or_fail(|| "wait for the runtime".into())?;
    let errno = process::execve(&file, &argv, &envp);
    Err(errno).or_fail(|| format!("exec {}", file.to_string_lossy()))
}

/// Loads the filter and hands its listener over, if it has one.
fn load_filter(entering: &Entering<'_>) -> Step<()> {
    let Some(filter) = entering.filter else { return Ok(()) };
    if let Some(listener) = filter.load().or_fail(|| "load the seccomp filter".into())? {
        entering
            .wire
            .tell(&FromChild::Listener(listener))
            .or_fail(|| "hand over the seccomp listener".into())?;
        entering.wire.wait_for_go().or_fail(|| "wait for the seccomp agent".into())?;
    }
    identity::after_filter(&entering.process.identity, filter)
}

fn kept(entering: &Entering<'_>, terminal: Option<&OwnedFd>) -> Vec<u32> {
    use std::os::fd::AsRawFd;
    let fds = [Some(entering.wire.as_fd()), entering.time_namespace, terminal.map(AsFd::as_fd)];
    let mut numbers: Vec<u32> = fds.iter().flatten().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    numbers.sort_unstable();
    numbers
}
