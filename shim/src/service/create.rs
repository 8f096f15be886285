//! Create: from a bundle to a container that waits to be started.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;

use runtime::weak;

use super::Service;
use crate::child::Child;
use crate::container::{Container, Life};
use crate::oci::{Error as OciError, Launch, Restore, Runtime};
use crate::options::RuntimeOptions;
use crate::process::Process;
use crate::proto::events::{TaskCreate, TaskIO};
use crate::proto::task::{CreateTaskRequest, CreateTaskResponse};
use crate::stdio::{Owner, Prepared, Stdio};
use crate::ttrpc::{Code, Status};
use crate::{bundle, helper, log, mount, name, reaper};

/// How long mounting may take: a disk that does not answer fails the call, and nothing else.
const MOUNT_LIMIT: Duration = Duration::from_secs(60);

/// How long unmounting may take before the mount is only taken out of sight.
pub(super) const UNMOUNT_LIMIT: Duration = Duration::from_secs(3);

impl Service {
    pub(super) async fn create(
        self: &Rc<Self>,
        request: CreateTaskRequest,
        limit: Duration,
    ) -> Result<CreateTaskResponse, Status> {
        name::check(&request.id).map_err(|error| Status::invalid(format!("id {:?}: {error}", request.id)))?;
        let _reserved = Reserved::new(self, &request.id)?;
        let bundle = PathBuf::from(&request.bundle);
        if !bundle.is_absolute() {
            return Err(Status::invalid(format!("bundle {:?} is not an absolute path", request.bundle)));
        }
        let options = RuntimeOptions::decode(request.options.as_ref())
            .map_err(|error| Status::invalid(error.to_string()))?;
        write_notes(&bundle, &options)?;
        self.mount_rootfs(&request, &bundle, limit).await?;
        match self.create_mounted(&request, &bundle, &options, limit).await {
            Ok(pid) => Ok(CreateTaskResponse { pid }),
            Err(status) => {
                if !request.rootfs.is_empty() {
                    unmount(&bundle).await;
                }
                Err(status)
            }
        }
    }

    /// Mounts the root filesystem if the request brings one.
    async fn mount_rootfs(
        &self,
        request: &CreateTaskRequest,
        bundle: &Path,
        limit: Duration,
    ) -> Result<(), Status> {
        if request.rootfs.is_empty() {
            return Ok(());
        }
        let rootfs = bundle.join(mount::ROOTFS);
        match fs::DirBuilder::new().mode(0o711).create(&rootfs) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(file_error("make", &rootfs, &error));
            }
            _ => {}
        }
        let mounted = helper::run("mount the root filesystem", limit.min(MOUNT_LIMIT), || {
            mount::mount_all(&request.rootfs, &rootfs)
        });
        match mounted.await {
            Ok(()) => Ok(()),
            Err(error) => {
                unmount(bundle).await;
                let code = match error {
                    helper::Error::TimedOut { .. } => Code::DeadlineExceeded,
                    _ => Code::Unknown,
                };
                Err(Status::new(code, format!("failed to mount rootfs component: {error}")))
            }
        }
    }

    async fn create_mounted(
        self: &Rc<Self>,
        request: &CreateTaskRequest,
        bundle: &Path,
        options: &RuntimeOptions,
        limit: Duration,
    ) -> Result<u32, Status> {
        let stdio = Stdio {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let io_owner = (options.io_uid, options.io_gid);
        let owner = self.stdio_owner(&request.id, io_owner);
        let prepared = Prepared::new(&stdio, &owner)
            .await
            .map_err(|error| Status::unknown(format!("failed to create init process I/O: {error}")))?;
        let work = match options.criu_work_path.as_str() {
            "" => bundle.join("work"),
            path => PathBuf::from(path),
        };
        let container = Rc::new(Container {
            id: request.id.clone(),
            bundle: bundle.to_owned(),
            runtime: Runtime::new(options, &self.namespace, bundle, self.open_files),
            io_owner,
            criu_work: work.clone(),
            init: Process::new(&request.id, stdio, Vec::new()),
            mounted: !request.rootfs.is_empty(),
            own_pid_namespace: has_own_pid_namespace(bundle),
            restore: RefCell::default(),
            oom: RefCell::default(),
            oom_task: Cell::default(),
            life: Life::default(),
        });
        if request.checkpoint.is_empty() {
            self.make_init(&container, None, prepared, limit).await?;
        } else {
            let parent = Some(&request.parent_checkpoint).filter(|path| !path.is_empty());
            let restore = Restore {
                image: PathBuf::from(&request.checkpoint),
                parent: parent.map(PathBuf::from),
                work,
            };
            container.restore.replace(Some((restore, prepared)));
        }
        self.containers.borrow_mut().insert(container.id.clone(), Rc::clone(&container));
        let pid = container.init.pid();
        self.tell_create(request, pid);
        container.init.release_exit();
        Ok(pid)
    }

    fn tell_create(&self, request: &CreateTaskRequest, pid: u32) {
        self.publisher.publish(&TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: Some(TaskIO {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
            }),
            checkpoint: request.checkpoint.clone(),
            pid,
        });
    }

    /// Has the runtime create the container, or restore it, and takes over its process.
    pub(super) async fn make_init(
        self: &Rc<Self>,
        container: &Rc<Container>,
        restore: Option<&Restore>,
        mut prepared: Prepared,
        limit: Duration,
    ) -> Result<(), Status> {
        let pid_file = container.bundle.join("init.pid");
        let ends = prepared.take_process_ends();
        let launched = reaper::launch();
        let launch = Launch { pid_file: &pid_file, console_socket: prepared.console_socket(), ends };
        let made = match restore {
            None => container.runtime.create(&container.id, launch, limit).await,
            Some(restore) => container.runtime.restore(&container.id, restore, launch, limit).await,
        };
        let (left, child) = match made {
            Ok(()) => (true, adopt(&pid_file)),
            // One that was killed has left what it had made.
            Err(error) => (matches!(error, OciError::TimedOut { .. }), Err(error.into())),
        };
        let result = match child {
            Ok(child) => {
                drop(launched);
                self.take_over(container, Rc::new(child), prepared).await
            }
            Err(status) => {
                prepared.abandon().await;
                Err(status)
            }
        };
        if result.is_err() && left {
            force_delete(container).await;
        }
        result
    }

    /// The container's first process exists: watches it, and connects its streams.
    async fn take_over(
        self: &Rc<Self>,
        container: &Rc<Container>,
        child: Rc<Child>,
        prepared: Prepared,
    ) -> Result<(), Status> {
        let init = &container.init;
        init.hold_exit();
        init.set_child(Rc::clone(&child));
        self.find_cgroup(container);
        let io = prepared
            .attach()
            .await
            .map_err(|error| Status::unknown(format!("failed to start io pipe copy: {error}")))?;
        init.set_io(Some(Rc::new(io)));
        self.watch(container, init, child);
        Ok(())
    }

    pub(super) fn stdio_owner<'a>(&'a self, id: &'a str, (uid, gid): (u32, u32)) -> Owner<'a> {
        Owner { id, namespace: &self.namespace, uid, gid }
    }
}

