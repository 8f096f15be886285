//! RUN: a command in a container of ours, and what it has written as a layer.

use std::sync::Arc;

use serde_json::json;
use tokio::task::block_in_place;

use super::dockerfile::Instruction;
use super::stage::Stage;
use super::{Build, is_predefined, settings};
use crate::container::{self, Container, Removal, environment};
use crate::error::{Error, Result};
use crate::image::reference::short;

impl Build {
    /// Runs a command, unless an earlier build has done so.
    ///
    /// # Errors
    /// When it cannot be run, or fails.
    pub(super) async fn run_command(&mut self, stage: &mut Stage, instruction: &Instruction) -> Result<()> {
        instruction.check_flags(&[])?;
        let command = settings::command(&stage.config, instruction);
        let told = if instruction.json().is_some() { quoted(&command) } else { command.join(" ") };
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
            let note = "FROM scratch".to_owned();
            stage.commit(self.engine, note, None)?;
        }
        let image = stage.image.as_ref().map(|image| image.id.clone()).unwrap_or_default();
        let body = json!({
            "Image": image, "Cmd": command, "Entrypoint": [""], "Env": environment,
            "Healthcheck": {"Test": ["NONE"]}, "HostConfig": self.options.host,
        });
        let container = block_in_place(|| container::create(self.engine, None, body))?;
        let ran = self.run_to_end(&container, &told).await;
        let layer = match ran {
            Ok(()) => block_in_place(|| self.engine.images.add_tree(&container.overlay()?)),
            Err(error) => Err(error),
        };
        let (keep, keep_failed) = self.options.keep;
        if if layer.is_ok() { !keep } else { !keep_failed } {
            let how = Removal { force: true, volumes: true };
            container::remove(&container, how).await?;
            // Who has gone needs not be told.
            let _told =
                self.say(&format!("Removing intermediate container {}\n", short(&container.id))).await;
        }
        stage.commit(self.engine, created_by, layer?)
    }

    async fn run_to_end(&mut self, container: &Arc<Container>, told: &str) -> Result<()> {
        self.say(&format!(" ---> Running in {}\n", short(&container.id))).await?;
        let (exits, output) = (container.exits(), container.streams.next_run());
        container::start(container).await?;
        let mut output = output.await.map_err(|_| Error::internal("the container has no output"))?;
        let gone = self.progress.clone();
        loop {
            let piece = tokio::select! {
                piece = output.recv() => piece,
                () = gone.closed() => return Err(Error::invalid("the client has gone")),
            };
            let Some((stream, bytes)) = piece else { break };
            let text = String::from_utf8_lossy(&bytes);
            // As dockerd colours it.
            let text = if stream == 2 { format!("\u{1b}[91m{text}\u{1b}[0m") } else { text.into_owned() };
            self.say(&text).await?;
        }
        tokio::select! {
            () = container.wait_until(|container| container.exits() > exits || container.is_removed()) => {}
            () = gone.closed() => return Err(Error::invalid("the client has gone")),
        }
        match container.record().state.exit_code {
            0 => Ok(()),
            code => {
                self.exit = Some(code);
                Err(Error::invalid(format!("The command '{told}' returned a non-zero code: {code}")))
            }
        }
    }

    /// The build arguments that a command sees, and those of them that make a difference to the cache.
    fn arguments_of(&self, stage: &Stage) -> (Vec<String>, Vec<String>) {
        let set = stage.config.env.as_deref().unwrap_or_default();
        let free = |name: &&String| environment::get(set, name).is_none();
        let pair =
            |(name, value): (&String, &Option<String>)| value.as_ref().map(|value| format!("{name}={value}"));
        let known: Vec<String> =
            stage.arguments.iter().filter(|(name, _)| free(name)).filter_map(pair).collect();
        let undeclared =
            self.options.arguments.iter().filter(|(name, _)| {
                is_predefined(name) && !stage.arguments.contains_key(*name) && free(name)
            });
        (known.iter().cloned().chain(undeclared.filter_map(pair)).collect(), known)
    }
}

/// Words such that no two lists of them look the same.
fn quoted(words: &[String]) -> String {
    let quote = |word: &String| {
        let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "'\"\\".contains(c));
        if plain { word.clone() } else { format!("{word:?}") }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}
