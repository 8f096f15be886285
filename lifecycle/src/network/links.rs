//! Links: another container, found by a name of this one's own choice. It is in `/etc/hosts`, and a name for all in
//! networks that have names; on the default network there are also variables, as Docker sets them.

use std::sync::Arc;

use super::files;
use crate::container::{Container, Record};
use crate::engine::Engine;
use crate::error::{Result, bail, error};

/// The other container and the name for it, in `container[:name]`.
fn split(text: &str) -> (&str, &str) {
    let (other, alias) = text.split_once(':').unwrap_or((text, text));
    (other, alias.trim_start_matches('/'))
}

/// All links of a container: its own, and those of its endpoints.
fn of(record: &Record) -> impl Iterator<Item = (&str, &str)> {
    let endpoints = record.networks.values().flat_map(|endpoint| endpoint.links.iter().flatten());
    record.host.links.iter().flatten().chain(endpoints).map(|text| split(text))
}

/// Refuses links of a container to what is not there, or where they have no meaning.
///
/// # Errors
/// With the link.
pub fn check(engine: &Engine, record: &Record) -> Result<()> {
    for text in record.host.links.iter().flatten() {
        if record.has_fixed_network() {
            let mode = record.network_mode();
            bail!(invalid, "conflicting options: {mode} type networking can't be used with links");
        }
        let (other, alias) = split(text);
        if alias.is_empty() || !alias.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            bail!(invalid, "bad format for links: {text}");
        }
        let missing = |error| error!(invalid, "could not get container for {other}: {error}");
        engine.container(other).map_err(missing)?;
    }
    Ok(())
}

/// The lines of `/etc/hosts` for a container's links: to those that are in a network of its own now.
pub(super) fn hosts(engine: &Engine, record: &Record) -> String {
    let line = |(other, alias): (&str, &str)| {
        let other = engine.container(other).ok()?.record().clone();
        let address = address(record, &other)?;
        Some(format!("{address}\t{alias} {} {}\n", other.config.hostname.unwrap_or_default(), other.name))
    };
    of(record).filter_map(line).collect()
}

/// Where one container finds another.
fn address(record: &Record, other: &Record) -> Option<String> {
    record.networks.keys().find_map(|name| other.networks.get(name)?.ip_address.clone())
}

/// Those that have a link to a container, each with its name for it.
fn users(engine: &Engine, id: &str) -> Vec<(Arc<Container>, String)> {
    let mut all = Vec::new();
    for user in engine.all_containers() {
        let record = user.record().clone();
        let here = |other: &str| engine.container(other).is_ok_and(|container| container.id == id);
        all.extend(
            of(&record).filter(|(other, _)| here(other)).map(|(_, alias)| (user.clone(), alias.to_owned())),
        );
    }
    all
}

/// The names that others have for a container.
pub(super) fn aliases(engine: &Engine, id: &str) -> Vec<String> {
    users(engine, id).into_iter().map(|(_, alias)| alias).collect()
}

/// Tells those that run and have a link to a container where it is now.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn tell(engine: &Engine, id: &str) -> Result<()> {
    let running = |user: &Container| user.id != id && user.record().state.status.is_up();
    users(engine, id)
        .iter()
        .filter(|(user, _)| running(user))
        .try_for_each(|(user, _)| files::write_own(user))
}

/// The variables that tell a container on the default network of its links.
///
/// # Errors
/// When the other container does not run.
pub fn variables(engine: &Engine, record: &Record) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let links = record.host.links.iter().flatten().filter(|_| record.network_mode() == "bridge");
    for (name, alias) in links.map(|text| split(text)) {
        let other = engine.container(name)?.record().clone();
        let Some(ip) = address(record, &other) else {
            bail!(conflict, "Cannot link to a non running container: /{}", other.name);
        };
        let prefix = alias.replace('-', "_").to_uppercase();
        let mut ports: Vec<_> =
            other.config.exposed_ports.iter().flatten().filter_map(|p| p.split_once('/')).collect();
        ports.sort_by_key(|(port, _)| port.parse::<u16>().unwrap_or(0));
        all.extend(ports.first().map(|(port, kind)| format!("{prefix}_PORT={kind}://{ip}:{port}")));
        for (port, kind) in ports {
            let one = format!("{prefix}_PORT_{port}_{}", kind.to_uppercase());
            all.push(format!("{one}={kind}://{ip}:{port}"));
            let parts = [("ADDR", ip.as_str()), ("PORT", port), ("PROTO", kind)];
            all.extend(parts.map(|(part, value)| format!("{one}_{part}={value}")));
        }
        all.push(format!("{prefix}_NAME=/{}/{alias}", record.name));
        let own = other
            .config
            .env
            .iter()
            .flatten()
            .filter(|text| !text.starts_with("PATH=") && !text.starts_with("HOME="));
        all.extend(own.map(|text| format!("{prefix}_ENV_{text}")));
    }
    Ok(all)
}

/// Takes a link away: `DELETE /containers/NAME/ALIAS?link=1`.
///
/// # Errors
/// When there is none of this name.
pub fn remove(container: &Container, alias: &str) -> Result<()> {
    let name = container.record().name.clone();
    let mut found = false;
    container.update(|record| {
        if let Some(links) = &mut record.host.links {
            let before = links.len();
            links.retain(|text| split(text).1 != alias);
            found |= links.len() < before;
        }
    })?;
    match found {
        true if container.record().state.status.is_up() => files::write_own(container),
        true => Ok(()),
        false => Err(error!(not_found, "Cannot get parent /{name} for link {alias}")),
    }
}
