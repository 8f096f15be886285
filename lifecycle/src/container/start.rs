//! Starting a container: bundle, shim, task.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode};
use prost::Message;
use shim::proto::runc_options::Options;
use shim::proto::task::{CreateTaskRequest, StartRequest};
use shim::proto::types::Mount;
use shim::proto::well_known::Any;
use tokio::task::block_in_place;
use tree::{Lower, Root, by_descriptor};

use super::record::{State, Status};
use super::spec::{self, Surroundings};
use super::{Container, MountPoint, Record, create, exit, log_options, mounts, streams, user};
use crate::error::{Error, Result, StatusCode, bail, ensure, error};
use crate::files::{self, lossy};
use crate::network::links;
use crate::{logger, program, said, task, time};

/// Starts a container that a user wants to run.
///
/// # Errors
/// When it runs already, or cannot be started.
pub async fn start(container: &Arc<Container>) -> Result<()> {
    let _busy = container.busy.lock().await;
    let id = &container.id;
    let status = container.record().state.status;
    match status {
        Status::Running => return Err(Error::not_modified()),
        Status::Paused => bail!(conflict, "cannot start a paused container, try unpause instead"),
        Status::Removing | Status::Dead => {
            bail!(conflict, "container {id} is marked for removal and cannot be started")
        }
        Status::Created | Status::Exited | Status::Restarting => {}
    }
    container.update(|record| {
        (record.stopped_by_user, record.restart_count, record.quick_ends) = (false, 0, 0);
    })?;
    start_locked(container).await
}

/// Starts a container that does not run; the caller holds `busy`.
///
/// # Errors
/// When it cannot be started.
pub(super) async fn start_locked(container: &Arc<Container>) -> Result<()> {
    let result = try_start(container).await;
    container.namespaces.lock().clear();
    if let Err(error) = &result {
        exit::clean_up(container).await;
        container.waiting.lock().clear();
        let goes = container.goes();
        container.change(|record| {
            let was_up = record.state.started.is_some();
            record.state.status = if was_up { Status::Exited } else { Status::Created };
            record.state.end(exit_code_of(&error.message));
            record.state.error.clone_from(&error.message);
            record.exits += u64::from(goes);
        });
        if goes {
            create::remove_locked(container, true)?;
        }
    }
    result.map_err(|error| match exit_code_of(&error.message) {
        126 | 127 => Error { status: StatusCode::BAD_REQUEST, ..error },
        _ => error,
    })
}

/// What a shell would say of such an error; clients look for the same words.
pub(super) fn exit_code_of(message: &str) -> i64 {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["executable file not found", "no such file or directory", "No such file or directory"]) {
        127
    } else if has(&["permission denied", "is a directory", "Permission denied", "Is a directory"]) {
        126
    } else {
        128
    }
}

async fn try_start(container: &Arc<Container>) -> Result<()> {
    links::check_up(container.engine, &container.record())?;
    let host = container.record().host.clone();
    spec::apparmor::load(&host).await?;
    let network = container.engine.networks.connect(container).await?;
    block_in_place(|| prepare(container, network))?;
    let socket = task::start(container).await?;
    // From here on a restarted engine finds the shim.
    container.update(|record| record.state.socket = Some(socket))?;
    let request = create_request(container)?;
    let created = container.call(&request).await.map_err(explain)?;
    let waiting = std::mem::take(&mut *container.waiting.lock());
    for one in waiting {
        let _has_gone = one.send(streams::watch(&container.log_socket()).await?);
    }
    let request = StartRequest { id: container.id.clone(), exec_id: String::new() };
    container.call(&request).await.map_err(explain)?;
    container.change(|record| {
        record.state = State {
            status: Status::Running,
            pid: created.pid,
            started: Some(time::now()),
            finished: record.state.finished.take(),
            socket: record.state.socket.take(),
            health: super::health::initial(&record.config),
            ..State::default()
        };
    });
    container.publish_volumes("mount");
    container.publish("start", &[]);
    exit::watch(container);
    super::health::watch(container);
    Ok(())
}

