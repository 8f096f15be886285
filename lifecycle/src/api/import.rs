//! Images made of files: `docker import` and `docker commit`.

use std::io::Seek;
use std::sync::Arc;

use bollard_stubs::models::ContainerConfig;
use oci_spec::image::History;
use serde_json::json;
use tokio::task::block_in_place;

use super::{Answer, Call, answer};
use crate::build::change;
use crate::container::{self, Container, Status, settings};
use crate::engine::Engine;
use crate::error::{Result, StatusCode, ensure, unless};
use crate::image::config::Platform;
use crate::image::{ConfigFile, Image, Reference};
use crate::registry;

/// The name in a request, if there is one.
fn name(call: &Call) -> Result<Option<Reference>> {
    call.text("repo").map(|repository| call.tagged(repository)).transpose()
}

/// `POST /images/create?fromSrc=-`
pub(super) async fn import(engine: &'static Engine, mut call: Call) -> Result<Answer> {
    let source = call.text("fromSrc").unwrap_or("-").to_owned();
    let reference = name(&call)?;
    let comment = Some(call.text("message").map_or_else(|| format!("Imported from {source}"), str::to_owned));
    let config = change(ContainerConfig::default(), &call.all("changes"))?;
    let Platform { os, architecture, variant } = call.platform()?.unwrap_or_else(Platform::ours);
    ensure!(os == "linux", invalid, "operating system is not supported: {os}");
    let mut file = call.spool(&engine.images.content).await?;
    if source != "-" {
        let url = if source.contains("://") { source } else { format!("http://{source}") };
        registry::download(&url, &mut file).await?;
        file.rewind()?;
    }
    answer::progress(|pusher| async move {
        let image = block_in_place(|| {
            let images = &engine.images;
            let _lease = images.lease();
            let blob = images.content.add(file, None)?;
            let layer = images.layers.unpack(&blob, None)?;
            let mut step = History::default();
            step.set_comment(comment);
            let image = ConfigFile { architecture, variant, ..ConfigFile::ours() }.next(
                config,
                step,
                Some(layer.diff_id),
            );
            finish(engine, &image, None, reference.as_ref())
        })?;
        engine.publish_image(&image, "import", &image.id);
        pusher.json(&json!({"status": image.id})).await;
        Ok(())
    })
    .await
}

/// Adds an image and gives it its name.
fn finish(
    engine: &Engine,
    config: &ConfigFile,
    parent: Option<String>,
    name: Option<&Reference>,
) -> Result<Arc<Image>> {
    let image = engine.images.add(&serde_json::to_vec(config)?, parent)?;
    if let Some(name) = name {
        engine.tag(&image, name)?;
    }
    Ok(image)
}

/// `POST /commit`
pub(super) async fn commit(engine: &Engine, mut call: Call) -> Result<Answer> {
    let own: Option<ContainerConfig> = call.json().await?;
    let container = engine.container(call.text("container").unwrap_or_default())?;
    let reference = name(&call)?;
    // An empty one, as docker-py sends it, is none.
    let own = own.filter(|own| *own != ContainerConfig::default());
    let own = own.unwrap_or_else(|| container.record().config.clone());
    let changed = change(own, &call.all("changes"))?;
    let config = settings::merge(changed, &container.record().config)?;
    let pause = call.flag_or("pause", true) && container.record().state.status == Status::Running;
    // One that has ended meanwhile needs neither a pause nor to be woken.
    let paused = pause && unless(StatusCode::CONFLICT, container::pause(&container).await)?;
    let [author, comment] = ["author", "comment"].map(|key| call.text(key).map(str::to_owned));
    let mut step = History::default();
    step.set_author(author)
        .set_comment(comment.clone())
        .set_created_by(Some(container.record().command.join(" ")));
    let result = block_in_place(|| snapshot(&container, config, step, reference.as_ref()));
    if let Ok(image) = &result {
        let name = reference.as_ref().map(Reference::familiar_full).unwrap_or_default();
        let comment = ("comment", comment.unwrap_or_default());
        container.publish("commit", &[("imageID", image.id.clone()), ("imageRef", name), comment]);
    }
    if paused {
        unless(StatusCode::CONFLICT, container::unpause(&container).await)?;
    }
    answer::created(&json!({"Id": result?.id}))
}

/// Makes an image of a container's present files.
fn snapshot(
    container: &Container,
    config: ContainerConfig,
    step: History,
    reference: Option<&Reference>,
) -> Result<Arc<Image>> {
    let images = &container.engine.images;
    let _lease = images.lease();
    let layer = images.add_tree(&container.overlay()?)?;
    let record = container.record().clone();
    let mut base = images.find(&record.image).map_or_else(|_| ConfigFile::ours(), |base| base.config.clone());
    base.rootfs.diff_ids = record.layers;
    let image = base.next(config, step, layer);
    finish(container.engine, &image, Some(record.image), reference)
}
