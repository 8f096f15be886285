//! `restore`: a container is made around processes from disk.

use super::externals::{Externals, MASK, external, is_named, key};
use super::message::{Kind, Message, Notice};
use super::staging::{Inside, Source, Staged, Staging};
use super::swrk::{Criu, Launch};
use super::{Error, Images, Options, Result};
use crate::cgroup::{self, Cgroup, Driver};
use crate::child::cgroups::CgroupView;
use crate::child::{self, OrFail, join};
use crate::hook::{self, HookState};
use crate::log::Log;
use crate::lsm;
use crate::parent::error::{OrError, file_error};
use crate::parent::spawn::{self, Spawned};
use crate::parent::undo::Undo;
use crate::parent::{cgroups, create, note};
use crate::parent::{idmap, output, sources};
use crate::plan::mounts::What;
use crate::plan::{self, Host, Plan};
use crate::seccomp;
use crate::spec::{Hooks, Linux, Resources};
use crate::state::{self, Journal, Lock, Record, StateDir};
use crate::sys::{clone, net, pidfd};
use std::fs::{self, File};
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Namespaces that criu leaves to others when they were there before the container: flag, name, key.
pub(super) const EXTERNAL_NAMESPACES: [(libc::c_int, &str, &str); 2] =
    [(libc::CLONE_NEWNET, "net", "extRootNetNS"), (libc::CLONE_NEWPID, "pid", "extRootPidNS")];

/// The directory below the state directory in which criu finds everything. Empty but in criu's own mount namespace.
const PLACE: &str = "criu";

/// What the command line says of a container to be restored.
#[derive(Debug)]
pub struct Wish {
    /// Its id.
    pub id: String,
    /// The directory of all state.
    pub root: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// Where the terminal goes.
    pub console_socket: Option<PathBuf>,
    /// Where the number of the first process goes.
    pub pid_file: Option<PathBuf>,
    /// Who makes control groups.
    pub driver: Driver,
    /// The terminal comes to this process.
    pub foreground: bool,
    /// Descriptors after standard error that the container gets in place of those it had.
    pub preserve_fds: u32,
}

/// A container that runs again.
#[derive(Debug)]
pub struct Restored {
    /// Its state directory.
    pub dir: StateDir,
    /// Its record, as written.
    pub record: Record,
    /// Its first process, a child of this one.
    pub pidfd: OwnedFd,
    /// The master of its terminal, where that came to this process.
    pub console: Option<OwnedFd>,
    /// Keeps other commands out until the container is whole.
    pub lock: Lock,
}

