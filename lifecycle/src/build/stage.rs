//! One stage of a build: what its images are so far, and each instruction as one more of them, or one that an earlier
//! build has made.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bollard_stubs::models::ContainerConfig;
use oci_spec::image::History;
use tokio::task::block_in_place;
use tree::{Lower, Root};

use super::copy::{self, Copy};
use super::{Build, Instruction, Words, settings, stage_name};
use crate::container::settings::shell;
use crate::container::{environment, user};
use crate::engine::Engine;
use crate::error::{Result, bail, ensure, error};
use crate::image::config::Platform;
use crate::image::{ConfigFile, Image, short};

/// The state of a stage.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// What it is called.
    pub(super) name: Option<String>,
    /// The image so far; none at the beginning of `FROM scratch`.
    pub(super) image: Option<Arc<Image>>,
    /// What its containers run.
    pub(super) config: ContainerConfig,
    /// What it is for, when it begins with nothing and that was said.
    platform: Option<Platform>,
    author: Option<String>,
    cmd_set: bool,
    /// Declared build arguments.
    pub(super) arguments: BTreeMap<String, String>,
    /// Something was made anew: nothing after it can be found.
    anew: bool,
}

impl Stage {
    /// The layers so far.
    pub(super) fn layers(&self) -> Vec<String> {
        self.image.as_ref().map(|image| image.config.rootfs.diff_ids.clone()).unwrap_or_default()
    }

    /// The image that the next one is made from, in records: the empty text is none.
    pub(super) fn parent(&self) -> String {
        self.image.as_ref().map(|image| image.id.clone()).unwrap_or_default()
    }

    /// Gives it the variable PATH that containers have.
    fn set_path(&mut self) {
        let variables = self.config.env.get_or_insert_default();
        if !environment::has(variables, "PATH") {
            variables.push(environment::PATH.to_owned());
        }
    }

    /// How the history writes of what is no command.
    fn note(&self, told: &str) -> String {
        format!("{} #(nop) {told}", shell(&self.config).join(" "))
    }

    /// What the image so far says of itself.
    fn base(&self) -> ConfigFile {
        let empty = || {
            let Platform { os, architecture, variant } = self.platform.clone().unwrap_or_else(Platform::ours);
            ConfigFile { os, architecture, variant, ..ConfigFile::default() }
        };
        self.image.as_ref().map_or_else(empty, |image| image.config.clone())
    }

    /// Makes the next image.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn commit(&mut self, engine: &Engine, told: String, layer: Option<String>) -> Result<()> {
        let mut step = History::default();
        step.set_created_by(Some(told)).set_author(self.author.clone());
        self.add(engine, step, layer)?;
        self.anew = true;
        Ok(())
    }

    fn add(&mut self, engine: &Engine, step: History, layer: Option<String>) -> Result<()> {
        let config = self.base().next(self.config.clone(), step, layer);
        self.image = Some(engine.images.add(&serde_json::to_vec(&config)?, Some(self.parent()))?);
        Ok(())
    }

    /// Takes the next image from one that is given as a cache and has begun as this one has; whether it has one.
    fn take(&mut self, engine: &Engine, source: &ConfigFile, told: &str) -> Result<bool> {
        let (base, layers) = (self.base(), &source.rootfs.diff_ids);
        let Some(step) = source.history.get(base.history.len()) else { return Ok(false) };
        let is_next = step.created_by().as_deref() == Some(told) && has_begun(source, &base);
        if is_next {
            let has_layer = step.empty_layer() != Some(true);
            let layer = layers.get(base.rootfs.diff_ids.len()).filter(|_| has_layer);
            self.add(engine, step.clone(), layer.cloned())?;
        }
        Ok(is_next)
    }
}

