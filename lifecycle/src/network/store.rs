//! Which networks there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use bollard_stubs::models::{IpamConfig, NetworkCreateRequest};
use ipnet::IpNet;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::address::{self, Pool};
use super::publish;
use crate::container::Container;
use crate::engine::Engine;
use crate::error::{Error, Result, bail, ensure, error};
use crate::{files, said, time, volume};

/// A network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub created: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// The interface of a bridge.
    pub interface: String,
    /// The addresses of a bridge: of IPv4, and of IPv6 if it has any.
    pub pools: Vec<Pool>,
    /// Without a way out.
    pub internal: bool,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Its options.
    pub options: HashMap<String, String>,
    /// Those of its addresses, which mean something to others.
    #[serde(default)]
    pub ipam_options: Option<HashMap<String, String>>,
    /// Said to be for services of a swarm, too: all are for containers.
    #[serde(default)]
    pub attachable: bool,
}

impl Network {
    /// It has addresses of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.pools.iter().any(|pool| pool.gateway().is_ipv6())
    }

    /// What netavark knows it by: names of its files and comments of its rules cannot be long.
    pub(super) fn file_name(&self) -> &str {
        if self.name.len() > 128 { &self.id } else { &self.name }
    }
}

/// Options of a bridge that are known.
pub(super) const NAME: &str = "com.docker.network.bridge.name";
pub(super) const MTU: &str = "com.docker.network.driver.mtu";
pub(super) const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";

/// Those that say what is so anyway.
const USUAL: [(&str, &str); 4] = [
    ("com.docker.network.bridge.enable_icc", "true"),
    ("com.docker.network.bridge.enable_ip_masquerade", "true"),
    ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
    ("com.docker.network.enable_ipv4", "true"),
];

/// The networks that always exist.
pub const BUILT_IN: [&str; 3] = ["bridge", "host", "none"];

/// All networks.
#[derive(Debug)]
pub struct Networks {
    folder: PathBuf,
    /// Network namespaces of containers.
    pub(super) namespaces: PathBuf,
    /// What netavark keeps.
    pub(super) state: PathBuf,
    all: Mutex<BTreeMap<String, Network>>,
    /// One container at a time gets addresses and ports, and one netavark makes them.
    pub(super) busy: tokio::sync::Mutex<()>,
}

impl Networks {
    /// Below a directory; the three that always exist are made.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(root: &Path, exec: &Path) -> Result<Self> {
        let folder = root.join("networks");
        files::make_dir(&folder, 0o700)?;
        let networks = Self {
            folder,
            namespaces: exec.join("n"),
            state: exec.join("netavark"),
            all: Mutex::default(),
            busy: tokio::sync::Mutex::default(),
        };
        for path in files::entries(&networks.folder) {
            if let Some(network) = files::read_json::<Network>(&path)? {
                networks.all.lock().insert(network.name.clone(), network);
            }
        }
        for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
            if !networks.all.lock().contains_key(name) {
                let interface = (NAME.to_owned(), "corten0".to_owned());
                let options = (driver == "bridge").then(|| HashMap::from([interface]));
                let (name, driver) = (name.to_owned(), Some(driver.to_owned()));
                networks.add(NetworkCreateRequest { name, driver, options, ..Default::default() })?;
            }
        }
        Ok(networks)
    }

    /// A network by name or the beginning of its id.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<Network> {
        let all = self.all.lock();
        let whole = || all.values().find(|network| network.id == name);
        let found = whole().or_else(|| all.get(name)).or_else(|| {
            let mut of = all.values().filter(|network| name.len() >= 3 && network.id.starts_with(name));
            of.next().filter(|_| of.next().is_none())
        });
        found.cloned().ok_or_else(|| error!(not_found, "network {name} not found"))
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Network> {
        self.all.lock().values().cloned().collect()
    }

    /// Makes a network. Its bridge appears with its first container.
    ///
    /// # Errors
    /// When its name is taken, its subnet is in use, or an option is not known.
    pub fn create(&self, engine: &Engine, request: NetworkCreateRequest) -> Result<Network> {
        volume::check_name("network", &request.name)?;
        let predefined = BUILT_IN.contains(&request.name.as_str()) || request.name == "default";
        ensure!(!predefined, forbidden, "operation is not permitted on predefined {} network ", request.name);
        check(&request)?;
        super::netavark::path()?;
        let network = self.add(request)?;
        publish(engine, &network, "create", None);
        Ok(network)
    }

    fn add(&self, request: NetworkCreateRequest) -> Result<Network> {
        let mut all = self.all.lock();
        if all.contains_key(&request.name) {
            bail!(conflict, "network with name {} already exists", request.name);
        }
        let options = request.options.clone().unwrap_or_default();
        // Names that are not Docker's own mean something to others.
        let own = |(name, _): &(&String, &String)| name.starts_with("com.docker.network.");
        for (name, value) in options.iter().filter(own) {
            let offered = match name.as_str() {
                NAME => true,
                MTU => value.parse::<u32>().is_ok(),
                HOST_BINDING => value.parse::<Ipv4Addr>().is_ok(),
                other => USUAL.contains(&(other, value.as_str())),
            };
            ensure!(offered, invalid, "network option {name}={value} is not offered");
        }
        let id = files::random_hex(32);
        let driver = request.driver.clone().unwrap_or_default();
        let bridge = !matches!(driver.as_str(), "host" | "null");
        let interface = options.get(NAME).cloned().unwrap_or_else(|| format!("br-{}", &id[..12]));
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let is_name = (1..=15).contains(&interface.len()) && interface.chars().all(plain);
        ensure!(is_name, invalid, "invalid name of an interface: {interface:?}");
        let network = Network {
            id,
            created: time::now(),
            driver: if bridge { "bridge".into() } else { driver },
            interface: if bridge { interface } else { String::new() },
            pools: if bridge { pools(&all, &request)? } else { Vec::new() },
            name: request.name,
            internal: request.internal == Some(true),
            labels: request.labels.unwrap_or_default(),
            options,
            ipam_options: request.ipam.and_then(|ipam| ipam.options),
            attachable: request.attachable == Some(true),
        };
        files::write_json(&self.path(&network), &network)?;
        all.insert(network.name.clone(), network.clone());
        Ok(network)
    }

    fn path(&self, network: &Network) -> PathBuf {
        self.folder.join(format!("{}.json", network.id))
    }

    /// Removes a network.
    ///
    /// # Errors
    /// When containers are in it, or it is one that always exists.
    pub async fn remove(&self, engine: &Engine, name: &str) -> Result<()> {
        // Somebody may be about to have an address in it.
        let _one_at_a_time = self.busy.lock().await;
        let network = self.get(name)?;
        if BUILT_IN.contains(&network.name.as_str()) {
            bail!(forbidden, "{} is a pre-defined network and cannot be removed", network.name);
        }
        if !taken(engine, &network, "").is_empty() {
            bail!(forbidden, "error while removing network: network {} has active endpoints", network.name);
        }
        std::fs::remove_file(self.path(&network)).map_err(Error::at("remove network", &network.name))?;
        self.all.lock().remove(&network.name);
        publish(engine, &network, "destroy", None);
        Ok(())
    }
}

