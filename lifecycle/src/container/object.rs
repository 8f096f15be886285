//! A container as the engine holds it: its record, what is being done with it, and who waits for what.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use parking_lot::Mutex;
use runtime::cgroup::{Cgroup, stats::Stats};
use runtime::state::{self, StateDir, StateError};
use tokio::sync::{oneshot, watch};
use tokio::task::block_in_place;
use tree::Lower;

use super::streams::{Output, Waiting};
use super::{Record, Status, stop};
use crate::engine::Engine;
use crate::error::{Error, Result, bail, ensure, error};
use crate::task::{self, Call, CallError, NAMESPACE};
use crate::{files, program};

/// How soon is tried again what there was no room for.
const AGAIN: Duration = Duration::from_millis(200);

/// How long the end of a container may take to be known when its streams have ended: it may have closed them itself.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A container.
pub struct Container {
    /// The engine it is of.
    pub engine: &'static Engine,
    /// Its id.
    pub id: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// Where its files are while it runs.
    pub run: PathBuf,
    /// Held by whoever starts, ends or removes it.
    pub busy: tokio::sync::Mutex<()>,
    /// Those who are attached to it.
    pub(super) waiting: Waiting,
    /// Namespaces of others that it is being started in.
    pub namespaces: Mutex<Vec<OwnedFd>>,
    /// It is being restarted: its end is not its removal.
    pub stays: AtomicBool,
    record: watch::Sender<Record>,
}

impl Container {
    /// Of a record.
    pub fn new(engine: &'static Engine, record: Record) -> Arc<Self> {
        let id = record.id.clone();
        Arc::new(Self {
            engine,
            folder: engine.settings.root.join("containers").join(&id),
            // Short: sockets in it have to have short paths.
            run: engine.settings.exec_root.join("c").join(&id[..16.min(id.len())]),
            id,
            busy: tokio::sync::Mutex::default(),
            waiting: Waiting::default(),
            namespaces: Mutex::default(),
            stays: AtomicBool::new(false),
            record: watch::Sender::new(record),
        })
    }