fn explain(error: task::CallError) -> Error {
    error!(internal, "failed to create task for container: {}", Error::from(error).message)
}

/// Everything the shim needs to find.
fn prepare(container: &Container, network: Option<PathBuf>) -> Result<()> {
    let bundle = container.bundle();
    files::remove_dir(&bundle)?;
    files::make_dir(&container.run, 0o711)?;
    files::make_dir(&bundle, 0o711)?;
    let record = container.record().clone();
    record.volumes().try_for_each(|name| container.engine.volumes.mount(name))?;
    let mut around = surroundings(container, &record, network)?;
    let root = container.engine.volumes.root();
    let may_fail = |point: &&MountPoint| point.propagation == "rslave" && mounts::is_about(root, point);
    record.mounts.iter().filter(|point| !may_fail(point)).try_for_each(mounts::check_propagation)?;
    let parts = record.mounts.iter().filter(|point| !point.subpath.is_empty() || point.kind == "image");
    for (number, point) in parts.enumerate() {
        around.parts.insert(point.destination.clone(), mount_part(container, point, number)?);
    }
    let spec = spec::build(&record, &around)?;
    files::write_json(&bundle.join("config.json"), &spec)?;
    let log = log_options::of(&record)?.map(|options| (container.log(), options));
    let config = logger::Config { log, socket: container.log_socket() };
    files::write_json(&container.run.join("logger.json"), &config)?;
    let stdin = container.stdin();
    let _old = std::fs::remove_file(&stdin);
    if record.config.open_stdin == Some(true) {
        files::make_fifo(&stdin)?;
    }
    Ok(())
}

fn surroundings(container: &Container, record: &Record, network: Option<PathBuf>) -> Result<Surroundings> {
    let host = &record.host;
    let name = said::text(&record.config.user).unwrap_or_default();
    let mut user = user::find(&tree::mount(&container.overlay()?)?, name, said::list(&host.group_add))?;
    user.umask = record.umask;
    let mode = |field: &Option<String>, kind| container.joined(field.as_deref().unwrap_or_default(), kind);
    let others = mode(&host.network_mode, "net")?.map(|(other, _)| other.folder.clone());
    let (donor, ipc) = mode(&host.ipc_mode, "ipc")?.unzip();
    let shm = match donor {
        Some(donor) => Some(shared_shm(&donor)?),
        None if host.ipc_mode.as_deref() == Some("shareable") => Some(make_shm(container)?),
        None => None,
    };
    let networks = container.engine.networks.of(record)?.into_iter().enumerate();
    let networks = networks.filter(|(_, network)| !network.has_ipv6());
    Ok(Surroundings {
        user: Some(user),
        without_ipv6: networks.map(|(number, _)| number).collect(),
        network,
        pid: mode(&host.pid_mode, "pid")?.map(|(_, namespace)| namespace),
        ipc,
        shm,
        parts: BTreeMap::new(),
        files: others.unwrap_or_else(|| container.folder.clone()),
        cgroup_parent: container.engine.settings.cgroup_parent.clone(),
        // Where it would not be the first process there is nothing for it to do.
        init: if host.init == Some(true) && said::text(&host.pid_mode).is_none() {
            Some(init_program()?)
        } else {
            None
        },
    })
}

/// The /dev/shm of a container that others join: its own, or the one that it has of another.
fn shared_shm(donor: &Container) -> Result<PathBuf> {
    let mode = donor.record().host.ipc_mode.clone().unwrap_or_default();
    if let Some(other) = mode.strip_prefix("container:") {
        return shared_shm(&*donor.engine.container(other)?);
    }
    let hint = "non-shareable IPC (hint: use IpcMode:shareable for the donor container)";
    let place = if mode == "host" { PathBuf::from("/dev/shm") } else { donor.shm() };
    ensure!(place.is_dir(), invalid, "failed to join IPC namespace: container {}: {hint}", donor.id);
    Ok(place)
}

