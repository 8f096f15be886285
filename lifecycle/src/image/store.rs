//! Which images there are and what they are called.
//!
//! On disk: `images.json`, replaced as a whole. Nothing else is written down: what neither an image nor a container needs
//! is garbage, and found by looking.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;
use tree::{Holes, Lower, Pack, Root, Source};

use super::content::{Content, MAX_TEXT};
use super::layer::{Layer, Layers};
use super::{ConfigFile, Reference};
use crate::error::{Error, Result, bail, ensure, error};
use crate::{files, time};

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// The digest of its configuration.
    pub id: String,
    /// Its configuration: a blob, and not written down once more.
    #[serde(skip)]
    pub config: ConfigFile,
    /// When it was named last.
    pub tagged: Option<String>,
    /// The image it was made from, when it was made here.
    pub parent: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct State {
    images: BTreeMap<String, Arc<Image>>,
    /// Full names with a tag or a digest, and the image's id.
    names: BTreeMap<String, String>,
}

/// All images.
#[derive(Debug)]
pub struct Store {
    /// Blobs.
    pub content: Content,
    /// Unpacked layers.
    pub layers: Layers,
    file: PathBuf,
    state: Mutex<State>,
    leases: Lease,
}

/// While it lives nothing is removed as garbage: something is being put together.
pub type Lease = Arc<()>;

