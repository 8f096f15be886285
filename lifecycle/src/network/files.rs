//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of containers.

use std::net::IpAddr;
use std::path::Path;

use super::links;
use crate::container::{Container, Record};
use crate::engine::Engine;
use crate::error::{Error, Result, ensure, error};
use crate::said;

/// Writes them, and in those of others where this container is now.
///
/// # Errors
/// When an entry is malformed or writing fails.
pub(super) fn write(container: &Container) -> Result<()> {
    write_own(container)?;
    links::tell(container.engine)
}

/// Writes a container's own.
///
/// # Errors
/// When an entry is malformed or writing fails.
pub(super) fn write_own(container: &Container) -> Result<()> {
    let record = container.record().clone();
    let hostname = record.config.hostname.clone().unwrap_or_default();
    rewrite(&container.folder.join("hostname"), &format!("{hostname}\n"))?;
    rewrite(&container.folder.join("hosts"), &hosts(container.engine, &record, &hostname)?)?;
    rewrite(&container.folder.join("resolv.conf"), &resolv(container.engine, &record))
}

/// In place: a running container has the file itself mounted, not its name.
fn rewrite(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::at("write", path))
}

/// What stands for the address of the host.
const GATEWAY: &str = "host-gateway";

/// The name and the address in `--add-host`.
///
/// # Errors
/// When it is something else.
pub fn extra(entry: &str) -> Result<(&str, &str)> {
    let split = entry.split_once(':').or_else(|| entry.split_once('=')).filter(|(name, _)| !name.is_empty());
    let (name, address) = split.ok_or_else(|| error!(invalid, "bad format for add-host: {entry:?}"))?;
    let is_one = address == GATEWAY || address.parse::<IpAddr>().is_ok();
    ensure!(is_one, invalid, "invalid IP address in add-host: {address:?}");
    Ok((name, address))
}

fn hosts(engine: &Engine, record: &Record, hostname: &str) -> Result<String> {
    let mut text = match record.network_mode() {
        "host" => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n".to_owned(),
    };
    for entry in record.host.extra_hosts.iter().flatten() {
        let (name, address) = extra(entry)?;
        let address = match address {
            GATEWAY => {
                // That of a network without containers is nobody's.
                let own = engine.networks.of(record)?.into_iter().next();
                let network = own.map_or_else(|| engine.networks.get("bridge"), Ok)?;
                network.pools.first().map(|pool| pool.gateway().to_string()).unwrap_or_default()
            }
            other => other.to_owned(),
        };
        text += &format!("{address}\t{name}\n");
    }
    let domain = said::text(&record.config.domainname).map(|domain| format!(".{domain}")).unwrap_or_default();
    let full = format!("{hostname}{domain}");
    let short = full.split_once('.').map(|(short, _)| format!(" {short}")).unwrap_or_default();
    let mut networks: Vec<_> = record.networks.iter().collect();
    // Its own name stays where it was when it gets into more of them.
    networks.sort_by_key(|(name, _)| *name != record.network_mode());
    let addresses = networks.iter().flat_map(|(_, own)| [&own.ip_address, &own.global_ipv6_address]);
    text.extend(addresses.flatten().map(|address| format!("{address}\t{full}{short}\n")));
    Ok(text + &links::hosts(engine, record))
}

/// The address of systemd-resolved, and its file of the resolvers that it asks itself.
const RESOLVED: (&str, &str) = ("127.0.0.53", "/run/systemd/resolve/resolv.conf");

/// Resolvers for those whose host has none that they reach, as Docker's.
const PUBLIC: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

fn resolv(engine: &Engine, record: &Record) -> String {
    let mut host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let own = &record.host;
    let of = |host: &str, word: &str| -> Vec<String> {
        host.lines().filter_map(|line| Some(line.strip_prefix(word)?.trim().to_owned())).collect()
    };
    if record.network_mode() != "host" && of(&host, "nameserver") == [RESOLVED.0] {
        host = std::fs::read_to_string(RESOLVED.1).unwrap_or(host);
    }
    let of_host = |word: &&str| of(&host, word);
    let mut servers = Vec::new();
    // Names of containers are known to the resolver of their own networks.
    for (name, endpoint) in record.networks.iter().filter(|(_, endpoint)| endpoint.ip_address.is_some()) {
        let internal = engine.networks.get(name).is_ok_and(|network| network.internal);
        if name != "bridge" && !internal {
            servers.extend(endpoint.gateway.clone());
        }
    }
    let named = !servers.is_empty();
    servers.extend(own.dns.iter().flatten().cloned());
    if servers.is_empty() {
        servers = of_host(&"nameserver");
        // A resolver on the host's loopback is out of reach.
        let is_near = |server: &str| server.starts_with("127.") || server == "::1";
        servers.retain(|server| record.network_mode() == "host" || !is_near(server));
        if servers.is_empty() {
            servers = PUBLIC.map(str::to_owned).to_vec();
        }
    }
    let lines = |own: &Option<Vec<String>>, words: &[&str]| match said::list(own) {
        [] => words.iter().flat_map(of_host).collect(),
        // A point alone is for none.
        own => Vec::from_iter((own != ["."]).then(|| own.join(" "))),
    };
    let mut options: Vec<String> = lines(&own.dns_options, &["options"]);
    // The name of a container is one as it is, before it could be any in a domain of the host.
    if named && !options.iter().any(|option| option.contains("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let all: [(&str, Vec<String>); 3] = [
        ("nameserver", servers),
        ("search", lines(&own.dns_search, &["search", "domain"])),
        ("options", options),
    ];
    all.iter().flat_map(|(word, own)| own.iter().map(move |text| format!("{word} {text}\n"))).collect()
}
