//! Everything that acts on a container or process that exists: Kill, Pause, Resume, Update, Checkpoint, Exec,
//! ResizePty and CloseIO.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use prost::Message;

use super::Service;
use crate::container::{Container, Freeze};
use crate::oci::{Checkpoint, Error as OciError, limits};
use crate::process::{Process, State};
use crate::proto::events::{TaskExecAdded, TaskPaused, TaskResumed};
use crate::proto::linux_runc;
use crate::proto::runc_options::CheckpointOptions;
use crate::proto::task::{
    CheckpointTaskRequest, CloseIORequest, ExecProcessRequest, KillRequest, PauseRequest, ResizePtyRequest,
    ResumeRequest, UpdateTaskRequest,
};
use crate::proto::well_known::Any;
use crate::stdio::Stdio;
use crate::ttrpc::Status;
use crate::{helper, log, name};

impl Service {
    pub(super) async fn kill(&self, request: &KillRequest, limit: Duration) -> Result<(), Status> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let signal = i32::try_from(request.signal).ok().filter(|number| (0..=64).contains(number));
        let signal = signal.ok_or_else(|| Status::invalid(format!("{} is no signal", request.signal)))?;
        if process.pid() == 0 && process.ended().is_none() {
            return Err(Status::failed_precondition("process not created"));
        }
        if request.exec_id.is_empty() {
            return kill_init(&container, request, signal, limit).await;
        }
        match process.signal(signal) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::not_found("process already finished")),
            Err(error) => Err(Status::unknown(format!("exec kill error: {error}"))),
        }
    }

    pub(super) async fn pause(&self, request: &PauseRequest, limit: Duration) -> Result<(), Status> {
        let container = self.container(&request.id)?;
        let _busy = container.lock().await;
        container.must_run("pause")?;
        container.set_freeze(Freeze::Pausing);
        let before = container.is_frozen();
        let paused = container.runtime.pause(&container.id, limit).await;
        container.set_freeze(if paused.is_ok() { Freeze::Paused } else { Freeze::No });
        if paused.is_err() && !before || container.is_ending() {
            thaw(&container).await;
        }
        paused?;
        if container.is_ending() {
            return Err(Status::failed_precondition("cannot pause a container that is ending"));
        }
        self.publisher.publish(&TaskPaused { container_id: container.id.clone() });
        Ok(())
    }

    pub(super) async fn resume(&self, request: &ResumeRequest, limit: Duration) -> Result<(), Status> {
        let container = self.container(&request.id)?;
        let _busy = container.lock().await;
        if !container.is_frozen() && container.freeze() == Freeze::No {
            let state = container.init.state().name();
            return Err(Status::failed_precondition(format!("cannot resume a {state} container")));
        }
        container.runtime.resume(&container.id, container.cgroup().as_deref(), limit).await?;
        container.set_freeze(Freeze::No);
        self.publisher.publish(&TaskResumed { container_id: container.id.clone() });
        Ok(())
    }

    pub(super) async fn update(&self, request: &UpdateTaskRequest, limit: Duration) -> Result<(), Status> {
        let container = self.container(&request.id)?;
        let _busy = container.lock().await;
        if matches!(container.init.state(), State::Stopped | State::Deleted) {
            return Err(Status::failed_precondition("cannot update a stopped container"));
        }
        let resources = request.resources.as_ref().map(|any| &any.value[..]).unwrap_or_default();
        if resources.is_empty() {
            return Err(Status::invalid("update without resources"));
        }
        let update = container.runtime.update(&container.id, resources, limit);
        Ok(not_left_frozen(&container, update).await?)
    }

    pub(super) async fn checkpoint(
        &self,
        request: CheckpointTaskRequest,
        limit: Duration,
    ) -> Result<(), Status> {
        let container = self.container(&request.id)?;
        let _busy = container.lock().await;
        match container.init.state() {
            State::Running => {}
            state => {
                let message = format!("cannot checkpoint a container in {} state", state.name());
                return Err(Status::failed_precondition(message));
            }
        }
        let options = checkpoint_options(request.options.as_ref())?;
        let path = if request.path.is_empty() { &options.image_path } else { &request.path };
        if path.is_empty() {
            return Err(Status::invalid("checkpoint without a path"));
        }
        let wish = Checkpoint {
            image: PathBuf::from(path),
            work: match options.work_path.as_str() {
                "" => container.criu_work.join("criu-work"),
                path => PathBuf::from(path),
            },
            parent: Some(&options.parent_path).filter(|path| !path.is_empty()).map(PathBuf::from),
            leave_running: !options.exit,
            open_tcp: options.open_tcp,
            external_sockets: options.external_unix_sockets,
            terminal: options.terminal,
            file_locks: options.file_locks,
            empty_namespaces: options.empty_namespaces,
            cgroups_mode: options.cgroups_mode,
        };
        let checkpoint = container.runtime.checkpoint(&container.id, &wish, limit);
        let result = not_left_frozen(&container, checkpoint).await;
        let kept = container.bundle.join("criu-dump.log");
        let (failed, ours) = (result.is_err(), options.work_path.is_empty());
        // The disk that the images went to may be slow.
        let tidied =
            helper::run("tidy up after criu", limits::CONTROL, || tidy(&wish.work, &kept, failed, ours));
        if let Err(error) = tidied.await {
            log::warn(&error.to_string());
        }
        result.map_err(|error| {
            let text = error.to_string();
            let first_line = text.lines().next().unwrap_or_default();
            Status::unknown(format!("{first_line} path= {}", kept.display()))
        })
    }

    /// Announces a process; Start runs it.
    pub(super) fn exec(&self, request: ExecProcessRequest) -> Result<(), Status> {
        let container = self.container(&request.id)?;
        name::check(&request.exec_id)
            .map_err(|error| Status::invalid(format!("exec id {:?}: {error}", request.exec_id)))?;
        if container.freeze() != Freeze::No {
            return Err(Status::failed_precondition("cannot exec in a paused state"));
        }
        match container.init.state() {
            // One that waits to be restored, or could not be, does not exist.
            State::Created if container.init.pid() == 0 || container.init.ended().is_some() => {
                return Err(Status::failed_precondition("cannot exec in a created state"));
            }
            State::Stopped | State::Deleted => {
                return Err(Status::failed_precondition("cannot exec in a stopped state"));
            }
            State::Created | State::Running => {}
        }
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let spec = request.spec.map(|any| any.value).unwrap_or_default();
        let spec = with_terminal(&spec, request.terminal)
            .map_err(|error| Status::invalid(format!("process of exec {}: {error}", request.exec_id)))?;
        container.add_exec(&Process::new(&request.exec_id, stdio, spec))?;
        let event = TaskExecAdded { container_id: container.id.clone(), exec_id: request.exec_id };
        self.publisher.publish(&event);
        Ok(())
    }

    pub(super) fn resize_pty(&self, request: &ResizePtyRequest) -> Result<(), Status> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        match process.io() {
            Some(io) => io
                .resize(size(request.width), size(request.height))
                .map_err(|error| Status::unknown(format!("resize the terminal: {error}"))),
            None => Ok(()),
        }
    }

    pub(super) fn close_io(&self, request: &CloseIORequest) -> Result<(), Status> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        if request.stdin
            && let Some(io) = process.io()
        {
            io.close_stdin();
        }
        Ok(())
    }
}

