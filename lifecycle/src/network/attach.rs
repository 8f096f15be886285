//! Containers in networks: their interfaces while they run, and the files that tell them of names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use bollard_stubs::models::EndpointSettings;
use serde_json::{Value, json};

use super::store::MTU;
use super::{Network, Networks, files as names, namespace, netavark, ports};
use crate::container::{Container, Record};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::files;

impl Networks {
    /// Connects a container that is about to start; returns its network namespace when it is not a new, empty one.
    ///
    /// # Errors
    /// When that fails; [`Networks::disconnect`] takes back what was done.
    pub async fn connect(&self, engine: &Arc<Engine>, container: &Arc<Container>) -> Result<Option<PathBuf>> {
        let record = container.record().clone();
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
        if matches!(record.network_mode(), "host" | "none") {
            names::write(engine, container)?;
            return Ok(None);
        }
        let path = self.namespace_of(container);
        let making = path.clone();
        tokio::task::spawn_blocking(move || namespace::make(&making)).await??;
        let published = self.choose_ports(&record)?;
        container.update(|record| record.ports.clone_from(&published))?;
        // The network of the mode is the first: it has the ports, and the way out.
        let first = self.get(record.network_mode())?.name;
        let mut order: Vec<&String> = record.networks.keys().collect();
        order.sort_by_key(|name| **name != first);
        for (number, name) in order.into_iter().enumerate() {
            let ports = if number == 0 { ports::mappings(&published) } else { Vec::new() };
            self.join(engine, container, name, &format!("eth{number}"), ports).await?;
        }
        names::write(engine, container)?;
        Ok(Some(path))
    }

    /// Where the network namespace of a container is found.
    pub fn namespace_of(&self, container: &Container) -> PathBuf {
        self.namespaces.join(&container.id[..16])
    }

    fn choose_ports(&self, record: &Record) -> Result<ports::Published> {
        let mut taken = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let others = taken.keys().cloned().collect();
        let published = ports::choose(record, &others)?;
        for (port, bindings) in &published {
            let kind = port.split('/').nth(1).unwrap_or("tcp");
            for (_, number) in bindings {
                taken.insert((kind.to_owned(), *number), record.id.clone());
            }
        }
        Ok(published)
    }

    /// Makes the container's interface in a network.
    async fn join(
        &self,
        engine: &Arc<Engine>,
        container: &Arc<Container>,
        name: &str,
        interface: &str,
        ports: Vec<Value>,
    ) -> Result<()> {
        let network = self.get(name)?;
        let record = container.record().clone();
        let mut endpoint = record.networks.get(name).cloned().unwrap_or_default();
        let wanted = endpoint.ipam_config.as_ref().and_then(|config| config.ipv4_address.clone());
        let address = self.lease(&network, &container.id, wanted.as_deref())?;
        let [a, b, c, d] = address.octets();
        // As Docker derives them: what is learned of an address stays true when it is used again.
        let mac = format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        let mac = endpoint.mac_address.clone().filter(|mac| !mac.is_empty()).unwrap_or(mac);
        let options = describe(&record, &network, &endpoint, &address.to_string(), &mac, interface, &ports);
        files::write_json(&plan_path(container, &network.id), &options)?;
        self.netavark("setup", container, options).await?;
        let subnet = network.subnet;
        endpoint.network_id = Some(network.id.clone());
        endpoint.endpoint_id = Some(files::random_hex(32));
        endpoint.gateway = network.gateway.map(|gateway| gateway.to_string());
        endpoint.ip_address = Some(address.to_string());
        endpoint.ip_prefix_len = subnet.map(|subnet| subnet.length.into());
        endpoint.mac_address = Some(mac);
        if network.name != "bridge" {
            endpoint.dns_names = Some(dns_names(&record, &endpoint));
        }
        container.update(|record| drop(record.networks.insert(network.name.clone(), endpoint)))?;
        publish(engine, &network, "connect", &container.id);
        Ok(())
    }

