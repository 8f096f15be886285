//! `/networks/…`, and networks in what is said of containers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bollard_stubs::models::EndpointSettings;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::request::{Call, Filters};
use super::{DELETE, GET, POST, not_found};
use crate::container::Record;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::network::{self, Network, Wish};
use crate::time::Time;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    name: String,
    driver: Option<String>,
    internal: bool,
    ingress: bool,
    config_only: bool,
    scope: Option<String>,
    #[serde(rename = "EnableIPv6")]
    ipv6: Option<bool>,
    #[serde(rename = "EnableIPv4")]
    ipv4: Option<bool>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    config_from: Option<HashMap<String, String>>,
    options: Option<HashMap<String, String>>,
    labels: Option<HashMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    driver: Option<String>,
    config: Option<Vec<HashMap<String, Value>>>,
    options: Option<HashMap<String, String>>,
}

pub(super) async fn route(engine: &Arc<Engine>, mut call: Call, path: &[&str]) -> Result<Answer> {
    let method = call.method.clone();
    match path {
        [] if method == GET => list(engine, &call),
        ["create"] if method == POST => {
            let request: Request = call.json().await?.unwrap_or_default();
            let network = engine.networks.create(wish(request)?)?;
            event(engine, &network, "create");
            answer::json_with(StatusCode::CREATED, &json!({"Id": network.id, "Warning": ""}))
        }
        ["prune"] if method == POST => prune(engine, &call),
        [name] if method == GET => answer::json(&describe(engine, &engine.networks.get(name)?, true)),
        [name] if method == DELETE => {
            let network = engine.networks.remove(name)?;
            event(engine, &network, "destroy");
            answer::done()
        }
        [name, verb @ ("connect" | "disconnect")] if method == POST => {
            let body: Value = call.json().await?.unwrap_or_default();
            let container = engine.container(body["Container"].as_str().unwrap_or_default())?;
            if *verb == "connect" {
                let endpoint: Option<EndpointSettings> =
                    serde_json::from_value(body["EndpointConfig"].clone())
                        .map_err(|error| Error::invalid(format!("invalid JSON: {error}")))?;
                let endpoint = endpoint.unwrap_or_default();
                network::check(&endpoint)?;
                engine.networks.add_container(engine, &container, name, endpoint).await?;
            } else {
                engine.networks.remove_container(engine, &container, name).await?;
            }
            Ok(answer::empty(StatusCode::OK))
        }
        _ => Err(not_found(&call)),
    }
}

fn wish(request: Request) -> Result<Wish> {
    let refuse = |what: &str| Err(Error::invalid(format!("{what} is not offered")));
    if request.ipv6 == Some(true) || request.ipv4 == Some(false) {
        return refuse("IPv6 of networks");
    }
    if request.ingress
        || request.config_only
        || request.scope.is_some_and(|scope| !matches!(scope.as_str(), "" | "local"))
    {
        return refuse("a network of a swarm");
    }
    if request.config_from.is_some_and(|from| from.values().any(|name| !name.is_empty())) {
        return refuse("a network with the configuration of another one");
    }
    let ipam = request.ipam.unwrap_or_default();
    if ipam.driver.is_some_and(|driver| !matches!(driver.as_str(), "" | "default"))
        || ipam.options.is_some_and(|options| !options.is_empty())
    {
        return refuse("another IPAM driver than the default one, or an option of it,");
    }
    let config = ipam.config.unwrap_or_default();
    if config.len() > 1 {
        return refuse("more than one subnet of a network");
    }
    let text = |key: &str| {
        let value = config.first().and_then(|config| config.get(key)).and_then(Value::as_str);
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    if text("IPRange").is_some()
        || config.first().is_some_and(|config| {
            config
                .get("AuxiliaryAddresses")
                .is_some_and(|aux| aux.as_object().is_some_and(|aux| !aux.is_empty()))
        })
    {
        return refuse("an IP range or auxiliary addresses");
    }
    Ok(Wish {
        name: request.name,
        driver: request.driver.unwrap_or_default(),
        subnet: text("Subnet"),
        gateway: text("Gateway"),
        internal: request.internal,
        labels: request.labels.unwrap_or_default(),
        options: request.options.unwrap_or_default(),
    })
}

fn event(engine: &Engine, network: &Network, action: &str) {
    let attributes =
        BTreeMap::from([("name".into(), network.name.clone()), ("type".into(), network.driver.clone())]);
    engine.events.publish("network", action, &network.id, attributes);
}

/// A network as the API writes it; with its containers when one network is asked for.
fn describe(engine: &Engine, network: &Network, containers: bool) -> Value {
    let config: Vec<Value> =
        network.subnet.iter().map(|subnet| json!({"Subnet": subnet, "Gateway": network.gateway})).collect();
    let mut members = serde_json::Map::new();
    for container in engine.all_containers().iter().filter(|_| containers) {
        let record = container.record();
        if let Some(endpoint) = record.networks.get(&network.name).filter(|_| record.state.status.is_up()) {
            let address = endpoint.ip_address.clone().unwrap_or_default();
            let length = endpoint.ip_prefix_len.unwrap_or(0);
            members.insert(record.id.clone(), json!({
                "Name": record.name,
                "EndpointID": endpoint.endpoint_id.clone().unwrap_or_default(),
                "MacAddress": endpoint.mac_address.clone().unwrap_or_default(),
                "IPv4Address": if address.is_empty() { String::new() } else { format!("{address}/{length}") },
                "IPv6Address": "",
            }));
        }
    }
    json!({
        "Name": network.name, "Id": network.id, "Created": network.created, "Scope": "local",
        "Driver": network.driver, "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": config},
        "Internal": network.internal, "Attachable": false, "Ingress": false,
        "ConfigFrom": {"Network": ""}, "ConfigOnly": false,
        "Containers": members, "Options": network.options, "Labels": network.labels,
    })
}

