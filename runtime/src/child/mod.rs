//! The container's half: from clone3(2) to execve(2).
//!
//! A list of steps in execution order on data that the plan has laid out. Decides nothing, knows no state directory
//! and no control group but the files it was handed. Every failure is one sentence to the parent.

pub mod at_once;
pub mod cgroups;
pub mod console;
pub mod copy_up;
pub mod covers;
pub mod devices;
pub mod exec;
pub mod fresh;
pub mod identity;
pub mod join;
pub mod masks;
pub mod mounts;
pub mod procfs;
pub mod program;
pub mod rootfs;
pub mod stdio;

use crate::hook::{self, HookState};
use crate::lsm::{ExecLabel, Module};
use crate::plan::{Plan, ProcessPlan};
use crate::spec::Hook;
use crate::sys::clone::Forked;
use crate::sys::fd::LazyFd;
use crate::sys::{self, Errno, clone, keyring, process};
use crate::trace::{self, Steps};
use crate::wire::{Failure, FromChild, Wire};
use crate::{path, seccomp, weak};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The result of a step.
pub type Step<T> = Result<T, Failure>;

/// Turns the kernel's errno into a failure that says what was being done.
pub trait OrFail<T> {
    /// `what` is what was done, as `mount /proc`; the reason is added.
    ///
    /// # Errors
    /// The failure, when there is one.
    fn or_fail(self, what: impl FnOnce() -> String) -> Step<T>;
}

impl<T> OrFail<T> for Result<T, Errno> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Step<T> {
        self.map_err(|errno| Failure {
            errno: Some(errno),
            text: format!("{}: {}", what(), sys::reason(errno)),
        })
    }
}

/// A failure that the kernel has no errno for.
pub(crate) fn failure(text: impl Into<String>) -> Failure {
    Failure { errno: None, text: text.into() }
}

/// What the child is handed: the plan, and descriptors that the parent has opened.
#[derive(Debug)]
pub struct Handed<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The connection to the parent.
    pub wire: &'a Wire,
    /// The host's verified procfs.
    pub proc: BorrowedFd<'a>,
    /// Namespaces to join: flag, name, file.
    pub joins: &'a [(libc::c_int, &'static str, OwnedFd)],
    /// The PID namespace of others, entered when all else is done: who is there can look into this process from then on.
    pub pids: Option<BorrowedFd<'a>>,
    /// v1 `tasks` files to enter.
    pub cgroup_files: &'a [BorrowedFd<'a>],
    /// How the container sees its control groups.
    pub cgroup_mounts: cgroups::CgroupView,
    /// What only the parent could make, by the index of the mount.
    pub prepared: &'a [mounts::Prepared],
    /// Where the master of the terminal goes; the parent if absent.
    pub console_socket: Option<BorrowedFd<'a>>,
    /// What keeps the container waiting for `start`, and whether this process is in a control group that is on record already:
    /// whatever becomes of the parent, it is found. Absent: the parent keeps it waiting.
    pub fifo: Option<(BorrowedFd<'a>, bool)>,
    /// Hooks that run in the parent once everything is mounted.
    pub runtime_hooks: bool,
    /// Hooks of this side.
    pub create_container: &'a [Hook],
    /// Hooks of this side.
    pub start_container: &'a [Hook],
    /// What hooks are told.
    pub hook_state: &'a HookState,
    /// The filter to load.
    pub filter: Option<&'a seccomp::Filter>,
    /// Replace the root by moving the mount, where pivot_root(2) cannot (`--no-pivot`).
    pub no_pivot: bool,
    /// The name of a new session keyring; absent: the caller's is kept.
    pub keyring: Option<CString>,
    /// The number of descriptors after standard error that the program keeps.
    pub preserve_fds: u32,
    /// Resource limits are set by the parent, which may raise them.
    pub limits_by_parent: bool,
    /// New namespaces that clone3(2) would have made of the parent instead: made by the child, in its place.
    pub late: libc::c_int,
}

