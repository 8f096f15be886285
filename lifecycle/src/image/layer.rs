//! Layers, unpacked: one directory each, in overlayfs's own notation, shared by all images that have the layer.
//!
//! Where there are no overlays, a layer is only its blob, and what is unpacked are whole trees: one for each row of
//! layers that an image or container has.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use digest_io::HashReader;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tree::{Apply, Lower, Root, Whiteouts};

use super::content::{self, Content, decompressed, digest};
use crate::error::{Error, Result, bail, error};
use crate::files;

/// What is known of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the plain tar stream.
    pub diff_id: String,
    /// The digest of the stream as it arrived.
    pub blob: String,
    /// Bytes of the files in it.
    pub size: u64,
}

/// The directory of all layers.
#[derive(Debug)]
pub struct Layers {
    content: Content,
    folder: PathBuf,
    trees: PathBuf,
    empty: PathBuf,
    /// There are no overlays here.
    pub copied: bool,
    /// Some may be in memory only.
    fresh: Mutex<bool>,
    turns: Mutex<HashMap<String, Turn>>,
}

/// Held by who fetches a layer; others who want it too wait, and find it here.
pub type Turn = Arc<tokio::sync::Mutex<()>>;

impl Layers {
    /// Below `root`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(root: &Path, content: Content) -> Result<Self> {
        let [folder, trees, empty] = ["layers", "trees", "empty"].map(|name| root.join(name));
        // Once for all: what is kept in one way cannot be used in the other.
        let is_possible = tree::is_possible(root)?;
        let copied = trees.exists() || !is_possible && !folder.exists();
        if copied {
            files::make_dir(&trees, 0o711)?;
        } else if !is_possible {
            let root = root.display();
            bail!(
                internal,
                "{root} was made with the storage driver overlay2, which cannot be used here now"
            );
        }
        files::make_dir(&folder, 0o711)?;
        files::make_dir(&empty, 0o755)?;
        Ok(Self { content, folder, trees, empty, copied, fresh: Mutex::default(), turns: Mutex::default() })
    }

    /// Docker's name for the way in which layers are put together.
    pub fn driver(&self) -> &'static str {
        if self.copied { "vfs" } else { "overlay2" }
    }

    /// The turn to fetch a layer, by the digest of its blob.
    pub fn turn(&self, blob: &str) -> Turn {
        let mut turns = self.turns.lock();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(blob.to_owned()).or_default())
    }

    /// The files of these layers, the lowest first.
    ///
    /// # Errors
    /// When a diff id is none, or a tree cannot be made.
    pub fn files_of(&self, diff_ids: &[String]) -> Result<Lower> {
        let own = |diff_id: &String| Ok(self.place(diff_id)?.join("fs"));
        let lower = match diff_ids {
            [] => vec![self.empty.clone()],
            _ if self.copied => vec![self.tree(diff_ids)?],
            _ => {
                // The kernel takes none twice: where a layer is above itself, all of the lower one is hidden.
                let mut taken = BTreeSet::new();
                diff_ids
                    .iter()
                    .rev()
                    .filter(|diff_id| taken.insert(*diff_id))
                    .map(own)
                    .collect::<Result<_>>()?
            }
        };
        Ok(Lower { lower, upper: None, copied: self.copied })
    }

    /// The tree of these layers, unpacked one after the other if nobody has done so.
    fn tree(&self, diff_ids: &[String]) -> Result<PathBuf> {
        let place = self.trees.join(tree_name(diff_ids));
        if place.exists() {
            return Ok(place);
        }
        let folder = self.content.folder()?;
        let aside = folder.path().join("tree");
        files::make_dir(&aside, 0o755)?;
        let root = Root::open(&aside)?;
        let apply = Apply { whiteouts: Whiteouts::Remove, ..Apply::default() };
        for diff_id in diff_ids {
            let blob = self.content.open_blob(&self.need(diff_id)?.blob)?;
            let applied = decompressed(blob).and_then(|plain| Ok(apply.run(&root, plain)?));
            applied.map_err(|error| error.context(format!("layer {diff_id}")))?;
        }
        settle(&aside, &place)?;
        Ok(place)
    }

    /// Takes away all other layers, and the trees that none of these rows of layers is unpacked to; returns these layers,
    /// and the folders that are to be removed.
    ///
    /// # Errors
    /// With the path.
    pub fn keep(&self, kept: &BTreeSet<String>, rows: &[Vec<String>]) -> Result<(Vec<String>, Vec<PathBuf>)> {
        let trees: BTreeSet<String> = rows.iter().map(|diff_ids| tree_name(diff_ids)).collect();
        let mut places = files::entries(&self.trees);
        places.retain(|tree| !trees.contains(&files::name_of(tree)));
        let mut gone = self.all();
        gone.retain(|diff_id| !kept.contains(diff_id));
        for diff_id in &gone {
            places.push(self.place(diff_id)?);
        }
        let aside = places.iter().filter_map(|place| self.content.set_aside(place).transpose());
        Ok((gone, aside.collect::<Result<_>>()?))
    }

    /// Sees that all layers are on the disk: an image that is written down after that has its files when the machine
    /// has lost its power. Layers without an image are removed when the engine starts.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle(&self) -> Result<()> {
        let mut fresh = self.fresh.lock();
        if *fresh {
            let folder = fs::File::open(&self.folder).map_err(Error::at("open", &self.folder))?;
            nix::unistd::syncfs(folder).map_err(Error::at("write to the disk", &self.folder))?;
            *fresh = false;
        }
        Ok(())
    }

    fn place(&self, diff_id: &str) -> Result<PathBuf> {
        content::place(&self.folder, diff_id)
    }

    /// The layer, if it is here.
    pub fn get(&self, diff_id: &str) -> Option<Layer> {
        files::read_json(&self.place(diff_id).ok()?.join("layer.json")).ok()?
    }

    /// The layer.
    ///
    /// # Errors
    /// When it is not here.
    pub fn need(&self, diff_id: &str) -> Result<Layer> {
        self.get(diff_id).ok_or_else(|| error!(internal, "layer {diff_id} is missing"))
    }

    /// The diff ids of all layers.
    pub fn all(&self) -> Vec<String> {
        content::digests(&self.folder)
    }

    /// Unpacks a blob that is in the store; with an expected diff id, another one is refused.
    ///
    /// # Errors
    /// When the blob is no layer, or another one.
    pub fn unpack(&self, blob: &str, expected: Option<&str>) -> Result<Layer> {
        if let Some(layer) = expected.and_then(|diff_id| self.get(diff_id)) {
            return Ok(layer);
        }
        let folder = self.content.folder()?;
        let aside = folder.path().join("layer");
        files::make_dir(&aside.join("fs"), 0o755)?;
        let file = self.content.open_blob(blob)?;
        let wrong = |error: Error| error.context(format!("layer {blob}"));
        let mut plain = HashReader::<Sha256, _>::new(decompressed(file).map_err(wrong)?);
        let apply = Apply { whiteouts: Whiteouts::Overlay, ..Apply::default() };
        let size = match self.copied {
            true => tree::size_of(&mut plain),
            false => Root::open(&aside.join("fs")).and_then(|root| apply.run(&root, &mut plain)),
        };
        let size = size.map_err(|error| wrong(error.into()))?;
        // Padding after the archive's end is part of what is digested.
        std::io::copy(&mut plain, &mut std::io::sink())?;
        let diff_id = content::named(plain.into_hasher());
        if let Some(expected) = expected.filter(|expected| **expected != diff_id) {
            bail!(invalid, "layer {blob} unpacks to {diff_id}, expected {expected}");
        }
        let layer = Layer { diff_id, blob: blob.to_owned(), size };
        files::write_json(&aside.join("layer.json"), &layer)?;
        *self.fresh.lock() = true;
        settle(&aside, &self.place(&layer.diff_id)?)?;
        Ok(layer)
    }
}

/// Moves what was made aside to its place; what somebody else has put there meanwhile is as good.
fn settle(aside: &Path, place: &Path) -> Result<()> {
    match fs::rename(aside, place) {
        Err(_) if place.exists() => Ok(()),
        other => other.map_err(Error::at("place", place)),
    }
}

fn tree_name(diff_ids: &[String]) -> String {
    digest(diff_ids.join(" ").as_bytes()).trim_start_matches("sha256:").to_owned()
}
