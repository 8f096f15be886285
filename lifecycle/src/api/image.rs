//! `/images/…`, and `/auth`.

use std::collections::BTreeMap;
use std::iter::successors;
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::{Answer, Call, Version, answer, inspect};
use crate::container::Record;
use crate::engine::Engine;
use crate::error::{Error, Result, bail, ensure, error};
use crate::glob;
use crate::image::archive::{self, Loaded};
use crate::image::config::check_image;
use crate::image::{Image, Reference, reference};
use crate::registry::{self, Credentials, Registry};

/// Where Docker Hub is searched.
const DOCKER_HUB: &str = "index.docker.io";

pub(super) fn list(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["before", "dangling", "label", "reference", "since", "until"])?;
    let dangling = filters.boolean("dangling")?;
    if call.version >= Version(1, 54) && call.flag("identity") && !call.flag("manifests") {
        bail!(invalid, "conflicting options: identity requires manifests=1");
    }
    let filters = filters.beside(|name| Ok(engine.images.find(name)?.config.created.clone()))?;
    // By a pattern with `*` and `?`, of the repository alone or with its tag.
    let asked = |name: &Reference| {
        let names = [name.familiar_full(), name.familiar(), name.to_string(), name.repository()];
        filters.any("reference", |pattern| names.iter().any(|name| glob::matches(pattern, name)))
    };
    let all = call.flag("all");
    let wanted = |image: &Arc<Image>| {
        let (tags, digests) = engine.images.names(&image.id);
        let is_step = !engine.images.is_named(&image.id) && !engine.images.children(&image.id).is_empty();
        (!is_step || all && dangling != Some(true))
            && dangling.is_none_or(|dangling| tags.is_empty() == dangling)
            && filters.labels(&image.config.container().labels.unwrap_or_default())
            && (tags.iter().chain(&digests).any(&asked) || filters.get("reference").is_empty())
            && filters.in_time(image.config.created.as_deref())
    };
    let row = |image: Arc<Image>| {
        let mut row = inspect::image_row(engine, &image);
        // Of an image with several names, those that were asked for.
        let (tags, digests) = engine.images.names(&image.id);
        for (field, names) in [("RepoTags", tags), ("RepoDigests", digests)] {
            row[field] = names.iter().filter(|name| asked(name)).map(Reference::familiar_full).collect();
        }
        row
    };
    answer::json(&engine.images.all().into_iter().filter(wanted).map(row).collect::<Vec<_>>())
}

/// The image of a name, which is for the platform that is asked for, if one is.
pub(super) fn find(engine: &Engine, call: &Call, name: &str) -> Result<Arc<Image>> {
    let image = engine.images.find(name)?;
    call.platform()?.map_or(Ok(()), |asked| check_image(name, &image.config, &asked))?;
    Ok(image)
}

pub(super) async fn load(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let file = call.spool(&engine.images.content).await?;
    let platform = call.platform()?;
    // Before the answer, as some clients look for the image then; what it fails of is told in the stream.
    let loaded = block_in_place(|| archive::load(&engine.images, file, platform.as_ref()));
    Ok(answer::stream(move |pusher| async move {
        for (image, names) in loaded? {
            if names.is_empty() {
                pusher.json(&json!({"stream": format!("Loaded image ID: {}\n", image.id)})).await;
            }
            for name in names.iter().map(Reference::familiar_full) {
                engine.publish_image(&image, "load", &name);
                pusher.json(&json!({"stream": format!("Loaded image: {name}\n")})).await;
            }
        }
        Ok(())
    }))
}

/// The images of this name: of all in a repository without a tag.
fn named(engine: &Engine, name: &str) -> Option<Vec<Loaded>> {
    let wanted = Reference::parse_exact(name).ok()?;
    let is_all = wanted.tag.is_none() && wanted.digest.is_none();
    let is = |own: &Reference| *own == wanted || is_all && own.repository() == wanted.repository();
    let tags_of = |image: Arc<Image>| {
        let (mut tags, _) = engine.images.names(&image.id);
        tags.retain(is);
        (!tags.is_empty()).then_some((image, tags))
    };
    let found: Vec<Loaded> = engine.images.all().into_iter().filter_map(tags_of).collect();
    Some(found).filter(|found| !found.is_empty())
}

