//! Creating and removing containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bollard_stubs::models::{ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::block_in_place;
use tree::{Apply, Root, by_descriptor};

use super::{Container, Record, Status, log_options, mounts, places, settings, stop};
use crate::engine::Engine;
use crate::error::{Result, bail, ensure};
use crate::{files, names, network, said, time, volume};

/// Makes a container of a request's body. Where a mount is read-only it is so with all that is mounted below it, unless
/// that is `shallow`.
///
/// # Errors
/// When the request cannot be honoured.
pub fn create(
    engine: &'static Engine,
    name: Option<&str>,
    body: Value,
    shallow: bool,
) -> Result<Arc<Container>> {
    let config: ContainerConfig = part(body.clone())?;
    let host: HostConfig = part(body["HostConfig"].clone())?;
    let networking: NetworkingConfig = part(body["NetworkingConfig"].clone())?;
    let name = name.map(checked_name).transpose()?;
    let named = name.is_some();
    settings::check(&config, &host, &body)?;
    let exposes = !said::list(&config.exposed_ports).is_empty();
    let image_name = config.image.clone().unwrap_or_default();
    ensure!(!image_name.is_empty(), invalid, "no command specified");
    let _lease = engine.images.lease();
    let image = engine.images.find(&image_name)?;
    let mut config = settings::merge(config, &image.config.container())?;
    if let Some(folder) = config.working_dir.as_mut().filter(|folder| folder.starts_with('/')) {
        *folder = files::lossy(&Path::new("/").join(tree::clean(Path::new(folder))));
    }
    let command: Vec<String> =
        config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned().collect();
    ensure!(!command.is_empty(), invalid, "no command specified");
    let mut record = Record {
        id: files::random_hex(32),
        name: name.unwrap_or_else(names::random),
        created: time::now(),
        image: image.id.clone(),
        image_name,
        layers: image.config.rootfs.diff_ids.clone(),
        umask: part(body["HostConfig"]["Umask"].clone())?,
        config,
        host,
        command,
        ..Record::default()
    };
    // As much again of swap, which is told as it is then.
    if let (Some(memory), None) = (said::number(record.host.memory), said::number(record.host.memory_swap)) {
        record.host.memory_swap = Some(memory.saturating_mul(2));
    }
    for mode in [&mut record.host.pid_mode, &mut record.host.ipc_mode].into_iter().flatten() {
        if let Some(other) = mode.strip_prefix("container:") {
            *mode = format!("container:{}", engine.container(other)?.id);
        }
    }
    name_networks(engine, &mut record, networking, &body["MacAddress"])?;
    fill_networks(engine, &mut record, exposes)?;
    network::links::check(engine, &record)?;
    network::ports::check(&record)?;
    said::list(&record.host.extra_hosts).iter().try_for_each(|entry| network::extra(entry).map(drop))?;
    record.config.hostname = Some(match said::text(&record.config.hostname) {
        Some(own) => own.to_owned(),
        None if record.network_mode() == "host" => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
        None => record.id[..12].to_owned(),
    });
    // What would fail at the start for sure fails now, before anything is made.
    super::spec::build(&record, &super::spec::Surroundings::default())?;
    log_options::of(&record)?;
    let container = Container::new(engine, record);
    // Whoever starts or removes it meanwhile waits.
    let busy = container.busy.try_lock();
    let is_half_made = || container.record().half_made;
    let made = container
        .make_folder()
        .and_then(|()| engine.add_container(&container, named))
        .and_then(|()| find_mounts(&container, shallow))
        .and_then(|()| places::make(&container))
        .and_then(|()| fill_volumes(&container))
        .and_then(
            |()| if is_half_made() { container.update(|record| record.half_made = false) } else { Ok(()) },
        );
    if let Err(error) = made {
        container.change(|record| (record.state.status, record.removed) = (Status::Removing, true));
        engine.drop_container(&container.id);
        container.report(files::remove_dir(&container.folder));
        remove_anonymous(&container);
        return Err(error);
    }
    drop(busy);
    container.publish("create", &[]);
    Ok(container)
}

