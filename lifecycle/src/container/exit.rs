//! The end of a container: noticed, written down, cleaned up after, and perhaps followed by a restart.

use std::sync::Arc;
use std::time::Duration;

use bollard_stubs::models::{HealthStatusEnum, HostConfig, RestartPolicyNameEnum};
use nix::mount::{MntFlags, umount2};
use shim::proto::task::{DeleteRequest, ShutdownRequest, StateRequest, WaitRequest};
use shim::proto::task_types;
use tokio::task::block_in_place;

use super::record::State;
use super::start::start_locked;
use super::{Container, Exec, Record, Status, create, health, settings};
use crate::engine::Engine;
use crate::error::Result;
use crate::network::{self, Network, links};
use crate::time::{self, Time};
use crate::{files, said, task};

/// The pause before a restart: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// After a run of this length the pauses begin with the first again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// The status of a container whose shim is gone.
const LOST: i64 = 255;

/// Waits for the container's end beside everything else.
pub(super) fn watch(container: &Arc<Container>) {
    let container = Arc::clone(container);
    tokio::spawn(async move {
        let request = WaitRequest { id: container.id.clone(), exec_id: String::new() };
        let (code, when) = match container.call_surely(&request).await {
            Ok(ended) => {
                let at = ended.exited_at.and_then(|at| Time::new(at.seconds, at.nanos).ok());
                (i64::from(ended.exit_status), at.unwrap_or_else(Time::now))
            }
            Err(_) => (lost(&container).await, Time::now()),
        };
        ended(&container, code, when).await;
    });
}

/// Writes the end down and does what follows from it.
async fn ended(container: &Arc<Container>, code: i64, when: Time) {
    let _busy = container.busy.lock().await;
    let started = container.record().state.started.as_deref().and_then(time::parse);
    let ran = started.map_or(Duration::ZERO, |started| time::between(started, when));
    // An engine that is started anew meanwhile cannot ask anybody for it.
    container.change(|record| (record.state.has_ended, record.state.exit_code) = (true, code));
    let networks = clean_up(container).await;
    // What was to be run in it is not to be run in the next one.
    let is_old = |exec: &Arc<Exec>| exec.container.id == container.id && !exec.state.borrow().started;
    container.engine.execs.lock().retain(|_, exec| !is_old(exec));
    let (mut again, mut pause) = (false, PAUSES.0);
    container.change(|record| {
        pause = pause_after(&mut record.quick_ends, ran);
        again = !record.stopped_by_user && policy_wants(&record.host, code, record.restart_count);
        record.exits += 1;
        let state = &mut record.state;
        state.status = if again { Status::Restarting } else { Status::Exited };
        state.end(code);
        state.finished = Some(time::text(when));
        if let Some(health) = &mut state.health {
            health.status = Some(HealthStatusEnum::UNHEALTHY);
        }
        record.restart_count += u32::from(again);
    });
    let seconds = ran.as_secs().to_string();
    container.publish("die", &[("exitCode", code.to_string()), ("execDuration", seconds)]);
    for left in networks {
        network::publish(container.engine, &left, "disconnect", Some(&container.id));
    }
    container.publish_volumes("unmount");
    if again {
        restart_later(container, pause);
    } else if container.goes() {
        container.report(create::remove_locked(container, true));
    }
}

/// Removes what only a running container needs; returns the networks it was in.
pub(super) async fn clean_up(container: &Arc<Container>) -> Vec<Network> {
    let id = || container.id.clone();
    // As far as they are there.
    let _task = container.call_surely(&DeleteRequest { id: id(), exec_id: String::new() }).await;
    let _shim = container.call_surely(&ShutdownRequest { id: id(), now: false }).await;
    let networks = container.engine.networks.disconnect(container).await;
    for place in files::entries(&container.mounts()) {
        let _not_mounted = umount2(&place, MntFlags::MNT_DETACH);
    }
    container.report(files::remove_dir(&container.run));
    let record = container.record().clone();
    for name in record.volumes() {
        // Whoever is about to start, or has not ended, has that directory.
        let uses = |other: &Arc<Container>| {
            other.record().volumes().any(|volume| volume == name) && other.run.exists()
        };
        let is_used = || container.engine.all_containers().iter().any(uses);
        container.report(block_in_place(|| container.engine.volumes.unmount(name, is_used)));
    }
    networks
}

/// Whether the policy restarts a container that ended with `code` after so many restarts.
fn policy_wants(host: &HostConfig, code: i64, count: u32) -> bool {
    let most = host.restart_policy.as_ref().and_then(|policy| said::number(policy.maximum_retry_count));
    match settings::restarts(host) {
        Some(RestartPolicyNameEnum::ON_FAILURE) => {
            code != 0 && most.is_none_or(|most| i64::from(count) < most)
        }
        policy => policy.is_some(),
    }
}

/// The pause after a run of this length, which is the last of so many quick ones, if it was one.
fn pause_after(quick_ends: &mut u32, ran: Duration) -> Duration {
    *quick_ends = if ran >= GOOD_RUN { 0 } else { *quick_ends + 1 };
    PAUSES.0.saturating_mul(1 << quick_ends.saturating_sub(1).min(16)).min(PAUSES.1)
}