pub(super) fn save(engine: &'static Engine, call: &Call, names: &[String]) -> Result<Answer> {
    let asked = call.platform()?;
    let mut images: BTreeMap<String, Loaded> = BTreeMap::new();
    for name in names.iter().flat_map(|names| names.split(',')) {
        let found = match named(engine, name) {
            Some(found) => found,
            None => vec![(engine.images.find(name)?, Vec::new())],
        };
        for (image, mut tags) in found {
            asked.as_ref().map_or(Ok(()), |asked| check_image(name, &image.config, asked))?;
            let (_, names) = images.entry(image.id.clone()).or_insert_with(|| (image, Vec::new()));
            tags.retain(|tag| !names.contains(tag));
            names.extend(tags);
        }
    }
    let images: Vec<Loaded> = images.into_values().collect();
    images.iter().for_each(|(image, _)| engine.publish_image(image, "save", &image.id));
    Ok(answer::archive(move |writer| {
        let _lease = engine.images.lease();
        archive::save(&engine.images, &images, writer)
    }))
}

pub(super) fn tag(engine: &Engine, call: &Call, name: &str) -> Result<Answer> {
    let image = engine.images.find(name)?;
    let repository = call.text("repo").ok_or_else(|| Error::invalid("repo is missing"))?;
    let reference = call.tagged(repository)?;
    engine.tag(&image, &reference)?;
    Ok(answer::empty(StatusCode::CREATED))
}

/// The containers that were made from an image.
pub(super) fn users(engine: &Engine, id: &str) -> Vec<(String, bool)> {
    let uses = |record: &Record| record.image == id || record.mounts.iter().any(|mount| mount.source == id);
    let of = engine.all_containers().into_iter().filter(|container| uses(&container.record()));
    of.map(|container| (container.id[..12].to_owned(), container.record().state.status.is_up())).collect()
}

/// `DELETE /images/NAME`
pub(super) fn remove(engine: &Engine, call: &Call, name: &str) -> Result<Answer> {
    if call.platform()?.is_some() {
        find(engine, call, name)?;
    }
    answer::json(&untag_or_delete(engine, name, call.flag("force"), !call.flag("noprune"))?)
}

/// Takes a name away, or the whole image when it was the last one or the id was given.
/// With `parents`, those that only were steps on the way to it go with it.
fn untag_or_delete(engine: &Engine, text: &str, force: bool, parents: bool) -> Result<Vec<Value>> {
    ensure!(!text.trim().is_empty(), invalid, "image name cannot be blank");
    let image = engine.images.find(text)?;
    let short = reference::short(&image.id);
    let (tags, digests) = engine.images.names(&image.id);
    let by_id = image.id.trim_start_matches("sha256:").starts_with(text.trim_start_matches("sha256:"));
    let users = users(engine, &image.id);
    let mut done = Vec::new();
    let untag = |reference: &Reference, done: &mut Vec<Value>| -> Result<()> {
        engine.images.untag(reference)?;
        untagged(engine, &image, reference, done);
        Ok(())
    };
    let is_name = |name: &Reference| !by_id && (tags.contains(name) || digests.contains(name));
    let named = Reference::parse(text).ok().filter(is_name);
    if let Some(reference) = &named {
        let others = tags.iter().any(|other| other != reference);
        if let Some((user, _)) = users.first().filter(|_| !others && !force) {
            let name = reference.familiar_full();
            bail!(
                conflict,
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {user} is using its referenced image {short}"
            );
        }
        if others || !users.is_empty() {
            untag(reference, &mut done)?;
            // Digests of a repository go with its last tag.
            let of_it = |other: &&Reference| other.repository() == reference.repository();
            let is_last =
                reference.digest.is_none() && !tags.iter().filter(of_it).any(|tag| tag != reference);
            digests
                .iter()
                .filter(|_| is_last)
                .filter(of_it)
                .try_for_each(|digest| untag(digest, &mut done))?;
            return Ok(done);
        }
    }
    let children = engine.images.children(&image.id);
    let why = if let Some((user, _)) = users.iter().find(|(_, running)| *running) {
        format!("(cannot be forced) - image is being used by running container {user}")
    } else if let Some((user, _)) = users.first().filter(|_| !force) {
        format!("(must be forced) - image is being used by stopped container {user}")
    } else if by_id && tags.len() > 1 && !force {
        "(must be forced) - image is referenced in multiple repositories".to_owned()
    } else if let Some(child) = children.first().filter(|_| named.is_none()) {
        format!("(cannot be forced) - image has dependent child images ({})", reference::short(&child.id))
    } else {
        String::new()
    };
    ensure!(why.is_empty(), conflict, "conflict: unable to delete {short} {why}");
    if children.is_empty() {
        delete(engine, image, parents, &mut done)?;
        done.extend(engine.collect()?.into_iter().map(|layer| json!({"Deleted": layer})));
    } else {
        tags.iter().chain(&digests).try_for_each(|reference| untag(reference, &mut done))?;
    }
    Ok(done)
}