/// Restores a container.
///
/// # Errors
/// One sentence; nothing is left behind.
pub fn restore(wish: &Wish, options: &Options, log: &Log) -> Result<Restored> {
    let bundle = std::path::absolute(&wish.bundle).map_err(file_error("find bundle", &wish.bundle))?;
    let mut config = crate::spec::load::config(&bundle.join("config.json"))?;
    let host = create::host()?;
    let mut plan = plan::container::plan(&config, &bundle, &host)?;
    let filter = seccomp::plan(&mut config, None, &mut plan.warnings).map_err(crate::parent::Error::from)?;
    for warning in &plan.warnings {
        log.warn(warning);
    }
    create::check_terminal(&plan, wish.console_socket.is_some(), !wish.foreground)?;
    create::check_root(&plan.root.path)?;
    spawn::refuse_alone(&plan, &host)?;
    if options.lsm_mount_context.is_some() && !lsm::Module::Selinux.enabled() {
        return Err(Error::Other("--lsm-mount-context: SELinux is not enabled on this host".into()));
    }
    let images = Images::to_read(options)?;
    let descriptors = images.descriptors()?;
    let externals = images.externals()?.unwrap_or_default();
    let hooks = config.hooks.clone().unwrap_or_default();
    let hook_state = create::hook_state(&config, &wish.id, &bundle)?;
    let (dir, lock) = StateDir::create(&wish.root, &wish.id)?;
    let mut undo = Undo::of(&dir);
    let mut record = note::first(&config, &plan, &wish.id, &bundle, &host);
    let journal = dir.begin(&lock, &record)?;
    undo.lock = Some(lock);
    journal.flush()?;
    let (none, unlimited) = (Linux::default(), Resources::default());
    let linux = config.linux.as_ref().unwrap_or(&none);
    let cgroup = cgroup::create(&cgroup::Request {
        driver: wish.driver,
        id: &wish.id,
        path: &linux.cgroups_path,
        resources: linux.resources.as_ref().unwrap_or(&unlimited),
        nodes: &linux.devices,
        annotations: &config.annotations,
        rootless: host.rootless,
        owner: cgroups::owner(&plan, &config),
        journal: Some(&journal),
    })?;
    for warning in cgroup.warnings() {
        log.warn(warning);
    }
    // Of a scope that is not there yet the journal tells.
    record.cgroup = (!cgroup.needs_adopt()).then(|| cgroup.record());
    undo.cgroup = Some(cgroup);
    journal.note(&record)?;
    note::for_exec(&dir, &config, &plan, filter.as_ref())?;
    let place = dir.path().join(PLACE);
    fs::create_dir(&place).map_err(file_error("create directory", &place))?;
    let place = place.canonicalize().map_err(file_error("find", &place))?;
    undo.stopped = Some((&hook_state, &hooks));
    let mut making = Making {
        wish,
        options,
        plan: &plan,
        host: &host,
        hooks: &hooks,
        hook_state: &hook_state,
        images: &images,
        descriptors: &descriptors,
        externals: &externals,
        dir: &dir,
        place: &place,
        journal: &journal,
        log,
        record: &mut record,
        restored: None,
        console: None,
    };
    let outcome = making.run(&mut undo).map_err(|error| making.advise(images.explain(error)));
    let console = making.console.take();
    undo.child = making.restored.take();
    outcome?;
    let restored = undo.child.as_ref().ok_or_else(|| Error::Other("criu told of no process".into()))?;
    let pidfd = restored.pidfd.try_clone().map_err(file_error("duplicate pidfd of", &wish.id))?;
    let pid = restored.pid;
    if let Some(path) = &wish.pid_file {
        output::write_pid_file(path, pid)?;
    }
    let _ = fs::remove_dir(&place);
    let lock = undo.lock.take().ok_or_else(|| Error::Other("no lock".into()))?;
    // From here on it is a container, and `delete` takes it back.
    undo.keep();
    drop(undo);
    log.debug(&format!("{}: restored as process {pid} from {}", wish.id, bundle.display()));
    Ok(Restored { record, pidfd, console, lock, dir })
}

/// The middle of a restore: criu at work.
struct Making<'a> {
    wish: &'a Wish,
    options: &'a Options,
    plan: &'a Plan,
    host: &'a Host,
    hooks: &'a Hooks,
    hook_state: &'a HookState,
    images: &'a Images,
    descriptors: &'a [String],
    externals: &'a Externals,
    dir: &'a StateDir,
    place: &'a Path,
    journal: &'a Journal,
    log: &'a Log,
    record: &'a mut Record,
    restored: Option<Spawned>,
    console: Option<OwnedFd>,
}

