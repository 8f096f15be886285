//! Small files that must survive a crash, and names that nobody can guess.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::error::{Error, Result, ensure, error};

/// Replaces a file as a whole: after a crash it has its old or its new content.
///
/// # Errors
/// With the path.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let replace = || -> io::Result<()> {
        let permissions = fs::Permissions::from_mode(mode);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    replace().map_err(Error::at("write", path))
}

/// [`write()`] of a value as JSON.
///
/// # Errors
/// With the path.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write(path, &serde_json::to_vec(value)?, 0o600)
}

/// Reads a value; `None` when there is no such file.
///
/// # Errors
/// With the path.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(Error::at("understand", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::at("read", path)(error)),
    }
}

/// The certificates in a file of PEM.
///
/// # Errors
/// When there are none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).map_err(Error::at("read", path))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(Error::at("understand", path))?;
    ensure!(!found.is_empty(), invalid, "{}: no certificate is in it", path.display());
    Ok(found)
}

/// Makes a directory with those above it.
///
/// # Errors
/// With the path.
pub fn make_dir(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::at("make", path))
}

/// Makes a directory, and closes it for everybody else: files of images below it may give rights to who runs them.
///
/// # Errors
/// With the path.
pub fn make_closed_dir(path: &Path) -> Result<()> {
    make_dir(path, 0o700)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(Error::at("close", path))
}

/// Removes a directory and all in it; none is fine.
///
/// # Errors
/// With the path.
pub fn remove_dir(path: &Path) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    match File::open(folder).and_then(|folder| tree::remove(&folder, Path::new(name))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Locks a file that one process at a time may have locked, until it is closed.
///
/// # Errors
/// When another one has it.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(Error::at("make", path))?;
    // A process that was killed has it until its last thread has ended.
    for _ in 0..20 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::Error(error)) => return Err(Error::at("lock", path)(error)),
        }
    }
    Err(error!(conflict, "{} is in use by another engine", path.display()))
}

/// Makes a FIFO that is ours alone.
///
/// # Errors
/// With the path.
pub fn make_fifo(path: &Path) -> Result<()> {
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(path, mode).map_err(Error::at("make", path))
}

/// A path as text, for what has no bytes.
pub fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The last part of a path.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The paths in a directory; none when it cannot be read.
pub fn entries(path: &Path) -> Vec<PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// `count` bytes from the kernel, in hexadecimal.
pub fn random_hex(count: usize) -> String {
    let mut bytes = vec![0; count];
    // The device cannot fail once the machine is up; equal names would be refused where they matter.
    let _read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    hex(&bytes)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}
