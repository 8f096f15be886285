//! `docker save` and `docker load`: archives with a `manifest.json`, and OCI layouts with an `index.json`.
//!
//! An archive is unpacked into a root of its own, as the context of a build is: no link in it leads elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::{Deserialize, Serialize};
use tree::{Pack, Root, Source};

use super::content::decompressed;
use super::{ConfigFile, Image, Reference, Store};
use crate::error::{Error, Result, ensure, error};

/// The largest description in an archive.
const MAX_TEXT: u64 = 8 << 20;

/// One image of a `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// A path in an archive, and the digest that the blob there should have.
type Blob = (String, Option<String>);

/// An image and its names.
pub type Loaded = (Arc<Image>, Vec<Reference>);

/// Loads all images of an archive; returns them with their names.
///
/// # Errors
/// When the archive is none, or what is in it is not what it says.
pub fn load(store: &Store, archive: File) -> Result<Vec<Loaded>> {
    let _lease = store.lease();
    let files = store.content.unpack(archive)?;
    let load = Load { store, root: &files.root };
    if files.root.get(Path::new("manifest.json"), OFlag::O_PATH).is_ok() {
        let entries: Vec<Entry> = load.read("manifest.json")?;
        return entries.iter().map(|entry| load.entry(entry)).collect();
    }
    if files.root.get(Path::new("index.json"), OFlag::O_PATH).is_ok() {
        let index: ImageIndex = load.read("index.json")?;
        return index.manifests().iter().map(|manifest| load.oci(manifest)).collect();
    }
    Err(Error::invalid("the archive has neither manifest.json nor index.json: it holds no images"))
}

/// An unpacked archive, and where its images go.
struct Load<'a> {
    store: &'a Store,
    root: &'a Root,
}

impl Load<'_> {
    fn open(&self, path: &str) -> Result<File> {
        let file = self.root.file(Path::new(path));
        file.map_err(|error| error!(invalid, "the archive has no {path}: {error}"))
    }

    fn text(&self, path: &str) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        self.open(path)?.take(MAX_TEXT + 1).read_to_end(&mut text)?;
        let fits = text.len() as u64 <= MAX_TEXT;
        ensure!(fits, invalid, "{path} in the archive: it has more than {MAX_TEXT} bytes");
        Ok(text)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T> {
        serde_json::from_slice(&self.text(path)?)
            .map_err(|error| error!(invalid, "{path} in the archive: {error}"))
    }

    fn entry(&self, entry: &Entry) -> Result<Loaded> {
        let names = entry.repo_tags.iter().flatten();
        let names = names.map(|name| Reference::parse(name)).collect::<Result<_>>()?;
        let layers = entry.layers.iter().map(|path| (path.clone(), None)).collect();
        self.add(&entry.config, layers, names)
    }

    fn oci(&self, found: &Descriptor) -> Result<Loaded> {
        let path = |one: &Descriptor| format!("blobs/{}", one.digest().as_ref().replace(':', "/"));
        let manifest: ImageManifest = self.read(&path(found))?;
        let layer = |layer: &Descriptor| (path(layer), Some(layer.digest().to_string()));
        let layers = manifest.layers().iter().map(layer).collect();
        let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
        let name = name.iter().find_map(|key| found.annotations().as_ref()?.get(*key));
        // A layout may name a tag only, which is no name of an image.
        let name = name.filter(|name| name.contains(['/', ':'])).and_then(|name| Reference::parse(name).ok());
        self.add(&path(manifest.config()), layers, name.into_iter().collect())
    }

    /// Adds an image of a configuration, layers with the digests they should have, and names.
    fn add(&self, config: &str, layers: Vec<Blob>, names: Vec<Reference>) -> Result<Loaded> {
        let store = self.store;
        let text = self.text(config)?;
        let diff_ids = ConfigFile::parse(&text)?.rootfs.diff_ids;
        ensure!(diff_ids.len() == layers.len(), invalid, "invalid manifest, layers length mismatch");
        for (diff_id, (path, digest)) in diff_ids.iter().zip(layers) {
            if store.layers.get(diff_id).is_none() {
                let blob = store.content.add(self.open(&path)?, digest.as_deref())?;
                store.layers.unpack(&blob, Some(diff_id))?;
            }
        }
        let image = store.add(&text, None)?;
        names.iter().try_for_each(|name| store.tag(name, &image.id))?;
        Ok((image, names))
    }
}

/// Writes images and their names as an archive.
///
/// # Errors
/// When a layer is missing or writing fails.
pub fn save(store: &Store, images: &[Loaded], writer: impl Write) -> Result<()> {
    let mut pack = Pack::new(writer, Source::Tree);
    let mut written = BTreeSet::new();
    let mut entries = Vec::new();
    for (image, names) in images {
        let hash = image.id.trim_start_matches("sha256:");
        let mut layers = Vec::new();
        for layer in store.layers_of(image)? {
            let path = format!("{}/layer.tar", layer.diff_id.trim_start_matches("sha256:"));
            if written.insert(path.clone()) {
                // An entry's size stands before its content: one pass to learn it, one to write.
                let open = || decompressed(store.content.open_blob(&layer.blob)?);
                let size = io::copy(&mut open()?, &mut io::sink())?;
                pack.plain(Path::new(&path), size, open()?)?;
            }
            layers.push(path);
        }
        let config = format!("{hash}.json");
        let text = store.content.read(&image.id)?;
        pack.plain(Path::new(&config), text.len() as u64, &text[..])?;
        let repo_tags = (!names.is_empty()).then(|| names.iter().map(Reference::familiar_full).collect());
        entries.push(Entry { config, repo_tags, layers });
    }
    let text = serde_json::to_vec(&entries)?;
    pack.plain(Path::new("manifest.json"), text.len() as u64, &text[..])?;
    pack.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use tar::{Builder, EntryType, Header};

    /// What `load` says to an archive with one entry that leads to `link`.
    fn refusal(store: &Store, kind: EntryType, name: &str, link: &str) -> String {
        let mut builder = Builder::new(tempfile::tempfile().unwrap());
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_mtime(0);
        match kind {
            EntryType::Symlink => builder.append_link(&mut header, name, link).unwrap(),
            _ => builder.append_data(&mut header, name, io::empty()).unwrap(),
        }
        let mut file = builder.into_inner().unwrap();
        file.rewind().unwrap();
        load(store, file).unwrap_err().message
    }

    #[test]
    fn nothing_outside_of_an_archive_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        std::fs::write(&outside, "[]").unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        for link in [outside.to_str().unwrap(), "../../../outside"] {
            let text = refusal(&store, EntryType::Symlink, "manifest.json", link);
            assert!(text.contains("holds no images"), "{text}");
        }
        // It is not waited for either.
        let text = refusal(&store, EntryType::Fifo, "manifest.json", "");
        assert!(text.contains("has no manifest.json"), "{text}");
        assert_eq!(std::fs::read_dir(folder.path().join("store/tmp")).unwrap().count(), 0);
    }
}
