//! Further processes in a running container.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use nix::sys::stat::Mode;
use nix::unistd::mkdir;
use runtime::spec::{ConsoleSize, Process, User};
use serde::Deserialize;
use shim::proto::task::{DeleteRequest, ExecProcessRequest, KillRequest, StartRequest, WaitRequest};
use shim::proto::well_known::Any;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tree::Root;

use super::{Container, Input, Sides, environment, received, spec, start, stop, user};
use crate::error::{Error, Result, ensure};
use crate::files::{self, lossy};
use crate::said;

/// How long it is remembered that a process has ended, as by dockerd: clients ask for the exit status later.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How long output may go on after the process has ended: something in the background may keep it open for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the size of a terminal waits for its process to be started, as dockerd's does.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How much of it is read at once.
const PIECE: usize = 32 << 10;

/// What is to be run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecConfig {
    /// Give it our input.
    pub attach_stdin: bool,
    /// Take its output.
    pub attach_stdout: bool,
    /// Take its error output.
    pub attach_stderr: bool,
    /// The keys that end being attached.
    // docker-py writes it so; Go reads names in any case.
    #[serde(alias = "detachKeys")]
    pub detach_keys: Option<String>,
    /// Give it a terminal.
    pub tty: bool,
    /// More environment.
    pub env: Option<Vec<String>>,
    /// The program and its arguments.
    pub cmd: Option<Vec<String>>,
    /// With all capabilities.
    pub privileged: bool,
    /// As whom.
    pub user: Option<String>,
    /// Where.
    pub working_dir: Option<String>,
    /// Rows and columns of the terminal.
    pub console_size: Option<[u32; 2]>,
}

/// What such a process does.
#[derive(Debug, Clone, Default)]
pub struct ExecState {
    /// It was started.
    pub started: bool,
    /// It runs, or is being started.
    pub running: bool,
    /// Its exit status, once it has ended.
    pub exit_code: Option<i64>,
    /// Its pid on the host.
    pub pid: u32,
}

/// A process that is to run, runs or has run.
pub struct Exec {
    /// Its id.
    pub id: String,
    /// The container.
    pub container: Arc<Container>,
    /// What is run.
    pub config: ExecConfig,
    /// What it does.
    pub state: watch::Sender<ExecState>,
}

impl Exec {
    /// Plans a process.
    ///
    /// # Errors
    /// When the container does not run, or nothing is to be run.
    pub fn new(container: &Arc<Container>, config: ExecConfig) -> Result<Arc<Self>> {
        container.check_running()?;
        ensure!(!said::list(&config.cmd).is_empty(), invalid, "No exec command specified");
        said::text(&config.user).map(|name| user_of(container, name)).transpose()?;
        let id = files::random_hex(32);
        let exec = Self { id, container: Arc::clone(container), config, state: watch::Sender::default() };
        container.publish(format!("exec_create: {}", exec.words()), &[("execID", exec.id.clone())]);
        Ok(Arc::new(exec))
    }

    /// The words of its command, with a blank after the first one, as events have them.
    pub fn words(&self) -> String {
        match said::list(&self.config.cmd) {
            [one] => format!("{one} "),
            all => all.join(" "),
        }
    }

    fn folder(&self) -> PathBuf {
        self.container.run.join(format!("x-{}", &self.id[..16]))
    }

    /// Starts it, and carries its streams; `size` are the rows and columns of its terminal, if they are another now. It
    /// begins at once, and goes on when nobody waits any more.
    ///
    /// # Errors
    /// When it was started before, or cannot be.
    pub fn start(self: &Arc<Self>, size: Option<[u32; 2]>) -> impl Future<Output = Result<Sides>> + use<> {
        let first = self.state.send_if_modified(|state| {
            let first = !state.started;
            (state.started, state.running) = (true, state.running || first);
            first
        });
        let exec = Arc::clone(self);
        // A shim waits long for somebody who goes away in the middle.
        let starting = tokio::spawn(async move {
            ensure!(first, conflict, "Error: Exec command {} has already run", exec.id);
            let result = exec.try_start(size).await;
            if let Err(error) = &result {
                let code = if start::exit_code_of(&error.message) == 127 { 127 } else { 126 };
                exec.ended(code);
                exec.container.report(files::remove_dir(&exec.folder()));
            }
            result
        });
        async { starting.await? }
    }

    /// Waits until it has been started.
    ///
    /// # Errors
    /// When that fails, or nobody does it in time.
    pub async fn started(&self) -> Result<()> {
        let mut changes = self.state.subscribe();
        let known = changes.wait_for(|state| state.pid != 0 || state.exit_code.is_some());
        let late = |_| Error::internal("timeout waiting for exec session ready");
        // It does not fail: the sender is there for as long as this is.
        let _known = tokio::time::timeout(START_LIMIT, known).await.map_err(late)?;
        ensure!(self.state.borrow().pid != 0, invalid, "exec process is not started");
        Ok(())
    }

    /// Ends it, if it runs.
    pub async fn kill(&self) {
        let (id, exec_id) = (self.container.id.clone(), self.id.clone());
        if self.started().await.is_ok() {
            let request = KillRequest { id, exec_id, signal: stop::SIGKILL, ..Default::default() };
            let _gone = self.container.ask(&request).await;
        }
    }

    fn ended(&self, code: i64) {
        self.state.send_modify(|state| (state.running, state.exit_code) = (false, Some(code)));
    }