impl Handed<'_> {
    /// Whether something may keep this process waiting before it reports that all is set up.
    fn waits(&self, gate: bool) -> bool {
        gate || self.runtime_hooks
            || !self.create_container.is_empty()
            || self.limits_by_parent
            || self.pids.is_some()
    }
}

/// Makes the container and becomes its program. Never returns. With `gate` the parent has something to do first: it writes
/// id maps, moves interfaces, or moves this process. `parent` is its end of the connection, and `program` the mount that this
/// program was executed from.
pub fn run(handed: &Handed<'_>, parent: &Wire, program: Option<OwnedFd>, gate: bool) -> ! {
    trace::in_child();
    // This process must notice when its parent is gone: it may not hold the parent's end itself. Where it waits for nothing, that
    // end is closed with all others, before it reports.
    if handed.waits(gate) || weak::off("descriptors") {
        parent.close_in_child();
    }
    match container(handed, program, gate) {
        Ok(never) => match never {},
        Err(failure) => give_up(handed.wire, &failure),
    }
}

/// Says what failed, and ends this process.
fn give_up(wire: &Wire, failure: &Failure) -> ! {
    // Without a parent to hear it, the container's own error stream is the place where people look.
    // That the parent is gone is not this process's to tell: it has said why itself, or was killed.
    let alone = wire.tell(&FromChild::Failure(failure.clone())).is_err();
    if alone && failure.errno != Some(Errno::EPIPE) {
        let _ = nix::unistd::write(std::io::stderr().as_fd(), format!("{}\n", failure.text).as_bytes());
    }
    clone::exit_now(255)
}

fn container(handed: &Handed<'_>, program: Option<OwnedFd>, gate: bool) -> Step<std::convert::Infallible> {
    let plan = handed.plan;
    // Another container's namespace is no place for it.
    let program = program.filter(|_| plan.namespaces.creates(libc::CLONE_NEWNS));
    sys::fd::leave_open();
    // A runtime that dies in the middle must leave no half-made container running. Who waits for nothing ends a moment later,
    // when there is nobody to report to.
    let waits = handed.waits(gate);
    if waits {
        process::set_parent_death_signal(libc::SIGKILL).or_fail(|| "set parent death signal".into())?;
    }
    let mut steps = Steps::begin("reset signals");
    reset_signals(handed.proc)?;
    if gate {
        steps.then("wait for the runtime");
        handed.wire.wait_for_go().or_fail(|| "wait for the runtime".into())?;
    }
    steps.then("enter the control groups");
    join::cgroups(handed.cgroup_files)?;
    steps.then("session, namespaces, keyring, loopback");
    process::new_session().or_fail(|| "create a session".into())?;
    join::namespaces(plan, handed)?;
    if let Some(name) = &handed.keyring {
        session_keyring(name, plan.namespaces.separate(libc::CLONE_NEWUSER))?;
    }
    if plan.namespaces.creates(libc::CLONE_NEWNET) {
        sys::net::loopback_up().or_fail(|| "bring the loopback interface up".into())?;
    }
    let label = prepare_label(&plan.process, handed.proc)?;
    steps.then("root file system and mounts");
    let root = match plan.namespaces.separate(libc::CLONE_NEWNS) {
        true => rootfs::build(plan, handed)?,
        false => rootfs::borrow(plan)?,
    };
    if handed.runtime_hooks {
        handed.wire.tell(&FromChild::Mounted).or_fail(|| "report to the runtime".into())?;
        handed.wire.wait_for_go().or_fail(|| "wait for the runtime's hooks".into())?;
    }
    steps.then("createContainer hooks, terminal");
    create_container_hooks(handed, &root)?;
    let terminal = match plan.process.terminal {
        true => Some(console::open(plan, &root, handed)?),
        false => None,
    };
    steps.then("read-only and masked paths");
    rootfs::finish_mounts(&root)?;
    let hooks = handed.runtime_hooks || !handed.create_container.is_empty();
    let own_null = !hooks && root.dev.as_ref().is_some_and(|dev| dev.null);
    masks::apply(plan, &root, own_null)?;
    steps.then("pivot_root");
    rootfs::enter(plan, &root, handed.no_pivot, program)?;
    steps.then("host name, sysctls");
    name_and_settings(plan, handed)?;
    if plan.root.read_only {
        rootfs::make_read_only(&root)?;
    }
    let null =
        root.dev.as_ref().map(|dev| stdio::NullDevice { dir: dev.as_fd(), name: c"null", own: own_null });
    stdio::hand_over(terminal.as_ref(), null, plan.process.identity.uid)?;
    stdio::attach(terminal, handed.pids.is_none())?;
    drop(steps);
    finish(handed, &root, label, waits)
}