/// Restarts after a pause, unless somebody stops, starts or removes the container meanwhile.
fn restart_later(container: &Arc<Container>, pause: Duration) {
    let container = Arc::clone(container);
    tokio::spawn(async move {
        let is_off = |record: &Record| record.stopped_by_user || record.state.status != Status::Restarting;
        let may_start = async {
            tokio::time::sleep(pause).await;
            let _late = tokio::time::timeout(PAUSES.1, others_are_up(&container)).await;
        };
        tokio::select! { () = may_start => {}, () = container.wait_until(is_off) => {} }
        let _busy = container.busy.lock().await;
        let status = container.record().state.status;
        if !is_off(&container.record()) {
            container.report(start_locked(&container).await);
        } else if status == Status::Restarting {
            container.change(|record| record.state.status = Status::Exited);
        }
    });
}

/// Waits for those that a container needs to start, while they are to be restarted too: with the machine, all are at once.
async fn others_are_up(container: &Container) {
    let record = container.record().clone();
    let modes = [&record.host.network_mode, &record.host.pid_mode, &record.host.ipc_mode];
    let joined = modes.into_iter().filter_map(|mode| mode.as_deref()?.strip_prefix("container:"));
    let linked = record.host.links.iter().flatten().map(|link| links::split(link).0);
    for other in joined.chain(linked).filter_map(|name| container.engine.container(name).ok()) {
        let is_known =
            |state: &State| state.status != Status::Restarting && state.status.is_up() == (state.pid != 0);
        other.wait_until(|record| is_known(&record.state)).await;
    }
}

/// Takes up all containers after the engine was away.
pub async fn restore_all(engine: &Engine) {
    let mut restoring = tokio::task::JoinSet::new();
    for container in engine.all_containers() {
        restoring.spawn(async move { container.report(restore(&container).await) });
    }
    restoring.join_all().await;
}

async fn restore(container: &Arc<Container>) -> Result<()> {
    let state = container.record().state.clone();
    if state.status == Status::Removing || container.record().half_made {
        let volumes = container.goes() || container.record().half_made;
        return create::remove_locked(container, volumes);
    }
    if state.socket.is_some() {
        if adopt(container).await.is_none() {
            // The machine was restarted, or somebody has killed the shim.
            let code = lost(container).await;
            let container = Arc::clone(container);
            tokio::spawn(async move { ended(&container, code, Time::now()).await });
        }
        return Ok(());
    }
    // The engine went away in a start, before there was a shim.
    if container.engine.networks.has(container) || container.run.exists() {
        clean_up(container).await;
    }
    if container.goes() {
        return create::remove_locked(container, true);
    }
    let policy = settings::restarts(&container.record().host);
    let wanted = match policy {
        Some(RestartPolicyNameEnum::ALWAYS) => true,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => !container.record().stopped_by_user,
        _ => false,
    };
    let again = wanted && state.status == Status::Exited;
    if again || state.status == Status::Restarting {
        container.change(|record| {
            record.state.status = Status::Restarting;
            // With `always`, that a user has stopped it counts no longer.
            record.stopped_by_user &= !again;
        });
        restart_later(container, PAUSES.0);
    }
    Ok(())
}

/// Cleans up after a container whose shim is gone; returns its exit status, as far as it is known.
async fn lost(container: &Container) -> i64 {
    let state = container.record().state.clone();
    if state.has_ended {
        return state.exit_code;
    }
    if container.bundle().exists() { task::clean_up(container).await.map_or(LOST, i64::from) } else { LOST }
}

/// Asks the shim of a container that was running; `None` when there is none.
async fn adopt(container: &Arc<Container>) -> Option<()> {
    let request = StateRequest { id: container.id.clone(), exec_id: String::new() };
    // A shim without its container: the engine went away in the middle of a start.
    let state = container.call_surely(&request).await.ok()?;
    let status = task_types::Status::try_from(state.status).unwrap_or(task_types::Status::Unknown);
    if status == task_types::Status::Created {
        return None;
    }
    let paused = matches!(status, task_types::Status::Paused | task_types::Status::Pausing);
    container.change(|record| {
        record.state.status = if paused { Status::Paused } else { Status::Running };
        record.state.pid = state.pid;
        // Unless the engine went away before this was written down.
        if record.state.started.is_none() {
            record.state.started = Some(time::now());
            record.state.health = health::initial(&record.config);
        }
    });
    // The answer for one that has ended comes at once.
    watch(container);
    health::watch(container);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_stubs::models::RestartPolicy;

    #[test]
    fn policies() {
        let host = |name, most| HostConfig {
            restart_policy: Some(RestartPolicy { name: Some(name), maximum_retry_count: Some(most) }),
            ..Default::default()
        };
        let failure = host(RestartPolicyNameEnum::ON_FAILURE, 2);
        assert!(
            policy_wants(&failure, 1, 1) && !policy_wants(&failure, 1, 2) && !policy_wants(&failure, 0, 0)
        );
        assert!(policy_wants(&host(RestartPolicyNameEnum::ON_FAILURE, 0), 1, 1000));
        assert!(policy_wants(&host(RestartPolicyNameEnum::ALWAYS, 0), 0, 9));
        assert!(!policy_wants(&HostConfig::default(), 1, 0));
    }

    #[test]
    fn pauses_double_until_a_run_is_good() {
        let (mut ends, quick) = (0, Duration::from_secs(1));
        let pauses: Vec<_> = (0..4).map(|_| pause_after(&mut ends, quick).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800]);
        let more: Vec<_> = (0..40).map(|_| pause_after(&mut ends, quick)).collect();
        assert_eq!(more.last(), Some(&PAUSES.1));
        assert_eq!(
            [GOOD_RUN, quick, quick].map(|ran| pause_after(&mut ends, ran).as_millis()),
            [100, 100, 200]
        );
    }
}
