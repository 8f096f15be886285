//! Images made of files: `docker import` and `docker commit`.

use std::io::Seek;

use bollard_stubs::models::ContainerConfig;
use hyper::StatusCode;
use serde_json::json;
use tokio::task::block_in_place;

use super::answer::{self, Answer};
use super::request::Call;
use crate::build::{change, is_url};
use crate::container::{Container, settings};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::image::Reference;
use crate::image::config::{ConfigFile, History};
use crate::{registry, time};

/// The name in a request, if there is one.
fn name(call: &Call) -> Result<Option<Reference>> {
    call.text("repo").map(|repository| call.tagged(repository)).transpose()
}

/// `POST /images/create?fromSrc=-`
pub(super) async fn import(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let source = call.text("fromSrc").unwrap_or_default().to_owned();
    let is_url = is_url(&source);
    if source != "-" && !is_url {
        return Err(Error::invalid(format!("import {source:?}: expected - or a URL of http or https")));
    }
    let reference = name(&call)?;
    let message = call.text("message").map_or_else(|| format!("Imported from {source}"), str::to_owned);
    let config = change(ContainerConfig::default(), &call.all("changes"))?;
    let mut file = call.spool(&engine.images.content).await?;
    if is_url {
        registry::download(&source, file.try_clone()?).await?;
        file.rewind()?;
    }
    Ok(answer::progress(|pusher| async move {
        let id = block_in_place(|| {
            let _lease = engine.images.lease();
            let blob = engine.images.content.add(file, None)?;
            let layer = engine.images.layers.unpack(&engine.images.content, &blob.digest, None)?;
            let now = time::now();
            let history =
                History { created: Some(now.clone()), comment: Some(message), ..History::default() };
            let mut image = ConfigFile {
                created: Some(now),
                config: Some(config),
                history: vec![history],
                ..ConfigFile::ours()
            };
            image.rootfs.diff_ids = vec![layer.diff_id];
            finish(engine, &image, None, reference.as_ref(), "import")
        })?;
        pusher.json(&json!({"status": id})).await;
        Ok(())
    }))
}

/// Adds an image and gives it its name.
fn finish(
    engine: &Engine,
    config: &ConfigFile,
    parent: Option<String>,
    name: Option<&Reference>,
    action: &'static str,
) -> Result<String> {
    let id = engine.images.add(&serde_json::to_vec(config)?, parent)?;
    if let Some(name) = name {
        engine.images.tag(name, &id)?;
    }
    let image = engine.images.find(&id)?;
    let label = name.map_or_else(|| id.clone(), Reference::familiar_full);
    engine.publish_image(&image, action, &label);
    Ok(id)
}

/// `POST /commit`
pub(super) async fn commit(engine: &Engine, mut call: Call) -> Result<Answer> {
    let container = engine.container(call.text("container").unwrap_or_default())?;
    let reference = name(&call)?;
    let own: Option<ContainerConfig> = call.json().await?;
    let own = own.unwrap_or_else(|| container.record().config.clone());
    let changed = change(own, &call.all("changes"))?;
    let config = settings::merge(changed, &container.record().config);
    let pause =
        call.flag_or("pause", true) && container.record().state.status == crate::container::Status::Running;
    let paused = match pause {
        true => crate::container::pause(&container).await,
        false => Ok(()),
    };
    // One that ended just now needs no pause.
    let ended = paused.as_ref().is_err_and(|error| error.kind == Kind::Conflict);
    let pause = pause && !ended;
    if pause {
        paused?;
    }
    let (author, comment) = (call.text("author").map(str::to_owned), call.text("comment").map(str::to_owned));
    let result = block_in_place(|| snapshot(&container, config, author, comment, reference.as_ref()));
    // Nor does one that has ended in its pause have to be woken.
    if pause
        && let Err(error) = crate::container::unpause(&container).await
        && error.kind != Kind::Conflict
    {
        return Err(error);
    }
    let id = result?;
    container.publish("commit", &[("imageID", id.clone())]);
    answer::json_with(StatusCode::CREATED, &json!({"Id": id}))
}

/// Makes an image of a container's present files.
fn snapshot(
    container: &Container,
    config: ContainerConfig,
    author: Option<String>,
    comment: Option<String>,
    reference: Option<&Reference>,
) -> Result<String> {
    let _lease = container.engine.images.lease();
    let layer = container.engine.images.add_tree(&container.overlay()?)?;
    let record = container.record().clone();
    let base = container.engine.images.find(&record.image).ok();
    let now = time::now();
    let mut image = base.map_or_else(ConfigFile::ours, |base| base.config.clone());
    image.created = Some(now.clone());
    image.author.clone_from(&author);
    image.config = Some(config);
    let empty_layer = layer.is_none();
    image.rootfs.diff_ids = record.layers.iter().cloned().chain(layer).collect();
    image.history.push(History {
        created: Some(now),
        created_by: Some(record.command.join(" ")),
        author,
        comment,
        empty_layer,
    });
    finish(container.engine, &image, Some(record.image.clone()), reference, "commit")
}
