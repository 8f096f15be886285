//! Containers in networks: their interfaces while they run, and the files that tell them of names.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use bollard_stubs::models::EndpointSettings;
use serde_json::{Value, json};
use tokio::process::Command;

use super::address::Pool;
use super::store::{BUILT_IN, HOST_BINDING, MTU, addresses};
use super::{Network, Networks, files as names, links, namespace, netavark, ports};
use crate::container::{Container, Record};
use crate::engine::Engine;
use crate::error::{Result, bail, ensure};
use crate::{files, program, said};

/// Where dockerd has its resolver in a container.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

impl Networks {
    /// Connects a container that is about to start; returns its network namespace when it is not a new, empty one.
    ///
    /// # Errors
    /// When that fails; [`Networks::disconnect`] takes back what was done.
    pub async fn connect(&self, container: &Container) -> Result<Option<PathBuf>> {
        let record = container.record().clone();
        if let Some((_, namespace)) = container.joined(record.network_mode(), "net")? {
            return Ok(Some(namespace));
        }
        if matches!(record.network_mode(), "host" | "none") {
            names::write(container)?;
            publish(container.engine, &self.get(record.network_mode())?, "connect", Some(&container.id));
            return Ok(None);
        }
        let _one_at_a_time = self.busy.lock().await;
        let path = self.namespace_of(container);
        namespace::make(&path).await?;
        let networks = self.of(&record)?;
        // What others reach is where the way out is.
        let main = networks.iter().min_by_key(|network| rank(&record, network));
        let usual = main.and_then(|network| network.options.get(HOST_BINDING)?.parse().ok());
        let usual = usual.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let published = ports::choose(&record, usual, ports::taken(container))?;
        container.update(|record| record.ports.clone_from(&published))?;
        for (number, network) in networks.iter().enumerate() {
            let is_main = main.is_some_and(|main| main.name == network.name);
            let ports = if is_main { ports::mappings(&published) } else { Vec::new() };
            self.join(container, &network.name, number, &ports).await?;
        }
        self.lead_out(container).await?;
        names::write(container)?;
        Ok(Some(path))
    }

    /// The networks that a container of its own namespace starts in, by the numbers of its interfaces.
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn of(&self, record: &Record) -> Result<Vec<Network>> {
        let mut all = record.networks.keys().map(|name| self.get(name)).collect::<Result<Vec<_>>>()?;
        all.retain(|network| network.driver == "bridge");
        let first = self.get(record.network_mode()).map(|network| network.name).unwrap_or_default();
        all.sort_by_key(|network| network.name != first);
        Ok(all)
    }

    /// Where the network namespace of a container is found.
    pub fn namespace_of(&self, container: &Container) -> PathBuf {
        self.namespaces.join(&container.id[..16])
    }

    /// Whether a container has anything of what [`Networks::connect`] makes.
    pub fn has(&self, container: &Container) -> bool {
        let record = container.record();
        let addressed = record.networks.values().any(|endpoint| endpoint.ip_address.is_some());
        addressed || !record.ports.is_empty() || self.namespace_of(container).exists()
    }

