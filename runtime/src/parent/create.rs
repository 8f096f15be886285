//! `create`, and the first half of `run`.

mod answers;

use super::error::{Error, OrError, Result, file_error};
use super::spawn::{self, Spawned};
use super::undo::Undo;
use super::{cgroups, idmap, net_devices, note, notify, output, resctrl, seal, sources};
use crate::cgroup::{self, Cgroup, Driver};
use crate::child::mounts::Prepared;
use crate::child::{self, Handed};
use crate::hook::{self, HookState};
use crate::log::Log;
use crate::lsm::Module;
use crate::path;
use crate::plan::{self, Host, Plan};
use crate::privilege;
use crate::seccomp::{self, Filter};
use crate::spec::{Config, Hooks, IntelRdt, Linux, Resources};
use crate::state::{Journal, Lock, Record, StateDir};
use crate::sys::fd::LazyFd;
use crate::sys::{self, Errno};
use crate::trace::{self, Steps};
use crate::wire::Wire;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// What the command line says of a new container.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its id.
    pub id: String,
    /// The directory of all state.
    pub root: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// Another file than the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Where the terminal goes.
    pub console_socket: Option<PathBuf>,
    /// Where a pidfd of the first process goes.
    pub pidfd_socket: Option<PathBuf>,
    /// Where the number of the first process goes.
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Sockets after standard error that a service manager opened for this process.
    pub listen_fds: u32,
    /// Descriptors after those that the container keeps too.
    pub preserve_fds: u32,
    /// Who makes control groups.
    pub driver: Driver,
    /// `run`: this process stays until the program runs, and needs no FIFO.
    pub attached: bool,
    /// `run` in the foreground: the terminal comes to this process.
    pub foreground: bool,
    /// The socket of a recorder that is to watch every system call of the container.
    pub watcher: Option<PathBuf>,
}

/// A container whose process waits for its start.
#[derive(Debug)]
pub struct Created {
    /// Its state directory.
    pub dir: StateDir,
    /// Its record, as written.
    pub record: Record,
    /// Its process.
    pub pidfd: OwnedFd,
    /// The connection to it; for `run`.
    pub wire: Wire,
    /// The master of its terminal, where that came to this process.
    pub console: Option<OwnedFd>,
    /// What hooks are told.
    pub hook_state: HookState,
    /// Keeps other commands out until the container is whole.
    pub lock: Lock,
}

/// The annotation that names a socket for a pidfd of the first process, as `--pidfd-socket` does (crun(1)).
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";

/// Facts of this host that decide what can be planned.
///
/// # Errors
/// The capabilities of this process cannot be read.
pub fn host() -> Result<Host> {
    let (_, permitted, _) =
        sys::capability::get().or_error(|| "read the capabilities of this process".into())?;
    Ok(Host {
        grantable: permitted,
        last_capability: sys::process::last_capability(permitted),
        rootless: !privilege::over_the_host(),
        selinux: || Module::Selinux.enabled(),
    })
}

/// The absolute path of a bundle, as state and hooks have it: without `..`. (runc has the directory's own path there. To
/// follow links that the caller wrote would cost every start three calls, and nobody uses the path for anything but to get
/// there.)
fn whole(bundle: &Path) -> Result<PathBuf> {
    let whole = match bundle.components().any(|part| part == Component::ParentDir) {
        true => bundle.canonicalize(),
        false => std::path::absolute(bundle),
    };
    let whole = whole.map_err(file_error("find bundle", bundle))?;
    match whole.to_str() {
        Some(_) => Ok(whole),
        // Both are JSON.
        None => Err(Error::Other(format!(
            "bundle {}: its path is not of UTF-8 text, as state and hooks have it",
            whole.display()
        ))),
    }
}