/// Finds out what is mounted into it, and makes the volumes that are not there.
fn find_mounts(container: &Container, shallow: bool) -> Result<()> {
    let (engine, record) = (container.engine, container.record().clone());
    let mounts_of = |name: &str| Ok(engine.container(name)?.record().mounts.clone());
    let image_of = |name: &str| engine.images.find(name);
    let (volumes, mut points) = (said::list(&record.config.volumes), BTreeMap::new());
    let found = mounts::resolve(&record.host, volumes, &engine.volumes, mounts_of, image_of, &mut points);
    for point in points.values_mut() {
        if shallow && matches!(point.kind.as_str(), "bind" | "volume") {
            point.options.push("ro".into());
        }
    }
    // By path, so that what is mounted below another mount comes after it; what was made when it fails, too.
    container.update(|record| {
        record.mounts = points.into_values().collect();
        // Filling volumes takes a while.
        record.half_made = found.is_err() || record.volumes().next().is_some();
    })?;
    found
}

/// A part of a request.
pub(crate) fn part<T: DeserializeOwned + Default>(mut value: Value) -> Result<T> {
    said::understood(&mut value)
}

/// A container's name as a request has it, perhaps with the slash that it is told with.
///
/// # Errors
/// When it is none.
pub fn checked_name(text: &str) -> Result<String> {
    let name = text.strip_prefix('/').unwrap_or(text);
    volume::check_name("container", name).map(|()| name.to_owned())
}

/// Puts the networks into the list that a request says something of.
fn name_networks(engine: &Engine, record: &mut Record, wish: NetworkingConfig, mac: &Value) -> Result<()> {
    for (name, endpoint) in wish.endpoints_config.into_iter().flatten() {
        let name = if name == "default" { "bridge".to_owned() } else { name };
        let name = engine.networks.get(&name).map_or(name, |network| network.name);
        let endpoint = network::wanted(&name, endpoint)?;
        record.networks.insert(name, endpoint);
    }
    // Clients before API 1.44 have it here.
    if let Some(mac) = mac.as_str().filter(|mac| !mac.is_empty()) {
        network::check_mac(mac)?;
        let conflict = "conflicting options: mac-address and the network mode";
        let is_fixed = record.has_fixed_network() && record.network_mode() != "none";
        ensure!(!is_fixed, invalid, "{conflict}");
        let mode = record.network_mode().to_owned();
        let name = engine.networks.get(&mode).map_or(mode, |network| network.name);
        ensure!(
            record.networks.is_empty() || record.networks.contains_key(&name),
            invalid,
            "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"
        );
        let endpoint = record.networks.entry(name).or_default();
        let own = endpoint.mac_address.get_or_insert_with(|| mac.to_owned());
        ensure!(
            own == mac,
            invalid,
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty"
        );
    }
    Ok(())
}

/// Checks the mode of the network, and puts the network it names into a list of none.
fn fill_networks(engine: &Engine, record: &mut Record, exposes: bool) -> Result<()> {
    let mode = record.network_mode().to_owned();
    if let Some(other) = mode.strip_prefix("container:") {
        let host = &record.host;
        let names = [&host.dns, &host.dns_search, &host.dns_options];
        // All of that is the other's.
        let publishes = said::publishes(host) || host.publish_all_ports == Some(true);
        let conflicts = [
            (said::text(&record.config.hostname).is_some(), "hostname and the network mode"),
            (publishes, "port publishing and the container type network mode"),
            (exposes, "port exposing and the container type network mode"),
            (names.iter().any(|list| !said::list(list).is_empty()), "dns and the network mode"),
            (!said::list(&host.extra_hosts).is_empty(), "custom host-to-IP mapping and the network mode"),
        ];
        if let Some((_, what)) = conflicts.iter().find(|(is, _)| *is) {
            bail!(invalid, "conflicting options: {what}");
        }
        ensure!(other != record.name, invalid, "cannot join own network namespace");
        let other = engine.container(other)?;
        record.config.hostname.clone_from(&other.record().config.hostname);
        record.host.network_mode = Some(format!("container:{}", other.id));
        record.networks.clear();
        return Ok(());
    }
    ensure!(mode != "container", invalid, "invalid container format container:<name|id>");
    if matches!(mode.as_str(), "host" | "none") {
        if let Some(other) = record.networks.keys().find(|name| **name != mode) {
            bail!(invalid, "conflicting options: network {other:?} and network mode {mode:?}");
        }
        record.networks.entry(mode).or_default();
        return Ok(());
    }
    let network = engine.networks.get(&mode)?;
    // A list is of all: one that leads nowhere may have to be the only one.
    if record.networks.is_empty() {
        record.networks.insert(network.name, EndpointSettings::default());
    }
    record.host.network_mode = Some(mode);
    record.networks.keys().try_for_each(|name| engine.networks.get(name).map(drop))
}