    /// Makes the container's interface in a network; the caller keeps others from it.
    async fn join(&self, container: &Container, name: &str, number: usize, ports: &[Value]) -> Result<()> {
        let network = self.get(name)?;
        let record = container.record().clone();
        let mut endpoint = record.networks.get(name).cloned().unwrap_or_default();
        let ipam = endpoint.ipam_config.clone().unwrap_or_default();
        // What it has it keeps.
        let had = [&endpoint.ip_address, &endpoint.global_ipv6_address];
        let wanted = [&ipam.ipv4_address, &ipam.ipv6_address].into_iter().zip(had);
        let wanted: Vec<&str> = wanted.filter_map(|(ask, had)| said::text(ask).or(said::text(had))).collect();
        let addresses = addresses(&network, container, &wanted)?;
        endpoint.network_id = Some(network.id.clone());
        endpoint.endpoint_id = Some(files::random_hex(32));
        for (pool, address) in network.pools.iter().zip(&addresses) {
            let (gateway, length) = (Some(pool.gateway().to_string()), Some(pool.subnet.prefix_len().into()));
            if let IpAddr::V4(four) = address {
                let mac = endpoint.mac_address.filter(|mac| !mac.is_empty());
                endpoint.mac_address = mac.or_else(|| Some(mac_of(*four)));
                (endpoint.gateway, endpoint.ip_prefix_len) = (gateway, length);
                endpoint.ip_address = Some(address.to_string());
            } else {
                (endpoint.ipv6_gateway, endpoint.global_ipv6_prefix_len) = (gateway, length);
                endpoint.global_ipv6_address = Some(address.to_string());
            }
        }
        if network.name != "bridge" {
            let mut names = dns_names(&record, &endpoint);
            names.extend(links::aliases(container.engine, &record.id, &network.name));
            endpoint.dns_names = Some(names);
        }
        let options = describe(&record, &network, &endpoint, number, ports);
        files::write_json(&plan_path(container, &network.id), &options)?;
        // From here on the addresses are its own.
        container.update(|record| drop(record.networks.insert(network.name.clone(), endpoint)))?;
        netavark::run("setup", &self.namespace_of(container), &self.state, &options).await?;
        if let Some(IpAddr::V4(gateway)) = network.pools.first().map(Pool::gateway) {
            netavark::keep_address(&network.interface, &mac_of(gateway)).await?;
        }
        // Where the kernel filters bridges, a container would not reach what it publishes itself.
        let is_filtered =
            std::fs::read("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|text| text == b"1\n");
        let ports = files::entries(&Path::new("/sys/class/net").join(&network.interface).join("brif"));
        for port in ports.iter().filter(|_| is_filtered) {
            let _gone = std::fs::write(port.join("hairpin_mode"), "1");
        }
        publish(container.engine, &network, "connect", Some(&container.id));
        Ok(())
    }

    /// Lets a container that is in several networks out through the first of them in rank: each has given it a way, and
    /// all the same.
    async fn lead_out(&self, container: &Container) -> Result<()> {
        // Once for all of them.
        netavark::let_through(&self.all()).await;
        let record = container.record().clone();
        let mut networks = self.of(&record)?;
        networks.retain(|network| !network.internal);
        networks.sort_by_cached_key(|network| rank(&record, network));
        let named = networks.iter().find(|network| network.name != "bridge");
        if let Some(pool) = named.and_then(|network| network.pools.first()) {
            container.report(self.resolve(container, pool.gateway()).await);
        }
        let mut ways = Vec::new();
        for network in networks {
            let plan: Value = files::read_json(&plan_path(container, &network.id))?.unwrap_or_default();
            let own = plan["networks"].as_object().and_then(|all| all.values().next());
            let Some(device) = own.and_then(|own| own["interface_name"].as_str()) else { continue };
            ways.extend(network.pools.iter().map(|pool| (pool.gateway(), device.to_owned())));
        }
        for is_six in [false, true] {
            let mut ways = ways.iter().filter(|(gateway, _)| gateway.is_ipv6() == is_six);
            if let (Some((gateway, device)), Some(_)) = (ways.next(), ways.next()) {
                // netavark's have 100.
                let route = format!("ip route replace default metric 50 via {gateway} dev {device}");
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", self.namespace_of(container).display()));
                command.args(route.split(' '));
                program::told("choose the way out of the container", command, &[]).await?;
            }
        }
        Ok(())
    }

    /// Has the resolver of a network at Docker's address, too, which stands in the configurations of proxies: packets
    /// that go there have the container's own address from the beginning, so that nothing of its loopback is opened.
    async fn resolve(&self, container: &Container, resolver: IpAddr) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace_of(container).display())).args(["sh", "-c"]);
        let route = format!("ip route replace table local {RESOLVER} via {resolver}");
        command.arg(format!("{route} && exec iptables-restore --wait --noflush"));
        let rules = format!("*nat\n-I OUTPUT -d {RESOLVER} -j DNAT --to-destination {resolver}\nCOMMIT\n");
        program::told("lead to the resolver", command, rules.as_bytes()).await.map(drop)
    }

    /// Takes back what [`Networks::connect`] has made; returns the networks that the container was in.
    pub async fn disconnect(&self, container: &Container) -> Vec<Network> {
        // The networks of the host and of nobody have nothing to take back.
        let mode = self.get(container.record().network_mode()).ok();
        let mut left: Vec<_> = mode.into_iter().filter(|network| network.driver != "bridge").collect();
        for network in self.all() {
            if self.leave(container, &network).await {
                left.push(network);
            }
        }
        namespace::remove(&self.namespace_of(container));
        container.change(|record| {
            record.ports.clear();
            record.networks.values_mut().for_each(forget);
        });
        container.report(links::tell(container.engine));
        left
    }

    /// Takes the container's interface in a network away; whether there was one.
    async fn leave(&self, container: &Container, network: &Network) -> bool {
        let path = plan_path(container, &network.id);
        let Ok(Some(options)) = files::read_json::<Value>(&path) else { return false };
        // After a restart of the machine the namespace is gone, and the rules with it.
        if self.namespace_of(container).exists() {
            let _one_at_a_time = self.busy.lock().await;
            let namespace = self.namespace_of(container);
            container.report(netavark::run("teardown", &namespace, &self.state, &options).await);
        }
        let _gone = std::fs::remove_file(path);
        true
    }

    /// Puts a container into one more network, at once when it runs.
    ///
    /// # Errors
    /// When it is in it already, or that is not possible.
    pub async fn add_container(
        &self,
        container: &Container,
        name: &str,
        wish: EndpointSettings,
    ) -> Result<()> {
        let network = self.get(name)?;
        let endpoint = wanted(&network.name, wish)?;
        let _busy = container.busy.lock().await;
        let record = container.record().clone();
        if network.driver != "bridge" || record.has_fixed_network() {
            let why = match (network.driver.as_str(), record.network_mode()) {
                ("host", _) => {
                    "cannot connect container to host network - container must be created in host network mode"
                }
                ("null", _) | (_, "none") => {
                    "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                }
                _ => {
                    "container sharing network namespace with another container or host cannot be connected to any other network"
                }
            };
            bail!(invalid, "{why}");
        }
        if record.networks.contains_key(&network.name) {
            bail!(forbidden, "endpoint with name {} already exists in network {}", record.name, network.name);
        }
        container.update(|record| drop(record.networks.insert(network.name.clone(), endpoint)))?;
        let Some(number) = free_number(&record) else { return Ok(()) };
        let one_at_a_time = self.busy.lock().await;
        let mut joined = self.join(container, &network.name, number, &[]).await;
        if joined.is_ok() {
            joined = self.lead_out(container).await;
        }
        drop(one_at_a_time);
        if joined.is_err() {
            self.leave(container, &network).await;
            container.change(|record| drop(record.networks.remove(&network.name)));
        }
        joined?;
        names::write(container)
    }

    /// Takes a container out of a network.
    ///
    /// # Errors
    /// When it is not in it.
    pub async fn remove_container(&self, container: &Container, name: &str) -> Result<()> {
        let network = self.get(name)?;
        let _busy = container.busy.lock().await;
        if !container.record().networks.contains_key(&network.name) {
            // Terraform knows what may be ignored by these words.
            let article = if container.record().state.status.is_up() { "" } else { "the " };
            bail!(
                forbidden,
                "container {} is not connected to {article}network {}",
                container.id,
                network.name
            );
        }
        if network.driver == "host" {
            bail!(
                forbidden,
                "cannot disconnect container from host network - container was created in host network mode"
            );
        }
        let plan: Value = files::read_json(&plan_path(container, &network.id))?.unwrap_or_default();
        if self.leave(container, &network).await {
            publish(container.engine, &network, "disconnect", Some(&container.id));
        }
        container.change(|record| drop(record.networks.remove(&network.name)));
        if !container.record().state.status.is_up() {
            return Ok(());
        }
        if let Some(ports) = plan["port_mappings"].as_array().filter(|ports| !ports.is_empty()) {
            self.publish_again(container, ports).await?;
        }
        let one_at_a_time = self.busy.lock().await;
        self.lead_out(container).await?;
        drop(one_at_a_time);
        names::write(container)
    }

    /// Publishes the ports of a container that runs by what leads out now, which it leaves and joins for that, or by nothing.
    async fn publish_again(&self, container: &Container, ports: &[Value]) -> Result<()> {
        let record = container.record().clone();
        let networks = self.of(&record)?;
        let Some(main) = networks.iter().min_by_key(|network| rank(&record, network)) else {
            return container.update(|record| record.ports.clear());
        };
        self.leave(container, main).await;
        let Some(number) = free_number(&record) else { return Ok(()) };
        let _one_at_a_time = self.busy.lock().await;
        self.join(container, &main.name, number, ports).await
    }

    /// Makes a container that runs known by another name.
    ///
    /// # Errors
    /// When the resolver cannot be told.
    pub async fn rename(&self, container: &Container, old: &str, new: &str) -> Result<()> {
        let _one_at_a_time = self.busy.lock().await;
        let other = |name: &mut String| {
            if name == old {
                new.clone_into(name);
            }
        };
        container.update(|record| {
            let endpoints = record.networks.values_mut();
            endpoints.flat_map(|endpoint| endpoint.dns_names.iter_mut().flatten()).for_each(other);
        })?;
        let record = container.record().clone();
        let networks: Vec<_> = record.networks.keys().filter_map(|name| self.get(name).ok()).collect();
        netavark::rename(&self.state, &networks, &container.id, (old, new))?;
        links::rename(container.engine, old, new)?;
        links::tell(container.engine)
    }
}

