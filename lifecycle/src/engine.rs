//! The engine: everything there is, and the directories it is in.
//!
//! ```text
//! ROOT/blobs layers images.json …                  images
//! ROOT/containers/ID/{container.json,diff,work,…}  containers, their files and logs
//! ROOT/{overlay2,image/overlay2/layerdb/mounts}    the same, for those who look in dockerd's folders
//! ROOT/volumes networks                            volumes and networks
//! EXEC/c/ID16/{bundle,log.sock,stdin,…}            what is needed while a container runs
//! EXEC/r                                           what the runtime knows
//! EXEC/s                                           sockets of shims
//! ```

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::container::{Container, Exec, Record};
use crate::error::{Error, Result, ensure, error};
use crate::events::Events;
use crate::image::{Image, Reference, Store};
use crate::network::Networks;
use crate::volume::Volumes;
use crate::{files, names, task};

/// What the engine was started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub root: PathBuf,
    /// Where everything is that does not outlive the machine's uptime.
    pub exec_root: PathBuf,
    /// The control group below which containers are.
    pub cgroup_parent: String,
    /// Registries that have what is Docker Hub's, by URL.
    pub mirrors: Vec<String>,
    /// Registries that may do without TLS, by host and port or by network.
    pub insecure: Vec<String>,
    /// The shim.
    pub shim: PathBuf,
}

impl Settings {
    /// Where the runtime keeps what it knows, by namespace.
    pub fn runtime_root(&self) -> PathBuf {
        self.exec_root.join("r")
    }
}

/// All there is. There is one for as long as the program runs.
pub struct Engine {
    /// How it was started.
    pub settings: Settings,
    /// Its own id.
    pub id: String,
    /// Images.
    pub images: Store,
    /// Volumes.
    pub volumes: Volumes,
    /// Networks.
    pub networks: Networks,
    /// Events.
    pub events: Arc<Events>,
    /// Processes that are to run in containers, run, or have run not long ago.
    pub execs: Mutex<HashMap<String, Arc<Exec>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    /// There are others whose records cannot be read, so that nobody knows what they need.
    has_unknown: AtomicBool,
}