/// An id that is being created, until this is dropped.
struct Reserved {
    service: Rc<Service>,
    id: String,
}

impl Reserved {
    fn new(service: &Rc<Service>, id: &str) -> Result<Self, Status> {
        if service.stopping.get() && !weak::off("ending") {
            return Err(Status::new(Code::Unavailable, "the shim is ending"));
        }
        let taken = service.containers.borrow().contains_key(id);
        if taken || !service.creating.borrow_mut().insert(id.to_owned()) {
            return Err(Status::new(Code::AlreadyExists, format!("container {id} exists already")));
        }
        Ok(Self { service: Rc::clone(service), id: id.to_owned() })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.service.creating.borrow_mut().remove(&self.id);
        self.service.changed.changed();
    }
}

/// Leaves in the bundle what `delete` needs when this shim is gone.
fn write_notes(folder: &Path, options: &RuntimeOptions) -> Result<(), Status> {
    for (file, text) in [("options.json", options.to_json()), ("runtime", options.binary_name.clone().into())]
    {
        let path = folder.join(file);
        bundle::write(&path, &text).map_err(|error| file_error("write", &path, &error))?;
    }
    Ok(())
}

fn file_error(verb: &str, path: &Path, error: &io::Error) -> Status {
    Status::unknown(format!("{verb} {}: {error}", path.display()))
}

/// Takes over the process whose pid a runtime has written to a file.
pub(super) fn adopt(pid_file: &Path) -> Result<Child, Status> {
    let failed = |error: io::Error| {
        Status::unknown(format!(
            "failed to retrieve OCI runtime container pid: {}: {error}",
            pid_file.display()
        ))
    };
    let text = fs::read_to_string(pid_file).map_err(failed)?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| failed(io::Error::other(format!("{text:?} is no pid"))))?;
    Child::adopt(pid).map_err(failed)
}

/// Removes a container that nobody will ask for.
async fn force_delete(container: &Container) {
    if let Err(error) = container.runtime.delete(&container.id, true, crate::oci::limits::DELETE).await {
        log::warn(&format!("clean up container {}: {error}", container.id));
    }
}

/// Unmounts a bundle's root filesystem; one that does not let go in time is taken out of sight, to go by
/// itself later.
pub(super) async fn unmount(bundle: &Path) {
    let what = "unmount the root filesystem";
    let limit = if weak::off("unmount") { MOUNT_LIMIT } else { UNMOUNT_LIMIT };
    let Err(error) = helper::run(what, limit, || mount::unmount_bundle(bundle, false)).await else {
        return;
    };
    log::warn(&format!("{}: {error}; detaching it", bundle.display()));
    if let Err(error) = helper::run(what, UNMOUNT_LIMIT, || mount::unmount_bundle(bundle, true)).await {
        log::error(&format!("{}: {error}", bundle.display()));
    }
}

/// Whether the kernel ends a container's processes together with its first one: they have a pid namespace to
/// themselves. When that cannot be told, they are ended by us.
fn has_own_pid_namespace(bundle: &Path) -> bool {
    #[derive(Deserialize)]
    struct Config {
        linux: Linux,
    }
    #[derive(Deserialize)]
    struct Linux {
        namespaces: Vec<Namespace>,
    }
    #[derive(Deserialize)]
    struct Namespace {
        r#type: String,
        #[serde(default)]
        path: String,
    }
    let config = fs::read(bundle.join("config.json")).ok();
    let config = config.and_then(|text| serde_json::from_slice::<Config>(&text).ok());
    config.is_some_and(|config| {
        config.linux.namespaces.iter().any(|namespace| namespace.r#type == "pid" && namespace.path.is_empty())
    })
}
