//! `/images/…`

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::answer::{self, Answer};
use super::request::Call;
use super::{inspect, not_found};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::glob;
use crate::image::{Image, Reference, archive, reference};

pub(super) async fn route(engine: &'static Engine, call: Call, path: &[&str]) -> Result<Answer> {
    let method = call.method.clone();
    let find = |name: &[&str]| engine.images.find(&name.join("/"));
    match (method.as_str(), path) {
        ("GET", ["json"]) => list(engine, &call),
        ("POST", ["load"]) => load(engine, call).await,
        ("GET", ["get"]) => {
            let names = call.all("names");
            save(engine, names.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect())
        }
        ("POST", ["create"]) if call.text("fromSrc").is_some() => super::import::import(engine, call).await,
        ("POST", ["create"]) => super::registry::pull(engine, &call),
        ("POST", ["prune"]) => prune(engine, &call),
        ("GET", ["search"]) => {
            Err(Error::unavailable("search is a service of Docker Hub, which this engine does not use"))
        }
        // A name may have slashes.
        ("GET", [name @ .., "json"]) => answer::json(&inspect::image(engine, &*find(name)?)?),
        ("GET", [name @ .., "history"]) => answer::json(&inspect::history(engine, &*find(name)?)),
        ("GET", [name @ .., "get"]) => save(engine, vec![name.join("/")]),
        ("POST", [name @ .., "push"]) => super::registry::push(engine, &call, &name.join("/")),
        ("POST", [name @ .., "tag"]) => tag(engine, &call, &name.join("/")),
        ("DELETE", [_, ..]) => {
            answer::json(&remove(engine, &path.join("/"), call.flag("force"), !call.flag("noprune"))?)
        }
        _ => Err(not_found(&call)),
    }
}

fn list(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["before", "dangling", "label", "reference", "since", "until"])?;
    let dangling = filters.boolean("dangling")?;
    let created = |name: &str| Ok(engine.images.find(name)?.config.created.clone());
    let (before, since) = (filters.one("before", created)?, filters.one("since", created)?);
    let all = call.flag("all");
    let wanted = |image: &Arc<Image>| {
        let (tags, digests) = engine.images.names(&image.id);
        let named = !tags.is_empty() || !digests.is_empty();
        let made = &image.config.created;
        let intermediate = !named && !engine.images.children(&image.id).is_empty();
        (all || !intermediate)
            && dangling.is_none_or(|dangling| tags.is_empty() == dangling)
            && filters.labels(&image.config.container().labels.unwrap_or_default())
            && filters
                .any("reference", |pattern| tags.iter().chain(&digests).any(|name| matches(pattern, name)))
            && before.as_ref().is_none_or(|time| made < time)
            && since.as_ref().is_none_or(|time| made > time)
            && filters.old(made.as_deref())
    };
    let row = |image: Arc<Image>| {
        let mut row = inspect::image_row(engine, &image);
        if !filters.get("reference").is_empty() {
            // Of an image with several names, those that were asked for.
            let (tags, _) = engine.images.names(&image.id);
            let shown = tags.iter().filter(|name| filters.any("reference", |pattern| matches(pattern, name)));
            row["RepoTags"] = json!(shown.map(Reference::familiar_full).collect::<Vec<_>>());
        }
        row
    };
    answer::json(&engine.images.all().into_iter().filter(wanted).map(row).collect::<Vec<_>>())
}

/// Whether a name is what a pattern with `*` and `?` asks for: the repository alone, or with its tag.
fn matches(pattern: &str, name: &Reference) -> bool {
    let full = name.familiar_full();
    glob::matches(pattern, &full) || glob::matches(pattern, &name.familiar())
}

async fn load(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let file = call.spool(&engine.images.content).await?;
    Ok(answer::progress(|pusher| async move {
        for (id, names) in block_in_place(|| archive::load(&engine.images, file))? {
            if names.is_empty() {
                pusher.json(&json!({"stream": format!("Loaded image ID: {id}\n")})).await;
            }
            for name in names {
                let name = name.familiar_full();
                if let Ok(image) = engine.images.find(&id) {
                    engine.publish_image(&image, "load", &name);
                }
                pusher.json(&json!({"stream": format!("Loaded image: {name}\n")})).await;
            }
        }
        Ok(())
    }))
}

fn save(engine: &'static Engine, names: Vec<String>) -> Result<Answer> {
    let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
    for name in names {
        let image = engine.images.find(&name)?;
        let reference = Reference::parse(&name).ok().filter(|reference| {
            reference.tag.is_some() && engine.images.names(&image.id).0.contains(reference)
        });
        match images.iter_mut().find(|(other, _)| other.id == image.id) {
            Some((_, references)) => references.extend(reference),
            None => images.push(((*image).clone(), reference.into_iter().collect())),
        }
    }
    Ok(answer::archive(move |writer| {
        let _lease = engine.images.lease();
        archive::save(&engine.images, &images, writer)
    }))
}

