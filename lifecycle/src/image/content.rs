//! Blobs by digest: configurations, manifests and layers as they arrived.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bzip2::bufread::MultiBzDecoder;
use digest_io::HashWriter;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tree::{Apply, Holes, Root};

use super::reference::is_digest;
use super::zstd::Zstd;
use crate::error::{Error, Result, bail, error};
use crate::files;

/// The largest blob that is read into memory as a whole.
pub(super) const MAX_TEXT: u64 = 8 << 20;

/// How much memory a stream of xz may have, in KiB: what its maker chose, at most 64 MiB by xz's own levels.
const MAX_XZ: u32 = 256 << 10;

/// The directory of all blobs.
#[derive(Debug, Clone)]
pub struct Content {
    blobs: PathBuf,
    temporary: PathBuf,
}

/// An archive's files, below a root of their own; they go with it.
#[derive(Debug)]
pub struct Unpacked {
    /// Their root.
    pub root: Root,
    _folder: TempDir,
}

/// The digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    named(Sha256::new_with_prefix(bytes))
}

/// The name of a finished hash.
pub fn named(hash: Sha256) -> String {
    format!("sha256:{}", files::hex(&hash.finalize()))
}

impl Content {
    /// Below `root`; what a crash has left half-done is removed.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        let content = Self { blobs: root.join("blobs/sha256"), temporary: root.join("tmp") };
        files::remove_dir(&content.temporary)?;
        files::make_dir(&content.blobs, 0o700)?;
        files::make_dir(&content.temporary, 0o700)?;
        Ok(content)
    }

    /// A directory in which something may be made and renamed into its place; what is left in it goes with it, or
    /// when the engine starts next.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self) -> Result<TempDir> {
        tempfile::tempdir_in(&self.temporary).map_err(Error::at("make a directory in", &self.temporary))
    }

    /// A file without a name, for what is read again from its beginning.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn spool(&self) -> Result<File> {
        tempfile::tempfile_in(&self.temporary).map_err(Error::at("make a file in", &self.temporary))
    }

    /// The files of an archive, compressed or not; they are ours, whoever owns them in it.
    ///
    /// # Errors
    /// When it is no archive.
    pub fn unpack(&self, archive: File) -> Result<Unpacked> {
        let folder = self.folder()?;
        let root = Root::open(folder.path())?;
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let apply = Apply { owner: Some(owner), ..Apply::default() };
        let unpacked = apply.run(&root, decompressed(archive)?);
        unpacked.map_err(Error::invalid)?;
        Ok(Unpacked { root, _folder: folder })
    }

    /// Puts a directory of the store out of sight, so that nothing half-removed is ever found by its name; returns what is
    /// to be removed then, which may take long.
    ///
    /// # Errors
    /// With the path.
    pub fn set_aside(&self, path: &Path) -> Result<Option<PathBuf>> {
        // A folder of its own would be one that a full disk has no room for.
        let aside = self.temporary.join(files::random_hex(16));
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            moved => moved.map(|()| Some(aside)).map_err(Error::at("remove", path)),
        }
    }

    /// Where a blob is, or would be.
    ///
    /// # Errors
    /// When `digest` is none.
    pub fn path(&self, digest: &str) -> Result<PathBuf> {
        place(&self.blobs, digest)
    }

    /// Whether it is there.
    pub fn has(&self, digest: &str) -> bool {
        self.path(digest).is_ok_and(|path| path.exists())
    }

    /// Takes a stream to its end, and returns its digest. With an expected digest, another one is refused.
    ///
    /// # Errors
    /// When reading or writing fails, or the digest is another.
    pub fn add(&self, mut stream: impl Read, expected: Option<&str>) -> Result<String> {
        let file = tempfile::NamedTempFile::new_in(&self.temporary)?;
        let mut writer = HashWriter::<Sha256, _>::new(Holes::new(file.as_file()));
        io::copy(&mut stream, &mut writer).map_err(Error::step("store a blob"))?;
        let (hash, holes) = writer.into_parts();
        holes.finish()?;
        let digest = named(hash);
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            bail!(invalid, "content has digest {digest}, expected {expected}");
        }
        let place = self.path(&digest)?;
        file.persist(&place).map_err(Error::at("place", &place))?;
        Ok(digest)
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open_blob(&self, digest: &str) -> Result<File> {
        let path = self.path(digest)?;
        File::open(&path).map_err(Error::at("open blob", &path))
    }

    /// Reads a blob of modest size.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(&self, digest: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?.take(MAX_TEXT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes all other blobs.
    pub fn keep(&self, kept: &BTreeSet<String>) {
        for digest in digests(&self.blobs).iter().filter(|digest| !kept.contains(*digest)) {
            // What cannot be removed now is found again by the next collection.
            let _gone = self.remove(digest);
        }
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, digest: &str) -> Result<()> {
        let path = self.path(digest)?;
        fs::remove_file(&path).map_err(Error::at("remove", &path))
    }
}

/// Where something is in a directory that is ordered by digests.
///
/// # Errors
/// When `digest` is none.
pub(super) fn place(folder: &Path, digest: &str) -> Result<PathBuf> {
    let hash = digest.strip_prefix("sha256:").filter(|_| is_digest(digest));
    hash.map(|hash| folder.join(hash)).ok_or_else(|| error!(invalid, "{digest:?} is not a sha256 digest"))
}

/// What there is in such a directory.
pub(super) fn digests(folder: &Path) -> Vec<String> {
    files::entries(folder).iter().map(|path| format!("sha256:{}", files::name_of(path))).collect()
}

/// A stream without its compression: gzip, zstd, bzip2, xz, or none, told by its first bytes.
///
/// # Errors
/// When the first bytes cannot be read.
pub fn decompressed<'a>(stream: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    Ok(opened(stream)?.1)
}

/// The same, and what registries call a layer that is compressed so, if they have a word for it.
///
/// # Errors
/// When the first bytes cannot be read.
pub fn opened<'a>(mut stream: impl Read + 'a) -> Result<(Option<MediaType>, Box<dyn Read + 'a>)> {
    let mut start = Vec::new();
    stream.by_ref().take(4).read_to_end(&mut start)?;
    let whole = io::BufReader::with_capacity(1 << 16, io::Cursor::new(start.clone()).chain(stream));
    Ok(match start[..] {
        [0x1f, 0x8b, ..] => (Some(MediaType::ImageLayerGzip), Box::new(MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            (Some(MediaType::ImageLayerZstd), Box::new(Zstd::new(whole)))
        }
        [b'B', b'Z', b'h', _] => (None, Box::new(MultiBzDecoder::new(whole))),
        [0xfd, b'7', b'z', b'X'] => (None, Box::new(XzReader::new_mem_limit(whole, true, MAX_XZ))),
        _ => (None, Box::new(whole)),
    })
}

/// The manifest of an image.
pub fn manifest(config: &Descriptor, layers: &[Descriptor]) -> String {
    let kind = MediaType::ImageManifest;
    json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}).to_string()
}