/// Makes a container, up to the point where its program waits to be started.
///
/// # Errors
/// One sentence; nothing is left behind.
pub fn create(options: &Options, log: &Log) -> Result<Created> {
    if !options.attached {
        // This process is about to end.
        sys::fd::leave_open();
    }
    let bundle = whole(&options.bundle)?;
    let mut steps = Steps::begin("read config.json");
    let config_path = options.config.clone().unwrap_or_else(|| bundle.join("config.json"));
    // Not taken apart at the end: so is this process, soon, and with it all of its memory.
    let mut config = ManuallyDrop::new(crate::spec::load::config(&config_path)?);
    let socket = notify::prepare(&mut config, &options.root, &options.id);
    pass_listen_fds(&mut config, options.listen_fds);
    steps.then("plan");
    let host = host()?;
    let mut plan = ManuallyDrop::new(plan::container::plan(&config, &bundle, &host)?);
    steps.then("compile the seccomp filter");
    let filter = seccomp::plan(&mut config, options.watcher.as_deref(), &mut plan.warnings)?;
    let none = Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&none);
    for warning in &plan.warnings {
        log.warn(warning);
    }
    log.debug(&format!(
        "{}: config.json is valid, the root file system is {}",
        options.id,
        plan.root.path.display()
    ));
    check_terminal(&plan, options.console_socket.is_some(), !options.foreground)?;
    if config.hooks.is_some() {
        // None is to run in vain; for others the child finds out.
        check_root(&plan.root.path)?;
    }
    spawn::refuse_alone(&plan, &host)?;
    let hook_state = hook_state(&config, &options.id, &bundle)?;
    steps.then("make the state directory");
    let (dir, lock) = StateDir::create(&options.root, &options.id)?;
    let hooks = config.hooks.clone().unwrap_or_default();
    let mut undo = Undo::of(&dir);
    let mut record = note::first(&config, &plan, &options.id, &bundle, &host);
    let resources = Resources::default();
    let journal = dir.begin(&lock, &record)?;
    undo.lock = Some(lock);
    if options.driver != Driver::Cgroupfs {
        journal.flush()?;
    }
    let request = cgroup::Request {
        driver: options.driver,
        id: &options.id,
        path: &linux.cgroups_path,
        resources: linux.resources.as_ref().unwrap_or(&resources),
        nodes: &linux.devices,
        annotations: &config.annotations,
        rootless: host.rootless,
        owner: cgroups::owner(&plan, &config),
        journal: Some(&journal),
    };
    log.debug(&format!("{}: state directory {}", options.id, dir.path().display()));
    steps.then("make the control groups");
    undo.cgroup = Some(cgroup::create(&request)?);
    journal.flush()?;
    steps.then("keep what exec will want");
    socket.make(&dir)?;
    note::for_exec(&dir, &config, &plan, filter.as_ref())?;
    let cgroup = undo.cgroup.as_mut().ok_or_else(|| Error::Other("no cgroup".into()))?;
    for warning in cgroup.warnings() {
        log.warn(warning);
    }
    record.cgroup = Some(cgroup.record());

    let mut making = Making {
        options,
        plan: &plan,
        host: &host,
        hooks: &hooks,
        hook_state: &hook_state,
        filter: filter.as_ref(),
        listener: listener(linux),
        intel_rdt: linux.intel_rdt.as_ref(),
        dir: &dir,
        console: None,
    };
    log.debug(&format!("{}: control groups are made, the container's process is next", options.id));
    steps.then("make the container's process");
    let (wire, pid) = making.run(&mut undo, &mut record, &journal).map_err(|error| {
        // That may be why.
        check_root(&plan.root.path).err().unwrap_or(error)
    })?;
    log.debug(&format!("{}: process {pid} is ready", options.id));
    steps.then("tell the caller");
    let no_process = || Error::Other("no process".into());
    let pidfd = undo.child.as_ref().ok_or_else(no_process)?.pidfd.as_fd();
    let receiver = config.annotations.get(PIDFD_RECEIVER).map(Path::new);
    for path in options.pidfd_socket.as_deref().into_iter().chain(receiver) {
        output::send_pidfd(path, pidfd)?;
    }
    if let Some(path) = &options.pid_file {
        output::write_pid_file(path, pid)?;
    }
    let noted = undo.cgroup.as_ref().is_some_and(|cgroup| making.is_noted(cgroup));
    if !options.attached && !noted {
        wire.go().or_error(|| "release the container's process".into())?;
    }
    let console = making.console.take();
    // From here on it is a container, and `delete` takes it back.
    let pidfd = undo.child.take().ok_or_else(no_process)?.pidfd;
    let lock = undo.lock.take().ok_or_else(no_process)?;
    undo.keep();
    drop(undo);
    Ok(Created { record, pidfd, wire, console, hook_state: hook_state.at("created", Some(pid)), lock, dir })
}

/// What hooks are told of a container that is being made.
///
/// # Errors
/// A file for their output cannot be opened.
pub(crate) fn hook_state(config: &Config, id: &str, bundle: &Path) -> Result<HookState> {
    Ok(HookState {
        oci_version: config.oci_version.clone(),
        id: id.to_owned(),
        // What a hook of any kind is told (and runtime-tools expects); there is no word for "being created" in 1.0.
        status: "created",
        pid: None,
        bundle: bundle.to_owned(),
        annotations: config.annotations.clone(),
        output: hook::Output::open(&config.annotations).map_err(Error::Other)?,
    })
}

