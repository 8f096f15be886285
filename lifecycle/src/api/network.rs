//! `/networks/…`, and networks in what is said of containers.

use std::path::PathBuf;

use bollard_stubs::models::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};
use serde_json::{Value, json};

use super::{Answer, Call, Version, answer};
use crate::container::{Container, Record};
use crate::engine::Engine;
use crate::error::{Result, ensure};
use crate::network::{self, BUILT_IN, Network};
use crate::said;

/// `POST /networks/create`
pub(super) fn create(engine: &Engine, wish: NetworkCreateRequest) -> Result<Answer> {
    let network = engine.networks.create(engine, wish)?;
    answer::created(&json!({"Id": network.id, "Warning": ""}))
}

/// `GET /networks/NAME`
pub(super) fn inspect(engine: &Engine, call: &Call, name: &str) -> Result<Answer> {
    let network = engine.networks.get(name)?;
    let is_there = call.text("scope").is_none_or(|scope| scope == "local");
    ensure!(is_there, not_found, "network {name} not found");
    let mut value = describe(engine, &network, true);
    if call.version >= Version(1, 52) {
        let mut subnets = json!({});
        for (subnet, (used, left)) in network::usage(engine, &network) {
            subnets[subnet.to_string()] = json!({"IPsInUse": used, "DynamicIPsAvailable": left});
        }
        value["Status"] = json!({"IPAM": {"Subnets": subnets}});
    }
    answer::json(&value)
}

/// `DELETE /networks/NAME`
pub(super) async fn remove(engine: &Engine, name: &str) -> Result<Answer> {
    engine.networks.remove(engine, name).await?;
    answer::done()
}

/// `POST /networks/NAME/connect`
pub(super) async fn connect(engine: &Engine, name: &str, wish: NetworkConnectRequest) -> Result<Answer> {
    let container = engine.container(&wish.container)?;
    let endpoint = wish.endpoint_config.unwrap_or_default();
    engine.networks.add_container(&container, name, endpoint).await?;
    answer::nothing()
}

/// `POST /networks/NAME/disconnect`
pub(super) async fn disconnect(
    engine: &Engine,
    name: &str,
    wish: NetworkDisconnectRequest,
) -> Result<Answer> {
    engine.networks.remove_container(&*engine.container(&wish.container)?, name).await?;
    answer::nothing()
}

/// A network as the API writes it; with its containers when one network is asked for.
fn describe(engine: &Engine, network: &Network, containers: bool) -> Value {
    let mut members = json!({});
    for container in engine.all_containers().iter().filter(|_| containers) {
        let record = container.record();
        if let Some(endpoint) = record.networks.get(&network.name).filter(|_| record.state.status.is_up()) {
            let full = |address: &Option<String>, length: Option<i64>| match (address, length) {
                (Some(address), Some(length)) => format!("{address}/{length}"),
                _ => String::new(),
            };
            members[&record.id] = json!({
                "Name": record.name,
                "EndpointID": endpoint.endpoint_id,
                "MacAddress": endpoint.mac_address,
                "IPv4Address": full(&endpoint.ip_address, endpoint.ip_prefix_len),
                "IPv6Address": full(&endpoint.global_ipv6_address, endpoint.global_ipv6_prefix_len),
            });
        }
    }
    json!({
        "Name": network.name, "Id": network.id, "Created": network.created, "Scope": "local",
        "Driver": network.driver, "EnableIPv4": true, "EnableIPv6": network.has_ipv6(),
        "IPAM": {"Driver": "default", "Options": network.ipam_options, "Config": network.pools},
        "Internal": network.internal, "Attachable": network.attachable, "Ingress": false,
        "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": members, "Options": network.options, "Labels": network.labels,
    })
}

/// Whether any container is to be in a network.
fn used(engine: &Engine, network: &Network) -> bool {
    engine.all_containers().iter().any(|container| container.record().networks.contains_key(&network.name))
}

pub(super) fn list(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.boolean("dangling")?;
    let wanted = |network: &Network| {
        let builtin = BUILT_IN.contains(&network.name.as_str());
        filters.any("name", |name| network.name.contains(name.as_str()))
            && filters.any("id", |id| network.id.starts_with(id.as_str()))
            && filters.any("driver", |driver| network.driver == *driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |kind| (kind == "builtin") == builtin)
            && dangling.is_none_or(|dangling| (!builtin && !used(engine, network)) == dangling)
            && filters.labels(&network.labels)
    };
    let networks = engine.networks.all().into_iter().filter(wanted);
    answer::json(&networks.map(|network| describe(engine, &network, false)).collect::<Vec<_>>())
}

pub(super) async fn prune(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["label", "label!", "until"])?;
    let mut deleted = Vec::new();
    for network in engine.networks.all() {
        let wanted = filters.in_time(Some(&network.created)) && filters.labels(&network.labels);
        if wanted && !used(engine, &network) && engine.networks.remove(engine, &network.name).await.is_ok() {
            deleted.push(network.name);
        }
    }
    engine.pruned("network", 0);
    answer::json(&json!({"NetworksDeleted": Some(deleted).filter(|all| !all.is_empty())}))
}

/// What is told of the default network once more, where it was before there were others.
const TWICE: &str = "EndpointID Gateway IPAddress IPPrefixLen MacAddress GlobalIPv6Address GlobalIPv6PrefixLen \
                     IPv6Gateway";

/// `NetworkSettings` of a container.
pub(super) fn of_container(container: &Container, record: &Record, version: Version) -> Value {
    let mut ports = json!({});
    for port in record.exposed() {
        ports[port] = Value::Null;
    }
    for (port, bindings) in &record.ports {
        let binding = |(ip, port): &(String, u16)| json!({"HostIp": ip, "HostPort": port.to_string()});
        ports[port] = bindings.iter().map(binding).collect();
    }
    let own = record.state.status.is_up() && !record.network_mode().starts_with("container:");
    let sandbox = match container.engine.networks.namespace_of(container) {
        _ if !own => PathBuf::new(),
        made if made.exists() => made,
        _ => PathBuf::from(format!("/proc/{}/ns/net", record.state.pid)),
    };
    let id = if own { record.id.as_str() } else { "" };
    let networks = endpoints(container.engine, record, version);
    // Those of the network `bridge` stand here at all versions: some clients ask for the newest, and look for them here.
    let mut settings = json!({
        "SandboxID": id, "SandboxKey": sandbox, "Ports": ports, "Bridge": "", "HairpinMode": false,
        "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
    });
    for name in TWICE.split_whitespace() {
        let nothing = if name.ends_with("Len") { json!(0) } else { json!("") };
        settings[name] = networks["bridge"].get(name).cloned().unwrap_or(nothing);
    }
    settings["Networks"] = networks;
    settings
}

/// The networks of a container.
pub(super) fn endpoints(engine: &Engine, record: &Record, version: Version) -> Value {
    let mut all = json!({});
    for (name, endpoint) in &record.networks {
        let id = engine.networks.get(name).map(|network| network.id).unwrap_or_default();
        let mut row = json!(endpoint);
        if version < Version(1, 45) && !BUILT_IN.contains(&name.as_str()) {
            let aliases = endpoint.aliases.iter().flatten().map(String::as_str);
            row["Aliases"] = aliases.chain([&record.id[..12]]).collect();
        }
        let defaults = json!({
            "IPAMConfig": null, "Links": null, "Aliases": null, "DNSNames": null, "DriverOpts": null, "GwPriority": 0,
            "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
            "MacAddress": "", "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        });
        said::fill(&mut row, &defaults);
        row["NetworkID"] = json!(id);
        all[name] = row;
    }
    all
}