fn wanted(engine: &Engine, filters: &Filters, network: &Network) -> Result<bool> {
    let builtin = matches!(network.name.as_str(), "bridge" | "host" | "none");
    let used = || {
        engine
            .all_containers()
            .iter()
            .any(|container| container.record().networks.contains_key(&network.name))
    };
    Ok(filters.any("name", |name| network.name.contains(name.as_str()))
        && filters.any("id", |id| network.id.starts_with(id.as_str()))
        && filters.any("driver", |driver| network.driver == *driver)
        && filters.any("scope", |scope| scope == "local")
        && filters.any("type", |kind| (kind == "builtin") == builtin)
        && filters.boolean("dangling")?.is_none_or(|dangling| (!builtin && !used()) == dangling)
        && filters.labels(&network.labels))
}

fn list(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let mut rows = Vec::new();
    for network in engine.networks.all() {
        if wanted(engine, &filters, &network)? {
            rows.push(describe(engine, &network, false));
        }
    }
    answer::json(&rows)
}

fn prune(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["label", "label!", "until"])?;
    let until = filters.get("until").first().and_then(|text| Time::from_query(text));
    let mut deleted = Vec::new();
    for network in engine.networks.all() {
        let used = engine
            .all_containers()
            .iter()
            .any(|container| container.record().networks.contains_key(&network.name));
        let old =
            until.is_none_or(|until| Time::parse(&network.created).is_some_and(|created| created < until));
        if used || !old || !filters.labels(&network.labels) {
            continue;
        }
        if engine.networks.remove(&network.name).is_ok() {
            event(engine, &network, "destroy");
            deleted.push(network.name);
        }
    }
    answer::json(&json!({"NetworksDeleted": deleted}))
}

/// `NetworkSettings` of a container.
pub(super) fn of_container(engine: &Engine, record: &Record) -> Value {
    let mut ports = serde_json::Map::new();
    if record.state.status.is_up() {
        for port in record.config.exposed_ports.iter().flatten() {
            ports.insert(port.clone(), Value::Null);
        }
    }
    for (port, bindings) in &record.ports {
        let bindings: Vec<Value> =
            bindings.iter().map(|(ip, port)| json!({"HostIp": ip, "HostPort": port.to_string()})).collect();
        ports.insert(port.clone(), json!(bindings));
    }
    let bridge = record.networks.get("bridge").cloned().unwrap_or_default();
    let sandbox = engine.settings.exec_root.join("n").join(&record.id[..16]);
    json!({
        "Bridge": "",
        "SandboxID": record.id,
        "SandboxKey": if record.state.status.is_up() && sandbox.exists() { sandbox.to_string_lossy().into_owned() } else { String::new() },
        "Ports": ports,
        "Networks": endpoints(engine, record),
        "EndpointID": bridge.endpoint_id.unwrap_or_default(),
        "Gateway": bridge.gateway.unwrap_or_default(),
        "IPAddress": bridge.ip_address.unwrap_or_default(),
        "IPPrefixLen": bridge.ip_prefix_len.unwrap_or(0),
        "MacAddress": bridge.mac_address.unwrap_or_default(),
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPv6Gateway": "",
        "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null,
    })
}

/// The networks of a container.
pub(super) fn endpoints(engine: &Engine, record: &Record) -> Value {
    let mut all = serde_json::Map::new();
    for (name, endpoint) in &record.networks {
        let id = engine.networks.get(name).map(|network| network.id).unwrap_or_default();
        all.insert(
            name.clone(),
            json!({
                "IPAMConfig": endpoint.ipam_config, "Links": null, "Aliases": endpoint.aliases,
                "DNSNames": endpoint.dns_names, "DriverOpts": endpoint.driver_opts,
                "NetworkID": id,
                "EndpointID": endpoint.endpoint_id.clone().unwrap_or_default(),
                "Gateway": endpoint.gateway.clone().unwrap_or_default(),
                "IPAddress": endpoint.ip_address.clone().unwrap_or_default(),
                "IPPrefixLen": endpoint.ip_prefix_len.unwrap_or(0),
                "MacAddress": endpoint.mac_address.clone().unwrap_or_default(),
                "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
            }),
        );
    }
    Value::Object(all)
}