/// The middle of a create: from the clone to the child's `Ready`.
struct Making<'a> {
    options: &'a Options,
    plan: &'a Plan,
    host: &'a Host,
    hooks: &'a Hooks,
    hook_state: &'a HookState,
    filter: Option<&'a Filter>,
    listener: (&'a str, &'a str),
    intel_rdt: Option<&'a IntelRdt>,
    dir: &'a StateDir,
    console: Option<OwnedFd>,
}

impl<'a> Making<'a> {
    fn run(&mut self, undo: &mut Undo<'a>, record: &mut Record, journal: &Journal) -> Result<(Wire, i32)> {
        let plan = self.plan;
        let mut steps = Steps::begin("prepare what it is handed, clone");
        let prepared = sources::prepare(plan, self.host)?;
        let (wire, spawned) = self.spawn(undo, &prepared)?;
        steps.then("set up its outside");
        let mut pid = spawned.pid;
        let in_cgroup = spawned.in_cgroup;
        undo.child = Some(spawned);
        undo.stopped = Some((self.hook_state, self.hooks));
        // As it was when the child was told: adopting it changes the answer.
        let gated = self.gated(undo.cgroup.as_ref(), in_cgroup);
        let cgroup = undo.cgroup.as_mut().ok_or_else(|| Error::Other("no cgroup".into()))?;
        if !in_cgroup && cgroup.clone_target().is_some() {
            cgroup.attach(pid)?;
        }
        if cgroup.needs_adopt() {
            cgroup.adopt(pid)?;
            record.cgroup = Some(cgroup.record());
        }
        if plan.namespaces.creates(libc::CLONE_NEWUSER) {
            idmap::write(pid, &plan.namespaces, self.host)?;
            sources::map_to_container(plan, &prepared, pid)?;
        }
        net_devices::move_into(&plan.net_devices, pid)?;
        (record.resctrl, record.monitor) = resctrl::apply(self.intel_rdt, &self.options.id, pid)?;
        undo.resctrl.extend(record.resctrl.iter().chain(&record.monitor).cloned());
        if let Some(score) = plan.process.oom_score_adj {
            set_oom_score(pid, score, self.host.rootless)?;
        }
        if gated {
            wire.go().or_error(|| "release the container's process".into())?;
        }
        note::process(record, pid)?;
        self.before_hooks(record, journal)?;
        // The child is at work, and this process has nothing to do but to wait for it.
        seal::let_go();
        steps.then("wait until it is ready");
        if spawn::appears_late(plan) {
            pid = self.follow(&wire, undo)?;
            note::process(record, pid)?;
            self.before_hooks(record, journal)?;
        }
        let child = undo.child.as_ref().ok_or_else(|| Error::Other("no process".into()))?;
        self.converse(&wire, child)?;
        trace::child_is_done();
        steps.then("write the record");
        // Its hooks are over and it can only be started now: what was said of it must be on record first.
        journal.note(record)?;
        Ok((wire, pid))
    }

    fn before_hooks(&self, record: &Record, journal: &Journal) -> Result<()> {
        let Hooks { prestart, create_runtime, create_container, .. } = self.hooks;
        match [prestart, create_runtime, create_container].into_iter().all(Vec::is_empty) {
            true => Ok(()),
            false => note::before_hooks(self.dir, record, journal),
        }
    }

    /// Whether the child has to wait before it does anything, be it born in its v2 control group or not.
    fn gated(&self, cgroup: Option<&Cgroup>, in_cgroup: bool) -> bool {
        self.plan.namespaces.creates(libc::CLONE_NEWUSER)
            || !self.plan.net_devices.is_empty()
            || self.plan.process.oom_score_adj.is_some_and(|score| score > 0)
            || cgroup
                .is_some_and(|cgroup| cgroup.needs_adopt() || !in_cgroup && cgroup.clone_target().is_some())
    }

    /// Whether the container's process is found by what was noted of its control groups, whatever becomes of this one.
    fn is_noted(&self, cgroup: &Cgroup) -> bool {
        self.options.driver == Driver::Cgroupfs && !cgroup.is_none()
    }