impl Making<'_> {
    fn run(&mut self, undo: &mut Undo<'_>) -> Result<()> {
        let cgroup = undo.cgroup.as_mut().ok_or_else(|| Error::Other("no cgroup".into()))?;
        let console = self.wish.console_socket.as_deref();
        let console = console.map(|path| output::connect("--console-socket", path)).transpose()?;
        let user = self.user_namespace()?;
        let prepared = sources::prepare(self.plan, self.host)?;
        if let Some(user) = &user {
            sources::map_through(self.plan, &prepared, user.as_fd())?;
        }
        let sources = self.externals(cgroup)?;
        let staging = Staging {
            plan: self.plan,
            prepared: &prepared,
            place: self.place,
            sources: &sources,
            user: user.as_ref().map(AsFd::as_fd),
        };
        let inside = staging.make(self.images)?;
        let mut inherited = Vec::new();
        let mut request = self.base(&inside);
        for staged in &sources {
            let path = self.place.join(&staged.key);
            request = external(request, staged.key.as_bytes(), path.as_os_str().as_bytes());
        }
        let request = self.namespaces(request, &mut inherited)?;
        let request = self.standard_io(request);
        let request = self.options.cgroup_message(request, !cgroup.is_none());
        let criu = self.start(cgroup, &inside, &inherited)?;
        if cgroup.needs_adopt() {
            cgroup.adopt(criu.pid)?;
            self.record.cgroup = Some(cgroup.record());
            self.journal.note(self.record)?;
        }
        let request = cgroup_roots(request, criu.pid)?;
        criu.ask(Kind::Restore, Some(&request), &mut |notice, fd| {
            self.log.debug(&format!("{}: criu: {}", self.wish.id, notice.script));
            self.answer(notice, fd, console.as_ref())
        })?;
        Ok(())
    }

    /// Says what criu does not: a terminal that was the caller's is the caller's to bring along.
    fn advise(&self, error: Error) -> Error {
        let had = self.descriptors.iter().take(3).any(|link| link.starts_with("/dev/pts/"));
        let has = self.options.shell_job && std::io::stdin().is_terminal();
        if self.plan.process.terminal || !had || has {
            return error;
        }
        Error::Other(format!(
            "{error}; the container had the terminal of whoever started it: restore it with --shell-job, on a terminal"
        ))
    }

    /// What does not depend on mounts and namespaces.
    fn base(&self, inside: &Inside) -> Message {
        let (directory, work) = (inside.directory.as_raw_fd(), inside.work.as_ref().map(AsRawFd::as_raw_fd));
        let annotations = &self.record.annotations;
        let mut message = self
            .options
            .message(directory, work, self.images.log(), annotations)
            .flag(6, true)
            .bytes(13, Staging::root(self.place).as_os_str().as_bytes())
            .flag(26, true)
            // criu makes a new terminal for a slave without a master, and only else takes the one that it has itself.
            .flag(50, self.plan.process.terminal || !self.options.shell_job);
        if let Some(profile) = &self.options.lsm_profile {
            message = message.bytes(53, profile.as_bytes());
        }
        if let Some(context) = &self.options.lsm_mount_context {
            message = message.bytes(63, context.as_bytes());
        }
        message
    }

    /// Starts criu in the container's control group, in a mount namespace where everything has its place.
    fn start(&self, cgroup: &Cgroup, inside: &Inside, inherited: &[OwnedFd]) -> Result<Criu> {
        let files: Vec<BorrowedFd<'_>> = cgroup.join_files().collect();
        let prepare = || -> child::Step<()> {
            join::cgroups(&files)?;
            clone::setns(inside.namespace.as_fd(), libc::CLONE_NEWNS).or_fail(|| "enter criu's mounts".into())
        };
        let preserved = (3..3 + self.wish.preserve_fds).map(u32::cast_signed);
        let inherited: Vec<i32> = inherited.iter().map(AsRawFd::as_raw_fd).chain(preserved).collect();
        Criu::start(&Launch {
            program: self.options.program.as_deref(),
            cgroup: cgroup.clone_target(),
            inherited: &inherited,
            standard_io: true,
            prepare: &prepare,
        })
    }

    /// What belongs to the host.
    fn externals(&self, cgroup: &Cgroup) -> Result<Vec<Staged>> {
        let mut sources = Vec::new();
        let mut add = |key: String, source| sources.push(Staged { key, source });
        for (number, name) in &self.externals.mounts {
            let named = self.plan.mounts.iter().position(|mount| {
                matches!(mount.what, What::Bind { .. }) && is_named(&mount.destination, name)
            });
            let position = named.ok_or_else(|| missing("mounts", name))?;
            add(key('m', *number), Source::Mount(position));
        }
        for (number, name) in &self.externals.devices {
            let device = self.plan.devices.iter().find(|device| is_named(&device.path, name));
            let device = device.ok_or_else(|| missing("linux.devices", name))?;
            add(key('d', *number), Source::Path(PathBuf::from(&device.path)));
        }
        if !self.externals.hierarchies.is_empty()
            && let CgroupView::Hierarchies(view) = cgroups::view(cgroup, self.plan)?
        {
            for (number, name) in &self.externals.hierarchies {
                let hierarchy = view.iter().find(|hierarchy| hierarchy.name == *name);
                let hierarchy = hierarchy.ok_or_else(|| missing("control groups", name))?;
                add(key('g', *number), Source::Path(hierarchy.source.clone()));
            }
        }
        add(MASK.to_owned(), Source::Null);
        Ok(sources)
    }

    /// The container's user namespace before there is one: one that is joined, or one with the maps it will have.
    fn user_namespace(&self) -> Result<Option<OwnedFd>> {
        let namespaces = &self.plan.namespaces;
        if let Some(join) = namespaces.join.iter().find(|join| join.flag == libc::CLONE_NEWUSER) {
            let file = File::open(&join.path).map_err(file_error("open namespace", &join.path))?;
            return Ok(Some(file.into()));
        }
        if !namespaces.creates(libc::CLONE_NEWUSER) {
            return Ok(None);
        }
        Ok(Some(idmap::namespace(&namespaces.uids, &namespaces.gids, self.host)?))
    }

    /// Namespaces that config.json names by path are joined.
    fn namespaces(&self, mut request: Message, inherited: &mut Vec<OwnedFd>) -> Result<Message> {
        for join in &self.plan.namespaces.join {
            if let Some((_, _, key)) = EXTERNAL_NAMESPACES.iter().find(|(flag, ..)| *flag == join.flag) {
                let file: OwnedFd =
                    File::open(&join.path).map_err(file_error("open namespace", &join.path))?.into();
                request = inherit(request, key, file.as_raw_fd());
                inherited.push(file);
                continue;
            }
            if join.flag == libc::CLONE_NEWCGROUP {
                return Err(Error::Other(
                    "linux.namespaces: criu cannot join a cgroup namespace by its path".into(),
                ));
            }
            let file = if join.flag == libc::CLONE_NEWNS { "mnt" } else { join.name };
            let named =
                Message::default().bytes(1, file.as_bytes()).bytes(2, join.path.as_os_str().as_bytes());
            request = request.nested(39, &named);
        }
        Ok(request)
    }

    /// Pipes that led out of the container lead to this process's standard I/O now, and to what the caller handed on.
    fn standard_io(&self, mut request: Message) -> Message {
        let last = 3 + self.wish.preserve_fds;
        for (number, link) in (0..last).zip(self.descriptors) {
            if link.starts_with("pipe:") {
                request = inherit(request, link, number.cast_signed());
            }
        }
        request
    }

    fn answer(&mut self, notice: &Notice, fd: Option<OwnedFd>, console: Option<&OwnedFd>) -> Result<()> {
        match notice.script.as_str() {
            "setup-namespaces" => self.set_up(notice.pid),
            "post-restore" => self.note(notice.pid),
            "pre-resume" => self.check_privileges(),
            "orphan-pts-master" => {
                let master = fd.ok_or_else(|| Error::Other("criu handed no terminal over".into()))?;
                match console {
                    Some(socket) => Ok(child::console::send(socket.as_fd(), master.as_fd())
                        .or_error(|| "--console-socket: send the terminal".into())?),
                    None => {
                        self.console = Some(master);
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// The namespaces are there, and nothing is in them: the network of an engine comes now.
    fn set_up(&mut self, pid: i32) -> Result<()> {
        let empty = self.options.empty_namespaces & libc::CLONE_NEWNET.cast_unsigned() != 0;
        if empty && self.plan.namespaces.creates(libc::CLONE_NEWNET) {
            let file = format!("/proc/{pid}/ns/net");
            let namespace = File::open(&file).map_err(file_error("open namespace", file))?;
            let mut result = Ok(());
            let mut go_between = || {
                result =
                    clone::setns(namespace.as_fd(), libc::CLONE_NEWNET).and_then(|()| net::loopback_up());
            };
            let run = clone::with_borrowed_memory(false, None, &mut go_between);
            run.and(result).or_error(|| "bring the loopback interface up".into())?;
        }
        if self.hooks.prestart.is_empty() && self.hooks.create_runtime.is_empty() {
            return Ok(());
        }
        let pidfd = pidfd::open(pid).or_error(|| "open the process to be restored".into())?;
        note::process(self.record, pid)?;
        note::before_hooks(self.dir, self.record, self.journal)?;
        let state = self.hook_state.at("created", Some(pid));
        let waiting = Some(pidfd.as_fd());
        let run = |kind, hooks: &[_]| hook::run(kind, hooks, &state, waiting).map_err(Error::Other);
        run("prestart", &self.hooks.prestart)?;
        run("createRuntime", &self.hooks.create_runtime)
    }

    /// The processes are there, and do not run yet: first of all they go on record.
    fn note(&mut self, pid: i32) -> Result<()> {
        let gone = |_| Error::Other("the restored process ended at once".into());
        let pidfd = pidfd::open(pid).or_error(|| "open the restored process".into())?;
        let (start_time, _) = state::process_times(pid).map_err(gone)?;
        self.restored = Some(Spawned { pid, pidfd, in_cgroup: true });
        (self.record.pid, self.record.start_time) = (pid, start_time);
        // criu puts what it restores into a time namespace, so that clocks do not jump.
        let time =
            |process: &str| fs::metadata(format!("/proc/{process}/ns/time")).map(|meta| meta.ino()).ok();
        if time(&pid.to_string()) != time("self") {
            self.record.namespaces |= plan::namespaces::NEWTIME;
        }
        Ok(self.journal.note(self.record)?)
    }

    /// The processes have all they had, and do not run yet. criu before 3.19 forgets `no_new_privs`, and whoever can write to
    /// images can take it out of them: a container that must not gain privileges does not go on then.
    fn check_privileges(&self) -> Result<()> {
        let Some(restored) = self.restored.as_ref().filter(|_| self.plan.process.identity.no_new_privileges)
        else {
            return Ok(());
        };
        let file = format!("/proc/{}/status", restored.pid);
        let status = fs::read_to_string(&file).map_err(file_error("read", file))?;
        if status
            .lines()
            .any(|line| line.strip_prefix("NoNewPrivs:").is_some_and(|value| value.trim() == "1"))
        {
            return Ok(());
        }
        // criu lets it run whatever the answer is; and waits for ever for a first process that is killed now.
        let _ = pidfd::send_signal(restored.pidfd.as_fd(), libc::SIGSTOP);
        Err(Error::Other(
            "process.noNewPrivileges: the restored process can gain privileges: its images say so, or criu is too old to \
             restore this (3.19 does)"
                .into(),
        ))
    }
}

/// An `inherit_fd`: what had that key is now the descriptor.
fn inherit(request: Message, key: &str, number: i32) -> Message {
    let number = u64::from(number.cast_unsigned());
    request.nested(27, &Message::default().bytes(1, key.as_bytes()).number(2, number))
}

/// Where the container's control groups are now: where criu is.
fn cgroup_roots(mut request: Message, pid: i32) -> Result<Message> {
    for (controller, path) in cgroup::of_process(pid)? {
        let root = Message::default().bytes(1, controller.as_bytes()).bytes(2, path.as_bytes());
        request = request.nested(25, &root);
    }
    Ok(request)
}

fn missing(field: &str, name: &str) -> Error {
    Error::Other(format!("config.json: {field}: the checkpoint has {name:?}, which is not there any more"))
}
