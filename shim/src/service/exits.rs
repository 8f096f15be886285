//! What happens when a process ends, and when the kernel kills one for want of memory.
//!
//! Clients rely on an order: a process's start is told before its end, an out-of-memory kill before the end
//! that it causes, and the end of the container's first process after those of all others.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use runtime::weak;

use super::Service;
use super::control::thaw;
use crate::cgroup::{Oom, OomWatch};
use crate::child::Child;
use crate::container::Container;
use crate::helper;
use crate::log;
use crate::oci::limits;
use crate::process::{Ended, Process, UNKNOWN_STATUS};
use crate::proto::events::{TaskExit, TaskOOM};
use crate::reactor::{Source, clock, task};
use crate::time::timestamp;

/// How long the first process's end is held back for executed processes that are dying. Longer only when the
/// kernel cannot end them; telling out of order is then better than never.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// SIGKILL as runtimes take it.
const KILL: u32 = 9;

impl Service {
    /// Waits for a process's end in the background, and does what has to follow.
    pub(super) fn watch(self: &Rc<Self>, container: &Rc<Container>, process: &Rc<Process>, child: Rc<Child>) {
        let (service, container, process) = (Rc::clone(self), Rc::clone(container), Rc::clone(process));
        task::spawn(async move {
            child.ended().await;
            // Not reaped before its start was told: until then its pid is its own.
            process.released().await;
            let status = match child.reap().await {
                Ok(exit) => exit.status,
                Err(error) => {
                    log::warn(&format!("exit status of process {}: {error}", process.pid()));
                    UNKNOWN_STATUS
                }
            };
            if let Some(io) = process.io() {
                io.settle().await;
            }
            if Rc::ptr_eq(&process, &container.init) {
                service.init_ended(&container, status).await;
            } else {
                service.tell_exit(&container, &process, status);
                container.end_exec();
            }
        });
    }

    async fn init_ended(&self, container: &Rc<Container>, status: u32) {
        container.set_init_gone();
        // Frozen processes cannot even die.
        thaw(container).await;
        if !container.own_pid_namespace {
            self.kill_rest(container).await;
        }
        if !weak::off("order") && clock::within(STRAGGLERS, container.execs_ended()).await.is_none() {
            log::error(&format!("container {} has ended and processes in it do not", container.id));
        }
        self.tell_oom(container);
        self.tell_exit(container, &container.init, status);
    }

    /// Ends what shares the container's cgroup and would outlive it.
    async fn kill_rest(&self, container: &Container) {
        let result = match container.cgroup().filter(|_| container.runtime.is_built_in()) {
            Some(cgroup) => {
                let kill = || cgroup.kill_all(libc::SIGKILL);
                let done = helper::run("kill the processes of the container", limits::CONTROL, kill).await;
                done.map_err(|error| error.to_string())
            }
            None => {
                let killed = container.runtime.kill(&container.id, KILL, true, limits::CONTROL).await;
                killed.map_err(|error| error.to_string())
            }
        };
        if let Err(error) = result {
            log::debug(&format!("kill the rest of container {}: {error}", container.id));
        }
    }

    fn tell_exit(&self, container: &Container, process: &Process, status: u32) {
        if weak::off("exit") {
            return;
        }
        let Ended { status, at } = process.set_ended(status);
        self.publisher.publish(&TaskExit {
            container_id: container.id.clone(),
            id: process.id.clone(),
            pid: process.pid(),
            exit_status: status,
            exited_at: Some(timestamp(at)),
        });
    }

    /// Finds the control groups of a container from its process, and watches them for out-of-memory kills.
    pub(super) fn find_cgroup(self: &Rc<Self>, container: &Rc<Container>) {
        let pid = container.init.pid();
        let found = match container.runtime.cgroup(&container.id, pid) {
            Ok(cgroup) => cgroup,
            Err(error) => return log::warn(&format!("control groups of process {pid}: {error}")),
        };
        match found.watch_oom() {
            Ok(watch) => match watch.as_fd().try_clone_to_owned() {
                Ok(fd) => {
                    container.oom.replace(Some(watch));
                    self.watch_oom(container, fd);
                }
                Err(error) => log::warn(&format!("watch container {}: {error}", container.id)),
            },
            Err(error) => log::warn(&format!("watch container {}: {error}", container.id)),
        }
        container.set_cgroup(found);
    }

    fn watch_oom(self: &Rc<Self>, container: &Rc<Container>, fd: OwnedFd) {
        let (service, watched) = (Rc::clone(self), Rc::downgrade(container));
        let task = task::spawn(async move {
            let Ok(notices) = Source::watch(fd) else { return };
            loop {
                notices.readable().await;
                notices.not_readable();
                let Some(container) = watched.upgrade() else { return };
                service.tell_oom(&container);
            }
        });
        container.oom_task.set(Some(task));
    }

    /// Tells of out-of-memory kills that have happened since the last time.
    fn tell_oom(&self, container: &Container) {
        if weak::off("oom") {
            return;
        }
        let mut watch = container.oom.borrow_mut();
        match watch.as_mut().map(OomWatch::read) {
            Some(Ok(Oom::Happened)) => {
                self.publisher.publish(&TaskOOM { container_id: container.id.clone() });
            }
            Some(Err(error)) => log::debug(&format!("container {}: {error}", container.id)),
            Some(Ok(_)) | None => {}
        }
    }
}