/// Tells of something that happened to a network, or to a container in it.
pub fn publish(engine: &Engine, network: &Network, action: &str, container: Option<&str>) {
    let own = [("name", network.name.as_str()), ("type", network.driver.as_str())];
    let attributes = own.into_iter().chain(container.map(|id| ("container", id)));
    engine.events.publish("network", action, &network.id, attributes);
}

/// As Docker derives them: what is learned of an address stays true when it is used again.
fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The hardware address that a user has asked for.
pub fn own_mac(endpoint: &EndpointSettings) -> Option<String> {
    let address = endpoint.ip_address.as_deref().and_then(|text| text.parse().ok());
    let is_own = |mac: &String| address.is_none_or(|address| *mac != mac_of(address));
    endpoint.mac_address.clone().filter(is_own)
}

/// Which of a container's networks leads out: the least. The priority counts, then what it leads to, then its name.
fn rank(record: &Record, network: &Network) -> (Reverse<i64>, bool, bool, String) {
    let priority = record.networks.get(&network.name).and_then(|endpoint| endpoint.gw_priority);
    (Reverse(priority.unwrap_or(0)), network.internal, !network.has_ipv6(), network.name.clone())
}

/// What is only true while a container runs.
fn forget(endpoint: &mut EndpointSettings) {
    *endpoint = EndpointSettings {
        ipam_config: endpoint.ipam_config.take(),
        aliases: endpoint.aliases.take(),
        links: endpoint.links.take(),
        driver_opts: endpoint.driver_opts.take(),
        mac_address: own_mac(endpoint),
        gw_priority: endpoint.gw_priority,
        ..EndpointSettings::default()
    };
}

