//! Volumes: directories that outlive containers. Each is `volumes/NAME/_data`, with what is known of it beside. One with
//! options has something mounted there while containers use it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard_stubs::models::{Volume, VolumeCreateRequest, VolumeScopeEnum};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, umount2};
use parking_lot::Mutex;
use runtime::child::mounts::{self, Already, View};
use runtime::{plan, spec};
use tokio::task::block_in_place;
use tree::Root;

use crate::error::{Error, Result, bail, ensure, error};
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
            // Removed half; what is mounted in it keeps it.
            if files::name_of(&path).starts_with('.') {
                let _gone = files::remove_dir(&path);
            } else if let Some(mut volume) = files::read_json::<Volume>(&path.join("volume.json"))? {
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
        if name.is_none() {
            labels.insert(ANONYMOUS.into(), String::new());
        }
        let name = name.map_or_else(|| files::random_hex(32), str::to_owned);
        check_name("volume", &name)?;
        let mut all = self.all.lock();
        if let Some(volume) = all.get(&name) {
            // With the options that it has.
            return Ok(volume.clone());
        }
        let options = wish.driver_opts.unwrap_or_default();
        check_options(&options).map_err(|error| error.context(format_args!("create {name}")))?;
        let volume = Volume {
            name: name.clone(),
            driver: "local".into(),
            mountpoint: files::lossy(&self.data(&name)),
            created_at: Some(time::now()),
            labels,
            options,
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
        let Some(volume) = all.get(name) else { bail!(not_found, "get {name}: no such volume") };
        if !volume.options.is_empty() {
            detach(volume)?;
        }
        // Out of sight first: it may take long, and others ask for theirs meanwhile.
        let place = self.folder.join(name);
        let aside = self.folder.join(format!(".{}", files::random_hex(16)));
        if let Err(error) = std::fs::rename(&place, &aside)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(Error::at("remove", &place)(error));
        }
        let volume = all.remove(name);
        drop(all);
        let removed = block_in_place(|| files::remove_dir(&aside));
        // Somebody may have mounted something in it.
        if removed.is_err() && std::fs::rename(&aside, &place).is_ok() {
            self.all.lock().extend(volume.map(|volume| (name.to_owned(), volume)));
        } else {
            self.events.publish("volume", "destroy", name, [("driver", "local")]);
        }
        removed.map_err(|error| error.context(format_args!("remove volume {name}")))
    }

    /// A volume with options, and its folder: others neither mount nor unmount it while that is open. `None` of another one.
    fn lock(&self, name: &str) -> Result<Option<(Volume, File)>> {
        let volume = self.get(name)?;
        if volume.options.is_empty() {
            return Ok(None);
        }
        let path = self.folder.join(name);
        let folder = File::open(&path).map_err(Error::at("open", &path))?;
        folder.lock().map_err(Error::at("lock", &path))?;
        Ok(Some((volume, folder)))
    }

    /// Mounts what the options of a volume say, unless it is there.
    ///
    /// # Errors
    /// When there is no such volume, or it cannot be mounted.
    pub fn mount(&self, name: &str) -> Result<()> {
        self.lock(name)?.map_or(Ok(()), |(volume, folder)| attach(&volume, &folder).map(drop))
    }

    /// The files of a volume, also of one that no container uses: what is mounted for this is there until they are closed.
    ///
    /// # Errors
    /// As for [`Self::mount`].
    pub fn files(&self, name: &str) -> Result<Root> {
        let locked = self.lock(name)?;
        let ours = locked.as_ref().map(|(volume, folder)| attach(volume, folder)).transpose()?;
        let root = Root::open(&self.data(name));
        if let (Some((volume, _)), Some(true)) = (&locked, ours) {
            detach(volume)?;
        }
        Ok(root?)
    }

    /// Unmounts a volume, unless it is used: that is asked while nobody can begin to.
    ///
    /// # Errors
    /// When there is no such volume, or the kernel refuses.
    pub fn unmount(&self, name: &str, is_used: impl FnOnce() -> bool) -> Result<()> {
        self.lock(name)?.filter(|_| !is_used()).map_or(Ok(()), |(volume, _alone)| detach(&volume))
    }
}

