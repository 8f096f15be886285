//! `docker save` and `docker load`: archives with a `manifest.json`, and OCI layouts with an `index.json`.
//!
//! The archive is a file on disk; what is in it is found once and then read where it lies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use super::content::decompressed;
use super::{Image, Reference, Store};
use crate::error::{Error, Result};
use crate::tree::clean;

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

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Where the files of an archive are in it.
struct Contents {
    file: File,
    places: BTreeMap<PathBuf, (u64, u64)>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Contents {
    fn find(file: File) -> Result<Self> {
        let (mut places, mut links) = (BTreeMap::new(), BTreeMap::new());
        let mut archive = Archive::new(&file);
        let bad = |error| Error::invalid(format!("read the archive: {error}"));
        for entry in archive.entries_with_seek().map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let path = clean(&entry.path().map_err(bad)?);
            match entry.header().entry_type() {
                EntryType::Regular => {
                    places.insert(path, (entry.raw_file_position(), entry.size()));
                }
                EntryType::Symlink | EntryType::Link => {
                    if let Some(target) = entry.link_name().map_err(bad)? {
                        let base = match entry.header().entry_type() {
                            EntryType::Symlink => path.parent().unwrap_or(Path::new("")).join(target),
                            _ => target.into_owned(),
                        };
                        links.insert(path, clean(&base));
                    }
                }
                _ => {}
            }
        }
        Ok(Self { file, places, links })
    }

    fn open(&self, path: &str) -> Result<std::io::Take<File>> {
        let mut path = clean(Path::new(path));
        // A link to a link to itself would have no end.
        for _ in 0..8 {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => break,
            }
        }
        let missing = || Error::invalid(format!("the archive has no {}", path.display()));
        let (start, size) = *self.places.get(&path).ok_or_else(missing)?;
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file.take(size))
    }

    fn text(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(MAX_TEXT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn has(&self, path: &str) -> bool {
        self.places.contains_key(Path::new(path))
    }
}

/// Loads all images of an archive; returns for each its id and its names.
///
/// # Errors
/// When the archive is none, or what is in it is not what it says.
pub fn load(store: &Store, archive: File) -> Result<Vec<(String, Vec<Reference>)>> {
    let _lease = store.lease();
    let contents = Contents::find(plain(store, archive)?)?;
    if contents.has("manifest.json") {
        let entries: Vec<Entry> = parse("manifest.json", &contents.text("manifest.json")?)?;
        return entries.iter().map(|entry| load_entry(store, &contents, entry)).collect();
    }
    if contents.has("index.json") {
        let index: Index = parse("index.json", &contents.text("index.json")?)?;
        return index.manifests.iter().map(|manifest| load_oci(store, &contents, manifest)).collect();
    }
    Err(Error::invalid("the archive has neither manifest.json nor index.json: it holds no images"))
}

/// The archive without compression, in a file.
fn plain(store: &Store, mut archive: File) -> Result<File> {
    let mut magic = [0; 2];
    let count = archive.read(&mut magic)?;
    archive.seek(SeekFrom::Start(0))?;
    if count < 2 || magic != [0x1f, 0x8b] && magic != [0x28, 0xb5] {
        return Ok(archive);
    }
    let mut file = store.content.spool()?;
    std::io::copy(&mut decompressed(archive)?, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn parse<T: for<'de> Deserialize<'de>>(name: &str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| Error::invalid(format!("{name} in the archive: {error}")))
}

fn load_entry(store: &Store, contents: &Contents, entry: &Entry) -> Result<(String, Vec<Reference>)> {
    let config = contents.text(&entry.config)?;
    let parsed = super::ConfigFile::parse(&config)?;
    if parsed.rootfs.diff_ids.len() != entry.layers.len() {
        return Err(Error::invalid("invalid manifest, layers length mismatch"));
    }
    for (diff_id, path) in parsed.rootfs.diff_ids.iter().zip(&entry.layers) {
        if store.layers.get(diff_id).is_none() {
            let blob = store.content.add(contents.open(path)?, None)?;
            store.layers.unpack(&store.content, &blob.digest, Some(diff_id))?;
        }
    }
    let id = store.add(&config, None)?;
    let mut names = Vec::new();
    for name in entry.repo_tags.iter().flatten() {
        let reference = Reference::parse(name)?;
        store.tag(&reference, &id)?;
        names.push(reference);
    }
    Ok((id, names))
}

fn load_oci(store: &Store, contents: &Contents, found: &Descriptor) -> Result<(String, Vec<Reference>)> {
    let blob = |digest: &str| -> Result<String> {
        store.content.path(digest)?;
        Ok(format!("blobs/{}", digest.replace(':', "/")))
    };
    let manifest: Manifest = parse("the manifest", &contents.text(&blob(&found.digest)?)?)?;
    let config = contents.text(&blob(&manifest.config.digest)?)?;
    let parsed = super::ConfigFile::parse(&config)?;
    if parsed.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::invalid("invalid manifest, layers length mismatch"));
    }
    for (diff_id, layer) in parsed.rootfs.diff_ids.iter().zip(&manifest.layers) {
        if store.layers.get(diff_id).is_none() {
            store.content.add(contents.open(&blob(&layer.digest)?)?, Some(&layer.digest))?;
            store.layers.unpack(&store.content, &layer.digest, Some(diff_id))?;
        }
    }
    let id = store.add(&config, None)?;
    let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let name = name.iter().find_map(|key| found.annotations.get(*key));
    // A layout may name a tag only, which is no name of an image.
    let reference =
        name.filter(|name| name.contains(['/', ':'])).and_then(|name| Reference::parse(name).ok());
    if let Some(reference) = &reference {
        store.tag(reference, &id)?;
    }
    Ok((id, reference.into_iter().collect()))
}

