//! `/volumes/…`

use bollard_stubs::models::{Volume, VolumeCreateRequest};
use serde_json::json;

use super::{Answer, Call, Version, answer, inspect};
use crate::engine::Engine;
use crate::error::{Result, StatusCode, bail};
use crate::said;
use crate::volume::is_anonymous;

/// `POST /volumes/create`
pub(super) fn create(engine: &Engine, wish: VolumeCreateRequest) -> Result<Answer> {
    if let Some(driver) = said::text(&wish.driver).filter(|driver| *driver != "local") {
        bail!(not_found, "error looking up volume plugin {driver}: plugin \"{driver}\" not found");
    }
    answer::created(&engine.volumes.create(wish)?)
}

pub(super) fn list(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.boolean("dangling")?;
    let used = engine.used_volumes();
    let wanted = |volume: &Volume| {
        dangling.is_none_or(|dangling| used.contains_key(&volume.name) != dangling)
            && filters.any("name", |name| volume.name.contains(name.as_str()))
            && filters.any("driver", |driver| driver == "local")
            && filters.labels(&volume.labels)
    };
    let volumes: Vec<_> = engine.volumes.all().into_iter().filter(wanted).collect();
    answer::json(&json!({"Volumes": volumes, "Warnings": null}))
}

pub(super) fn remove(engine: &Engine, name: &str, force: bool) -> Result<Answer> {
    if let Some(containers) = engine.used_volumes().get(name) {
        bail!(conflict, "remove {name}: volume is in use - [{}]", containers.join(", "));
    }
    match engine.volumes.remove(name) {
        Err(error) if force && error.status == StatusCode::NOT_FOUND => return answer::done(),
        other => other?,
    }
    answer::done()
}

pub(super) fn prune(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["label", "label!", "all"])?;
    // From API 1.42 on only volumes without a name of a user's are meant, unless all are asked for.
    let all = call.version < Version(1, 42) || filters.boolean("all")? == Some(true);
    let (mut deleted, mut freed) = (Vec::new(), 0);
    for volume in engine.volumes.all() {
        // What one with options has is elsewhere.
        let wanted =
            volume.options.is_empty() && (all || is_anonymous(&volume)) && filters.labels(&volume.labels);
        let size = if wanted { inspect::size_of_tree(&volume.mountpoint) } else { 0 };
        if wanted && remove(engine, &volume.name, false).is_ok() {
            freed += size;
            deleted.push(volume.name);
        }
    }
    engine.pruned("volume", freed);
    answer::json(&json!({"VolumesDeleted": deleted, "SpaceReclaimed": freed}))
}
