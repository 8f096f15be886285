//! Delete: removes a process's record, and with the first process the container.

use std::rc::Rc;
use std::time::Duration;

use runtime::weak;

use super::Service;
use super::create::{UNMOUNT_LIMIT, unmount};
use crate::container::{Container, Freeze};
use crate::oci::Error;
use crate::process::{Ended, Process, State};
use crate::proto::events::TaskDelete;
use crate::proto::task::{DeleteRequest, DeleteResponse};
use crate::reactor::{both, clock};
use crate::time::timestamp;
use crate::ttrpc::Status;
use crate::{helper, log};

/// How long output that is still on its way holds a Delete up. A process in the background may keep its pipe
/// open for ever, and callers give up on a Delete after ten seconds.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// As good as no limit.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// How long a process that was killed by the deletion may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(2);

impl Service {
    pub(super) async fn delete(
        self: &Rc<Self>,
        request: &DeleteRequest,
        limit: Duration,
    ) -> Result<DeleteResponse, Status> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let ended = if request.exec_id.is_empty() {
            self.delete_container(&container, limit).await?
        } else {
            delete_exec(&container, &process).await?
        };
        Ok(DeleteResponse {
            pid: process.pid(),
            exit_status: ended.status,
            exited_at: Some(timestamp(ended.at)),
        })
    }

    async fn delete_container(&self, container: &Rc<Container>, limit: Duration) -> Result<Ended, Status> {
        let _busy = container.lock().await;
        let init = &container.init;
        match (init.state(), container.freeze()) {
            (State::Running, Freeze::No) => return Err(cannot_delete("running")),
            (State::Running, _) => return Err(cannot_delete("paused")),
            (State::Deleted, _) => return Err(Status::not_found("container not created")),
            (State::Created, _) if init.pid() != 0 => {
                container.runtime.delete(&container.id, true, limit).await?;
                // Its end is told before its deletion.
                let _late = clock::within(END_LIMIT, init.wait()).await;
                drained(init).await;
            }
            // Waits to be restored: the runtime does not know it yet.
            (State::Created, _) => {}
            (State::Stopped, _) => {
                let limit = before_unmounting(container, limit);
                let ((), deleted) =
                    both(drained(init), container.runtime.delete(&container.id, false, limit)).await;
                if let Err(error) = deleted {
                    unless_only_processes_are_left(container, error).await?;
                }
            }
        }
        if container.mounted {
            unmount(&container.bundle).await;
        }
        if let Some((_, prepared)) = container.restore.take() {
            prepared.abandon().await;
        }
        for exec in container.execs() {
            close_streams(&exec).await;
            if exec.state() == State::Created {
                exec.set_state(State::Deleted);
            }
        }
        close_streams(init).await;
        init.set_state(State::Deleted);
        self.forget(&container.id);
        container.forget_oom();
        let ended = init.last();
        self.publisher.publish(&TaskDelete {
            container_id: container.id.clone(),
            pid: init.pid(),
            exit_status: ended.status,
            exited_at: Some(timestamp(ended.at)),
            id: String::new(),
        });
        Ok(ended)
    }
}

async fn delete_exec(container: &Container, process: &Process) -> Result<Ended, Status> {
    match process.state() {
        State::Running => return Err(cannot_delete("running")),
        State::Deleted => return Err(Status::not_found(format!("process does not exist {}", process.id))),
        State::Created | State::Stopped => {}
    }
    process.set_state(State::Deleted);
    drained(process).await;
    close_streams(process).await;
    container.remove_exec(&process.id);
    if weak::off("memory") {
        std::mem::forget(vec![1_u8; 200]);
    }
    if weak::off("descriptors") {
        std::mem::forget(std::fs::File::open("/dev/null"));
    }
    Ok(process.last())
}

/// What the runtime may take of a caller's time.
fn before_unmounting(container: &Container, limit: Duration) -> Duration {
    let unmounting = if container.mounted { 2 * UNMOUNT_LIMIT } else { Duration::ZERO };
    limit.saturating_sub(unmounting).max(limit / 3)
}

/// A container whose first process has ended is deleted also when another one, which waits for a dead disk,
/// cannot be killed, and keeps its control groups.
async fn unless_only_processes_are_left(container: &Container, error: Error) -> Result<(), Error> {
    // A checkpoint that ends the container leaves nothing behind.
    if error.is_gone() {
        return Ok(());
    }
    let Some(cgroup) = container.cgroup().filter(|cgroup| cgroup.is_populated().unwrap_or(false)) else {
        return Err(error);
    };
    // Whatever it was that the runtime could not do: what outlives this cannot be killed.
    let kill = || cgroup.kill_all(libc::SIGKILL);
    if helper::run("kill the processes of the container", END_LIMIT, kill).await.is_err() {
        return Err(error);
    }
    let left = cgroup.processes().unwrap_or_default();
    log::error(&format!("container {} is deleted, and processes {left:?} of it live: {error}", container.id));
    Ok(())
}

fn cannot_delete(state: &str) -> Status {
    Status::failed_precondition(format!("cannot delete a {state} process"))
}

async fn drained(process: &Process) {
    if let Some(io) = process.io() {
        io.drained(if weak::off("drain") { FOR_EVER } else { DRAIN_LIMIT }).await;
    }
}

async fn close_streams(process: &Process) {
    if let Some(io) = process.set_io(None) {
        io.close().await;
    }
}