fn tag(engine: &Engine, call: &Call, name: &str) -> Result<Answer> {
    let image = engine.images.find(name)?;
    let repository = call.text("repo").ok_or_else(|| Error::invalid("repo is missing"))?;
    let reference = call.tagged(repository)?;
    if reference.digest.is_some() {
        return Err(Error::invalid("refusing to create a tag with a digest reference"));
    }
    engine.images.tag(&reference, &image.id)?;
    engine.publish_image(&image, "tag", &reference.familiar_full());
    Ok(answer::empty(StatusCode::CREATED))
}

/// The containers that were made from an image.
fn users(engine: &Engine, id: &str) -> Vec<(String, bool)> {
    let of = engine.all_containers().into_iter().filter(|container| container.record().image == id);
    of.map(|container| (container.id[..12].to_owned(), container.record().state.status.is_up())).collect()
}

/// Takes a name away, or the whole image when it was the last one or the id was given.
/// With `parents`, those that only were steps on the way to it go with it.
fn remove(engine: &Engine, text: &str, force: bool, parents: bool) -> Result<Vec<Value>> {
    let image = engine.images.find(text)?;
    let short = reference::short(&image.id);
    let (tags, digests) = engine.images.names(&image.id);
    let by_id = image.id.trim_start_matches("sha256:").starts_with(text.trim_start_matches("sha256:"));
    let users = users(engine, &image.id);
    let running = users.iter().find(|(_, running)| *running);
    let mut done = Vec::new();
    let untag = |reference: &Reference, done: &mut Vec<Value>| -> Result<()> {
        engine.images.untag(reference)?;
        let name = reference.familiar_full();
        engine.publish_image(&image, "untag", &name);
        done.push(json!({"Untagged": name}));
        Ok(())
    };
    let named = Reference::parse(text)
        .ok()
        .filter(|reference| !by_id && (tags.contains(reference) || digests.contains(reference)));
    if let Some(reference) = &named {
        let others = tags.iter().filter(|other| *other != reference).count();
        if others > 0 {
            untag(reference, &mut done)?;
            return Ok(done);
        }
        if let Some((user, _)) = users.first().filter(|_| !force) {
            let name = reference.familiar_full();
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {user} is using its referenced image {short}"
            )));
        }
        if !users.is_empty() {
            untag(reference, &mut done)?;
            return Ok(done);
        }
    }
    if let Some((user, _)) = running {
        return Err(Error::conflict(format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {user}"
        )));
    }
    if let Some((user, _)) = users.first().filter(|_| !force) {
        return Err(Error::conflict(format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}"
        )));
    }
    if by_id && tags.len() > 1 && !force {
        return Err(Error::conflict(format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )));
    }
    if let Some(child) = engine.images.children(&image.id).first().filter(|_| named.is_none()) {
        let child = reference::short(child);
        return Err(Error::conflict(format!(
            "conflict: unable to delete {short} (cannot be forced) - image has dependent child images ({child})"
        )));
    }
    for reference in tags.iter().chain(&digests) {
        untag(reference, &mut done)?;
    }
    if !engine.images.children(&image.id).is_empty() {
        return Ok(done);
    }
    delete(engine, &image, parents, &mut done)?;
    Ok(done)
}

/// Removes an image without names, and what is needed by nothing else after that.
fn delete(engine: &Engine, image: &Image, parents: bool, done: &mut Vec<Value>) -> Result<()> {
    engine.images.forget(&image.id)?;
    engine.publish_image(image, "delete", &image.id);
    done.push(json!({"Deleted": image.id}));
    done.extend(engine.collect()?.into_iter().map(|layer| json!({"Deleted": layer})));
    // An image that only was a step on the way to this one.
    let parent = image.parent.as_deref().filter(|_| parents);
    if let Some(parent) = parent.and_then(|parent| engine.images.find(parent).ok()) {
        let (tags, digests) = engine.images.names(&parent.id);
        let free = tags.is_empty() && digests.is_empty() && engine.images.children(&parent.id).is_empty();
        if free && users(engine, &parent.id).is_empty() {
            delete(engine, &parent, parents, done)?;
        }
    }
    Ok(())
}

fn prune(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["dangling", "label", "label!", "until"])?;
    let all = filters.boolean("dangling")? == Some(false);
    let used: BTreeSet<String> =
        engine.all_containers().iter().map(|container| container.record().image.clone()).collect();
    let (mut done, mut freed) = (Vec::new(), 0);
    for image in engine.images.all() {
        let (tags, digests) = engine.images.names(&image.id);
        let named = !tags.is_empty() || !digests.is_empty();
        let kept = used.contains(&image.id)
            || named && !all
            || !filters.old(image.config.created.as_deref())
            || !engine.images.children(&image.id).is_empty();
        if kept || !filters.labels(&image.config.container().labels.unwrap_or_default()) {
            continue;
        }
        let size = engine.images.size(&image);
        if let Ok(removed) = remove(engine, &image.id, true, true) {
            freed += size;
            done.extend(removed);
        }
    }
    answer::json(&json!({"ImagesDeleted": done, "SpaceReclaimed": freed}))
}