impl Build {
    /// Carries out one instruction.
    ///
    /// # Errors
    /// Those of the instruction.
    pub(super) async fn instruction(&mut self, stage: &mut Stage, instruction: &Instruction) -> Result<()> {
        let mut variables = stage.arguments.clone();
        variables.extend(settings::variables(&stage.config));
        let words = Words(variables);
        match instruction.word.as_str() {
            "FROM" => return Box::pin(self.from(stage, instruction)).await,
            "ARG" => {
                stage.arguments.extend(self.declare(instruction, &words)?);
                self.note(stage, &format!(" ARG {}", instruction.rest)).await?;
            }
            "MAINTAINER" => {
                stage.author = Some(instruction.rest.clone());
                self.note(stage, &format!(" MAINTAINER {}", instruction.rest)).await?;
            }
            "WORKDIR" => {
                instruction.check_flags(&[])?;
                let path = copy::absolute(&stage.config, &words.one(&instruction.rest)?)?;
                stage.config.working_dir = Some(path.clone());
                let (told, folder) = (stage.note(&format!("WORKDIR {path}")), tree::clean(Path::new(&path)));
                self.step(stage, told, |root| copy::make_folder(root, &folder, (0, 0))).await?;
            }
            "COPY" | "ADD" => self.copy(stage, instruction, &words).await?,
            "RUN" => self.run_command(stage, instruction).await?,
            _ => {
                let told = settings::apply(&mut stage.config, &mut stage.cmd_set, instruction, &words)?;
                let told =
                    told.ok_or_else(|| error!(invalid, "unknown instruction: {}", instruction.word))?;
                self.note(stage, &format!(" {told}")).await?;
            }
        }
        let id = stage.parent();
        self.say(&format!(" ---> {}\n", short(&id))).await
    }

    /// An image that has the same files as the one before.
    async fn note(&self, stage: &mut Stage, told: &str) -> Result<()> {
        let created_by = stage.note(told);
        let found = self.find_cached(stage, &created_by).await?;
        if found { Ok(()) } else { stage.commit(self.engine, created_by, None) }
    }

    /// An image whose files are those of the one before, after `change`.
    async fn step(
        &self,
        stage: &mut Stage,
        created_by: String,
        change: impl FnOnce(&Root) -> Result<()>,
    ) -> Result<()> {
        if self.find_cached(stage, &created_by).await? {
            return Ok(());
        }
        let layer = block_in_place(|| {
            let images = &self.engine.images;
            let folder = images.content.folder()?;
            let upper = Some((folder.path().join("upper"), folder.path().join("work")));
            let tree = Lower { upper, ..images.layers.files_of(&stage.layers())? };
            tree.make()?;
            change(&tree::mount(&tree)?)?;
            images.add_tree(&tree)
        })?;
        stage.commit(self.engine, created_by, layer)
    }

    /// Takes the image that an earlier build has made by the same step from the same image, if there is one.
    pub(super) async fn find_cached(&self, stage: &mut Stage, created_by: &str) -> Result<bool> {
        if stage.anew || self.options.no_cache {
            return Ok(false);
        }
        let images = &self.engine.images;
        // As values: sets come back from the disk in another order.
        let own = serde_json::to_value(&stage.config).ok();
        let platform = Platform::of(&stage.base());
        let same = |image: &Arc<Image>| {
            let last = image.config.history.last().and_then(|step| step.created_by().as_deref());
            last == Some(created_by)
                && image.config.author == stage.author
                && Platform::of(&image.config) == platform
                && serde_json::to_value(image.config.container()).ok() == own
                && images.layers_of(image).is_ok()
        };
        let from = self.options.cache_from.as_deref();
        let leads = |image: &Image| {
            from.is_none_or(|all| all.iter().any(|source| has_begun(&source.config, &image.config)))
        };
        let found = images.children(&stage.parent()).into_iter().filter(same).filter(|image| leads(image));
        if let Some(newest) = found.max_by(|a, b| a.config.created.cmp(&b.config.created)) {
            stage.image = Some(newest);
        } else {
            let mut taken = false;
            for source in from.unwrap_or_default() {
                taken = taken || stage.take(self.engine, &source.config, created_by)?;
            }
            if !taken {
                return Ok(false);
            }
        }
        self.say(" ---> Using cache\n").await?;
        Ok(true)
    }