    fn spawn(&self, undo: &Undo<'_>, prepared: &[Prepared]) -> Result<(Wire, Spawned)> {
        let (plan, options) = (self.plan, self.options);
        let cgroup = undo.cgroup.as_ref().ok_or_else(|| Error::Other("no cgroup".into()))?;
        let proc = path::verified_proc().or_error(|| "open /proc, which must be a procfs".into())?;
        let proc = LazyFd::from(proc);
        let joins = spawn::open_namespaces(&plan.namespaces)?;
        spawn::refuse_own(plan, &joins)?;
        let socket = options.console_socket.as_deref().filter(|_| plan.process.terminal);
        let console_socket = socket.map(|path| output::connect("--console-socket", path)).transpose()?;
        let fifo = match options.attached {
            true => None,
            false => Some(LazyFd::from(self.dir.make_fifo()?)),
        };
        let cgroup_files: Vec<BorrowedFd<'_>> = cgroup.join_files().collect();
        let (child_wire, parent_wire) = Wire::pair().or_error(|| "create a socket pair".into())?;
        let handed = Handed {
            plan,
            wire: &child_wire,
            proc: proc.as_fd(),
            joins: &joins,
            pids: joins
                .iter()
                .find(|(flag, ..)| *flag == libc::CLONE_NEWPID && spawn::appears_late(plan))
                .map(|(.., file)| file.as_fd()),
            cgroup_files: &cgroup_files,
            cgroup_mounts: cgroups::view(cgroup, plan)?,
            prepared,
            console_socket: console_socket.as_ref().map(AsFd::as_fd),
            fifo: fifo.as_ref().map(|fifo| (fifo.as_fd(), self.is_noted(cgroup))),
            runtime_hooks: !self.hooks.prestart.is_empty() || !self.hooks.create_runtime.is_empty(),
            create_container: &self.hooks.create_container,
            start_container: &self.hooks.start_container,
            hook_state: self.hook_state,
            filter: self.filter,
            no_pivot: options.no_pivot,
            keyring: (!options.no_new_keyring).then(|| keyring_name(&options.id)).flatten(),
            preserve_fds: options.listen_fds + options.preserve_fds,
            limits_by_parent: plan.namespaces.separate(libc::CLONE_NEWUSER)
                && !plan.process.rlimits.is_empty(),
            late: spawn::late(&plan.namespaces),
        };
        let child =
            |in_cgroup| child::run(&handed, &parent_wire, seal::take(), self.gated(Some(cgroup), in_cgroup));
        let _step = trace::span("clone");
        let spawned = spawn::spawn(plan, &joins, proc.as_fd(), cgroup.clone_target(), &child)?;
        Ok((parent_wire, spawned))
    }
}

fn listener(linux: &Linux) -> (&str, &str) {
    linux.seccomp.as_ref().map_or(("", ""), |seccomp| (&seccomp.listener_path, &seccomp.listener_metadata))
}

/// A session keyring is named as runc names it.
fn keyring_name(id: &str) -> Option<CString> {
    CString::new(format!("_ses.{id}")).ok()
}

/// The socket goes with the terminal: one without the other is a mistake of the caller.
///
/// # Errors
/// There is only one of them.
pub(crate) fn check_terminal(plan: &Plan, socket: bool, detached: bool) -> Result<()> {
    match (plan.process.terminal, socket) {
        (true, false) if detached => Err(Error::Other(
            "cannot allocate tty if corten will detach without setting console socket".to_owned(),
        )),
        (true, true) if !detached => {
            Err(Error::Other("cannot use console socket if corten will not detach or allocate tty (it stays in the foreground)".into()))
        }
        (false, true) => {
            Err(Error::Other("cannot use console socket if corten will not detach or allocate tty (process.terminal is false)".into()))
        }
        _ => Ok(()),
    }
}

/// The root file system is a directory.
///
/// # Errors
/// It is something else, or not there.
pub(crate) fn check_root(path: &Path) -> Result<()> {
    let meta = std::fs::metadata(path).map_err(file_error("root.path:", path))?;
    if meta.is_dir() {
        return Ok(());
    }
    Err(Error::Other(format!("root.path: {} is not a directory", path.display())))
}

/// Systemd's socket activation: what this process was given, the container gets, before what `--preserve-fds` names
/// (sd_listen_fds(3)).
fn pass_listen_fds(config: &mut Config, count: u32) {
    let Some(process) = config.process.as_mut().filter(|_| count > 0) else { return };
    process.env.push(format!("LISTEN_FDS={count}"));
    process.env.push("LISTEN_PID=1".to_owned());
    if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
        process.env.push(format!("LISTEN_FDNAMES={names}"));
    }
}

/// A process that lowers its own score needs a privilege it may not have; its parent does it.
fn set_oom_score(pid: i32, score: i32, rootless: bool) -> Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    let file = open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).map(LazyFd::from);
    match file.and_then(|file| nix::unistd::write(&file, score.to_string().as_bytes())) {
        Err(Errno::EACCES | Errno::EPERM) if rootless => Ok(()),
        result => result.map(drop).or_error(|| format!("process.oomScoreAdj: write {score} to {path}")),
    }
}