impl Engine {
    /// Opens the directories, and takes up the containers that are there.
    ///
    /// # Errors
    /// When a directory cannot be used.
    pub async fn open(settings: Settings) -> Result<&'static Self> {
        let (root, exec) = (&settings.root, &settings.exec_root);
        files::make_dir(&root.join("containers"), 0o711)?;
        files::make_closed_dir(&exec.join("c"))?;
        files::make_dir(&exec.join("s"), 0o700)?;
        let id_file = root.join("id.json");
        if !id_file.exists() {
            files::write_json(&id_file, &files::random_hex(16))?;
        }
        let id = files::read_json(&id_file)?.unwrap_or_default();
        let events = Arc::new(Events::default());
        let engine: &'static Self = Box::leak(Box::new(Self {
            id,
            images: Store::open(root)?,
            volumes: Volumes::open(root, Arc::clone(&events))?,
            networks: Networks::open(root, exec)?,
            events,
            containers: Mutex::default(),
            execs: Mutex::default(),
            has_unknown: AtomicBool::new(false),
            settings,
        }));
        engine.be_found()?;
        engine.load_containers()?;
        task::listen(engine)?;
        crate::container::restore_all(engine).await;
        engine.collect()?;
        Ok(engine)
    }

    /// Leads those to what containers write who look for it in dockerd's folders: without it, cAdvisor tells nothing at
    /// all of a container.
    fn be_found(&self) -> Result<()> {
        let (root, driver) = (&self.settings.root, self.images.layers.driver());
        let mounts = root.join("image").join(driver).join("layerdb");
        files::make_dir(&mounts, 0o710)?;
        for (to, at) in [("../../../containers", mounts.join("mounts")), ("containers", root.join(driver))] {
            if !at.is_symlink() {
                symlink(to, &at).map_err(Error::at("link", &at))?;
            }
        }
        Ok(())
    }

    fn load_containers(&'static self) -> Result<()> {
        for folder in files::entries(&self.settings.root.join("containers")) {
            match files::read_json::<Record>(&folder.join("container.json")) {
                Ok(Some(mut record)) => {
                    // Until its shim has said that it lives.
                    record.state.pid = 0;
                    let container = Container::new(self, record);
                    self.containers.lock().insert(container.id.clone(), container);
                }
                // Removed half, or not begun: nobody has heard of it.
                Ok(None) => files::remove_dir(&folder)?,
                Err(error) => {
                    eprintln!("cortend: a container cannot be used: {error}");
                    self.has_unknown.store(true, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// All containers, the newest first.
    pub fn all_containers(&self) -> Vec<Arc<Container>> {
        let mut all: Vec<_> = self.containers.lock().values().cloned().collect();
        all.sort_by_key(|container| std::cmp::Reverse(container.record().created.clone()));
        all
    }

    /// The container that a user means: by id, name, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn container(&self, text: &str) -> Result<Arc<Container>> {
        ensure!(!text.is_empty(), invalid, "invalid name or ID supplied: \"\"");
        let all = self.containers.lock();
        let name = text.strip_prefix('/').unwrap_or(text);
        let named = || all.values().find(|container| container.record().name == name);
        if let Some(container) = all.get(text).or_else(named) {
            return Ok(Arc::clone(container));
        }
        let mut of = all.range(text.to_owned()..).take_while(|(id, _)| id.starts_with(text));
        match (of.next(), of.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(error!(invalid, "Multiple IDs found with provided prefix: {text}")),
            _ => Err(error!(not_found, "No such container: {text}")),
        }
    }

    /// Adds a container, unless its name is taken; one that nobody has given it is another then.
    ///
    /// # Errors
    /// When it is.
    pub fn add_container(&self, container: &Arc<Container>, named: bool) -> Result<()> {
        let mut all = self.containers.lock();
        let name = container.record().name.clone();
        let is_free = |name: &String| check_free(&all, name).is_ok();
        if !named && !is_free(&name) {
            // There are only so many.
            let another = iter::repeat_with(names::random).take(8).find(is_free);
            let name = another.unwrap_or_else(|| names::random() + &files::random_hex(6));
            container.update(|record| record.name = name)?;
        } else {
            check_free(&all, &name)?;
        }
        all.insert(container.id.clone(), Arc::clone(container));
        Ok(())
    }

    /// Gives a container another name, unless that is taken.
    ///
    /// # Errors
    /// When it is.
    pub fn rename_container(&self, container: &Container, name: &str) -> Result<()> {
        let all = self.containers.lock();
        check_free(&all, name).map_err(|error| error.context("Error when allocating new name"))?;
        container.update(|record| record.name = name.to_owned())
    }

    /// Forgets a container.
    pub fn drop_container(&self, id: &str) {
        self.containers.lock().remove(id);
        self.execs.lock().retain(|_, exec| exec.container.id != id);
    }

    /// The volumes that containers use, and the ids of those.
    pub fn used_volumes(&self) -> BTreeMap<String, Vec<String>> {
        let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in self.all_containers() {
            for name in container.record().volumes() {
                used.entry(name.to_owned()).or_default().push(container.id.clone());
            }
        }
        used
    }

    /// A process in a container.
    ///
    /// # Errors
    /// When there is none.
    pub fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        self.execs.lock().get(id).cloned().ok_or_else(|| error!(not_found, "No such exec instance: {id}"))
    }

    /// The ids of a container's processes, those that are still to be started, too.
    pub fn execs_of(&self, container: &str) -> Vec<String> {
        let all = self.execs.lock();
        let lives = |exec: &Arc<Exec>| exec.state.borrow().exit_code.is_none();
        let of = all.values().filter(|exec| exec.container.id == container && lives(exec));
        of.map(|exec| exec.id.clone()).collect()
    }

    /// Gives an image a name, and tells so.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be written down.
    pub fn tag(&self, image: &Image, name: &Reference) -> Result<()> {
        self.images.tag(name, &image.id)?;
        self.publish_image(image, "tag", &name.familiar_full());
        Ok(())
    }

    /// Tells that what nobody used is gone, which had so many bytes.
    pub fn pruned(&self, kind: &'static str, freed: u64) {
        self.events.publish(kind, "prune", "", [("reclaimed", freed.to_string())]);
    }

    /// Tells of something that happened to an image.
    pub fn publish_image(&self, image: &Image, action: &str, name: &str) {
        let labels = image.config.container().labels.unwrap_or_default();
        let attributes = labels.into_iter().chain([("name".to_owned(), name.to_owned())]);
        self.events.publish("image", action, &image.id, attributes);
    }

    /// Removes what no image and no container needs, if that is known.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn collect(&self) -> Result<Vec<String>> {
        if self.has_unknown.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        self.images.collect(|| {
            let mut kept = Vec::new();
            for record in self.containers.lock().values().map(|container| container.record()) {
                let mounts = record.mounts.iter().filter(|mount| mount.kind == "image");
                kept.extend(mounts.map(|mount| mount.options.clone()).chain([record.layers.clone()]));
            }
            kept
        })
    }
}

/// Refuses a name that a container has.
fn check_free(all: &BTreeMap<String, Arc<Container>>, name: &str) -> Result<()> {
    match all.values().find(|other| other.record().name == name) {
        None => Ok(()),
        Some(other) => Err(error!(
            conflict,
            "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
            other.id
        )),
    }
}
