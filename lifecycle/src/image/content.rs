//! Blobs by digest: configurations, manifests and layers as they arrived.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::reference::is_digest;
use crate::error::{Error, Result};
use crate::files;

/// The largest blob that is read into memory as a whole.
const MAX_TEXT: u64 = 8 << 20;

/// The directory of all blobs.
#[derive(Debug)]
pub struct Content {
    blobs: PathBuf,
    temporary: PathBuf,
}

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

/// Passes bytes on and digests them.
#[derive(Debug)]
pub struct Digesting<T> {
    inner: T,
    hash: Sha256,
    size: u64,
}

impl<T> Digesting<T> {
    /// Around a reader or writer.
    pub fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    /// The digest and size of all that passed.
    pub fn finish(self) -> Blob {
        Blob { digest: format!("sha256:{}", files::hex(&self.hash.finalize())), size: self.size }
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hash.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", files::hex(&Sha256::digest(bytes)))
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

    /// A path that nobody uses, below which something may be made and renamed into its place.
    pub fn temporary(&self) -> PathBuf {
        self.temporary.join(files::random_hex(8))
    }

    /// A file without a name, for what is read again from its beginning.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn spool(&self) -> Result<File> {
        let path = self.temporary();
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(Error::at("make", &path))?;
        fs::remove_file(&path).map_err(Error::at("remove", &path))?;
        Ok(file)
    }

    /// Where a blob is, or would be.
    ///
    /// # Errors
    /// When `digest` is none.
    pub fn path(&self, digest: &str) -> Result<PathBuf> {
        match digest.strip_prefix("sha256:").filter(|_| is_digest(digest)) {
            Some(hash) => Ok(self.blobs.join(hash)),
            None => Err(Error::invalid(format!("{digest:?} is not a sha256 digest"))),
        }
    }

    /// Whether it is there.
    pub fn has(&self, digest: &str) -> bool {
        self.path(digest).is_ok_and(|path| path.exists())
    }

    /// Takes a stream to its end. With an expected digest, another one is refused.
    ///
    /// # Errors
    /// When reading or writing fails, or the digest is another.
    pub fn add(&self, mut stream: impl Read, expected: Option<&str>) -> Result<Blob> {
        let path = self.temporary();
        let mut file = Digesting::new(File::create(&path).map_err(Error::at("make", &path))?);
        let copied = io::copy(&mut stream, &mut file);
        let blob = file.finish();
        let placed = copied
            .map_err(Error::step("store a blob"))
            .and_then(|_| matches_digest(&blob, expected))
            .and_then(|()| self.place(&path, &blob.digest));
        if placed.is_err() {
            let _gone = fs::remove_file(&path);
        }
        placed.map(|()| blob)
    }

    /// Moves a complete and verified file to where its blob belongs.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn place(&self, path: &Path, digest: &str) -> Result<()> {
        let target = self.path(digest)?;
        fs::rename(path, &target).map_err(Error::at("place", &target))
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

    /// The digests of all blobs.
    pub fn all(&self) -> Vec<String> {
        files::entries(&self.blobs).iter().map(|path| format!("sha256:{}", files::name_of(path))).collect()
    }

    /// Removes a blob and returns its size.
    pub fn remove(&self, digest: &str) -> u64 {
        let Ok(path) = self.path(digest) else { return 0 };
        let size = fs::metadata(&path).map_or(0, |meta| meta.len());
        if fs::remove_file(&path).is_ok() { size } else { 0 }
    }
}

fn matches_digest(blob: &Blob, expected: Option<&str>) -> Result<()> {
    match expected.filter(|expected| **expected != blob.digest) {
        Some(expected) => {
            Err(Error::invalid(format!("content has digest {}, expected {expected}", blob.digest)))
        }
        None => Ok(()),
    }
}

/// A stream without its compression: gzip, zstd, or none, told by its first bytes.
///
/// # Errors
/// When the first bytes cannot be read.
pub fn decompressed<'a>(mut stream: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 4];
    let mut count = 0;
    while count < magic.len() {
        match stream.read(&mut magic[count..])? {
            0 => break,
            more => count += more,
        }
    }
    let whole = io::Cursor::new(magic).take(count as u64).chain(stream);
    let whole = io::BufReader::with_capacity(1 << 16, whole);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            Box::new(ruzstd::decoding::StreamingDecoder::new(whole).map_err(io::Error::other)?)
        }
        [b'B', b'Z', b'h', _] | [0xfd, b'7', b'z', b'X'] => {
            return Err(io::Error::other("bzip2 and xz are not offered; expected tar, gzip or zstd"));
        }
        _ => Box::new(whole),
    })
}