/// Fills empty volumes with what the image has where they are mounted.
fn fill_volumes(container: &Container) -> Result<()> {
    let points = container.record().mounts.clone();
    let wanted = points.iter().filter(|point| !point.no_copy);
    let mut wanted = wanted.filter_map(|point| Some((point.volume.as_deref()?, point))).peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let image = tree::mount(&container.overlay()?)?;
    for (name, point) in wanted {
        let path = image.resolve(&tree::clean(Path::new(&point.destination)));
        let Some(path) = path.ok().filter(|path| image.folder(path).is_ok()) else { continue };
        // A part that is not there is told at the start.
        let part = mounts::part(&container.engine.volumes.files(name)?, point);
        if let Ok(volume) = part
            && files::entries(&by_descriptor(&volume)).is_empty()
        {
            let apply = Apply { whole: true, ..Apply::default() };
            tree::transfer(&image, &path, Path::new("."), &Root::new(volume), &apply)?;
        }
    }
    Ok(())
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removal {
    /// Kill it when it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
}

/// Removes a container.
///
/// # Errors
/// When it runs, or something of it cannot be removed.
pub async fn remove(container: &Arc<Container>, how: Removal) -> Result<()> {
    let status = container.record().state.status;
    if status.is_active() && !how.force {
        let word = format!("{status:?}").to_lowercase();
        let name = container.record().slash_name();
        let verb = if status == Status::Paused { "unpause" } else { "stop" };
        bail!(
            conflict,
            "cannot remove container \"{name}\": container is {word}: {verb} the container before removing or force remove"
        );
    }
    let mut ended = false;
    let _busy = loop {
        if how.force && container.record().state.status.is_active() {
            stop::end(container, None).await?;
            ended = true;
        }
        let busy = container.busy.lock().await;
        // Somebody may have been about to start it.
        if !how.force || !container.record().state.status.is_up() {
            break busy;
        }
    };
    if container.record().removed {
        // One with --rm has been removed by its end.
        ensure!(ended, not_found, "No such container: {}", container.id);
        return Ok(());
    }
    if container.record().state.status.is_up() {
        bail!(conflict, "container {} was started again", container.id);
    }
    remove_locked(container, how.volumes)
}

/// Removes a container that does not run; the caller keeps others from starting it.
///
/// # Errors
/// When something of it cannot be removed.
pub(super) fn remove_locked(container: &Arc<Container>, volumes: bool) -> Result<()> {
    // Written down, if the disk is not full.
    container.change(|record| record.state.status = Status::Removing);
    let folders = [&container.run, &container.folder];
    let removed = block_in_place(|| folders.into_iter().try_for_each(|folder| files::remove_dir(folder)));
    if let Err(error) = removed {
        container.change(|record| record.state.status = Status::Dead);
        return Err(error);
    }
    container.engine.drop_container(&container.id);
    if volumes {
        remove_anonymous(container);
    }
    container.waiting.lock().clear();
    container.publish("destroy", &[]);
    container.change(|record| record.removed = true);
    Ok(())
}

fn remove_anonymous(container: &Container) {
    let (engine, mounts) = (container.engine, container.record().mounts.clone());
    let used = engine.used_volumes();
    for name in mounts.iter().filter(|mount| mount.anonymous).filter_map(|mount| mount.volume.as_ref()) {
        if !used.contains_key(name) {
            // Somebody may have removed it by hand.
            let _gone = engine.volumes.remove(name);
        }
    }
}
