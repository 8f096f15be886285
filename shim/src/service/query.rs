//! Questions: State, Pids, Stats, Wait, Connect, and the end of the shim.

use std::rc::Rc;
use std::time::{Duration, Instant};

use prost::Message;

use runtime::weak;

use super::Service;
use crate::metrics;
use crate::process::Ended;
use crate::proto::runc_options::ProcessDetails;
use crate::proto::task::{
    ConnectRequest, ConnectResponse, PidsRequest, PidsResponse, ShutdownRequest, StateRequest, StateResponse,
    StatsRequest, StatsResponse, WaitRequest, WaitResponse,
};
use crate::proto::task_types::ProcessInfo;
use crate::proto::well_known::Any;
use crate::reactor::{First, clock, first};
use crate::time::timestamp;
use crate::ttrpc::{Call, Code, Status};

impl Service {
    /// From memory alone: clients ask for it many times for each process they execute.
    pub(super) fn state(&self, request: &StateRequest) -> Result<StateResponse, Status> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if weak::off("from-memory") {
            let container = Rc::clone(&container);
            crate::reactor::task::spawn(async move {
                let _asked = container.runtime.pids(&container.id, None, Duration::from_secs(5)).await;
            });
        }
        let ended = process.ended();
        Ok(StateResponse {
            id: process.id.clone(),
            bundle: container.bundle.display().to_string(),
            pid: process.pid(),
            status: container.state_of(&process) as i32,
            stdin: process.stdio.stdin.clone(),
            stdout: process.stdio.stdout.clone(),
            stderr: process.stdio.stderr.clone(),
            terminal: process.stdio.terminal,
            exit_status: ended.map_or(0, |ended| ended.status),
            exited_at: ended.map(|ended| timestamp(ended.at)),
            exec_id: request.exec_id.clone(),
        })
    }

    pub(super) async fn pids(&self, request: &PidsRequest, limit: Duration) -> Result<PidsResponse, Status> {
        let container = self.container(&request.id)?;
        let pids = container.runtime.pids(&container.id, container.cgroup().as_deref(), limit).await?;
        let execs = container.execs();
        let processes = pids.into_iter().map(|pid| {
            // One that has ended and is not deleted yet has a number that may be another one's now.
            let exec = execs.iter().find(|exec| exec.pid() == pid && exec.ended().is_none());
            let info = exec.map(|exec| Any {
                type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
                value: ProcessDetails { exec_id: exec.id.clone() }.encode_to_vec(),
            });
            ProcessInfo { pid, info }
        });
        Ok(PidsResponse { processes: processes.collect() })
    }

    pub(super) fn stats(&self, request: &StatsRequest) -> Result<StatsResponse, Status> {
        let container = self.container(&request.id)?;
        let cgroup = container.cgroup();
        let cgroup = cgroup.filter(|cgroup| crate::cgroup::exists(cgroup));
        let cgroup = cgroup.ok_or_else(|| Status::not_found("cgroup does not exist"))?;
        let stats = metrics::read(&cgroup).map_err(|error| Status::unknown(error.to_string()))?;
        Ok(StatsResponse { stats: Some(stats) })
    }

    /// Answers when the process has ended, also when it has not even been started yet. Without a deadline
    /// that is when it is: an engine that is told anything else takes the process for lost.
    pub(super) async fn wait(&self, request: &WaitRequest, call: &Call) -> Result<WaitResponse, Status> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        let deadline = match call.deadline {
            None if weak::off("for-ever") => Some(Instant::now() + Duration::from_secs(1)),
            deadline => deadline,
        };
        let late = async {
            match deadline {
                Some(deadline) => clock::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        // Nothing is left waiting for a client that has gone, however long the process lives.
        let gone = first(call.connection.closed(), late);
        match first(process.wait(), first(process.dropped(), gone)).await {
            First::Left(Ended { status, at }) => {
                Ok(WaitResponse { exit_status: status, exited_at: Some(timestamp(at)) })
            }
            First::Right(First::Left(())) => {
                Err(Status::not_found("the process has been deleted and was never started"))
            }
            First::Right(First::Right(_)) => {
                Err(Status::new(Code::DeadlineExceeded, "the process has not ended in time"))
            }
        }
    }

    /// Never fails: containerd asks it to see whether the shim is alive.
    pub(super) fn connect(&self, request: &ConnectRequest) -> ConnectResponse {
        let container = self.containers.borrow().get(&request.id).cloned();
        ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: container.map_or(0, |container| container.init.pid()),
            version: String::new(),
        }
    }

    /// Ends the shim, unless it has containers.
    pub(super) fn shutdown(self: &Rc<Self>, _request: &ShutdownRequest) {
        if !self.is_used() {
            self.stop();
        }
    }
}
