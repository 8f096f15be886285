//! RUN: a command in a container of ours, and what it has written as a layer.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::json;
use tokio::task::block_in_place;

use super::{Build, Instruction, Stage, is_predefined, settings};
use crate::container::{self, Container, Removal, environment};
use crate::error::{Error, Result, error};
use crate::image::short;

impl Build {
    /// Runs a command, unless an earlier build has done so.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    pub(super) async fn run_command(&self, stage: &mut Stage, instruction: &Instruction) -> Result<()> {
        instruction.check_flags(&[])?;
        let command = settings::command(&stage.config, instruction);
        // As it is written in JSON: no two lists of words look the same.
        let told = if instruction.json().is_some() { instruction.rest.clone() } else { command.join(" ") };
        let (environment, known) = self.arguments_of(stage);
        let created_by = match known.len() {
            0 => told.clone(),
            count => format!("|{count} {} {told}", known.join(" ")),
        };
        if self.find_cached(stage, &created_by).await? {
            return Ok(());
        }
        if stage.image.is_none() {
            // A container has an image, if one without files.
            stage.commit(self.engine, "FROM scratch".into(), None)?;
        }
        let body = json!({
            // A command that is empty is the image's.
            "Image": stage.parent(), "Entrypoint": (!command.is_empty()).then_some([""]), "Cmd": command,
            "Env": environment,
            "Healthcheck": {"Test": ["NONE"]}, "HostConfig": self.options.host,
        });
        let container = block_in_place(|| container::create(self.engine, None, body, false))?;
        let ran = self.run_to_end(&container, &told).await;
        let layer = ran.and_then(|()| block_in_place(|| self.engine.images.add_tree(&container.overlay()?)));
        let (keep, keep_failed) = self.options.keep;
        let is_kept = match &layer {
            Ok(_) => keep,
            // One that has not ended goes when its client has gone.
            Err(error) => keep_failed && error.code.is_some(),
        };
        if !is_kept {
            container::remove(&container, Removal { force: true, volumes: true }).await?;
            // Who has gone needs not be told.
            let _told =
                self.say(&format!("Removing intermediate container {}\n", short(&container.id))).await;
        }
        stage.commit(self.engine, created_by, layer?)
    }

    async fn run_to_end(&self, container: &Arc<Container>, told: &str) -> Result<()> {
        self.say(&format!(" ---> Running in {}\n", short(&container.id))).await?;
        let (exits, output) = (container.record().exits, container.next_run());
        container::start(container).await?;
        let mut output = output.await.map_err(|_| Error::internal("the container has no output"))?;
        let following = async {
            while let Some((stream, bytes)) = output.next().await {
                let text = String::from_utf8_lossy(&bytes);
                // As dockerd colours it.
                let text = if stream == 2 { format!("\u{1b}[91m{text}\u{1b}[0m") } else { text.into_owned() };
                self.say(&text).await?;
            }
            container.wait_until(|record| record.exits > exits || record.removed).await;
            Ok::<_, Error>(())
        };
        tokio::select! {
            followed = following => followed,
            () = self.progress.closed() => Err(Error::invalid("the client has gone")),
        }?;
        let code = container.record().state.exit_code;
        match code {
            0 => Ok(()),
            code => {
                let error = error!(invalid, "The command '{told}' returned a non-zero code: {code}");
                Err(Error { code: Some(code), ..error })
            }
        }
    }

    /// The build arguments that a command sees, and those of them that make a difference to the cache.
    fn arguments_of(&self, stage: &Stage) -> (Vec<String>, Vec<String>) {
        let set = stage.config.env.as_deref().unwrap_or_default();
        let free = |(name, _): &(&String, &String)| !environment::has(set, name);
        let pair = |(name, value): (&String, &String)| format!("{name}={value}");
        let known: Vec<String> = stage.arguments.iter().filter(free).map(pair).collect();
        let given = self.options.arguments.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let others = given.filter(|(name, _)| !stage.arguments.contains_key(*name));
        let undeclared = others.filter(|(name, _)| is_predefined(name)).filter(free).map(pair);
        (known.iter().cloned().chain(undeclared).collect(), known)
    }
}
