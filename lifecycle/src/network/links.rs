//! Links: another container, found by a name of this one's own choice. It is a line in `/etc/hosts`, and a name for all
//! in networks that have names; the variables that Docker once set beside it are not.

use std::sync::Arc;

use super::files;
use crate::container::{Container, Record};
use crate::engine::Engine;
use crate::error::{Result, bail, ensure, error};

/// The other container and the name for it: in `container[:name]`, as it is asked for, or in `/container:/own/name`, as
/// it is told.
pub fn split(text: &str) -> (&str, &str) {
    let (other, alias) = text.split_once(':').unwrap_or((text, text));
    (other.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or_default())
}

/// All links of a container, with the network that each is in: its own, and those of its endpoints.
fn of(record: &Record) -> impl Iterator<Item = (&str, (&str, &str))> {
    let mode = if is_default(record.network_mode()) { "bridge" } else { record.network_mode() };
    let own = record.host.links.iter().flatten().map(move |text| (mode, text));
    let endpoints = record
        .networks
        .iter()
        .flat_map(|(name, endpoint)| endpoint.links.iter().flatten().map(move |text| (name.as_str(), text)));
    own.chain(endpoints).map(|(name, text)| (name, split(text)))
}

/// Calls a container by its new name in the links of others.
///
/// # Errors
/// When that cannot be written down.
pub fn rename(engine: &Engine, old: &str, new: &str) -> Result<()> {
    let change = |text: &mut String| {
        let (other, alias) = split(text);
        if other == old {
            *text = format!("{new}:{alias}");
        }
    };
    let has_old = |one: &&Arc<Container>| of(&one.record()).any(|(_, (other, _))| other == old);
    for container in engine.all_containers().iter().filter(has_old) {
        container.update(|record| {
            let endpoints =
                record.networks.values_mut().flat_map(|endpoint| endpoint.links.iter_mut().flatten());
            record.host.links.iter_mut().flatten().chain(endpoints).for_each(change);
        })?;
    }
    Ok(())
}

/// Refuses links of a container to what is not there, or where they have no meaning.
///
/// # Errors
/// With the link.
pub fn check(engine: &Engine, record: &Record) -> Result<()> {
    for text in record.host.links.iter().flatten() {
        let (mode, (other, alias)) = (record.network_mode(), split(text));
        if record.has_fixed_network() {
            let kind = mode.split(':').next().unwrap_or_default();
            let kind = if kind == "container" { "container type network" } else { "host type networking" };
            bail!(
                invalid,
                "conflicting options: {kind} can't be used with links. This would result in undefined behavior"
            );
        }
        let is_name = alias.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        ensure!(is_name && !alias.is_empty(), invalid, "bad format for links: {text}");
        // In networks that have names it may come later.
        if is_default(mode) {
            let missing = |error| error!(invalid, "could not get container for {other}: {error}");
            engine.container(other).map_err(missing)?;
        }
    }
    Ok(())
}

/// Whether a mode is the network where links are needed to find others.
fn is_default(mode: &str) -> bool {
    matches!(mode, "bridge" | "default")
}

/// Refuses to start a container that is linked to one that does not run.
///
/// # Errors
/// With its name.
pub fn check_up(engine: &Engine, record: &Record) -> Result<()> {
    for text in record.host.links.iter().flatten().filter(|_| is_default(record.network_mode())) {
        let (other, alias) = split(text);
        let other = engine.container(other)?.record().clone();
        let of_it = other.has_fixed_network() || other.networks.contains_key("bridge");
        ensure!(
            of_it,
            invalid,
            "Cannot link to /{}, as it does not belong to the default network",
            other.name
        );
        let up = other.state.status.is_up();
        ensure!(
            up,
            internal,
            "Cannot link to a non running container: /{} AS /{}/{alias}",
            other.name,
            record.name
        );
    }
    Ok(())
}

/// The lines of `/etc/hosts` for a container's links: to those that are in a network of its own now.
pub(super) fn hosts(engine: &Engine, record: &Record) -> String {
    let line = |(network, (other, alias)): (&str, (&str, &str))| {
        let other = engine.container(other).ok()?.record().clone();
        let address = other.networks.get(network)?.ip_address.clone()?;
        Some(format!("{address}\t{alias} {} {}\n", other.config.hostname.unwrap_or_default(), other.name))
    };
    of(record).filter_map(line).chain(neighbours(engine, record)).collect()
}

/// Those on a network that leads nowhere, and itself: a resolver for it would be a way out.
fn neighbours(engine: &Engine, record: &Record) -> Vec<String> {
    let shared: Vec<String> = internal(engine, record).collect();
    let mut lines = Vec::new();
    for other in &engine.all_containers() {
        let other = other.record();
        for (network, endpoint) in shared.iter().filter_map(|name| other.networks.get_key_value(name)) {
            let names = endpoint.dns_names.iter().flatten();
            let names: String = names.map(|name| format!("{name} {name}.{network} ")).collect();
            let addresses = endpoint.ip_address.iter().chain(&endpoint.global_ipv6_address);
            lines.extend(addresses.map(|address| format!("{address}\t{names}\n")));
        }
    }
    lines
}

/// A container's networks that lead nowhere.
fn internal(engine: &Engine, record: &Record) -> impl Iterator<Item = String> {
    let is_internal = |name: &&String| engine.networks.get(name).is_ok_and(|network| network.internal);
    record.networks.keys().filter(is_internal).cloned()
}

/// The names that others have for a container in a network.
pub(super) fn aliases(engine: &Engine, id: &str, network: &str) -> Vec<String> {
    let mut aliases = Vec::new();
    for user in engine.all_containers() {
        let record = user.record().clone();
        let is = |other: &str| engine.container(other).is_ok_and(|container| container.id == id);
        let links = of(&record).filter(|(name, (other, _))| *name == network && is(other));
        aliases.extend(links.map(|(_, (_, alias))| alias.to_owned()));
    }
    aliases
}

/// Tells those that run and have links where the others are now.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn tell(engine: &Engine) -> Result<()> {
    for container in engine.all_containers() {
        let record = container.record().clone();
        let has_lines = of(&record).next().is_some() || internal(engine, &record).next().is_some();
        if record.state.status.is_up() && has_lines {
            files::write_own(&container)?;
        }
    }
    Ok(())
}