fn untagged(engine: &Engine, image: &Image, reference: &Reference, done: &mut Vec<Value>) {
    let name = reference.familiar_full();
    engine.publish_image(image, "untag", &name);
    done.push(json!({"Untagged": name}));
}

/// Forgets an image with its names; with `parents`, those that only were steps on the way to it, too.
fn delete(engine: &Engine, image: Arc<Image>, parents: bool, done: &mut Vec<Value>) -> Result<()> {
    let (tags, digests) = engine.images.names(&image.id);
    let is_step = |id: &str| {
        !engine.images.is_named(id) && engine.images.children(id).len() == 1 && users(engine, id).is_empty()
    };
    let before = |image: &Arc<Image>| {
        let parent = image.parent.as_deref().filter(|parent| parents && is_step(parent));
        parent.and_then(|parent| engine.images.find(parent).ok())
    };
    let all: Vec<_> = successors(Some(image), before).collect();
    engine.images.forget(&all)?;
    tags.iter().chain(&digests).for_each(|reference| untagged(engine, &all[0], reference, done));
    for image in &all {
        engine.publish_image(image, "delete", &image.id);
        done.push(json!({"Deleted": image.id}));
    }
    Ok(())
}

pub(super) fn prune(engine: &Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["dangling", "label", "label!", "until"])?;
    let all = filters.boolean("dangling")? == Some(false);
    let layers = &engine.images.layers;
    let before: Vec<_> = layers.all().iter().filter_map(|diff_id| layers.get(diff_id)).collect();
    let mut done = Vec::new();
    for image in engine.images.all() {
        let wanted = (all || !engine.images.is_named(&image.id))
            && filters.in_time(image.config.created.as_deref())
            && filters.labels(&image.config.container().labels.unwrap_or_default())
            && engine.images.children(&image.id).is_empty();
        // Name by name, so that an image in use keeps the last.
        let (tags, digests) = engine.images.names(&image.id);
        let names = tags.iter().chain(&digests).map(Reference::familiar_full);
        let own = (tags.is_empty() && digests.is_empty()).then(|| image.id.clone());
        for name in names.chain(own).filter(|_| wanted) {
            done.extend(untag_or_delete(engine, &name, false, true).unwrap_or_default());
        }
    }
    // Also what a load or pull has left that was broken off.
    engine.collect()?;
    // Others may have what an image has, and keep it.
    let gone = before.iter().filter(|layer| layers.get(&layer.diff_id).is_none());
    let freed = gone.map(|layer| layer.size).sum();
    engine.pruned("image", freed);
    answer::json(&json!({"ImagesDeleted": Some(done).filter(|all| !all.is_empty()), "SpaceReclaimed": freed}))
}

/// `POST /images/create?fromImage=`
pub(super) async fn pull(engine: &'static Engine, call: &Call) -> Result<Answer> {
    let name = call.text("fromImage").ok_or_else(|| Error::invalid("fromImage is missing"))?;
    let reference = call.named(name)?;
    let platform = call.platform()?;
    let credentials = registry::from_header(call.header("x-registry-auth"));
    answer::progress(move |pusher| async move {
        registry::pull(engine, &reference, platform.as_ref(), credentials, &pusher).await
    })
    .await
}

