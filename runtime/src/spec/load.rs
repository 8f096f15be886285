//! Reading config.json and process.json: bounded, from a regular file, with errors that name the place.

use super::model::{Config, Process};
use super::objects::Objects;
use crate::sys::fd::{self, LazyFd};
use seccomp_profiles::DockerProfile;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The largest config.json that is read, in bytes. The largest one known in the field (a mount for each of 100,000
/// files) has 20 MiB.
pub const MAX_CONFIG: u64 = 64 << 20;

/// Why a JSON file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be opened or read.
    #[error("{what} {path}: {reason}", path = path.display(), reason = crate::sys::io_reason(source))]
    Io {
        /// What was done to it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is a directory, a FIFO, a device or a socket.
    #[error("{path} is not a regular file", path = .0.display())]
    NotRegular(PathBuf),
    /// The file has more than [`MAX_CONFIG`] bytes.
    #[error("{path} has {size} bytes; expected at most {MAX_CONFIG}", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// It is not UTF-8.
    #[error("{path}: byte {at} is not of UTF-8 text; expected JSON", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The place of the first byte that is wrong, counted from 0.
        at: usize,
    },
    /// It is not JSON, or a field has a wrong type.
    #[error("{path}: {field}: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The JSON path of the field, `.` for the whole.
        field: String,
        /// The reason, with line and column.
        source: serde_json::Error,
    },
}

/// Reads `config.json`.
///
/// # Errors
/// [`LoadError`], which names the file and the place in it.
pub fn config(path: &Path) -> Result<Config, LoadError> {
    json(path)
}

/// Reads the process of an `exec --process`: from a pipe as well, as a shell's `<(...)` is one. The caller chose it.
///
/// # Errors
/// [`LoadError`], which names the file and the place in it.
pub fn process(path: &Path) -> Result<Process, LoadError> {
    parse(path, stream(path)?)
}

/// Reads the mounts of a `mounts add` or `mounts remove`, from a pipe as well.
///
/// # Errors
/// [`LoadError`], which names the file and the place in it.
pub fn mounts(path: &Path) -> Result<Vec<super::Mount>, LoadError> {
    parse(path, stream(path)?)
}

/// Reads a seccomp profile, in Docker's format or the specification's, or the one in a config.json.
///
/// # Errors
/// [`LoadError`], which names the file and the place in it.
pub fn profile(path: &Path) -> Result<DockerProfile, LoadError> {
    let profile: DockerProfile = json(path)?;
    if profile != DockerProfile::default() {
        return Ok(profile);
    }
    let section = config(path)?.linux.and_then(|linux| linux.seccomp).unwrap_or_default();
    let again = serde_json::to_value(section).and_then(serde_json::from_value);
    again.map_err(|source| LoadError::Json {
        path: path.to_owned(),
        field: "linux.seccomp".to_owned(),
        source,
    })
}

/// Reads a JSON file.
///
/// # Errors
/// [`LoadError`], which names the file and the place in it.
pub fn json<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    parse(path, read(path)?)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: Vec<u8>) -> Result<T, LoadError> {
    // Looked at as a whole, and not again for each string in it.
    let text = String::from_utf8(bytes).map_err(|error| LoadError::NotText {
        path: path.to_owned(),
        at: error.utf8_error().valid_up_to(),
    })?;
    let mut reader = serde_json::Deserializer::from_str(&text);
    T::deserialize(Objects(&mut reader)).and_then(|value| reader.end().map(|()| value)).map_err(|source| {
        // Keeping track of where one is takes time: only done again where something is wrong.
        let mut again = serde_json::Deserializer::from_str(&text);
        let field = match serde_path_to_error::deserialize::<_, T>(Objects(&mut again)) {
            Err(error) => error.path().to_string(),
            Ok(_) => ".".to_owned(),
        };
        LoadError::Json { path: path.to_owned(), field, source }
    })
}

/// Reads a whole regular file of at most [`MAX_CONFIG`] bytes. A FIFO or device in its place is refused, not waited for.
fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    use std::os::unix::fs::OpenOptionsExt;
    let io = |what| move |source| LoadError::Io { what, path: path.to_owned(), source };
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(io("open"))?;
    let meta = file.metadata().map_err(io("stat"))?;
    if !meta.is_file() {
        return Err(LoadError::NotRegular(path.to_owned()));
    }
    if meta.len() > MAX_CONFIG {
        return Err(LoadError::TooLarge { path: path.to_owned(), size: meta.len() });
    }
    let file = LazyFd::from(file);
    let bytes = fd::read_whole(file.as_fd(), meta.len(), MAX_CONFIG + 1);
    let bytes =
        bytes.map_err(|errno| LoadError::Io { what: "read", path: path.to_owned(), source: errno.into() });
    checked(path, bytes?)
}

/// Reads at most [`MAX_CONFIG`] bytes from whatever the caller named, until they end.
fn stream(path: &Path) -> Result<Vec<u8>, LoadError> {
    let file =
        File::open(path).map_err(|source| LoadError::Io { what: "open", path: path.to_owned(), source })?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_CONFIG + 1).read_to_end(&mut bytes);
    read.map_err(|source| LoadError::Io { what: "read", path: path.to_owned(), source })?;
    checked(path, bytes)
}

fn checked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, LoadError> {
    if bytes.len() as u64 > MAX_CONFIG {
        return Err(LoadError::TooLarge { path: path.to_owned(), size: bytes.len() as u64 });
    }
    Ok(bytes)
}
