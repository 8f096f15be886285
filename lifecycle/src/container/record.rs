//! What is written down of a container: everything that must be known after the engine or the machine has restarted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use bollard_stubs::models::{ContainerConfig, EndpointSettings, Health, HealthStatusEnum, HostConfig};
use serde::{Deserialize, Serialize};

/// A container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When it was created.
    pub created: String,
    /// The id of its image.
    pub image: String,
    /// What the user called the image.
    pub image_name: String,
    /// The layers below its own files, the lowest first.
    pub layers: Vec<String>,
    /// What it runs: the image's configuration and the request's, put together.
    pub config: ContainerConfig,
    /// How it is tied to the host.
    pub host: HostConfig,
    /// Its umask, unless it is the runtime's own.
    pub umask: Option<u32>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What is mounted into it.
    pub mounts: Vec<MountPoint>,
    /// The networks it is to be in, by name, and its addresses while it runs.
    pub networks: BTreeMap<String, EndpointSettings>,
    /// The ports that are published, while it runs.
    #[serde(default)]
    pub ports: BTreeMap<String, Vec<(String, u16)>>,
    /// What it does.
    pub state: State,
    /// How often its policy has restarted it.
    #[serde(default)]
    pub restart_count: u32,
    /// Its files are being made.
    #[serde(default)]
    pub half_made: bool,
    /// A user has stopped it.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// How often it has ended since it last ran for long.
    #[serde(skip)]
    pub quick_ends: u32,
    /// How often it has ended since the engine knows it.
    #[serde(skip)]
    pub exits: u64,
    /// It is gone.
    #[serde(skip)]
    pub removed: bool,
}

/// What a container does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    /// In one word.
    pub status: Status,
    /// The first process, 0 when there is none.
    pub pid: u32,
    /// The status of its last end.
    pub exit_code: i64,
    /// Why it could not be started.
    pub error: String,
    /// When it was started last.
    pub started: Option<String>,
    /// When it ended last.
    pub finished: Option<String>,
    /// The kernel has killed in it for want of memory.
    pub oom_killed: bool,
    /// It has ended, and nothing that follows from it is done yet.
    #[serde(default)]
    pub has_ended: bool,
    /// The shim's socket.
    pub socket: Option<PathBuf>,
    /// What the health check says, if there is one.
    pub health: Option<Health>,
}

impl State {
    /// There are no processes any more.
    pub fn end(&mut self, code: i64) {
        self.exit_code = code;
        self.has_ended = false;
        self.pid = 0;
        self.socket = None;
    }
}

/// A container's state in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended and its policy is about to start it again.
    Restarting,
    /// It has ended.
    Exited,
    /// It is being removed.
    Removing,
    /// It could not be removed.
    Dead,
}

impl Status {
    /// It has processes.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// It has processes, or will have them again by itself.
    pub fn is_active(self) -> bool {
        self.is_up() || self == Self::Restarting
    }
}

/// Something of the host, or a volume, in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// `bind`, `volume`, `image` or `tmpfs`.
    pub kind: String,
    /// Of a volume.
    pub volume: Option<String>,
    /// The volume was made for this container and has no name of a user's.
    pub anonymous: bool,
    /// The path on the host.
    pub source: String,
    /// The path in the container.
    pub destination: String,
    /// As the user wrote it.
    pub mode: String,
    /// It may be written to.
    pub writable: bool,
    /// `rprivate` and so on; empty for the default.
    pub propagation: String,
    /// Options of a tmpfs; the layers of an image; of others, what they are in place of the usual: `bind` alone, `ro` alone.
    pub options: Vec<String>,
    /// What of the volume or image, if not all of it.
    pub subpath: String,
    /// Do not fill the volume from the image.
    pub no_copy: bool,
}

/// The size of /dev/shm when nobody says one.
const SHM_SIZE: i64 = 64 << 20;

impl Record {
    /// Its name as the API writes it.
    pub fn slash_name(&self) -> String {
        format!("/{}", self.name)
    }

    /// The volumes that are mounted into it.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(|mount| mount.volume.as_deref())
    }

    /// Its labels.
    pub fn labels(&self) -> HashMap<String, String> {
        self.config.labels.clone().unwrap_or_default()
    }

    /// How it is, as far as its health check says.
    pub fn health(&self) -> HealthStatusEnum {
        self.state.health.as_ref().and_then(|health| health.status).unwrap_or(HealthStatusEnum::NONE)
    }

    /// Whether it has a terminal.
    pub fn has_terminal(&self) -> bool {
        self.config.tty.unwrap_or(false)
    }

    /// Whether there is a log of it.
    pub fn has_log(&self) -> bool {
        self.host.log_config.as_ref().and_then(|log| log.typ.as_deref()) != Some("none")
    }

    /// The mode of its network: `default` is `bridge`.
    pub fn network_mode(&self) -> &str {
        match self.host.network_mode.as_deref() {
            None | Some("" | "default") => "bridge",
            Some(mode) => mode,
        }
    }

    /// Whether it has the network of the host, of another container, or none: it cannot be in one of ours.
    pub fn has_fixed_network(&self) -> bool {
        matches!(self.network_mode(), "host" | "none") || self.network_mode().starts_with("container:")
    }

    /// The ports that it exposes in networks of ours, while it is in one.
    pub fn exposed(&self) -> BTreeSet<&String> {
        let is_there = self.networks.values().any(|endpoint| endpoint.ip_address.is_some());
        self.config.exposed_ports.iter().flatten().filter(|_| is_there).collect()
    }

    /// Bytes of its /dev/shm.
    pub fn shm_size(&self) -> i64 {
        self.host.shm_size.filter(|size| *size > 0).unwrap_or(SHM_SIZE)
    }
}