async fn kill_init(
    container: &Rc<Container>,
    request: &KillRequest,
    signal: i32,
    limit: Duration,
) -> Result<(), Status> {
    if !request.all && container.init.ended().is_some() {
        return Err(Status::not_found("process already finished"));
    }
    if !request.all && container.runtime.is_built_in() {
        signal_init(container, signal)?;
    } else {
        let kill = container.runtime.kill(&container.id, request.signal, request.all, limit);
        not_left_frozen(container, kill).await.map_err(OciError::of_kill)?;
    }
    // Frozen processes of v1 do not even die.
    if signal == libc::SIGKILL {
        container.set_killed();
        container.thaw().await?;
    }
    Ok(())
}

/// Does what a runtime may freeze a container for. When it fails, or is cut off by its deadline, that does not
/// outlast it.
async fn not_left_frozen<T>(
    container: &Container,
    work: impl Future<Output = Result<T, OciError>>,
) -> Result<T, OciError> {
    let before = container.is_frozen();
    let result = work.await;
    if result.is_err() && !before && container.freeze() == Freeze::No {
        thaw(container).await;
    }
    result
}

/// Lets a container's processes go on, as far as that can be done.
pub(super) async fn thaw(container: &Container) {
    if let Err(error) = container.thaw().await {
        log::warn(&format!("thaw container {}: {error}", container.id));
    }
}

/// The options of a checkpoint. Those of containerd's first runtime have the two paths the other way round.
fn checkpoint_options(any: Option<&Any>) -> Result<CheckpointOptions, Status> {
    let Some(any) = any else { return Ok(CheckpointOptions::default()) };
    let malformed = |error| Status::invalid(format!("checkpoint options: {error}"));
    match any.type_url.rsplit('/').next().unwrap_or_default() {
        "" | "containerd.runc.v1.CheckpointOptions" => {
            CheckpointOptions::decode(&any.value[..]).map_err(malformed)
        }
        "containerd.linux.runc.CheckpointOptions" => {
            let old = linux_runc::CheckpointOptions::decode(&any.value[..]).map_err(malformed)?;
            Ok(CheckpointOptions {
                exit: old.exit,
                open_tcp: old.open_tcp,
                external_unix_sockets: old.external_unix_sockets,
                terminal: old.terminal,
                file_locks: old.file_locks,
                empty_namespaces: old.empty_namespaces,
                cgroups_mode: old.cgroups_mode,
                image_path: old.image_path,
                work_path: old.work_path,
                parent_path: String::new(),
            })
        }
        other => Err(Status::invalid(format!("checkpoint options of type {other:?} are not known"))),
    }
}

/// Signals the first process of a container of Corten's own runtime.
fn signal_init(container: &Container, signal: i32) -> Result<(), Status> {
    match container.init.signal(signal) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Status::not_found("process already finished")),
        Err(error) => Err(Status::unknown(format!("OCI runtime kill failed: {error}"))),
    }
}

/// The description of a process with its `terminal` as the request has it.
fn with_terminal(spec: &[u8], terminal: bool) -> Result<Vec<u8>, serde_json::Error> {
    let mut process: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(spec)?;
    process.insert("terminal".to_owned(), terminal.into());
    serde_json::to_vec(&process)
}

/// Keeps the log of a failed criu with the bundle, and removes the folder that it worked in if that is
/// `ours`.
fn tidy(work: &Path, kept: &Path, failed: bool, ours: bool) -> Result<(), String> {
    let copied = if failed { std::fs::copy(work.join("dump.log"), kept).map(drop) } else { Ok(()) };
    if ours {
        let _gone = std::fs::remove_dir_all(work);
    }
    copied.map_err(|error| format!("keep criu's log as {}: {error}", kept.display()))
}
