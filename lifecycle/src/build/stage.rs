//! One stage of a build: what its images are so far, and each instruction as one more of them, or one that an earlier
//! build has made.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bollard_stubs::models::ContainerConfig;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::copy::{self, Copy};
use super::dockerfile::Instruction;
use super::words::Words;
use super::{Build, arguments, settings, short};
use crate::container::user;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::config::{ConfigFile, History, architecture};
use crate::{registry, time, tree};

/// The state of a stage.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// The image so far; none at the beginning of `FROM scratch`.
    pub(super) image: Option<Arc<Image>>,
    /// What its containers run.
    pub(super) config: ContainerConfig,
    author: Option<String>,
    cmd_set: bool,
    /// Declared build arguments.
    pub(super) arguments: BTreeMap<String, Option<String>>,
    /// Something was made anew: nothing after it can be found.
    anew: bool,
}

impl Stage {
    /// The layers so far.
    pub(super) fn layers(&self) -> Vec<String> {
        self.image.as_ref().map(|image| image.config.rootfs.diff_ids.clone()).unwrap_or_default()
    }

    /// The image that the next one is made from, in records: the empty text is none.
    fn parent(&self) -> String {
        self.image.as_ref().map(|image| image.id.clone()).unwrap_or_default()
    }

    /// How the history writes of what is no command.
    fn note(&self, told: &str) -> String {
        format!("{} #(nop) {told}", settings::shell(&self.config).join(" "))
    }

    /// Makes the next image.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn commit(
        &mut self,
        engine: &Engine,
        created_by: String,
        layer: Option<String>,
    ) -> Result<()> {
        let now = time::now();
        let mut config = self.image.as_ref().map(|image| image.config.clone()).unwrap_or_else(|| {
            ConfigFile { architecture: architecture().into(), os: "linux".into(), ..ConfigFile::default() }
        });
        config.created = Some(now.clone());
        config.author.clone_from(&self.author);
        config.config = Some(self.config.clone());
        config.history.push(History {
            created: Some(now),
            created_by: Some(created_by),
            author: self.author.clone(),
            comment: None,
            empty_layer: layer.is_none(),
        });
        config.rootfs.diff_ids.extend(layer);
        let id = engine.images.add(&serde_json::to_vec(&config)?, Some(self.parent()))?;
        self.image = Some(engine.images.find(&id)?);
        self.anew = true;
        Ok(())
    }

    /// Takes the image that an earlier build has made by the same step from the same image, if there is one.
    pub(super) fn cached(&mut self, build: &Build, created_by: &str) -> bool {
        if self.anew || build.options.no_cache {
            return false;
        }
        let images = &build.engine.images;
        // As values: sets come back from the disk in another order.
        let own = serde_json::to_value(&self.config).ok();
        let same = |image: &Arc<Image>| {
            let last = image.config.history.last().and_then(|step| step.created_by.as_deref());
            last == Some(created_by)
                && image.config.author == self.author
                && serde_json::to_value(image.config.container()).ok() == own
                && images.layers_of(image).is_ok()
        };
        let mut found: Vec<_> = images
            .children(&self.parent())
            .iter()
            .filter_map(|id| images.find(id).ok())
            .filter(same)
            .collect();
        found.sort_by(|a, b| a.config.created.cmp(&b.config.created));
        // Named images are all there is, as they may have been named because the others are stale.
        let newest = match build.options.cache_from.is_empty() {
            true => found.pop(),
            false => self.borrowed(build, created_by),
        };
        let any = newest.is_some();
        self.image = newest.or_else(|| self.image.take());
        any
    }

    /// Makes the image of a step that one of the images of `--cache-from` has taken too, after the same ones.
    fn borrowed(&self, build: &Build, created_by: &str) -> Option<Arc<Image>> {
        let images = &build.engine.images;
        let own = self.image.as_ref().map(|image| image.config.clone()).unwrap_or_default();
        let steps = |config: &ConfigFile| {
            config.history.iter().map(|step| (step.created_by.clone(), step.empty_layer)).collect::<Vec<_>>()
        };
        for source in build.options.cache_from.iter().filter_map(|name| images.find(name).ok()) {
            let theirs = &source.config;
            let Some(step) = theirs.history.get(own.history.len()) else { continue };
            let layers = own.rootfs.diff_ids.len();
            if step.created_by.as_deref() != Some(created_by)
                || !steps(theirs).starts_with(&steps(&own))
                || !theirs.rootfs.diff_ids.starts_with(&own.rootfs.diff_ids)
            {
                continue;
            }
            let layer = theirs.rootfs.diff_ids.get(layers).filter(|_| !step.empty_layer);
            let mut config = ConfigFile {
                architecture: theirs.architecture.clone(),
                os: theirs.os.clone(),
                created: step.created.clone(),
                author: self.author.clone(),
                config: Some(self.config.clone()),
                ..own.clone()
            };
            config.history.push(step.clone());
            config.rootfs.diff_ids.extend(layer.cloned());
            let text = serde_json::to_vec(&config).ok()?;
            return images.add(&text, Some(self.parent())).and_then(|id| images.find(&id)).ok();
        }
        None
    }
}