    async fn try_start(self: &Arc<Self>, size: Option<[u32; 2]>) -> Result<Sides> {
        let (container, config, folder) = (&self.container, &self.config, self.folder());
        let exits = container.record().exits;
        // Where its container has its own, as long as it has one.
        mkdir(&folder, Mode::S_IRWXU).map_err(Error::at("make", &folder))?;
        let fifo = |name: &str, wanted: bool| -> Result<String> {
            let path = folder.join(name);
            if wanted { files::make_fifo(&path).map(|()| lossy(&path)) } else { Ok(String::new()) }
        };
        let request = ExecProcessRequest {
            id: container.id.clone(),
            exec_id: self.id.clone(),
            terminal: config.tty,
            stdin: fifo("0", config.attach_stdin)?,
            stdout: fifo("1", config.attach_stdout || config.tty)?,
            stderr: fifo("2", config.attach_stderr && !config.tty)?,
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
                value: serde_json::to_vec(&self.process(size)?)?,
            }),
        };
        let mut pipes = Vec::new();
        for (number, path) in [(1, &request.stdout), (2, &request.stderr)] {
            if !path.is_empty() {
                let pipe = pipe::OpenOptions::new().open_receiver(path).map_err(Error::at("open", path))?;
                pipes.push((number, pipe));
            }
        }
        container.ask(&request).await?;
        let start = StartRequest { id: container.id.clone(), exec_id: self.id.clone() };
        match container.call(&start).await {
            Ok(started) => self.state.send_modify(|state| state.pid = started.pid),
            Err(error) => {
                self.delete().await;
                return Err(Error::invalid(Error::from(error)));
            }
        }
        container.publish(format!("exec_start: {}", self.words()), &[("execID", self.id.clone())]);
        let open = || Input::open(Path::new(&request.stdin), container, &self.id, !self.config.tty);
        let input = config.attach_stdin.then(open).transpose()?;
        let (sender, output) = mpsc::channel(16);
        let mut carrying = JoinSet::new();
        for (number, pipe) in pipes {
            carrying.spawn(carry(number, pipe, sender.clone()));
        }
        tokio::spawn(Arc::clone(self).finish(carrying, sender, exits));
        Ok((received(output).boxed(), input))
    }

    /// Waits for the end, and for the last of the output.
    async fn finish(self: Arc<Self>, carrying: JoinSet<()>, output: mpsc::Sender<(u8, Bytes)>, exits: u64) {
        let container = &self.container;
        let request = WaitRequest { id: container.id.clone(), exec_id: self.id.clone() };
        // With the container's end its processes end.
        let code = container.call_surely(&request).await.map_or(137, |ended| i64::from(ended.exit_status));
        self.ended(code);
        // The kernel lets go of a first process's files before it ends the others with it.
        if container.process("root").is_err() {
            container.end_known(exits).await;
        }
        // Only now may the stream end: clients ask for the exit status when it does.
        drop(output);
        container.publish("exec_die", &[("execID", self.id.clone()), ("exitCode", code.to_string())]);
        self.delete().await;
        // Those that are late are given up.
        let _late = tokio::time::timeout(LAST_WORDS, carrying.join_all()).await;
        let _gone = files::remove_dir(&self.folder());
        // Health checks are known to nobody.
        if container.engine.exec(&self.id).is_ok() {
            tokio::time::sleep(REMEMBERED).await;
            container.engine.execs.lock().remove(&self.id);
        }
    }

    async fn delete(&self) {
        let request = DeleteRequest { id: self.container.id.clone(), exec_id: self.id.clone() };
        let _gone = self.container.ask(&request).await;
    }

    /// The process as the runtime is told of it: the container's own, but for what was asked for.
    fn process(&self, size: Option<[u32; 2]>) -> Result<Process> {
        let spec = runtime::spec::load::config(&self.container.bundle().join("config.json"));
        let mut process = spec.map_err(Error::internal)?.process.unwrap_or_default();
        let config = &self.config;
        // That of the container is its terminal's, unless somebody has set it.
        let record = self.container.record().clone();
        let is_set = environment::has(record.config.env.as_deref().unwrap_or_default(), "TERM");
        process.env.retain(|variable| is_set || variable != spec::TERM);
        process.env.extend((config.tty && !is_set).then(|| spec::TERM.to_owned()));
        environment::set(&mut process.env, config.env.iter().flatten());
        process.args = said::list(&config.cmd).to_vec();
        process.terminal = config.tty;
        if let Some(cwd) = said::text(&config.working_dir) {
            cwd.clone_into(&mut process.cwd);
        }
        if let Some([rows, columns]) = size.or(config.console_size).filter(|_| config.tty) {
            process.console_size = Some(ConsoleSize { height: rows.into(), width: columns.into() });
        }
        if let Some(name) = said::text(&config.user) {
            process.user = user_of(&self.container, name)?;
        }
        if config.privileged {
            let host = bollard_stubs::models::HostConfig { privileged: Some(true), ..Default::default() };
            process.capabilities = Some(spec::capabilities(&host, true)?);
            if !process.apparmor_profile.is_empty() {
                // None is the container's own.
                process.apparmor_profile = "unconfined".into();
            }
        }
        Ok(process)
    }
}

/// A user as the running container knows it.
fn user_of(container: &Container, name: &str) -> Result<User> {
    let record = container.record().clone();
    let root = Root::new(container.process("root")?);
    Ok(User { umask: record.umask, ..user::find(&root, name, said::list(&record.host.group_add))? })
}

async fn carry(number: u8, mut pipe: pipe::Receiver, to: mpsc::Sender<(u8, Bytes)>) {
    let mut buffer = BytesMut::with_capacity(PIECE);
    while let Ok(1..) = pipe.read_buf(&mut buffer).await {
        // When nobody listens any more the process must still not be held back.
        let _nobody = to.send((number, buffer.split().freeze())).await;
        buffer.reserve(PIECE);
    }
}