/// A /dev/shm that other containers can be given, too.
fn make_shm(container: &Container) -> Result<PathBuf> {
    let place = container.shm();
    files::make_dir(&place, 0o711)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let options = format!("mode=1777,size={}", container.record().shm_size());
    mount(Some("shm"), &place, Some("tmpfs"), flags, Some(&options[..]))
        .map_err(Error::at("mount", &place))?;
    Ok(place)
}

/// An image, or part of it or of a volume, at a place where nobody can put another one while it
/// is mounted into the container.
fn mount_part(container: &Container, point: &MountPoint, number: usize) -> Result<PathBuf> {
    let place = container.mounts().join(number.to_string());
    files::make_dir(&container.mounts(), 0o711)?;
    let mut root = PathBuf::from(&point.source);
    if point.kind == "image" {
        root = container.mounts().join(format!("{number}-image"));
        files::make_dir(&root, 0o700)?;
        tree::mount_at(&container.engine.images.layers.files_of(&point.options)?, &root)?;
    }
    let part = mounts::part(&Root::open(&root)?, point)?;
    let source = by_descriptor(&part);
    match source.is_dir() {
        true => files::make_dir(&place, 0o700)?,
        false => std::fs::write(&place, "").map_err(Error::at("make", &place))?,
    }
    mount(Some(&source), &place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(Error::at("mount", &place))?;
    Ok(place)
}

/// A static program that reaps, as the first process of a container.
fn init_program() -> Result<PathBuf> {
    let known = [
        "/usr/libexec/docker/docker-init",
        "/usr/bin/docker-init",
        "/usr/bin/tini-static",
        "/usr/bin/catatonit",
    ];
    let found = known.iter().map(PathBuf::from).find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::internal("--init needs one of docker-init, tini-static or catatonit on this host")
    })
}

/// This very program, which is the logger too: where it is, or, when it was replaced there, as the kernel has it. The
/// logger is of the engine's version, or they might not understand each other.
fn logger_program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::step("find this program"))?;
    // One that was replaced has a name of no file.
    if own.exists() {
        return Ok(own);
    }
    Ok(program::own()?.join("exe"))
}

fn create_request(container: &Container) -> Result<CreateTaskRequest> {
    let record = container.record().clone();
    let config = container.run.join("logger.json");
    let program = logger_program()?;
    let output = format!("binary-v2://{}?logger={}", escaped(&program), escaped(&config));
    let settings = &container.engine.settings;
    let systemd_cgroup = spec::is_in_slice(&record, &settings.cgroup_parent);
    let runtime = Options { root: lossy(&settings.runtime_root()), systemd_cgroup, ..Default::default() };
    let reads = record.config.open_stdin == Some(true);
    Ok(CreateTaskRequest {
        id: container.id.clone(),
        bundle: lossy(&container.bundle()),
        rootfs: root_mount(&container.overlay()?).into_iter().collect(),
        terminal: record.has_terminal(),
        stdin: if reads { lossy(&container.stdin()) } else { String::new() },
        stdout: output.clone(),
        stderr: output,
        options: Some(Any { type_url: "containerd.runc.v1.Options".into(), value: runtime.encode_to_vec() }),
        ..Default::default()
    })
}

/// How the runtime mounts a container's root file system.
fn root_mount(files: &Lower) -> Option<Mount> {
    let (upper, work) = files.upper.as_ref()?;
    let (kind, source, options) = if files.copied {
        ("bind", lossy(upper), vec!["rbind".into(), "rw".into()])
    } else {
        let lower: Vec<_> = files.lower.iter().map(|path| path.to_string_lossy()).collect();
        let mut options = vec![
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ];
        options.extend(crate::rootless::is().then(|| "userxattr".to_owned()));
        ("overlay", "overlay".to_owned(), options)
    };
    Some(Mount { r#type: kind.into(), source, target: String::new(), options })
}

/// What is escaped of a path in a URI.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

/// A path in a URI.
fn escaped(path: &Path) -> PercentEncode<'_> {
    percent_encode(path.as_os_str().as_encoded_bytes(), ESCAPED)
}