    async fn from(&mut self, stage: &mut Stage, instruction: &Instruction) -> Result<()> {
        instruction.check_flags(&["platform"])?;
        stage.name = stage_name(instruction)?;
        let words = Words(self.global.clone());
        let name = words.one(instruction.rest.split_whitespace().next().unwrap_or_default())?;
        ensure!(!name.is_empty(), invalid, "base name ({}) should not be blank", instruction.rest);
        let own = instruction.flag("platform").map(|text| Platform::parse(&words.one(text)?)).transpose()?;
        let asked = own.or_else(|| self.options.platform.clone());
        if name == "scratch" {
            stage.platform = asked;
            stage.set_path();
            return self.say(" ---> \n").await;
        }
        let image = self.image(&name, asked.as_ref()).await?;
        self.say(&format!(" ---> {}\n", short(&image.id))).await?;
        stage.config = image.config.container();
        stage.set_path();
        stage.author.clone_from(&image.config.author);
        stage.image = Some(image);
        let triggers = stage.config.on_build.take().unwrap_or_default();
        if !triggers.is_empty() {
            let plural = if triggers.len() == 1 { "" } else { "s" };
            self.say(&format!("# Executing {} build trigger{plural}\n", triggers.len())).await?;
        }
        for trigger in triggers {
            self.instruction(stage, &instruction.trigger(&trigger)?).await?;
        }
        Ok(())
    }

    async fn copy(&self, stage: &mut Stage, instruction: &Instruction, words: &Words) -> Result<()> {
        let mut copy = Copy::read(&stage.config, instruction, words)?;
        copy.download(&self.context.root).await?;
        let mounted;
        let root = match instruction.flag("from").map(|from| words.one(from)).transpose()? {
            None => &self.context.root,
            Some(name) => {
                let image = match name.parse::<usize>().map(|number| self.done.get(number)) {
                    Ok(Some((_, image))) => Arc::clone(image),
                    Ok(None) if name == self.done.len().to_string() => {
                        bail!(invalid, "invalid from flag value {name}: refers to current build stage")
                    }
                    Ok(None) => bail!(invalid, "invalid from flag value {name}: index out of bounds"),
                    Err(_) => {
                        let found = self.image(&name, self.options.platform.as_ref()).await;
                        found.map_err(|error| error.context(format!("invalid from flag value {name}")))?
                    }
                };
                mounted = tree::mount(&self.engine.images.layers.files_of(&image.config.rootfs.diff_ids)?)?;
                &mounted
            }
        };
        let owner = instruction.flag("chown").map(|owner| words.one(owner)).transpose()?;
        let (found, digest) = block_in_place(|| -> Result<_> {
            if let Some(owner) = &owner {
                // A user alone means the group of the same name or number.
                let owner = if owner.contains(':') { owner.clone() } else { format!("{owner}:{owner}") };
                let image = tree::mount(&self.engine.images.layers.files_of(&stage.layers())?)?;
                let user = user::find(&image, &owner, &[])?;
                copy.owner = Some((user.uid, user.gid));
            }
            let found = copy.find(root)?;
            let digest = copy.digest(root, &found)?;
            Ok((found, digest))
        })?;
        let owner = owner.map(|owner| format!("--chown={owner} ")).unwrap_or_default();
        let created_by = stage.note(&format!("{} {owner}{digest} in {} ", copy.word, copy.written));
        self.step(stage, created_by, |to| copy.run(root, &found, to)).await
    }
}

/// Whether an image has begun with the steps of another, and their layers.
fn has_begun(image: &ConfigFile, with: &ConfigFile) -> bool {
    image.history.starts_with(&with.history) && image.rootfs.diff_ids.starts_with(&with.rootfs.diff_ids)
}
