//! Signals, and ways to end, freeze and restart a container.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shim::proto::task::{KillRequest, PauseRequest, ResumeRequest};

use super::{Container, Status, start};
use crate::error::{Error, Result, StatusCode, bail, ensure, unless};
use crate::said;

/// How long a container may take after its stop signal, when nobody says.
const PATIENCE: i64 = 10;

/// How long a killed container may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(30);

pub(super) const SIGKILL: u32 = 9;

/// Sends a signal to the container's first process.
async fn send(container: &Container, signal: u32) -> Result<()> {
    let request = KillRequest { id: container.id.clone(), signal, ..Default::default() };
    container.ask(&request).await?;
    container.publish("kill", &[("signal", signal.to_string())]);
    Ok(())
}

/// Waits until the run that was the `exits`th to come has ended; whether it has.
pub(super) async fn wait_for_exit(container: &Container, exits: u64, limit: Duration) -> bool {
    let waiting = container.wait_until(|record| record.exits > exits || record.removed);
    tokio::time::timeout(limit, waiting).await.is_ok()
}

/// Sees that a container which is between two runs does not go on by itself; whether it runs after that: the restart
/// may have been under way.
async fn settle(container: &Container) -> bool {
    // Also when it cannot be written down: whoever fills the disk must not be kept from being stopped by that.
    container.change(|record| record.stopped_by_user = true);
    if container.record().state.status == Status::Restarting {
        container.wait_until(|record| record.state.status != Status::Restarting).await;
    }
    container.record().state.status.is_up()
}

/// Ends a container: its stop signal, time to react, and SIGKILL.
///
/// # Errors
/// [`StatusCode::NOT_MODIFIED`] when it does not run.
pub async fn stop(container: &Arc<Container>, wish: Option<&str>, timeout: Option<i64>) -> Result<()> {
    let config = container.record().config.clone();
    if !container.record().state.status.is_active() {
        return Err(Error::not_modified());
    }
    let word = wish.filter(|word| !word.is_empty()).or(said::text(&config.stop_signal));
    let number = said::signal(word.unwrap_or("TERM"))?;
    let patience = timeout.or(config.stop_timeout).unwrap_or(PATIENCE);
    // Without a limit when it is negative.
    let limit = u64::try_from(patience).map_or(Duration::MAX, Duration::from_secs);
    end(container, Some((number, limit))).await?;
    // Its end is told first, by whoever has noticed it.
    drop(container.busy.lock().await);
    container.publish("stop", &[]);
    Ok(())
}

/// Sends a container a first signal, if there is one, and SIGKILL when it has not ended after a time.
///
/// # Errors
/// When it does not end.
pub(super) async fn end(container: &Arc<Container>, first: Option<(u32, Duration)>) -> Result<()> {
    while settle(container).await {
        let exits = container.record().exits;
        let gone = match first {
            // Frozen processes see no signal but the last one.
            Some((number, limit)) if send(container, number).await.is_ok() => {
                wait_for_exit(container, exits, limit).await
            }
            _ => false,
        };
        if !gone {
            kill_and_wait(container, exits).await?;
        }
        // Its end may have been noticed just before it was known to be wanted.
        if container.record().state.status != Status::Restarting {
            break;
        }
    }
    Ok(())
}

async fn kill_and_wait(container: &Arc<Container>, exits: u64) -> Result<()> {
    match send(container, SIGKILL).await {
        Ok(()) => {}
        // It ended by itself just now.
        Err(_) if !container.record().state.status.is_up() => return Ok(()),
        Err(error) if error.status == StatusCode::CONFLICT => {}
        Err(error) => return Err(error),
    }
    let gone = wait_for_exit(container, exits, KILL_LIMIT).await;
    ensure!(gone, internal, "container {}: it did not end within {KILL_LIMIT:?} of SIGKILL", container.id);
    Ok(())
}

/// `docker kill`.
///
/// # Errors
/// When it does not run.
pub async fn kill(container: &Arc<Container>, word: Option<&str>) -> Result<()> {
    let number = said::signal(word.filter(|word| !word.is_empty()).unwrap_or("KILL"))?;
    let own = container.record().config.stop_signal.clone().and_then(|word| said::signal(&word).ok());
    let ends = number == SIGKILL || number == own.unwrap_or(15);
    // Between two runs there is nothing to be told, and nothing to be ended but the next one.
    if container.record().state.status == Status::Restarting && !(ends && settle(container).await) {
        return Ok(());
    }
    if !container.record().state.status.is_up() {
        bail!(conflict, "Cannot kill container: {}: {}", container.id, container.not_running());
    }
    let exits = container.record().exits;
    if ends {
        container.change(|record| record.stopped_by_user = true);
    }
    match send(container, number).await {
        // It ended by itself just now.
        Err(error) if error.status == StatusCode::CONFLICT && ends => drop(settle(container).await),
        sent => sent?,
    }
    if number == SIGKILL {
        wait_for_exit(container, exits, KILL_LIMIT).await;
    }
    Ok(())
}

/// `docker restart`.
///
/// # Errors
/// When it does not end, or cannot be started.
pub async fn restart(container: &Arc<Container>, wish: Option<&str>, timeout: Option<i64>) -> Result<()> {
    // One that is removed when it ends would not be there any more.
    container.stays.store(true, Ordering::SeqCst);
    let result = async {
        unless(StatusCode::NOT_MODIFIED, stop(container, wish, timeout).await)?;
        // What follows from its end is to be over.
        drop(container.busy.lock().await);
        container.stays.store(false, Ordering::SeqCst);
        unless(StatusCode::NOT_MODIFIED, start::start(container).await)
    };
    let result = result.await;
    container.stays.store(false, Ordering::SeqCst);
    result?;
    container.publish("restart", &[]);
    Ok(())
}

/// `docker pause`.
///
/// # Errors
/// When it does not run, or is frozen already.
pub async fn pause(container: &Arc<Container>) -> Result<()> {
    // While nobody cleans up after it.
    let _busy = container.busy.lock().await;
    let status = container.record().state.status;
    match status {
        Status::Running => {}
        Status::Paused => bail!(conflict, "Container {} is already paused", container.id),
        _ => return Err(container.not_running()),
    }
    container.ask(&PauseRequest { id: container.id.clone() }).await?;
    container.change(|record| record.state.status = Status::Paused);
    container.publish("pause", &[]);
    Ok(())
}

/// `docker unpause`.
///
/// # Errors
/// When it is not frozen.
pub async fn unpause(container: &Arc<Container>) -> Result<()> {
    let _busy = container.busy.lock().await;
    if container.record().state.status != Status::Paused {
        bail!(conflict, "Container {} is not paused", container.id);
    }
    container.ask(&ResumeRequest { id: container.id.clone() }).await?;
    container.change(|record| record.state.status = Status::Running);
    container.publish("unpause", &[]);
    Ok(())
}
