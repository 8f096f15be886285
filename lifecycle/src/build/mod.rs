//! The classic builder behind `POST /build`: a Dockerfile, instruction by instruction, each an image that the next
//! build finds again.
//!
//! | file | what |
//! |---|---|
//! | `dockerfile`, `words` | from text to instructions and words |
//! | [`context`] | what the client sent |
//! | `settings` | instructions that change what containers run |
//! | `stage` | one stage: its state, its cache, its images |
//! | `copy`, `run` | instructions that change files |

pub mod context;
mod copy;
mod dockerfile;
mod run;
mod settings;
mod stage;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

pub use dockerfile::{Instruction, parse};
pub use settings::change;

use crate::api::answer::Pusher;
use crate::engine::Engine;
use crate::error::{Error, Result, ensure, error};
use crate::image::config::Platform;
use crate::image::{Image, Reference, Unpacked, short};
use crate::registry::{self, Credentials};
use stage::Stage;
use words::Words;

/// Whether a build argument needs no ARG, and is nothing that the cache looks at.
fn is_predefined(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let kind = lower.strip_suffix("_proxy");
    kind.is_some_and(|kind| ["http", "https", "ftp", "no", "all"].contains(&kind))
        && (name == lower || name == name.to_ascii_uppercase())
}

/// What was asked for.
#[derive(Default)]
pub struct Options {
    /// The names of the image.
    pub names: Vec<Reference>,
    /// Build arguments; one without a value is one that the client's environment does not have.
    pub arguments: BTreeMap<String, Option<String>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Make everything anew.
    pub no_cache: bool,
    /// The images that steps are taken from, if not all that are here.
    pub cache_from: Option<Vec<Arc<Image>>>,
    /// The stage to end with.
    pub target: Option<String>,
    /// What the image is for, if that was said.
    pub platform: Option<Platform>,
    /// Ask the registry for newer images.
    pub pull: bool,
    /// Keep the containers of RUN; keep them when it failed.
    pub keep: (bool, bool),
    /// The `HostConfig` of the containers of RUN.
    pub host: Value,
    /// Who we are to which registry.
    pub credentials: HashMap<String, Credentials>,
}

/// A build.
pub struct Build {
    engine: &'static Engine,
    /// Where progress goes.
    progress: Pusher,
    options: Options,
    context: Unpacked,
    /// The images of the stages that are done, and their names.
    done: Vec<(Option<String>, Arc<Image>)>,
    /// ARGs before the first FROM.
    global: BTreeMap<String, String>,
    /// ARGs that were seen anywhere.
    seen: BTreeSet<String>,
}