/// Writes images and their names as an archive.
///
/// # Errors
/// When a layer is missing or writing fails.
pub fn save(store: &Store, images: &[(Image, Vec<Reference>)], writer: impl Write) -> Result<()> {
    let mut builder = Builder::new(writer);
    let mut written = std::collections::BTreeSet::new();
    let mut entries = Vec::new();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (image, names) in images {
        let hash = image.id.trim_start_matches("sha256:");
        let mut layers = Vec::new();
        for layer in store.layers_of(image)? {
            let path = format!("{}/layer.tar", layer.diff_id.trim_start_matches("sha256:"));
            if written.insert(path.clone()) {
                append_layer(store, &mut builder, &path, &layer.blob)?;
            }
            layers.push(path);
        }
        let config = format!("{hash}.json");
        append(&mut builder, &config, &store.content.read(&image.id)?)?;
        for name in names {
            let tags = repositories.entry(name.familiar()).or_default();
            tags.insert(name.tag.clone().unwrap_or_default(), hash.to_owned());
        }
        let repo_tags = (!names.is_empty()).then(|| names.iter().map(Reference::familiar_full).collect());
        entries.push(Entry { config, repo_tags, layers });
    }
    append(&mut builder, "manifest.json", &serde_json::to_vec(&entries)?)?;
    append(&mut builder, "repositories", &serde_json::to_vec(&repositories)?)?;
    Ok(builder.finish()?)
}

fn append(builder: &mut Builder<impl Write>, path: &str, content: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    Ok(builder.append_data(&mut header, path, content)?)
}

fn append_layer(store: &Store, builder: &mut Builder<impl Write>, path: &str, blob: &str) -> Result<()> {
    // An entry's size stands before its content: one pass to learn it, one to write.
    let size = std::io::copy(&mut decompressed(store.content.open_blob(blob)?)?, &mut std::io::sink())?;
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    Ok(builder.append_data(&mut header, path, decompressed(store.content.open_blob(blob)?)?)?)
}
