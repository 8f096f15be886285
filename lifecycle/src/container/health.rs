//! Health checks: a command that is run in the container now and then.

use std::sync::Arc;
use std::time::Duration;

use bollard_stubs::models::{ContainerConfig, Health, HealthConfig, HealthStatusEnum, HealthcheckResult};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Container, Exec, ExecConfig, Status, settings, stop};
use crate::error::Error;
use crate::{said, time};

/// How much of a check's output is kept, and how many checks.
const KEPT: (usize, usize) = (4096, 5);

/// The command of a health check, if there is one.
fn command(config: &ContainerConfig) -> Option<Vec<String>> {
    let test = config.healthcheck.as_ref()?.test.as_ref()?;
    match test.first().map(String::as_str)? {
        "CMD" => Some(test[1..].to_vec()),
        "CMD-SHELL" => Some(settings::shell(config).into_iter().chain(test.get(1).cloned()).collect()),
        _ => None,
    }
}

/// The health of a container that has just been started.
pub(super) fn initial(config: &ContainerConfig) -> Option<Health> {
    let status = Some(HealthStatusEnum::STARTING);
    command(config).map(|_| Health { status, failing_streak: Some(0), log: Some(Vec::new()) })
}

fn nanos(value: Option<i64>, default: Duration) -> Duration {
    let nanos = said::number(value).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map_or(default, Duration::from_nanos)
}

/// Checks a running container until it ends.
pub(super) fn watch(container: &Arc<Container>) {
    let config = container.record().config.clone();
    let (Some(words), Some(check)) = (command(&config), config.healthcheck) else { return };
    let container = Arc::clone(container);
    // Of this run: when the task begins there may be another.
    let exits = container.record().exits;
    let started = container.record().state.started.as_deref().and_then(time::parse);
    let started = started.unwrap_or_else(time::Time::now);
    tokio::spawn(async move {
        loop {
            let in_grace =
                || time::between(started, time::Time::now()) < nanos(check.start_period, Duration::ZERO);
            let status = container.record().state.health.as_ref().and_then(|health| health.status);
            let interval = nanos(check.interval, Duration::from_secs(30));
            let pause = if status == Some(HealthStatusEnum::STARTING) && in_grace() {
                nanos(check.start_interval, Duration::from_secs(5)).min(interval)
            } else {
                interval
            };
            if stop::wait_for_exit(&container, exits, pause).await {
                return;
            }
            if container.record().state.status == Status::Running {
                let result = run(&container, &words, &check).await;
                note(&container, result, in_grace(), check.retries);
            }
        }
    });
}

async fn run(container: &Arc<Container>, words: &[String], check: &HealthConfig) -> HealthcheckResult {
    let start = time::now();
    let limit = nanos(check.timeout, Duration::from_secs(30));
    let cmd = Some(words.to_vec());
    let config = ExecConfig { attach_stdout: true, attach_stderr: true, cmd, ..ExecConfig::default() };
    let mut output = Vec::new();
    let exec = Exec::new(container, config);
    let outcome = timeout(limit, async {
        let exec = exec.as_ref().map_err(Error::clone)?;
        let (mut stream, _) = exec.start(None).await?;
        while let Some((_, bytes)) = stream.next().await {
            output.extend_from_slice(&bytes[..bytes.len().min(KEPT.0.saturating_sub(output.len()))]);
        }
        // The output ends after the status is known.
        let code = exec.state.borrow().exit_code;
        Ok::<_, Error>(code.unwrap_or(-1))
    });
    let outcome = outcome.await;
    // Or there would be one more with each check.
    if let (Err(_), Ok(exec)) = (&outcome, &exec) {
        exec.kill().await;
    }
    let output = String::from_utf8_lossy(&output);
    let (exit_code, output) = match outcome {
        Ok(Ok(code)) => (code, output.into_owned()),
        Ok(Err(error)) => (-1, error.message),
        Err(_) if output.is_empty() => (-1, format!("Health check exceeded timeout ({limit:?})")),
        Err(_) => (-1, format!("Health check exceeded timeout ({limit:?}): {output}")),
    };
    let (end, exit_code, output) = (Some(time::now()), Some(exit_code), Some(output));
    HealthcheckResult { start: Some(start), end, exit_code, output }
}

fn note(container: &Arc<Container>, check: HealthcheckResult, in_grace: bool, retries: Option<i64>) {
    let mut changed = None;
    container.change(|record| {
        let Some(health) = record.state.health.as_mut().filter(|_| record.state.status.is_up()) else {
            return;
        };
        let before = health.status;
        let streak = health.failing_streak.get_or_insert(0);
        if check.exit_code == Some(0) {
            *streak = 0;
            health.status = Some(HealthStatusEnum::HEALTHY);
        } else if !(in_grace && before == Some(HealthStatusEnum::STARTING)) {
            *streak += 1;
            if *streak >= retries.filter(|retries| *retries > 0).unwrap_or(3) {
                health.status = Some(HealthStatusEnum::UNHEALTHY);
            }
        }
        let log = health.log.get_or_insert_default();
        log.push(check);
        log.drain(..log.len().saturating_sub(KEPT.1));
        changed = health.status.filter(|_| health.status != before);
    });
    if let Some(status) = changed {
        container.publish(format!("health_status: {status}"), &[]);
    }
}
