//! `docker save` and `docker load`: archives with a `manifest.json`, and OCI layouts with an `index.json`.
//!
//! An archive is unpacked into a root of its own, as the context of a build is: no link in it leads elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use digest_io::HashReader;
use nix::fcntl::OFlag;
use oci_spec::image::{Descriptor, Digest, ImageIndex, ImageManifest, MediaType};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use tree::{Pack, Root, Source};

use super::config::{Platform, check_image, nullable};
use super::content::{Content, decompressed, digest, manifest, named};
use super::layer::Layer;
use super::{ConfigFile, Image, Reference, Store};
use crate::error::{Error, Result, ensure, error};
use crate::time;

/// The largest description in an archive.
const MAX_TEXT: u64 = 8 << 20;

/// Where an OCI layout tells an image's name: the whole of it, and its tag.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// One image of a `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    layers: Vec<String>,
}

/// A path in an archive, and the digest that the blob there should have.
type Blob = (String, Option<String>);

/// An image and its names.
pub type Loaded = (Arc<Image>, Vec<Reference>);

/// Loads all images of an archive; returns them with their names.
///
/// # Errors
/// When the archive is none, or what is in it is not what it says, or for another platform than the one that is asked for.
pub fn load(store: &Store, archive: File, platform: Option<&Platform>) -> Result<Vec<Loaded>> {
    let _lease = store.lease();
    let files = store.content.unpack(archive)?;
    let load = Load { store, root: &files.root, platform };
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
    platform: Option<&'a Platform>,
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
        let names = names.map(|name| Reference::parse_tag(name)).collect::<Result<_>>()?;
        let layers = entry.layers.iter().map(|path| (path.clone(), None)).collect();
        self.add(&entry.config, layers, names)
    }

    fn oci(&self, found: &Descriptor) -> Result<Loaded> {
        let manifest: ImageManifest = self.read(&place(found))?;
        let layer = |layer: &Descriptor| (place(layer), Some(layer.digest().to_string()));
        let layers = manifest.layers().iter().map(layer).collect();
        let name = NAMES.iter().find_map(|key| found.annotations().as_ref()?.get(*key));
        // A layout may name a tag only, which is no name of an image.
        let name =
            name.filter(|name| name.contains(['/', ':'])).and_then(|name| Reference::parse_tag(name).ok());
        self.add(&place(manifest.config()), layers, name.into_iter().collect())
    }

    /// Adds an image of a configuration, layers with the digests they should have, and names.
    fn add(&self, config: &str, layers: Vec<Blob>, names: Vec<Reference>) -> Result<Loaded> {
        let store = self.store;
        let text = self.text(config)?;
        let file = ConfigFile::parse(&text)?;
        let named = names.first().map_or_else(|| config.to_owned(), Reference::familiar_full);
        self.platform.map_or(Ok(()), |asked| check_image(&named, &file, asked))?;
        let diff_ids = file.rootfs.diff_ids;
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
    let mut saved = Save { pack: Pack::new(writer, Source::Tree), written: BTreeMap::new(), time: 0 };
    let (mut entries, mut index) = (Vec::new(), Vec::new());
    for (image, names) in images {
        let created = image.config.created.as_deref().and_then(time::parse);
        saved.time = created.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0);
        let mut layers = Vec::new();
        for layer in store.layers_of(image)? {
            layers.push(saved.layer(&store.content, &layer)?);
        }
        let text = store.content.read(&image.id)?;
        let config = saved.blob(&image.id, MediaType::ImageConfig, text.len() as u64, &text[..])?;
        let entry = Entry {
            config: place(&config),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar_full).collect()),
            layers: layers.iter().map(place).collect(),
        };
        entries.push(entry);
        let manifest = manifest(&config, &layers);
        let kind = MediaType::ImageManifest;
        let manifest =
            saved.blob(&digest(manifest.as_bytes()), kind, manifest.len() as u64, manifest.as_bytes())?;
        // One without a name is in it, too.
        for name in names.iter().map(Some).chain(names.is_empty().then_some(None)) {
            let mut named = manifest.clone();
            named.set_annotations(name.map(|name| {
                let tag = name.tag.clone().unwrap_or_default();
                HashMap::from([(NAMES[0].to_owned(), name.to_string()), (NAMES[1].to_owned(), tag)])
            }));
            index.push(named);
        }
    }
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::ImageIndex, "manifests": index});
    let files = [
        ("index.json", index),
        ("manifest.json", json!(entries)),
        ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
    ];
    for (name, value) in files {
        let text = value.to_string();
        saved.pack.plain(Path::new(name), 0, text.len() as u64, text.as_bytes())?;
    }
    saved.pack.finish()?;
    Ok(())
}

/// What is written, and what of it once for all images.
struct Save<W: Write> {
    pack: Pack<W>,
    written: BTreeMap<String, Descriptor>,
    /// Of the image that is written now.
    time: u64,
}

impl<W: Write> Save<W> {
    /// A layer as plain tar, however it has arrived: some take the first one's compression for that of all.
    fn layer(&mut self, content: &Content, layer: &Layer) -> Result<Descriptor> {
        let Layer { diff_id, blob, .. } = layer;
        if let Some(written) = self.written.get(diff_id) {
            return Ok(written.clone());
        }
        let open = || decompressed(content.open_blob(blob)?);
        // It is written before the layer.
        let size = io::copy(&mut open()?, &mut io::sink())?;
        let mut plain = HashReader::<Sha256, _>::new(open()?);
        let written = self.blob(diff_id, MediaType::ImageLayer, size, &mut plain)?;
        let own = named(plain.into_hasher());
        ensure!(own == *diff_id, internal, "layer {blob} unpacks to {own}, expected {diff_id}");
        Ok(written)
    }

    fn blob(&mut self, digest: &str, kind: MediaType, size: u64, content: impl Read) -> Result<Descriptor> {
        let blob = Descriptor::new(kind, size, digest.parse::<Digest>().map_err(Error::step("name a blob"))?);
        if self.written.insert(digest.to_owned(), blob.clone()).is_none() {
            self.pack.plain(Path::new(&place(&blob)), self.time, size, content)?;
        }
        Ok(blob)
    }
}

/// Where a blob is in an OCI layout.
fn place(blob: &Descriptor) -> String {
    format!("blobs/{}", blob.digest().as_ref().replace(':', "/"))
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
            _ => builder.append_data(&mut header, name, std::io::empty()).unwrap(),
        }
        let mut file = builder.into_inner().unwrap();
        file.rewind().unwrap();
        load(store, file, None).unwrap_err().message
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