impl Build {
    /// Carries out one instruction.
    ///
    /// # Errors
    /// Those of the instruction.
    pub(super) async fn instruction(&mut self, stage: &mut Stage, instruction: &Instruction) -> Result<()> {
        let environment = stage.config.env.clone().unwrap_or_default();
        let declared = stage.arguments.clone();
        let lookup = move |name: &str| {
            settings::variable(&environment, name).or_else(|| declared.get(name).cloned().flatten())
        };
        let words = Words { escape: self.escape, lookup: &lookup };
        match instruction.word.as_str() {
            "FROM" => return Box::pin(self.from(stage, instruction)).await,
            "ARG" => {
                for (name, default) in arguments(instruction, &words)? {
                    let given = self.options.arguments.get(&name).cloned().flatten();
                    let inherited = || self.global.get(&name).cloned().flatten();
                    let value = given.or(default).or_else(inherited);
                    self.seen.insert(name.clone());
                    stage.arguments.insert(name, value);
                }
                self.note(stage, &format!(" ARG {}", instruction.rest)).await?;
            }
            "MAINTAINER" => {
                stage.author = Some(instruction.rest.clone());
                self.note(stage, &format!(" MAINTAINER {}", instruction.rest)).await?;
            }
            "WORKDIR" => {
                instruction.check_flags(&[])?;
                let path = words.one(&instruction.rest)?;
                self.work_in(stage, &path).await?;
            }
            "COPY" | "ADD" => {
                let copy = read_copy(stage, instruction, &words)?;
                let from = instruction.flag("from").map(|from| words.one(from)).transpose()?;
                self.copy(stage, copy, from, instruction).await?;
            }
            "RUN" => self.run_command(stage, instruction).await?,
            _ => {
                let told = settings::apply(&mut stage.config, &mut stage.cmd_set, instruction, &words)?;
                let told =
                    told.ok_or_else(|| Error::invalid(format!("unknown instruction: {}", instruction.word)))?;
                self.note(stage, &format!(" {told}")).await?;
            }
        }
        let id = stage.parent();
        self.say(&format!(" ---> {}\n", short(&id))).await
    }

    /// An image that has the same files as the one before.
    async fn note(&self, stage: &mut Stage, told: &str) -> Result<()> {
        let created_by = stage.note(told);
        if self.find_cached(stage, &created_by).await? {
            return Ok(());
        }
        stage.commit(&self.engine, created_by, None)
    }

    /// [`Stage::cached`], and the client is told of it.
    pub(super) async fn find_cached(&self, stage: &mut Stage, created_by: &str) -> Result<bool> {
        let found = stage.cached(self, created_by);
        if found {
            self.say(" ---> Using cache\n").await?;
        }
        Ok(found)
    }

