//! Networks of containers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::container::Container;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::files;

/// A network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
}

/// All networks.
#[derive(Debug)]
pub struct Networks {
    _root: PathBuf,
}

impl Networks {
    /// Below a directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(root: &Path, _exec: &Path) -> Result<Self> {
        Ok(Self { _root: root.to_owned() })
    }

    /// The kinds of network that there are.
    pub fn drivers(&self) -> Vec<&'static str> {
        vec!["host", "null"]
    }

    /// A network by name or id.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<Network> {
        Err(Error::not_found(format!("network {name} not found")))
    }

    /// Connects a container that is about to start; returns its network namespace when it is not a new, empty one.
    ///
    /// # Errors
    /// When that fails.
    pub async fn connect(&self, engine: &Arc<Engine>, container: &Arc<Container>) -> Result<Option<PathBuf>> {
        let record = container.record().clone();
        let hostname = record.config.hostname.clone().unwrap_or_default();
        let folder = &container.folder;
        if let Some(name) = record.network_mode().strip_prefix("container:") {
            let other = engine.container(name)?;
            let pid = other.record().state.pid;
            if pid == 0 {
                return Err(Error::conflict(format!(
                    "cannot join network of a non running container: {name}"
                )));
            }
            return Ok(Some(PathBuf::from(format!("/proc/{pid}/ns/net"))));
        }
        files::write(&folder.join("hostname"), format!("{hostname}\n").as_bytes(), 0o644)?;
        let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        for entry in record.host.extra_hosts.iter().flatten() {
            let (name, address) = entry
                .split_once(':')
                .ok_or_else(|| Error::invalid(format!("bad format for add-host: {entry:?}")))?;
            hosts += &format!("{address}\t{name}\n");
        }
        hosts += &format!("127.0.0.1\t{hostname}\n");
        files::write(&folder.join("hosts"), hosts.as_bytes(), 0o644)?;
        let resolv = std::fs::read("/etc/resolv.conf").unwrap_or_default();
        files::write(&folder.join("resolv.conf"), &resolv, 0o644)?;
        Ok(None)
    }

    /// Takes back what [`Networks::connect`] has made.
    pub async fn disconnect(&self, _engine: &Arc<Engine>, _container: &Arc<Container>) {}
}