/// The addresses of a network that containers have, but for one of them.
fn taken(engine: &Engine, network: &Network, but: &str) -> BTreeSet<IpAddr> {
    let mut taken = BTreeSet::new();
    for container in engine.all_containers().iter().filter(|other| other.id != but) {
        if let Some(endpoint) = container.record().networks.get(&network.name) {
            let addresses = endpoint.ip_address.iter().chain(&endpoint.global_ipv6_address);
            taken.extend(addresses.filter_map(|text| text.parse::<IpAddr>().ok()));
        }
    }
    taken
}

/// The subnets of a network: how many addresses of each are in use or nobody's, and how many a container can still get.
pub fn usage(engine: &Engine, network: &Network) -> Vec<(IpNet, (u64, u64))> {
    let taken = taken(engine, network, "");
    network.pools.iter().map(|pool| (pool.subnet, pool.usage(&taken))).collect()
}

/// An address of each pool of a network for a container: the wanted one, or any that is free. The caller keeps others
/// from choosing until it is written down.
///
/// # Errors
/// When a wanted one is in use or elsewhere, or there are no more.
pub(super) fn addresses(network: &Network, container: &Container, wanted: &[&str]) -> Result<Vec<IpAddr>> {
    if let Some(address) = wanted.iter().find(|text| text.contains(':')).filter(|_| !network.has_ipv6()) {
        bail!(invalid, "network {} has no addresses such as {address}", network.name);
    }
    let taken = taken(container.engine, network, &container.id);
    let of = |pool: &Pool| {
        let same = |text: &&&str| text.contains(':') == pool.gateway().is_ipv6();
        pool.choose(&taken, wanted.iter().find(same).copied())
    };
    network.pools.iter().map(of).collect()
}

/// Refuses what a network cannot be.
fn check(request: &NetworkCreateRequest) -> Result<()> {
    if let Some(driver) =
        said::text(&request.driver).filter(|driver| !matches!(*driver, "default" | "bridge"))
    {
        bail!(
            not_found,
            "could not find plugin {driver} in v1 plugin registry: plugin \"{driver}\" not found"
        );
    }
    let ipam = request.ipam.clone().unwrap_or_default();
    let scoped = said::text(&request.scope).is_some_and(|scope| scope != "local");
    let swarm = scoped || [request.ingress, request.config_only].contains(&Some(true));
    let copied = request.config_from.as_ref().is_some_and(|from| said::text(&from.network).is_some());
    let driven = said::text(&ipam.driver).is_some_and(|driver| driver != "default");
    said::refuse([
        (request.enable_ipv4 == Some(false), "a network without IPv4 is not offered"),
        (swarm, "a network of a swarm is not offered"),
        (copied, "a network with the configuration of another one is not offered"),
        (driven, "another IPAM driver than the default one is not offered"),
    ])
}

/// The addresses of a new network.
fn pools(all: &BTreeMap<String, Network>, request: &NetworkCreateRequest) -> Result<Vec<Pool>> {
    let used: Vec<_> = all.values().flat_map(|network| &network.pools).map(|pool| pool.subnet).collect();
    let mut wishes = request.ipam.clone().unwrap_or_default().config.unwrap_or_default();
    let is_six = |wish: &IpamConfig| wish.subnet.as_ref().is_some_and(|subnet| subnet.contains(':'));
    if wishes.iter().all(is_six) {
        wishes.insert(0, IpamConfig::default());
    }
    if request.enable_ipv6 == Some(true) && !wishes.iter().any(is_six) {
        wishes.push(address::unique_local());
    }
    // The first is that of IPv4.
    wishes.sort_by_key(is_six);
    let six = wishes.iter().filter(|wish| is_six(wish)).count();
    let is_one_each = six <= 1 && wishes.len() - six <= 1;
    ensure!(is_one_each, invalid, "more than one subnet of a network for one family is not offered");
    wishes.iter().map(|wish| Pool::new(wish, &used)).collect()
}
