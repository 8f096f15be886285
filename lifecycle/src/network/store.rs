//! Which networks there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::address::{Subnet, pool, routes};
use crate::error::{Error, Result};
use crate::{files, time, volume};

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
    /// The addresses of a bridge.
    pub subnet: Option<Subnet>,
    /// The bridge's own address.
    pub gateway: Option<Ipv4Addr>,
    /// Without a way out.
    pub internal: bool,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Its options.
    pub options: HashMap<String, String>,
}

/// What a new network is to be.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// The driver; `bridge` when empty.
    pub driver: String,
    /// Its subnet, unless any will do.
    pub subnet: Option<String>,
    /// Its gateway, unless the first address will do.
    pub gateway: Option<String>,
    /// Without a way out.
    pub internal: bool,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Options of the driver.
    pub options: HashMap<String, String>,
}

/// Options of a bridge that are known.
pub(super) const NAME: &str = "com.docker.network.bridge.name";
pub(super) const MTU: &str = "com.docker.network.driver.mtu";

/// All networks, and who has which address.
#[derive(Debug)]
pub struct Networks {
    folder: PathBuf,
    /// Network namespaces of containers.
    pub(super) namespaces: PathBuf,
    /// What netavark keeps.
    pub(super) state: PathBuf,
    all: Mutex<BTreeMap<String, Network>>,
    /// Addresses that are in use: network id, address, container.
    pub(super) leases: Mutex<BTreeMap<(String, Ipv4Addr), String>>,
    /// Ports of the host that are in use: protocol and number, container.
    pub(super) ports: Mutex<BTreeMap<(String, u16), String>>,
    /// One netavark at a time.
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
            leases: Mutex::default(),
            ports: Mutex::default(),
            busy: tokio::sync::Mutex::default(),
        };
        for path in files::entries(&networks.folder) {
            if let Some(network) = files::read_json::<Network>(&path)? {
                networks.lock().insert(network.name.clone(), network);
            }
        }
        for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
            if !networks.lock().contains_key(name) {
                let options = HashMap::from([(NAME.to_owned(), "corten0".to_owned())]);
                let options = if name == "bridge" { options } else { HashMap::new() };
                networks.add(Wish {
                    name: name.into(),
                    driver: driver.into(),
                    options,
                    ..Wish::default()
                })?;
            }
        }
        Ok(networks)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Network>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kinds of network that there are.
    pub fn drivers(&self) -> Vec<&'static str> {
        vec!["bridge", "host", "null"]
    }

    /// A network by name or the beginning of its id.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<Network> {
        let all = self.lock();
        let found = all.get(name).or_else(|| {
            let mut of = all.values().filter(|network| name.len() >= 3 && network.id.starts_with(name));
            of.next().filter(|_| of.next().is_none())
        });
        found.cloned().ok_or_else(|| Error::not_found(format!("network {name} not found")))
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Network> {
        self.lock().values().cloned().collect()
    }

    /// Makes a network. Its bridge appears with its first container.
    ///
    /// # Errors
    /// When its name is taken, its subnet is in use, or an option is not known.
    pub fn create(&self, wish: Wish) -> Result<Network> {
        volume::check_name(&wish.name)?;
        if !matches!(wish.driver.as_str(), "" | "default" | "bridge") {
            return Err(Error::not_found(format!(
                "could not find plugin {0} in v1 plugin registry: plugin \"{0}\" not found",
                wish.driver
            )));
        }
        super::netavark::check()?;
        self.add(wish)
    }

    fn add(&self, wish: Wish) -> Result<Network> {
        let mut all = self.lock();
        if all.contains_key(&wish.name) {
            return Err(Error::conflict(format!("network with name {} already exists", wish.name)));
        }
        if let Some(option) = wish.options.keys().find(|option| !matches!(option.as_str(), NAME | MTU)) {
            return Err(Error::invalid(format!(
                "network option {option:?} is not offered: expected {NAME} or {MTU}"
            )));
        }
        let id = files::random_hex(32);
        let bridge = !matches!(wish.driver.as_str(), "host" | "null");
        let (subnet, gateway) = match bridge {
            true => {
                let (subnet, gateway) = addresses(&all, &wish)?;
                (Some(subnet), Some(gateway))
            }
            false => (None, None),
        };
        let interface = wish.options.get(NAME).cloned().unwrap_or_else(|| format!("br-{}", &id[..12]));
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if interface.is_empty() || interface.len() > 15 || !interface.chars().all(plain) {
            return Err(Error::invalid(format!("invalid name of an interface: {interface:?}")));
        }
        let network = Network {
            name: wish.name.clone(),
            id,
            created: time::now(),
            driver: if bridge { "bridge".into() } else { wish.driver },
            interface: if bridge { interface } else { String::new() },
            subnet,
            gateway,
            internal: wish.internal,
            labels: wish.labels,
            options: wish.options,
        };
        files::write_json(&self.path(&network), &network)?;
        all.insert(wish.name, network.clone());
        Ok(network)
    }

    fn path(&self, network: &Network) -> PathBuf {
        self.folder.join(format!("{}.json", network.id))
    }

    /// Removes a network.
    ///
    /// # Errors
    /// When containers are in it, or it is one that always exists.
    pub fn remove(&self, name: &str) -> Result<Network> {
        let network = self.get(name)?;
        if matches!(network.name.as_str(), "bridge" | "host" | "none") {
            return Err(Error::forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            )));
        }
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.keys().any(|(id, _)| *id == network.id) {
            return Err(Error::forbidden(format!(
                "error while removing network: network {} has active endpoints",
                network.name
            )));
        }
        drop(leases);
        std::fs::remove_file(self.path(&network)).map_err(Error::at("remove network", &network.name))?;
        self.lock().remove(&network.name);
        Ok(network)
    }

    /// Takes an address: a wanted one, or any that is free.
    ///
    /// # Errors
    /// When the wanted one is in use or elsewhere, or there are no more.
    pub(super) fn lease(&self, network: &Network, container: &str, wanted: Option<&str>) -> Result<Ipv4Addr> {
        let subnet = network
            .subnet
            .ok_or_else(|| Error::internal(format!("network {} has no addresses", network.name)))?;
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: BTreeSet<Ipv4Addr> =
            leases.keys().filter(|(id, _)| *id == network.id).map(|(_, ip)| *ip).collect();
        taken.extend(network.gateway);
        let address = match wanted.filter(|text| !text.is_empty()) {
            Some(text) => {
                let address: Ipv4Addr =
                    text.parse().map_err(|_| Error::invalid(format!("invalid IPv4 address: {text}")))?;
                if !subnet.contains(address) {
                    return Err(Error::invalid(format!(
                        "invalid address {text}: it does not belong to network {}",
                        network.name
                    )));
                }
                if taken.contains(&address) {
                    return Err(Error::forbidden(format!("Address already in use: {text}")));
                }
                address
            }
            None => subnet.free(&taken).ok_or_else(|| {
                Error::internal(format!("network {}: no available IPv4 addresses", network.name))
            })?,
        };
        leases.insert((network.id.clone(), address), container.to_owned());
        Ok(address)
    }

    /// Gives back what a container has in use: in one network, or in all.
    pub(super) fn release(&self, container: &str, network: Option<&str>) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|(id, _), user| user != container || network.is_some_and(|network| network != id));
        if network.is_none() {
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, user| user != container);
        }
    }
}

fn addresses(all: &BTreeMap<String, Network>, wish: &Wish) -> Result<(Subnet, Ipv4Addr)> {
    let own: Vec<Subnet> = all.values().filter_map(|network| network.subnet).collect();
    let subnet = match &wish.subnet {
        Some(text) => {
            let subnet: Subnet = text.parse()?;
            if own.iter().any(|other| other.overlaps(subnet)) {
                return Err(Error::forbidden("Pool overlaps with other one on this address space"));
            }
            subnet
        }
        None => {
            let used: Vec<Subnet> = own.into_iter().chain(routes()).collect();
            let free = pool().find(|subnet| !used.iter().any(|other| other.overlaps(*subnet)));
            free.ok_or_else(|| Error::invalid("all predefined address pools have been fully subnetted"))?
        }
    };
    let gateway = match &wish.gateway {
        Some(text) => text.parse().ok().filter(|address| subnet.contains(*address)),
        None => Some(subnet.first()),
    };
    gateway
        .map(|gateway| (subnet, gateway))
        .ok_or_else(|| Error::invalid("the gateway does not belong to the subnet"))
}
