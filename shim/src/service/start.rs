//! Start: runs the container's first process, or one that Exec has announced.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use runtime::weak;

use super::Service;
use super::create::adopt;
use crate::child::Child;
use crate::container::{Container, Freeze};
use crate::oci::{Error as OciError, Launch};
use crate::process::{Process, State};
use crate::proto::events::{TaskExecStarted, TaskStart};
use crate::proto::task::{StartRequest, StartResponse};
use crate::reactor::{clock, task};
use crate::stdio::Prepared;
use crate::ttrpc::Status;
use crate::{bundle, reaper};

impl Service {
    pub(super) async fn start(
        self: &Rc<Self>,
        request: &StartRequest,
        limit: Duration,
    ) -> Result<StartResponse, Status> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if request.exec_id.is_empty() {
            self.start_init(&container, limit).await?;
        } else {
            self.start_exec(&container, &process, limit).await?;
        }
        Ok(StartResponse { pid: process.pid() })
    }

    async fn start_init(self: &Rc<Self>, container: &Rc<Container>, limit: Duration) -> Result<(), Status> {
        let _busy = container.lock().await;
        let init = &container.init;
        must_be_created(init)?;
        // From here until the event is published, a process that ends at once stays unnoticed.
        init.hold_exit();
        let result = match container.restore.take() {
            None => container.runtime.start(&container.id, limit).await.map_err(Status::from),
            Some((restore, prepared)) => {
                let restored = self.make_init(container, Some(&restore), prepared, limit).await;
                // Its streams are used up: there is no second attempt.
                restored.inspect_err(|_| init.set_failed())
            }
        };
        if result.is_ok() {
            init.set_state(State::Running);
            self.publisher.publish(&TaskStart { container_id: container.id.clone(), pid: init.pid() });
        }
        init.release_exit();
        result
    }

    async fn start_exec(
        self: &Rc<Self>,
        container: &Rc<Container>,
        process: &Rc<Process>,
        limit: Duration,
    ) -> Result<(), Status> {
        must_be_created(process)?;
        if container.freeze() != Freeze::No {
            return Err(Status::failed_precondition("cannot exec in a paused state"));
        }
        if weak::off("after-end") {
            let _ended = container.begin_exec();
        } else {
            container.begin_exec()?;
        }
        let _one = if weak::off("beside") { Some(container.lock().await) } else { None };
        // A second Start of the same process finds it running.
        process.set_state(State::Running);
        let files = ExecFiles::new(&container.bundle, &process.id);
        match self.launch_exec(container, process, &files, limit).await {
            Ok(child) => {
                if weak::off("start-first") {
                    self.watch(container, process, Rc::clone(&child));
                    clock::sleep(Duration::from_millis(100)).await;
                }
                self.publisher.publish(&TaskExecStarted {
                    container_id: container.id.clone(),
                    exec_id: process.id.clone(),
                    pid: process.pid(),
                });
                if !weak::off("start-first") {
                    self.watch(container, process, child);
                }
                Ok(())
            }
            Err(status) => {
                process.set_failed();
                container.end_exec();
                Err(status)
            }
        }
    }

    /// Has the runtime start the process and connects its streams.
    async fn launch_exec(
        &self,
        container: &Container,
        process: &Process,
        files: &ExecFiles,
        limit: Duration,
    ) -> Result<Rc<Child>, Status> {
        files.write_spec(&process.spec)?;
        let owner = self.stdio_owner(&process.id, container.io_owner);
        let mut prepared = Prepared::new(&process.stdio, &owner)
            .await
            .map_err(|error| Status::unknown(format!("failed to create init process I/O: {error}")))?;
        let ends = prepared.take_process_ends();
        let launched = reaper::launch();
        let launch = Launch { pid_file: &files.pid, console_socket: prepared.console_socket(), ends };
        let child = match container.runtime.exec(&container.id, &files.spec, launch, limit).await {
            Ok(()) => adopt(&files.pid),
            Err(error) => {
                // One that was killed may have started the process all the same.
                if matches!(error, OciError::TimedOut { .. })
                    && let Ok(child) = adopt(&files.pid)
                {
                    discard(Rc::new(child));
                }
                Err(error.into())
            }
        };
        let child = match child {
            Ok(child) => Rc::new(child),
            Err(status) => {
                prepared.abandon().await;
                return Err(status);
            }
        };
        drop(launched);
        match prepared.attach().await {
            Ok(io) => {
                process.set_io(Some(Rc::new(io)));
                process.set_child(Rc::clone(&child));
                Ok(child)
            }
            Err(error) => {
                discard(child);
                Err(Status::unknown(format!("failed to start io pipe copy: {error}")))
            }
        }
    }
}

fn must_be_created(process: &Process) -> Result<(), Status> {
    match process.state() {
        State::Created if process.ended().is_some() => {
            Err(Status::failed_precondition("cannot start a process that failed to start"))
        }
        State::Created => Ok(()),
        state => Err(Status::failed_precondition(format!("cannot start a {} process", state.name()))),
    }
}

/// Kills a process that nobody will hear of.
fn discard(child: Rc<Child>) {
    let _killed = child.signal(libc::SIGKILL);
    task::spawn(async move {
        let _reaped = child.wait().await;
    });
}

/// The files through which a runtime is told of a process, and tells its pid. Removed when this is dropped.
struct ExecFiles {
    spec: PathBuf,
    pid: PathBuf,
}

impl ExecFiles {
    fn new(bundle: &Path, exec_id: &str) -> Self {
        Self {
            spec: bundle.join(format!("exec-{exec_id}.json")),
            pid: bundle.join(format!("exec-{exec_id}.pid")),
        }
    }

    fn write_spec(&self, spec: &[u8]) -> Result<(), Status> {
        bundle::write(&self.spec, spec)
            .map_err(|error| Status::unknown(format!("write {}: {error}", self.spec.display())))
    }
}

impl Drop for ExecFiles {
    fn drop(&mut self) {
        if weak::off("files") {
            return;
        }
        for path in [&self.spec, &self.pid] {
            let _gone = fs::remove_file(path);
        }
    }
}