    async fn netavark(&self, verb: &'static str, container: &Container, options: Value) -> Result<()> {
        let _one_at_a_time = self.busy.lock().await;
        let (namespace, state) = (self.namespace_of(container), self.state.clone());
        tokio::task::spawn_blocking(move || -> Result<()> {
            files::make_dir(&state, 0o700)?;
            netavark::run(verb, &namespace, &state, &options).map(drop)
        })
        .await?
    }

    /// Takes back what [`Networks::connect`] has made; returns the networks that the container was in.
    pub async fn disconnect(&self, container: &Arc<Container>) -> Vec<Network> {
        let mut left = Vec::new();
        for network in self.all() {
            if self.leave(container, &network).await {
                left.push(network);
            }
        }
        namespace::remove(&self.namespace_of(container));
        self.release(&container.id, None);
        let written = container.update(|record| {
            record.ports.clear();
            record.networks.values_mut().for_each(forget);
        });
        if let Err(error) = written {
            eprintln!("cortend: container {}: {error}", container.id);
        }
        left
    }

    /// Takes the container's interface in a network away; whether there was one.
    async fn leave(&self, container: &Arc<Container>, network: &Network) -> bool {
        let path = plan_path(container, &network.id);
        let Ok(Some(options)) = files::read_json::<Value>(&path) else { return false };
        // After a restart of the machine the namespace is gone, and the rules with it.
        if self.namespace_of(container).exists()
            && let Err(error) = self.netavark("teardown", container, options).await
        {
            eprintln!("cortend: container {}, network {}: {error}", container.id, network.name);
        }
        let _gone = std::fs::remove_file(path);
        self.release(&container.id, Some(&network.id));
        true
    }

    /// Puts a container into one more network, at once when it runs.
    ///
    /// # Errors
    /// When it is in it already, or that is not possible.
    pub async fn add_container(
        &self,
        engine: &Arc<Engine>,
        container: &Arc<Container>,
        name: &str,
        endpoint: EndpointSettings,
    ) -> Result<()> {
        let network = self.get(name)?;
        let _busy = container.busy.lock().await;
        let record = container.record().clone();
        if network.driver != "bridge"
            || matches!(record.network_mode(), "host" | "none")
            || record.network_mode().starts_with("container:")
        {
            return Err(Error::forbidden(
                "container cannot be connected to or disconnected from this network: its mode is not bridge",
            ));
        }
        if record.networks.contains_key(&network.name) {
            return Err(Error::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                record.name, network.name
            )));
        }
        container.update(|record| drop(record.networks.insert(network.name.clone(), endpoint)))?;
        if !record.state.status.is_up() {
            return Ok(());
        }
        let used = files::entries(&container.folder)
            .iter()
            .filter(|path| files::name_of(path).starts_with("network-"))
            .count();
        let joined = self.join(engine, container, &network.name, &format!("eth{used}"), Vec::new()).await;
        if joined.is_err() {
            self.leave(container, &network).await;
            self.release(&container.id, Some(&network.id));
            container.update(|record| drop(record.networks.remove(&network.name)))?;
        }
        joined?;
        names::write(engine, container)
    }

    /// Takes a container out of a network.
    ///
    /// # Errors
    /// When it is not in it.
    pub async fn remove_container(
        &self,
        engine: &Arc<Engine>,
        container: &Arc<Container>,
        name: &str,
    ) -> Result<()> {
        let network = self.get(name)?;
        let _busy = container.busy.lock().await;
        if !container.record().networks.contains_key(&network.name) {
            return Err(Error::forbidden(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        }
        if self.leave(container, &network).await {
            publish(engine, &network, "disconnect", &container.id);
        }
        container.update(|record| drop(record.networks.remove(&network.name)))?;
        if container.record().state.status.is_up() { names::write(engine, container) } else { Ok(()) }
    }

    /// Takes up what a container that was running has in use, after the engine was away.
    pub fn reclaim(&self, record: &Record) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        for endpoint in record.networks.values() {
            let address = endpoint.ip_address.as_deref().and_then(|text| text.parse().ok());
            if let (Some(id), Some(address)) = (endpoint.network_id.clone(), address) {
                leases.insert((id, address), record.id.clone());
            }
        }
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        for (port, bindings) in &record.ports {
            let kind = port.split('/').nth(1).unwrap_or("tcp");
            ports.extend(bindings.iter().map(|(_, number)| ((kind.to_owned(), *number), record.id.clone())));
        }
    }
}