/// Runs the hooks that see the container's mounts, with the caller's file mode mask, as programs of the host; in the root
/// directory, as runc does.
fn create_container_hooks(handed: &Handed<'_>, root: &rootfs::Root) -> Step<()> {
    if handed.create_container.is_empty() {
        return Ok(());
    }
    nix::unistd::fchdir(&root.fd).or_fail(|| "enter the root file system".into())?;
    let ours = root.mask.map(nix::sys::stat::umask);
    hook::run(
        "createContainer",
        handed.create_container,
        &handed.hook_state.of_this_process("created"),
        None,
    )
    .map_err(failure)?;
    ours.map(nix::sys::stat::umask);
    Ok(())
}

/// Signals as a program expects them, whatever the caller of the runtime had ignored or blocked.
///
/// # Errors
/// The signal mask cannot be set.
pub fn reset_signals(proc: BorrowedFd<'_>) -> Step<()> {
    let (blocked, ignored) = held_signals(proc).unwrap_or((!0, !0));
    process::reset_signals(blocked, ignored).or_fail(|| "reset signals".into())
}

/// `SigBlk` and `SigIgn` of proc_pid_status(5).
fn held_signals(proc: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let file = LazyFd::from(path::open_in_proc(proc, c"self/status", libc::O_RDONLY).ok()?);
    let mut buffer = [0; 4096];
    let length = nix::unistd::read(&file, &mut buffer).ok()?;
    let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
    let mask = |name| {
        let mask = text.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    Some((mask("SigBlk:")?, mask("SigIgn:")?))
}

/// Host name, domain name, kernel settings.
fn name_and_settings(plan: &Plan, handed: &Handed<'_>) -> Step<()> {
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(std::ffi::OsStr::new(&*name.to_string_lossy()))
            .or_fail(|| format!("set host name {name:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        process::set_domainname(name).or_fail(|| format!("set domain name {name:?}"))?;
    }
    for sysctl in &plan.sysctl {
        let what = || format!("write {:?} to /proc/{}", sysctl.value, sysctl.file.to_string_lossy());
        let file =
            path::open_in_proc(handed.proc, &sysctl.file, libc::O_WRONLY).map(LazyFd::from).or_fail(what)?;
        nix::unistd::write(&file, sysctl.value.as_bytes()).or_fail(what)?;
    }
    Ok(())
}

/// Everything from here on is the same for each program that runs in a container: identity, filter, start, execve.
fn finish(
    handed: &Handed<'_>,
    root: &rootfs::Root,
    label: Option<ExecLabel>,
    dies_with_parent: bool,
) -> Step<std::convert::Infallible> {
    let plan = handed.plan;
    let process_plan = &plan.process;
    let mut steps = Steps::begin("limits, directory, environment");
    identity::surroundings(plan.personality, plan.memory_policy.as_ref())?;
    // Before the limits, which may leave no room for another open file.
    let mut env = process_plan.env.clone();
    program::add_home(&mut env, process_plan.identity.uid, root.path_root());
    if handed.limits_by_parent {
        handed.wire.tell(&FromChild::Limits).or_fail(|| "report to the runtime".into())?;
        handed.wire.wait_for_go().or_fail(|| "wait for resource limits".into())?;
    } else {
        identity::limits(process_plan, 0)?;
    }
    identity::scheduling(process_plan)?;
    // In the root directory it is already, and there it can be nowhere else.
    let elsewhere = process_plan.cwd.as_c_str() != c"/";
    if elsewhere {
        program::enter_directory(&process_plan.cwd)?;
    }
    if let Some(label) = label {
        apply_label(&label)?;
    }
    steps.then("user and capabilities");
    if let Some(pids) = handed.pids {
        clone::setns(pids, libc::CLONE_NEWPID).or_fail(|| plan.namespaces.joining(libc::CLONE_NEWPID))?;
    }
    let same_namespace = !plan.namespaces.separate(libc::CLONE_NEWUSER);
    identity::become_user(&process_plan.identity, handed.filter.is_some(), same_namespace)?;
    if elsewhere {
        program::verify_directory(&process_plan.cwd)?;
    }
    steps.then("find the program, close descriptors");
    let program = program::find(&process_plan.args, &env)?;
    let argv = process::StringArray::new(process_plan.args.clone());
    let envp = process::StringArray::new(env);
    program::preserve_descriptors(handed.preserve_fds)?;
    drop(steps);
    let ended = close_all_but_the_last(handed)
        .and_then(|()| appear(handed))
        .and_then(|()| match dies_with_parent {
            true => process::set_parent_death_signal(0).or_fail(|| "clear parent death signal".into()),
            false => Ok(()),
        })
        .and_then(|()| last(handed, &program, &argv, &envp));
    match ended {
        Ok(never) => match never {},
        // The owners of what was closed must not close it again: there is no way back up.
        Err(failure) => give_up(handed.wire, &failure),
    }
}

/// Goes on as a process in the PID namespace of others, where there is one to join. Everything of the host is behind: its
/// root, its descriptors, the capabilities that the program is not to have (CVE-2016-9962).
fn appear(handed: &Handed<'_>) -> Step<()> {
    if handed.pids.is_none() {
        return Ok(());
    }
    let forked = clone::fork_into(libc::CLONE_PARENT as u64, None);
    if let Forked::Parent(pid, _) = forked.or_fail(|| "clone into the pid namespace".into())? {
        let _ = handed.wire.tell(&FromChild::Moved(pid));
        clone::exit_now(0);
    }
    process::set_parent_death_signal(libc::SIGKILL).or_fail(|| "set parent death signal".into())?;
    handed.wire.wait_for_go().or_fail(|| "wait for the runtime".into())?;
    process::new_session().or_fail(|| "create a session".into())?;
    if handed.plan.process.terminal {
        sys::tty::set_controlling(sys::fd::stdin()).or_fail(|| "set the controlling terminal".into())?;
    }
    Ok(())
}

/// What is done with nothing open but the connection to the parent.
fn last(
    handed: &Handed<'_>,
    program: &CStr,
    argv: &process::StringArray,
    envp: &process::StringArray,
) -> Step<std::convert::Infallible> {
    let _step = trace::span("load the filter, report");
    trace::no_more();
    // From here on the filter decides what this process may do: reading, writing and execve(2) are all it needs.
    load_filter(handed)?;
    wait_for_start(handed)?;
    hook::run("startContainer", handed.start_container, &handed.hook_state.of_this_process("created"), None)
        .map_err(failure)?;
    let errno = process::execve(program, argv, envp);
    Err(errno).or_fail(|| format!("exec {}", program.to_string_lossy()))
}

/// A created container may wait for long: nothing of the host stays open meanwhile but what it waits on.
fn close_all_but_the_last(handed: &Handed<'_>) -> Step<()> {
    if weak::off("descriptors") {
        return Ok(());
    }
    let mut kept: Vec<u32> = [Some(handed.wire.as_fd()), handed.fifo.map(|(fifo, _)| fifo)]
        .iter()
        .flatten()
        .map(|fd| fd.as_raw_fd().cast_unsigned())
        .collect();
    kept.sort_unstable();
    sys::fd::close_all_but(3 + handed.preserve_fds, &kept).or_fail(|| "close descriptors".into())
}

/// Loads the filter and hands its listener over, if it has one.
fn load_filter(handed: &Handed<'_>) -> Step<()> {
    let Some(filter) = handed.filter else { return Ok(()) };
    let listener = filter.load().or_fail(|| "load the seccomp filter".into())?;
    if let Some(listener) = listener {
        handed
            .wire
            .tell(&FromChild::Listener(listener))
            .or_fail(|| "hand over the seccomp listener".into())?;
        handed.wire.wait_for_go().or_fail(|| "wait for the seccomp agent".into())?;
    }
    identity::after_filter(&handed.plan.process.identity, filter)
}

/// Reports that everything is set up, and waits until the program is wanted.
fn wait_for_start(handed: &Handed<'_>) -> Step<()> {
    handed.wire.tell(&FromChild::Ready).or_fail(|| "report to the runtime".into())?;
    let Some((fifo, noted)) = handed.fifo else {
        return handed.wire.wait_for_go().or_fail(|| "wait for the runtime".into());
    };
    if !noted {
        // A runtime that dies before the container is on record takes it along.
        handed.wire.wait_for_go().or_fail(|| "wait for the runtime".into())?;
    }
    let mut byte = [0];
    loop {
        match nix::unistd::read(fifo, &mut byte) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop).or_fail(|| "wait for start".into()),
        }
    }
}