    /// The record, to look at.
    pub fn record(&self) -> watch::Ref<'_, Record> {
        self.record.borrow()
    }

    /// Changes the record as somebody wishes, on disk too, and tells those who wait for changes.
    ///
    /// # Errors
    /// When it cannot be written: then it is as it was.
    pub fn update(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut written = Ok(());
        self.record.send_if_modified(|record| {
            let mut changed = record.clone();
            change(&mut changed);
            written = self.write(&changed);
            if written.is_ok() {
                *record = changed;
            }
            written.is_ok()
        });
        written
    }

    /// [`Container::update`] of what has happened: it is so, even if that cannot be written.
    pub fn change(&self, change: impl FnOnce(&mut Record)) {
        let mut written = Ok(());
        self.record.send_modify(|record| {
            change(record);
            written = self.write(record);
        });
        self.report(written);
    }

    fn write(&self, record: &Record) -> Result<()> {
        if record.removed {
            return Ok(());
        }
        files::write_json(&self.folder.join("container.json"), record)
    }

    /// Makes the directory of a new one; the first change writes the record into it.
    ///
    /// # Errors
    /// With the path.
    pub fn make_folder(&self) -> Result<()> {
        files::make_dir(&self.folder, 0o710)?;
        let id = self.folder.join("mount-id");
        std::fs::write(&id, &self.id).map_err(Error::at("write", &id))
    }

    /// Waits until `done` says so of the record; it is asked after each change.
    pub async fn wait_until(&self, done: impl FnMut(&Record) -> bool) {
        let mut changes = self.record.subscribe();
        // It does not fail: the record is there for as long as its container is.
        let _seen = changes.wait_for(done).await;
    }

    /// The output of its next run; the other side is dropped when there is none.
    pub fn next_run(&self) -> oneshot::Receiver<Output> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.retain(|one| !one.is_closed());
        waiting.push(sender);
        receiver
    }

    /// Waits until the end of the run that was the `exits`th to come is known, when its streams have ended.
    pub async fn end_known(&self, exits: u64) {
        let _not_ended = stop::wait_for_exit(self, exits, LAST_WORDS).await;
    }

    /// It is to be removed when it ends.
    pub fn goes(&self) -> bool {
        self.record().host.auto_remove == Some(true) && !self.stays.load(Ordering::SeqCst)
    }

    /// Makes a call to its shim.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<C: Call>(&self, request: &C) -> Result<C::Answer, CallError> {
        let socket = self.record().state.socket.clone();
        let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        task::call(&socket, request).await
    }

    /// [`Self::call`], as soon as there is room for it: whoever hears nothing of a shim takes its container for lost.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call_surely<C: Call>(&self, request: &C) -> Result<C::Answer, CallError> {
        loop {
            match self.call(request).await {
                Err(error) if task::is_ours(&error) => tokio::time::sleep(AGAIN).await,
                answer => return answer,
            }
        }
    }

    /// [`Self::call`] of what needs a running container.
    ///
    /// # Errors
    /// When it does not run (any more), or the shim refuses.
    pub async fn ask<C: Call>(&self, request: &C) -> Result<C::Answer> {
        match self.call(request).await {
            // The shim has seen its end, and nobody here has heard of it yet.
            Err(error) if task::has_ended(&error) || self.process("root").is_err() => Err(self.not_running()),
            other => Ok(other?),
        }
    }

    /// The running container that a mode such as `container:NAME` means, and where its namespace of a kind is found until
    /// this one is started.
    ///
    /// # Errors
    /// When there is no such container, or it does not run.
    pub fn joined(&self, mode: &str, kind: &str) -> Result<Option<(Arc<Self>, PathBuf)>> {
        let Some(name) = mode.strip_prefix("container:") else { return Ok(None) };
        let other = self.engine.container(name)?;
        let pid = other.record().state.pid;
        let (up, space) = (pid != 0, kind.to_uppercase());
        ensure!(
            up || kind != "net",
            conflict,
            "cannot join network namespace of a non running container: {name}"
        );
        ensure!(up, internal, "failed to join {space} namespace: {}", other.not_running());
        let namespace = other.process(&format!("ns/{kind}"))?;
        let path = program::own()?.join(format!("fd/{}", namespace.as_raw_fd()));
        self.namespaces.lock().push(namespace);
        Ok(Some((other, path)))
    }

    /// Refuses to execute something in it now.
    ///
    /// # Errors
    /// When it is paused, or does not run.
    pub fn check_running(&self) -> Result<()> {
        let status = self.record().state.status;
        match status {
            Status::Running => Ok(()),
            Status::Paused => {
                bail!(conflict, "Container {} is paused, unpause the container before exec", self.id)
            }
            _ => Err(self.not_running()),
        }
    }

    /// Opens what the kernel shows of its first process, to be found by, such as `root` or `ns/net`.
    ///
    /// # Errors
    /// When it has ended: the number may be another's by then, of which nothing is opened.
    pub fn process(&self, name: &str) -> Result<OwnedFd> {
        let record = self.known()?;
        let path = format!("/proc/{}/{name}", record.pid);
        let opened = open(&path[..], OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        // Asked after it was opened: what is alive now had that number then.
        match state::init(&record).map_err(Error::internal)? {
            // One that has ended just now has nothing of that any more.
            Some(_alive) if !matches!(opened, Err(Errno::ENOENT)) => opened.map_err(Error::at("open", path)),
            _ => Err(self.not_running()),
        }
    }

    /// What its processes use now.
    ///
    /// # Errors
    /// When it has ended, or its control groups cannot be read.
    pub fn usage(&self) -> Result<Stats> {
        let record = self.known()?.cgroup.unwrap_or_default();
        Cgroup::open(&record).and_then(|cgroup| cgroup.stats()).map_err(Error::internal)
    }

    /// What the runtime knows of it.
    fn known(&self) -> Result<state::Record> {
        let state = StateDir::open(&self.engine.settings.runtime_root().join(NAMESPACE), &self.id);
        state.and_then(|state| state.record()).map_err(|error| match error {
            StateError::Missing => self.not_running(),
            other => Error::internal(other),
        })
    }

    /// The error of what needs a running container.
    pub fn not_running(&self) -> Error {
        error!(conflict, "container {} is not running", self.id)
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}-json.log", self.id))
    }

    /// The socket of its logger.
    pub fn log_socket(&self) -> PathBuf {
        self.run.join("log.sock")
    }

    /// The bundle that its shim sees.
    pub fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }

    /// What is mounted on the host for it.
    pub fn mounts(&self) -> PathBuf {
        self.run.join("mounts")
    }

    /// A /dev/shm that it shares.
    pub fn shm(&self) -> PathBuf {
        self.mounts().join("shm")
    }

    /// The FIFO of its standard input.
    pub fn stdin(&self) -> PathBuf {
        self.run.join("stdin")
    }

    /// Bytes of files that it has written.
    ///
    /// # Errors
    /// When they cannot be looked at.
    pub fn size(&self) -> Result<u64> {
        let changes = block_in_place(|| tree::changes(&self.overlay()?).map_err(Error::from))?;
        Ok(changes.iter().map(|change| change.size).sum())
    }

    /// The directories of its root file system.
    ///
    /// # Errors
    /// When its record is damaged.
    pub fn overlay(&self) -> Result<Lower> {
        let mut files = self.engine.images.layers.files_of(&self.record().layers)?;
        let places = self.folder.join("init");
        if places.exists() {
            files.lower.insert(0, places);
        }
        // What was made before cAdvisor was thought of has another name.
        let [former, upper] = ["upper", "diff"].map(|name| self.folder.join(name));
        let upper = if former.exists() { former } else { upper };
        files.upper = Some((upper, self.folder.join("work")));
        Ok(files)
    }

    /// Tells of something that happened to it.
    pub fn publish(&self, action: impl Into<String>, more: &[(&str, String)]) {
        let record = self.record();
        let mut attributes: BTreeMap<String, String> = record.labels().into_iter().collect();
        attributes.insert("image".into(), record.image_name.clone());
        attributes.insert("name".into(), record.name.clone());
        drop(record);
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.engine.events.publish("container", action, &self.id, attributes);
    }

    /// Tells that the volumes are in use, or not any more.
    pub fn publish_volumes(&self, action: &str) {
        let mounts = self.record().mounts.clone();
        for mount in mounts {
            let Some(volume) = mount.volume else { continue };
            let mut attributes = vec![("driver", "local".to_owned()), ("container", self.id.clone())];
            if action == "mount" {
                let writable = mount.writable.to_string();
                attributes.extend([("destination", mount.destination), ("read/write", writable)]);
                attributes.push(("propagation", mount.propagation));
            }
            self.engine.events.publish("volume", action, &volume, attributes);
        }
    }

    /// Says on our own error output what could not be done for it, where nobody waits for an answer.
    pub fn report(&self, result: Result<()>) {
        if let Err(error) = result {
            eprintln!("cortend: container {}: {error}", self.id);
        }
    }

    /// The kernel has killed in it for want of memory.
    pub async fn ran_out_of_memory(self: Arc<Self>) {
        let state = self.record().state.clone();
        if state.socket.is_some() && state.pid == 0 {
            // It is being started, which is told first, and takes back what was known of the run before.
            drop(self.busy.lock().await);
        }
        self.change(|record| record.state.oom_killed = true);
        self.publish("oom", &[]);
    }
}