impl Build {
    /// Of a context; progress goes to `progress`.
    pub fn new(engine: &'static Engine, progress: Pusher, options: Options, context: Unpacked) -> Self {
        Self {
            engine,
            progress,
            options,
            context,
            done: Vec::new(),
            global: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Builds; returns the id of the image.
    ///
    /// # Errors
    /// When an instruction fails, or the client has gone.
    pub async fn run(&mut self, mut file: Vec<Instruction>) -> Result<String> {
        let engine = self.engine;
        let _lease = engine.images.lease();
        self.prepare(&mut file)?;
        let mut stage: Option<Stage> = None;
        for (index, instruction) in file.iter().enumerate() {
            self.say(&format!("Step {}/{} : {}\n", index + 1, file.len(), instruction.original)).await?;
            if instruction.word == "FROM" {
                self.finish(stage.replace(Stage::default())).await?;
            }
            match &mut stage {
                Some(stage) => self.instruction(stage, instruction).await?,
                // An ARG before the first FROM.
                None => {
                    let declared = self.declare(instruction, &Words(self.global.clone()))?;
                    self.global.extend(declared);
                }
            }
        }
        self.finish(stage).await?;
        let known = |name: &str| self.seen.contains(name) || is_predefined(name);
        let given = self.options.arguments.keys().map(String::as_str);
        let unused = given.filter(|name| !known(name)).collect::<Vec<_>>().join(" ");
        if !unused.is_empty() {
            self.say(&format!("[Warning] One or more build-args [{unused}] were not consumed\n")).await?;
        }
        let (_, image) = self.done.last().ok_or_else(|| Error::invalid("No image was generated"))?;
        let id = image.id.clone();
        engine.publish_image(image, "create", &id);
        self.say(&format!("Successfully built {}\n", short(&id))).await?;
        for name in &self.options.names {
            engine.tag(image, name)?;
            self.say(&format!("Successfully tagged {}\n", name.familiar_full())).await?;
        }
        Ok(id)
    }

    /// Takes the image of a stage that is done.
    async fn finish(&mut self, stage: Option<Stage>) -> Result<()> {
        if let Some(stage) = stage {
            let image = stage.image.ok_or_else(|| Error::invalid("No image was generated"))?;
            self.progress.json(&json!({"aux": {"ID": image.id}})).await;
            self.done.push((stage.name, image));
        }
        Ok(())
    }

    /// Checks where stages begin, leaves out what comes after the one that is wanted, and adds the labels that are asked
    /// for besides.
    fn prepare(&self, file: &mut Vec<Instruction>) -> Result<()> {
        let begins = file.iter().find(|one| one.word != "ARG").is_some_and(|one| one.word == "FROM");
        ensure!(begins, invalid, "no build stage in current context: FROM must come first");
        let froms = file.iter().enumerate().filter(|(_, one)| one.word == "FROM");
        let stages = froms.map(|(at, from)| Ok((at, stage_name(from)?))).collect::<Result<Vec<_>>>()?;
        if let Some(target) = &self.options.target {
            let meant =
                |name: &Option<String>| name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(target));
            let number = target.parse().ok().filter(|number| *number < stages.len());
            let missing = || error!(invalid, "target stage {target:?} could not be found");
            let number = stages.iter().position(|(_, name)| meant(name)).or(number).ok_or_else(missing)?;
            file.truncate(stages.get(number + 1).map_or(file.len(), |(at, _)| *at));
        }
        if !self.options.labels.is_empty() {
            let quote = |text: &String| format!("'{}'", text.replace('\'', "'\"'\"'"));
            let pair = |(name, value)| format!("{}={}", quote(name), quote(value));
            let pairs: Vec<_> = self.options.labels.iter().map(pair).collect();
            file.push(Instruction::parse(0, &format!("LABEL {}", pairs.join(" ")))?);
        }
        Ok(())
    }

    /// Tells the client.
    ///
    /// # Errors
    /// When it has gone: nobody wants the image any more.
    async fn say(&self, text: &str) -> Result<()> {
        let told = self.progress.json(&json!({"stream": text})).await;
        told.then_some(()).ok_or_else(|| Error::invalid("the client has gone"))
    }

    /// What an ARG declares, as far as it has a value: the client's, its own, or that of before the first FROM.
    fn declare(&mut self, instruction: &Instruction, words: &Words) -> Result<Vec<(String, String)>> {
        instruction.check_flags(&[])?;
        let mut declared = Vec::new();
        for (name, default) in words.assignments(&instruction.rest)? {
            ensure!(!name.is_empty(), invalid, "ARG names can not be blank");
            self.seen.insert(name.clone());
            let given = self.options.arguments.get(&name).cloned();
            let value = given.flatten().or(default).or_else(|| self.global.get(&name).cloned());
            declared.extend(value.map(|value| (name, value)));
        }
        Ok(declared)
    }

    /// An image by the name that FROM or `--from` gives: a stage's, or one of the engine's for the platform that is asked
    /// for, pulled if it is not here.
    async fn image(&self, name: &str, asked: Option<&Platform>) -> Result<Arc<Image>> {
        let of_name = |(own, _): &&(Option<String>, _)| {
            own.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        if let Some((_, image)) = self.done.iter().find(of_name) {
            return Ok(Arc::clone(image));
        }
        if !self.options.pull
            && let Ok(image) = self.engine.images.find(name)
            && asked.is_none_or(|asked| asked.distance(&Platform::of(&image.config)).is_some())
        {
            return Ok(image);
        }
        let reference = Reference::parse(name)?;
        let credentials = self.options.credentials.get(&reference.domain).cloned().unwrap_or_default();
        registry::pull(self.engine, &reference, asked, credentials, &self.progress).await?;
        self.engine.images.find(&reference.to_string())
    }
}

/// The name in `FROM image AS name`.
fn stage_name(from: &Instruction) -> Result<Option<String>> {
    let words: Vec<_> = from.rest.split_whitespace().collect();
    match words[..] {
        [_] => Ok(None),
        [_, word, name] if word.eq_ignore_ascii_case("as") => {
            let name = name.to_ascii_lowercase();
            let good = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            ensure!(good, invalid, "invalid name for build stage: {name:?}");
            Ok(Some(name))
        }
        _ => Err(Error::invalid("FROM requires either one or three arguments")),
    }
}