/// Opens the file for the label that a process asks for.
///
/// # Errors
/// The security module is not enabled, or its file cannot be opened.
pub fn prepare_label(process_plan: &ProcessPlan, proc: BorrowedFd<'_>) -> Step<Option<ExecLabel>> {
    let (module, label, field) = match (process_plan.apparmor.as_str(), process_plan.selinux.as_str()) {
        ("", "") => return Ok(None),
        _ if weak::off("label") => return Ok(None),
        (profile, "") => (Module::AppArmor, profile, "process.apparmorProfile"),
        ("", label) => (Module::Selinux, label, "process.selinuxLabel"),
        _ => return Err(failure("process.apparmorProfile and process.selinuxLabel cannot both be set")),
    };
    if !module.enabled() {
        return Err(failure(format!(
            "{field}: {label:?} is asked for, but {module} is not enabled on this host"
        )));
    }
    ExecLabel::prepare(module, proc, label)
        .map(Some)
        .or_fail(|| format!("{field}: open the label of this process"))
}

/// Writes the label; it takes effect at execve(2).
///
/// # Errors
/// The label is refused, or another one is read back.
pub fn apply_label(label: &ExecLabel) -> Step<()> {
    label.apply().or_fail(|| format!("apply {}", label.describe()))
}

/// A session keyring of the container's own, searchable by its owner (keyrings(7)), and in a user namespace by others:
/// there the owner may be somebody else than root inside. The permissions are runc's.
///
/// # Errors
/// The keyring cannot be made, other than where the kernel has none.
pub fn session_keyring(name: &CString, userns: bool) -> Step<()> {
    const USER_SEARCH: u32 = 0x0008_0000;
    const OTHER_SEARCH: u32 = 0x0000_0008;
    let mut key = match keyring::join_session(Some(name)) {
        // Kernels without keyrings, and engines in containers whose filter forbids them.
        Err(Errno::ENOSYS | Errno::EPERM) => return Ok(()),
        result => result.or_fail(|| "create session keyring".into())?,
    };
    let mut described = keyring::describe(key).or_fail(|| "describe session keyring".into())?;
    // Names are everybody's: somebody else may have made one that this process may search. Root's is root's, here as in a
    // user namespace.
    if described.split(';').nth(1) != Some("0") && !weak::off("keyring") {
        key = keyring::join_session(None).or_fail(|| "create session keyring".into())?;
        described = keyring::describe(key).or_fail(|| "describe session keyring".into())?;
    }
    let mask = described.split(';').nth(3).and_then(|mask| u32::from_str_radix(mask, 16).ok());
    let mask =
        mask.ok_or_else(|| failure(format!("describe session keyring: unexpected answer {described:?}")))?;
    let added = if userns { OTHER_SEARCH } else { USER_SEARCH };
    keyring::set_permissions(key, mask | added).or_fail(|| "set session keyring permissions".into())
}
