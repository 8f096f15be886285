//! Layers, unpacked: one directory each, in overlayfs's own notation, shared by all images that have the layer.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::content::{Content, Digesting, decompressed};
use super::reference::is_digest;
use crate::error::{Error, Result};
use crate::files;
use crate::tree::{Apply, Root, Whiteouts};

/// What is known of a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the plain tar stream.
    pub diff_id: String,
    /// The digest of the stream as it arrived.
    pub blob: String,
    /// Bytes of that stream.
    pub blob_size: u64,
    /// Bytes of the files in it.
    pub size: u64,
}

/// The directory of all layers.
#[derive(Debug)]
pub struct Layers {
    folder: PathBuf,
    /// Some may be in memory only.
    fresh: Mutex<bool>,
}

impl Layers {
    /// Below `root`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        let folder = root.join("layers");
        files::make_dir(&folder, 0o711)?;
        Ok(Self { folder, fresh: Mutex::default() })
    }

    fn fresh(&self) -> MutexGuard<'_, bool> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees that all layers are on the disk: an image that is written down after that has its files when the machine
    /// has lost its power. Layers without an image are removed when the engine starts.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle(&self) -> Result<()> {
        let mut fresh = self.fresh();
        if *fresh {
            let folder = fs::File::open(&self.folder).map_err(Error::at("open", &self.folder))?;
            nix::unistd::syncfs(folder).map_err(Error::at("write to the disk", &self.folder))?;
            *fresh = false;
        }
        Ok(())
    }

    fn place(&self, diff_id: &str) -> Result<PathBuf> {
        match diff_id.strip_prefix("sha256:").filter(|_| is_digest(diff_id)) {
            Some(hash) => Ok(self.folder.join(hash)),
            None => Err(Error::invalid(format!("{diff_id:?} is not a layer's digest"))),
        }
    }

    /// The directory to mount.
    ///
    /// # Errors
    /// When `diff_id` is no digest.
    pub fn files(&self, diff_id: &str) -> Result<PathBuf> {
        Ok(self.place(diff_id)?.join("fs"))
    }

    /// The layer, if it is here.
    pub fn get(&self, diff_id: &str) -> Option<Layer> {
        files::read_json(&self.place(diff_id).ok()?.join("layer.json")).ok()?
    }

    /// The diff ids of all layers.
    pub fn all(&self) -> Vec<String> {
        files::entries(&self.folder).iter().map(|path| format!("sha256:{}", files::name_of(path))).collect()
    }

    /// Removes a layer.
    ///
    /// # Errors
    /// With the path.
    pub fn remove(&self, diff_id: &str, content: &Content) -> Result<()> {
        // Out of sight first: nothing half-removed is ever found by its name.
        let aside = content.temporary();
        match fs::rename(self.place(diff_id)?, &aside) {
            Ok(()) => files::remove_dir(&aside),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::at("remove layer", diff_id)(error)),
        }
    }

    /// Unpacks a blob that is in the store; with an expected diff id, another one is refused.
    ///
    /// # Errors
    /// When the blob is no layer, or another one.
    pub fn unpack(&self, content: &Content, blob: &str, expected: Option<&str>) -> Result<Layer> {
        if let Some(layer) = expected.and_then(|diff_id| self.get(diff_id)) {
            return Ok(layer);
        }
        let aside = content.temporary();
        files::make_dir(&aside.join("fs"), 0o755)?;
        let unpacked = self.unpack_to(&aside, content, blob, expected);
        if unpacked.is_err() {
            files::remove_dir(&aside)?;
        }
        unpacked
    }

    fn unpack_to(
        &self,
        aside: &Path,
        content: &Content,
        blob: &str,
        expected: Option<&str>,
    ) -> Result<Layer> {
        let file = content.open_blob(blob)?;
        let blob_size = file.metadata().map_or(0, |meta| meta.len());
        let stream = decompressed(file).map_err(|error| Error::invalid(format!("layer {blob}: {error}")))?;
        let mut plain = Digesting::new(stream);
        let apply = Apply { whiteouts: Whiteouts::Overlay, ..Apply::default() };
        let root = Root::open(&aside.join("fs"))?;
        let applied = apply.run(&root, &mut plain).map_err(|error| error.context(format!("layer {blob}")))?;
        // Padding after the archive's end is part of what is digested.
        std::io::copy(&mut plain.by_ref(), &mut std::io::sink())?;
        let diff_id = plain.finish().digest;
        if let Some(expected) = expected.filter(|expected| **expected != diff_id) {
            return Err(Error::invalid(format!("layer {blob} unpacks to {diff_id}, expected {expected}")));
        }
        let layer = Layer { diff_id, blob: blob.to_owned(), blob_size, size: applied.bytes };
        files::write_json(&aside.join("layer.json"), &layer)?;
        let place = self.place(&layer.diff_id)?;
        *self.fresh() = true;
        match fs::rename(aside, &place) {
            // Somebody else was faster.
            Err(_) if place.join("layer.json").exists() => files::remove_dir(aside)?,
            other => other.map_err(Error::at("place layer", &place))?,
        }
        Ok(layer)
    }
}