/// Where what netavark was told is kept, to be told again at the end.
fn plan_path(container: &Container, network: &str) -> PathBuf {
    container.folder.join(format!("network-{}.json", &network[..12]))
}

/// The first number that no interface of a container has, if it runs: it may have ended without anybody here knowing it.
fn free_number(record: &Record) -> Option<usize> {
    let interfaces = std::fs::read_to_string(format!("/proc/{}/net/dev", record.state.pid)).ok()?;
    (0..).find(|number| !interfaces.contains(&format!("eth{number}:")))
}

/// Refuses what is no hardware address of six bytes.
///
/// # Errors
/// With it.
pub fn check_mac(text: &str) -> Result<()> {
    let is_byte = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_one = text.split(':').count() == 6 && text.split(':').all(is_byte);
    ensure!(is_one, invalid, "invalid MAC address {text}");
    Ok(())
}

/// What a client may say of a container in a network: the rest is known when it is there.
///
/// # Errors
/// With a setting that is not offered, or an address that could be another container's at the next start.
pub fn wanted(network: &str, mut endpoint: EndpointSettings) -> Result<EndpointSettings> {
    let ipam = endpoint.ipam_config.clone().unwrap_or_default();
    // Names that are not Docker's own mean something to others.
    let mut options = endpoint.driver_opts.iter().flat_map(|options| options.keys());
    if let Some(option) = options.find(|name| name.starts_with("com.docker.network.")) {
        bail!(invalid, "driver option {option} is not offered in networks");
    }
    if let Some(alias) = said::list(&endpoint.aliases).iter().find(|alias| !is_name(alias)) {
        bail!(invalid, "network-scoped alias {alias:?} is no name that a resolver could know");
    }
    let addressed = said::text(&ipam.ipv4_address).or(said::text(&ipam.ipv6_address)).is_some();
    let fleeting = addressed && BUILT_IN.contains(&network);
    let named = BUILT_IN.contains(&network) && !said::list(&endpoint.aliases).is_empty();
    let own_mac = said::text(&endpoint.mac_address).map(check_mac).transpose()?.is_some();
    let is_fixed = network == "host" || network.starts_with("container:");
    said::refuse([
        (own_mac && is_fixed, "conflicting options: mac-address and the network mode"),
        (named, "network-scoped alias is supported only for containers in user defined networks"),
        (!said::list(&ipam.link_local_ips).is_empty(), "--link-local-ip is not offered in networks"),
        (fleeting, "user specified IP address is supported on user defined networks only"),
    ])?;
    let mac_address = endpoint.mac_address.take();
    forget(&mut endpoint);
    Ok(EndpointSettings { mac_address, ..endpoint })
}

