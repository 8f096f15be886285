//! Volumes: directories that outlive containers. Each is `volumes/NAME/_data`, with what is known of it beside.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard_stubs::models::{Volume, VolumeCreateRequest, VolumeScopeEnum};
use parking_lot::Mutex;

use crate::error::{Result, bail, ensure, error};
use crate::events::Events;
use crate::{files, said, time};

/// The label of those that were made for a container, without a name; Docker has the same.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// Whether nobody has given a volume its name.
pub fn is_anonymous(volume: &Volume) -> bool {
    volume.labels.contains_key(ANONYMOUS)
}

/// All volumes.
#[derive(Debug)]
pub struct Volumes {
    folder: PathBuf,
    all: Mutex<BTreeMap<String, Volume>>,
    events: Arc<Events>,
}

impl Volumes {
    /// Below a directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path, events: Arc<Events>) -> Result<Self> {
        let folder = root.join("volumes");
        files::make_dir(&folder, 0o711)?;
        let mut all = BTreeMap::new();
        for path in files::entries(&folder) {
            if let Some(mut volume) = files::read_json::<Volume>(&path.join("volume.json"))? {
                // All of it may have been moved.
                volume.mountpoint = files::lossy(&path.join("_data"));
                all.insert(volume.name.clone(), volume);
            }
        }
        Ok(Self { folder, all: Mutex::new(all), events })
    }

    /// Where everything of the engine is.
    pub fn root(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    /// Where a volume's files are.
    fn data(&self, name: &str) -> PathBuf {
        self.folder.join(name).join("_data")
    }

    /// Makes a volume, or finds the one of this name.
    ///
    /// # Errors
    /// When the name or an option cannot be used.
    pub fn create(&self, wish: VolumeCreateRequest) -> Result<Volume> {
        let (name, mut labels) = (said::text(&wish.name), wish.labels.unwrap_or_default());
        if let Some(option) = wish.driver_opts.iter().flat_map(HashMap::keys).next() {
            let name = name.unwrap_or_default();
            bail!(invalid, "create {name}: option {option:?} of driver local is not offered");
        }
        if name.is_none() {
            labels.insert(ANONYMOUS.into(), String::new());
        }
        let name = name.map_or_else(|| files::random_hex(32), str::to_owned);
        check_name("volume", &name)?;
        let mut all = self.all.lock();
        if let Some(volume) = all.get(&name) {
            return Ok(volume.clone());
        }
        let volume = Volume {
            name: name.clone(),
            driver: "local".into(),
            mountpoint: files::lossy(&self.data(&name)),
            created_at: Some(time::now()),
            labels,
            scope: Some(VolumeScopeEnum::LOCAL),
            ..Volume::default()
        };
        files::make_dir(&self.data(&name), 0o755)?;
        files::write_json(&self.folder.join(&name).join("volume.json"), &volume)?;
        all.insert(name, volume.clone());
        self.events.publish("volume", "create", &volume.name, [("driver", "local")]);
        Ok(volume)
    }

    /// A volume by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.all.lock().get(name).cloned().ok_or_else(|| error!(not_found, "get {name}: no such volume"))
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Volume> {
        self.all.lock().values().cloned().collect()
    }

    /// Removes a volume with its files.
    ///
    /// # Errors
    /// When there is none, or its files cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        let mut all = self.all.lock();
        ensure!(all.remove(name).is_some(), not_found, "get {name}: no such volume");
        files::remove_dir(&self.folder.join(name))?;
        self.events.publish("volume", "destroy", name, [("driver", "local")]);
        Ok(())
    }
}

/// Names of volumes and containers.
///
/// # Errors
/// When it is not one.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let least = if what == "network" { 1 } else { 2 };
    let good = first && (least..=255).contains(&name.len()) && name.chars().all(good);
    ensure!(good, invalid, "Invalid {what} name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    Ok(())
}