/// Tells of a container that came into a network or left it.
pub fn publish(engine: &Engine, network: &Network, action: &str, container: &str) {
    let attributes = BTreeMap::from([
        ("container".to_owned(), container.to_owned()),
        ("name".to_owned(), network.name.clone()),
        ("type".to_owned(), network.driver.clone()),
    ]);
    engine.events.publish("network", action, &network.id, attributes);
}

/// Refuses what a container cannot have in a network.
///
/// # Errors
/// With the setting.
pub fn check(endpoint: &EndpointSettings) -> Result<()> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let ipam = endpoint.ipam_config.clone().unwrap_or_default();
    let what = if some(&endpoint.links) {
        "--link"
    } else if ipam.ipv6_address.is_some_and(|address| !address.is_empty()) {
        "an IPv6 address"
    } else if some(&ipam.link_local_ips) {
        "--link-local-ip"
    } else if endpoint.gw_priority.is_some_and(|priority| priority != 0) {
        "a gateway's priority"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "{what} is not offered in networks: containers find each other by name and alias"
    )))
}

/// What is only true while a container runs.
fn forget(endpoint: &mut EndpointSettings) {
    let own_mac = endpoint.mac_address.take().filter(|mac| !mac.starts_with("02:42:"));
    endpoint.mac_address = own_mac;
    endpoint.endpoint_id = None;
    endpoint.gateway = None;
    endpoint.ip_address = None;
    endpoint.ip_prefix_len = None;
}

/// Where what netavark was told is kept, to be told again at the end.
fn plan_path(container: &Container, network: &str) -> PathBuf {
    container.folder.join(format!("network-{}.json", &network[..12]))
}

/// The names by which others in a network find a container.
fn dns_names(record: &Record, endpoint: &EndpointSettings) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    names.extend(endpoint.aliases.iter().flatten().cloned());
    names.push(record.id[..12].to_owned());
    names.extend(record.config.hostname.clone());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn describe(
    record: &Record,
    network: &Network,
    endpoint: &EndpointSettings,
    address: &str,
    mac: &str,
    interface: &str,
    ports: &[Value],
) -> Value {
    let mut options = json!({});
    if let Some(mtu) = network.options.get(MTU) {
        options["mtu"] = json!(mtu);
    }
    let mut aliases = dns_names(record, endpoint);
    // The name itself netavark adds.
    aliases.retain(|name| *name != record.name);
    let own = json!({
        "static_ips": [address], "static_mac": mac, "interface_name": interface, "aliases": aliases,
    });
    let info = json!({
        "name": network.name,
        "id": network.id,
        "driver": "bridge",
        "network_interface": network.interface,
        "created": network.created,
        "subnets": [{"subnet": network.subnet, "gateway": network.gateway}],
        "ipv6_enabled": false,
        "internal": network.internal,
        "dns_enabled": network.name != "bridge" && !network.internal,
        "options": options,
        "ipam_options": {"driver": "host-local"},
    });
    let mut all = json!({
        "container_id": record.id,
        "container_name": record.name,
        "port_mappings": ports,
        "networks": {},
        "network_info": {},
    });
    all["networks"][&network.name] = own;
    all["network_info"][&network.name] = info;
    all
}