/// The names by which others in a network find a container.
fn dns_names(record: &Record, endpoint: &EndpointSettings) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    names.extend(endpoint.aliases.iter().flatten().cloned());
    names.push(record.id[..12].to_owned());
    names.extend(record.config.hostname.clone());
    let mut seen = std::collections::BTreeSet::new();
    // Nobody can ask a resolver for longer ones.
    let fits = |name: &str| name.len() <= 253 && name.split('.').all(|label| label.len() <= 63);
    names.retain(|name| is_name(name) && fits(name) && seen.insert(name.clone()));
    names
}

/// Whether a text can be a name: in the files of resolvers, names end with blanks and commas.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',')
}

fn describe(record: &Record, network: &Network, at: &EndpointSettings, eth: usize, ports: &[Value]) -> Value {
    let addresses: Vec<_> = at.ip_address.iter().chain(&at.global_ipv6_address).collect();
    let names = || at.dns_names.iter().flatten();
    let full = names().map(|name| format!("{name}.{}", network.name));
    // The name itself netavark adds.
    let own = names().next().unwrap_or(&record.id);
    let aliases: Vec<_> = names().filter(|name| *name != own).cloned().chain(full).collect();
    let name = network.file_name();
    let subnets: Vec<_> =
        network.pools.iter().map(|pool| json!({"subnet": pool.subnet, "gateway": pool.gateway()})).collect();
    // A network does not reach others, but for the ports that they publish.
    let mut options = json!({"isolate": "true"});
    if let Some(mtu) = network.options.get(MTU) {
        options["mtu"] = json!(mtu);
    }
    json!({
        "container_id": record.id,
        "container_name": own,
        "port_mappings": ports,
        "networks": {(name): {
            "static_ips": addresses,
            "static_mac": at.mac_address,
            "interface_name": format!("eth{eth}"),
            "aliases": aliases,
        }},
        "network_info": {(name): {
            "name": name,
            "id": network.id,
            "driver": "bridge",
            "network_interface": network.interface,
            "created": network.created,
            "subnets": subnets,
            "ipv6_enabled": network.has_ipv6(),
            "internal": network.internal,
            "dns_enabled": network.name != "bridge" && !network.internal,
            "options": options,
            "ipam_options": {"driver": "host-local"},
        }},
    })
}