    async fn from(&mut self, stage: &mut Stage, instruction: &Instruction) -> Result<()> {
        instruction.check_flags(&["platform"])?;
        let global = self.global.clone();
        let words = Words { escape: self.escape, lookup: &|name| global.get(name).cloned().flatten() };
        let name = words.one(instruction.rest.split_whitespace().next().unwrap_or_default())?;
        if name.is_empty() {
            return Err(Error::invalid(format!("base name ({}) should not be blank", instruction.rest)));
        }
        if let Some(platform) = instruction.flag("platform") {
            let platform = words.one(platform)?;
            if !crate::image::config::is_ours(&platform) {
                return Err(Error::not_found(format!("the platform {platform} is not that of this machine")));
            }
        }
        if name == "scratch" {
            return self.say(" ---> \n").await;
        }
        let image = self.image(&name).await?;
        self.say(&format!(" ---> {}\n", short(&image.id))).await?;
        stage.config = image.config.container();
        stage.author.clone_from(&image.config.author);
        stage.image = Some(image);
        let triggers = stage.config.on_build.take().unwrap_or_default();
        if !triggers.is_empty() {
            let plural = if triggers.len() == 1 { "" } else { "s" };
            self.say(&format!("# Executing {} build trigger{plural}\n", triggers.len())).await?;
        }
        for trigger in triggers {
            let trigger = Instruction::parse(instruction.line, &trigger)?;
            if matches!(trigger.word.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(Error::invalid(format!("{} isn't allowed as an ONBUILD trigger", trigger.word)));
            }
            self.instruction(stage, &trigger).await?;
        }
        Ok(())
    }

    async fn work_in(&self, stage: &mut Stage, path: &str) -> Result<()> {
        let path = absolute(stage, path)?;
        stage.config.working_dir = Some(path.clone());
        let created_by = stage.note(&format!("WORKDIR {path}"));
        if self.find_cached(stage, &created_by).await? {
            return Ok(());
        }
        let (engine, layers) = (Arc::clone(&self.engine), stage.layers());
        let making = spawn_blocking(move || {
            let path = tree::clean(Path::new(&path));
            copy::layer(&engine, &layers, |root| copy::make_folder(root, &path, (0, 0)))
        });
        let layer = making.await??;
        stage.commit(&self.engine, created_by, layer)
    }

    async fn copy(
        &self,
        stage: &mut Stage,
        mut copy: Copy,
        from: Option<String>,
        instruction: &Instruction,
    ) -> Result<()> {
        let source = match &from {
            None => None,
            Some(name) => {
                let by_number = name.parse().ok().and_then(|number: usize| self.done.get(number));
                let image = match by_number {
                    Some((_, image)) => Arc::clone(image),
                    None => self.image(name).await?,
                };
                Some(self.engine.images.files_of(&image.config.rootfs.diff_ids)?)
            }
        };
        let root = match source {
            // A descriptor of its own: it is read by another thread.
            None => tree::Root::new(self.context.root.get(Path::new(""), nix::fcntl::OFlag::O_PATH)?),
            Some(lower) => tree::mount(&lower)?,
        };
        let downloads = self.download(&mut copy).await?;
        let (engine, layers) = (Arc::clone(&self.engine), stage.layers());
        let owner = instruction.flag("chown").map(str::to_owned);
        let looking = spawn_blocking(move || -> Result<_> {
            if let Some(owner) = owner {
                // A user alone means the group of the same name or number.
                let owner = if owner.contains(':') { owner } else { format!("{owner}:{owner}") };
                let image = tree::mount(&engine.images.files_of(&layers)?)?;
                let user = user::find(&image, &owner, &[])?;
                copy.owner = (user.uid, user.gid);
            }
            let found = copy.find(&root)?;
            let digest = copy.digest(&root, &found)?;
            Ok((copy, root, found, digest))
        });
        let (copy, root, found, digest) = looking.await??;
        let flags: String = instruction
            .flags
            .iter()
            .filter(|(name, _)| name != "from")
            .map(|(n, v)| format!("--{n}={v} "))
            .collect();
        let created_by = stage.note(&format!("{} {flags}{digest} in {} ", copy.word, copy.target));
        if self.find_cached(stage, &created_by).await? {
            return Ok(());
        }
        let (engine, layers) = (Arc::clone(&self.engine), stage.layers());
        let copying = spawn_blocking(move || copy::layer(&engine, &layers, |to| copy.run(&root, &found, to)));
        let layer = copying.await??;
        drop(downloads);
        stage.commit(&self.engine, created_by, layer)
    }

