//! `/exec/…`

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::json;
use shim::proto::task::ResizePtyRequest;

use super::hijack::Way;
use super::{Answer, Call, answer, hijack};
use crate::container::{Container, Exec, ExecConfig};
use crate::error::{Result, error};
use crate::{files, said};

/// `POST /containers/ID/exec`
pub(super) fn create(container: &Arc<Container>, config: ExecConfig) -> Result<Answer> {
    hijack::keys(config.detach_keys.as_deref())?;
    let exec = Exec::new(container, config)?;
    container.engine.execs.lock().insert(exec.id.clone(), Arc::clone(&exec));
    answer::created(&json!({"Id": exec.id}))
}

/// What is said when a process is started.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Start {
    detach: bool,
    tty: bool,
    /// Rows and columns; without a terminal it means nothing, as with dockerd.
    console_size: Option<[u32; 2]>,
}

/// `POST /exec/ID/start`
pub(super) async fn start(mut call: Call, exec: Arc<Exec>) -> Result<Answer> {
    let wish: Start = call.json().await?;
    exec.container.check_running()?;
    let config = &exec.config;
    let way = Way {
        // As it is said now: a client that does not speak of the terminal again gets frames.
        raw: wish.tty,
        stdout: config.attach_stdout || config.tty,
        stderr: config.attach_stderr,
        keys: hijack::keys(config.detach_keys.as_deref())?,
    };
    if wish.detach {
        let (output, _) = exec.start(wish.console_size).await?;
        tokio::spawn(output.for_each(async |_| {}));
        return answer::nothing();
    }
    // The answer comes first: what goes wrong then is told in the stream, and by the exit status.
    let starting = exec.start(wish.console_size);
    hijack::answer(call, way, stream::empty().boxed(), async move {
        starting
            .await
            .unwrap_or_else(|error| (stream::iter([(1, format!("{error}\r\n").into())]).boxed(), None))
    })
}

/// Sets the size of a terminal: that of a process which is executed, or the container's own.
pub(super) async fn resize(call: &Call, container: &Container, exec: Option<&Exec>) -> Result<Answer> {
    let size = |key, what| {
        let text = call.text(key).unwrap_or_default();
        let is_number = text.parse::<i64>().is_ok();
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        text.parse().map_err(|_| error!(invalid, "invalid resize {what} \"{text}\": {why}"))
    };
    let request = ResizePtyRequest {
        id: container.id.clone(),
        exec_id: exec.map(|exec| exec.id.clone()).unwrap_or_default(),
        height: size("h", "height")?,
        width: size("w", "width")?,
    };
    if let Some(exec) = exec {
        container.check_running()?;
        exec.started().await?;
    }
    container.ask(&request).await?;
    if exec.is_none() {
        let (height, width) = (request.height.to_string(), request.width.to_string());
        container.publish("resize", &[("height", height), ("width", width)]);
    }
    answer::nothing()
}

/// `GET /exec/ID/json`
pub(super) fn inspect(exec: &Exec) -> Result<Answer> {
    let config = &exec.config;
    let words = config.cmd.clone().unwrap_or_default();
    let state = exec.state.borrow().clone();
    // Only those that were said.
    let keys = said::text(&config.detach_keys).map(|text| hijack::keys(Some(text))).transpose()?;
    let keys = keys.unwrap_or_default();
    answer::json(&json!({
        "ID": exec.id,
        "ContainerID": exec.container.id,
        "Running": state.running,
        "ExitCode": state.exit_code,
        "Pid": state.pid,
        "OpenStdin": config.attach_stdin,
        "OpenStdout": config.attach_stdout,
        "OpenStderr": config.attach_stderr,
        "CanRemove": false,
        "DetachKeys": files::base64(&keys),
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": words.first(),
            "arguments": words.get(1..).unwrap_or_default(),
            "privileged": config.privileged,
            "user": config.user.clone().unwrap_or_default(),
        },
    }))
}