/// `POST /images/NAME/push`
pub(super) async fn push(engine: &'static Engine, call: &Call, name: &str) -> Result<Answer> {
    let asked = call.platform()?;
    let reference = call.tagged(name)?;
    // Without a tag, all of the repository.
    let all = named(engine, name).filter(|_| call.text("tag").is_none());
    let one = || Some(vec![(engine.images.find(&reference.to_string()).ok()?, vec![reference.clone()])]);
    let Some(images) = all.or_else(one) else {
        bail!(not_found, "An image does not exist locally with the tag: {}", reference.familiar());
    };
    for (image, _) in &images {
        asked.as_ref().map_or(Ok(()), |asked| check_image(name, &image.config, asked))?;
    }
    let each = |(image, names): Loaded| names.into_iter().map(move |name| (Arc::clone(&image), name));
    let images: Vec<_> = images.into_iter().flat_map(each).collect();
    let credentials = registry::from_header(call.header("x-registry-auth"));
    answer::progress(|pusher| async move {
        let remote = Registry::new(&engine.settings.insecure, &reference.domain, credentials).await?;
        let status = format!("The push refers to repository [{}]", reference.repository());
        pusher.json(&json!({"status": status})).await;
        for (image, name) in &images {
            registry::push(engine, &remote, image, name, &pusher).await?;
        }
        Ok(())
    })
    .await
}

/// `GET /distribution/NAME/json`
pub(super) async fn distribution(engine: &'static Engine, call: &Call, name: &str) -> Result<Answer> {
    let credentials = registry::from_header(call.header("x-registry-auth"));
    let described = registry::describe(engine, &Reference::parse(name)?, credentials).await;
    answer::json(&described.map_err(|error| match error.message.starts_with("unauthorized: ") {
        true => Error { status: StatusCode::UNAUTHORIZED, ..error },
        false => error,
    })?)
}

/// `GET /images/search`
pub(super) async fn search(engine: &'static Engine, call: &Call) -> Result<Answer> {
    let filters = call.filters(&["is-automated", "is-official", "stars"])?;
    let (automated, official) = (filters.boolean("is-automated")?, filters.boolean("is-official")?);
    let stars = |text: &String| text.parse().map_err(|_| error!(invalid, "invalid filter 'stars={text}'"));
    let stars = filters.get("stars").iter().map(stars).collect::<Result<Vec<i64>>>()?;
    let limit = call.number("limit")?.filter(|limit| *limit != 0).unwrap_or(25);
    ensure!((1..=100).contains(&limit), invalid, "Limit {limit} is outside the range of [1, 100]");
    let term = call.text("term").unwrap_or_default();
    if term.contains("://") {
        bail!(invalid, "invalid repository name: repository name ({term}) should not have a scheme");
    }
    let (index, wanted) = match term.split_once('/') {
        Some(("docker.io" | DOCKER_HUB | "library", wanted)) => (DOCKER_HUB, wanted),
        Some((index, wanted)) if index.contains(['.', ':']) || index == "localhost" => (index, wanted),
        _ => (DOCKER_HUB, term),
    };
    let credentials = registry::from_header(call.header("x-registry-auth"));
    let remote = Registry::new(&engine.settings.insecure, index, credentials).await?;
    let mut found = remote.search(wanted, limit).await?;
    found.retain_mut(|one| {
        // As dockerd: whatever an index says, nothing counts as automated any more.
        if let Some(field) = one.get_mut("is_automated") {
            *field = json!(false);
        }
        automated != Some(true)
            && official.is_none_or(|official| one["is_official"] == official)
            && stars.iter().all(|stars| one["star_count"].as_i64() >= Some(*stars))
    });
    answer::json(&found)
}

/// `POST /auth`
pub(super) async fn log_in(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let credentials: Credentials = call.json().await?;
    let server = credentials.server.clone();
    let domain = super::build::domain(&server);
    let remote = Registry::new(&engine.settings.insecure, domain, credentials).await?;
    remote.log_in().await.map_err(|error| Error { status: StatusCode::UNAUTHORIZED, ..error })?;
    answer::json(&json!({"Status": "Login Succeeded", "IdentityToken": ""}))
}