    /// Downloads the sources of ADD that are URLs, into folders that go with what is returned.
    async fn download(&self, copy: &mut Copy) -> Result<Vec<TempDir>> {
        let mut downloads = Vec::new();
        let urls: Vec<String> = copy
            .sources
            .iter()
            .filter(|source| copy.word == "ADD" && copy::is_url(source))
            .cloned()
            .collect();
        for url in urls {
            let path = url.split(['?', '#']).next().unwrap_or_default();
            let name =
                path.splitn(4, '/').nth(3).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            if name.is_empty() && copy.target.ends_with('/') || name == ".." || name == "." {
                return Err(Error::invalid(format!("cannot determine filename for source {url}")));
            }
            let folder = self.engine.images.content.folder()?;
            let place = folder.path().join(if name.is_empty() { "download" } else { name });
            let mut options = std::fs::File::options();
            let file = options.write(true).create_new(true).mode(0o600).open(&place);
            registry::download(&url, file.map_err(Error::at("make", &place))?)
                .await
                .map_err(|error| error.context("ADD failed"))?;
            copy.fetched.insert(url, folder.path().to_owned());
            downloads.push(folder);
        }
        Ok(downloads)
    }
}

/// What COPY or ADD says.
fn read_copy(stage: &Stage, instruction: &Instruction, words: &Words<'_>) -> Result<Copy> {
    let word = &instruction.word;
    instruction.check_flags(if word == "COPY" {
        &["from", "chown", "chmod"]
    } else {
        &["chown", "chmod"]
    })?;
    let all = match instruction.json() {
        Some(list) => list.iter().map(|word| words.one(word)).collect::<Result<Vec<_>>>()?,
        None => words.many(&instruction.rest)?,
    };
    let [sources @ .., target] = &all[..] else {
        return Err(Error::invalid(format!("{word} requires at least two arguments")));
    };
    if sources.is_empty() {
        return Err(Error::invalid(format!("{word} requires at least two arguments")));
    }
    if sources.iter().any(|source| source.starts_with("<<")) {
        return Err(Error::invalid("here-documents require BuildKit, which is not part of this engine"));
    }
    let mode = |text: &str| {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        mode.ok_or_else(|| Error::invalid(format!("invalid --chmod {text:?}: expected an octal number")))
    };
    let is_folder = target.ends_with('/') || target == "." || target.ends_with("/.") || target == "..";
    let path = absolute(stage, target)?;
    Ok(Copy {
        word: word.clone(),
        sources: sources.to_vec(),
        fetched: BTreeMap::new(),
        target: if is_folder && path != "/" { format!("{path}/") } else { path },
        owner: (0, 0),
        chown: instruction.flag("chown").is_some(),
        mode: instruction.flag("chmod").map(|text| mode(&words.one(text)?)).transpose()?,
    })
}

/// A path as seen from the working directory.
fn absolute(stage: &Stage, path: &str) -> Result<String> {
    if path.is_empty() {
        return Err(Error::invalid("the path can not be an empty string"));
    }
    let base = stage.config.working_dir.as_deref().unwrap_or("/");
    Ok(Path::new("/").join(tree::clean(&Path::new("/").join(base).join(path))).to_string_lossy().into_owned())
}