impl Store {
    /// The store below a directory.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(root: &Path) -> Result<Self> {
        let content = Content::open(root)?;
        let file = root.join("images.json");
        let mut state: State = files::read_json(&file)?.unwrap_or_default();
        let State { images, names } = &mut state;
        images.retain(|id, image| {
            // A blob that is gone makes the image unusable, not the engine.
            let config = content.read(id).and_then(|text| ConfigFile::parse(&text));
            config.map(|config| Arc::make_mut(image).config = config).is_ok()
        });
        names.retain(|_, id| images.contains_key(id));
        let (layers, state) = (Layers::open(root, content.clone())?, Mutex::new(state));
        Ok(Self { content, layers, file, state, leases: Lease::default() })
    }

    /// Keeps everything that is in the store until it is dropped.
    pub fn lease(&self) -> Lease {
        // Not in the middle of a collection.
        let _state = self.state.lock();
        Arc::clone(&self.leases)
    }

    /// Makes an image of a configuration whose layers are all here.
    ///
    /// # Errors
    /// When a layer is missing.
    pub fn add(&self, text: &[u8], parent: Option<String>) -> Result<Arc<Image>> {
        ensure!(
            text.len() as u64 <= MAX_TEXT,
            invalid,
            "the image's configuration has more than {MAX_TEXT} bytes"
        );
        let config = ConfigFile::parse(text)?;
        config.rootfs.diff_ids.iter().try_for_each(|diff_id| self.layers.need(diff_id).map(drop))?;
        let id = self.content.add(text, None)?;
        self.layers.settle()?;
        let image = Arc::new(Image { id: id.clone(), config, tagged: None, parent });
        self.change(|state| Ok(Arc::clone(state.images.entry(id).or_insert(image))))
    }

    /// Changes what is written down; when it cannot be, nothing is changed.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        let mut changed = state.clone();
        let result = change(&mut changed)?;
        files::write_json(&self.file, &changed)?;
        *state = changed;
        Ok(result)
    }

    /// Gives an image a name, which another image may lose by that.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn tag(&self, reference: &Reference, id: &str) -> Result<()> {
        self.change(|state| {
            let Some(image) = state.images.get_mut(id) else {
                bail!(not_found, "No such image: {id}");
            };
            Arc::make_mut(image).tagged = Some(time::now());
            state.names.insert(reference.to_string(), id.to_owned());
            Ok(())
        })
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn untag(&self, reference: &Reference) -> Result<()> {
        self.change(|state| {
            state.names.remove(&reference.to_string());
            Ok(())
        })
    }

    /// All images, the newest first.
    pub fn all(&self) -> Vec<Arc<Image>> {
        let mut all: Vec<_> = self.state.lock().images.values().cloned().collect();
        all.sort_by(|a, b| b.config.created.cmp(&a.config.created));
        all
    }

    /// The names of an image: those with tags, and those with digests.
    pub fn names(&self, id: &str) -> (Vec<Reference>, Vec<Reference>) {
        let state = self.state.lock();
        let of = state.names.iter().filter(|(_, named)| *named == id);
        of.filter_map(|(name, _)| Reference::parse_exact(name).ok()).partition(|name| name.tag.is_some())
    }

    /// Whether an image has a name at all.
    pub fn is_named(&self, id: &str) -> bool {
        self.state.lock().names.values().any(|named| named == id)
    }

    /// The image that a user means: by id, the beginning of one, or name.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Arc<Image>> {
        let state = self.state.lock();
        let mut reference = Reference::parse(text);
        if let Ok(reference) = &mut reference
            && reference.digest.is_some()
        {
            reference.tag = None;
        }
        let named = reference.as_ref().ok().and_then(|reference| state.names.get(&reference.to_string()));
        if let Some(image) = state.images.get(text).or_else(|| state.images.get(named?)) {
            return Ok(Arc::clone(image));
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!(not_found, "No such image: {}", reference?.familiar_full());
        }
        let mut of = state.images.values().filter(|image| image.id["sha256:".len()..].starts_with(prefix));
        match (of.next(), of.next()) {
            (Some(image), None) => Ok(Arc::clone(image)),
            (None, _) => Err(error!(not_found, "No such image: {text}")),
            _ => Err(error!(invalid, "multiple IDs found with provided prefix: {text}")),
        }
    }

    /// The layers of an image, the lowest first.
    ///
    /// # Errors
    /// When one is missing.
    pub fn layers_of(&self, image: &Image) -> Result<Vec<Layer>> {
        image.config.rootfs.diff_ids.iter().map(|diff_id| self.layers.need(diff_id)).collect()
    }

    /// Bytes of all files of these layers.
    pub fn size(&self, diff_ids: &[String]) -> u64 {
        diff_ids.iter().filter_map(|id| self.layers.get(id)).map(|layer| layer.size).sum()
    }

    /// Forgets images with their names; their content goes with [`Store::collect`].
    ///
    /// # Errors
    /// When it cannot be written down, nor their configurations be removed.
    pub fn forget(&self, images: &[Arc<Image>]) -> Result<()> {
        let mut state = self.state.lock();
        images.iter().for_each(|image| drop(state.images.remove(&image.id)));
        let State { images: left, names } = &mut *state;
        names.retain(|_, named| left.contains_key(named));
        // A full disk, for instance, which becomes less full by this: without its configuration it is no image.
        files::write_json(&self.file, &*state)
            .or_else(|_| images.iter().try_for_each(|image| self.content.remove(&image.id)))
    }

    /// Makes a layer of what was written above others; returns its diff id, or nothing when nothing was.
    ///
    /// # Errors
    /// With the path that cannot be packed.
    pub fn add_tree(&self, tree: &Lower) -> Result<Option<String>> {
        let changes = tree::changes(tree)?;
        let Some((upper, _)) = tree.upper.as_ref().filter(|_| !changes.is_empty()) else { return Ok(None) };
        let mut file = self.content.spool()?;
        let mut pack = Pack::new(std::io::BufWriter::new(Holes::new(&file)), Source::Tree);
        pack.add_changes(&Root::open(upper)?, &changes)?;
        pack.finish()?.into_inner().map_err(Error::internal)?.finish()?;
        file.rewind()?;
        let blob = self.content.add(file, None)?;
        Ok(Some(self.layers.unpack(&blob, None)?.diff_id))
    }

    /// The images that were made from this one here.
    pub fn children(&self, id: &str) -> Vec<Arc<Image>> {
        let state = self.state.lock();
        state.images.values().filter(|image| image.parent.as_deref() == Some(id)).cloned().collect()
    }

    /// Removes blobs and layers that no image needs and that are not among `kept` (those of containers, whose image may
    /// be gone, asked for when nothing comes or goes). Does nothing while somebody holds a lease. Returns the removed layers.
    ///
    /// # Errors
    /// When a layer cannot be removed.
    pub fn collect(&self, kept: impl FnOnce() -> Vec<Vec<String>>) -> Result<Vec<String>> {
        let state = self.state.lock();
        if Arc::strong_count(&self.leases) > 1 {
            return Ok(Vec::new());
        }
        let mut kept = kept();
        kept.extend(state.images.values().map(|image| image.config.rootfs.diff_ids.clone()));
        let layers: BTreeSet<String> = kept.iter().flatten().cloned().collect();
        let mut blobs: BTreeSet<String> = state.images.keys().cloned().collect();
        blobs.extend(layers.iter().filter_map(|id| self.layers.get(id)).map(|layer| layer.blob));
        let (removed, aside) = self.layers.keep(&layers, &kept)?;
        self.content.keep(&blobs);
        drop(state);
        block_in_place(|| aside.iter().try_for_each(|folder| files::remove_dir(folder)))?;
        Ok(removed)
    }
}