/// Mounts what a volume's options say, as the runtime mounts, below its folder; `false` when it is there already.
fn attach(volume: &Volume, folder: &File) -> Result<bool> {
    let here = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    if openat2(folder, "_data", here).is_err_and(|errno| errno == Errno::EXDEV) {
        return Ok(false);
    }
    let option = |name: &str| volume.options.get(name).cloned().unwrap_or_default();
    let (kind, source, at) = (option("type"), option("device"), &volume.mountpoint);
    let what =
        format!("error while mounting volume '{at}': failed to mount local volume: mount {source}:{at}");
    let mut options: Vec<_> = option("o").split(',').map(str::to_owned).collect();
    resolve_address(&kind, &source, &mut options).map_err(|error| error.context(&what))?;
    if kind == "tmpfs" {
        // The kernel's own mode, where the runtime has that of the directory below.
        options.insert(0, "mode=1777".to_owned());
    }
    let wish = spec::Mount { destination: "/_data".into(), kind, source, options, ..Default::default() };
    mount(&wish, folder.as_fd()).map(|()| true).map_err(|error| error.context(what))
}

/// Mounts something below a folder, as the runtime does.
///
/// # Errors
/// When it makes no sense, or the kernel refuses.
pub fn mount(wish: &spec::Mount, below: BorrowedFd<'_>) -> Result<()> {
    let plan = plan::mounts::one(0, wish, Path::new("/"), "", false).map_err(Error::invalid)?;
    let view = View { cgroups: &Default::default(), pids: None, alone: false };
    let already = Already { sysfs: None, fresh: &mut Default::default() };
    let mounted = mounts::one(&plan, below, None, view, true, already);
    mounted.map(drop).map_err(|failure| Error::internal(failure.text))
}

/// Puts an address in place of a server's name: the kernel asks nobody.
fn resolve_address(kind: &str, device: &str, options: &mut Vec<String>) -> Result<()> {
    let said = options.iter().find_map(|option| option.strip_prefix("addr="));
    let in_device = || device.strip_prefix("//").filter(|_| kind == "cifs")?.split('/').next();
    let Some(host) = said.or_else(in_device).filter(|host| host.parse::<IpAddr>().is_err()) else {
        return Ok(());
    };
    let found = (host, 0).to_socket_addrs().map_err(Error::at("resolve the address", host))?;
    // As Go chooses.
    let address = found.map(|found| found.ip()).min_by_key(IpAddr::is_ipv6);
    let address = address.ok_or_else(|| error!(internal, "{host} has no address"))?;
    options.retain(|option| !option.starts_with("addr="));
    options.push(format!("addr={address}"));
    Ok(())
}

fn detach(volume: &Volume) -> Result<()> {
    match umount2(&volume.mountpoint[..], MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // It is not mounted.
        Err(Errno::EINVAL) => Ok(()),
        done => done.map_err(Error::at("unmount", &volume.mountpoint)),
    }
}

/// Refuses options that a volume cannot have.
fn check_options(options: &HashMap<String, String>) -> Result<()> {
    let known = ["device", "type", "o", "size"];
    if let Some(other) = options.keys().find(|name| !known.contains(&name.as_str())) {
        bail!(invalid, "invalid option: {other:?}");
    }
    let lacks = |name| !options.is_empty() && !options.contains_key(name);
    said::refuse([
        (options.contains_key("size"), "quota size requested but no quota support"),
        (lacks("device"), "missing required option: \"device\""),
        (lacks("type"), "missing required option: \"type\""),
    ])
}

/// Names of volumes and containers.
///
/// # Errors
/// When it is not one.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let least = if what == "network" { 1 } else { 2 };
    // Of the three only a volume's is the name of a folder.
    let most = if what == "volume" { 255 } else { usize::MAX };
    let good = first && (least..=most).contains(&name.len()) && name.chars().all(good);
    ensure!(good, invalid, "Invalid {what} name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_with_names_have_addresses() {
        for (kind, device, options, expected) in [
            ("nfs", ":/x", "addr=localhost,rw", "rw,addr=127.0.0.1"),
            ("nfs", ":/x", "addr=192.0.2.1,rw", "addr=192.0.2.1,rw"),
            ("nfs", "localhost:/x", "rw", "rw"),
            ("cifs", "//localhost/x", "ro", "ro,addr=127.0.0.1"),
            ("cifs", "//192.0.2.1/x", "ro", "ro"),
            ("cifs", "//no.such.invalid/x", "addr=localhost", "addr=127.0.0.1"),
        ] {
            let mut words = options.split(',').map(str::to_owned).collect();
            resolve_address(kind, device, &mut words).unwrap();
            assert_eq!(words.join(","), expected, "{kind} {device} {options}");
        }
        assert!(resolve_address("nfs", ":/x", &mut vec!["addr=no.such.invalid".into()]).is_err());
    }
}
